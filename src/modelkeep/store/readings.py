"""The shelf of readings: the newest of each name and subject, and the past."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, cast

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, delete, exists, func, or_, select

from modelkeep.nouns import LEVELS, Level, Reading
from modelkeep.quantities import DAY
from modelkeep.store import tables
from modelkeep.store.seams import DayOfReadings
from modelkeep.store.tables import insert_rows, upsert


class SqlReadings:
    """``seams.Readings`` over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, readings: Sequence[Reading]) -> None:
        """See ``seams.Readings.add``."""
        rows = [(r.name, r.subject, r.at, msgspec.json.encode(r).decode()) for r in readings]
        insert_rows(self._connection, tables.readings, rows=rows)
        last: dict[tuple[str, str], tuple[float, str]] = {}
        for name, subject, at, body in rows:
            if (name, subject) not in last or last[name, subject][0] <= at:
                last[name, subject] = at, body
        c = tables.newest.c
        names = {name for name, _ in last}
        kept = self._connection.execute(select(c.name, c.subject, c.at).where(c.name.in_(names)))
        later = {(name, subject) for name, subject, at in kept if at > last.get((name, subject), (at,))[0]}
        fresh = [
            {"name": name, "subject": subject, "at": at, "body": body}
            for (name, subject), (at, body) in last.items()
            if (name, subject) not in later
        ]
        if fresh:
            self._connection.execute(upsert(tables.newest), fresh)

    def newest(self, subject: str | None = None, name: str | None = None) -> list[Reading]:
        """See ``seams.Readings.newest``."""
        c = tables.newest.c
        query = select(c.body).order_by(c.name, c.subject)
        if subject is not None:
            query = query.where(about(c.subject, subject))
        if name is not None:
            query = query.where(c.name == name)
        return [_reading(body) for body in self._connection.execute(query).scalars()]

    def series(self, name: str, subject: str, *, start: float, end: float) -> list[Reading]:
        """See ``seams.Readings.series``; ``start`` is inclusive, ``end`` exclusive."""
        c = tables.readings.c
        query = select(c.body).where(c.name == name, c.subject == subject, c.at >= start, c.at < end)
        found = self._connection.execute(query.order_by(c.at, c.number)).scalars()
        return [_reading(body) for body in found]

    def purge(self, before: float, *, limit: int = 1_000_000) -> int:
        """See ``seams.Readings.purge``."""
        c = tables.readings.c
        query = select(c.number, c.name, c.subject, c.at, c.body).where(_old(before)).order_by(c.at).limit(limit)
        found = self._connection.execute(query).all()
        self._fold(found)
        for start in range(0, len(found), tables.CHUNK):
            some = [row.number for row in found[start : start + tables.CHUNK]]
            self._connection.execute(delete(tables.readings).where(c.number.in_(some)))
        return len(found)

    def older(self, before: float) -> int:
        """See ``seams.Readings.older``."""
        query = select(func.count()).select_from(tables.readings).where(_old(before))
        return self._connection.execute(query).scalar() or 0

    def days(self, name: str, subject: str, *, start: float, end: float) -> list[DayOfReadings]:
        """See ``seams.Readings.days``."""
        c = tables.reading_days.c
        query = select(c.day, c.n, c.known, c.low, c.high, c.total, c.worst).order_by(c.day)
        query = query.where(c.name == name, c.subject == subject, c.day >= start, c.day < end)
        return [
            DayOfReadings(
                day=day, n=n, known=known, low=low, high=high, mean=total / known if known else None, worst=worst
            )
            for day, n, known, low, high, total, worst in self._connection.execute(query)
        ]

    def _fold(self, found: Iterable[Any]) -> None:
        """Add readings to the days that they are of."""
        days: dict[tuple[str, str, float], list[Reading]] = {}
        for row in found:
            days.setdefault((row.name, row.subject, row.at // DAY * DAY), []).append(_reading(row.body))
        table = tables.reading_days
        for (name, subject, day), some in days.items():
            mine = (table.c.name == name, table.c.subject == subject, table.c.day == day)
            kept = self._connection.execute(select(table).where(*mine)).first()
            values = [r.value for r in some if r.value is not None]
            levels = [r.level for r in some]
            if kept is not None:
                levels.append(cast("Level", kept.worst))
            bounds = [*values, *(v for v in ((kept.low, kept.high) if kept is not None else ()) if v is not None)]
            whole = {
                "name": name,
                "subject": subject,
                "day": day,
                "n": len(some) + (kept.n if kept is not None else 0),
                "known": len(values) + (kept.known if kept is not None else 0),
                "low": min(bounds, default=None),
                "high": max(bounds, default=None),
                "total": math.fsum(values) + (kept.total if kept is not None else 0.0),
                "worst": max(levels, key=LEVELS.index),
            }
            self._connection.execute(upsert(table), whole)


def _old(before: float) -> ColumnElement[bool]:
    """Older than a moment, and not the newest of its name and subject."""
    c, n = tables.readings.c, tables.newest.c
    last = exists().where(n.name == c.name, n.subject == c.subject, n.at == c.at)
    return and_(c.at < before, ~last)


def about(column: ColumnElement[str], subject: str) -> ColumnElement[bool]:
    """Rows of a subject; ``m`` also finds ``m@1``."""
    prefix = f"{subject}@"
    return or_(column == subject, func.substr(column, 1, len(prefix)) == prefix)


def _reading(body: str) -> Reading:
    return msgspec.json.decode(body, type=Reading)
