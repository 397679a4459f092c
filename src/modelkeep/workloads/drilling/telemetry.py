"""Reading telemetry files: every row is taken or named with its line and the reason, and nothing missing becomes 0."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from modelkeep import BadInput, Field, Value, moment

COLUMNS: tuple[Field, ...] = (
    Field(name="timestamp", kind="number", unit="s since 1970 (a file may hold ISO-8601)"),
    Field(name="device_id", kind="text"),
    Field(name="seq", kind="integer", low=0),
    Field(name="current_amp", kind="number", unit="A", low=0, high=100, nullable=True),
    Field(name="gps_lat", kind="number", unit="deg", low=-90, high=90, nullable=True),
    Field(name="gps_lon", kind="number", unit="deg", low=-180, high=180, nullable=True),
    Field(name="battery_level", kind="number", unit="%", low=0, high=100, nullable=True),
    Field(name="ble_id", kind="text", nullable=True),
)
"""The layout of the guide's telemetry file; one row every 30 s while a device works."""
KEY = ("device_id", "timestamp", "seq")
NAMES = tuple(field.name for field in COLUMNS)
REQUIRED = ("timestamp", "device_id", "seq")
NOTHING = frozenset({"", "na", "n/a", "nan", "null", "none", "unknown", "unavailable", "-"})
"""Texts that say that a value is missing."""
_BY_NAME = {field.name: field for field in COLUMNS}


class Defect(Struct, frozen=True, kw_only=True):
    """One unreadable thing of a file: where it stands, of which device, and the reason.

    ``whole`` says that the row was left out; else the row was taken with this value missing.
    """

    line: int
    device_id: str
    column: str
    reason: str
    whole: bool


class Parsed(Struct, frozen=True, kw_only=True):
    """The rows of a file by column, each as its own type or None, and what could not be read.

    ``read`` are all rows of the file, ``missing`` how many of them have no value in a column (unreadable ones count).
    """

    columns: dict[str, list[Value]]
    defects: tuple[Defect, ...]
    read: int
    missing: dict[str, int]

    @property
    def rows(self) -> int:
        """Rows that were taken."""
        return len(self.columns["timestamp"])


def parse(data: bytes) -> Parsed:
    r"""Read a CSV (with a header) or a Parquet file.

    >>> parse(b"timestamp,device_id,seq,current_amp\n2025-07-01T09:00:00Z,d1,1,ERR\n").columns["current_amp"]
    [None]

    Raises BadInput when it is neither, or lacks a required column; a bad row is never an error.
    """
    rows = _parquet(data) if data[:4] == b"PAR1" else _csv(data)
    columns: dict[str, list[Value]] = {name: [] for name in NAMES}
    defects: list[Defect] = []
    missing = dict.fromkeys(NAMES, 0)
    read = 0
    for line, row in rows:
        read += 1
        fit, wrong = _row(row, line)
        defects += wrong
        for name in NAMES:
            missing[name] += fit.get(name) is None
        if not any(defect.whole for defect in wrong):
            for name, values in columns.items():
                values.append(fit.get(name))
    return Parsed(columns=columns, defects=tuple(defects), read=read, missing=missing)


def _csv(data: bytes) -> Iterator[tuple[int, Mapping[str, Value]]]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"the telemetry is not UTF-8: {error}", remedy="send CSV in UTF-8, or Parquet") from None
    reader = csv.DictReader(io.StringIO(text), restkey="")
    _check(reader.fieldnames or ())
    for row in reader:
        yield reader.line_num, {str(name): value for name, value in row.items() if not isinstance(value, list)}


def _parquet(data: bytes) -> Iterator[tuple[int, Mapping[str, Value]]]:
    import duckdb  # noqa: PLC0415 - heavy, and only for Parquet

    with tempfile.TemporaryDirectory(prefix="drilling-") as folder:
        path = Path(folder) / "telemetry.parquet"
        path.write_bytes(data)
        try:
            found = duckdb.read_parquet(str(path))
            names = found.columns
            _check(names)
            # As texts: moments keep their zone, and no further package is needed to read them.
            rows = found.project(", ".join(f'CAST("{name}" AS VARCHAR)' for name in names if name in NAMES)).fetchall()
        except duckdb.Error as error:
            raise BadInput(f"the telemetry cannot be read as Parquet: {error}") from None
    names = [name for name in names if name in NAMES]
    for number, row in enumerate(rows, start=1):
        yield number, dict(zip(names, row, strict=True))


def _check(names: object) -> None:
    found = set(names) if isinstance(names, list | tuple) else set()
    lacking = [name for name in REQUIRED if name not in found]
    if lacking:
        raise BadInput(
            f"the telemetry has no column {', '.join(map(repr, lacking))}",
            remedy=f"its header must name {', '.join(NAMES)}",
        )


def _row(row: Mapping[str, Value], line: int) -> tuple[dict[str, Value], list[Defect]]:
    """A row's values, and what is wrong with it."""
    device = str(row.get("device_id") or "").strip()
    fit: dict[str, Value] = {}
    wrong: list[Defect] = []
    for name in NAMES:
        value = row.get(name)
        try:
            fit[name] = _READERS[name](value, name)
        except ValueError as reason:
            fit[name] = None
            whole = name in REQUIRED
            wrong.append(Defect(line=line, device_id=device, column=name, reason=str(reason), whole=whole))
            continue
        if fit[name] is None and name in REQUIRED:
            wrong.append(Defect(line=line, device_id=device, column=name, reason=f"{name} is missing", whole=True))
    return fit, wrong


def _number(value: Value, name: str) -> Value:
    if value is None or str(value).strip().lower() in NOTHING:
        return None
    field = _BY_NAME[name]
    try:
        number = float(value)
    except ValueError:
        raise ValueError(f"{name} is {str(value)[:40]!r}, not a number") from None
    if number != number:  # noqa: PLR0124 - a NaN of a Parquet file is a missing value
        return None
    told = field.refusal(int(number) if field.kind == "integer" and number == int(number) else number)
    if told is not None:
        raise ValueError(f"{name} is {value}, expected {field.expected()}")
    return int(number) if field.kind == "integer" else number


def _text(value: Value, _: str) -> Value:
    text = "" if value is None else str(value).strip()
    return None if text.lower() in NOTHING else text


def _time(value: Value, name: str) -> Value:
    if value is None or str(value).strip().lower() in NOTHING:
        return None
    try:
        return moment(str(value).strip(), name)
    except BadInput:
        raise ValueError(f"{name} is {str(value)[:40]!r}, not a time") from None


_READERS: Mapping[str, Callable[[Value, str], Value]] = {
    **dict.fromkeys(NAMES, _number),
    "timestamp": _time,
    "device_id": _text,
    "ble_id": _text,
}
