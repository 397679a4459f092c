"""The shelf of predictions with the archive behind it: who asks does not notice where a record lies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import structs
from sqlalchemy import Connection

from modelkeep.nouns import Block, Match, Outcome, Prediction
from modelkeep.store import rows, turns
from modelkeep.store.archive.asking import Asking
from modelkeep.store.archive.cold import Cold
from modelkeep.store.archive.searching import LongSearching
from modelkeep.store.archive.thawing import Thawing
from modelkeep.store.living import RECENT, Lives
from modelkeep.store.records import SqlRecords
from modelkeep.store.seams import Extent, Folded, Hits, Sought, Told, Whereabouts


class LongRecords(SqlRecords):
    """``seams.Records`` over one connection and the archive's files."""

    def __init__(self, connection: Connection, cold: Cold) -> None:
        super().__init__(connection)
        self._asking = Asking(connection, cold)
        self._thawing = Thawing(connection, cold, tallies=self._tallies)
        self._scoring.older = self._asking.pairs
        self._lives: Lives = _LongLives(connection, self._asking)

    # -------------------------------------------------------------------------------------------- writing

    def add(self, predictions: Sequence[Prediction], folded: Sequence[Folded]) -> None:
        """See ``seams.Records.add``."""
        self._thawing.before_adding(predictions)
        super().add(predictions, folded)

    def add_blocks(self, blocks: Sequence[Block], folded: Sequence[Folded]) -> None:
        """See ``seams.Records.add_blocks``."""
        if self._thawing.may_meet({block.model for block in blocks}):
            self.add([prediction for block in blocks for prediction in block.predictions()], folded)
        else:
            super().add_blocks(blocks, folded)

    def _known(self, group: Mapping[tuple[int, int], tuple[Any, ...]]) -> set[tuple[int, int]]:
        return super()._known(group) | self._thawing.known(group)

    def unknown(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        """See ``seams.Records.unknown``."""
        fresh = super().unknown(predictions)
        old = self._thawing.known(rows.known_ids(p.id, field="id") for p in fresh)
        return [p for p in fresh if rows.known_ids(p.id, field="id") not in old]

    def tell(self, outcomes: Sequence[Outcome], tolerance: Mapping[str, float]) -> list[Told]:
        """See ``seams.Records.tell``."""
        self._thawing.before_telling(outcomes, tolerance)
        return super().tell(outcomes, tolerance)

    # -------------------------------------------------------------------------------------------- reading

    def prediction(self, id: str) -> Prediction | None:
        """See ``seams.Records.prediction``."""
        found, pair = super().prediction(id), rows.ids(id)
        if found is not None or pair is None:
            return found
        record = self._asking.record(pair)
        return None if record is None else self._asking.opened([record])[0]

    def search(self, sought: Sought, *, limit: int = 100) -> Hits:
        """See ``seams.Records.search``."""
        return LongSearching(self._connection, self._asking).search(sought, limit=limit)

    def extent(self) -> Extent:
        """See ``seams.Records.extent``; the archive's bytes are those of its files."""
        hot, partitions = super().extent(), self._asking.shelf.partitions()
        if not partitions:
            return hot
        struck = self._asking.shelf.struck(p.number for p in partitions)
        oldest = [p.at_low for p in partitions] + ([] if hot.oldest is None else [hot.oldest])
        newest = (p for model in {p.model for p in partitions} for p in self.latest(model, limit=100))
        return structs.replace(
            hot,
            fields=tuple(sorted({*hot.fields, *(name for p in newest for name in p.features)})),
            stored=hot.stored + sum(p.rows - len(struck.get(p.number, ())) for p in partitions),
            size=hot.size + sum(p.size for p in partitions),
            oldest=min(oldest),
        )

    def whereabouts(self, ids: Iterable[str]) -> dict[str, Whereabouts]:
        """See ``seams.Records.whereabouts``."""
        wanted = list(ids)
        found = super().whereabouts(wanted)
        left = {pair for pair in map(rows.ids, wanted) if pair is not None and rows.name(*pair) not in found}
        for record in self._asking.among(left).values():
            one = record.asked
            found[rows.name(*one.id)] = Whereabouts(model=one.model, key=one.key, target=one.target, role=one.role)
        return found

    def nearest(self, model: str, key: str, *, target: float) -> float | None:
        """See ``seams.Records.nearest``."""
        hot = super().nearest(model, key, target=target)
        near = [*([] if hot is None else [hot]), *self._asking.nearest(model, key, target=target)]
        return min(sorted(near), key=lambda one: abs(one - target), default=None)

    def predictions(self, model: str, *, after: int = 0, limit: int = 1000) -> list[tuple[int, Prediction]]:
        """See ``seams.Records.predictions``."""
        hot = super().predictions(model, after=after, limit=limit)
        last = turns.settled(self._connection, model)
        old = [one for one in self._asking.predictions(model, after=after, limit=limit) if one[0] <= last]
        return sorted([*old, *hot], key=lambda one: one[0])[:limit] if old else hot

    def _latest(self, model: str, *, key: str | None, limit: int) -> list[tuple[int, Prediction]]:
        hot = super()._latest(model, key=key, limit=limit)
        after = hot[-1][0] if len(hot) == limit and hot else 0
        old = self._asking.latest(model, key=key, after=after, limit=limit)
        return sorted([*hot, *old], key=lambda one: -one[0])[:limit] if old else hot

    def place(self, model: str) -> int:
        """See ``seams.Records.place``."""
        last = turns.settled(self._connection, model)
        return max(super().place(model), min(self._asking.shelf.last(model), last))

    def matches(self, model: str, *, after: int = 0, since: float = 0.0, limit: int = 1000) -> list[Match]:
        """See ``seams.Records.matches``."""
        hot = super().matches(model, after=after, since=since, limit=limit)
        old = self._asking.matches(model, after=after, since=since, limit=limit)
        return sorted([*old, *hot], key=lambda match: match.number)[:limit] if old else hot

    def outcomes(self, prediction: str) -> list[Outcome]:
        """See ``seams.Records.outcomes``."""
        pair = rows.ids(prediction)
        if pair is None:
            return []
        record = self._asking.record(pair)
        if record is not None:
            return [told.outcome() for told in sorted(record.chain, key=lambda told: (told.at, told.number))]
        return super().outcomes(prediction) or [told.outcome() for told in self._asking.told_of(pair)]

    def labelled(self, model: str, *, start: float, end: float, limit: int) -> list[tuple[Prediction, Match]]:
        """See ``seams.Records.labelled``."""
        hot = super().labelled(model, start=start, end=end, limit=limit)
        since = hot[0][1].at if len(hot) == limit and hot else start
        old = self._asking.labelled(model, start=since, end=end, limit=limit)
        if not old:
            return hot
        return sorted([*old, *hot], key=lambda pair: (pair[1].at, pair[1].number))[-limit:]


class _LongLives(Lives):
    """``Lives`` that also looks into the archive."""

    def __init__(self, connection: Connection, asking: Asking) -> None:
        super().__init__(connection)
        self._asking = asking

    def _waits(self, model: str) -> list[float]:
        hot = super()._waits(model)
        if len(hot) == RECENT:
            return hot
        return [*hot, *(told - at for told, at in self._asking.waits(model, limit=RECENT - len(hot)))]

    def first_targets(self, model: str, keys: Iterable[str]) -> dict[str, float]:
        """See ``seams.Records.first_targets``."""
        wanted = list(keys)
        found = super().first_targets(model, wanted)
        for key, target in self._asking.first_targets(model, wanted).items():
            found[key] = min(target, found.get(key, target))
        return found
