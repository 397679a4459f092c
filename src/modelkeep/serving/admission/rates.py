"""Rates per caller: token buckets, kept as one number each.

A bucket is the moment at which it will be full again (the generic cell rate algorithm, ITU-T I.371): it holds ``burst``
requests and gains ``rate`` a second. Pure: moments come from the caller, on any clock that never runs backwards.
"""

from __future__ import annotations

import math
from collections import OrderedDict

from msgspec import Struct

MOST = 10_000
"""So many callers are remembered; those beyond push out the one that has been quiet longest."""


class Rate(Struct, frozen=True, kw_only=True):
    """So many requests a second in the long run, and so many at once. A rate of 0 is no limit."""

    rate: float
    burst: int


class Left(Struct, frozen=True, kw_only=True):
    """What a caller has left: of ``limit`` requests ``left``, all again in ``reset`` seconds.

    ``wait`` is 0 when this request was let in, else the seconds until one would be.
    """

    limit: int
    left: int
    reset: float
    wait: float = 0.0


class Buckets:
    """The buckets of all callers.

    >>> buckets = Buckets()
    >>> two = Rate(rate=1.0, burst=2)
    >>> [round(buckets.take("a", two, at=0.0).wait, 6) for _ in range(3)]
    [0.0, 0.0, 1.0]
    >>> buckets.take("a", two, at=1.0).wait
    0.0
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._full: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full)

    def take(self, caller: str, rate: Rate, *, at: float) -> Left:
        """Take one request out of a caller's bucket, or say how long to wait; a refusal takes nothing."""
        each, size = 1.0 / rate.rate, max(rate.burst, 1)
        full = max(self._full.get(caller, at), at)
        room = size * each - (full - at)
        if room < each * (1 - 1e-9):
            return Left(limit=size, left=0, reset=full - at, wait=max(each - room, 1e-6))
        full += each
        self._full[caller] = full
        self._full.move_to_end(caller)
        while len(self._full) > self._most:
            self._full.popitem(last=False)
        return Left(limit=size, left=max(math.floor(size - (full - at) * rate.rate + 1e-9), 0), reset=full - at)
