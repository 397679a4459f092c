"""Did it change? One span of time beside the one before it, by blocks of time, with an honest interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from msgspec import Struct

from modelkeep.watch.intervals import LEAST_BLOCKS, Interval

Block: TypeAlias = tuple[float, float]
"""A numerator and its denominator, such as the sum of errors of one day and how many there were."""
_GRID = 20_001


class Change(Struct, frozen=True, kw_only=True):
    """A ratio of sums now and before, and by how much they differ (``now`` - ``before``).

    ``interval`` holds the true difference with the confidence asked for; None when fewer than three blocks of either
    span tell of it. ``n`` are the denominators.
    """

    now: float | None
    before: float | None
    n: float
    n_before: float
    interval: Interval | None

    @property
    def difference(self) -> float | None:
        """``now`` - ``before``, None when either is unknown."""
        return None if self.now is None or self.before is None else self.now - self.before

    @property
    def supported(self) -> bool:
        """Whether the data says that there is a difference: its interval leaves out 0."""
        return self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)


def compared(now: Sequence[Block], before: Sequence[Block], *, error: float = 0.05) -> Change:
    """Compare two spans of time whose blocks are about independent (days, because hours of one day err together).

    The value is the sum of the numerators over the sum of the denominators. Its variance is the delete-one jackknife
    over the blocks (Efron 1981); the interval of the difference is Welch's (1947), wrong with the chance ``error``.

    >>> compared([(10, 10)] * 3, [(5, 10)] * 3).difference
    0.5
    """
    held, past = [_held(blocks) for blocks in (now, before)]
    value, was = _ratio(held), _ratio(past)
    n, n_before = (sum(count for _, count in blocks) for blocks in (held, past))
    interval = None
    if value is not None and was is not None and min(len(held), len(past)) >= LEAST_BLOCKS:
        interval = _welch(value - was, held, before=past, error=error)
    return Change(now=value, before=was, n=n, n_before=n_before, interval=interval)


def t_point(freedom: float, tail: float) -> float:
    """The point of Student's t above which ``tail`` (0..0.5) of the distribution lies; ``freedom`` > 0, not whole too.

    With t = sqrt(freedom) tan(a) the density in a is proportional to cos(a)^(freedom - 1): it is summed up and
    inverted, within 0.1 % for tails down to 1e-6 from 2 degrees of freedom on.
    """
    return _t_point(round(max(freedom, 1.0), 1), tail)


@lru_cache(maxsize=1000)
def _t_point(freedom: float, tail: float) -> float:
    # The angles are crowded towards a right angle, where the tail is.
    rest = np.geomspace(math.pi / 2, 1e-9, _GRID)
    density = np.sin(rest) ** (freedom - 1)
    steps = (density[1:] + density[:-1]) / 2 * -np.diff(rest)
    above = np.concatenate([np.cumsum(steps[::-1])[::-1], [0.0]])
    place = np.interp(tail, above[::-1] / above[0] / 2, np.log(rest[::-1]))
    return math.sqrt(freedom) / math.tan(math.exp(float(place)))


def _held(blocks: Sequence[Block]) -> list[Block]:
    return [(float(a), float(b)) for a, b in blocks if b > 0]


def _ratio(blocks: Sequence[Block]) -> float | None:
    below = sum(b for _, b in blocks)
    return sum(a for a, _ in blocks) / below if below > 0 else None


def _variance(blocks: Sequence[Block]) -> float:
    """The variance of the ratio, by leaving out each block in turn."""
    above, below = (np.array(part) for part in zip(*blocks, strict=True))
    without = (above.sum() - above) / (below.sum() - below)
    return float((len(blocks) - 1) / len(blocks) * ((without - without.mean()) ** 2).sum())


def _welch(difference: float, now: Sequence[Block], *, before: Sequence[Block], error: float) -> Interval:
    mine, past = _variance(now), _variance(before)
    total = mine + past
    if not total > 0:
        return difference, difference
    freedom = total**2 / (mine**2 / (len(now) - 1) + past**2 / (len(before) - 1))
    reach = t_point(freedom, error / 2) * math.sqrt(total)
    return difference - reach, difference + reach
