"""What a chart shows: lines, marks and shades over time, as types. ``drawing`` makes SVG of them.

The numbers of a chart are also a table (``Chart.rows``): the fallback for screen readers, and the source of the page's
read-out under the pointer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

from modelkeep.edge.pages.words import clock, day, figure, percent

Look = Literal["model", "baseline", "challenger", "count", "fourth"]


class Point(Struct, frozen=True, kw_only=True):
    """One value of a line at a moment; None is a gap. ``low`` and ``high`` bound its interval."""

    at: float
    value: float | None
    low: float | None = None
    high: float | None = None


class Line(Struct, frozen=True, kw_only=True):
    """A named series, oldest first."""

    name: str
    look: Look
    points: tuple[Point, ...]


class Mark(Struct, frozen=True, kw_only=True):
    """A moment that matters, such as a version taking over."""

    at: float
    label: str


class Shade(Struct, frozen=True, kw_only=True):
    """A span of time that matters, such as an open alert."""

    start: float
    end: float
    label: str


class Chart(Struct, frozen=True, kw_only=True):
    """One chart from ``start`` to ``end``; all lines share one unit. ``fine`` ones tell the time of the day, too."""

    name: str
    title: str
    summary: str
    start: float
    end: float
    lines: tuple[Line, ...]
    bars: bool = False
    share: bool = False
    level: str = ""
    fine: bool = False
    marks: tuple[Mark, ...] = ()
    shades: tuple[Shade, ...] = ()

    @property
    def known(self) -> bool:
        """Whether there is anything to draw."""
        return any(p.value is not None for line in self.lines for p in line.points)

    def say(self, value: float | None) -> str:
        """A value as the axis and the table write it."""
        return percent(value) if self.share else figure(value)

    def place(self, at: float) -> float:
        """Where a moment stands, as a fraction of the width."""
        return min(max((at - self.start) / max(self.end - self.start, 1e-9), 0.0), 1.0)

    def rows(self) -> Iterator[tuple[float, str, list[str]]]:
        """The chart as a table: place, day, one text per line (with its interval)."""
        lines = [{point.at: point for point in line.points} for line in self.lines]
        for at in sorted({moment for line in lines for moment in line}):
            cells = [self._cell(line[at]) if at in line else "" for line in lines]
            yield round(self.place(at), 4), clock(at) if self.fine else day(at), cells

    def _cell(self, point: Point) -> str:
        bounds = point.value is not None and point.low is not None and point.high is not None
        return self.say(point.value) + (f" ({self.say(point.low)} to {self.say(point.high)})" if bounds else "")
