"""Folders that belong to one process at a time, by a lock that the system takes back when the process ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from modelkeep.errors import BadSettings


class Claim:
    """A folder that is this process's own, from ``claim`` until ``close``, ``kill -9`` included."""

    def __init__(self, handle: int, folder: Path) -> None:
        self.folder = folder
        self._handle = handle

    def close(self) -> None:
        """Let another process have it."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def claim(folder: Path, name: str = "lock") -> Claim | None:
    """Claim ``folder`` (made when missing) by locking the file ``name`` in it; None when another process has it.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> mine = claim(folder)
    >>> claim(folder) is None
    True
    >>> mine.close(); claim(folder) is None
    False

    Raises BadSettings when the folder cannot be made or written.
    """
    try:
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        handle = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o640)
    except OSError as cause:
        raise BadSettings(f"cannot use the folder {folder}: {cause.strerror}", remedy="choose another folder") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    os.ftruncate(handle, 0)
    os.write(handle, str(os.getpid()).encode())
    return Claim(handle, folder)


def claim_one(folder: Path) -> Claim:
    """Claim the first subfolder (``0``, ``1``, ...) that nobody has, preferring one in which something was left.

    What a killed process left behind is so taken up by the next one.
    """
    left = sorted(path for path in folder.glob("[0-9]*") if any(p.stat().st_size for p in path.glob("*.spool")))
    for place in (*left, *(folder / str(number) for number in range(1000))):
        if (mine := claim(place)) is not None:
            return mine
    raise BadSettings(f"all places in {folder} are taken", remedy="end the processes that use the folder")
