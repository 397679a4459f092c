"""The lines, columns and dots of a chart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from markupsafe import Markup

from modelkeep.edge.pages.charts import Chart, Line, Point
from modelkeep.edge.pages.frame import PLOT, TOP, WIDE, Frame, runs


def lines(frame: Frame) -> Iterator[Markup]:
    """Each line with the band of its interval, broken where values are unknown."""
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


def bars(frame: Frame) -> Iterator[Markup]:
    """All columns as one path, from zero up."""
    for line in frame.chart.lines:
        step = WIDE / max(len(line.points), 1)
        known = [(frame.chart.place(p.at) * WIDE, frame.y(p.value)) for p in line.points if p.value is not None]
        path = "".join(f"M{max(x - step * 0.4, 0):.1f} {PLOT}V{top:g}h{step * 0.8:.1f}V{PLOT}" for x, top in known)
        yield Markup('<path class="column" d="{}"/>').format(path)


def dots(frame: Frame) -> Iterator[Markup]:
    """The newest value of each line, and each value that stands alone between unknown ones."""
    for line in [] if frame.chart.bars else _order(frame.chart):
        stretches = list(runs(line))
        for point in [*(run[0] for run in stretches if len(run) == 1), *(run[-1] for run in stretches[-1:])]:
            dot = Markup('<circle class="dot {}" cx="{}" cy="{}" r="3"/>')
            yield dot.format(line.look, frame.x(point.at), TOP + frame.y(point.value))


def _order(chart: Chart) -> list[Line]:
    """The model's own line last, over the others."""
    return sorted(chart.lines, key=lambda line: line.look == "model")
