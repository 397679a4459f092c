"""Datasets: raw data of a workload (telemetry, orders, photos' measures) that is no prediction, kept in Parquet files.

Appending is durable and safe in any number of processes; the same key again takes the place of the row before it. What
is read is one consistent state. Nothing is imported for a dataset that is empty.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from msgspec import Struct, json

from modelkeep.errors import BadInput, StoreUnavailable
from modelkeep.nouns import Field, Value
from modelkeep.store import durable
from modelkeep.store.columns import checked
from modelkeep.store.declared import Declared, declared, joined, on_disk
from modelkeep.store.duck import Duck
from modelkeep.store.loaded import Conditions, Loaded
from modelkeep.store.segments import DECLARED, Segment, Segments, faults
from modelkeep.store.veiling import Key, Veil, no_key

Table: TypeAlias = dict[str, list[Value]]
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,79}")
T = TypeVar("T")
MANY = 64
"""More segments than these are merged."""
KEPT = 16
"""So many answers of ``read`` are kept in memory, until the data changes."""
LARGE = 400_000
"""An answer with more values than this is not kept."""


class Appended(Struct, frozen=True, kw_only=True):
    """How many rows were appended, and how many of them had the key of an earlier row, whose place they took."""

    rows: int
    known: int


class Datasets:
    """The datasets below ``folder``, one subfolder each.

    >>> import tempfile
    >>> datasets = Datasets(Path(tempfile.mkdtemp()))
    >>> kind = (Field(name="device", kind="text"), Field(name="amps", kind="number", unit="A", nullable=True))
    >>> data = datasets.open("drilling.telemetry", columns=kind, time="at", key=("device", "at"))
    >>> data.append({"at": [60.0, 0.0], "device": ["a", "a"], "amps": [2.5, None]})
    Appended(rows=2, known=0)
    >>> data.append({"at": [60.0], "device": ["a"], "amps": [3]})
    Appended(rows=1, known=1)
    >>> data.read(start=30.0), data.size
    ({'at': [60.0], 'device': ['a'], 'amps': [3.0]}, 2)

    ``key`` gives what files are sealed with (``veiling``); what was written before stays readable.
    """

    def __init__(self, folder: Path, *, key: Key = no_key) -> None:
        self._folder = folder
        self._veil = Veil(key)
        self._duck = Duck()
        self._open: dict[str, tuple[Declared, Dataset]] = {}
        self._lock = threading.Lock()

    def open(self, name: str, *, columns: Sequence[Field], time: str, key: Sequence[str] = ()) -> Dataset:
        """The dataset ``name`` (lower-case letters, digits, ``_ . -``); it comes into being with its first append.

        ``time`` is the column with the moment (epoch seconds; declared or not), ``key`` names a row. Columns may be
        added later: they must be nullable, and are None in the rows before them. Opening costs next to nothing.
        Raises BadInput for a declaration that says nothing, Conflict for one that the data on disk is not of.
        """
        if not _NAME.fullmatch(name):
            raise BadInput.of("dataset", expected="lower-case letters, digits, _ . -", got=repr(name))
        wanted = declared(columns, time=time, key=tuple(key))
        with self._lock:
            known = self._open.get(name)
            if known is None or known[0] != wanted:
                known = self._open[name] = wanted, self._made(name, wanted)
            return known[1]

    def clear(self) -> dict[str, int]:
        """How many files of each dataset lie in the clear; a dataset without any is left out."""
        found = {folder.name: len(Segments(folder).clear()) for folder in self._folders()}
        return {name: n for name, n in found.items() if n}

    def seal(self) -> int:
        """Seal every file that lies in the clear, one at a time, each whole or not at all; how many.

        Nothing is done where nothing is sealed. Raises StoreUnavailable.
        """
        if not self._veil.seals:
            return 0
        return sum(Segments(folder).shut(self._veil) for folder in self._folders())

    def _folders(self) -> list[Path]:
        return sorted(path for path in self._folder.glob("*") if path.is_dir()) if self._folder.is_dir() else []

    def _made(self, name: str, wanted: Declared) -> Dataset:
        return Dataset(name, wanted, folder=self._folder / name, duck=self._duck, veil=self._veil)

    def close(self) -> None:
        """Let go of the memory. Datasets may be used again after."""
        with self._lock:
            for _, dataset in self._open.values():
                dataset.close()
            self._open.clear()
            self._duck.close()


class Dataset:
    """One table of raw data, from ``Datasets.open``; any number of threads may use it."""

    def __init__(self, name: str, declared: Declared, *, folder: Path, duck: Duck, veil: Veil) -> None:
        self.name = name
        self._segments = Segments(folder)
        self.declared = joined(on_disk(folder), declared, name=name)
        self._table = Loaded(duck, self.declared.columns, time=self.declared.time, key=self.declared.key, veil=veil)
        self._answers: OrderedDict[object, tuple[int, Table]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def revision(self) -> int:
        """A number that grows with every change, by whatever process; 0 before the first append."""
        with faults(self._segments.folder, "list"):
            live = self._segments.live()
        return live[-1].end if live else 0

    @property
    def size(self) -> int:
        """How many rows there are; a key counts once."""
        return int(self.sql("SELECT count(*) FROM data")[0][0]) if self.revision else 0

    def append(self, columns: Mapping[str, Sequence[Value]]) -> Appended:
        """Keep rows, given as columns of one length; on disk when this returns.

        Moments are epoch seconds or ISO-8601 texts. NaN counts as missing; a nullable column may be left out.
        Raises BadInput naming column and row, StoreUnavailable when the disk does not take it: then nothing was kept.
        """
        rows = checked(columns, self.declared.columns, time=self.declared.time, key=self.declared.key)
        total = len(rows[self.declared.time])
        if not total:
            return Appended(rows=0, known=0)
        with faults(self._segments.folder, "write"):
            self._declare()
            with durable.beside(self._segments.folder) as part:
                known = self._asked(lambda table: table.write(rows, part))
                self._segments.land(part)
        self._tidy()
        return Appended(rows=total, known=known)

    def read(
        self,
        *,
        start: float | None = None,
        end: float | None = None,
        where: Mapping[str, Value | tuple[Value, ...]] | None = None,
        columns: Sequence[str] = (),
    ) -> Table:
        """The rows from ``start`` up to, not including, ``end`` (moments), sorted by time, as one list a column.

        ``where`` names columns that must have a value, or one of several. ``columns`` are those wanted (all).
        Raises BadInput for a column that there is not, BadArtifact naming a file that is not what was written.
        """
        wanted = self._known(columns or self.declared.names)
        conditions = self._conditions(where)
        revision, asked = self.revision, (start, end, conditions, wanted)
        kept = self._kept(asked, revision)
        if kept is None:
            if not revision:
                return {name: [] for name in wanted}
            kept = self._asked(lambda table: table.read(wanted, start=start, end=end, where=conditions))
            self._keep(asked, revision, found=kept)
        return {name: list(values) for name, values in kept.items()}

    def latest(self, *, by: Sequence[str], columns: Sequence[str] = ()) -> Table:
        """The newest row (by time) of each value of the columns ``by``, sorted by them.

        Raises BadInput for a column that there is not, BadArtifact as ``read`` does.
        """
        wanted, groups = self._known(columns or self.declared.names), self._known(by)
        if not self.revision:
            return {name: [] for name in wanted}
        return self._asked(lambda table: table.latest(wanted, by=groups))

    def sql(self, query: str, parameters: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        """The rows of a DuckDB query on the table ``data``; ``?`` are the parameters. It cannot change anything.

        Without any data there is no row, whatever the query. Raises BadInput for one that DuckDB refuses, BadArtifact
        as ``read`` does.
        """
        return self._asked(lambda table: table.sql(query, parameters)) if self.revision else []

    def erase(
        self, *, before: float | None = None, where: Mapping[str, Value | tuple[Value, ...]] | None = None
    ) -> int:
        """Take away for good the rows from before a moment, or ``where`` columns have a value, or both; how many.

        The files that held them are gone when this returns. Raises BadInput when neither is given.
        """
        conditions = self._conditions(where)
        if before is None and not conditions:
            raise BadInput.of("erase", expected="before or where", got="neither", remedy="say what is to go")
        if not self.revision:
            return 0
        with faults(self._segments.folder, "erase from"):
            while True:
                gone = self._asked(lambda table: table.count(end=before, where=conditions))
                live = self._table.segments
                if not gone:
                    return 0
                with durable.beside(self._segments.folder) as part:
                    try:
                        self._table.merge(live, part, end=before, where=conditions)
                    except FileNotFoundError:
                        continue  # merged away meanwhile
                    if self._segments.replace(part, live, anew=True):
                        return gone

    def close(self) -> None:
        """Let go of the memory; it may be used again after."""
        with self._lock:
            self._table.close()

    # ------------------------------------------------------------------------------------------------ inside

    def _asked(self, act: Callable[[Loaded], T]) -> T:
        """What the table says as the files are now; one that is merged away meanwhile is looked for again."""
        with faults(self._segments.folder, "read"):
            for _ in range(_CHANCES):
                try:
                    with self._lock:
                        live = self._segments.live()
                        self._segments.sound(self._table.stale(live))
                        self._table.refresh(live)
                    return act(self._table)
                except FileNotFoundError:
                    continue
        raise StoreUnavailable(f"the files of {self._segments.folder} change faster than they can be read")

    def _tidy(self) -> None:
        """Merge the newest segments when there are many."""
        with faults(self._segments.folder, "merge"):
            if len(self._segments.live()) <= MANY:
                return
            with self._segments.merging() as alone:
                run = _newest_run(self._segments.live())
                if not alone or len(run) < 2:
                    return
                self._segments.sound(run)
                with durable.beside(self._segments.folder) as part:
                    self._table.merge(run, part)
                    self._segments.replace(part, run)

    def _declare(self) -> None:
        """Say on disk what the dataset holds, beside what another process has added to it."""
        folder = self._segments.folder
        with self._segments.lock():
            said = on_disk(folder)
            whole = joined(said, self.declared, name=self.name)
            if whole != said:
                with durable.beside(folder) as part:
                    durable.write(part, json.format(json.encode(whole), indent=2))
                    durable.settle(part, folder / DECLARED)

    def _known(self, names: Sequence[str]) -> tuple[str, ...]:
        for name in names:
            if name not in self.declared.names:
                raise BadInput.of("column", expected=f"one of {', '.join(self.declared.names)}", got=repr(name))
        return tuple(names)

    def _conditions(self, where: Mapping[str, Value | tuple[Value, ...]] | None) -> Conditions:
        names = self._known(sorted(where or {}))
        return tuple((name, (where or {})[name]) for name in names)

    def _kept(self, asked: object, revision: int) -> Table | None:
        with self._lock:
            kept = self._answers.get(asked)
            if kept is None or kept[0] != revision:
                return None
            self._answers.move_to_end(asked)
            return kept[1]

    def _keep(self, asked: object, revision: int, *, found: Table) -> None:
        if sum(map(len, found.values())) > LARGE:
            return
        with self._lock:
            self._answers[asked] = (revision, found)
            while len(self._answers) > KEPT:
                self._answers.popitem(last=False)


_CHANCES = 10


def _newest_run(live: Sequence[Segment]) -> tuple[Segment, ...]:
    """The newest segments that are worth merging: each at most twice as large as all after it, half of MANY at least.

    So a large one is written anew seldom, and the rows are written a logarithmic number of times in all.
    """
    start, total = len(live), 0
    while start and (len(live) - start < MANY // 2 or live[start - 1].size <= 2 * total):
        start -= 1
        total += live[start].size
    return tuple(live[start:])
