"""The predictions on PostgreSQL are kept by month of ``at``, so that old months can go at once.

Why by ``at`` and by month: a prediction keeps its ``at`` for ever, so a group that is sent twice meets its own rows in
the same part, where the primary key (writer, seq, at) refuses them; the archive and every retention are about ``at``;
and a hot window of 90 days has four parts, so looking for an id or a key asks few indexes. Days would be thirty times
as many; ranges of numbers would keep a record that came late away from its day.

A part is made by the first transaction that needs it and is there or undone with it. What lies outside the years 2000
to 2099 (a clock that was never set) is in ``predictions_early`` and ``predictions_late``; a default part would have to
be read through, and kept from everybody, whenever a month is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import Connection

from modelkeep.store import turns

TABLE = "predictions"
_SEEN = "modelkeep parts"
_FIRST, _LAST = 2000, 2100


class Part(NamedTuple):
    """One month: the name of its table, and its moments ``start <= at < end``."""

    name: str
    start: float
    end: float


def part_of(at: float) -> Part | None:
    """The month that a moment is in; None for one that is in no month of its own.

    >>> part_of(1_795_000_000.0).name, part_of(5.0)
    ('predictions_2026_11', None)
    """
    if not _moment(_FIRST, 1) <= at < _moment(_LAST, 1):
        return None
    day = datetime.fromtimestamp(at, UTC)
    year, month = day.year, day.month
    following = (year + 1, 1) if month == 12 else (year, month + 1)
    return Part(f"{TABLE}_{year}_{month:02}", _moment(year, month), _moment(*following))


def ready(connection: Connection, moments: Iterable[float]) -> None:
    """Make the parts that the moments need, where the table has parts."""
    if connection.dialect.name != "postgresql":
        return
    known = _known_of(connection)
    wanted = [part for part in _wanted(moments) if part.name not in known]
    if not wanted:
        return
    turns.alone(connection, turns.PARTS)
    missing = _missing(connection, wanted)
    if not missing:
        known.update(part.name for part in wanted)
    for part in missing:
        # Made aside and then attached: readers and writers of the other parts wait for nothing.
        connection.exec_driver_sql(f"CREATE TABLE {part.name} (LIKE {TABLE} INCLUDING DEFAULTS INCLUDING STORAGE)")
        bounds = f"FROM ({part.start!r}) TO ({part.end!r})"
        connection.exec_driver_sql(f"ALTER TABLE {TABLE} ATTACH PARTITION {part.name} FOR VALUES {bounds}")


def parts(connection: Connection) -> list[Part]:
    """The months that there are, oldest first; none on SQLite."""
    if connection.dialect.name != "postgresql":
        return []
    query = f"SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = '{TABLE}'::regclass ORDER BY 1"
    names = connection.exec_driver_sql(query).scalars()
    return [part for part in map(_named, names) if part is not None]


def drop(connection: Connection, *, before: float) -> list[tuple[str, int]]:
    """Let go of the months that end at or before a moment, whole, at once; each with the rows that it had.

    Nothing on SQLite, where rows are deleted. What was counted of them (profiles, sums, matches) stays.
    """
    gone = []
    for part in parts(connection):
        if part.end <= before:
            rows = connection.exec_driver_sql(f"SELECT count(*) FROM {part.name}").scalar() or 0
            connection.exec_driver_sql(f"DROP TABLE {part.name}")
            gone.append((part.name, rows))
    return gone


def _known_of(connection: Connection) -> set[str]:
    """The parts that this connection has seen kept: one that is dropped meanwhile is missed by COPY, and looked for."""
    found: set[str] = connection.info.setdefault(_SEEN, set())
    return found


def drop_empty(connection: Connection) -> list[str]:
    """Let go of the months whose rows are all gone (archived, erased), but for the newest; their names."""
    gone = []
    for part in parts(connection)[:-1]:
        if connection.exec_driver_sql(f"SELECT 1 FROM {part.name} LIMIT 1").first() is None:
            connection.exec_driver_sql(f"DROP TABLE {part.name}")
            gone.append(part.name)
    return gone


@contextmanager
def remembered(connection: Connection) -> Iterator[None]:
    """What was seen holds while nothing fails: rows may have been refused for want of a part that was dropped."""
    kept = False
    try:
        yield
        kept = True
    finally:
        if not kept and not connection.invalidated:
            connection.info.pop(_SEEN, None)


def _wanted(moments: Iterable[float]) -> list[Part]:
    found: dict[str, Part] = {}
    last: Part | None = None
    for at in moments:
        if last is None or not last.start <= at < last.end:
            last = part_of(at)
            if last is not None:
                found[last.name] = last
    return [found[name] for name in sorted(found)]


def _missing(connection: Connection, wanted: Iterable[Part]) -> list[Part]:
    by_name = {part.name: part for part in wanted}
    query = "SELECT name FROM unnest(%s::text[]) AS name WHERE to_regclass(name) IS NULL ORDER BY name"
    return [by_name[name] for name in connection.exec_driver_sql(query, (list(by_name),)).scalars()]


def _named(name: str) -> Part | None:
    year, _, month = name.removeprefix(f"{TABLE}_").partition("_")
    return part_of(_moment(int(year), int(month))) if year.isdigit() and month.isdigit() else None


def _moment(year: int, month: int) -> float:
    return datetime(year, month, 1, tzinfo=UTC).timestamp()
