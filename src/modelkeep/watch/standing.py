"""What is normal for a series of blocks, learned from its first weeks, and how far each later block lies below it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from modelkeep.profile import Floats
from modelkeep.quantities import WEEK
from modelkeep.watch.blocks import LEARN, LONGEST
from modelkeep.watch.sequential import NOTHING, Fall, first_fall, staked

NEED = 7
"""Blocks from which anything is learned."""
LEAST = 0.03
"""The standard deviation between blocks is never taken for smaller: perfect regularity is luck."""
MEMORY = 0.8
"""The autocorrelation of neighbouring blocks is never taken for larger."""
SURE = 2
"""What is learned is good enough when its standard error is this part of what is tolerated."""
DOUBT = 20.0
"""With so much wealth against it, nothing more is learned from a series: it may be falling."""
STREAMS = 4
"""So many tests watch one model for rot; they share the promise."""


class Normal(Struct, frozen=True, kw_only=True):
    """What was learned from ``n`` blocks.

    The ``level`` of a series, its standard error, by what factor the variance within blocks counts (below 1 where the
    errors of model and baseline go together), the variance between blocks, and how many blocks one independent block
    takes (from the autocorrelation of neighbours: (1 + rho) / (1 - rho)).
    """

    level: float
    error: float
    within: float
    between: float
    memory: float
    n: int


def learned(x: Floats, spread: Floats) -> Normal | None:
    """What is normal for these blocks: their values and the variance of each; None with fewer than NEED."""
    held = np.isfinite(x) & np.isfinite(spread)
    x, spread = x[held], spread[held]
    n = len(x)
    if n < NEED:
        return None
    weight = 1 / (spread + 0.05**2)
    level = float((weight * x).sum() / weight.sum())
    rest = x - level
    usual = max(float(spread.mean()), 1e-12)
    variance = float((rest**2).sum()) / (n - 1)
    # The variance within is that of independent errors; what is seen corrects it, the more the more blocks there are.
    within = (NEED + n * min(variance / usual, 1.0)) / (NEED + n)
    between = max(variance - within * usual, LEAST**2)
    rho = float((rest[1:] * rest[:-1]).sum() / max((rest**2).sum(), 1e-12)) if n > NEED else 0.0
    rho = min(max(rho, 0.0), MEMORY)
    memory = (1 + rho) / (1 - rho)
    error = float(np.sqrt((within * usual + between) * memory / n))
    return Normal(level=level, error=error, within=within, between=between, memory=memory, n=n)


def below(x: Floats, spread: Floats, *, ends: Floats, tolerance: float) -> tuple[Floats, Normal | None]:
    """How many standard deviations each block lies below what was learned before it, less ``tolerance``.

    Blocks of the first LEARN seconds are judged by those before them, later ones by all of those; where they are too
    noisy to be sure, up to LONGEST. The standard error of what was learned is tolerated on top. Not a number while
    there is nothing to compare with.
    """
    z = np.full(len(x), np.nan)
    first, last = (int(np.searchsorted(ends, ends[0] + span)) if len(ends) else 0 for span in (LEARN, LONGEST))
    normal: Normal | None = None
    held, settled = NOTHING, False
    for place in range(min(last, len(x))):
        if not settled:
            normal = learned(x[:place], spread[:place])
            sure = normal is not None and normal.error <= tolerance / SURE
            settled = max(held) > DOUBT or (place >= first and sure)
        z[place] = _below(x[place], spread[place], normal=normal, tolerance=tolerance)
        held = staked(held, float(z[place]))
    z[last:] = _below(x[last:], spread[last:], normal=normal, tolerance=tolerance)
    return z, normal


def _below(x: Floats, spread: Floats, *, normal: Normal | None, tolerance: float) -> Floats:
    if normal is None:
        return np.full_like(x, np.nan)
    reach = np.sqrt((spread * normal.within + normal.between) * normal.memory)
    found: Floats = (normal.level - tolerance - normal.error - x) / reach
    return found


def against(x: Floats, spread: Floats, *, level: float, between: float) -> Floats:
    """The same against a ``level`` that is known from elsewhere."""
    found: Floats = (level - x) / np.sqrt(spread + between**2)
    return found


def lasting(tests: Sequence[Floats], x: Floats, *, ends: Floats, level: float, threshold: float) -> Fall | None:
    """The fall that lasts at the end of the series; None when there was none, or all was well again afterwards.

    It is over when the mean of a week is back above ``level``; then the test begins anew.
    """
    start = 0
    while True:
        fall = first_fall(*(test[start:] for test in tests), threshold=threshold)
        if fall is None:
            return None
        fall = Fall(at=fall.at + start, since=fall.since + start)
        again = _recovered(x, ends=ends, after=fall.at, level=level)
        if again is None:
            return fall
        start = again + 1


def _recovered(x: Floats, *, ends: Floats, after: int, level: float) -> int | None:
    known = np.isfinite(x)
    total = np.concatenate(([0.0], np.cumsum(np.where(known, x, 0.0))))
    count = np.concatenate(([0], np.cumsum(known)))
    for place in range(int(np.searchsorted(ends, ends[after] + WEEK)), len(x)):
        first = max(int(np.searchsorted(ends, ends[place] - WEEK, side="right")), after + 1)
        n = count[place + 1] - count[first]
        if n and (total[place + 1] - total[first]) / n >= level:
            return place
    return None
