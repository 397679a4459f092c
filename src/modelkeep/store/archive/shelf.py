"""The list of the archive's files in the database, and which of their rows are struck out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, select, update

from modelkeep.store import rows
from modelkeep.store.archive.cold import ANY, WRITERS, Live, Written
from modelkeep.store.archive.form import Record
from modelkeep.store.tables import CHUNK, archived, archived_ids, insert_rows, thawed

_LARGEST = 2**63 - 1
Id: TypeAlias = tuple[int, int]
"""The two integers of a prediction's id."""


class Partition(Struct, frozen=True, kw_only=True):
    """One file: records of one model whose ``at`` lies within ``period``.

    ``period`` is a day (``2026-03-05``), a month (``2026-03``), or empty for rows as they were sealed, not merged yet.
    ``rows`` and ``labelled`` count what was written, ``first`` and ``last`` are the lowest and highest numbers of its
    predictions, ``match_last`` and ``outcome_last`` the highest of its matches and outcomes (0 without any). ``bare``
    says that its features were dropped. ``retired`` is when it was replaced: nobody reads it since.
    """

    number: int
    model: str
    period: str
    digest: str
    size: int
    rows: int
    labelled: int
    at_low: float
    at_high: float
    target_low: float
    target_high: float
    first: int
    last: int
    match_last: int
    outcome_last: int
    bare: bool
    sealed: float
    retired: float | None = None


class Shelf:
    """The archive's tables within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # --------------------------------------------------------------------------------------------- reading

    def partitions(
        self,
        model: str | None = None,
        *,
        at: tuple[float, float] | None = None,
        target: tuple[float, float] | None = None,
        after: int | None = None,
        matched_after: int | None = None,
    ) -> list[Partition]:
        """The files in use, in the order of sealing.

        Only those that may hold predictions asked within ``at``, about ``target`` (both inclusive), with a number above
        ``after``, or with a match above ``matched_after``.
        """
        c = archived.c
        conditions: list[ColumnElement[bool]] = [c.retired.is_(None)]
        if model is not None:
            conditions.append(c.model == model)
        if at is not None:
            conditions += [c.at_high >= at[0], c.at_low <= at[1]]
        if target is not None:
            conditions += [c.target_high >= target[0], c.target_low <= target[1]]
        if after is not None:
            conditions.append(c.last > after)
        if matched_after is not None:
            conditions.append(c.match_last > matched_after)
        return self._read(and_(*conditions))

    def holding(self, ids: Iterable[Id], kind: str = "id") -> list[Partition]:
        """The files in use that may hold predictions of these ids, or with ``kind`` ``of`` their shadows."""
        c, found = archived_ids.c, set[int]()
        spans = rows.spans(ids)
        wanted = list(spans)
        for start in range(0, len(wanted), CHUNK):
            some = wanted[start : start + CHUNK]
            query = select(c.partition, c.writer, c.low, c.high).where(c.kind == kind, c.writer.in_([*some, ANY]))
            if len(some) == 1:
                low, high = spans[some[0]]
                query = query.where(c.high >= low, c.low <= high)
            for partition, writer, low, high in self._connection.execute(query):
                if writer == ANY or (spans[writer][0] <= high and low <= spans[writer][1]):
                    found.add(partition)
        return self._read(archived.c.number.in_(sorted(found))) if found else []

    def reach(self, models: Iterable[str]) -> dict[str, float]:
        """The latest target in the archive, of the models that have any file."""
        c = archived.c
        query = select(c.model, func.max(c.target_high)).where(c.model.in_(sorted(set(models))), c.retired.is_(None))
        return {row.model: row[1] for row in self._connection.execute(query.group_by(c.model))}

    def used(self) -> bool:
        """Whether there is any file in use."""
        query = select(archived.c.number).where(archived.c.retired.is_(None)).limit(1)
        return self._connection.execute(query).first() is not None

    def models(self) -> list[str]:
        """The models that have a file in use."""
        c = archived.c
        return list(
            self._connection.execute(select(c.model).distinct().where(c.retired.is_(None)).order_by(c.model)).scalars()
        )

    def last(self, model: str) -> int:
        """The highest number of an archived prediction; 0 without any."""
        c = archived.c
        query = select(func.max(c.last)).where(c.retired.is_(None), c.model == model)
        return self._connection.execute(query).scalar() or 0

    def last_outcome(self) -> int:
        """The highest number of an archived outcome; 0 without any."""
        return self._connection.execute(select(func.max(archived.c.outcome_last))).scalar() or 0

    def retired(self) -> list[Partition]:
        """Files that were replaced and are still there for whoever was reading them."""
        return self._read(archived.c.retired.is_not(None))

    def live(self, partitions: Sequence[Partition]) -> Live:
        """The records of some files that count."""
        names = {p.number: p.digest for p in partitions}
        struck = self.struck(names)
        return Live(
            tuple(names.values()),
            tuple((names[n], *pair) for n, pairs in sorted(struck.items()) for pair in sorted(pairs)),
        )

    def struck(self, partitions: Iterable[int]) -> dict[int, set[Id]]:
        """The ids that are struck out, by file."""
        found: dict[int, set[Id]] = {}
        wanted = sorted(partitions)
        for start in range(0, len(wanted), CHUNK):
            query = select(thawed).where(thawed.c.partition.in_(wanted[start : start + CHUNK]))
            for partition, writer, seq in self._connection.execute(query):
                found.setdefault(partition, set()).add((writer, seq))
        return found

    # --------------------------------------------------------------------------------------------- writing

    def list_file(
        self, written: Written, described: Mapping[str, Any], *, model: str, period: str, at: float, bare: bool
    ) -> int:
        """List a file whose rows are ``described``; its number."""
        spans = described["spans"]
        values = {name: value for name, value in described.items() if name != "spans"}
        row = insert(archived).values(
            model=model, period=period, digest=written.digest, size=written.size, sealed=at, bare=int(bare), **values
        )
        number = int(self._connection.execute(row).inserted_primary_key[0])  # type: ignore[index] # it always has one
        insert_rows(
            self._connection,
            archived_ids,
            rows=[(number, kind, writer, low, high) for kind, writer, low, high in spans],
        )
        return number

    def strike(self, partition: int, ids: Iterable[Id]) -> None:
        """Strike rows of a file out: they are in the database again."""
        insert_rows(self._connection, thawed, rows=[(partition, *pair) for pair in ids])

    def unstrike(self, partition: int, ids: Iterable[Id]) -> None:
        """Let struck rows of a file count: they are gone from the database."""
        c, by_writer = thawed.c, dict[int, list[int]]()
        for writer, seq in ids:
            by_writer.setdefault(writer, []).append(seq)
        for writer, seqs in by_writer.items():
            mine = delete(thawed).where(c.partition == partition, c.writer == writer)
            for start in range(0, len(seqs), CHUNK):
                self._connection.execute(mine.where(c.seq.in_(seqs[start : start + CHUNK])))

    def retire(self, partitions: Sequence[int], at: float) -> None:
        """Take files out of use."""
        mine = archived.c.number.in_(list(partitions))
        self._connection.execute(update(archived).where(mine).values(retired=at, outcome_last=0))
        for table in (archived_ids, thawed):
            self._connection.execute(delete(table).where(table.c.partition.in_(list(partitions))))

    def forget(self, partitions: Sequence[int]) -> None:
        """Forget files that were taken out of use and are gone."""
        self._connection.execute(delete(archived).where(archived.c.number.in_(list(partitions))))

    def _read(self, condition: ColumnElement[bool]) -> list[Partition]:
        query = select(archived).where(condition).order_by(archived.c.number)
        names = [column.name for column in archived.columns]
        found = []
        for row in self._connection.execute(query):
            values = dict(zip(names, row, strict=True))
            found.append(Partition(**{**values, "bare": bool(values["bare"])}))
        return found


def described(records: Sequence[Record]) -> dict[str, Any]:
    """What is listed of a file of these records."""
    asked = [record.asked for record in records]
    matched = [record.matched for record in records if record.matched is not None]
    numbers = [record.of("number") for record in records]
    return {
        "rows": len(records),
        "labelled": len(matched),
        "at_low": min(a.at for a in asked),
        "at_high": max(a.at for a in asked),
        "target_low": min(a.target for a in asked),
        "target_high": max(a.target for a in asked),
        "first": min(numbers),
        "last": max(numbers),
        "match_last": max((row[0] for row in matched), default=0),
        "outcome_last": max((told.number for record in records for told in record.chain), default=0),
        "spans": spans([a.id for a in asked], [a.of for a in asked if a.of is not None]),
    }


def spans(ids: Iterable[Id], of: Iterable[Id]) -> list[tuple[str, int, int, int]]:
    """The ids of a file as they are listed: kind, writer, lowest and highest count."""
    found: list[tuple[str, int, int, int]] = []
    for kind, pairs in (("id", ids), ("of", of)):
        by_writer = rows.spans(pairs)
        if len(by_writer) > WRITERS:
            by_writer = {ANY: (0, _LARGEST)}
        found += [(kind, writer, low, high) for writer, (low, high) in by_writer.items()]
    return found
