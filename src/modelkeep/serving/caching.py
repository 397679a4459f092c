"""What was answered before is answered again without asking the model: least recently used out, too old out.

A cache belongs to one model and its owner turns it on in the policy. It is worth it for models that take a line, whose
answers depend on nothing but their inputs; while a trial runs it rests, because a warm champion would beat a cold
challenger in latency.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from time import monotonic, perf_counter
from typing import Generic, TypeAlias, TypeVar

import msgspec

from modelkeep.nouns import Features, Output
from modelkeep.serving.calling import Got
from modelkeep.serving.routes import Route, Routes

V = TypeVar("V")
Ask: TypeAlias = Callable[..., Awaitable[list[Got]]]
"""Asks a version: ``ask(version, rows=rows)``."""
_encode = msgspec.msgpack.Encoder(order="deterministic").encode


def fingerprint(features: Features) -> bytes:
    """The hash of one row's inputs, whatever their order; 1 and 1.0 are different inputs.

    >>> fingerprint({"a": 1.0, "b": None}) == fingerprint({"b": None, "a": 1.0}) != fingerprint({"a": 1, "b": None})
    True
    """
    return hashlib.blake2b(_encode(dict(features)), digest_size=16).digest()


@dataclass(slots=True)
class _Entry(Generic[V]):
    value: V
    until: float
    subjects: set[str] = field(default_factory=set)


class Recent(Generic[V]):
    """At most ``entries`` values by key, each for ``ttl`` seconds from when it was put.

    >>> recent = Recent[int](entries=2, ttl=60.0)
    >>> for key in (b"a", b"b", b"c"):
    ...     recent.put(key, 7, at=0.0)
    >>> recent.get(b"a", at=1.0), recent.get(b"c", at=1.0), recent.get(b"c", at=61.0), recent.hits, recent.lookups
    (None, 7, None, 1, 3)
    """

    def __init__(self, *, entries: int, ttl: float) -> None:
        self.entries, self.ttl = entries, ttl
        self._held: OrderedDict[bytes, _Entry[V]] = OrderedDict()
        self.hits = self.lookups = 0

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: bytes, *, at: float, subject: str = "") -> V | None:
        """The value of a key that is not too old, now the most recently used one. Counted."""
        self.lookups += 1
        entry = self._held.get(key)
        if entry is None:
            return None
        if at >= entry.until:
            del self._held[key]
            return None
        self.hits += 1
        self._held.move_to_end(key)
        if subject:
            entry.subjects.add(subject)
        return entry.value

    def put(self, key: bytes, value: V, *, at: float, subject: str = "") -> None:
        """Hold a value; beyond the bound the one that was used longest ago goes."""
        self._held[key] = _Entry(value, at + self.ttl, {subject} if subject else set())
        self._held.move_to_end(key)
        while len(self._held) > self.entries:
            self._held.popitem(last=False)

    def values(self) -> Iterable[V]:
        """Everything that is held, too old or not; the least recently used first."""
        return [entry.value for entry in self._held.values()]

    def clear(self) -> None:
        """Forget everything; the counts go on."""
        self._held.clear()

    def forget(self, subject: str) -> int:
        """Forget whatever was put or asked for about a person; how many entries went."""
        theirs = [key for key, entry in list(self._held.items()) if subject in entry.subjects]
        for key in theirs:
            self._held.pop(key, None)
        return len(theirs)


@dataclass(slots=True, frozen=True)
class Known:
    """What a version answered for one row."""

    value: Output
    score: float | None = None
    interval: tuple[float, float] | None = None


class PredictionCache(Recent[Known]):
    """The answers of one model's versions. Belongs to the event loop; ``forget`` may come from any thread."""

    @staticmethod
    def key(version: int, features: Features) -> bytes:
        """What an answer depends on: the version and the row."""
        return version.to_bytes(8, "big") + fingerprint(features)


class Caches:
    """The prediction caches of all models that want one. Belongs to the event loop."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._caches: dict[str, PredictionCache] = {}
        self._hits = self._lookups = 0

    @property
    def hits(self) -> int:
        """Rows that were answered from a cache since the start."""
        return self._hits + sum(cache.hits for cache in list(self._caches.values()))

    @property
    def lookups(self) -> int:
        """Rows that were looked up since the start."""
        return self._lookups + sum(cache.lookups for cache in list(self._caches.values()))

    def swap(self, routes: Routes, old: Routes) -> None:
        """Take up a new table: whatever changed who answers, or how, drops what its model's cache holds."""
        caches = dict(self._caches)
        for model, cache in self._caches.items():
            if _who(routes.get(model)) != _who(old.get(model)):
                self._hits, self._lookups = self._hits + cache.hits, self._lookups + cache.lookups
                del caches[model]
        for model, route in routes.items():
            wanted = route.policy.cache
            if wanted.on and model not in caches:
                caches[model] = PredictionCache(entries=wanted.entries, ttl=wanted.ttl)
        self._caches = caches

    async def asked(self, route: Route, version: int, *, rows: Sequence[Features], subject: str, ask: Ask) -> list[Got]:
        """What a version says to some rows: what it said to equal ones before, and the rest from itself."""
        cache = self._caches.get(route.rollout.model)
        if cache is None or route.rollout.mode is not None:
            return await ask(version, rows=rows)
        at, start = self._now(), perf_counter()
        keys = [cache.key(version, row) for row in rows]
        known = [cache.get(key, at=at, subject=subject) for key in keys]
        share = (perf_counter() - start) / len(rows)
        found = [
            None
            if one is None
            else Got(seconds=share, value=one.value, score=one.score, interval=one.interval, cached=True)
            for one in known
        ]
        missing = [place for place, one in enumerate(found) if one is None]
        if missing:
            fresh = await ask(version, rows=[rows[place] for place in missing])
            for place, got in zip(missing, fresh, strict=True):
                found[place] = got
                if not got.reason and got.value is not None:
                    answer = Known(got.value, got.score, got.interval)
                    cache.put(keys[place], answer, at=self._now(), subject=subject)
        return [got for got in found if got is not None]

    def clear(self) -> None:
        """Forget every answer. From any thread."""
        for cache in list(self._caches.values()):
            cache.clear()

    def forget(self, subject: str) -> int:
        """Forget what was answered about a person; how many entries went. From any thread."""
        return sum(cache.forget(subject) for cache in list(self._caches.values()))


def _who(route: Route | None) -> object:
    """What an answer of a model depends on beside its inputs."""
    return None if route is None else (route.rollout.champion, route.rollout.fallback, route.policy.cache)
