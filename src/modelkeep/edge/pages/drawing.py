"""Draws a ``Chart`` as SVG text. Pure: no clock, no store.

A chart stretches to the width that it is given: what must not be distorted (text, dots, marks) is placed by percentages
of the width, and only the lines live in an inner drawing that stretches with it. Names come from users, so every text
passes through ``Markup.format``, which escapes it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from markupsafe import Markup
from msgspec import Struct

from modelkeep.edge.pages.charts import Chart, Line, Point
from modelkeep.edge.pages.words import day, percent

HEIGHT, TOP, BOTTOM, WIDE = 216, 28, 22, 1000
PLOT = HEIGHT - TOP - BOTTOM
STEPS = (1, 2, 7, 14, 30, 61, 91, 182, 365)
_OPEN = Markup(
    '<svg x="0" y="{}" width="100%" height="{}" viewBox="0 0 {} {}" preserveAspectRatio="none" overflow="visible">'
).format(TOP, PLOT, WIDE, PLOT)


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


def draw(chart: Chart) -> Markup:
    """The chart as one SVG element, or a sentence when nothing is known."""
    if not chart.known:
        return Markup('<p class="nothing">{}: unknown, nothing was measured in this time.</p>').format(chart.title)
    frame = Frame(chart=chart, ticks=ticks(*_reach(chart)))
    parts = [*_shades(frame), *_grid(frame), _OPEN]
    parts += _bars(frame) if chart.bars else _lines(frame)
    parts += [Markup("</svg>"), *_dots(frame), *_marks(frame), *_days(chart)]
    return Markup(
        '<svg class="plot" width="100%" height="{}" role="img"><title>{}</title><desc>{}</desc>{}'
        '<line class="guide" x1="0" x2="0" y1="{}" y2="{}"/></svg>'
    ).format(HEIGHT, chart.title, chart.summary, Markup("").join(parts), TOP, TOP + PLOT)


def _reach(chart: Chart) -> tuple[float, float]:
    """The range of the values with zero; intervals may widen it by half, or one poor day would flatten the rest."""
    points = [p for line in chart.lines for p in line.points if p.value is not None]
    values = [0.0, *(p.value for p in points if p.value is not None)]
    bounds = [0.0, *(bound for p in points for bound in (p.low, p.high) if bound is not None)]
    least, most = min(values), max(values)
    room = (most - least) / 2
    return max(min(least, *bounds), least - room), min(max(most, *bounds), most + room)


def _grid(frame: Frame) -> Iterator[Markup]:
    chart = frame.chart
    for value in frame.ticks:
        y = TOP + frame.y(value)
        zero = value == 0 and frame.ticks[0] < 0
        text = percent(value) if chart.share else f"{value:,g}"
        yield Markup('<line class="{}" x1="0" x2="100%" y1="{}" y2="{}"/>').format("zero" if zero else "grid", y, y)
        yield Markup('<text x="-8" y="{}" text-anchor="end">{}</text>').format(y + 4, text)
        if zero and chart.level:
            yield Markup('<text x="4" y="{}">{}</text>').format(y - 4, chart.level)


def _days(chart: Chart) -> Iterator[Markup]:
    """The days below the plot, seven at most."""
    days = max(round((chart.end - chart.start) / 86400), 1)
    step = next((s for s in STEPS if days / s <= 7), 730)
    first = math.ceil(chart.start / 86400) + step // 2
    for at in range(first * 86400, int(chart.end), step * 86400):
        x = chart.place(at)
        if x <= 0.97:
            side = "start" if x < 0.04 else "middle"
            yield Markup('<text x="{:.2f}%" y="{}" text-anchor="{}">{}</text>').format(
                x * 100, HEIGHT - 5, side, day(at)
            )


def _shades(frame: Frame) -> Iterator[Markup]:
    named = -1.0
    for shade in frame.chart.shades:
        left, right = frame.chart.place(shade.start), frame.chart.place(shade.end)
        if shade.end < frame.chart.start or shade.start > frame.chart.end:
            continue
        x, width = frame.x(shade.start), f"{max(right - left, 0.002) * 100:.2f}%"
        yield Markup('<rect class="shade" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>').format(
            x, TOP, width, PLOT, shade.label
        )
        if left - named > 0.08:
            named = left
            side, gap = ("end", -4) if left > 0.9 else ("start", 5)
            label = Markup('<text class="alarm" x="{}" dx="{}" y="{}" text-anchor="{}">alert</text>')
            yield label.format(x, gap, TOP + 13, side)


def _lines(frame: Frame) -> Iterator[Markup]:
    for line in _order(frame.chart):
        for run in runs(line):
            yield _band(frame, run)
            path = "M" + "L".join(frame.spot(p.at, p.value) for p in run)
            yield Markup('<path class="line {}" d="{}"/>').format(line.look, path)


def _band(frame: Frame, run: Sequence[Point]) -> Markup:
    known = [p for p in run if p.low is not None and p.high is not None]
    if len(known) < 2:
        return Markup("")
    around = [*(frame.spot(p.at, p.high) for p in known), *(frame.spot(p.at, p.low) for p in reversed(known))]
    return Markup('<path class="band" d="M{}Z"/>').format("L".join(around))


def _bars(frame: Frame) -> Iterator[Markup]:
    """All columns as one path, from zero up."""
    for line in frame.chart.lines:
        step = WIDE / max(len(line.points), 1)
        known = [(frame.chart.place(p.at) * WIDE, frame.y(p.value)) for p in line.points if p.value is not None]
        path = "".join(f"M{max(x - step * 0.4, 0):.1f} {PLOT}V{top:g}h{step * 0.8:.1f}V{PLOT}" for x, top in known)
        yield Markup('<path class="column" d="{}"/>').format(path)


def _dots(frame: Frame) -> Iterator[Markup]:
    """The newest value of each line, and each value that stands alone between unknown ones."""
    for line in [] if frame.chart.bars else _order(frame.chart):
        stretches = list(runs(line))
        for point in [*(run[0] for run in stretches if len(run) == 1), *(run[-1] for run in stretches[-1:])]:
            dot = Markup('<circle class="dot {}" cx="{}" cy="{}" r="3"/>')
            yield dot.format(line.look, frame.x(point.at), TOP + frame.y(point.value))


def _order(chart: Chart) -> list[Line]:
    """The model's own line last, over the others."""
    return sorted(chart.lines, key=lambda line: line.look == "model")


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


def _marks(frame: Frame) -> Iterator[Markup]:
    """Each mark with its label on top, on the second row when the label before it is near."""
    before, row = -1.0, 0
    for mark in frame.chart.marks:
        if not frame.chart.start <= mark.at <= frame.chart.end:
            continue
        at, x = frame.chart.place(mark.at), frame.x(mark.at)
        row = 1 - row if at - before < 0.14 else 0
        before = at
        side, gap = ("end", -4) if at > 0.85 else ("start", 4)
        yield Markup('<line class="mark" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(x, x, 3 + row * 12, TOP + PLOT)
        yield Markup('<text class="flag" x="{}" dx="{}" y="{}" text-anchor="{}">{}</text>').format(
            x, gap, 11 + row * 12, side, mark.label
        )
