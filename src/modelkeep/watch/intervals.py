"""95 % intervals: of shares (Wilson), of means, and of anything that blocks of time add up to (jackknife)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import TypeAlias

import numpy as np

from modelkeep.profile import Floats, Sums

Interval: TypeAlias = tuple[float, float]
Z95 = NormalDist().inv_cdf(0.975)
LEAST_BLOCKS = 3
"""From this many blocks on a spread can be told from them."""

_T95 = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)


def t95(freedom: int) -> float:
    """The 97.5 % point of Student's t with ``freedom`` >= 1 degrees of freedom, within 0.001.

    Source: table up to 10; beyond it the expansion of Abramowitz and Stegun 26.7.5.
    """
    if freedom <= len(_T95):
        return _T95[freedom - 1]
    z = Z95
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def wilson(hits: float, n: float, *, z: float = Z95) -> Interval:
    """The interval of a share, in [0, 1]; (0, 1) without observations.

    Source: Wilson 1927, the score interval.

    >>> low, high = wilson(0, 100)
    >>> low, round(high, 3)
    (0.0, 0.037)
    """
    if n <= 0:
        return 0.0, 1.0
    share = min(max(hits / n, 0.0), 1.0)
    centre = share + z * z / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low = 0.0 if share <= 0 else max((centre - spread) / scale, 0.0)
    high = 1.0 if share >= 1 else min((centre + spread) / scale, 1.0)
    return low, high


def mean(total: float, squares: float, *, n: int) -> Interval | None:
    """The interval of a mean, from the sum and the sum of squares of ``n`` values; None below two values."""
    if n < 2:
        return None
    centre = total / n
    variance = max(squares - n * centre * centre, 0.0) / (n - 1)
    reach = t95(n - 1) * math.sqrt(variance / n)
    return centre - reach, centre + reach


def jackknifed(value: float, without: Floats) -> Interval | None:
    """The interval of ``value`` from the values that it takes ``without`` each block of time.

    None with fewer than three blocks, or when one of them decides whether the value exists at all.
    Source: Efron 1981, the delete-one jackknife, with Student's t of blocks - 1 degrees of freedom.
    """
    blocks = len(without)
    if blocks < LEAST_BLOCKS or not np.isfinite(without).all() or not math.isfinite(value):
        return None
    variance = (blocks - 1) / blocks * float(((without - without.mean()) ** 2).sum())
    reach = t95(blocks - 1) * math.sqrt(variance)
    return value - reach, value + reach


def of_metrics(blocks: Sequence[Sums], metrics: Callable[[Sums], dict[str, float]]) -> dict[str, Interval]:
    """The jackknife intervals of every metric of the sum of ``blocks``; those that cannot be told are left out."""
    held = [block for block in blocks if block.n]
    if len(held) < LEAST_BLOCKS:
        return {}
    total = sum(held[1:], held[0])
    without = [metrics(total - block) for block in held]
    found = {}
    for name, value in metrics(total).items():
        interval = jackknifed(value, np.array([metric.get(name, math.nan) for metric in without]))
        if interval is not None:
            found[name] = interval
    return found


def quantile_ranks(quantile: float, n: int) -> Interval:
    """The shares of ``n`` ordered values between which the true quantile lies: the binomial's normal approximation."""
    reach = Z95 * math.sqrt(quantile * (1 - quantile) / n)
    return max(quantile - reach, 0.0), min(quantile + reach, 1.0)
