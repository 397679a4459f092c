"""Any machine's table: which column names the machine, which the moment, and which are channels.

A stranger's table needs no renaming when it uses one of the usual names; every other numeric column is a channel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from msgspec import Struct

from modelkeep import BadInput, Value, moment
from modelkeep.workloads.drilling.sessions import Floats

UNITS = ("unit", "unit_id", "entity", "device_id", "machine", "machine_id", "engine", "experiment", "well", "asset")
TIMES = ("time", "event_time", "timestamp", "datetime", "cycle", "cycles", "at", "date")
TOLD = ("label_time", "told", "told_at", "target_time")
LIVES = ("rul", "remaining_life", "RUL", "label")
FAILURES = ("failed", "failure", "breakdown")
TARGETS = ("rop", "target", "label", "rop_1_ft", "ROP", "torque")
NOT_CHANNELS = frozenset({"seq", "set", "split", "anomaly", "changepoint", "target", *TOLD, *FAILURES, *LIVES})


class Machines(Struct, frozen=True, kw_only=True):
    """A table as arrays, sorted by machine and then by time.

    ``order`` are the places in the given table; ``at`` are epoch seconds, or the table's own count (cycles) where its
    times are plain numbers: then ``counted`` is True. ``first`` are the places at which a machine begins. ``values``
    has one row each and one column a channel; what is missing is NaN.
    """

    order: tuple[int, ...]
    keys: tuple[str, ...]
    at: Floats
    counted: bool
    first: tuple[int, ...]
    names: tuple[str, ...]
    values: Floats

    @property
    def spans(self) -> list[slice]:
        """The rows of each machine."""
        ends = [*self.first[1:], len(self.keys)]
        return [slice(start, end) for start, end in zip(self.first, ends, strict=True)]


def read(table: Mapping[str, Sequence[Value]], *, leave_out: Sequence[str] = ()) -> Machines:
    """The machines of a table; ``leave_out`` are columns that are no channels (the label).

    Raises BadInput when there is no moment or no numeric channel, naming what was looked for.
    """
    size = max((len(values) for values in table.values()), default=0)
    time = place(table, TIMES, what="moment")
    unit = find(table, UNITS)
    at, counted = moments(table[time])
    keys = [str(value) for value in table[unit]] if unit else ["machine"] * size
    keys = _told_apart(keys, at, table=table)
    aside = {time, *filter(None, (unit,)), *leave_out} | NOT_CHANNELS
    numeric = {name: numbers(values) for name, values in table.items() if name not in aside}
    columns = {name: values for name, values in numeric.items() if values is not None}
    if not columns:
        raise BadInput(
            f"the table has no numeric channel beside {', '.join(sorted(aside & set(table)))}",
            remedy="give at least one column of numbers",
        )
    order = sorted(range(size), key=lambda i: (keys[i], at[i]))
    ordered = [keys[i] for i in order]
    first = [i for i, key in enumerate(ordered) if i == 0 or key != ordered[i - 1]]
    return Machines(
        order=tuple(order),
        keys=tuple(ordered),
        at=at[order],
        counted=counted,
        first=tuple(first),
        names=tuple(columns),
        values=np.column_stack(list(columns.values()))[order],
    )


def find(table: Mapping[str, Sequence[Value]], names: Sequence[str]) -> str:
    """The first of ``names`` that the table has, or an empty text."""
    return next((name for name in names if name in table), "")


def place(table: Mapping[str, Sequence[Value]], names: Sequence[str], *, what: str) -> str:
    """The first of ``names`` that the table has. Raises BadInput naming what it looked for."""
    name = find(table, names)
    if not name:
        raise BadInput(
            f"the table has no column with the {what}: it has {', '.join(table)}",
            remedy=f"name it {' or '.join(names[:4])}, or use --map {names[0]}=COLUMN",
        )
    return name


def moments(values: Sequence[Value]) -> tuple[Floats, bool]:
    """Moments as epoch seconds, or as they are where they are a count; and whether they are a count.

    Plain numbers below 10^8 (March 1973) are a count, such as cycles. Raises BadInput for what is no moment.
    """
    if all(isinstance(value, int | float) for value in values):
        found = np.array([float(value) for value in values if value is not None])
        return found, bool(found.size) and float(np.abs(found).max()) < 1e8
    return np.array([moment(str(value), "time") for value in values]), False


def numbers(values: Sequence[Value]) -> Floats | None:
    """A column as numbers (NaN where missing), or None when it holds a text that is no number, or nothing at all."""
    found = np.full(len(values), math.nan)
    for i, value in enumerate(values):
        if value is None:
            continue
        try:
            found[i] = float(value)
        except ValueError:
            return None
    found[~np.isfinite(found)] = math.nan
    return None if np.isnan(found).all() else found


def _told_apart(keys: list[str], at: Floats, *, table: Mapping[str, Sequence[Value]]) -> list[str]:
    """The machines' names; where one is at two rows at once, with the first text column that tells them apart.

    Files that hold several sets count their machines from 1 in each.
    """
    moments_of = at.tolist()
    if len(set(zip(keys, moments_of, strict=True))) == len(keys):
        return keys
    for values in table.values():
        if all(isinstance(value, str) for value in values):
            joined = [f"{value}/{key}" for value, key in zip(values, keys, strict=True)]
            if len(set(joined)) < len(keys) and len(set(zip(joined, moments_of, strict=True))) == len(keys):
                return joined
    return keys


def rolling(values: Floats, width: int) -> Floats:
    """The mean of the last ``width`` rows at each row, of those that are known; NaN where none is.

    >>> rolling(np.array([[1.0], [3.0], [math.nan]]), 2).ravel().tolist()
    [1.0, 2.0, 3.0]
    """
    known = np.isfinite(values)
    total = np.vstack([np.zeros(values.shape[1]), np.cumsum(np.where(known, values, 0.0), axis=0)])
    count = np.vstack([np.zeros(values.shape[1]), np.cumsum(known, axis=0)])
    last = np.arange(1, len(values) + 1)
    early = np.maximum(last - width, 0)
    n = count[last] - count[early]
    return np.where(n > 0, (total[last] - total[early]) / np.maximum(n, 1), math.nan)


def slopes(values: Floats, width: int) -> Floats:
    """The least-squares slope over the last ``width`` rows, per ``width`` rows; 0 below five rows.

    A missing value counts as the last known one before it.
    """
    filled = _filled(values)
    n = len(filled)
    place = np.arange(n)[:, None].astype(np.float64)
    total = np.vstack([np.zeros(filled.shape[1]), np.cumsum(filled, axis=0)])
    moved = np.vstack([np.zeros(filled.shape[1]), np.cumsum(filled * place, axis=0)])
    last = np.arange(1, n + 1)
    early = np.maximum(last - width, 0)
    m = (last - early)[:, None].astype(np.float64)
    middle = ((early + last - 1) / 2)[:, None]
    cross = moved[last] - moved[early] - middle * (total[last] - total[early])
    return np.where(m >= 5, cross / np.maximum(m * (m**2 - 1) / 12, 1e-12) * m, 0.0)


def _filled(values: Floats) -> Floats:
    known = np.isfinite(values)
    at = np.where(known, np.arange(len(values))[:, None], -1)
    at = np.maximum.accumulate(at, axis=0)
    taken = np.take_along_axis(values, np.maximum(at, 0), axis=0)
    return np.where(at >= 0, np.nan_to_num(taken), 0.0)
