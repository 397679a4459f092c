"""The store on a PostgreSQL server that many processes share: every commit on its disk before it returns."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg.types.string import BytesBinaryDumper
from sqlalchemy import URL, Connection, create_engine, make_url, select
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from modelkeep.errors import BadSettings, StoreUnavailable
from modelkeep.store import parts, postgres_copies, tables, turns
from modelkeep.store.archive.cold import Cold
from modelkeep.store.dialect import DRIVER
from modelkeep.store.hearing import Ear
from modelkeep.store.ledger import SqlLedger
from modelkeep.store.postgres_faults import passing, translated, unusable
from modelkeep.store.sealing import OPTION, PLAIN, Sealer
from modelkeep.store.seams import Ledger
from modelkeep.store.timing import Slow, Timings, timed
from modelkeep.store.turns import Scope
from modelkeep.store.vacuuming import Vacuumed

KEEPALIVE = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
"""A server that vanished from the network is noticed in so many seconds (the last: milliseconds)."""
WAITING = 30.0
"""So many seconds a caller waits for a connection when all are in use."""
PAUSE = 0.1
"""Seconds between two tries to reach a server that restarts."""
EXPLAINED = 5.0
"""A statement that is run again to see its plan is stopped after so many seconds."""


class PostgresStore:
    """``seams.Store`` on the database at ``url`` (``postgresql://user:password@host:port/name?options of libpq``).

    Any number of threads and processes may use one store. ``pool_size`` connections stay open, ``max_overflow`` more
    are opened when needed; with ``pre_ping`` each is tried before it is used and replaced when it is dead. A writer
    waits ``busy`` seconds for others before it gives up; as long, whoever has nothing in hand yet waits for a server
    that was there and may be restarting. The address is shown without its password, everywhere.

    Raises BadSettings for what is no address.
    """

    def __init__(
        self,
        url: str,
        *,
        busy: float = 5.0,
        pool_size: int = 10,
        max_overflow: int = 20,
        pre_ping: bool = True,
        cold: Cold | None = None,
        sealer: Sealer = PLAIN,
    ) -> None:
        self.cold = cold
        address = _address(url)
        self.name = _shown(address)
        self._busy, self._secret, self._closed = busy, address.password or "", False
        self._answered, self._missed = False, 0.0
        self._address = address
        self._timings = Timings()
        self._engine = create_engine(
            f"postgresql+{DRIVER}://",
            creator=self._connected,
            poolclass=QueuePool,
            pool_size=pool_size,
            max_overflow=max_overflow,
            pool_pre_ping=pre_ping,
            pool_use_lifo=True,  # the few that are busy stay busy, the others are cheap to lose
            pool_timeout=WAITING,
            hide_parameters=True,  # what is recorded must not stand in an error's text
        )
        timed(self._engine, self._timings)
        self._engine.update_execution_options(**{OPTION: sealer})

    @contextmanager
    def write(self, scope: Scope = "everything") -> Iterator[Ledger]:
        """See ``seams.Store.write``."""
        # Records have a spool to go to: they do not wait for the server.
        wait = scope in {"everything", "work"}
        with self._connection(wait=wait) as connection, parts.remembered(connection), connection.begin():
            turns.begin(connection, scope)
            yield SqlLedger(connection, self.cold)

    @contextmanager
    def read(self) -> Iterator[Ledger]:
        """See ``seams.Store.read``."""
        with self._connection(wait=True, first=turns.looked) as connection, _snapshot(connection):
            yield SqlLedger(connection, self.cold)

    def migrate(self) -> list[str]:
        """See ``seams.Store.migrate``. In one transaction; processes of the release before may serve on meanwhile."""
        with self._connection() as connection, connection.begin():
            turns.alone(connection, turns.MIGRATION)
            if _revision(connection) == tables.HEAD:
                return []
            from modelkeep.store import migrating  # noqa: PLC0415 - Alembic is slow to import and seldom needed

            return migrating.upgrade(connection, name=self.name)

    def pending(self) -> list[str]:
        """See ``seams.Store.pending``."""
        with self._reading() as connection:
            if _revision(connection) == tables.HEAD:
                return []
            from modelkeep.store import migrating  # noqa: PLC0415 - the same

            return migrating.pending(connection, name=self.name)

    def open(self) -> None:
        """See ``seams.Store.open``. Other processes may be serving on this schema: it is changed when told to only."""
        waiting = self.pending()
        if waiting:
            raise BadSettings(
                f"the store {self.name} is not ready for this release: {', '.join(waiting)} to run",
                remedy="run `modelkeep migrate`",
            )

    def ping(self) -> float:
        """See ``seams.Store.ping``. What it writes is kept, because only a commit proves that the disk takes it."""
        began = time.perf_counter()
        with self._connection() as connection, connection.begin():
            pulse = tables.pulse
            beat = connection.execute(select(pulse.c.beat)).scalar() or 0
            connection.execute(tables.upsert(pulse), {"number": 1, "beat": 1 - beat})
        return time.perf_counter() - began

    def hear(self, changed: Callable[[], None]) -> Callable[[], None]:
        """See ``seams.Store.hear``."""
        ear = Ear(lambda: self._connected(autocommit=True), changed)
        ear.start()
        return ear.close

    def slowest(self, limit: int = 10) -> list[Slow]:
        """See ``seams.Store.slowest``. Reading statements are run again for their plan; writing ones are not."""
        with self._reading() as connection:
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{EXPLAINED:g}s'")
            return self._timings.slowest(limit, lambda statement, values: _plan(connection, statement, values=values))

    def sweep(self) -> str:
        """See ``seams.Store.sweep``. The server's own log keeps its pages until it recycles them: docs/privacy.md."""
        connection = self._connected(autocommit=True)
        try:
            for table in (tables.predictions, tables.matches, tables.outcomes, tables.consents, tables.keys):
                connection.execute(f"VACUUM {table.name}")
        finally:
            connection.close()
        return ""

    def vacuum(self, *, alone: bool = False) -> Vacuumed:  # noqa: ARG002 - it never needs the server to stop
        """See ``seams.Store.vacuum``: empty months go, then ``VACUUM ANALYZE``, which keeps nobody waiting."""
        began, before = time.perf_counter(), self.size()
        with contextlib.suppress(StoreUnavailable), self._connection() as shared, shared.begin():
            turns.begin(shared, "everything")  # a month that somebody reads just now stays until the next time
            parts.drop_empty(shared)
        connection = self._connected(autocommit=True)
        try:
            connection.execute("VACUUM (ANALYZE)")
        finally:
            connection.close()
        return Vacuumed(before=before, after=self.size(), seconds=time.perf_counter() - began, longest=0.0)

    def size(self) -> int:
        """See ``seams.Store.size``."""
        with self._reading() as connection:
            return int(connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar() or 0)

    def faults(self) -> list[str]:
        """See ``seams.Store.faults``. The server looks after its own files."""
        with self._reading() as connection:
            connection.exec_driver_sql("SELECT 1")
        return []

    def copy(self, folder: Path) -> dict[str, int]:
        """See ``seams.Store.copy``."""
        with self._reading() as connection:
            return postgres_copies.copied(connection.connection.driver_connection, folder)

    def fill(self, folder: Path) -> dict[str, int]:
        """See ``seams.Store.fill``. The schema is made when it is missing."""
        self.migrate()
        with self._connection() as connection, connection.begin():
            return postgres_copies.filled(connection.connection.driver_connection, connection, folder=folder)

    def close(self) -> None:
        """See ``seams.Store.close``."""
        self._closed = True
        if self.cold is not None:
            self.cold.close()
        self._engine.dispose()

    @contextmanager
    def _connection(
        self, *, wait: bool = False, first: Callable[[Connection], None] | None = None
    ) -> Iterator[Connection]:
        if self._closed:
            raise StoreUnavailable(f"the store {self.name} is closed", remedy="open it again")
        with (
            translated(self.name, busy=self._busy, secret=self._secret),
            self._opened(wait=wait, first=first) as connection,
        ):
            yield connection

    def _opened(self, *, wait: bool, first: Callable[[Connection], None] | None) -> Connection:
        """A connection on which ``first`` has been done. Nobody has anything in hand yet, so this can be repeated."""
        while True:
            try:
                connection = self._begun(first)
            except (SQLAlchemyError, psycopg.Error) as fault:
                if not self._answered or not passing(fault):
                    raise
                now = time.monotonic()
                self._missed = since = self._missed or now
                if not wait or now - since > self._busy or self._closed:
                    raise
                time.sleep(PAUSE)
            else:
                self._answered, self._missed = True, 0.0
                return connection

    def _begun(self, first: Callable[[Connection], None] | None) -> Connection:
        connection = self._engine.connect()
        try:
            if first is not None:
                first(connection)
        except BaseException:
            connection.invalidate()
            connection.close()
            raise
        return connection

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._connection() as connection, _snapshot(connection):
            yield connection

    def _connected(self, *, autocommit: bool = False) -> Any:
        timeout = f"-c lock_timeout={max(round(self._busy * 1000), 1)}"
        query = {key: value for key, value in self._address.query.items() if isinstance(value, str)}
        given = {
            "host": self._address.host,
            "port": self._address.port,
            "user": self._address.username,
            "password": self._address.password,
            "dbname": self._address.database,
            "application_name": "modelkeep",
            **KEEPALIVE,
            **query,
            "options": f"{timeout} {query.get('options', '')}".strip(),
        }
        said = {key: value for key, value in given.items() if value is not None}
        connection = psycopg.connect(autocommit=autocommit, **said)  # type: ignore[arg-type]  # libpq's own words
        # COPY would take psycopg's wrapper of DB-API's `Binary`, in Python, for every bytes; this one is in C
        connection.adapters.register_dumper(bytes, BytesBinaryDumper)
        return connection


@contextmanager
def _snapshot(connection: Connection) -> Iterator[None]:
    connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    with connection.begin():
        yield


def _address(url: str) -> URL:
    try:
        address = make_url(url)
    except (ArgumentError, ValueError):
        raise unusable("it cannot be read", key="store") from None
    if address.drivername not in {"postgresql", "postgres", "postgresql+psycopg"}:
        raise unusable(f"it begins with {address.drivername}://", key="store")
    return address


def _shown(address: URL) -> str:
    """The address without password and options."""
    user = f"{address.username}@" if address.username else ""
    port = f":{address.port}" if address.port else ""
    return f"postgresql://{user}{address.host or ''}{port}/{address.database or ''}"


def _revision(connection: Connection) -> str | None:
    """The migration that the schema is at, or None before the first."""
    if connection.exec_driver_sql("SELECT to_regclass('alembic_version')").scalar() is None:
        return None
    return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()


# --------------------------------------------------------------------------------------------------- plans

_CONDITION = re.compile(r"(Cond|Filter|Key|Output|Function Call): .*")
_VALUES = re.compile(r"'(?:[^']|'')*'|(?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.])")


def _plan(connection: Connection, statement: str, *, values: Any) -> str:
    """What PostgreSQL does for a statement, line by line, without the values that it was asked with."""
    if statement.startswith("COPY"):
        return "COPY: rows are appended, each index gets an entry"
    if not statement.startswith(("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")):
        return ""
    runs = statement.startswith("SELECT") and "advisory" not in statement
    how = "EXPLAIN (ANALYZE, BUFFERS) " if runs else "EXPLAIN "
    point = connection.begin_nested()
    try:
        found = connection.exec_driver_sql(how + statement, values).scalars().all()
    except (SQLAlchemyError, psycopg.Error) as fault:
        return f"no plan: {type(getattr(fault, 'orig', None) or fault).__name__}"
    finally:
        point.rollback()
    return "\n".join(_CONDITION.sub(lambda line: _VALUES.sub("?", line[0]), line) for line in found)
