"""How far the answers were from the truth: from the hours' exact sums where they are enough, else from the rows.

An hour that lies within one bucket is read from its sums alone, whether its records are in the database or in the
archive. Rows are read for the hours that a bound cuts, for one entity, and where the lead (target - at) matters, which
no sum knows: a piece of the window at a time, so that any number of them fits in memory.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Protocol

from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, Select, select

from modelkeep.profile import Sums
from modelkeep.quantities import HOUR
from modelkeep.store.exact import Totals, count
from modelkeep.store.hours import hour_of, of_rows
from modelkeep.store.tables import error_sums, matches

PIECE = 100_000
"""So many rows are in memory at a time, or those of one hour."""
_Row = Sequence[Any]


class Part(Struct, frozen=True, kw_only=True):
    """Which predictions are scored: of a version, an entity, a role, with a lead; what is None does not matter.

    ``role`` None means what was answered to callers (every role but shadow). ``lead`` is target - at in seconds, to the
    millisecond: the first bound belongs to it, the second does not.
    """

    version: int | None = None
    key: str | None = None
    role: str | None = None
    lead: tuple[float, float] | None = None


WHOLE = Part()


class Older(Protocol):
    """Rows like those of ``rows_between`` that are not in the database any more."""

    def __call__(
        self, model: str, *, start: float, end: float, version: int | None, key: str | None, role: str | None
    ) -> Sequence[_Row]:
        """Output, value, references, at and target."""


class Scoring:
    """The error sums that one transaction reads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.older: Older | None = None

    def sums(self, model: str, *, start: float, end: float, part: Part = WHOLE) -> dict[str, Sums]:
        """See ``seams.Records.sums``."""
        if start >= end:
            return {"model": Sums()}
        (found,) = self._timed(model, cuts=(start, end), part=part, read=Totals.every)
        return found.sums()

    def series(self, model: str, *, cuts: Sequence[float], part: Part) -> list[Sums]:
        """See ``seams.Records.series``."""
        return [found.sums()["model"] for found in self._timed(model, cuts=cuts, part=part, read=Totals.model)]

    def leads(
        self, model: str, *, start: float, end: float, cuts: Sequence[float], part: Part
    ) -> list[dict[str, Sums]]:
        """See ``seams.Records.leads``."""
        bins = [Totals() for _ in pairwise(cuts)]
        for low, high in self._pieces(model, start=start, end=end, part=part):
            _sort(self._rows(model, start=low, end=high, part=part), bins, cuts=cuts, by=_lead)
        return [found.sums() for found in bins]

    def pairs(self, model: str, *, start: float, end: float, part: Part) -> int:
        """See ``seams.Records.pairs``."""
        return sum(n for _, n in self._counted(model, start=start, end=end, part=part))

    def _timed(
        self, model: str, *, cuts: Sequence[float], part: Part, read: Callable[[Totals, bytes], None]
    ) -> list[Totals]:
        """What lies between each two of ``cuts`` (moments that never fall)."""
        bins, start, end = [Totals() for _ in pairwise(cuts)], cuts[0], cuts[-1]
        if part.key is not None or part.lead is not None:
            spans = list(self._pieces(model, start=start, end=end, part=part))
        else:
            broken = sorted({hour_of(cut) for cut in cuts if cut % HOUR})
            spans = _joined([(max(hour, start), min(hour + HOUR, end)) for hour in broken])
            c, whole = error_sums.c, set(broken)
            query = _hours(model, c.body, start=start, end=end, part=part)
            for hour, body in self._connection.execute(query).all():  # row by row takes twice as long
                if hour not in whole:
                    read(bins[bisect_right(cuts, hour) - 1], body)
        for low, high in spans:
            _sort(self._rows(model, start=low, end=high, part=part), bins, cuts=cuts, by=_asked)
        return bins

    def _rows(self, model: str, *, start: float, end: float, part: Part) -> list[_Row]:
        found: list[_Row] = [*self._connection.execute(rows_between(model, start=start, end=end, part=part)).all()]
        if self.older is not None:
            found += self.older(model, start=start, end=end, version=part.version, key=part.key, role=part.role)
        if part.lead is None:
            return found
        low, high = part.lead
        return [row for row in found if low <= _lead(row) < high]

    def _pieces(self, model: str, *, start: float, end: float, part: Part) -> Iterator[tuple[float, float]]:
        """Spans that follow each other, with as many rows as are read at a time."""
        low, held = start, 0
        if part.key is None:
            for hour, n in self._counted(model, start=start, end=end, part=part):
                if held and held + n > PIECE and low < hour:
                    yield low, hour
                    low, held = hour, 0
                held += n
        if low < end:
            yield low, end

    def _counted(self, model: str, *, start: float, end: float, part: Part) -> list[tuple[float, int]]:
        query = _hours(model, error_sums.c.body, start=hour_of(start), end=end, part=part)
        return sorted((hour, count(body)) for hour, body in self._connection.execute(query).all())


def rows_between(model: str, *, start: float, end: float, part: Part = WHOLE) -> Select[Any]:
    """The rows whose pairs are added up: served by ``matches_by_key`` or ``matches_by_time``."""
    c = matches.c
    query = select(c.output, c.value, c.refs, c.at, c.target)
    query = query.where(c.model == model, c.at >= start, c.at < end, _role(c.role, part.role))
    if part.key is not None:
        query = query.where(c.key == part.key)
    if part.version is not None:
        query = query.where(c.version == part.version)
    return query


def _hours(model: str, what: ColumnElement[Any], *, start: float, end: float, part: Part) -> Select[Any]:
    c = error_sums.c
    query = select(c.hour, what).where(c.model == model, c.hour >= start, c.hour < end, _role(c.role, part.role))
    return query if part.version is None else query.where(c.version == part.version)


def _role(column: ColumnElement[str], role: str | None) -> ColumnElement[bool]:
    return column != "shadow" if role is None else column == role


def _asked(row: _Row) -> float:
    at: float = row[3]
    return at


def _lead(row: _Row) -> float:
    lead: float = round(row[4] - row[3], 3)
    return lead


def _joined(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Spans in order, those that touch as one."""
    found: list[tuple[float, float]] = []
    for low, high in spans:
        if found and found[-1][1] == low:
            found[-1] = (found[-1][0], high)
        else:
            found.append((low, high))
    return found


def _sort(rows: Sequence[_Row], bins: Sequence[Totals], *, cuts: Sequence[float], by: Callable[[_Row], float]) -> None:
    """Add the sums of rows to the bin that each belongs to; what lies outside all of them is left out."""
    shares: dict[int, list[_Row]] = {}
    if len(bins) == 1 and by is _asked:
        shares[0] = list(rows)
    else:
        for row in rows:
            shares.setdefault(bisect_right(cuts, by(row)) - 1, []).append(row)
    for place, some in shares.items():
        if 0 <= place < len(bins):
            bins[place].exact(of_rows(some))
