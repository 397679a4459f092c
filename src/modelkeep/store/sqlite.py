"""The store in one SQLite file: write-ahead log, every commit on disk before it returns, one writer at a time."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, select
from sqlalchemy.pool import QueuePool

from modelkeep.errors import BadSettings, Conflict, StoreUnavailable
from modelkeep.store import copies, durable, tables, vacuuming
from modelkeep.store.archive.cold import Cold
from modelkeep.store.faults import locked, translated
from modelkeep.store.ledger import SqlLedger
from modelkeep.store.sealing import OPTION, PLAIN, Sealer
from modelkeep.store.seams import Ledger
from modelkeep.store.timing import Slow, Timings, timed
from modelkeep.store.turns import Scope
from modelkeep.store.vacuuming import Vacuumed


class SqliteStore:
    """``seams.Store`` on the file ``path``; a writer waits ``busy`` seconds for another before it gives up.

    The archive is in the folder ``archive`` beside the file, unless ``cold`` says otherwise.

    Any number of threads may use one store. Writers of this process queue on a lock, those of other processes on the
    file's; readers see the last commit and wait for nobody.

    >>> import tempfile
    >>> store = SqliteStore(Path(tempfile.mkdtemp()) / "modelkeep.db")
    >>> store.migrate()
    ['0001_first', '0002_records']
    >>> with store.read() as ledger: ledger.versions.models()
    []
    >>> store.close()
    """

    def __init__(self, path: Path, *, busy: float = 5.0, cold: Cold | None = None, sealer: Sealer = PLAIN) -> None:
        self._path = path
        self.cold: Cold = cold or Cold(path.parent / "archive")
        self._busy = busy
        self._turn = threading.Lock()
        self._closed = False
        self._file: tuple[int, int] | None = None
        self._timings = Timings()
        self._writer = _engine(path, busy=busy, begin="BEGIN IMMEDIATE", prepare=_writing)
        self._reader = _engine(path, busy=busy, begin="BEGIN", prepare=_reading)
        for engine in (self._writer, self._reader):
            timed(engine, self._timings)
            engine.update_execution_options(**{OPTION: sealer})

    @contextmanager
    def write(self, scope: Scope = "everything") -> Iterator[Ledger]:  # noqa: ARG002 - one writer writes everything
        """See ``seams.Store.write``. There is one writer at a time, whatever it writes."""
        with self._writing() as connection:
            yield SqlLedger(connection, self.cold)

    @contextmanager
    def read(self) -> Iterator[Ledger]:
        """See ``seams.Store.read``."""
        self._present()
        with translated(self._path, busy=self._busy), self._reader.begin() as connection:
            yield SqlLedger(connection, self.cold)

    def migrate(self) -> list[str]:
        """See ``seams.Store.migrate``."""
        self._create()
        with self._writing() as connection:
            if _revision(connection) == tables.HEAD:
                return []
            from modelkeep.store import migrating  # noqa: PLC0415 - Alembic is slow to import and seldom needed

            return migrating.upgrade(connection, name=str(self._path))

    def pending(self) -> list[str]:
        """See ``seams.Store.pending``."""
        if not self._path.exists():
            from modelkeep.store import migrating  # noqa: PLC0415 - the same

            return migrating.every()
        with self._writing() as connection:
            if _revision(connection) == tables.HEAD:
                return []
            from modelkeep.store import migrating  # noqa: PLC0415 - the same

            return migrating.pending(connection, name=str(self._path))

    def open(self) -> None:
        """See ``seams.Store.open``. The file is this product's own, so it is brought up to date."""
        self.migrate()

    def ping(self) -> float:
        """See ``seams.Store.ping``. What it writes is kept, because only a commit proves that the disk takes it."""
        began = time.perf_counter()
        with self._writing() as connection:
            pulse = tables.pulse
            beat = connection.execute(select(pulse.c.beat)).scalar() or 0
            connection.execute(tables.upsert(pulse), {"number": 1, "beat": 1 - beat})
        return time.perf_counter() - began

    def hear(self, changed: Callable[[], None]) -> None:
        """See ``seams.Store.hear``. A file tells nobody."""

    def slowest(self, limit: int = 10) -> list[Slow]:
        """See ``seams.Store.slowest``."""
        self._present()
        with translated(self._path, busy=self._busy), self._reader.begin() as connection:

            def plan(statement: str, parameters: Any) -> str:
                if not statement.startswith(("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")):
                    return ""
                values = (None,) * statement.count("?") if parameters is None else parameters
                found = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
                return "\n".join(row[3] for row in found)

            return self._timings.slowest(limit, plan)

    def sweep(self) -> str:
        """See ``seams.Store.sweep``. Deleted rows are zeroed as they go (``secure_delete``); the log is cut here."""
        self._present()
        with translated(self._path, busy=self._busy), self._turn:
            connection = self._writer.raw_connection()
            try:
                cursor = connection.cursor()
                busy, _, _ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                connection.close()
        return f"a reader of {self._path} holds its write-ahead log" if busy else ""

    def vacuum(self, *, alone: bool = False) -> Vacuumed:
        """See ``seams.Store.vacuum``. Free pages are given back a few at a time, between other writers' turns."""
        self._present()
        return vacuuming.vacuum(self._path, self._bare, alone=alone)

    def size(self) -> int:
        """See ``seams.Store.size``."""
        return vacuuming.size(self._path)

    def faults(self) -> list[str]:
        """See ``seams.Store.faults``."""
        self._present()
        with translated(self._path, busy=self._busy), self._reader.begin() as connection:
            said = connection.exec_driver_sql("PRAGMA quick_check(20)").scalars().all()
        return [] if list(said) == ["ok"] else [str(line) for line in said]

    def copy(self, folder: Path) -> dict[str, int]:
        """See ``seams.Store.copy``."""
        self._present()
        copies.copied(self._path, folder)
        return copies.rows(folder / copies.NAME)

    def fill(self, folder: Path) -> dict[str, int]:
        """See ``seams.Store.fill``. The file takes its place whole, so that it is there or not."""
        if self._path.exists():
            raise Conflict(f"{self._path} is there already", remedy="restore into an empty folder")
        self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        with durable.beside(self._path.parent) as part:
            durable.write(part, folder / copies.NAME)
            found = copies.rows(part)
            durable.settle(part, self._path)
        return found

    @contextmanager
    def _bare(self) -> Iterator[sqlite3.Connection]:
        """SQLite's own connection, for what runs in no transaction, while nobody of this process writes."""
        if not self._turn.acquire(timeout=self._busy):
            raise locked(self._path, busy=self._busy)
        try:
            with translated(self._path, busy=self._busy):
                pooled = self._writer.raw_connection()
                try:
                    connection = pooled.driver_connection
                    assert isinstance(connection, sqlite3.Connection)  # noqa: S101 - the only driver of this engine
                    yield connection
                finally:
                    pooled.close()
        finally:
            self._turn.release()

    def close(self) -> None:
        """See ``seams.Store.close``."""
        self._closed = True
        self.cold.close()
        self._writer.dispose()
        self._reader.dispose()

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        self._present()
        if not self._turn.acquire(timeout=self._busy):
            raise locked(self._path, busy=self._busy)
        try:
            with translated(self._path, busy=self._busy), self._writer.begin() as connection:
                yield connection
        finally:
            self._turn.release()

    def _create(self) -> None:
        """Make the file, readable by its owner and group only."""
        try:
            self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o640))
        except OSError as fault:
            raise BadSettings(
                f"the store {self._path} cannot be made: {fault.strerror}", remedy="give a path that may be written"
            ) from fault

    def _present(self) -> None:
        """Refuse a closed store and a file that is gone: SQLite would go on writing to a deleted one.

        A file that was put in its place (a restored backup) is opened anew.
        """
        if self._closed:
            raise StoreUnavailable(f"the store {self._path} is closed", remedy="open it again")
        try:
            found = self._path.stat()
        except OSError as fault:
            self._forget()
            raise StoreUnavailable(
                f"the store {self._path} is gone: {fault.strerror}", remedy="run `modelkeep init`, or restore a backup"
            ) from fault
        file = (found.st_dev, found.st_ino)
        if self._file not in {None, file}:
            self._forget()
        self._file = file

    def _forget(self) -> None:
        self._file = None
        self._writer.dispose()
        self._reader.dispose()


def _engine(path: Path, *, busy: float, begin: str, prepare: Callable[[sqlite3.Connection], None]) -> Engine:
    def connect() -> sqlite3.Connection:
        # mode=rw: a file that is gone is an error, never a new and empty store
        uri = f"{path.absolute().as_uri()}?mode=rw"
        connection = sqlite3.connect(uri, uri=True, timeout=busy, check_same_thread=False, isolation_level=None)
        try:
            prepare(connection)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool, pool_size=8, max_overflow=-1)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _writing(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # heeded by a new file only: it can shrink while it serves
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA secure_delete = ON")  # what is erased leaves no byte in a free page
    connection.execute("PRAGMA foreign_keys = ON")


def _reading(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA query_only = ON")


def _revision(connection: Connection) -> str | None:
    """The migration that the schema is at, or None before the first."""
    known = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'"
    if connection.exec_driver_sql(known).first() is None:
        return None
    return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
