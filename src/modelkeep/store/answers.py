"""Answers of a model to the rows of a file: appended in order while a job works, read in pages, written for others."""

from __future__ import annotations

import csv
import importlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from modelkeep.errors import BadInput, StoreUnavailable
from modelkeep.nouns import Output
from modelkeep.store import durable

Form = Literal["csv", "ndjson", "parquet"]
_ENCODER = msgspec.json.Encoder()
_KINDS = {"row": "BIGINT", "score": "DOUBLE", "low": "DOUBLE", "high": "DOUBLE"}


class RowAnswer(Struct, frozen=True, kw_only=True):
    """What a model answered to one row of a file (the first is 1), or why it did not.

    ``id`` is the row's own, ``prediction_id`` that of the record (empty when nothing was recorded). ``score`` is the
    probability of the class, ``low`` and ``high`` the interval, where the model tells them.
    """

    row: int
    id: str = ""
    prediction_id: str = ""
    key: str = ""
    prediction: Output | None = None
    score: float | None = None
    low: float | None = None
    high: float | None = None
    error: str = ""


NAMES = RowAnswer.__struct_fields__


class Answers:
    """The file that a job appends to. What is behind ``size`` bytes came from a run that was killed, and goes.

    Raises StoreUnavailable when the disk does not take it.
    """

    def __init__(self, path: Path, *, size: int = 0) -> None:
        try:
            self._file = os.fdopen(os.open(path, os.O_CREAT | os.O_RDWR, 0o640), "r+b")
            self._file.truncate(size)
            self._file.seek(size)
        except OSError as cause:
            raise _full(cause) from None

    def add(self, answers: Iterable[RowAnswer]) -> None:
        """Append answers."""
        try:
            self._file.writelines(_ENCODER.encode(one) + b"\n" for one in answers)
        except OSError as cause:
            raise _full(cause) from None

    def certain(self) -> int:
        """Force what was appended to disk; the size of the file, in bytes."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            return self._file.tell()
        except OSError as cause:
            raise _full(cause) from None

    def close(self) -> None:
        """Append no more."""
        self._file.close()


def page(path: Path, *, after: int, limit: int) -> tuple[list[RowAnswer], int | None]:
    """At most ``limit`` answers from byte ``after`` on, and where the next ones are; None when there are none.

    Raises BadInput when ``after`` is no such place.
    """
    decoder = msgspec.json.Decoder(RowAnswer)
    with path.open("rb") as file:
        if after:
            file.seek(after - 1)
            if file.read(1) != b"\n":
                raise BadInput.of("after", expected="what a page before gave as next", got=str(after))
        found, size = [], 0
        for line in iter(file.readline, b""):
            found.append(decoder.decode(line))
            size += len(line)
            if len(found) == limit:
                break
        place = after + size
        return found, place if file.read(1) else None


def write(target: Path, answers: Iterable[Sequence[RowAnswer]], *, form: Form, columns: Sequence[str]) -> None:
    """Write answers to a file, whole or not at all, in place of one that is there. Raises StoreUnavailable."""
    try:
        with durable.beside(target.parent) as part:
            if form == "csv":
                _write_csv(part, answers, columns=columns)
            elif form == "ndjson":
                _write_lines(part, answers, columns=columns)
            else:
                _write_parquet(part, answers, columns=columns)
            durable.seal(part)
            durable.settle(part, target)
    except OSError as cause:
        raise StoreUnavailable(
            f"cannot write {target}: {cause.strerror or cause}", remedy="check its folder"
        ) from cause


def _write_csv(part: Path, answers: Iterable[Sequence[RowAnswer]], *, columns: Sequence[str]) -> None:
    with part.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(columns)
        for some in answers:
            rows.writerows([_shown(getattr(one, name)) for name in columns] for one in some)


def _shown(value: Any) -> Any:
    return ("true" if value else "false") if isinstance(value, bool) else value


def _write_lines(part: Path, answers: Iterable[Sequence[RowAnswer]], *, columns: Sequence[str]) -> None:
    with part.open("wb") as file:
        for some in answers:
            file.writelines(_ENCODER.encode({name: getattr(one, name) for name in columns}) + b"\n" for one in some)


def _write_parquet(part: Path, answers: Iterable[Sequence[RowAnswer]], *, columns: Sequence[str]) -> None:
    # DuckDB is 27 MB of memory: only whoever writes Parquet pays for it.
    duckdb: Any = importlib.import_module("duckdb")
    with _lines_beside(part) as lines:
        seen = _Seen(answers)
        _write_lines(lines, seen, columns=columns)
        kinds = _KINDS | {"prediction": seen.kind}
        told = ", ".join(f"{name}: '{kinds.get(name, 'VARCHAR')}'" for name in columns)
        source = f"read_json(?, format = 'newline_delimited', columns = {{{told}}})"
        with duckdb.connect(config={"threads": "1", "autoinstall_known_extensions": "false"}) as connection:
            query = f"COPY (SELECT * FROM {source}) TO '{_quoted(part)}' (FORMAT parquet, COMPRESSION zstd)"
            connection.execute(query, [str(lines)])


class _Seen:
    """Answers on their way, and what kind of thing they are."""

    def __init__(self, answers: Iterable[Sequence[RowAnswer]]) -> None:
        self._answers = answers
        self._types: set[type] = set()

    def __iter__(self) -> Iterator[Sequence[RowAnswer]]:
        for some in self._answers:
            self._types |= {type(one.prediction) for one in some}
            yield some

    @property
    def kind(self) -> str:
        types = self._types - {type(None)}
        return "BOOLEAN" if types == {bool} else "DOUBLE" if types and types <= {int, float} else "VARCHAR"


@contextmanager
def _lines_beside(part: Path) -> Iterator[Path]:
    lines = part.with_suffix(".lines")
    try:
        yield lines
    finally:
        lines.unlink(missing_ok=True)


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


def _full(cause: OSError) -> StoreUnavailable:
    return StoreUnavailable(f"answers cannot be kept: {cause}", remedy="free space on the disk of the data folder")
