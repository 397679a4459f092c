"""What is in the database, page by page, in the columns of the archive's files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, and_, select

from modelkeep.store import rows
from modelkeep.store.archive.form import REVISION, shown
from modelkeep.store.sealing import NUMBER, Keys, sealed
from modelkeep.store.tables import matches, outcomes, predictions, readings

_MATCH = ("number", "outcome", "value", "told", "revision")


class Span(Struct, frozen=True, kw_only=True):
    """Which records: of one model or of all, asked from ``start`` up to, not including, ``end``."""

    model: str | None = None
    start: float | None = None
    end: float | None = None


def pages(connection: Connection, span: Span, *, size: int) -> Iterator[dict[str, list[Any]]]:
    """Predictions with their outcomes, in the order of recording; without what was told of them before it counted."""
    p, m, after, keys = predictions.c, matches.c, 0, Keys(connection)
    query = rows.PREDICTIONS.add_columns(*(m[name].label(f"m_{name}") for name in _MATCH)).select_from(
        predictions.outerjoin(matches, and_(m.writer == p.writer, m.seq == p.seq))
    )
    if span.model is not None:
        query = query.where(p.model == span.model)
    if span.start is not None:
        query = query.where(p.at >= span.start)
    if span.end is not None:
        query = query.where(p.at < span.end)
    while True:
        result = connection.execute(query.where(p.number > after).order_by(p.number).limit(size))
        found = result.cursor.fetchall()  # the driver's own tuples: nothing is made of a row but its columns
        result.close()
        if not found:
            return
        after = found[-1][NUMBER]
        opened = keys.all_opened(found) if any(map(sealed, found)) else found
        yield shown(found, [row[NUMBER - 1] for row in opened])


def told_pages(connection: Connection, *, size: int) -> Iterator[dict[str, list[Any]]]:
    """Every revision of every outcome."""
    after = 0
    while True:
        query = select(outcomes).where(outcomes.c.number > after).order_by(outcomes.c.number).limit(size)
        found = connection.execute(query).all()
        if not found:
            return
        after = found[-1].number
        yield {name: [row[place] for row in found] for place, name in enumerate(REVISION)}


def reading_pages(connection: Connection, span: Span, *, size: int) -> Iterator[dict[str, list[Any]]]:
    """Readings, in the order in which they were kept."""
    c, after = readings.c, 0
    query = select(c.number, c.name, c.subject, c.at, c.body)
    if span.start is not None:
        query = query.where(c.at >= span.start)
    if span.end is not None:
        query = query.where(c.at < span.end)
    while True:
        found = connection.execute(query.where(c.number > after).order_by(c.number).limit(size)).all()
        if not found:
            return
        after = found[-1].number
        yield {name: [getattr(row, name) for row in found] for name in ("name", "subject", "at", "body")}
