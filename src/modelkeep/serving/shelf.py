"""The models that are in memory: which are loaded before anybody asks, how many may stay, and how one goes for good.

A model is loaded with every version that its rollout names, so that a rollback loads nothing, and let go of with all of
them. What nobody has asked for the longest goes first.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Literal
from weakref import WeakValueDictionary

import psutil
from msgspec import Struct, structs

from modelkeep import runtimes
from modelkeep.clock import Clock
from modelkeep.errors import BadSettings, ModelkeepError
from modelkeep.nouns import Policy, Version
from modelkeep.runtimes import Loaded, Opened
from modelkeep.runtimes.confining import confined
from modelkeep.runtimes.confining.confined import Bounds
from modelkeep.serving import freeing
from modelkeep.store.seams import Files

_log = logging.getLogger("modelkeep.serving")
GRACE = 2.0
"""So many seconds what is let go of may still be asked by whoever began with it."""
LOOK = 600.0
"""So many seconds a call may take that nobody waits for in line: validation asks for a thousand rows at once."""
_TOP = re.compile(r"top([1-9]\d{0,5})")

Uses = Callable[[], Mapping[str, int]]
"""How many predictions of each model were answered since the start."""


class Keeping(Struct, frozen=True, kw_only=True):
    """How many models stay in memory: at most ``limit`` (0 = all), and ``idle`` seconds without a question (0 = ever).

    ``preload`` is ``all``, ``none``, or ``top10``: the ten most used of the last 7 days. With ``isolate`` policies
    decide which versions run in a process of their own; without it none does.
    """

    preload: str = "all"
    limit: int = 0
    idle: float = 0.0
    isolate: bool = False

    def first(self) -> int | None:
        """How many models are loaded before anybody asks; None = all of them. Raises BadSettings."""
        if self.preload in {"all", "none"}:
            return None if self.preload == "all" else 0
        found = _TOP.fullmatch(self.preload)
        if found is None:
            raise BadSettings(
                f"loading.preload = {self.preload!r} is none of all, none, top10", remedy="write top and a number"
            )
        return int(found[1])


class Held(Struct, frozen=True, kw_only=True):
    """A model in memory: its versions, and the moments when it was loaded and (as far as is known) last asked."""

    model: str
    versions: tuple[int, ...]
    since: float
    used: float


class Released(Struct, frozen=True, kw_only=True):
    """What letting go of models brought: bytes of the process before and after."""

    models: tuple[str, ...]
    before: int
    after: int


class Shelf:
    """Loads versions and lets go of them; may be called from any thread.

    Versions with the same files, signature and runner share one model in memory.
    """

    def __init__(self, files: Files, clock: Clock, *, keeping: Keeping, uses: Uses) -> None:
        self.keeping = keeping
        self._files, self._clock, self._uses = files, clock, uses
        self.policies: Mapping[str, Policy] = {}
        """The policies in force by model: they say what runs in a process of its own."""
        self._loaded: dict[str, Loaded] = {}
        self._bounds: dict[str, Bounds | None] = {}
        self._shared: WeakValueDictionary[str, Opened] = WeakValueDictionary()
        self._leaving: list[Loaded] = []
        self._ended: dict[str, tuple[int, str]] = {}
        """How often processes of versions that have left had ended, and how the last one did."""
        self._held: dict[str, Held] = {}
        self._counted: Mapping[str, int] = {}
        self._failures: Mapping[str, str] = {}
        self._lock = threading.RLock()

    def __contains__(self, model: str) -> bool:
        return model in self._held

    @property
    def models(self) -> tuple[str, ...]:
        """The models in memory."""
        return tuple(self._held)

    @property
    def loaded(self) -> Mapping[str, Loaded]:
        """Every version in memory by ``model@version``."""
        return MappingProxyType(self._loaded)

    def ends(self) -> dict[str, tuple[int, str]]:
        """By ``model@version``: how many processes have ended in its service, and how the last one did.

        One that has left is told of like one that is here: what ended it must not leave with it.
        """
        with self._lock:
            found = dict(self._ended)
            for name, loaded in self._loaded.items():
                if loaded.ends is not None:
                    found[name] = _added(found.get(name), loaded.ends())
        return found

    def held(self) -> list[Held]:
        """The models in memory, the one that was asked last first."""
        with self._lock:
            self._note()
            return sorted(self._held.values(), key=lambda held: -held.used)

    def load(self, versions: Iterable[Version], *, why: Literal["start", "use", "change"]) -> dict[str, str]:
        """Bring versions of one model into memory that are not there; why some could not be, by ``model@version``."""
        failures: dict[str, str] = {}
        known = list(versions)
        with self._lock:
            if all(map(self._there, known)) and why != "use":
                return failures  # nothing to do, as for nearly every model at a refresh
            self._note()
            now = self._clock.now()
            for version in known:
                if not self._there(version):
                    self._one(version, failures=failures, why=why)
            here = tuple(version.number for version in known if version.name in self._loaded)
            if here:
                model = known[0].model
                old = self._held.get(model)
                used = now if why == "use" or old is None else old.used
                self._held[model] = Held(model=model, versions=here, since=old.since if old else now, used=used)
        return failures

    @contextmanager
    def aside(self, version: Version) -> Iterator[Loaded]:
        """A version for a look beside serving, in a process of its own where it would have one when it serves.

        A call may take ``LOOK`` seconds. Raises BadArtifact and NotFound as ``runtimes.load`` does.
        """
        policy = self.policies.get(version.model) or Policy(model=version.model)
        bounds = confined.bounds_of(version, policy) if self.keeping.isolate else None
        if bounds is None:
            yield runtimes.load(version, self._files.path)
            return
        loaded = confined.load(version, self._files.path, bounds=structs.replace(bounds, limit=LOOK))
        try:
            yield loaded
        finally:
            if loaded.close is not None:
                loaded.close()

    def crowded(self) -> list[str]:
        """The models that must go because more than the limit are here, or nobody has asked for so long."""
        keeping = self.keeping
        if not keeping.limit and not keeping.idle:
            return []
        held = self.held()
        over = held[keeping.limit :] if keeping.limit else []
        since = self._clock.now() - keeping.idle
        late = [one for one in held if keeping.idle and one.used < since]
        return [one.model for one in held if one in over or one in late]

    def idle(self, seconds: float) -> list[str]:
        """The models that nobody has asked for so long."""
        since = self._clock.now() - seconds
        return [held.model for held in self.held() if held.used <= since]

    def drop(self, model: str) -> None:
        """Let go of a model; its versions leave with the next ``retain`` that does not name them."""
        with self._lock:
            self._held.pop(model, None)
            self._leaving += [loaded for loaded in self._loaded.values() if loaded.version.model == model]
            self._loaded = {name: loaded for name, loaded in self._loaded.items() if loaded.version.model != model}

    def retain(self, names: Collection[str]) -> None:
        """Let go of every version but these; whoever still answers with one ends with it."""
        with self._lock:
            gone = [*self._leaving, *(loaded for name, loaded in self._loaded.items() if name not in names)]
            self._leaving = []
            self._loaded = {name: loaded for name, loaded in self._loaded.items() if name in names}
            models: dict[str, list[int]] = {}
            for loaded in self._loaded.values():
                models.setdefault(loaded.version.model, []).append(loaded.version.number)
            now = self._clock.now()
            self._held = {
                model: Held(
                    model=model,
                    versions=tuple(numbers),
                    since=self._held[model].since if model in self._held else now,
                    used=self._held[model].used if model in self._held else now,
                )
                for model, numbers in models.items()
            }
            so_far = [self._count(loaded, since=0) for loaded in gone]
        for loaded, ends in zip(gone, so_far, strict=True):
            if loaded.close is not None:
                farewell = threading.Timer(GRACE, self._part, (loaded, ends))
                farewell.daemon = True
                farewell.start()

    def _part(self, loaded: Loaded, ends: int) -> None:
        """Close a version, and count what ended while it still had callers."""
        if loaded.close is not None:
            loaded.close()
        with self._lock:
            self._count(loaded, since=ends)

    def _count(self, loaded: Loaded, *, since: int) -> int:
        """Keep how often processes of a version that leaves have ended beyond ``since``; how often in all."""
        ends, why = (0, "") if loaded.ends is None else loaded.ends()
        if ends > since:
            name = loaded.version.name
            self._ended[name] = _added(self._ended.get(name), (ends - since, why))
        return ends

    def _note(self) -> None:
        """Take in who was asked since the last look: the hot path itself notes nothing but its counts."""
        now, counted = self._clock.now(), self._uses()
        old, self._counted = self._counted, counted
        for model, held in list(self._held.items()):
            if counted.get(model, 0) != old.get(model, 0):
                self._held[model] = Held(model=model, versions=held.versions, since=held.since, used=now)

    def _there(self, version: Version) -> bool:
        """Whether a version is in memory, and where its policy wants it to be."""
        return version.name in self._loaded and self._wanted(version) == self._bounds.get(version.name)

    def _wanted(self, version: Version) -> Bounds | None:
        policy = self.policies.get(version.model)
        return confined.bounds_of(version, policy) if policy is not None and self.keeping.isolate else None

    def _one(self, version: Version, *, failures: dict[str, str], why: str) -> None:
        extra: dict[str, object] = {"model_name": version.model, "model_version": version.number}
        start = time.perf_counter()
        try:
            bounds = self._wanted(version)
            if bounds is not None:
                loaded = confined.load(version, self._files.path, bounds=bounds)
            else:
                policy = self.policies.get(version.model)
                remember = policy is not None and policy.cache.features
                loaded = runtimes.load(version, self._files.path, shared=self._shared, remember=remember)
        except ModelkeepError as fault:
            failures[version.name] = str(fault)
            if self._failures.get(version.name) != str(fault):
                _log.error("a version cannot be loaded: %s", fault, extra=extra)
            self._failures = {**self._failures, version.name: str(fault)}
            return
        self._failures = {name: said for name, said in self._failures.items() if name != version.name}
        if version.name in self._loaded:
            self._leaving.append(self._loaded[version.name])
        self._loaded[version.name], self._bounds[version.name] = loaded, bounds
        freeing.limit_threads()
        milliseconds = round((time.perf_counter() - start) * 1000, 3)
        _log.info("model_loaded", extra=extra | {"load_ms": milliseconds, "runner": loaded.runner, "why": why})


def _added(before: tuple[int, str] | None, more: tuple[int, str]) -> tuple[int, str]:
    """Two counts of ends with their reasons as one."""
    return more if before is None else (before[0] + more[0], more[1] or before[1])


def released(models: Collection[str], release: Callable[[Collection[str]], None]) -> Released:
    """Let ``release`` let go of models, give the memory back to the system, and tell what it brought."""
    process = psutil.Process()
    before = process.memory_info().rss
    release(models)
    freeing.give_back()
    after = process.memory_info().rss
    gone = sorted(models)
    for model in gone:
        _log.info("model_unloaded", extra={"model_name": model, "freed_mb": round((before - after) / 2**20, 1)})
    return Released(models=tuple(gone), before=before, after=after)
