"""What the failure model sees of a device at a moment: levels, and how far they moved from the device's own past.

A level alone cannot tell a device that has always been so from one that is going wrong, so every metric stands beside
its change over 1, 7 and 14 days and its distance from the device's usual (the median of its year before). Changes
are taken of the signed logarithm, because counts of errors grow by factors. Neither the calendar nor the age of a
device is a feature: a model that learns when devices failed does not learn which will.
"""

from bisect import bisect_left, insort
from collections.abc import Mapping

import numpy as np

from modelkeep.workloads.devices.fleet import DAY, Fleet, Floats, Whole

LAGS = (1, 7, 14)
USUAL_DAYS = 365
SLACK = 0.25 * DAY
"""Readings are not taken to the second: a day ago is anything older than 18 hours."""
AGES = frozenset({"uptime", "uptime_hours", "uptime_s", "age", "age_days", "days_in_service", "operating_hours"})
"""Metrics that only say how old a device is, or how long it has run: never a feature."""
_CHANGE, _USUAL = "change_{days}d", "from_usual"


def names_of(metric: str) -> tuple[str, ...]:
    """The inputs made of one metric.

    >>> names_of("rssi")
    ('rssi', 'rssi_change_1d', 'rssi_change_7d', 'rssi_change_14d', 'rssi_from_usual')
    """
    return (metric, *(f"{metric}_{_CHANGE.format(days=days)}" for days in LAGS), f"{metric}_{_USUAL}")


def metrics_of(inputs: Mapping[str, object]) -> tuple[str, ...]:
    """The metrics that a model's inputs are made of."""
    mark = f"_{_CHANGE.format(days=LAGS[-1])}"
    return tuple(name.removesuffix(mark) for name in inputs if name.endswith(mark))


def logged(values: Floats) -> Floats:
    """The signed logarithm sign(x) log(1 + |x|): 0 stays 0, and a doubling is the same step at every size."""
    found: Floats = np.sign(values) * np.log1p(np.abs(values))
    return found


def features(fleet: Fleet) -> dict[str, Floats]:
    """The inputs by name, a value a row of the fleet; NaN where the past is not known.

    A row uses readings of its own device at or before its own moment, nothing else.
    """
    timeline = _timeline(fleet)
    before = {days: _before(fleet, timeline, days=days) for days in LAGS}
    since = np.searchsorted(timeline, timeline - USUAL_DAYS * DAY, side="left").astype(np.intp)
    first = np.searchsorted(fleet.device, fleet.device, side="left").astype(np.intp)
    since = np.maximum(since, first)
    found: dict[str, Floats] = {}
    for metric, values in fleet.metrics.items():
        if metric in AGES:
            continue
        level = logged(values)
        moved = [np.where(place < 0, np.nan, level - level[place]) for place in before.values()]
        parts = (values, *moved, level - usual(level, since))
        found |= dict(zip(names_of(metric), parts, strict=True))
    return found


def _timeline(fleet: Fleet) -> Floats:
    """One rising number a row: devices one after the other, far enough apart that no window reaches across."""
    start = float(fleet.at.min()) if len(fleet) else 0.0
    span = float(np.ptp(fleet.at)) + 1000 * DAY if len(fleet) else 0.0
    found: Floats = (fleet.at - start) + fleet.device * span
    return found


def _before(fleet: Fleet, timeline: Floats, *, days: int) -> Whole:
    """The device's newest row at least ``days`` old and less than twice as old (and a day); -1 where there is none."""
    place = np.searchsorted(timeline, timeline - days * DAY + SLACK, side="right").astype(np.intp) - 1
    known = np.maximum(place, 0)
    same = (place >= 0) & (fleet.device[known] == fleet.device)
    fresh = fleet.at - fleet.at[known] <= (2 * days + 1) * DAY
    return np.where(same & fresh, place, -1).astype(np.intp)


def usual(level: Floats, since: Whole) -> Floats:
    """The median of the known values of rows ``since[i]`` to i - 1, for each row i; NaN without any.

    ``since`` never falls, and a device's window begins with its own first row.
    """
    found = np.full(len(level), np.nan)
    window: list[float] = []
    start = end = 0
    values = level.tolist()
    for place, begin in enumerate(since.tolist()):
        while end < place:
            if values[end] == values[end]:  # not NaN
                insort(window, values[end])
            end += 1
        while start < begin:
            if values[start] == values[start]:
                window.pop(bisect_left(window, values[start]))
            start += 1
        if window:
            half = len(window) // 2
            found[place] = window[half] if len(window) % 2 else (window[half - 1] + window[half]) / 2
    return found
