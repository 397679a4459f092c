"""Results for eyes: tables and facts; and the same as JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from modelkeep.quantities import duration

Row: TypeAlias = Mapping[str, Any]
Cell: TypeAlias = Callable[[Row], str]

WIDE = 240
"""Columns of a table that goes into a file or a pipe."""
_SPANS = frozenset({"shadow", "stage", "last", "seconds_to_proof", "horizon", "tolerance", "limit", "window", "look"})
"""Fields that are seconds."""
_TONES = {
    "ok": "green", "ready": "green", "done": "green", "resolved": "green", "critical": "bold red", "high": "red",
    "error": "red", "failed": "red", "unhealthy": "bold red", "warning": "yellow", "medium": "yellow", "slow": "yellow",
    "disabled": "yellow", "unknown": "magenta", "checksum_mismatch": "bold red", "running": "cyan", "open": "yellow",
}  # fmt: skip


def result(name: str, content: bytes, *, as_json: bool) -> None:
    """Write a result: as JSON, or as this act's tables."""
    if as_json:
        sys.stdout.write(msgspec.json.format(content, indent=2).decode() + "\n")
        return
    data = msgspec.json.decode(content)
    wide = None if sys.stdout.isatty() else WIDE
    console = Console(highlight=False, width=wide)
    shown = _TABLES.get(name)
    if shown is None:
        facts(console, data)
        return
    rows, columns = shown
    table(console, data[rows], columns=columns, empty=f"no {rows}")
    for other, value in data.items():
        if other != rows and value not in (None, "", [], {}):
            console.print(f"[dim]{other}[/] {escape(_text(value))}")


def table(console: Console, rows: Sequence[Row], *, columns: Sequence[str], empty: str) -> None:
    """A table of the named fields; ``a.b`` looks into a field, and ``title=field`` gives it another head."""
    if not rows:
        console.print(f"[dim]{empty}[/]")
        return
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    heads = [(head, field or head) for head, _, field in (column.partition("=") for column in columns)]
    for head, _ in heads:
        drawn.add_column(head.replace("_", " "), overflow="fold")
    for row in rows:
        drawn.add_row(*(_toned(_looked_up(row, field)) for _, field in heads))
    console.print(drawn)


def facts(console: Console, data: Row, *, indent: str = "") -> None:
    """Every field on a line of its own; lists of things as tables, deeper things indented."""
    width = max((len(name) for name in data), default=0)
    for name, value in data.items():
        if value in (None, "", [], {}):
            continue
        if isinstance(value, list) and isinstance(value[0], dict):
            console.print(f"{indent}[bold]{name.replace('_', ' ')}[/]")
            columns = [key for key in value[0] if any(_small(row.get(key)) for row in value)]
            table(console, value, columns=columns, empty="")
        elif isinstance(value, dict) and not _small(value):
            console.print(f"{indent}[bold]{name.replace('_', ' ')}[/]")
            facts(console, value, indent=indent + "  ")
        else:
            said = duration(value) if name in _SPANS and isinstance(value, int | float) else _toned(value)
            console.print(f"{indent}{name.replace('_', ' '):{width}}  {said}")


def _small(value: Any) -> bool:
    if value in (None, "", [], {}):
        return False
    if isinstance(value, dict):
        return len(value) <= 6 and not any(isinstance(v, dict | list) for v in value.values())
    return not (isinstance(value, list) and value and isinstance(value[0], dict | list))


def _looked_up(row: Any, field: str) -> Any:
    for part in field.split("."):
        row = row.get(part) if isinstance(row, dict) else None
    return row


def _toned(value: Any) -> str:
    text = escape(_text(value))
    tone = _TONES.get(text)
    return f"[{tone}]{text}[/]" if tone else text


def _text(value: Any) -> str:
    """A value in few characters: times to the second, numbers to four figures."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(entry)}" for key, entry in value.items())
    if isinstance(value, list):
        return ", ".join(_text(entry) for entry in value)
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e6 else f"{value:,.0f}"
    if isinstance(value, str) and value.endswith("Z") and value[4:5] == "-":
        return _moment(value)
    if value is None:
        return "-"
    return {"True": "yes", "False": "no"}.get(str(value), str(value))


def _moment(text: str) -> str:
    try:
        return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        return text


_JOB = ("id", "task", "subject", "state", "due", "seconds", "attempts", "error")
_TABLES: dict[str, tuple[str, tuple[str, ...]]] = {
    "models": (
        "models",
        ("model", "state", "champion", "challenger", "share", "ms=average_processing_time_ms", "errors=error_rate",
         "predictions", "outcomes", "last=last_prediction", "detail"),
    ),
    "versions": ("versions", ("name", "role", "runtime", "size", "metrics", "below", "created", "note")),
    "releases": (
        "releases",
        ("id=job.id", "model", "number", "state=job.state", "created=job.created", "result=job.result.state"),
    ),
    "rollouts": (
        "rollouts", ("model", "champion", "challenger", "mode", "share", "previous", "policy", "disabled", "since"),
    ),
    "predictions": (
        "predictions", ("id=prediction_id", "at", "version", "role", "key", "prediction", "ms=latency_ms", "error"),
    ),
    "readings": ("readings", ("name", "subject", "value", "level", "n", "at", "detail")),
    "reading_series": ("readings", ("at", "value", "level", "n", "detail")),
    "alerts": ("alerts", ("id", "severity", "state", "since=timestamp", "subject", "message", "repair=command")),
    "rules": ("rules", ("name", "reading", "condition", "severity", "holds", "cooldown", "actions")),
    "jobs": ("jobs", _JOB),
    "history": ("jobs", ("id", "state", "due", "finished", "seconds", "attempts", "error", "result")),
    "tasks": ("tasks", ("name", "when", "zone", "next_run", "last_run", "last_state", "last_seconds", "running")),
    "timeline": ("events", ("at", "kind", "what", "subject", "detail", "who")),
    "acts": ("acts", ("number", "at", "who", "what", "subject", "why")),
    "backups": ("backups", ("id", "model", "version", "at", "size", "sha256")),
    "configuration": ("settings", ("key", "value", "source")),
}  # fmt: skip
"""For each act that lists something: the field with the rows, and the columns to show."""
