"""Whether what is counted and summed over records agrees with the records, in the database and in the archive."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, delete, exists, func, insert, select, update

from modelkeep.store.archive.cold import Cold
from modelkeep.store.archive.shelf import Shelf
from modelkeep.store.exact import Exact, pack, unpack
from modelkeep.store.hours import hour_of, of_rows
from modelkeep.store.tables import error_sums, matches, outcomes, predictions, tallies

_Place = tuple[int, str, float]
_WHAT = 'version, role, "at", output, value, refs'


class Miscounted(Struct, frozen=True, kw_only=True):
    """A model's counts as they are kept, and as they are."""

    model: str
    kept: tuple[int, int]
    real: tuple[int, int]


class Missummed(Struct, frozen=True, kw_only=True):
    """An hour's error sums that are not those of its records: how many pairs each has."""

    model: str
    version: int
    role: str
    hour: float
    kept: int
    real: int


class Auditing:
    """The looks of one transaction. ``mend`` of a look needs one that writes."""

    def __init__(self, connection: Connection, cold: Cold | None) -> None:
        self._connection = connection
        self._cold = cold
        self._shelf = Shelf(connection)

    def adrift(self) -> tuple[int, int]:
        """How many matches have no prediction, and how many no outcome."""
        m, p, o = matches.c, predictions.c, outcomes.c
        asked = exists().where(p.writer == m.writer, p.seq == m.seq)
        told = exists().where(o.number == m.outcome)
        queries = (select(func.count()).select_from(matches).where(~has) for has in (asked, told))
        alone, untold = (self._connection.execute(query).scalar() or 0 for query in queries)
        return alone, untold

    def counts(self, models: Iterable[str], *, mend: bool = False) -> list[Miscounted]:
        """The models whose predictions, or those with an outcome, are not as many as their tally says."""
        found = []
        for model in models:
            query = select(tallies.c.predictions, tallies.c.labelled).where(tallies.c.model == model)
            row = self._connection.execute(query).first()
            kept = (0, 0) if row is None else (int(row[0]), int(row[1]))
            real = self._real(model)
            if kept != real:
                found.append(Miscounted(model=model, kept=kept, real=real))
                if mend:
                    values = {"predictions": real[0], "labelled": real[1]}
                    if row is None:
                        self._connection.execute(insert(tallies).values(model=model, **values))
                    else:
                        self._connection.execute(update(tallies).where(tallies.c.model == model).values(**values))
        return found

    def sums(self, model: str, *, mend: bool = False) -> list[Missummed]:
        """The hours of a model whose error sums are not those of its records.

        An hour with fewer records than pairs is left alone: some were erased, or dropped for their age, and what was
        summed over them stays.
        """
        kept = self._kept(model)
        found = []
        for place, real in self._recomputed(model).items():
            held = kept.get(place, {})
            pairs = real["model"].n if "model" in real else 0
            if pairs >= (held["model"].n if "model" in held else 0) and not _same(held, real):
                version, role, hour = place
                n = held["model"].n if "model" in held else 0
                found.append(Missummed(model=model, version=version, role=role, hour=hour, kept=n, real=pairs))
                if mend:
                    self._mend(model, place, real=real)
        return found

    def _real(self, model: str) -> tuple[int, int]:
        asked = select(func.count()).select_from(predictions).where(predictions.c.model == model)
        matched = select(func.count()).select_from(matches).where(matches.c.model == model)
        hot = [self._connection.execute(query).scalar() or 0 for query in (asked, matched)]
        partitions = self._shelf.partitions(model)
        if not partitions or self._cold is None:
            return hot[0], hot[1]
        cold = self._cold.ask(self._shelf.live(partitions), "count(*), count(value)")[0]
        return hot[0] + cold[0], hot[1] + cold[1]

    def _kept(self, model: str) -> dict[_Place, dict[str, Exact]]:
        c = error_sums.c
        query = select(c.version, c.role, c.hour, c.body).where(c.model == model)
        return {(v, role, hour): unpack(body) for v, role, hour, body in self._connection.execute(query)}

    def _recomputed(self, model: str) -> dict[_Place, dict[str, Exact]]:
        whole: dict[_Place, dict[str, Exact]] = {}
        for some in self._pairs(model):
            by_place: dict[_Place, list[Sequence[Any]]] = {}
            for version, role, at, *pair in some:
                by_place.setdefault((version, role, hour_of(at)), []).append(pair)
            for place, pairs in by_place.items():
                mine = whole.setdefault(place, {})
                for name, exact in of_rows(pairs).items():
                    mine.setdefault(name, Exact()).merge(exact)
        return whole

    def _pairs(self, model: str) -> Iterator[Sequence[Sequence[Any]]]:
        c, after = matches.c, 0
        while True:
            query = select(c.version, c.role, c.at, c.output, c.value, c.refs, c.number)
            found = self._connection.execute(
                query.where(c.model == model, c.number > after).order_by(c.number).limit(10_000)
            ).all()
            if not found:
                break
            after = found[-1].number
            yield [row[:6] for row in found]
        if self._cold is not None:
            for partition in self._shelf.partitions(model):
                yield self._cold.ask(self._shelf.live([partition]), _WHAT, where="value IS NOT NULL")

    def _mend(self, model: str, place: _Place, *, real: dict[str, Exact]) -> None:
        version, role, hour = place
        c = error_sums.c
        mine = (c.model == model, c.version == version, c.role == role, c.hour == hour)
        self._connection.execute(delete(error_sums).where(*mine))
        body = pack(real)
        self._connection.execute(
            insert(error_sums).values(model=model, version=version, role=role, hour=hour, body=body)
        )


def _same(one: dict[str, Exact], other: dict[str, Exact]) -> bool:
    """Whether sums agree: counts exactly, totals to the rounding of one addition."""
    some = {name: exact for name, exact in one.items() if exact.n}
    if some.keys() != {name for name, exact in other.items() if exact.n}:
        return False
    for name, exact in some.items():
        a, b = exact.sums(), other[name].sums()
        if (a.n, a.relative_n, a.confusion) != (b.n, b.relative_n, b.confusion):
            return False
        for field in ("error", "absolute", "square", "relative", "truth", "truth_square"):
            x, y = getattr(a, field), getattr(b, field)
            if abs(x - y) > 1e-9 * max(abs(x), abs(y), 1.0):
                return False
    return True
