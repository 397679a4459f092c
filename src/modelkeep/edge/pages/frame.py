"""Where things stand in a chart's drawing: the frame that its lines and marks share."""

from __future__ import annotations

import math
from collections.abc import Iterator

from msgspec import Struct

from modelkeep.edge.pages.charts import Chart, Line, Point

HEIGHT, TOP, BOTTOM, WIDE = 216, 28, 22, 1000
"""Pixels of the whole, above and below the plot; ``WIDE`` is the width of the inner drawing, which stretches."""
PLOT = HEIGHT - TOP - BOTTOM


class Frame(Struct, frozen=True, kw_only=True):
    """A chart with the numbers on its axis, lowest first: where things stand."""

    chart: Chart
    ticks: tuple[float, ...]

    def x(self, at: float) -> str:
        """A moment as a percentage of the width."""
        return f"{self.chart.place(at) * 100:.2f}%"

    def y(self, value: float | None) -> float:
        """A value as pixels below the plot's top, held within the plot."""
        low, high = self.ticks[0], self.ticks[-1]
        return round(PLOT * (1 - (min(max(value or 0.0, low), high) - low) / (high - low)), 1)

    def spot(self, at: float, value: float | None) -> str:
        """A point of the stretching drawing."""
        return f"{self.chart.place(at) * WIDE:.1f} {self.y(value):g}"


def ticks(low: float, high: float) -> tuple[float, ...]:
    """Three to six round numbers that cover a range.

    >>> ticks(0.0, 23.0)
    (0.0, 10.0, 20.0, 30.0)
    """
    rough = max(high - low, 1e-9) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((m * power for m in (1, 2, 2.5, 5) if m * power >= rough), 10 * power)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(round(i * step, 10) for i in range(first, max(last, first + 1) + 1))


def runs(line: Line) -> Iterator[list[Point]]:
    """The unbroken stretches of a line: an unknown value is a gap, not a bridge."""
    run: list[Point] = []
    for point in line.points:
        if point.value is not None:
            run.append(point)
        elif run:
            yield run
            run = []
    if run:
        yield run
