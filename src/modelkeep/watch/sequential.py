"""When a mean has fallen for good: a sequential test that may be looked at as often as one likes.

A mixture of Shiryaev-Roberts e-detectors (Shin, Ramdas, Rinaldo, "E-detectors", arXiv 2203.03532). For each bet
``lam`` the wealth is S = (S + 1) exp(lam z - lam^2 / 2), block by block, with z = (how far the block lies below what
is tolerated) / (its standard deviation). While blocks do not lie below it in the mean, the mean number of blocks until
the mean of the wealths reaches a threshold is at least that threshold. ``benchmarks/decisions/drift.py`` simulates it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from msgspec import Struct

from modelkeep.profile import Floats

Wealth: TypeAlias = tuple[float, ...]

BETS = (0.2, 0.4, 0.8, 1.4)
MOST = 2.5
"""One block counts for at most so many standard deviations: a single wild day alarms nobody."""
RICHEST = 1e100
NOTHING: Wealth = (0.0,) * len(BETS)


class Fall(Struct, frozen=True, kw_only=True):
    """A fall, by places in the series: it was certain at block ``at`` and most likely began with block ``since``."""

    at: int
    since: int


def staked(held: Wealth, z: float) -> Wealth:
    """The wealth of each bet after one more block; a block that is not a number leaves it as it is."""
    if not math.isfinite(z):
        return held
    z = min(max(z, -MOST), MOST)
    return tuple(min((s + 1) * math.exp(bet * z - bet * bet / 2), RICHEST) for s, bet in zip(held, BETS, strict=True))


def wealth(z: Sequence[float] | Floats) -> Floats:
    """The mean wealth after each block.

    >>> wealth([0.0, 0.0]).round(2).tolist()
    [0.75, 1.37]
    """
    held = NOTHING
    found = np.empty(len(z))
    for place, one in enumerate(np.asarray(z, dtype=float).tolist()):
        held = staked(held, one)
        found[place] = sum(held) / len(held)
    return found


def first_fall(*tests: Sequence[float] | Floats, threshold: float) -> Fall | None:
    """The first block at which a fall is certain by the mean wealth of some tests of the same blocks.

    It most likely began where the sum of what followed, in standard deviations of the surest test, is largest.

    >>> first_fall([0.0] * 5 + [3.0] * 5, threshold=100.0)
    Fall(at=6, since=5)
    """
    if not tests or not len(tests[0]):
        return None
    held = np.array([wealth(test) for test in tests])
    places = np.flatnonzero(held.mean(axis=0) >= threshold)
    if not places.size:
        return None
    at = int(places[0])
    surest = np.asarray(tests[int(np.argmax(held[:, at]))][: at + 1], dtype=float)
    tail = np.cumsum(np.nan_to_num(np.clip(surest, -MOST, MOST))[::-1])[::-1]
    return Fall(at=at, since=int(np.argmax(tail / np.sqrt(np.arange(len(tail), 0, -1)))))
