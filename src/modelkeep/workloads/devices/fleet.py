"""A fleet's readings as arrays: one row a device and day, sorted by device and time, one array a metric."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from modelkeep import BadInput, Value
from modelkeep.workloads.devices.metrics import metric_name, number_of
from modelkeep.workloads.devices.readings import (
    DEVICE,
    METRIC,
    NOT_METRICS,
    TIME,
    VALUE,
    Taken,
    column,
    instant,
    refuse_one_row,
    rows_of,
)

Floats: TypeAlias = NDArray[np.float64]
Whole: TypeAlias = NDArray[np.intp]
DAY = 86400.0


def known(value: float) -> float | None:
    """A number, or None for NaN."""
    return None if math.isnan(value) else float(value)


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Rows sorted by device, then time.

    ``device`` is the place of the row's device in ``devices``, ``at`` its moment (seconds since 1970), ``metrics`` a
    value a row and metric (NaN = missing), ``source`` the row of the table that it came from (-1 when several were put
    together).
    """

    devices: tuple[str, ...]
    device: Whole
    at: Floats
    metrics: dict[str, Floats]
    source: Whole

    def __len__(self) -> int:
        return len(self.at)

    @property
    def names(self) -> list[str]:
        """The device of each row, by its id."""
        return [self.devices[place] for place in self.device]


def fleet_of(table: Mapping[str, Sequence[Value]]) -> Fleet:
    """A fleet from a table of either layout: one metric a row, or one column a metric (any column of numbers).

    Raises BadInput for a table without devices, times or metrics, or with one distinct row.
    """
    if column(table, METRIC) and column(table, VALUE):
        return daily(rows_of(table).taken)
    return _wide(table)


def daily(taken: Iterable[Taken]) -> Fleet:
    """One row a device and UTC day, at the moment of the day's last reading: each metric's mean over the day.

    A day's row uses no reading of a later day, so it is what was known when the day ended.
    """
    cells: dict[tuple[str, int, str], tuple[float, int, float]] = {}
    for one in taken:
        place = (one.device, int(one.at // DAY), one.metric)
        total, n, last = cells.get(place, (0.0, 0, one.at))
        cells[place] = (total + one.value, n + 1, max(last, one.at))
    return of_days([(*place, total / n, last) for place, (total, n, last) in cells.items()])


def of_days(rows: Sequence[tuple[str, int, str, float, float]]) -> Fleet:
    """A fleet of daily means: (device, day since 1970, metric, mean, moment of the last reading) a row."""
    places: dict[tuple[str, int], int] = {}
    ends: list[float] = []
    names = list(dict.fromkeys(metric for _, _, metric, _, _ in rows))
    for device, day, _, _, last in rows:
        place = places.setdefault((device, day), len(places))
        if place == len(ends):
            ends.append(last)
        ends[place] = max(ends[place], last)
    metrics = {name: np.full(len(places), np.nan) for name in names}
    for device, day, metric, mean, _ in rows:
        metrics[metric][places[device, day]] = mean
    devices = sorted({device for device, _ in places})
    numbers = {device: number for number, device in enumerate(devices)}
    device_of = np.array([numbers[device] for device, _ in places], dtype=np.intp)
    at = np.array(ends, dtype=np.float64)
    order = np.lexsort((at, device_of))
    return Fleet(
        devices=tuple(devices),
        device=device_of[order],
        at=at[order],
        metrics={name: values[order] for name, values in metrics.items()},
        source=np.full(len(order), -1, dtype=np.intp),
    )


def _wide(table: Mapping[str, Sequence[Value]]) -> Fleet:
    who, when = column(table, DEVICE), column(table, TIME)
    if not who or not when:
        raise BadInput(
            f"the table has no column for the {'device' if not who else 'time'}; it has {', '.join(table) or 'none'}",
            remedy="name it device_id or timestamp, or map it: --map device_id=YOURS --map timestamp=YOURS",
        )
    refuse_one_row(table)
    at = np.array([instant(value, when) for value in table[when]], dtype=np.float64)
    names = [str(value) for value in table[who]]
    devices, device = np.unique(np.array(names, dtype=object).astype(str), return_inverse=True)
    order = np.lexsort((at, device))
    found = {name: values for name in table for values in [_numbers(name, table[name])] if values is not None}
    if not found:
        raise BadInput("the table has no column of numbers that could be a metric", remedy="give what devices measure")
    return Fleet(
        devices=tuple(devices.tolist()),
        device=device[order].astype(np.intp),
        at=at[order],
        metrics={metric_name(name): values[order] for name, values in found.items()},
        source=order,
    )


def _numbers(name: str, values: Sequence[Value]) -> Floats | None:
    """A column as numbers, or None when it is no metric: a name, a time, or text without any number."""
    if name.lower() in NOT_METRICS:
        return None
    try:
        found = [number_of(value) for value in values]
    except ValueError:
        return None
    numbers = np.array([np.nan if value is None else value for value in found], dtype=np.float64)
    return numbers if np.isfinite(numbers).any() else None
