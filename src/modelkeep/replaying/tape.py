"""Prepared rows as a tape: who asks when, and what is told when."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

import numpy as np
from msgspec import Struct, structs

from modelkeep.errors import BadInput
from modelkeep.nouns import Features
from modelkeep.quantities import DAY, HOUR
from modelkeep.runtimes.training import TrainingRows

MOST_STEPS = 1500
STEPS = (HOUR, 6 * HOUR, DAY)
TICKS = 4
"""A step has so many ticks: rows of one tick are asked together, knowing what was told before the first of them."""
FIRST = 0.25
"""The share of the time span that trains version 1."""


class Tick(Struct, frozen=True, kw_only=True):
    """Rows ``first`` to ``end`` (exclusive) that are asked together."""

    first: int
    end: int


class Tape:
    """Prepared rows in the order in which they are asked; ``told`` has the moment of each row's outcome."""

    def __init__(self, rows: TrainingRows) -> None:
        order = sorted(range(len(rows.at)), key=rows.at.__getitem__)
        self.rows = picked(rows, order)
        self.at = self.rows.at
        self.targets = self.rows.targets or self.at
        self.told = self.rows.told or self.at
        self.in_order_of_telling = sorted(range(len(self.at)), key=self.told.__getitem__)

    def beginning(self, until: float | None) -> float:
        """The moment at which the stream begins: ``until``, else after the first quarter of the time.

        Raises BadInput when nothing was told before it, or nothing is left after it.
        """
        first, last = self.at[0], self.at[-1]
        start = first + FIRST * (last - first) if until is None else until
        if last <= first:
            raise BadInput("all rows are of one moment: there is nothing to replay", remedy="map a column: event_time")
        if not first < start <= last:
            raise BadInput(f"the replay cannot begin at {start:g}: its rows are from {first:g} to {last:g}")
        return start

    def learnt(self, start: float) -> TrainingRows:
        """The rows that version 1 may learn from: those whose outcome was told before ``start``."""
        return picked(self.rows, [i for i in range(len(self.at)) if self.told[i] <= start and self.at[i] < start])

    def ticks(self, start: float, end: float, *, width: float) -> Iterator[Tick]:
        """The rows asked in ``start <= at < end``, in groups of at most ``width`` seconds; without empty ones."""
        first, last = bisect_left(self.at, start), bisect_left(self.at, end)
        while first < last:
            stop = min(bisect_right(self.at, self.at[first] + width * (1 - 1e-9)), last)
            yield Tick(first=first, end=stop)
            first = stop

    def features(self, place: int, names: Sequence[str]) -> Features:
        """What is asked of a row."""
        return {name: self.rows.columns[name][place] for name in names}


def picked(rows: TrainingRows, places: Sequence[int]) -> TrainingRows:
    """Some of the rows, in the given order."""

    def some(values: list) -> list:  # type: ignore[type-arg]  # of whatever the list holds
        return [values[i] for i in places] if values else []

    return structs.replace(
        rows,
        columns={name: some(values) for name, values in rows.columns.items()},
        truth=some(rows.truth),
        keys=some(rows.keys),
        at=some(rows.at),
        targets=some(rows.targets),
        told=some(rows.told),
        groups=some(rows.groups),
    )


def step_for(start: float, end: float, *, at: Sequence[float]) -> float:
    """The shortest of an hour, six hours and a day that gives at most 1,500 steps and mostly some row in each."""
    moments = np.asarray(at)
    moments = moments[(moments >= start) & (moments < end)]
    for step in STEPS:
        steps = (end - start) / step
        if steps <= MOST_STEPS and len(np.unique(moments // step)) >= steps / 2:
            return step
    return max(DAY, float(np.ceil((end - start) / MOST_STEPS / DAY) * DAY))
