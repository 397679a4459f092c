"""The archive as one transaction sees and changes it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from modelkeep.nouns import Prediction
from modelkeep.store import rows
from modelkeep.store.archive import paging, sealing
from modelkeep.store.archive.auditing import Auditing
from modelkeep.store.archive.cold import Cold, Written
from modelkeep.store.archive.form import Record
from modelkeep.store.archive.paging import Span
from modelkeep.store.archive.sealing import Batch
from modelkeep.store.archive.shelf import Id, Partition, Shelf
from modelkeep.store.sealing import Keys
from modelkeep.store.sealing import sealed as is_sealed
from modelkeep.store.tables import predictions
from modelkeep.store.tallying import Tallies

_NEWEST = select(func.max(predictions.c.number))


class Vault(Shelf):
    """``seams.Ledger.archive``: the list of files, and what moves between them and the database."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._tallies = Tallies(connection)
        self._keys = Keys(connection)

    def asked(self) -> list[str]:
        """The models that have predictions, in the database or in the archive."""
        return self._tallies.models()

    def opened(self, records: Iterable[Record]) -> list[Prediction]:
        """The predictions of some records, in order."""
        return [rows.prediction(row) for row in self._keys.all_opened(record.row for record in records)]

    def sealed(self, records: Sequence[Record], *, at: float) -> list[Record]:
        """Records as a store that encrypts keeps them; each person's key is made where there is none."""
        plain = [record for record in records if not is_sealed(record.row)]
        rows_of = self._keys.closed([rows.prediction(record.row) for record in plain], at=at)
        shut = {r.id: r.kept_as(body=row[-2], subject=row[-1]) for r, row in zip(plain, rows_of, strict=True)}
        return [shut.get(record.id, record) for record in records]

    def waiting(self, model: str, *, before: float) -> tuple[int, float | None]:
        """How many predictions in the database were asked before a moment, and when the oldest of them was."""
        return sealing.waiting(self._connection, model, before=before)

    def old(self, model: str, *, before: float, limit: int) -> list[int]:
        """The numbers of the oldest predictions in the database that were asked before a moment."""
        return sealing.old(self._connection, model, before=before, limit=limit)

    def gather(self, model: str, numbers: Sequence[int]) -> Batch:
        """Predictions of a model by their numbers, with all that hangs on them; without those that are gone."""
        return sealing.gather(self._connection, model, numbers=numbers)

    def announce(self, model: str, written: Written, *, about: Mapping[str, Any], ids: Sequence[Id], at: float) -> int:
        """List a file whose rows are all in the database still: every one is struck out. Its number."""
        number = self.list_file(written, about, model=model, period="", at=at, bare=False)
        self.strike(number, ids)
        return number

    def take(self, partition: int, records: Sequence[Record]) -> int:
        """Move records from the database to the file that holds them; how many.

        Those that have changed since they were gathered stay where they are, struck out in the file.
        """
        model = records[0].of("model")
        batch = self.gather(model, [record.of("number") for record in records])
        if batch.records != tuple(records):
            known = {record.id: record for record in records}
            same = [one.of("number") for one in batch.records if one == known[one.id]]
            batch = self.gather(model, same)
        sealing.remove(self._connection, batch)
        self.unstrike(partition, [record.id for record in batch.records])
        return len(batch.records)

    def newest(self) -> int:
        """The highest number of a prediction in the database, which grows while somebody records; 0 without any."""
        return self._connection.execute(_NEWEST).scalar() or 0

    def drop(self, batch: Batch) -> None:
        """Delete a batch from the database for good: it is older than anybody wants it. Sums and profiles stay."""
        sealing.remove(self._connection, batch)
        labelled = sum(record.matched is not None for record in batch.records)
        self.uncount(batch.records[0].of("model"), predictions=len(batch.records), labelled=labelled)

    def swap(
        self,
        was: Sequence[Partition],
        became: Sequence[tuple[str, Written, Mapping[str, Any]]],
        *,
        struck: Mapping[int, set[tuple[int, int]]],
        at: float,
        bare: bool,
    ) -> bool:
        """Replace files by others, each with its period and what is listed of it.

        False when one was replaced or thawed from meanwhile: then nothing was done.
        """
        numbers = [partition.number for partition in was]
        live = {partition.number for partition in self.partitions(was[0].model)}
        if not live.issuperset(numbers) or self.struck(numbers) != struck:
            return False
        self.retire(numbers, at)
        for period, written, about in became:
            self.list_file(written, about, model=was[0].model, period=period, at=at, bare=bare)
        return True

    def pages(self, span: Span, *, size: int) -> Iterator[dict[str, list[Any]]]:
        """The predictions in the database, in the columns of the files; bodies are opened where a key does it."""
        return paging.pages(self._connection, span, size=size)

    def told_pages(self, *, size: int) -> Iterator[dict[str, list[Any]]]:
        """The outcomes in the database."""
        return paging.told_pages(self._connection, size=size)

    def reading_pages(self, span: Span, *, size: int) -> Iterator[dict[str, list[Any]]]:
        """The readings in the database."""
        return paging.reading_pages(self._connection, span, size=size)

    def audit(self, cold: Cold | None) -> Auditing:
        """Whether counts and sums agree with the records."""
        return Auditing(self._connection, cold)

    def uncount(self, model: str, *, predictions: int, labelled: int) -> None:
        """Count predictions that are no longer kept anywhere."""
        self._tallies.gone(model, predictions=predictions, labelled=labelled)
