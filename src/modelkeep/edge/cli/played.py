"""What a replay tells, as tables on the terminal."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from modelkeep.replaying.report import Decision, Happening, Report, Scores, Test

LEAST_WIDTH = 150
"""Where nobody looks (a file, a pipe) lines are so long."""


def show(report: Report) -> None:
    """Print the table of events and the summary."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, LEAST_WIDTH))
    events = [one for one in report.happenings if one.page or any(d.kind != "notify" for d in one.decisions)]
    console.print(_events(report, events))
    if rest := [one for one in report.happenings if one not in events]:
        console.print(_notices(rest))
    if report.months:
        console.print(_months(report))
    for line in _summary(report):
        console.print(escape(line))


def _events(report: Report, events: list[Happening]) -> Table:
    table = Table(title=f"{report.model}: what happened", title_justify="left", show_lines=True)
    for name in ("since", "noticed", "what", "likely cause", "decision", "paired test", "error before -> after"):
        table.add_column(name, overflow="fold")
    for one in events:
        for place, decision in enumerate(one.decisions):
            head = _head(one) if not place else ("", "", "again", "")
            cells = (*head, _decision(decision), _test(decision.test), _change(decision))
            table.add_row(*(escape(cell) for cell in cells))
    if not events:
        table.add_row("", "", "nobody was woken, and nothing was retrained", "", "", "", "")
    return table


def _notices(notices: list[Happening]) -> Table:
    """Notices by what they are about: they change nothing, and there may be many."""
    table = Table(title="notices", title_justify="left")
    for name in ("what", "times", "first", "last", "commonest cause"):
        table.add_column(name, overflow="fold")
    for name in sorted({one.name for one in notices}):
        mine = [one for one in notices if one.name == name]
        cause = Counter(one.cause for one in mine).most_common(1)[0][0]
        table.add_row(name, str(len(mine)), _day(mine[0].detected), _day(mine[-1].detected), escape(cause))
    return table


def _head(one: Happening) -> tuple[str, str, str, str]:
    level = "page" if one.page else "notice"
    until = f", until {_day(one.resolved)}" if one.resolved is not None and one.resolved > one.detected else ""
    return _day(one.event), _day(one.detected), f"{one.name} of {one.subject} ({level}{until})", one.cause


def _decision(decision: Decision) -> str:
    return f"{decision.kind.replace('_', ' ')} ({_day(decision.at)}): {decision.detail}"


def _test(test: Test | None) -> str:
    if test is None:
        return "none"
    low, high = test.interval
    return (
        f"{test.champion:.4g} -> {test.challenger:.4g}, difference {test.challenger - test.champion:+.3g} "
        f"[{low:+.3g}, {high:+.3g}], n = {test.n:,}"
    )


def _change(decision: Decision) -> str:
    return f"{_number(decision.before)} -> {_number(decision.after)}"


def _months(report: Report) -> Table:
    table = Table(title="mean error, part by part", title_justify="left")
    for name in ("from", "rows", "version 1 left alone", "what was answered", "best baseline"):
        table.add_column(name, justify="right")
    for month in report.months:
        table.add_row(
            _day(month.start), f"{month.n:,}", _number(month.frozen), _number(month.kept), _number(month.best)
        )
    return table


def _summary(report: Report) -> list[str]:
    lines = [
        (
            f"{report.predictions:,} predictions, {report.outcomes:,} outcomes in {report.days:.0f} days; "
            f"{report.versions} versions, version {report.champion} answers; {report.refused:,} rows refused"
        ),
        f"pages: {report.pages}, {report.pages_per_90_days:.2f} in 90 days; notices: {report.notices}",
    ]
    if report.scores is not None:
        lines += _scores(report.scores)
    lines += [f"BELOW BASELINE: {text}" for text in report.below_baseline]
    lines += [f"offered as challenger: {', '.join(report.offers)}"] if report.offers else []
    parts = ", ".join(f"{name} {taken:.1f}" for name, taken in report.seconds_by_part.items())
    return [*lines, f"took {report.seconds:.1f} s ({parts})"]


def _scores(scores: Scores) -> list[str]:
    best = scores.best
    lines = [
        f"mean error over the same {scores.n:,} rows ({scores.unit or 'in the unit of the output'}): "
        f"version 1 left alone {scores.frozen:.4g}, what was answered {scores.kept:.4g}, "
        + (f"best baseline {best!r} {scores.baselines[best]:.4g}" if best else "no baseline")
    ]
    names = [name for name in ("accuracy", "f1", "rmsle", "mape", "rmse") if name in scores.metrics.get("kept", {})]
    shown = [who for who in ("frozen", "kept", best) if who in scores.metrics]
    lines += [
        f"  {name}: "
        + ", ".join(f"{who} {scores.metrics[who][name]:.4g}" for who in shown if name in scores.metrics[who])
        for name in names
    ]
    return lines


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"


def _day(at: float | None) -> str:
    return "unknown" if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}"
