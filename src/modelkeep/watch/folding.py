"""What the measures have in common: spans of hours, sums over them, and honest readings."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from modelkeep.nouns import Facts, Reading
from modelkeep.profile import Column, Slice, Sums, Window
from modelkeep.quantities import DAY, duration

NEED = 10
"""Fewer observations than this say nothing: a reading that stands on them is unknown."""


def honest(reading: Reading) -> Reading:
    """The reading itself, or an unknown one when its value is NaN or infinite: NaN never becomes ok."""
    interval = reading.interval
    if interval is not None and not all(math.isfinite(end) for end in interval):
        reading = msgspec.structs.replace(reading, interval=None)
    if reading.value is None or math.isfinite(reading.value):
        return reading
    detail = f"{reading.name} came out as {reading.value}, which says nothing"
    return msgspec.structs.replace(reading, value=None, interval=None, level="unknown", detail=detail)


def unknown(window: Window, name: str, *, detail: str, n: int = 0, facts: Facts | None = None) -> Reading:
    """A reading of what cannot be known now; ``detail`` says why."""
    return Reading(
        name=name, subject=window.version.name, value=None, level="unknown", at=window.end, n=n, detail=detail,
        facts=facts or {},
    )  # fmt: skip


def lacking(window: Window, name: str, *, have: int, need: int, what: str) -> Reading:
    """A reading that stands on too little: its facts say how much there is, and how much is needed."""
    detail = f"{have} {what} in the last {span(window)}, {need} are needed"
    return unknown(
        window, name, detail=detail, n=have, facts={"reason": "insufficient_data", "have": have, "need": need}
    )


def span(window: Window) -> str:
    """The length of the window in words."""
    return duration(window.end - window.start)


def last_day(slices: Sequence[Slice]) -> list[Slice]:
    """The hours of the newest 24 h in which there was traffic."""
    return [s for s in slices if s.start > slices[-1].start - DAY] if slices else []


def recent(slices: Sequence[Slice], need: int) -> list[Slice]:
    """The newest hours that hold ``need`` predictions: the last one when it is busy, at most 24 h when it is not."""
    found: list[Slice] = []
    held = 0
    for s in reversed(last_day(slices)):
        if held >= need:
            break
        found.append(s)
        held += s.profile.n
    return found[::-1]


def covers(slices: Sequence[Slice], end: float) -> str:
    """How far back these hours reach from ``end``, in words."""
    return duration(max(end - slices[0].start, 60.0)) if slices else "0s"


def sums(slices: Sequence[Slice], name: str = "model") -> Sums:
    """The error sums of the model, or of the automatic baseline ``name``."""
    total = Sums()
    for s in slices:
        part = s.profile.errors.get(name)
        if part is not None:
            total = total + part
    return total


def daily(slices: Sequence[Slice]) -> list[list[Slice]]:
    """The hours, grouped by day (UTC)."""
    days: dict[int, list[Slice]] = {}
    for s in slices:
        days.setdefault(int(s.start // DAY), []).append(s)
    return [days[day] for day in sorted(days)]


def columns(slices: Sequence[Slice]) -> dict[str, Column]:
    """Every column of all hours as one."""
    parts: dict[str, list[Column]] = {}
    for s in slices:
        for name, column in s.profile.columns.items():
            parts.setdefault(name, []).append(column)
    return {name: _together(held) for name, held in parts.items()}


def _together(held: list[Column]) -> Column:
    # The bins of all hours in one numpy call: adding them pairwise costs ten times as much.
    sizes = {column.counts.size for column in held}
    if len(sizes) > 1 or held[0].values:
        total = held[0]
        for column in held[1:]:
            total = _agree(total, column)
        return total
    return Column(
        n=sum(column.n for column in held),
        missing=sum(column.missing for column in held),
        counts=np.sum([column.counts for column in held], axis=0),
        sums=np.sum([column.sums for column in held], axis=0),
        new=sum(column.new for column in held),
        values={},
    )


def _agree(total: Column, column: Column) -> Column:
    # Hours folded as numbers and hours folded as categories have no common bins: the newer ones count.
    return total + column if total.counts.size == column.counts.size else column
