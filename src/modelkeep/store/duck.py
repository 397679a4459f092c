"""DuckDB, imported when the first segment is there, and the pieces of SQL that datasets are read and written with."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modelkeep.nouns import Field, Kind
from modelkeep.store.segments import Segment

_TYPES: Mapping[Kind, str] = {
    "number": "DOUBLE",
    "integer": "BIGINT",
    "boolean": "BOOLEAN",
    "category": "VARCHAR",
    "text": "VARCHAR",
}


WORDS = {"pandas_analyze_sample": "0"}
"""The setting of a connection that reads ``arrays``: an object is a text, nothing is guessed from a sample."""


def type_of(field: Field) -> str:
    """How DuckDB keeps the values of a column."""
    return _TYPES[field.kind]


class Duck:
    """One DuckDB in memory for all datasets of a process."""

    def __init__(self) -> None:
        self._database: Any = None
        self._lock = threading.Lock()
        self._places = 0
        self.life = 0
        """Grows when the database is closed: whatever was held in it is gone."""

    def cursor(self) -> Any:
        """A connection of one's own to the database."""
        with self._lock:
            if self._database is None:
                config = {"autoinstall_known_extensions": "false", "threads": "1", **WORDS}
                self._database = duckdb().connect(config=config)
            return self._database.cursor()

    def place(self) -> str:
        """A name in the database that nothing has yet."""
        with self._lock:
            self._places += 1
            return f"d{self._places}"

    def close(self) -> None:
        """Give the memory back."""
        with self._lock:
            if self._database is not None:
                self._database.close()
            self._database = None
            self.life += 1


def arrays(columns: Mapping[str, Sequence[Any]], kinds: Mapping[str, str]) -> dict[str, Any]:
    """Columns of numbers and texts as DuckDB scans them, in a sixth of the time that binding lists takes.

    NaN and None are null. For a connection with ``WORDS``; registered under a name, they are a table.
    """
    found: dict[str, Any] = {}
    for name, values in columns.items():
        if kinds[name] == "DOUBLE":
            found[name] = np.array(values, dtype=np.float64)  # None becomes NaN
        elif kinds[name] == "BIGINT":
            none = np.array([value is None for value in values], dtype=bool)
            whole = [0 if value is None else value for value in values] if none.any() else values
            found[name] = np.ma.masked_array(np.array(whole, dtype=np.int64), mask=none)
        else:
            texts = np.empty(len(values), dtype=object)
            texts[:] = values
            found[name] = texts
    return found


FORM = "(FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false)"
"""How segments are written."""


def duckdb() -> Any:
    """DuckDB is 27 MB of memory: only whoever has data pays for it."""
    return importlib.import_module("duckdb")


def present(segments: Sequence[Segment]) -> None:
    """Raise FileNotFoundError when a segment is gone."""
    for segment in segments:
        segment.path.stat()


NAMED = "right(filename, 90)"
"""The name of the segment that a row is of: the same length for all, in the order of appending."""


def files(paths: Iterable[Path]) -> str:
    """Segments as a table of DuckDB, with their own names beside the rows."""
    safe = ", ".join(text(path, glob=True) for path in paths)
    return f"read_parquet([{safe}], union_by_name = true, filename = true)"


def text(path: Path, *, glob: bool = False) -> str:
    """A path as SQL text; in lists of files ``*`` and its like would match others."""
    said = str(path.absolute())
    said = said.translate({ord(sign): f"[{sign}]" for sign in "*?["}) if glob else said
    return "'" + said.replace("'", "''") + "'"


def quoted(name: str) -> str:
    """A name as SQL takes it."""
    return '"' + name.replace('"', '""') + '"'


def listed(names: Sequence[str]) -> str:
    """Names as SQL takes them."""
    return ", ".join(map(quoted, names))


def said(fault: Exception) -> str:
    """What DuckDB complains of, in one line."""
    return str(fault).partition("\n")[0]
