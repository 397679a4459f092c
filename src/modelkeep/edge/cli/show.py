"""Results for eyes: tables and facts that fit the terminal; and the same as JSON for programs.

Written without a library for tables: importing one would cost a quarter of a command's time.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

import msgspec

from modelkeep.edge.cli.columns import COLUMNS, LISTS, MOMENTS, REPORTS, SPANS, TONES
from modelkeep.quantities import duration

Row: TypeAlias = Mapping[str, Any]

WIDE = 240
"""Columns of a table that goes into a file or a pipe, unless COLUMNS says otherwise."""
_LEAST = 20
"""A last column this narrow is still folded; a narrower one goes below its row."""
_DAY_ONE = 1e8
"""Numbers above this are seconds since 1970 where a moment is meant; below, they are a time span."""


def result(name: str, content: bytes, *, as_json: bool) -> None:
    """Write a result: as JSON, or as this act's tables."""
    if as_json:
        sys.stdout.write(msgspec.json.format(content, indent=2).decode() + "\n")
        return
    if name in REPORTS:
        report = importlib.import_module("modelkeep.edge.cli.reporting")
        lines = report.lines(content, table=lambda rows, columns: table(rows, columns=columns, width=width()))
        sys.stdout.write("".join(f"{line.rstrip()}\n" for line in lines))
        return
    data = msgspec.json.decode(content)
    listed = LISTS.get(name)
    if listed is None:
        lines = list(facts(data, width=width()))
    else:
        rows = data.pop(listed)
        lines = list(table(rows, columns=COLUMNS[name], width=width())) or [_toned(f"no {listed}", "quiet")]
        lines += facts(data, width=width())
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in lines))


def table(rows: Sequence[Row], *, columns: Sequence[str], width: int, indent: str = "") -> Iterator[str]:
    """Lines of a table of the named fields, no wider than ``width``.

    ``a.b`` looks into a field, ``a.-1`` at the last of several, ``title=field`` gives it another head, ``~field`` is a
    sentence and stands below its row. Columns without any content are left out; those that do not fit stand below their
    row too, after their names.
    """
    heads = [(head.lstrip("~"), field or head.lstrip("~"), head[0] == "~") for head, _, field in map(_split, columns)]
    cells = [[_cell(_looked_up(row, field), field) for _, field, _ in heads] for row in rows]
    used = [i for i, (_, _, below) in enumerate(heads) if not below and any(line[i] for line in cells)]
    sizes = {i: max(len(heads[i][0]), *(len(line[i]) for line in cells)) for i in used}
    shown, folded = _fitting(used, sizes, width=width - len(indent))
    below = [i for i, head in enumerate(heads) if head[2] or (i in used and i not in shown)]
    if rows:
        titles = "  ".join(f"{heads[i][0].replace('_', ' '):{sizes[i]}}" for i in shown)
        yield _toned(f"{indent}{titles}", "head")
    for line in cells:
        yield from _row(line, shown, sizes=sizes, folded=folded, indent=indent)
        loose = [f"{heads[i][0].replace('_', ' ')} {line[i]}" for i in below if line[i] and not heads[i][2]]
        sentences = ["; ".join(loose), *(line[i] for i in below if heads[i][2])]
        for sentence in filter(None, sentences):
            yield from _wrapped(sentence, width=width, first=f"{indent}    ")


def facts(data: Row, *, width: int, indent: str = "") -> Iterator[str]:
    """Lines with every field that says something; lists of things as tables, deeper things indented."""
    names = max((len(name) for name, value in data.items() if not _nothing(value)), default=0)
    for name, value in data.items():
        if _nothing(value):
            continue
        title = name.replace("_", " ")
        if isinstance(value, list) and isinstance(value[0], dict):
            yield f"{indent}{_toned(title, 'head')}"
            columns = COLUMNS.get(name) or [key for key in value[0] if any(_small(row.get(key)) for row in value)]
            yield from table(value, columns=columns, width=width, indent=f"{indent}  ")
        elif isinstance(value, dict) and not _small(value):
            yield f"{indent}{_toned(title, 'head')}"
            yield from facts(value, width=width, indent=f"{indent}  ")
        elif isinstance(value, list) and any(len(str(entry)) > _LEAST for entry in value):
            yield f"{indent}{_toned(title, 'head')}"
            for entry in value:
                yield from _wrapped(_text(entry, name), width=width, first=f"{indent}  - ")
        else:
            yield from _wrapped(_text(value, name), width=width, first=f"{indent}{title:{names}}  ", toned=True)


def width() -> int:
    """How wide the terminal is."""
    return shutil.get_terminal_size((WIDE, 24)).columns


def _split(column: str) -> tuple[str, str, str]:
    return column.partition("=")


def _fitting(used: Sequence[int], sizes: dict[int, int], *, width: int) -> tuple[list[int], int]:
    """The columns that fit beside each other, and the width of the last one when it is folded (else 0)."""
    shown: list[int] = []
    taken = 0
    for i in used:
        left = width - taken
        if sizes[i] > left:
            if i == used[-1] and left >= _LEAST:
                return [*shown, i], left
            continue
        shown.append(i)
        taken += sizes[i] + 2
    return shown, 0


def _row(line: list[str], shown: list[int], *, sizes: dict[int, int], folded: int, indent: str) -> Iterator[str]:
    whole = shown[:-1] if folded else shown
    start = "".join(f"{_toned(line[i])}{' ' * (sizes[i] - len(line[i]) + 2)}" for i in whole)
    if not folded:
        yield f"{indent}{start}"
        return
    parts = textwrap.wrap(line[shown[-1]], folded) or [""]
    yield f"{indent}{start}{parts[0]}"
    blank = " " * sum(sizes[i] + 2 for i in whole)
    yield from (f"{indent}{blank}{part}" for part in parts[1:])


def _wrapped(text: str, *, width: int, first: str, toned: bool = False) -> Iterator[str]:
    """Lines of ``text`` after ``first``; those that follow are indented alike. Long words stay whole, to be copied."""
    rest = " " * len(first)
    lines = [
        part
        for line in text.splitlines()
        for part in textwrap.wrap(line, max(width - len(first), _LEAST), break_long_words=False, break_on_hyphens=False)
    ]
    for i, line in enumerate(lines):
        yield f"{rest if i else first}{_toned(line) if toned else line}"


def _nothing(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_nothing(entry) for entry in value.values())
    return value is None or value in ("", [])


def _small(value: Any) -> bool:
    if _nothing(value):
        return False
    if isinstance(value, dict):
        return len(value) <= 6 and not any(isinstance(v, dict | list) or len(str(v)) > 60 for v in value.values())
    return not (isinstance(value, list) and isinstance(value[0], dict | list))


def _looked_up(row: Any, field: str) -> Any:
    for part in field.split("."):
        if isinstance(row, list):
            row = row[int(part)] if row else None
        else:
            row = row.get(part) if isinstance(row, dict) else None
    return row


def _cell(value: Any, field: str) -> str:
    """A value in a table: one line, and the first one of a text that has several."""
    if _nothing(value) or value is False or (field == "share" and value == 0):
        return ""
    return _text(value, field.rpartition(".")[2]).partition("\n")[0]


def _text(value: Any, name: str = "") -> str:
    """A value in few characters: moments to the second in UTC, spans with their units, numbers to four figures."""
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {_text(v, key)}" for key, v in value.items() if not _nothing(v))
    if isinstance(value, list):
        return ", ".join(_text(entry, name) for entry in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str) and value.endswith("Z") and value[4:5] == "-":
        return _moment(value)
    if isinstance(value, int | float):
        return _number(value, name)
    return "-" if value is None else str(value)


def _number(value: float, name: str) -> str:
    if name in MOMENTS and value > _DAY_ONE:
        return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%SZ}"
    if name in SPANS:
        return duration(value) if value else "0"
    return f"{value:.4g}" if isinstance(value, float) and abs(value) < 1e6 else f"{value:.0f}"


def _moment(text: str) -> str:
    try:
        return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M:%SZ}"
    except ValueError:
        return text


def _toned(text: str, tone: str = "") -> str:
    code = TONES.get(tone or text)
    if not code or not sys.stdout.isatty() or "NO_COLOR" in os.environ:
        return text
    return f"\x1b[{code}m{text}\x1b[0m"
