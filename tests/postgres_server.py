"""A real PostgreSQL server of the tests' own, on a loopback port of its own."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

USER, PASSWORD = "keeper", "pass-w0rd-unseen"
TEMPLATE = "migrated"


def programs() -> Path | None:
    """The folder of the newest PostgreSQL of this machine."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).resolve().parent if on_path else None


def _owner() -> str | None:
    """PostgreSQL refuses to run as root: somebody else then owns and runs it."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


class Server:
    """A cluster in a folder of its own. ``durable`` waits for the disk at each commit, as a real one does."""

    def __init__(self, *, durable: bool = False) -> None:
        found = programs()
        assert found is not None
        self._bin, self._owner = found, _owner()
        self.owner = self._owner or os.geteuid()
        self._folder = Path(tempfile.mkdtemp(prefix="modelkeep-pg-"))
        self._settings = {"max_connections": "120", "shared_buffers": "64MB"}
        if not durable:
            self._settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self._count = 0
        password = self._folder / "password"
        password.write_text(PASSWORD)
        if self._owner:
            for place in (self._folder, password):
                shutil.chown(place, self._owner)
        initdb = ["initdb", "-D", "data", "--no-sync", "-A", "scram-sha-256", "-U", USER, "--pwfile", "password"]
        self._run([*initdb, "-E", "UTF8", "--locale", "C.UTF-8"]).check_returncode()
        self.start()

    def url(self, database: str, *, port: int | None = None) -> str:
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{port or self.port}/{database}"

    def start(self) -> None:
        settings = [part for key, value in self._settings.items() for part in ("-c", f"{key}={value}")]
        where = ["-p", str(self.port), "-h", "127.0.0.1", "-k", str(self._folder)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", "data", *where, *settings],
                cwd=self._folder, stdout=log, stderr=log, user=self._owner, group=_group(self._owner), extra_groups=[]
                if self._owner else None,
            )  # fmt: skip
        for _ in range(400):
            with contextlib.suppress(psycopg.Error), psycopg.connect(self.url("postgres"), connect_timeout=2):
                return
            assert self._process.poll() is None, (self._folder / "log").read_text()
            time.sleep(0.025)
        raise AssertionError((self._folder / "log").read_text())

    @property
    def process(self) -> int | None:
        """The number of its first process while it runs."""
        return None if self._process is None else self._process.pid

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT ends every connection; SIGQUIT is a crash: nothing is written any more, the next start recovers."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def close(self) -> None:
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self._folder, ignore_errors=True)

    def do(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            found = connection.execute(statement)  # type: ignore[arg-type]
            return found.fetchall() if found.description else []

    def database(self, *, migrated: bool = True) -> str:
        """The address of a fresh database."""
        self._count += 1
        name = f"db{self._count}"
        if migrated and not self.do(f"SELECT 1 FROM pg_database WHERE datname = '{TEMPLATE}'"):
            from modelkeep.store.postgresql import PostgresStore  # only where it is needed

            self.do(f"CREATE DATABASE {TEMPLATE}")
            store = PostgresStore(self.url(TEMPLATE))
            store.migrate()
            store.close()
        self.do(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE if migrated else 'template0'} STRATEGY file_copy")
        return self.url(name)

    def drop(self, url: str) -> None:
        self.do(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def clean(self, url: str) -> None:
        """Empty a migrated database: twenty times as fast as a fresh one."""
        self.do(_CLEAN, url.rpartition("/")[2])

    def end_connections(self, url: str) -> int:
        """Kill every backend of a database; how many."""
        name = url.rpartition("/")[2]
        mine = f"datname = '{name}' AND pid <> pg_backend_pid()"
        return len(self.do(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {mine}"))

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[bytes]:
        program = [str(self._bin / command[0]), *command[1:]]
        return subprocess.run(
            program, cwd=self._folder, capture_output=True, check=False, user=self._owner, group=_group(self._owner),
            extra_groups=[] if self._owner else None,
        )  # fmt: skip


_CLEAN = """
DO $$ DECLARE one record; filled boolean; BEGIN
FOR one IN SELECT oid::regclass AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace
    AND relkind IN ('r', 'p') AND NOT relispartition AND relname <> 'alembic_version' LOOP
  EXECUTE format('SELECT EXISTS (SELECT 1 FROM %s)', one.name) INTO filled;
  IF filled THEN EXECUTE format('DELETE FROM %s', one.name); END IF;
END LOOP;
PERFORM setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace;
END $$
"""


def _group(owner: str | None) -> int | None:
    return None if owner is None else pwd.getpwnam(owner).pw_gid


@contextlib.contextmanager
def running(*, durable: bool = False) -> Iterator[Server]:
    server = Server(durable=durable)
    try:
        yield server
    finally:
        server.close()
