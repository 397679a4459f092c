"""Folders for the length of one act, in the data folder's ``work``: they go with it, also when its process is killed.

Each is locked while its act lasts; the system takes the lock back when the process ends, however it ends.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelkeep.errors import StoreUnavailable
from modelkeep.jobs.rooms import Rooms
from modelkeep.quantities import DAY

_NEW, _OURS = "new-aside-", "aside-"


@contextmanager
def aside(rooms: Rooms) -> Iterator[Path]:
    """An empty folder that is gone afterwards with what is in it. Raises StoreUnavailable when it cannot be made."""
    work = rooms.folder / "work"
    try:
        work.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=work, prefix=_NEW))
        handle = os.open(new, os.O_RDONLY)
    except OSError as cause:
        raise StoreUnavailable(
            f"no folder can be made in {work}: {cause.strerror}", remedy="check its disk, owner and mode"
        ) from cause
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
        folder = new.rename(work / f"{_OURS}{new.name.removeprefix(_NEW)}")  # whoever sees it sees it locked
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(handle)


def forget(rooms: Rooms) -> int:
    """Remove what killed processes have left behind; how many folders."""
    work, gone = rooms.folder / "work", 0
    for folder in work.glob(f"{_OURS}*"):
        if _nobodys(folder):
            shutil.rmtree(folder, ignore_errors=True)
            gone += 1
    for folder in work.glob(f"{_NEW}*"):  # killed before it had its name
        try:
            old = folder.stat().st_mtime < rooms.clock.now() - DAY
        except FileNotFoundError:
            continue
        if old:
            shutil.rmtree(folder, ignore_errors=True)
            gone += 1
    return gone


def _nobodys(folder: Path) -> bool:
    try:
        handle = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return False  # its act has just ended
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True
