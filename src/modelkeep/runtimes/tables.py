"""A sample of data from a file, as columns of plain values."""

import datetime as dt
import importlib
import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from modelkeep.errors import BadInput
from modelkeep.nouns import Value
from modelkeep.quantities import iso
from modelkeep.runtimes.signatures import missing

MAX_ROWS = 1_000_000
_READERS = {
    ".csv": "read_csv",
    ".tsv": "read_csv",
    ".txt": "read_csv",
    ".gz": "read_csv",
    ".parquet": "read_parquet",
    ".pq": "read_parquet",
    ".json": "read_json_auto",
    ".ndjson": "read_json_auto",
    ".jsonl": "read_json_auto",
}
# What a column of a text file may be. Not BOOLEAN: DuckDB takes yes and no for it, and a model answers with the texts.
_TYPES = ["BIGINT", "DOUBLE", "DATE", "TIME", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "VARCHAR"]


def read_table(path: Path, *, nested: bool = False) -> dict[str, list[Value]]:
    """Read a CSV, Parquet or JSON file (by its ending) as one list of values a column, in the file's order.

    Dates and times become ISO-8601 text, decimals floats, NaN None; with ``nested`` lists and objects become JSON text
    instead of being refused. Raises BadInput when the file is missing, is not
    readable as what its ending says, has no row, a nested column, or more than 1,000,000 rows.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise BadInput(f"cannot read a table from {path.name!r}", remedy="give a .csv, .parquet or .json file")
    if not path.is_file():
        raise BadInput(f"no file {str(path)!r}")
    # DuckDB is 27 MB of memory: only whoever reads a table pays for it.
    duckdb: Any = importlib.import_module("duckdb")
    safe = str(path.resolve()).translate({ord(sign): f"[{sign}]" for sign in "*?["})
    try:
        with duckdb.connect(config={"autoinstall_known_extensions": "false", "threads": "1"}) as connection:
            source = f"{reader}(?{f', auto_type_candidates={_TYPES}' if reader == 'read_csv' else ''})"
            kinds = connection.execute(f"DESCRIBE SELECT * FROM {source}", [safe]).fetchall()
            names = [str(name) for name, *_ in kinds]
            zoned = [name for name, kind, *_ in kinds if kind == "TIMESTAMP WITH TIME ZONE"]
            wanted = ", ".join(f"epoch_us({_quoted(name)})" if name in zoned else _quoted(name) for name in names)
            rows = connection.execute(f"SELECT {wanted} FROM {source} LIMIT {MAX_ROWS + 1}", [safe]).fetchall()
    except duckdb.Error as error:
        raise BadInput(f"cannot read {path.name}: {str(error).splitlines()[0]}") from error
    if not rows:
        raise BadInput(f"{path.name} has no row")
    if len(rows) > MAX_ROWS:
        raise BadInput(f"{path.name} has more than {MAX_ROWS:,} rows", remedy="give a sample of it")
    found: dict[str, list[Value]] = {}
    for name, column in zip(names, zip(*rows, strict=True), strict=True):
        if name in zoned:
            found[name] = [None if value is None else iso(value / 1e6) for value in column]
        elif reader == "read_csv" and _said(column):
            found[name] = _truths(column)
        else:
            found[name] = [_flat(value) if nested else _value(name, value) for value in column]
    return found


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _said(column: Sequence[Any]) -> bool:
    """Whether a column of a text file says true and false; ``yes`` and ``no``, ``t`` and ``f`` stay texts."""
    return {str(value).lower() for value in column if value is not None} <= {"true", "false"} and any(column)


def _truths(column: Sequence[Any]) -> list[Value]:
    return [None if value is None else str(value).lower() == "true" for value in column]


def plain_value(value: Any) -> Value:
    """One value as a record holds it: moments as ISO-8601 text, decimals as floats, NaN as None, nested ones JSON."""
    return _flat(value)


def _flat(value: Any) -> Value:
    return json.dumps(value, default=str) if isinstance(value, list | dict) else _value("", value)


def _value(name: str, value: Any) -> Value:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return None if missing(value) else value
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    raise BadInput(f"column {name!r} holds a {type(value).__name__}", remedy="give plain numbers, texts and true/false")
