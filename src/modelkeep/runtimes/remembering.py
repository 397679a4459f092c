"""The feature cache: what feature code made of a row is used again for an equal one, for an hour.

Entries are compressed; those of a version may be written to a file and read back. It sits where the feature code runs,
so where that is a process of its own (the default), the cache is in it and ends with it.
"""

from __future__ import annotations

import hashlib
import threading
import weakref
import zlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import time

import msgspec

from modelkeep.nouns import Features, Value
from modelkeep.runtimes.packing import Transform

ENTRIES, TTL = 1000, 3600.0
_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_row: msgspec.msgpack.Decoder[dict[str, Value]] = msgspec.msgpack.Decoder(dict[str, Value])
_kept = list[tuple[bytes, float, bytes]]


@dataclass(slots=True)
class Counts:
    """Lookups and hits of all feature caches of this process, since its start."""

    hits: int = 0
    lookups: int = 0


COUNTS = Counts()


_EVERY: weakref.WeakSet[FeatureCache] = weakref.WeakSet()


def forget() -> int:
    """Forget what every feature cache of this process holds; how many rows. Nobody knows whose they are."""
    return sum(cache.clear() for cache in list(_EVERY))


class FeatureCache:
    """At most ``entries`` prepared rows by the hash of what they were made from, each for ``ttl`` seconds.

    >>> cache = FeatureCache(now=lambda: 0.0)
    >>> cache.prepared([{"x": 2}], lambda rows: [{"y": row["x"] ** 2} for row in rows])
    [{'y': 4}]
    >>> cache.prepared([{"x": 2}], lambda rows: [])
    [{'y': 4}]
    """

    def __init__(
        self, *, entries: int = ENTRIES, ttl: float = TTL, compress: bool = True, now: Callable[[], float] = time
    ) -> None:
        self._entries, self._ttl, self._compress, self._now = entries, ttl, compress, now
        self._held: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()
        self._lock = threading.Lock()
        _EVERY.add(self)

    def __len__(self) -> int:
        return len(self._held)

    def clear(self) -> int:
        """Forget everything; how many rows went."""
        with self._lock:
            gone = len(self._held)
            self._held.clear()
        return gone

    @property
    def size(self) -> int:
        """Bytes of what is held."""
        return sum(len(data) for _, data in self._held.values())

    def prepared(self, rows: Sequence[Features], prepare: Transform) -> list[Features]:
        """What ``prepare`` makes of rows, asked only for those that are not known. Raises what it raises."""
        names = [hashlib.blake2b(_encode(dict(row)), digest_size=16).digest() for row in rows]
        found: list[Features | None] = [self._get(name) for name in names]
        missing = [place for place, row in enumerate(found) if row is None]
        if missing:
            for place, row in zip(missing, prepare([rows[place] for place in missing]), strict=True):
                found[place] = row
                self._put(names[place], row)
        return [row for row in found if row is not None]

    def write(self, path: Path) -> int:
        """Write everything that is held to a file, whole or not at all; its bytes."""
        with self._lock:
            data = msgspec.msgpack.encode([(name, until, packed) for name, (until, packed) in self._held.items()])
        part = path.with_suffix(".part")
        part.write_bytes(data)
        part.replace(path)
        return len(data)

    def read(self, path: Path) -> int:
        """Take up what ``write`` wrote and is not too old; how many rows."""
        now = self._now()
        kept = msgspec.msgpack.decode(path.read_bytes(), type=_kept)
        with self._lock:
            for name, until, packed in kept:
                if now < until:
                    self._held[name] = (until, packed)
        return len(self._held)

    def _get(self, name: bytes) -> Features | None:
        COUNTS.lookups += 1
        with self._lock:
            until, data = self._held.get(name, (0.0, b""))
            if self._now() >= until:
                self._held.pop(name, None)
                return None
            self._held.move_to_end(name)
        COUNTS.hits += 1
        return _row.decode(zlib.decompress(data) if self._compress else data)

    def _put(self, name: bytes, row: Features) -> None:
        try:
            data = msgspec.msgpack.encode(dict(row))
        except (TypeError, OverflowError):
            return  # it holds what is no plain value: then it is made anew each time
        if self._compress:
            data = zlib.compress(data, 1)
        with self._lock:
            self._held[name] = (self._now() + self._ttl, data)
            self._held.move_to_end(name)
            while len(self._held) > self._entries:
                self._held.popitem(last=False)


def remembered(prepare: Transform, cache: FeatureCache) -> Transform:
    """Feature code that asks the cache first."""

    def known(rows: Sequence[Features]) -> list[Features]:
        return cache.prepared(rows, prepare)

    return known
