"""Anomalies in one stream of numbers, as they come in: constant time and memory a point, no look ahead.

Two residuals are watched: from the stream's level, and from what is usual at this time of the day (half-hour slots that
have been seen on two days). Each is divided by its own exponentially weighted spread (about a thousand points), so one
threshold serves streams of any unit. Their sum, and a short mean of it that grows when small deviations persist, is
the score. What follows a score within ``REST`` points counts only if it is higher: one event is one alarm.
"""

import math
from collections import deque

from msgspec import Struct

from modelkeep.workloads.devices.fleet import DAY

SPREAD = 1 / 1000
SEASON = 0.3
SHORT = 0.1
SLOTS = 48
NEED = 2
"""Days on which a slot of the day must have been seen before it counts as usual."""
WARM, REST = 10, 150
PROBATION, PROBATION_MOST = 0.15, 750
THRESHOLD = 17.0
"""The score from which a point is an anomaly: the sum of three standardised deviations of about six each."""


def spared(points: int) -> int:
    """How many points at the start of a stream of so many only teach what is usual: 15 %, 750 at most.

    >>> spared(1000), spared(100_000)
    (150, 750)
    """
    return min(int(PROBATION * points), PROBATION_MOST)


class Spread:
    """An exponentially weighted mean and spread; the first points count equally."""

    __slots__ = ("mean", "n", "square")

    def __init__(self) -> None:
        self.n, self.mean, self.square = 0, 0.0, 0.0

    def standard(self, value: float, *, grain: float) -> float:
        """How many spreads ``value`` lies from the mean; 0 for the first points. Then it is learned from."""
        self.n += 1
        if self.n == 1:
            self.mean = value
            return 0.0
        spread = max(math.sqrt(self.square), grain)
        off = value - self.mean
        weight = max(1 / self.n, SPREAD)
        self.mean += weight * off
        self.square = (1 - weight) * (self.square + weight * off * off)
        return abs(off) / spread if self.n > WARM else 0.0


class Slot:
    """What is usual at one time of the day: the mean of the days, the newer weighing more."""

    __slots__ = ("days", "mean")

    def __init__(self) -> None:
        self.days, self.mean = 0, 0.0

    def learn(self, value: float) -> None:
        """Take another day's mean."""
        self.days += 1
        self.mean += max(1 / self.days, SEASON) * (value - self.mean)


class Judged(Struct, frozen=True):
    """What is said of a point: its score, and whether it is the beginning of an anomaly."""

    score: float
    anomaly: bool


class Stream:
    """One stream, from its first point on.

    Args:
        spared: Points at the start of which none is called an anomaly, while it is learned what is usual.
        threshold: The score from which a point is one.

    >>> stream = Stream(spared=100)
    >>> said = [stream.update(20.0 + (i % 7) / 10, at=300.0 * i) for i in range(500)]
    >>> any(one.anomaly for one in said), stream.update(35.0, at=150000.0).anomaly
    (False, True)
    """

    def __init__(self, *, spared: int = PROBATION_MOST, threshold: float = THRESHOLD) -> None:
        self._spared, self._threshold = spared, threshold
        self._level, self._seasonal = Spread(), Spread()
        self._slots = [Slot() for _ in range(SLOTS)]
        self._slot, self._sum, self._count = -1, 0.0, 0
        self._short, self._n = 0.0, 0
        self._recent: deque[tuple[int, float]] = deque()

    def update(self, value: float | None, *, at: float) -> Judged:
        """Take the next point (a missing value changes nothing) and say whether an anomaly begins with it."""
        if value is None or not math.isfinite(value):
            return Judged(0.0, anomaly=False)
        grain = 1e-9 * (abs(self._level.mean) + 1)
        place = int(at % DAY / DAY * SLOTS)
        off = value - self._slots[place].mean if self._slots[place].days >= NEED else None
        level = self._level.standard(value, grain=grain)
        seasonal = level if off is None else self._beside(off, level, grain=grain)
        self._learn(place, value)
        both = level + seasonal
        self._short += SHORT * (both - self._short)
        return self._said(both + self._short)

    def _beside(self, off: float, level: float, *, grain: float) -> float:
        """The residual from the time of the day, in its own spread around 0."""
        spread = self._seasonal
        spread.n += 1
        found = abs(off) / max(math.sqrt(spread.square), grain) if spread.n > WARM else level
        weight = max(1 / spread.n, SPREAD)
        spread.square = (1 - weight) * spread.square + weight * off * off
        return found

    def _learn(self, place: int, value: float) -> None:
        if place != self._slot:
            if self._count:
                self._slots[self._slot].learn(self._sum / self._count)
            self._slot, self._sum, self._count = place, 0.0, 0
        self._sum += value
        self._count += 1

    def _said(self, raw: float) -> Judged:
        """The score, or 0 when one of the last ``REST`` points had as high a one."""
        self._n += 1
        recent = self._recent
        while recent and recent[0][0] < self._n - REST:
            recent.popleft()
        highest = recent[0][1] if recent else -1.0
        while recent and recent[-1][1] <= raw:
            recent.pop()
        recent.append((self._n, raw))
        score = raw if raw > highest else 0.0
        return Judged(score, anomaly=self._n > self._spared and score >= self._threshold)
