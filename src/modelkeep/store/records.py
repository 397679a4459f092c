"""The shelf of predictions, their outcomes and what is summed over them."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, func, select

from modelkeep.nouns import Block, Match, Outcome, Prediction
from modelkeep.profile import Life, Slice, Sums
from modelkeep.store import parts, rows, tables, turns
from modelkeep.store.hours import Hours
from modelkeep.store.joining import Joining
from modelkeep.store.living import Lives
from modelkeep.store.scoring import Part, Scoring
from modelkeep.store.sealing import NUMBER, Keys
from modelkeep.store.seams import Extent, Folded, Hits, Sought, Told, Whereabouts
from modelkeep.store.searching import Searching
from modelkeep.store.tables import insert_rows, replace_rows, rows_among
from modelkeep.store.tallying import Tallies
from modelkeep.store.weighing import extent

_log = logging.getLogger("modelkeep.store")
_MEMORY = select(tables.memory.c.key, tables.memory.c.body)
_WHERE = select(*(tables.predictions.c[name] for name in ("writer", "seq", "model", "key", "target", "role")))
_SPAN = select(tables.predictions.c.writer, tables.predictions.c.seq).where(
    tables.predictions.c.writer == bindparam("x_writer"),
    tables.predictions.c.seq.between(bindparam("x_low"), bindparam("x_high")),
)


class SqlRecords:
    """``seams.Records`` over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._keys = Keys(connection)
        self._tallies = Tallies(connection)
        self._hours = Hours(connection)
        self._scoring = Scoring(connection)
        self._lives = Lives(connection)
        self._joining = Joining(connection, hours=self._hours, tallies=self._tallies)

    # -------------------------------------------------------------------------------------------- writing

    def add(self, predictions: Sequence[Prediction], folded: Sequence[Folded]) -> None:
        """See ``seams.Records.add``."""
        self._add(self._keys.closed(predictions), folded)

    def add_blocks(self, blocks: Sequence[Block], folded: Sequence[Folded]) -> None:
        """See ``seams.Records.add_blocks``."""
        if self._keys.sealer.encrypts:
            self.add([prediction for block in blocks for prediction in block.predictions()], folded)
        else:
            self._add(rows.block_rows(blocks), folded)

    def _add(self, all_of_them: Sequence[tuple[Any, ...]], folded: Sequence[Folded]) -> None:
        group = {row[:2]: row for row in all_of_them}
        models, writers = {row[4] for row in group.values()}, {pair[0] for pair in group}
        turns.adding(self._connection, models=models, writers=writers)
        known = self._known(group)
        if known and next(iter(group)) in known:
            if len(known) < len(group):
                lost = [rows.name(*pair) for pair in group if pair not in known]
                _log.error("a known group came again with %d other predictions: %s", len(lost), lost[:5])
            return
        fresh = {pair: row for pair, row in group.items() if pair not in known} if known else group
        came = list(fresh.values())
        parts.ready(self._connection, [row[8] for row in came])
        insert_rows(self._connection, tables.predictions, rows=came)
        turns.counting(self._connection, models={*models, *(one.model for one in folded)})
        self._hours.fold(folded)
        if fresh:
            self._joining.meet(fresh, tallies=self._tallies.asked(came))

    def _known(self, group: Mapping[tuple[int, int], tuple[Any, ...]]) -> set[tuple[int, int]]:
        ours, given = rows.apart_given(group)
        known = self._joining.kept(given) if given else set()
        for writer, (low, high) in rows.spans(ours).items():
            found = self._connection.execute(_SPAN, {"x_writer": writer, "x_low": low, "x_high": high})
            known |= {(w, seq) for w, seq in found if (w, seq) in group}
        return known

    def unknown(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        """See ``seams.Records.unknown``."""
        by_id = {rows.known_ids(p.id, field="id"): p for p in reversed(predictions)}
        known = self._joining.kept(by_id)
        return [p for pair, p in reversed(by_id.items()) if pair not in known]

    def tell(self, outcomes: Sequence[Outcome], tolerance: Mapping[str, float]) -> list[Told]:
        """See ``seams.Records.tell``."""
        return self._joining.tell(outcomes, tolerance)

    def remember(self, model: str, states: Mapping[str, bytes], *, tell: bool = False) -> None:
        """See ``seams.Records.remember``."""
        if tell:
            turns.tell(self._connection)
        if states:
            kept = [(model, key, body) for key, body in states.items()]
            replace_rows(self._connection, tables.memory, rows=kept)

    # -------------------------------------------------------------------------------------------- reading

    def prediction(self, id: str) -> Prediction | None:
        """See ``seams.Records.prediction``."""
        found = rows.ids(id)
        if found is None:
            return None
        c = tables.predictions.c
        query = rows.PREDICTIONS.where(c.writer == found[0], c.seq == found[1])
        row = self._connection.execute(query).first()
        return None if row is None else rows.prediction(self._keys.opened(row))

    def search(self, sought: Sought, *, limit: int = 100) -> Hits:
        """See ``seams.Records.search``."""
        return Searching(self._connection).search(sought, limit=limit)

    def whereabouts(self, ids: Iterable[str]) -> dict[str, Whereabouts]:
        """See ``seams.Records.whereabouts``."""
        pairs = {pair for pair in map(rows.ids, ids) if pair is not None}
        c = tables.predictions.c
        found = tables.rows_among(self._connection, _WHERE, columns=[c.writer, c.seq], keys=pairs)
        return {
            rows.name(writer, seq): Whereabouts(model=model, key=key, target=target, role=role)
            for writer, seq, model, key, target, role in found
        }

    def extent(self) -> Extent:
        """See ``seams.Records.extent``."""
        return extent(self._connection)

    def nearest(self, model: str, key: str, *, target: float) -> float | None:
        """See ``seams.Records.nearest``."""
        return self._joining.nearest(model, key=key, target=target, within=math.inf)

    def predictions(self, model: str, *, after: int = 0, limit: int = 1000) -> list[tuple[int, Prediction]]:
        """See ``seams.Records.predictions``."""
        c, last = tables.predictions.c, turns.settled(self._connection, model)
        query = rows.PREDICTIONS.where(c.model == model, c.number > after, c.number <= last)
        query = query.order_by(c.number).limit(limit)
        return [(row[NUMBER], rows.prediction(row)) for row in self._keys.all_opened(self._connection.execute(query))]

    def latest(self, model: str, *, key: str | None = None, limit: int = 100) -> list[Prediction]:
        """See ``seams.Records.latest``."""
        return [prediction for _, prediction in self._latest(model, key=key, limit=limit)]

    def _latest(self, model: str, *, key: str | None, limit: int) -> list[tuple[int, Prediction]]:
        """The same, each with its place in the order of recording."""
        c = tables.predictions.c
        query = rows.PREDICTIONS.where(c.model == model)
        if key is None:
            query = query.order_by(c.number.desc())
        else:
            # + 0 keeps SQLite from walking all of the model's numbers for the few of one key
            query = query.where(c.key == key).order_by((c.number + 0).desc())
        opened = self._keys.all_opened(self._connection.execute(query.limit(limit)))
        return [(row[NUMBER], rows.prediction(row)) for row in opened]

    def place(self, model: str) -> int:
        """See ``seams.Records.place``."""
        c, last = tables.predictions.c, turns.settled(self._connection, model)
        query = select(func.max(c.number)).where(c.model == model, c.number <= last)
        return self._connection.execute(query).scalar() or 0

    def matches(self, model: str, *, after: int = 0, since: float = 0.0, limit: int = 1000) -> list[Match]:
        """See ``seams.Records.matches``."""
        c = tables.matches.c
        query = rows.MATCHES.where(c.model == model, c.number > after, c.at >= since)
        return [rows.match(row) for row in self._connection.execute(query.order_by(c.number).limit(limit))]

    def outcomes(self, prediction: str) -> list[Outcome]:
        """See ``seams.Records.outcomes``."""
        found = rows.ids(prediction)
        return [] if found is None else self._joining.revisions(found)

    def sums(
        self,
        model: str,
        *,
        start: float,
        end: float,
        version: int | None = None,
        key: str | None = None,
        role: str | None = None,
    ) -> dict[str, Sums]:
        """See ``seams.Records.sums``; ``model`` is always there, with ``n`` 0 when nothing is known."""
        part = Part(version=version, key=key, role=role)
        return self._scoring.sums(model, start=start, end=end, part=part)

    def series(self, model: str, *, cuts: Sequence[float], part: Part) -> list[Sums]:
        """See ``seams.Records.series``."""
        return self._scoring.series(model, cuts=cuts, part=part)

    def leads(
        self, model: str, *, start: float, end: float, cuts: Sequence[float], part: Part
    ) -> list[dict[str, Sums]]:
        """See ``seams.Records.leads``."""
        return self._scoring.leads(model, start=start, end=end, cuts=cuts, part=part)

    def pairs(self, model: str, *, start: float, end: float, part: Part) -> int:
        """See ``seams.Records.pairs``."""
        return self._scoring.pairs(model, start=start, end=end, part=part)

    def slices(self, model: str, version: int, *, role: str, start: float, end: float) -> list[Slice]:
        """See ``seams.Records.slices``."""
        return self._hours.slices(model, version=version, role=role, start=start, end=end)

    def arms(self, model: str, *, start: float, end: float) -> list[tuple[int, str]]:
        """See ``seams.Records.arms``."""
        return self._hours.arms(model, start=start, end=end)

    def used(self, since: float) -> dict[str, int]:
        """See ``seams.Records.used``."""
        return self._hours.used(since)

    def counts(self, model: str) -> tuple[int, int, float | None]:
        """See ``seams.Records.counts``."""
        c = tables.tallies.c
        query = select(c.predictions, c.labelled, c.newest).where(c.model == model)
        row = self._connection.execute(query).first()
        return (0, 0, None) if row is None else (row.predictions, row.labelled, row.newest)

    def labelled(self, model: str, *, start: float, end: float, limit: int) -> list[tuple[Prediction, Match]]:
        """See ``seams.Records.labelled``."""
        c = tables.matches.c
        query = rows.MATCHES.where(c.model == model, c.at >= start, c.at < end, c.role != "shadow", c.output != "null")
        found = self._connection.execute(query.order_by(c.at.desc(), c.number.desc()).limit(limit)).all()
        asked = {(row.writer, row.seq) for row in found}
        by_id = self._joining.bodies(asked)
        return [(by_id[row.writer, row.seq], rows.match(row)) for row in reversed(found)]

    def life(
        self, model: str, version: int, *, roles: Sequence[str], names: Sequence[str], start: float, end: float
    ) -> Life:
        """See ``seams.Records.life``."""
        return self._lives.life(model, version, roles=roles, names=names, start=start, end=end)

    def first(self, model: str) -> tuple[float, Mapping[str, float]] | None:
        """See ``seams.Records.first``."""
        return self._lives.first(model)

    def lag(self, model: str, *, share: float = 0.95) -> float:
        """See ``seams.Records.lag``."""
        return self._lives.lag(model, share=share)

    def newcomers(self, model: str, *, start: float) -> tuple[dict[str, float], int, int]:
        """See ``seams.Records.newcomers``."""
        return self._lives.newcomers(model, start=start)

    def first_targets(self, model: str, keys: Iterable[str]) -> dict[str, float]:
        """See ``seams.Records.first_targets``."""
        return self._lives.first_targets(model, keys)

    def memory(self, model: str, keys: Iterable[str] | None = None) -> dict[str, bytes]:
        """See ``seams.Records.memory``."""
        c = tables.memory.c
        if keys is not None:
            some = rows_among(self._connection, _MEMORY, columns=[c.model, c.key], keys=[(model, key) for key in keys])
            return {row.key: row.body for row in some}
        return {row.key: row.body for row in self._connection.execute(_MEMORY.where(c.model == model))}
