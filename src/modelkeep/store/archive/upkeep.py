"""The archive's work: sealing old rows, merging what was sealed, erasing a person, dropping what is too old.

Each change is one short transaction around files that were written before. ``pause`` is called between the steps with a
name; a test ends the process there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from modelkeep.errors import StoreUnavailable
from modelkeep.nouns import Outcome, Prediction
from modelkeep.quantities import DAY
from modelkeep.store.archive.cold import Cold, Live, Written
from modelkeep.store.archive.form import Record
from modelkeep.store.archive.shelf import Partition, described
from modelkeep.store.seams import Store

BATCH = 250
"""So many rows leave the database in one transaction, at first."""
_SMALLEST, _LARGEST = 200, 2000
QUICK = 0.015
"""Seconds that such a transaction shall take until it is forced to disk: the batches grow or shrink towards it."""
SEALED = 5000
"""So many rows have a file together when they leave the database."""
BREATH = 0.0005
"""Seconds between two batches that are read: whoever else runs in this process need not wait for its turn."""
OFTEN = 4
"""After so many transactions the next one waits as long as they take, also where nobody seems to record."""
TRIES = 8
"""So often a change is tried whose rows are changed by others meanwhile."""
GRACE = 900.0
"""Seconds that a file stays after it was replaced, for whoever is reading it."""
LARGE = 10_000
"""A day with at least so many rows has a file of its own; the smaller days of a month share one."""
TOGETHER = 2_000_000
"""At most so many rows are merged at a time."""

_DAYS = f'CAST(floor("at" / {DAY}) AS BIGINT)'


class Erased(Struct, frozen=True, kw_only=True):
    """What was erased from the archive: predictions, those with an outcome, and the files that were written anew."""

    predictions: int = 0
    labelled: int = 0
    files: int = 0


def _nothing(_: str) -> None:
    """Nobody waits between the steps."""


class Archive:
    """The work on the archive of one store; any number of processes may call it, one at a time does something.

    ``together`` rows are sealed into one file at most. A day of ``large`` rows or more is merged into a file of its
    own, smaller days of a month into one file. Raises StoreUnavailable when the store has no archive, or its disk
    fails: then nothing was lost.
    """

    def __init__(
        self,
        store: Store,
        *,
        pause: Callable[[str], None] = _nothing,
        large: int = LARGE,
        together: int = SEALED,
    ) -> None:
        if store.cold is None:
            raise StoreUnavailable("this store has no folder for an archive", remedy="open it with one")
        self._store = store
        self.cold: Cold = store.cold
        self._pause = pause
        self._large, self._together = large, together
        self._batch = BATCH
        self._turns = 0
        self._seen: int | None = None

    # --------------------------------------------------------------------------------------------- sealing

    def seal(self, model: str, *, before: float, at: float) -> int:
        """Move some of a model's predictions asked ``before`` then into a file; how many, 0 when none is left.

        The file is written and listed first, with all its rows struck out. Then they move into it a few at a time, so
        that no other writer waits long. Whoever is killed meanwhile leaves every record in one place.
        """
        with self._store.read() as ledger:
            if not ledger.archive.old(model, before=before, limit=1):
                return 0
        for _ in range(TRIES):
            with self.cold.lock():
                with self._store.read() as ledger:
                    oldest = ledger.archive.old(model, before=before, limit=self._together)
                    records = list[Record]()
                    for start in range(0, len(oldest), BATCH):
                        records += ledger.archive.gather(model, oldest[start : start + BATCH]).records
                        time.sleep(BREATH)
                if not records:
                    return 0
                written, about = self.cold.write(records), described(records)
                self._pause("archive.written")
                ids = [record.id for record in records]
                with self._store.write() as ledger:
                    partition = ledger.archive.announce(model, written, about=about, ids=ids, at=at)
                    self._pause("archive.announcing")
                self._pause("archive.announced")
                taken = self._take(partition, records)
                if taken:
                    return taken
        return 0

    def _take(self, partition: int, records: Sequence[Record]) -> int:
        """Move the records of a listed file into it, a batch at a time; how many have not changed meanwhile."""
        taken = start = 0
        while start < len(records):
            some = records[start : start + self._batch]
            start += len(some)
            with self._store.write() as ledger:
                began = time.perf_counter()
                newest = ledger.archive.newest()
                taken += ledger.archive.take(partition, some)
                self._paced(time.perf_counter() - began)
                self._pause("archive.taking")
            took = time.perf_counter() - began
            self._turns += 1
            if newest != self._seen or self._turns % OFTEN == 0:
                time.sleep(took)  # somebody records: the next turn is theirs
            self._seen = newest
            self._pause("archive.sealed")
        return taken

    def merge(self, model: str, *, at: float) -> int:
        """Merge what was sealed of a model into files of a day, or of a month of small days; how many were merged.

        Rows that were thawed are left out for good.
        """
        gone = 0
        todo = self._unmerged(model)
        if todo:
            with self.cold.lock():
                for partitions in self._unmerged(model):
                    self._rewrite(partitions, at=at)
                    gone += len(partitions)
        return gone

    def _paced(self, took: float) -> None:
        factor = min(max(QUICK / max(took, 1e-4), 0.5), 1.5)
        self._batch = int(min(max(self._batch * factor, _SMALLEST), _LARGEST))

    def _unmerged(self, model: str) -> list[list[Partition]]:
        """The files that are worth writing anew, together as they are merged."""
        with self._store.read() as ledger:
            every = ledger.archive.partitions(model)
            struck = ledger.archive.struck(p.number for p in every)
        months: dict[str, list[Partition]] = {}
        for partition in every:
            months.setdefault(_month(partition.at_low), []).append(partition)
        found: list[list[Partition]] = []
        for _, partitions in sorted(months.items()):
            fresh = [p for p in partitions if not p.period or p.number in struck]
            if fresh:
                found += _bounded(_touched(partitions, fresh))
        return found

    # ---------------------------------------------------------------------------------- people, and old age

    def find(self, subject: str, *, model: str | None = None) -> list[tuple[Prediction, list[Outcome]]]:
        """Everything that the archive holds of a person: predictions, each with what was told of it.

        With ``model``, what it holds of that model's entity (key) ``subject``.
        """
        where, values = _theirs(subject, model)
        with self._store.read() as ledger:
            live = ledger.archive.live(ledger.archive.partitions(model))
            found = self.cold.records(live, where=where, values=values, tail='ORDER BY "at", number')
            records = [record for _, record in found]
            predictions = ledger.archive.opened(records)
        return [
            (prediction, [told.outcome() for told in record.chain])
            for prediction, record in zip(predictions, records, strict=True)
        ]

    def erase(self, subject: str, *, at: float, model: str | None = None) -> Erased:
        """Take everything of a person out of the archive for good; their bytes are in no file when this returns.

        With ``model``, that of its entity (key) ``subject`` instead. Each file that held them is written anew without
        them; files that were replaced before are removed too. What is summed over them (hours, profiles) stays: it
        names nobody.
        """
        if not self.cold.folder.is_dir():
            return Erased()
        theirs, values = _theirs(subject, model)
        with self.cold.lock():
            self.tidy(at=at, grace=0.0)
            erased = [
                self._rewrite([partition], at=at, where=f"({theirs}) IS NOT TRUE", values=values)
                for partition in self._holding(theirs, values)
            ]
            self.tidy(at=at, grace=0.0)
        return Erased(
            predictions=sum(one.predictions for one in erased),
            labelled=sum(one.labelled for one in erased),
            files=len(erased),
        )

    def drop(self, model: str, *, before: float, at: float) -> int:
        """Delete a model's predictions asked ``before`` then for good, wherever they are; how many. Sums stay."""
        gone = 0
        while True:
            with self._store.write() as ledger:
                batch = ledger.archive.gather(model, ledger.archive.old(model, before=before, limit=self._batch))
                if not batch.records:
                    break
                ledger.archive.drop(batch)
            gone += len(batch.records)
        with self._store.read() as ledger:
            old = [p for p in ledger.archive.partitions(model) if p.at_low < before]
        if old:
            with self.cold.lock():
                gone += sum(self._rewrite([p], at=at, where='"at" >= ?', values=[before]).predictions for p in old)
        return gone

    def bare(self, model: str, *, before: float, at: float) -> int:
        """Drop the features of a model's archived predictions asked ``before`` then; how many files changed."""
        with self.cold.lock():
            with self._store.read() as ledger:
                old = [p for p in ledger.archive.partitions(model) if not p.bare and p.period and p.at_high < before]
            for partition in old:
                self._rewrite([partition], at=at, bare=True)
        return len(old)

    def clear(self) -> dict[str, int]:
        """How many archived records of each model lie in the clear; under "" those of files that nobody reads."""
        found: dict[str, int] = {}
        if self.cold.folder.is_dir():
            with self._store.read() as ledger:
                model_of = {p.digest: p.model for p in ledger.archive.partitions()}
            for digest, n in self.cold.clear().items():
                found[model_of.get(digest, "")] = found.get(model_of.get(digest, ""), 0) + n
        return found

    def shut(self, *, at: float, say: Callable[[int, int], None]) -> int:
        """Write every file with records in the clear anew, sealed; how many files were.

        One after the other, each whole or not at all; ``say`` is told how many are done, of how many. What was replaced
        is removed at once. A killed process is followed by one that goes on with the rest.
        """
        if not self.cold.folder.is_dir():
            return 0
        with self._store.read() as ledger:
            every = {p.digest: p for p in ledger.archive.partitions()}
        clear = [every[digest] for digest in self.cold.clear() if digest in every]
        for done, partition in enumerate(clear, 1):
            with self.cold.lock():
                self._shut(partition, at=at)
            say(done, len(clear))
        self.tidy(at=at, grace=0.0)
        return len(clear)

    def _shut(self, partition: Partition, *, at: float) -> None:
        """Write one file anew, sealed; nothing when it was replaced meanwhile."""
        for _ in range(TRIES):
            with self._store.read() as ledger:
                if partition.digest not in {p.digest for p in ledger.archive.partitions(partition.model)}:
                    return
                struck, live = ledger.archive.struck([partition.number]), ledger.archive.live([partition])
            parts = []
            with self.cold.pieces(live, tail="ORDER BY writer, seq") as pieces:
                for records in pieces:
                    with self._store.write() as ledger:
                        shut = ledger.archive.sealed(records, at=at)
                    parts.append(self.cold.write(shut).digest)
            became = []
            if parts:
                became = [self._written(Live(tuple(parts)), name=partition.period, where="TRUE", values=(), bare=False)]
            self._pause("archive.shut")
            with self._store.write() as ledger:
                swapped = ledger.archive.swap([partition], became, struck=struck, at=at, bare=partition.bare)
            for digest in parts:
                self.cold.remove(digest)
            if swapped:
                self._pause("archive.shutting")
                return
            for _, written, _ in became:
                self.cold.remove(written.digest)
        raise StoreUnavailable(f"the archive of {partition.model} changes faster than it can be sealed")

    # --------------------------------------------------------------------------------------------- tidying

    def tidy(self, *, at: float, grace: float = GRACE) -> int:
        """Remove files that nobody lists, and those that were replaced ``grace`` seconds ago; bytes freed.

        They are what a killed process left, or what a reader may have needed a moment longer.
        """
        freed = 0
        if not self.cold.folder.is_dir():
            return freed
        with self.cold.lock():
            with self._store.read() as ledger:
                old = [p for p in ledger.archive.retired() if p.retired is not None and p.retired <= at - grace]
                kept = {p.digest for p in ledger.archive.partitions()}
                kept |= {p.digest for p in ledger.archive.retired()} - {p.digest for p in old}
            for digest in self.cold.all():
                if digest not in kept:
                    freed += self.cold.remove(digest)
            freed += self.cold.sweep()
            if old:
                with self._store.write() as ledger:
                    ledger.archive.forget([p.number for p in old])
        return freed

    # ---------------------------------------------------------------------------------------------- inside

    def _holding(self, where: str, values: Sequence[Any]) -> list[Partition]:
        """The files with any such row, also one that is struck out."""
        with self._store.read() as ledger:
            every = {p.digest: p for p in ledger.archive.partitions()}
        found = self.cold.ask(Live(tuple(every)), "DISTINCT right(filename, 64)", where=where, values=values)
        return [every[digest] for (digest,) in found]

    def _rewrite(
        self,
        was: Sequence[Partition],
        *,
        at: float,
        where: str = "TRUE",
        values: Sequence[Any] = (),
        bare: bool = False,
    ) -> Erased:
        """Write files anew without what is struck out or not wanted, and swap them; what is gone."""
        numbers = [p.number for p in was]
        for _ in range(TRIES):
            with self._store.read() as ledger:
                struck, live = ledger.archive.struck(numbers), ledger.archive.live(was)
            gone = Erased(files=len(was))
            if where != "TRUE":
                unwanted = f"({where}) IS NOT TRUE"
                predictions, labelled = self.cold.ask(live, "count(*), count(value)", where=unwanted, values=values)[0]
                gone = Erased(predictions=predictions, labelled=labelled, files=len(was))
            became = [
                self._written(live, name=name, where=f"({where}) AND ({part})", values=values, bare=bare)
                for name, part in self._periods(live, day=_one_day(was), where=where, values=values)
            ]
            self._pause("archive.rewritten")
            with self._store.write() as ledger:
                kept_bare = bare or all(p.bare for p in was)
                swapped = ledger.archive.swap(was, became, struck=struck, at=at, bare=kept_bare)
                if swapped and gone.predictions:
                    ledger.archive.uncount(was[0].model, predictions=gone.predictions, labelled=gone.labelled)
                self._pause("archive.swapping")
            self._pause("archive.swapped")
            if swapped:
                return gone
            for _, written, _ in became:
                self.cold.remove(written.digest)
        raise StoreUnavailable(
            f"the archive of {was[0].model} changes faster than it can be written anew", remedy="try again"
        )

    def _periods(self, live: Live, *, day: str, where: str, values: Sequence[Any]) -> list[tuple[str, str]]:
        """The files that come of some others: each period with its condition; none when no row is left."""
        days = self.cold.ask(live, f"{_DAYS}, count(*)", where=where, values=values, tail="GROUP BY 1")
        if not days:
            return []
        if day:
            return [(day, "TRUE")]
        found = [(_day(n), f"{_DAYS} = {n}") for n, rows in sorted(days) if rows >= self._large]
        small: dict[str, list[int]] = {}
        for n, rows in sorted(days):
            if rows < self._large:
                small.setdefault(_month(n * DAY), []).append(n)
        for month, some in small.items():
            found.append((month, f"{_DAYS} IN ({', '.join(map(str, some))})"))
        return found

    def _written(
        self, live: Live, *, name: str, where: str, values: Sequence[Any], bare: bool
    ) -> tuple[str, Written, dict[str, Any]]:
        written = self.cold.merge(live, where=where, values=values, bare=bare)
        return name, written, self.cold.describe(written.digest)


def _theirs(subject: str, model: str | None) -> tuple[str, list[str]]:
    return ("subject = ?", [subject]) if model is None else ("model = ? AND key = ?", [model, subject])


def _touched(partitions: Sequence[Partition], fresh: Sequence[Partition]) -> list[Partition]:
    """Those of a month that its fresh rows belong to: the month's own file, and days that fresh rows are of."""
    low, high = min(p.at_low for p in fresh), max(p.at_high for p in fresh)
    return [p for p in partitions if p in fresh or (p.at_high >= low and p.at_low <= high)]


def _bounded(partitions: Sequence[Partition]) -> list[list[Partition]]:
    """Files in groups that are not too large to be merged at once."""
    found: list[list[Partition]] = [[]]
    total = 0
    for partition in partitions:
        if found[-1] and total + partition.rows > TOGETHER:
            found.append([])
            total = 0
        found[-1].append(partition)
        total += partition.rows
    return found


def _one_day(partitions: Sequence[Partition]) -> str:
    """The day of files that are all of one, "" for others."""
    periods = {p.period for p in partitions}
    day = next(iter(periods)) if len(periods) == 1 else ""
    return day if len(day) == len("2026-01-01") else ""


def _day(day: int) -> str:
    return datetime.fromtimestamp(day * DAY, UTC).strftime("%Y-%m-%d")


def _month(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m")
