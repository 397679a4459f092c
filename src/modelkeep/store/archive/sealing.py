"""Taking old rows out of the database: which they are, with all that hangs on them, and their removal."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, func, select

from modelkeep.store import rows
from modelkeep.store.archive.form import HOT, Record
from modelkeep.store.rows import ASKED, Asked
from modelkeep.store.tables import CHUNK, matches, outcomes, predictions, rows_among, tuples_among
from modelkeep.store.tallying import Tallies
from modelkeep.store.told import Address, Outcomes, Revision, head

_Id = tuple[int, int]
_HOT = select(*(predictions.c[name] for name in HOT))
_ASKED = select(*ASKED)
_NUMBER = itemgetter(HOT.index("number"))
_PLACES = itemgetter(*(HOT.index(name) for name in Asked._fields))


def _asked(row: tuple[Any, ...]) -> Asked:
    return Asked(*_PLACES(row))


class Batch(NamedTuple):
    """Records that go together; ``outcomes`` are the numbers of the rows that then stand for nobody in the database."""

    records: tuple[Record, ...]
    outcomes: tuple[int, ...]


def old(connection: Connection, model: str, *, before: float, limit: int) -> list[int]:
    """The numbers of a model's oldest predictions that were asked before a moment."""
    c = predictions.c
    query = select(c.number).where(c.model == model, c.at < before).order_by(c.at, c.number).limit(limit)
    return list(connection.execute(query).scalars())


def waiting(connection: Connection, model: str, *, before: float) -> tuple[int, float | None]:
    """How many predictions of a model were asked before a moment and are in the database, and the oldest's moment."""
    c = predictions.c
    query = select(func.count(), func.min(c.at)).where(c.model == model, c.at < before)
    found = connection.execute(query).one()
    return int(found[0]), found[1]


def gather(connection: Connection, model: str, *, numbers: Sequence[int]) -> Batch:
    """The predictions of a model with these numbers, and all that hangs on them. Those that are gone are left out."""
    hot = _hot(connection, model, numbers=numbers)
    asked = list(map(_asked, hot))
    m = matches.c
    found = tuples_among(connection, rows.MATCHES, columns=[m.writer, m.seq], keys=[(a[0], a[1]) for a in asked])
    matched = {(row[1], row[2]): row for row in found}
    standing = _Standing(connection, asked)
    records = [
        Record(row, matched.get((one[0], one[1])), standing.of(one)) for row, one in zip(hot, asked, strict=True)
    ]
    return Batch(tuple(records), standing.spare())


def remove(connection: Connection, batch: Batch) -> None:
    """Delete the rows of a batch."""
    if batch.records:
        model = batch.records[0].of("model")
        matched = [record.matched[0] for record in batch.records if record.matched is not None]
        _delete(connection, predictions, numbers=[record.of("number") for record in batch.records], model=model)
        _delete(connection, matches, numbers=matched, model=model)
        _delete(connection, outcomes, numbers=batch.outcomes)


def _delete(connection: Connection, table: Any, *, numbers: Sequence[int], model: str | None = None) -> None:
    for start in range(0, len(numbers), CHUNK):
        statement = delete(table).where(table.c.number.in_(numbers[start : start + CHUNK]))
        connection.execute(statement if model is None else statement.where(table.c.model == model))


def _hot(connection: Connection, model: str, *, numbers: Sequence[int]) -> list[tuple[Any, ...]]:
    c = predictions.c
    found = tuples_among(connection, _HOT, columns=[c.model, c.number], keys=[(model, number) for number in numbers])
    return sorted(found, key=_NUMBER)


class _Standing:
    """What was told of some predictions: the addresses that stand for each, and whom else they stand for."""

    def __init__(self, connection: Connection, asked: Sequence[Asked]) -> None:
        self._connection = connection
        self._mine = {(one[0], one[1]) for one in asked}
        told = Outcomes(connection)
        places: list[Address] = [*self._mine, *{one.of for one in asked if one.of is not None}]
        self._by_id = told.chains(places)
        self._by_place: dict[tuple[str, str, float], list[Address]] = {}
        self._by_key: dict[Address, list[Revision]] = {}
        self._others: dict[Address, bool] = dict.fromkeys(self._by_id, False)
        self._shared()
        for model, tally in Tallies(connection).of(one.model for one in asked).items():
            if tally.tolerance is not None:
                self._near([one for one in asked if one.model == model], told=told, widest=tally.tolerance)

    def of(self, one: Asked) -> tuple[Revision, ...]:
        """Every revision that was told of a prediction, oldest first."""
        told = self._by_id.get((one[0], one[1]), ())
        near = self._by_place.get((one.model, one.key, one.target), ()) if self._by_place else ()
        if one.of_writer is None and not near:
            return tuple(told)  # the common case; it is in order
        chains = [told, () if one.of is None else self._by_id.get(one.of, ())]
        chains += [self._by_key[place] for place in near]
        return tuple(sorted((r for chain in chains for r in chain), key=lambda revision: revision.number))

    def spare(self) -> tuple[int, ...]:
        """The revisions that stand for nobody else in the database."""
        every = {**self._by_id, **self._by_key}
        return tuple(sorted(r.number for place, chain in every.items() if not self._others[place] for r in chain))

    def _shared(self) -> None:
        """Which ids that something was told of stand for a prediction that stays: itself, or one of its shadows."""
        p, pairs = predictions.c, [place for place in self._by_id if len(place) == 2]
        foreign = [place for place in pairs if place not in self._mine]  # an id is one prediction's alone
        for columns, keys in (([p.writer, p.seq], foreign), ([p.of_writer, p.of_seq], pairs)):
            for row in rows_among(self._connection, _ASKED, columns=columns, keys=keys):
                one = Asked._make(row)
                if one.id not in self._mine:
                    for place in (one.id, one.of):
                        if place is not None and place in self._others:
                            self._others[place] = True

    def _near(self, mine: Sequence[Asked], *, told: Outcomes, widest: float) -> None:
        """The chains told by key that stand for predictions of one model."""
        model, keys = mine[0].model, sorted({one.key for one in mine})
        low, high = min(one.target for one in mine) - widest, max(one.target for one in mine) + widest
        chains = told.told_by_key(model, keys=keys, low=low, high=high)
        if not chains:
            return
        kept = self._targets(model, keys=keys, low=low - widest, high=high + widest)
        ours = {(one.key, one.target) for one in mine}
        for place, chain in chains.items():
            top = head(chain)
            if top is None or len(place) != 3:
                continue
            nearest = _nearest(kept.get(place[1], ()), target=place[2], within=top.tolerance)
            if nearest is not None and (place[1], nearest) in ours:
                self._by_key[place] = chain
                self._by_place.setdefault((model, place[1], nearest), []).append(place)
                self._others[place] = any(pair not in self._mine for pair in self._ids[place[1], nearest])

    def _targets(self, model: str, *, keys: Sequence[str], low: float, high: float) -> Mapping[str, list[float]]:
        """What the predictions of some keys in the database are about, sorted; their ids beside it."""
        c, found = predictions.c, dict[str, set[float]]()
        self._ids: dict[tuple[str, float], list[_Id]] = {}
        for start in range(0, len(keys), CHUNK):
            query = select(c.key, c.target, c.writer, c.seq).where(c.model == model, c.target.between(low, high))
            for key, target, writer, seq in self._connection.execute(
                query.where(c.key.in_(keys[start : start + CHUNK]))
            ):
                found.setdefault(key, set()).add(target)
                self._ids.setdefault((key, target), []).append((writer, seq))
        return {key: sorted(targets) for key, targets in found.items()}


def _nearest(targets: Sequence[float], *, target: float, within: float) -> float | None:
    """The target nearest to a moment, the earlier of two, within a tolerance (0 = the same)."""
    left, right = bisect_right(targets, target), bisect_left(targets, target)
    beside = (*targets[max(left - 1, 0) : left], *targets[right : right + 1])
    near = [t for t in beside if target - within <= t <= target + within]
    return min(near, key=lambda t: abs(t - target), default=None)
