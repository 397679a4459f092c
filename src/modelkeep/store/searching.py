"""Looking for predictions: by what is in columns first, by the rest of each record then, page by page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, func, or_, select

from modelkeep.nouns import Output
from modelkeep.profile import Sums
from modelkeep.quantities import HOUR
from modelkeep.store import rows
from modelkeep.store.sealing import NUMBER, Keys
from modelkeep.store.seams import Hit, Hits, Sought
from modelkeep.store.tables import matches, predictions, profiles, rows_among

PAGE = 500
LOOKED = 50_000
"""So many records one search looks at; it then says where to go on."""
_VALUES = select(matches.c.writer, matches.c.seq, matches.c.value)


class Searching:
    """The searches of one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._keys = Keys(connection)

    def search(self, sought: Sought, *, limit: int) -> Hits:
        """See ``seams.Records.search``."""
        found: list[Hit] = []
        looked, before = 0, sought.before
        while True:
            page = self._page(sought, before=before)
            for number, hit in self._hits(page):
                looked += 1
                before = hit.prediction.at, number
                if _fits(hit, sought):
                    found.append(hit)
                if len(found) >= limit or looked >= LOOKED:
                    return Hits(hits=tuple(found), rest=before)
            if len(page) < PAGE:
                return Hits(hits=tuple(found))

    def _page(self, sought: Sought, *, before: tuple[float, int] | None) -> list[Any]:
        c = predictions.c
        query = rows.PREDICTIONS.where(c.model == sought.model)
        since, until = self._span(sought)
        if since is not None:
            query = query.where(c.at >= since)
        if until is not None:
            query = query.where(c.at < until)
        for column, value in ((c.version, sought.version), (c.role, sought.role), (c.key, sought.key)):
            if value is not None:
                query = query.where(column == value)
        if sought.subject is not None:
            names = {sought.subject, self._keys.pseudonym(sought.subject) or sought.subject}
            query = query.where(c.subject.in_(names))
        if before is not None:
            at, number = before
            query = query.where(c.at <= at, or_(c.at < at, c.number < number))
        query = query.order_by(c.at.desc(), c.number.desc()).limit(PAGE)
        return self._keys.all_opened(self._connection.execute(query))

    def _span(self, sought: Sought) -> tuple[float | None, float | None]:
        """The bounds in time: a version's are known from its hours, so that the rest need not be looked at."""
        since, until = sought.since, sought.until
        if sought.version is None:
            return since, until
        c = profiles.c
        query = select(func.min(c.hour), func.max(c.hour)).where(c.model == sought.model, c.version == sought.version)
        first, last = self._connection.execute(query).one()
        if first is None:
            return since, until
        return max(first, since or first), min(last + HOUR, last + HOUR if until is None else until)

    def _hits(self, page: list[Any]) -> Iterator[tuple[int, Hit]]:
        c = matches.c
        pairs = [(row[0], row[1]) for row in page]
        told = rows_among(self._connection, _VALUES, columns=[c.writer, c.seq], keys=pairs)
        values = {(writer, seq): rows.value_of(value) for writer, seq, value in told}
        for row in page:
            prediction, value = rows.prediction(row), values.get((row[0], row[1]))
            yield row[NUMBER], Hit(prediction=prediction, value=value, error=error_of(prediction.output, value))


def error_of(answer: Output | None, truth: Output | None) -> float | None:
    """How far an answer is from the truth: a distance for numbers, 1 or 0 for classes; None when one is not known."""
    return None if answer is None or truth is None else Sums.of(answer, truth).loss


def _fits(hit: Hit, sought: Sought) -> bool:
    p = hit.prediction
    if sought.failed is not None and (p.error is not None) != sought.failed:
        return False
    if sought.flagged is not None and bool(p.flag) != sought.flagged:
        return False
    number = p.output if isinstance(p.output, int | float) and not isinstance(p.output, bool) else None
    return _between(number, sought.low, high=sought.high) and _between(hit.error, sought.least, high=sought.most)


def _between(value: float | None, low: float | None, *, high: float | None) -> bool:
    if low is None and high is None:
        return True
    return value is not None and (low is None or value >= low) and (high is None or value <= high)
