"""Rows of a file piece by piece, however long it is: CSV, Parquet, JSON lines and Arrow."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from modelkeep.errors import BadInput
from modelkeep.nouns import Field
from modelkeep.runtimes.tables import plain_value

LINES = frozenset({".ndjson", ".jsonl"})
ARROW = frozenset({".arrow", ".feather", ".ipc"})
TABLES = {".csv": "read_csv", ".tsv": "read_csv", ".txt": "read_csv", ".gz": "read_csv"} | dict.fromkeys(
    (".parquet", ".pq"), "read_parquet"
)
TRUTHS = {"true": True, "false": False}
# What a column of a text file may be. Not BOOLEAN: DuckDB takes yes and no for it, and a model answers with the texts.
_TYPES = ["BIGINT", "DOUBLE", "DATE", "TIME", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "VARCHAR"]


class Bad(Struct, frozen=True, kw_only=True):
    """A line that is no JSON object, and why."""

    why: str


class Piece(Struct, frozen=True, kw_only=True):
    """Some rows by their numbers (the first of a file is 1), and how much of the file was read with them (0..1)."""

    rows: list[tuple[int, dict[str, Any] | Bad]]
    done: float


def suffix(path: Path) -> str:
    """The ending that says how a file is read. Raises BadInput for another, and for a file that is not there."""
    found = path.suffix.lower()
    if found not in LINES | ARROW | set(TABLES):
        raise BadInput(
            f"cannot read rows from {path.name!r}", remedy="give a .csv, .parquet, .ndjson, .jsonl or .arrow file"
        )
    if not path.is_file():
        raise BadInput(f"no file {str(path)!r}")
    return found


def pieces(path: Path, *, size: int = 2000, skip: int = 0) -> Iterator[Piece]:
    """The rows of a file, ``size`` at a time, without the first ``skip``. Raises BadInput when it cannot be read."""
    ending = suffix(path)
    if ending in LINES:
        yield from _lines(path, size=size, skip=skip)
        return
    with _source(path, ending) as (connection, source, parameters):
        (total,) = connection.execute(f"SELECT count(*) FROM {source}", parameters).fetchone()
        wanted, names = _columns(connection, source, parameters=parameters)
        result = connection.execute(f"SELECT {wanted} FROM {source} OFFSET {int(skip)}", parameters)
        number = skip
        while rows := result.fetchmany(size):
            found: list[tuple[int, dict[str, Any] | Bad]] = []
            for row in rows:
                number += 1
                found.append((number, {n: plain_value(v) for n, v in zip(names, row, strict=True)}))
            yield Piece(rows=found, done=number / max(total, 1))


def columns(path: Path) -> list[str]:
    """The names of a file's columns; of JSON lines those of its first object."""
    first = next(pieces(path, size=1), None)
    row = first.rows[0][1] if first else None
    return list(row) if isinstance(row, dict) else []


def _columns(connection: Any, source: str, *, parameters: Sequence[Any]) -> tuple[str, list[str]]:
    described = connection.execute(f"DESCRIBE SELECT * FROM {source}", parameters).fetchall()
    wanted = []
    for name, kind, *_ in described:
        quoted = '"' + name.replace('"', '""') + '"'
        # As text in UTC: a zone would need a package to become a time of Python's.
        zoned = kind == "TIMESTAMP WITH TIME ZONE"
        wanted.append(f"strftime({quoted} AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%fZ')" if zoned else quoted)
    return ", ".join(wanted), [name for name, *_ in described]


@contextmanager
def _source(path: Path, ending: str) -> Iterator[tuple[Any, str, list[Any]]]:
    """A connection, what to select from, and its parameters."""
    # DuckDB is 27 MB of memory: only whoever reads a table pays for it.
    duckdb: Any = importlib.import_module("duckdb")
    try:
        with duckdb.connect(config={"autoinstall_known_extensions": "false", "threads": "1"}) as connection:
            connection.execute("SET enable_progress_bar = false")
            if ending in ARROW:
                connection.register("arrow_file", _arrow(path))
                yield connection, "arrow_file", []
            else:
                options = f", auto_type_candidates={_TYPES}" if TABLES[ending] == "read_csv" else ""
                safe = str(path.resolve()).translate({ord(sign): f"[{sign}]" for sign in "*?["})
                yield connection, f"{TABLES[ending]}(?{options})", [safe]
    except duckdb.Error as error:
        raise BadInput(f"cannot read {path.name}: {str(error).splitlines()[0]}") from error


def _arrow(path: Path) -> Any:
    try:
        dataset: Any = importlib.import_module("pyarrow.dataset")
    except ModuleNotFoundError:
        raise BadInput(
            f"{path.name} is an Arrow file, and pyarrow is not installed", remedy="pip install 'modelkeep[arrow]'"
        ) from None
    return dataset.dataset(str(path), format="ipc")


def _lines(path: Path, *, size: int, skip: int) -> Iterator[Piece]:
    total = max(path.stat().st_size, 1)
    found: list[tuple[int, dict[str, Any] | Bad]] = []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if number <= skip or not line.strip():
                continue
            found.append((number, _object(line)))
            if len(found) >= size:
                yield Piece(rows=found, done=file.tell() / total)
                found = []
    if found:
        yield Piece(rows=found, done=1.0)


def _object(line: bytes) -> dict[str, Any] | Bad:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as cause:
        return Bad(why=f"no JSON: {cause}")
    return found if isinstance(found, dict) else Bad(why=f"no JSON object: {type(found).__name__}")


def as_kind(value: Any, field: Field) -> Any:
    """A value of a file as the model knows it: a file of text has no truths, and its classes may look like numbers."""
    if field.kind == "boolean" and isinstance(value, str):
        return TRUTHS.get(value.lower(), value)
    if field.kind in {"category", "text"} and isinstance(value, int | float) and not isinstance(value, bool):
        return as_text(value)
    return value


def as_text(value: Any) -> str:
    """A value of a file as a name: 17.0 and 17 are the same."""
    if isinstance(value, float) and value.is_integer() and math.isfinite(value):
        return str(int(value))
    return value if isinstance(value, str) else json.dumps(value)
