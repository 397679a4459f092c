"""The shelf of readings: the newest of each name and subject, and the past."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, exists, func, or_, select

from modelkeep.nouns import Reading
from modelkeep.store import tables
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

    def purge(self, before: float) -> int:
        """See ``seams.Readings.purge``."""
        c, n = tables.readings.c, tables.newest.c
        last = exists().where(n.name == c.name, n.subject == c.subject, n.at == c.at)
        return self._connection.execute(delete(tables.readings).where(c.at < before, ~last)).rowcount


def about(column: ColumnElement[str], subject: str) -> ColumnElement[bool]:
    """Rows of a subject; ``m`` also finds ``m@1``."""
    prefix = f"{subject}@"
    return or_(column == subject, func.substr(column, 1, len(prefix)) == prefix)


def _reading(body: str) -> Reading:
    return msgspec.json.decode(body, type=Reading)
