"""Draws a ``Chart`` as SVG text. Pure: no clock, no store.

A chart stretches to the width that it is given: what must not be distorted (text, dots, marks) is placed by percentages
of the width, and only the lines live in an inner drawing that stretches with it. Names come from users, so every text
passes through ``Markup.format``, which escapes it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from markupsafe import Markup

from modelkeep.edge.pages import strokes
from modelkeep.edge.pages.charts import Chart
from modelkeep.edge.pages.frame import HEIGHT, PLOT, TOP, WIDE, Frame, ticks
from modelkeep.edge.pages.words import day, hour, percent
from modelkeep.quantities import DAY

HOURS = (60.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 10800.0, 21600.0, 43200.0)
STEPS = (1, 2, 7, 14, 30, 61, 91, 182, 365)
_OPEN = Markup(
    '<svg x="0" y="{}" width="100%" height="{}" viewBox="0 0 {} {}" preserveAspectRatio="none" overflow="visible">'
).format(TOP, PLOT, WIDE, PLOT)


def draw(chart: Chart) -> Markup:
    """The chart as one SVG element, or a sentence when nothing is known."""
    if not chart.known:
        return Markup('<p class="nothing">{}: unknown, nothing was measured in this time.</p>').format(chart.title)
    frame = Frame(chart=chart, ticks=ticks(*_reach(chart)))
    parts = [*_shades(frame), *_grid(frame), _OPEN]
    parts += strokes.bars(frame) if chart.bars else strokes.lines(frame)
    parts += [Markup("</svg>"), *strokes.dots(frame), *_marks(frame), *_days(chart)]
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


def _days(chart: Chart) -> Iterator[Markup]:
    """The days below the plot, seven at most."""
    if chart.fine and chart.end - chart.start < 3 * DAY:
        yield from _hours(chart)
        return
    days = max(round((chart.end - chart.start) / DAY), 1)
    step = next((s for s in STEPS if days / s <= 7), 730)
    first = math.ceil(chart.start / DAY) + step // 2
    for at in range(first * int(DAY), int(chart.end), step * int(DAY)):
        x = chart.place(at)
        if x <= 0.97:
            side = "start" if x < 0.04 else "middle"
            yield Markup('<text x="{:.2f}%" y="{}" text-anchor="{}">{}</text>').format(
                x * 100, HEIGHT - 5, side, day(at)
            )


def _hours(chart: Chart) -> Iterator[Markup]:
    """The time of the day below a short plot, seven at most."""
    step = next((s for s in HOURS if (chart.end - chart.start) / s <= 7), DAY)
    for i in range(math.ceil(chart.start / step), math.floor(chart.end / step) + 1):
        x = chart.place(i * step)
        side = "start" if x < 0.04 else "end" if x > 0.96 else "middle"
        said = day(i * step) if i * step % DAY == 0 else hour(i * step)
        yield Markup('<text x="{:.2f}%" y="{}" text-anchor="{}">{}</text>').format(x * 100, HEIGHT - 5, side, said)


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
