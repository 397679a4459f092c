"""Looking for predictions in the archive too: its rows come into each page where their moment puts them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection

from modelkeep.store import rows
from modelkeep.store.archive.asking import Asking
from modelkeep.store.rows import ASKED
from modelkeep.store.sealing import NUMBER
from modelkeep.store.seams import Hit, Sought
from modelkeep.store.searching import PAGE, Searching, error_of

_AT = [column.name for column in ASKED].index("at")


class LongSearching(Searching):
    """``Searching`` over database and archive."""

    def __init__(self, connection: Connection, asking: Asking) -> None:
        super().__init__(connection)
        self._asking = asking
        self._told: dict[tuple[int, int], str] = {}

    def _page(self, sought: Sought, *, before: tuple[float, int] | None) -> list[Any]:
        hot = super()._page(sought, before=before)
        since, until = self._span(sought)
        low = -1e300 if since is None else since
        if len(hot) == PAGE:
            low = max(low, hot[-1][_AT])
        partitions = self._asking.shelf.partitions(sought.model, at=(low, 1e300 if until is None else until))
        if not partitions:
            return hot
        where, values = ['model = ? AND "at" >= ?'], list[Any]([sought.model, low])
        for condition, value in (
            ('"at" < ?', until),
            ("version = ?", sought.version),
            ("role = ?", sought.role),
            ("key = ?", sought.key),
        ):
            if value is not None:
                where.append(condition)
                values.append(value)
        if sought.subject is not None:
            where.append("subject IN (?, ?)")
            values += [sought.subject, self._keys.pseudonym(sought.subject) or sought.subject]
        if before is not None:
            where.append('("at" < ? OR ("at" = ? AND number < ?))')
            values += [before[0], before[0], before[1]]
        records = self._asking.page(partitions, where=" AND ".join(where), values=values, limit=PAGE)
        self._told |= {record.id: record.matched[-3] for record in records if record.matched is not None}
        old = self._keys.all_opened(record.row for record in records)
        return sorted([*hot, *old], key=lambda row: (row[_AT], row[NUMBER]), reverse=True)[:PAGE]

    def _hits(self, page: list[Any]) -> Iterator[tuple[int, Hit]]:
        for number, hit in super()._hits(page):
            told = self._told.get(rows.known_ids(hit.prediction.id, field="id"))
            if told is None or hit.value is not None:
                yield number, hit
                continue
            value = rows.value_of(told)
            yield number, Hit(prediction=hit.prediction, value=value, error=error_of(hit.prediction.output, value))
