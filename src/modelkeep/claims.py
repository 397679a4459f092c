"""Whose a folder is: locks that the system takes back when a process ends, and the mark of the server that has it.

A server leaves two files in its data folder while it runs: ``server.json`` says where it answers, and ``server.key``,
which its owner alone can read, holds a word of its own making. Whoever sends that word can read the owner's files, and
so could run code as the owner anyway: the server lets it vouch for code (see ``docs/models.md``).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from msgspec import MsgspecError, Struct, json

from modelkeep.errors import BadSettings

MARK, KEY = "server.json", "server.key"


class Mark(Struct, frozen=True, kw_only=True):
    """What ``server.json`` says: the address of the server that runs on the folder, and its process."""

    url: str
    pid: int


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


# ------------------------------------------------------------------------------------------------ the server's mark


@contextlib.contextmanager
def marked(folder: Path, *, url: str, key: str) -> Iterator[None]:
    """Say in the data folder where the server answers, so that commands find it, and leave them its key."""
    _write(folder / KEY, key.encode(), mode=0o600)
    _write(folder / MARK, json.encode(Mark(url=url, pid=os.getpid())), mode=0o640)
    try:
        yield
    finally:
        for name in (MARK, KEY):
            (folder / name).unlink(missing_ok=True)


def mark_of(folder: Path) -> Mark | None:
    """The mark of the server that runs on a data folder; None without one. One that was killed leaves its mark."""
    try:
        return json.decode((folder / MARK).read_bytes(), type=Mark)
    except (OSError, MsgspecError):
        return None


def address(folder: Path) -> str:
    """Where the server of a data folder answers; empty when none runs."""
    mark = mark_of(folder)
    return mark.url if mark else ""


def key_of(folder: Path) -> str:
    """The key of the server that runs on a data folder; empty when there is none, or this user may not read it."""
    try:
        return (folder / KEY).read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""


def _write(path: Path, content: bytes, *, mode: int) -> None:
    path.unlink(missing_ok=True)  # what is there may be readable by others
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
