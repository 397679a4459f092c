"""What the archive answers beside the database, when a question reaches back beyond the hot window."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection

from modelkeep.nouns import Match, Prediction
from modelkeep.store import rows
from modelkeep.store.archive.cold import Cold
from modelkeep.store.archive.form import Record
from modelkeep.store.archive.shelf import Partition, Shelf
from modelkeep.store.archive.thawing import BY_ID, pairs
from modelkeep.store.sealing import Keys
from modelkeep.store.told import Revision

_WITHIN = '"at" >= ? AND "at" < ?'


class Asking:
    """The reads of one transaction. Nothing is opened while no file can hold an answer."""

    def __init__(self, connection: Connection, cold: Cold) -> None:
        self._cold = cold
        self._keys = Keys(connection)
        self.shelf = Shelf(connection)

    def opened(self, records: Iterable[Record]) -> list[Prediction]:
        """The predictions of some records, in order. Features are empty where they were dropped."""
        return [rows.prediction(row) for row in self._keys.all_opened(record.row for record in records)]

    def record(self, id: tuple[int, int]) -> Record | None:
        """One record by its id."""
        partitions = self.shelf.holding([id])
        found = self._cold.records(self.shelf.live(partitions), where=BY_ID, values=pairs([id]))
        return found[0][1] if found else None

    def told_of(self, id: tuple[int, int]) -> list[Revision]:
        """What was told of an id whose prediction is not kept, and whose shadows are archived."""
        live = self.shelf.live(self.shelf.holding([id], "of"))
        found = self._cold.records(live, where="of_writer = ? AND of_seq = ?", values=list(id))
        told = {one.number: one for _, record in found for one in record.chain if one.address == id}
        return sorted(told.values(), key=lambda one: (one.at, one.number))

    def among(self, ids: Iterable[tuple[int, int]]) -> dict[tuple[int, int], Record]:
        """Records by their ids."""
        wanted = set(ids)
        partitions = self.shelf.holding(wanted) if wanted else []
        found = self._cold.records(self.shelf.live(partitions), where=BY_ID, values=pairs(wanted))
        return {record.id: record for _, record in found}

    def page(self, partitions: Sequence[Partition], *, where: str, values: Sequence[Any], limit: int) -> list[Record]:
        """Records of some files for which ``where`` holds, those asked last first."""
        tail = f'ORDER BY "at" DESC, number DESC LIMIT {int(limit)}'
        found = self._cold.records(self.shelf.live(partitions), where=where, values=values, tail=tail)
        return [record for _, record in found]

    def nearest(self, model: str, key: str, *, target: float) -> list[float]:
        """The targets before and after a moment that a key was asked about, as far as there are any."""
        live = self.shelf.live(self.shelf.partitions(model))
        what = "max(target) FILTER (target <= ?), min(target) FILTER (target >= ?)"
        found = self._cold.ask(live, what, where="key = ?", values=[target, target, key])
        return [one for row in found for one in row if one is not None]

    def predictions(self, model: str, *, after: int, limit: int) -> list[tuple[int, Prediction]]:
        """Predictions with a number above ``after``, in the order of recording."""
        live = self.shelf.live(self.shelf.partitions(model, after=after))
        found = self._cold.records(live, where="number > ?", values=[after], tail=f"ORDER BY number LIMIT {int(limit)}")
        records = [record for _, record in found]
        return [(r.of("number"), p) for r, p in zip(records, self.opened(records), strict=True)]

    def latest(self, model: str, *, key: str | None, after: int, limit: int) -> list[tuple[int, Prediction]]:
        """Predictions with a number above ``after``, of a model or of one of its keys, those recorded last first."""
        where, values = ("number > ?", [after]) if key is None else ("number > ? AND key = ?", [after, key])
        live = self.shelf.live(self.shelf.partitions(model, after=after))
        found = self._cold.records(live, where=where, values=values, tail=f"ORDER BY number DESC LIMIT {int(limit)}")
        records = [record for _, record in found]
        return [(r.of("number"), p) for r, p in zip(records, self.opened(records), strict=True)]

    def matches(self, model: str, *, after: int, since: float, limit: int) -> list[Match]:
        """Matches with a number above ``after`` of predictions asked since then, in the order of joining."""
        live = self.shelf.live(self.shelf.partitions(model, at=(since, float("inf")), matched_after=after))
        tail = f"ORDER BY match_number LIMIT {int(limit)}"
        found = self._cold.records(live, where='match_number > ? AND "at" >= ?', values=[after, since], tail=tail)
        return [match for _, record in found if (match := record.match) is not None]

    def labelled(self, model: str, *, start: float, end: float, limit: int) -> list[tuple[Prediction, Match]]:
        """The newest answered predictions (not shadows) with their outcomes, newest first."""
        live = self.shelf.live(self.shelf.partitions(model, at=(start, end)))
        where = f"{_WITHIN} AND role <> 'shadow' AND output <> 'null' AND value IS NOT NULL"
        tail = f'ORDER BY "at" DESC, match_number DESC LIMIT {int(limit)}'
        found = self._cold.records(live, where=where, values=[start, end], tail=tail)
        records = [record for _, record in found]
        pairs = zip(self.opened(records), records, strict=True)
        return [(p, match) for p, record in pairs if (match := record.match) is not None]

    def pairs(
        self, model: str, *, start: float, end: float, version: int | None, key: str | None, role: str | None
    ) -> list[tuple[Any, ...]]:
        """Output, value, baselines' answers, at and target where ``start <= at < end`` and the outcome is known."""
        partitions = self.shelf.partitions(model, at=(start, end))
        where, values = [f"{_WITHIN} AND value IS NOT NULL"], list[object]([start, end])
        where.append("role <> 'shadow'" if role is None else "role = ?")
        values += [] if role is None else [role]
        for name, wanted in (("version", version), ("key", key)):
            if wanted is not None:
                where.append(f"{name} = ?")
                values.append(wanted)
        live = self.shelf.live(partitions)
        return self._cold.ask(live, 'output, value, refs, "at", target', where=" AND ".join(where), values=values)

    def first_targets(self, model: str, keys: Sequence[str]) -> dict[str, float]:
        """The earliest target that each key was asked about."""
        live = self.shelf.live(self.shelf.partitions(model))
        where = "key IN (SELECT unnest(?::VARCHAR[]))"
        return dict(self._cold.ask(live, "key, min(target)", where=where, values=[list(keys)], tail="GROUP BY key"))

    def waits(self, model: str, *, limit: int) -> list[tuple[float, float]]:
        """When the newest outcomes were told, and when their predictions were asked."""
        live = self.shelf.live(self.shelf.partitions(model))
        tail = f"ORDER BY match_number DESC LIMIT {int(limit)}"
        return [(told, at) for told, at in self._cold.ask(live, 'told, "at"', where="value IS NOT NULL", tail=tail)]
