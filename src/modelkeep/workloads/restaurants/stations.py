"""How kitchen stations do: their times, and whether one has become slower than it was itself.

A station is a bottleneck when its last days are slower than its own earlier ones by more than chance: the Welch
interval (1947) of the difference of log minutes lies above 0, and the slowing is worth a word. "Above its own 75th
percentile" is not the question: a quarter of all tickets always is.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log, sqrt
from statistics import NormalDist, fmean, median, pstdev, variance

from msgspec import Struct

from modelkeep import Rooms
from modelkeep.workloads.restaurants import keeping

DAY = 86400.0
RECENT, EARLIER = 7, 56
LEAST = 20
"""Tickets on either side from which a verdict is given."""
SLOWER = 1.1
LONGEST = 120.0
WITHIN = 5.0
SURE = 0.99
"""Many stations are looked at every day: an interval of 95 % would name one of twenty for nothing."""


class Station(Struct, frozen=True, kw_only=True):
    """A station's times in minutes over the last weeks; ``within_5`` is the share within five minutes of its median."""

    station_id: str
    station_name: str
    n: int
    avg: float
    median: float
    std: float
    min: float
    max: float
    within_5: float


class Bottleneck(Struct, frozen=True, kw_only=True):
    """A station and how much slower its last 7 days are than its 56 before: a ratio with its 99 % interval.

    ``bottleneck`` is null where there are too few tickets, and ``reason`` says so.
    """

    station_id: str
    station_name: str
    bottleneck: bool | None
    n: int
    baseline_n: int
    recent_minutes: float | None
    baseline_minutes: float | None
    ratio: float | None
    interval: tuple[float, float] | None
    reason: str


class Times(Struct, frozen=True, kw_only=True):
    """Finished tickets of one station: when each was assigned, and its minutes, queue included."""

    station: str
    name: str
    at: tuple[float, ...]
    minutes: tuple[float, ...]


def times(rooms: Rooms, restaurant: str) -> list[Times]:
    """The finished tickets of the last weeks, by station; times of 0, or of over two hours, are forgotten tickets."""
    start = rooms.clock.now() - (RECENT + EARLIER) * DAY
    rows = keeping.dataset(rooms, "tickets").sql(
        "SELECT station, any_value(coalesce(station_name, station)), list(assigned ORDER BY assigned), "
        "list((completed - assigned) / 60 ORDER BY assigned) FROM data WHERE restaurant = ? AND assigned >= ? "
        "AND completed > assigned AND completed - assigned <= ? GROUP BY station ORDER BY station",
        [restaurant, start, LONGEST * 60],
    )
    return [Times(station=s, name=n, at=tuple(at), minutes=tuple(minutes)) for s, n, at, minutes in rows]


def performance(found: Times) -> Station:
    """How a station does."""
    middle = median(found.minutes)
    return Station(
        station_id=found.station,
        station_name=found.name,
        n=len(found.minutes),
        avg=round(fmean(found.minutes), 2),
        median=round(middle, 2),
        std=round(pstdev(found.minutes), 2),
        min=round(min(found.minutes), 2),
        max=round(max(found.minutes), 2),
        within_5=round(fmean(abs(one - middle) <= WITHIN for one in found.minutes), 3),
    )


def slowed(found: Times, *, now: float) -> Bottleneck:
    """Whether a station is a bottleneck.

    >>> at = tuple(float(i) for i in range(60))
    >>> steady = Times(station="grill", name="grill", at=at, minutes=(9.0, 10.0, 11.0) * 20)
    >>> slowed(steady, now=40 + 7 * 86400.0).bottleneck
    False
    """
    pairs = list(zip(found.at, found.minutes, strict=True))
    late = [minutes for at, minutes in pairs if at >= now - RECENT * DAY]
    early = [minutes for at, minutes in pairs if at < now - RECENT * DAY]
    if min(len(late), len(early)) < LEAST:
        return Bottleneck(
            station_id=found.station, station_name=found.name, bottleneck=None, n=len(late), baseline_n=len(early),
            recent_minutes=None, baseline_minutes=None, ratio=None, interval=None,
            reason=f"{len(late)} tickets in 7 days and {len(early)} in the 56 before, {LEAST} of each are needed",
        )  # fmt: skip
    low, ratio, high = compared(late, early)
    slow = low > 1 and ratio >= SLOWER
    verdict = "slower than it was" if slow else "no slower than chance allows"
    return Bottleneck(
        station_id=found.station,
        station_name=found.name,
        bottleneck=slow,
        n=len(late),
        baseline_n=len(early),
        recent_minutes=round(fmean(late), 2),
        baseline_minutes=round(fmean(early), 2),
        ratio=round(ratio, 3),
        interval=(round(low, 3), round(high, 3)),
        reason=f"{verdict}: {ratio:.2f} times, 99 % interval {low:.2f} to {high:.2f}",
    )


def compared(late: Sequence[float], early: Sequence[float]) -> tuple[float, float, float]:
    """The ratio of the typical times (geometric means), between the ends of its interval."""
    ours, theirs = [log(one) for one in late], [log(one) for one in early]
    off = fmean(ours) - fmean(theirs)
    spread = sqrt(variance(ours) / len(ours) + variance(theirs) / len(theirs))
    reach = NormalDist().inv_cdf((1 + SURE) / 2) * spread
    return exp(off - reach), exp(off), exp(off + reach)
