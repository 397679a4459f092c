"""Bringing archived records back into the database when something new is told that concerns them.

Joining knows the database only. So before it runs, everything in the archive that it might look at is put back: then it
finds what it would have found had nothing ever been sealed, and its sums are right by construction. The next sealing
takes the rows away again. What keeps this small: a chain of revisions is in the database exactly as long as it stands
for a prediction there, so it is enough to bring back those whose own address is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from sqlalchemy import Connection, insert, select

from modelkeep.nouns import Outcome, Prediction
from modelkeep.store import parts, rows, turns
from modelkeep.store.archive.cold import Cold
from modelkeep.store.archive.form import HOT, Record
from modelkeep.store.archive.shelf import Partition, Shelf
from modelkeep.store.tables import CHUNK, insert_rows, matches, outcomes, predictions
from modelkeep.store.tallying import Tallies
from modelkeep.store.told import Address, Revision, address

_Id = tuple[int, int]
_PAIRS = "(SELECT (unnest(?::BIGINT[]), unnest(?::BIGINT[]))) AND {0} BETWEEN ? AND ? AND {1} BETWEEN ? AND ?"
BY_ID = "(writer, seq) IN " + _PAIRS.format("writer", "seq")
"""The records of some ids; ``pairs`` of them are bound in it."""
_BY_OF = "(of_writer, of_seq) IN " + _PAIRS.format("of_writer", "of_seq")


class Thawing:
    """The archive as joining meets it, within one transaction that writes."""

    def __init__(self, connection: Connection, cold: Cold, *, tallies: Tallies) -> None:
        self._connection = connection
        self._cold = cold
        self._tallies = tallies
        self._shelf = Shelf(connection)

    # ------------------------------------------------------------------------------------- what is touched

    def known(self, ids: Iterable[_Id]) -> set[_Id]:
        """Which of some ids are in the archive."""
        if not self._shelf.used():
            return set()
        wanted = set(ids)
        partitions = self._shelf.holding(wanted) if wanted else []
        found = self._cold.ask(self._shelf.live(partitions), "writer, seq", where=BY_ID, values=pairs(wanted))
        return {(writer, seq) for writer, seq in found}

    def may_meet(self, models: set[str]) -> bool:
        """Whether anything of some models lies in the archive, so that new predictions may share an outcome with it."""
        return bool(models and self._shelf.reach(models))

    def before_adding(self, fresh: Sequence[Prediction]) -> None:
        """Bring back whatever new predictions may share an outcome with."""
        reach = self._shelf.reach({one.model for one in fresh}) if fresh else {}
        mine = [one for one in fresh if one.model in reach]
        if not mine:
            return
        shadowed = {rows.known_ids(one.of, field="of") for one in mine if one.of is not None}
        self._bring_ids(shadowed)
        self._bring_shadows({*shadowed, *(rows.known_ids(one.id, field="id") for one in mine)})
        for model, tally in self._tallies.of(reach).items():
            if tally.tolerance is None:
                continue
            near = 2 * tally.tolerance
            late = [one for one in mine if one.model == model and one.target - near <= reach[model]]
            self._bring_keys(model, [(one.key, one.target) for one in late], near=near)

    def before_telling(self, told: Sequence[Outcome], tolerance: Mapping[str, float]) -> None:
        """Bring back whatever outcomes may be about."""
        if not self._shelf.used():
            return
        places: list[tuple[Outcome, Address]] = [(outcome, address(outcome)) for outcome in told]
        ids = {place for _, place in places if len(place) == 2}
        self._bring_ids(ids)
        self._bring_shadows(ids)
        by_model: dict[str, list[tuple[str, float]]] = {}
        near: dict[str, float] = {}
        for outcome, place in places:
            if len(place) == 3:
                by_model.setdefault(place[0], []).append(place[1:])
                own = tolerance.get(place[0], 0.0) if outcome.tolerance is None else outcome.tolerance
                near[place[0]] = max(near.get(place[0], 0.0), own)
        for model, tally in self._tallies.of(by_model).items():
            self._bring_keys(model, by_model[model], near=max(near[model], tally.tolerance or 0.0))

    # -------------------------------------------------------------------------------------- what comes back

    def _bring_ids(self, ids: set[_Id]) -> None:
        if ids:
            self._bring(lambda: self._shelf.holding(ids), where=BY_ID, values=pairs(ids))

    def _bring_shadows(self, ids: set[_Id]) -> None:
        if ids:
            self._bring(lambda: self._shelf.holding(ids, "of"), where=_BY_OF, values=pairs(ids))

    def _bring_keys(self, model: str, wanted: Sequence[tuple[str, float]], *, near: float) -> None:
        """Bring back the predictions of keys that are about a moment, or ``near`` seconds from it."""
        if not wanted:
            return
        low, high = min(t for _, t in wanted) - near, max(t for _, t in wanted) + near
        where = (
            "EXISTS (SELECT 1 FROM (SELECT unnest(?::VARCHAR[]) AS k, unnest(?::DOUBLE[]) AS t) "
            "WHERE k = key AND target BETWEEN t - ? AND t + ?) AND target BETWEEN ? AND ?"
        )
        values = [[key for key, _ in wanted], [target for _, target in wanted], near, near, low, high]
        self._bring(lambda: self._shelf.partitions(model, target=(low, high)), where=where, values=values)

    def _bring(self, find: Callable[[], list[Partition]], *, where: str, values: Sequence[object]) -> None:
        """Bring back the records of some files for which ``where`` holds."""
        if not find():
            return
        turns.records(self._connection)  # those who only add predictions on PostgreSQL do so side by side
        partitions = find()
        numbers = {partition.digest: partition.number for partition in partitions}
        found: dict[int, list[Record]] = {}
        for digest, record in self._cold.records(self._shelf.live(partitions), where=where, values=values):
            found.setdefault(numbers[digest], []).append(record)
        for number, records in found.items():
            self._shelf.strike(number, [record.id for record in records])
            self.insert(records)

    def insert(self, records: Sequence[Record]) -> None:
        """Put the rows of records back as they were."""
        parts.ready(self._connection, [record.of("at") for record in records])
        self._connection.execute(insert(predictions), [dict(zip(HOT, record.hot, strict=True)) for record in records])
        names = [column.name for column in matches.columns]
        matched = [dict(zip(names, r.matched, strict=True)) for r in records if r.matched is not None]
        if matched:
            self._connection.execute(insert(matches), matched)
        told = {revision.number: revision for record in records for revision in record.chain}
        kept = self._there(told)
        insert_rows(self._connection, outcomes, rows=[r for number, r in told.items() if number not in kept])

    def _there(self, told: Mapping[int, Revision]) -> set[int]:
        numbers, found = sorted(told), set[int]()
        for start in range(0, len(numbers), CHUNK):
            query = select(outcomes.c.number).where(outcomes.c.number.in_(numbers[start : start + CHUNK]))
            found |= set(self._connection.execute(query).scalars())
        return found


def pairs(ids: Iterable[_Id]) -> list[object]:
    """Ids as ``BY_ID`` takes them; their bounds beside them let whole groups of rows be passed over."""
    some = sorted(ids)
    writers, seqs = [writer for writer, _ in some], [seq for _, seq in some]
    bounds = (0, 0, 0, 0) if not some else (min(writers), max(writers), min(seqs), max(seqs))
    return [writers, seqs, *bounds]
