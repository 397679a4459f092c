"""What the tests of jobs share: rooms on a folder, and waiting for other processes and threads."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # child processes import this, too
from migrated import ready

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
    store = SqliteStore(ready(folder / "modelkeep.db"))
    clock = ManualClock(at)
    book = Book(rules.DEFAULT, {"log": LogChannel()}, clock=clock)
    unused = {"recorder": None, "gateway": None, "router": None}
    return Rooms(clock=clock, store=store, files=FolderFiles(folder / "files"), folder=folder, book=book, **unused)
