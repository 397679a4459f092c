"""What happens when the disk, the file or another writer is in the way. Nothing here is simulated in our code."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from making import folded, prediction, told
from migrated import ready

from modelkeep.errors import BadSettings, StoreUnavailable
from modelkeep.store.sqlite import SqliteStore


@contextmanager
def written_elsewhere(path: Path) -> Iterator[None]:
    """Another program holds the file's write lock."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def add(store: SqliteStore, *numbers: int) -> None:
    with store.write() as ledger:
        ledger.records.add([prediction(n, features={"text": "x" * 2000}) for n in numbers], [folded(len(numbers))])


def count(store: SqliteStore) -> int:
    with store.read() as ledger:
        return ledger.records.counts("demand")[0]


def test_a_locked_store_is_named_after_busy_seconds_and_recovers(path: Path) -> None:
    store = SqliteStore(ready(path), busy=0.2)
    add(store, 1)
    with written_elsewhere(path):
        began = time.perf_counter()
        for act in (lambda: add(store, 2), store.ping):
            with pytest.raises(StoreUnavailable, match=r"locked: another writer has held it for 0\.2 s"):
                act()
        assert 0.35 < time.perf_counter() - began < 3.0
        assert count(store) == 1
    add(store, 2)
    assert count(store) == 2
    store.close()


def test_a_thread_that_writes_for_long_is_named_too(path: Path) -> None:
    store = SqliteStore(ready(path), busy=0.1)
    with store.write(), ThreadPoolExecutor(1) as pool, pytest.raises(StoreUnavailable, match="locked"):
        pool.submit(add, store, 1).result()
    add(store, 1)
    store.close()


def test_many_threads_write_and_read_at_once(store: SqliteStore) -> None:
    def work(thread: int) -> None:
        for n in range(10):
            add(store, thread * 100 + n)
            assert count(store) >= n

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert count(store) == 80


def test_a_full_disk_is_named_loses_nothing_and_recovers(store: SqliteStore) -> None:
    add(store, 1)
    with store._writer.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        connection.rollback()
    with pytest.raises(StoreUnavailable, match="full: no space is left"):
        add(store, *range(2, 200))
    assert count(store) == 1
    with store._writer.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
        connection.rollback()
    add(store, *range(2, 200))
    assert count(store) == 199


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    mounted = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=2m", "none", place], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("only root may mount a small disk")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_really_full_disk(small_disk: Path) -> None:
    store = SqliteStore(small_disk / "m.db")
    store.migrate()
    add(store, 1)
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as stream, pytest.raises(OSError, match="No space"):  # noqa: PT012 - fill it
        while True:
            stream.write(b"x" * 4096)
    with pytest.raises(StoreUnavailable, match="full"):
        add(store, *range(2, 300))
    assert count(store) == 1
    filler.unlink()
    add(store, *range(2, 100))
    assert count(store) == 99
    store.close()


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"hello, I am a text file\n" * 500)
    store = SqliteStore(path)
    for act in (store.migrate, lambda: count(store), store.ping):
        with pytest.raises(StoreUnavailable, match="is not a database"):
            act()
    store.close()


def test_a_damaged_page_is_named(path: Path) -> None:
    store = SqliteStore(ready(path))
    add(store, *range(1, 300))
    store.close()
    size = path.stat().st_size
    with path.open("r+b") as stream:
        for place in range(8192, size, 4096):
            stream.seek(place)
            stream.write(os.urandom(1024))
    store = SqliteStore(path)
    with pytest.raises(StoreUnavailable, match=r"damaged.*restore"), store.read() as ledger:
        ledger.records.predictions("demand")
    store.close()


def test_a_file_that_is_gone_is_named_and_found_again(path: Path) -> None:
    store = SqliteStore(path)
    with pytest.raises(StoreUnavailable, match="gone"):
        count(store)
    assert not path.exists()
    store.migrate()
    add(store, 1)
    store.close()
    store = SqliteStore(path)
    assert count(store) == 1
    backup = path.with_suffix(".backup")
    shutil.copy(path, backup)
    for part in path.parent.glob("modelkeep.db*"):
        part.unlink()
    for act in (lambda: add(store, 2), lambda: count(store), store.ping):
        with pytest.raises(StoreUnavailable, match="gone"):
            act()
    backup.rename(path)
    add(store, 2)
    assert count(store) == 2
    store.close()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadSettings, match=r"cannot be made: (Not a directory|File exists)"):
        SqliteStore(tmp_path / "file" / "m.db").migrate()


def test_a_schema_that_is_missing_says_so(path: Path) -> None:
    path.parent.mkdir()
    sqlite3.connect(path).close()
    path.touch()
    store = SqliteStore(path)
    with pytest.raises(StoreUnavailable, match="modelkeep init"):
        count(store)
    store.close()


def test_a_closed_store_says_so(store: SqliteStore) -> None:
    store.close()
    for act in (lambda: add(store, 1), lambda: count(store), store.ping, store.migrate):
        with pytest.raises(StoreUnavailable, match="closed"):
            act()


def test_a_reader_cannot_write(store: SqliteStore) -> None:
    with pytest.raises(StoreUnavailable, match="may not be written"), store.read() as ledger:
        ledger.records.remember("demand", {"a": b"1"})


def test_the_file_is_not_for_everyone(store: SqliteStore, path: Path) -> None:
    add(store, 1)
    modes = {oct(part.stat().st_mode & 0o777) for part in path.parent.iterdir()}
    assert modes <= {"0o640", "0o600"}
    assert path.parent.stat().st_mode & 0o007 == 0


def test_every_commit_waits_for_the_disk(store: SqliteStore) -> None:
    with store._writer.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 5000


def test_a_changed_removed_or_inserted_act_breaks_the_chain(store: SqliteStore, path: Path) -> None:
    with store.write() as ledger:
        for n in range(5):
            ledger.acts.append(who="anna", what="promote", subject="m@1", why="", at=float(n))
    changes = [
        ("UPDATE acts SET body = replace(body, 'anna', 'otto') WHERE number = 3", 3),
        ("UPDATE acts SET subject = 'x' WHERE number = 2", 2),
        ("DELETE FROM acts WHERE number = 4", 4),
        ("UPDATE acts SET digest = 'x' WHERE number = 5", 5),
        ("DELETE FROM acts WHERE number = 1", 1),
    ]
    for change, first in changes:
        other = sqlite3.connect(path)
        kept = other.execute("SELECT * FROM acts").fetchall()
        other.execute(change)
        other.commit()
        with store.read() as ledger:
            assert ledger.acts.verify() == first
        other.execute("DELETE FROM acts")
        other.executemany("INSERT INTO acts VALUES (?, ?, ?, ?)", kept)
        other.commit()
        other.close()
    with store.read() as ledger:
        assert ledger.acts.verify() is None


_WRITER = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from making import prediction, told, folded
from modelkeep.store.sqlite import SqliteStore

def say(word):
    os.write(1, f"{word}\\n".encode())  # one call, so that no line is cut in two

def write(start):
    store = SqliteStore(Path(sys.argv[1]))
    say(os.getpid())
    for n in range(start, 10**9, 20):
        with store.write() as ledger:
            ledger.records.add([prediction(i, at=1.0) for i in range(n, n + 20)], [folded(20)])
            ledger.records.tell([told(i, 0.5) for i in range(n, n + 20)], {})
        say(n)

for line in sys.stdin:
    child = os.fork()  # importing once for ten kills
    if not child:
        write(int(line))
    os.waitpid(child, 0)
    say("dead")
"""


@pytest.mark.row("LOG-01")
def test_killed_at_any_moment_every_acknowledged_group_is_there_whole(store: SqliteStore, path: Path) -> None:
    moments, acknowledged = random.Random(), []
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path), str(Path(__file__).parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        for kill in range(10):
            parent.stdin.write(f"{kill * 10**6}\n")
            writer = int(parent.stdout.readline())
            acknowledged.append(int(parent.stdout.readline()))
            threading.Timer(moments.uniform(0.0, 0.1), os.kill, [writer, signal.SIGKILL]).start()
            acknowledged += [int(line) for line in iter(parent.stdout.readline, "dead\n")]
        parent.stdin.close()
    with store.read() as ledger:
        kept = {p.id for _, p in ledger.records.predictions("demand", limit=10**9)}
        counted = ledger.records.counts("demand")
        (hour,) = ledger.records.slices("demand", 1, role="champion", start=0.0, end=3600.0)
    assert {f"7-{i}" for n in acknowledged for i in range(n, n + 20)} <= kept
    assert len(kept) % 20 == 0
    assert counted == (len(kept), len(kept), 1.0)
    assert (hour.profile.n, hour.profile.errors["model"].n) == (len(kept), len(kept))
    with sqlite3.connect(path) as other:
        assert other.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    other.close()


def test_two_processes_see_each_other(store: SqliteStore, path: Path) -> None:
    other = SqliteStore(path)
    assert other.migrate() == []
    add(store, 1)
    add(other, 2)
    assert count(store) == count(other) == 2
    with other.write() as ledger:
        assert ledger.records.tell([told(1, 0.5)], {})[0].state == "joined"
    other.close()
