import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelkeep.alerts import rules
from modelkeep.alerts.book import Book
from modelkeep.alerts.channels import LogChannel
from modelkeep.clock import ManualClock
from modelkeep.jobs.rooms import Rooms
from modelkeep.store.folder import FolderFiles
from modelkeep.store.sqlite import SqliteStore

START = 1_700_000_000.0


def rooms_in(folder: Path, at: float = START) -> Rooms:
    """The rooms that the runner and the backup use; the serving rooms are not among them."""
    store = SqliteStore(folder / "modelkeep.db")
    store.migrate()
    clock = ManualClock(at)
    book = Book(rules.DEFAULT, {"log": LogChannel()}, clock=clock)
    unused = {"recorder": None, "gateway": None, "router": None}
    return Rooms(clock=clock, store=store, files=FolderFiles(folder / "files"), folder=folder, book=book, **unused)


@pytest.fixture
def rooms(tmp_path):
    found = rooms_in(tmp_path)
    yield found
    found.store.close()


@pytest.fixture
def child(tmp_path):
    """Starts a Python process that runs ``tests/jobs/worker.py``; ended with the test, whatever happens."""
    started = []

    def start(*arguments, environ=None):
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / "worker.py"), str(tmp_path), *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent), **(environ or {})},
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=10)


def until(condition, seconds=20.0):
    """Wait for another process or thread; fails after ``seconds``."""
    end = time.perf_counter() + seconds
    while not condition():
        assert time.perf_counter() < end, "it did not happen"
        time.sleep(0.01)
