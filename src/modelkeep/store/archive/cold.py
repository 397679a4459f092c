"""The archive's files: Parquet, each named by the SHA-256 of its bytes, written and read by DuckDB."""

from __future__ import annotations

import fcntl
import os
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import Struct

from modelkeep.errors import NotFound, StoreUnavailable
from modelkeep.store import durable
from modelkeep.store.archive.form import KINDS, REVISION, Record, columns, record
from modelkeep.store.duck import Duck, arrays, duckdb, quoted, said, text
from modelkeep.store.folder import FolderFiles

ROWS = 20_000
"""Rows of a row group: what a look-up of one record reads of a column."""
_FORM = f"(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROWS}, KV_METADATA {{{{modelkeep: '{{}}'}}}})"
"""No two files are the same: rows that were thawed and sealed again are live in one and struck out in the other."""
_EVERY = ", ".join(map(quoted, KINDS))
_NULLS = ", ".join(f"NULL::{kind} AS {quoted(name)}" for name, kind in KINDS.items())
_CHAIN = "[{" + ", ".join(f'"{name}": "{kind}"' for name, kind in REVISION.items()) + "}]"


_STRUCK = (
    "SELECT 1 FROM (SELECT unnest(?::VARCHAR[]) AS f, unnest(?::BIGINT[]) AS w, unnest(?::BIGINT[]) AS s) "
    "WHERE w = writer AND s = seq AND f = right(filename, 64)"
)
CLEAR = "seconds IS NOT NULL"
"""Records that are not sealed: how long the answer took is packed with everything that would be."""
ANY = -1
"""Stands for every writer, where a file holds ids of so many that they are not listed one by one."""
WRITERS = 64
"""A file with more writers than these is listed under ``ANY``."""
PIECE = 4096
"""Records that are in memory at a time."""


class Live(NamedTuple):
    """Which records are meant: those of some files, without the struck ones (file, and the two integers of the id)."""

    digests: tuple[str, ...]
    struck: tuple[tuple[str, int, int], ...] = ()


class Written(Struct, frozen=True, kw_only=True):
    """A file that is on disk: its digest and its bytes."""

    digest: str
    size: int


class Cold:
    """The files of the archive in ``folder``, which is made when the first one is written.

    Nothing of DuckDB is imported before. Any number of threads and processes may read; those that write or remove files
    hold ``lock``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = FolderFiles(folder)
        self._duck = Duck()
        self._sound: set[str] = set()
        self._shut: set[str] = set()
        self._guard = threading.RLock()
        self._held, self._handle = 0, -1

    def close(self) -> None:
        """Give the memory back."""
        self._duck.close()

    # --------------------------------------------------------------------------------------------- writing

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only one, of all threads and processes of this folder, that writes or removes files.

        A thread that holds it may take it again.
        """
        with self._guard:
            if not self._held:
                with self._disk("lock"):
                    durable.make_folder(self.folder)
                    self._handle = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o640)
                    fcntl.flock(self._handle, fcntl.LOCK_EX)
            self._held += 1
            try:
                yield
            finally:
                self._held -= 1
                if not self._held:
                    os.close(self._handle)

    def write(self, records: Sequence[Record]) -> Written:
        """Keep records in a new file. Raises StoreUnavailable."""
        taken, bound, page = list[str](), list[Any](), dict[str, list[Any]]()
        kinds = dict[str, str]()
        for name, values in columns(records).items():
            kind = "VARCHAR" if name == "chain" else KINDS[name]
            # Most columns say one thing: said once, it costs nothing. (0.0 and -0.0 are equal and not the same.)
            if name != "seq" and not isinstance(values[0], float) and values.count(values[0]) == len(values):
                taken.append(f"?::{kind} AS {quoted(name)}")
                bound.append(values[0])
                continue
            page[name], kinds[name], place = values, kind, quoted(name)
            if kind == "BLOB":
                page[name], kinds[name] = [None if value is None else value.hex() for value in values], "VARCHAR"
                place = f"unhex({place})"
            elif kind == "DOUBLE" and any(value != value for value in values):  # noqa: PLR0124 - only NaN is not itself
                page[name], kinds[name] = [None if value is None else repr(value) for value in values], "VARCHAR"
            taken.append(f"{place}::{kind} AS {quoted(name)}")
        rows = f"SELECT * REPLACE (from_json(chain, '{_CHAIN}') AS chain) FROM (SELECT {', '.join(taken)} FROM page)"
        return self._copy(f"{rows} ORDER BY writer, seq", bound, page=arrays(page, kinds))

    def merge(self, live: Live, *, where: str = "TRUE", values: Sequence[Any] = (), bare: bool = False) -> Written:
        """Write the records for which ``where`` holds to a new file; ``bare`` leaves their features out."""
        self.sound(live.digests)
        dropped = "* REPLACE (NULL::VARCHAR AS features, NULL::BLOB AS body)" if bare else "*"
        query, bound = self._query(live, _EVERY, where=where, values=values)
        return self._copy(f"SELECT {dropped} FROM ({query}) ORDER BY writer, seq", bound)

    def describe(self, digest: str) -> dict[str, Any]:
        """What is listed of a file that holds rows: see ``shelf.Partition``."""
        live = Live((digest,))
        what = (
            'count(*), count(value), min("at"), max("at"), min(target), max(target), min(number), max(number), '
            "coalesce(max(match_number), 0), coalesce(max(list_max([one.number for one in chain])), 0)"
        )
        names = ("rows", "labelled", "at_low", "at_high", "target_low", "target_high", "first", "last", "match_last")
        found = dict(zip((*names, "outcome_last"), self.ask(live, what)[0], strict=True))
        return {**found, "spans": [*self._spans(live, "id"), *self._spans(live, "of")]}

    def _spans(self, live: Live, kind: str) -> list[tuple[str, int, int, int]]:
        writer, seq = ("writer", "seq") if kind == "id" else ("of_writer", "of_seq")
        found = self.ask(
            live,
            f"{writer}, min({seq}), max({seq})",
            where=f"{writer} IS NOT NULL",
            tail=f"GROUP BY 1 ORDER BY 1 LIMIT {WRITERS + 1}",
        )
        return [(kind, *row) for row in found] if len(found) <= WRITERS else [(kind, ANY, 0, 2**63 - 1)]

    def sweep(self) -> int:
        """Remove what a killed process had not finished writing; the bytes. For whoever holds ``lock``."""
        freed = 0
        with self._disk("sweep"):
            for part in self.folder.glob(".*.part"):
                freed += part.stat().st_size
                part.unlink()
        return freed

    def remove(self, digest: str) -> int:
        """Remove a file; its bytes, 0 when it was not there."""
        self._sound.discard(digest)
        return self._files.remove(digest)

    # --------------------------------------------------------------------------------------------- reading

    def records(
        self, live: Live, *, where: str = "TRUE", values: Sequence[Any] = (), tail: str = ""
    ) -> list[tuple[str, Record]]:
        """The records for which ``where`` holds, each with the digest of its file; ``tail`` orders and limits them.

        Raises BadArtifact when a file is not what was written, NotFound or StoreUnavailable when it is gone.
        """
        found = self.ask(live, f"{_EVERY}, right(filename, 64)", where=where, values=values, tail=tail)
        return [(row[-1], record(row[:-1])) for row in found]

    def ask(
        self, live: Live, what: str, *, where: str = "TRUE", values: Sequence[Any] = (), tail: str = ""
    ) -> list[tuple[Any, ...]]:
        """Rows of ``what`` (SQL of our own constants); see ``records``."""
        if not live.digests:
            return []
        self.sound(live.digests)
        query, bound = self._query(live, what, where=where, values=values)
        with self._duck.cursor() as cursor:
            return list(self._run(cursor, f"{query} {tail}", values=bound).fetchall())

    @contextmanager
    def pieces(
        self, live: Live, *, where: str = "TRUE", values: Sequence[Any] = (), tail: str = ""
    ) -> Iterator[Iterator[list[Record]]]:
        """The records a few thousand at a time, so that any number of them fits in memory; see ``records``."""
        if not live.digests:
            yield iter(())
            return
        self.sound(live.digests)
        query, bound = self._query(live, _EVERY, where=where, values=values)
        with self._duck.cursor() as cursor:
            found = self._run(cursor, f"{query} {tail}", values=bound)
            yield iter(lambda: [record(row) for row in found.fetchmany(PIECE)], [])

    def sound(self, digests: Sequence[str]) -> None:
        """Compare each file with its name, once in this process. Raises BadArtifact or NotFound naming it."""
        for digest in digests:
            if digest not in self._sound:
                self._files.path(digest)
                self._sound.add(digest)

    def path(self, digest: str) -> Path:
        """Where a file is."""
        return self.folder / digest[:2] / digest

    def size(self, digest: str) -> int:
        """Bytes of a file. Raises NotFound."""
        return self._files.size(digest)

    def verify(self, digest: str) -> None:
        """Compare a file with its name anew. Raises BadArtifact or NotFound naming it."""
        self._sound.discard(digest)
        self.sound([digest])

    def clear(self) -> dict[str, int]:
        """How many records of each file, listed or not, lie in the clear; files without any are left out."""
        found: dict[str, int] = {}
        for digest in self.all():
            if digest not in self._shut:
                try:
                    n = int(self.ask(Live((digest,)), "count(*)", where=CLEAR)[0][0])
                except NotFound:  # replaced since it was listed
                    continue
                if n:
                    found[digest] = n
                else:
                    self._shut.add(digest)
        return found

    def all(self) -> list[str]:
        """Every file that is there, listed or not."""
        return self._files.all()

    # ---------------------------------------------------------------------------------------------- inside

    def _query(self, live: Live, what: str, *, where: str, values: Sequence[Any]) -> tuple[str, list[Any]]:
        """A query on the live rows, and what is bound in it."""
        query, bound = f"SELECT {what} FROM {self.table(live.digests)} WHERE ({where})", list(values)
        if live.struck:
            query += f" AND NOT EXISTS ({_STRUCK})"
            bound += [list(column) for column in zip(*live.struck, strict=True)]
        return query, bound

    def table(self, digests: Sequence[str]) -> str:
        """Files as a table with every column of today: those that came later are null in older files."""
        paths = ", ".join(text(self.path(digest), glob=True) for digest in digests)
        files = f"read_parquet([{paths}], union_by_name = true, filename = true)"
        return f"(SELECT {_NULLS} WHERE FALSE UNION ALL BY NAME SELECT * FROM {files})"

    def _copy(self, query: str, values: Sequence[Any], *, page: Mapping[str, Any] | None = None) -> Written:
        with self._disk("write"), durable.beside(self.folder) as part, self._duck.cursor() as cursor:
            form = _FORM.format(secrets.token_hex(16))
            if page is not None:
                cursor.register("page", page)
            self._run(cursor, f"COPY ({query}) TO {text(part)} {form}", values=values)
            size = part.stat().st_size
            digest = self._files.take(part)
        self._sound.add(digest)
        return Written(digest=digest, size=size)

    def _run(self, cursor: Any, query: str, *, values: Sequence[Any]) -> Any:
        try:
            return cursor.execute(query, list(values))
        except duckdb().Error as fault:
            raise StoreUnavailable(
                f"the archive in {self.folder} cannot be read: {said(fault)}", remedy="see `modelkeep check`"
            ) from fault

    @contextmanager
    def _disk(self, act: str) -> Iterator[None]:
        try:
            yield
        except OSError as fault:
            raise StoreUnavailable(
                f"could not {act} the archive in {self.folder}: {fault.strerror or fault}",
                remedy="check its disk, owner and mode; nothing was changed",
            ) from fault
