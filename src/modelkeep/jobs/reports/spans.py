"""The time reported on and the time before it, in blocks; and figures that compare the two."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from msgspec import Struct
from msgspec.structs import replace

from modelkeep.jobs.reports.parts import Better, Figure
from modelkeep.profile import Slice
from modelkeep.quantities import DAY, HOUR, iso
from modelkeep.store.seams import Ledger
from modelkeep.watch.changes import Block, Change, compared

LEAST = 10
"""Fewer observations than this say nothing."""
BLOCKS = 8
"""A span shorter than four days is cut into so many blocks; a longer one into days."""


class Span(Struct, frozen=True, kw_only=True):
    """What is reported on: ``start`` to ``end`` (moments on the hour), beside as long a time before ``start``."""

    start: float
    end: float

    @property
    def length(self) -> float:
        """In seconds."""
        return self.end - self.start

    @property
    def earlier(self) -> float:
        """Where the time before begins."""
        return self.start - self.length

    @property
    def block(self) -> float:
        """The length of a block: a day, because hours of one day err together; of a short span an eighth."""
        return DAY if self.length >= 4 * DAY else max(math.ceil(self.length / BLOCKS / HOUR), 1) * HOUR

    @property
    def window(self) -> str:
        """How far back from now it begins, as a duration for a query."""
        return f"{round(self.length / HOUR)}h"

    def blocks(self, dated: Iterable[tuple[float, float, float]]) -> tuple[list[Block], list[Block]]:
        """Sums of (moment, numerator, denominator) by block: of the span, and of the time before."""
        found: dict[int, tuple[float, float]] = {}
        for at, above, below in dated:
            if self.earlier <= at < self.end:
                place = math.floor((at - self.start) / self.block)
                was = found.get(place, (0.0, 0.0))
                found[place] = was[0] + above, was[1] + below
        now = [block for place, block in sorted(found.items()) if place >= 0]
        return now, [block for place, block in sorted(found.items()) if place < 0]


class Draft(Struct, frozen=True, kw_only=True):
    """A figure whose interval waits for the number of comparisons that the report makes."""

    figure: Figure
    now: tuple[Block, ...] = ()
    before: tuple[Block, ...] = ()
    counts: bool = False

    @property
    def comparable(self) -> bool:
        """Whether the data allows a comparison at all; where nothing ever varied there is none to make."""
        interval = compared(self.now, self.before).interval
        return self.figure.value is not None and interval not in {None, (0.0, 0.0)}

    def settled(self, comparisons: int) -> Figure:
        """The figure with an interval that holds for all ``comparisons`` at once (Bonferroni)."""
        change = compared(self.now, self.before, error=0.05 / max(comparisons, 1))
        n_before = round(change.before or 0.0) if self.counts else round(change.n_before)
        if self.figure.value is None or change.before is None or (n_before < LEAST and not self.counts):
            return replace(self.figure, n_before=n_before)
        return replace(
            self.figure, before=change.before, n_before=n_before, change=change.difference,
            change_interval=change.interval,
        )  # fmt: skip


class Asked(Struct, frozen=True, kw_only=True):
    """What a figure is called and where it comes from; ``lacking`` says what there is too little of."""

    name: str
    subject: str
    lacking: str
    unit: str = ""
    better: Better = "neither"
    query: str = ""
    command: str = ""
    least: int = LEAST
    matters: float = 0.0


def drafted(asked: Asked, span: Span, *, dated: Iterable[tuple[float, float, float]], detail: str = "") -> Draft:
    """The ratio of sums of (moment, numerator, denominator) over the span, or unknown when it stands on too little."""
    now, before = span.blocks(dated)
    change: Change = compared(now, before)
    n = round(change.n)
    value = change.now if n >= asked.least else None
    said = detail if value is not None else f"{n} {asked.lacking}, {asked.least} are needed"
    figure = Figure(
        name=asked.name, subject=asked.subject, value=value, n=n, unit=asked.unit, better=asked.better, detail=said,
        query=asked.query, command=asked.command, matters=asked.matters,
    )  # fmt: skip
    return Draft(figure=figure, now=tuple(now), before=tuple(before))


def counted(asked: Asked, dated: Iterable[tuple[float, float]], *, span: Span, since: float, detail: str = "") -> Draft:
    """How many things happened, from (moment, how many): known when it is 0 too, but not before ``since``."""
    held = [(at, number) for at, number in dated if span.earlier <= at < span.end]
    whole = max(math.ceil(span.length / span.block), 1)
    # Each block's number is multiplied by how many blocks there are, so that their mean is the number of the span.
    filled = [(span.start + place * span.block, 0.0, 1.0) for place in range(-whole, whole)]
    now, before = span.blocks([*filled, *((at, number * whole, 0.0) for at, number in held)])
    value = sum(number for at, number in held if at >= span.start)
    known = since <= span.earlier
    figure = Figure(
        name=asked.name, subject=asked.subject, value=value, n=round(value), unit=asked.unit, better=asked.better,
        detail=detail if known else f"{detail}; nothing was kept before {iso(since)}".lstrip("; "), query=asked.query,
        command=asked.command,
    )  # fmt: skip
    return Draft(figure=figure, now=tuple(now), before=tuple(before) if known else (), counts=True)


def of_series(ledger: Ledger, asked: Asked, *, span: Span) -> Draft:
    """The mean of a reading over the span."""
    found = ledger.readings.series(asked.name, asked.subject, start=span.earlier, end=span.end)
    days = ledger.readings.days(asked.name, asked.subject, start=span.earlier, end=span.end)
    dated = [(one.day + DAY / 2, one.mean * one.known, float(one.known)) for one in days if one.mean is not None]
    dated += [(reading.at, reading.value, 1.0) for reading in found if reading.value is not None]
    first = min((at for at, _, _ in dated), default=span.start)
    late = first > span.start + span.block
    return drafted(asked, span, dated=dated, detail=f"readings are kept from {iso(first)} on" if late else "")


def of_hours(slices: Iterable[Slice], measure: Callable[[Slice], Block]) -> list[tuple[float, float, float]]:
    """A numerator and a denominator of every hourly profile, with its moment."""
    return [(one.start, *measure(one)) for one in slices]
