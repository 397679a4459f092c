"""The report of a load test as one HTML file: figures, and three drawings of its own. It opens anywhere, offline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from modelkeep.proving.pressing import Pressed, Times

WIDE, HIGH, EDGE = 720, 220, 46
STYLE = """
:root{color-scheme:light dark;--ink:#1c2330;--soft:#667085;--line:#d5dae3;--a:#1f6feb;--b:#d97706;--card:#fff}
:root{--page:#f6f7f9}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ef;--soft:#98a2b3;--line:#344054;--a:#6cb0ff;--b:#f0a94a}
:root{--card:#161b22;--page:#0d1117}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page);margin:2rem auto;max-width:780px}
body{padding:0 1rem}h1{font-size:1.3rem}h2{font-size:1rem;margin:1.6rem 0 .4rem}p{margin:.3rem 0;color:var(--soft)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
td,th{padding:.25rem .6rem;border-bottom:1px solid var(--line);text-align:right}
td:first-child,th:first-child{text-align:left}
svg{background:var(--card);border:1px solid var(--line);border-radius:6px;width:100%;height:auto}
text{fill:var(--soft);font-size:11px}.grid{stroke:var(--line)}.a{stroke:var(--a)}.b{stroke:var(--b)}
polyline{fill:none;stroke-width:1.8}.ka{color:var(--a)}.kb{color:var(--b)}
"""
NAMES = ("mean", "p50", "p90", "p95", "p99", "p999", "max")
Points = Sequence[tuple[float, float]]


def page(found: Pressed, *, title: str, asked: str) -> str:
    """The whole report; ``asked`` says in words what was asked."""
    errors = ", ".join(f"{count} x {escape(status)}" for status, count in found.errors.items()) or "none"
    sent = f"{found.wanted_rate:g} a second were due" if found.wanted_rate else "each connection asked at once again"
    late = "" if found.late is None else f" The asking side was at most {found.late:.1f} ms late (99 %)."
    how = (
        "Latencies count from the moment at which a request was due, so a stall is not hidden."
        if found.wanted_rate
        else "Without a rate latencies say little about what a caller would see: a slow server is asked less."
    )
    parts = [
        f"<h1>{escape(title)}</h1><p>{escape(asked)}</p>",
        f"<p>{_sum(found)}; {sent}. Errors: {errors}.</p><p>{how}{late}</p>",
        _table(found),
        "<h2>Latency by percentile (ms)</h2>",
        _ladder(found.quantiles),
        '<h2>Latency by second (ms): <span class="ka">median</span>, <span class="kb">99 %</span></h2>',
        _lines([[(s.second, s.p50) for s in found.timeline if s.p50 is not None],
                [(s.second, s.p99) for s in found.timeline if s.p99 is not None]], unit="ms"),
        "<h2>Answers by second</h2>",
        _lines([[(s.second, s.answered) for s in found.timeline]], unit=""),
    ]  # fmt: skip
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}</style><body>{''.join(parts)}</body></html>\n"
    )


def _sum(found: Pressed) -> str:
    said = f"{found.answered} of {found.n} answered in {found.seconds:.1f} s"
    return f"{said}: <b>{found.rate:,.1f} a second</b> over {found.connections} connections"


def _table(found: Pressed) -> str:
    head = "".join(f"<th>{name}</th>" for name in NAMES)
    rows = [("whole request", found.whole), ("model", found.model)]
    return f"<table><tr><th>ms</th>{head}</tr>{''.join(_row(name, times) for name, times in rows)}</table>"


def _row(name: str, times: Times | None) -> str:
    cells = ["unknown" if times is None else f"{getattr(times, each):.2f}" for each in NAMES]
    return f"<tr><td>{name}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _ladder(quantiles: Sequence[tuple[float, float]]) -> str:
    """Latency over the share of requests, on a scale that gives each further nine the same width."""
    points = [(-math.log10(1 - share), value) for share, value in quantiles if share < 1]
    marks = [(float(nines), f"{100 * (1 - 10.0**-nines):.10g} %") for nines in range(6)]
    return _drawn([points], [mark for mark in marks if not points or mark[0] <= points[-1][0] + 0.5], unit="ms")


def _lines(lines: Sequence[Points], *, unit: str) -> str:
    last = max((points[-1][0] for points in lines if points), default=1.0)
    step = next((s for s in (1, 2, 5, 10, 20, 30, 60, 120, 300, 600) if last / s <= 8), 3600)
    return _drawn(lines, [(float(x), f"{x} s") for x in range(0, int(last) + 1, step)], unit=unit)


def _drawn(lines: Sequence[Points], marks: Sequence[tuple[float, str]], *, unit: str) -> str:
    every = [point for points in lines for point in points]
    if not every:
        return "<p>nothing was answered</p>"
    right = max([1e-9, *(x for x, _ in every), *(x for x, _ in marks)])
    top = _round(max(y for _, y in every))
    wide, high = WIDE - EDGE - 10, HIGH - 40

    def at(x: float, y: float) -> str:
        return f"{EDGE + wide * x / right:.1f},{12 + high * (1 - y / top):.1f}"

    grid = []
    for part in range(5):
        y = 12 + high * part / 4
        value = f"{top * (1 - part / 4):.4g} {unit}".strip()
        grid.append(
            f'<line class="grid" x1="{EDGE}" x2="{WIDE - 10}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{EDGE - 5}" y="{y + 4:.1f}" text-anchor="end">{value}</text>'
        )
    below = [
        f'<text x="{EDGE + wide * x / right:.1f}" y="{HIGH - 8}" text-anchor="middle">{escape(text)}</text>'
        for x, text in marks
    ]
    drawn = [
        f'<polyline class="{name}" points="{" ".join(at(x, y) for x, y in points)}"/>'
        for name, points in zip("ab", lines, strict=False)
        if points
    ]
    return f'<svg viewBox="0 0 {WIDE} {HIGH}" role="img">{"".join([*grid, *below, *drawn])}</svg>'


def _round(value: float) -> float:
    """A round number that is not smaller."""
    if value <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(value))
    return next(part * unit for part in (1, 1.5, 2, 3, 4, 5, 8, 10) if part * unit >= value * 0.999)
