"""Taking rows in: a file or a list; what does not fit is counted and named, the rest is kept."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec import Struct

from modelkeep import BadInput, Field, Rooms, Value, moment, read_table
from modelkeep.workloads.restaurants import keeping
from modelkeep.workloads.restaurants.keeping import Kept

MOMENTS = frozenset({"moment", "assigned", "completed", "visit", "booked", "earliest_expiry"})
LISTED = 20
ENDINGS = {"csv": ".csv", "json": ".json", "parquet": ".parquet"}


class BadRow(Struct, frozen=True, kw_only=True):
    """A row that was left out: its place (from 0), and why."""

    row: int
    reason: str


class Ingested(Struct, frozen=True, kw_only=True):
    """What became of rows: taken, known before (they took their place), bad (left out, the first 20 with reasons)."""

    kind: str
    received: int
    taken: int
    known: int
    bad: int
    reasons: dict[str, int]
    bad_rows: tuple[BadRow, ...]


def table_of(data: bytes, form: str) -> list[dict[str, Value]]:
    """The rows of a CSV, JSON or Parquet file. Raises BadInput for anything else."""
    ending = ENDINGS.get(form)
    if ending is None:
        raise BadInput.of("format", expected="csv, json or parquet", got=repr(form))
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"rows{ending}"
        path.write_bytes(data)
        columns = read_table(path)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def ingest(rooms: Rooms, kind: str, *, rows: Sequence[Mapping[str, Value]]) -> Ingested:
    """Keep the rows that fit. Raises NotFound for an unknown kind, BadInput when not one row of several fits."""
    data, kept = keeping.dataset(rooms, kind), keeping.KINDS[kind]
    good: list[dict[str, Value]] = []
    bad: list[BadRow] = []
    for place, row in enumerate(rows):
        fitted = fit(row, kept, now=rooms.clock.now())
        if isinstance(fitted, str):
            bad.append(BadRow(row=place, reason=fitted))
        else:
            good.append(fitted)
    if rows and not good:
        raise BadInput(
            f"none of {len(rows)} rows of {kind} fits; the first: {bad[0].reason}",
            remedy=f"a row has {', '.join(kept.needed)}; see docs/workloads/restaurants.md",
        )
    columns = {field.name: [row[field.name] for row in good] for field in kept.columns}
    appended = data.append(columns)
    return Ingested(
        kind=kind,
        received=len(rows),
        taken=appended.rows,
        known=appended.known,
        bad=len(bad),
        reasons=dict(Counter(one.reason.partition(": ")[0] for one in bad).most_common()),
        bad_rows=tuple(bad[:LISTED]),
    )


def fit(row: Mapping[str, Value], kept: Kept, *, now: float) -> dict[str, Value] | str:
    """A row in the dataset's own names and kinds, or what is wrong with it in words."""
    renamed = {kept.aliases.get(name, name): value for name, value in row.items() if value is not None}
    found: dict[str, Value] = {}
    for field in kept.columns:
        value = renamed.get(field.name)
        if field.name == "moment" and value is None and field.nullable:
            value = now
        if value is None or value == "":
            if not field.nullable:
                return f"{field.name} is missing"
            found[field.name] = "" if field.name in kept.key else None
            continue
        try:
            found[field.name] = _value(field, value)
        except (BadInput, ValueError):
            return f"{field.name} is not a {'moment' if field.name in MOMENTS else field.expected()}: {value!r}"
    return found


def _value(field: Field, value: Value) -> Value:
    if field.kind == "text":
        whole = isinstance(value, float) and value.is_integer()
        return str(int(value)) if whole else str(value).strip()  # type: ignore[arg-type]  # a float that is whole
    number = moment(str(value), field.name) if field.name in MOMENTS else float(str(value))
    if not isfinite(number) or (field.low is not None and number < field.low):
        raise ValueError(field.name)
    return number
