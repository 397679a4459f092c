"""The tasks that keep the house in order: ``vacuum``, ``purge_history`` and ``purge_logs``."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from modelkeep.errors import StoreUnavailable
from modelkeep.jobs.rooms import Done, Rooms, Run
from modelkeep.quantities import DAY
from modelkeep.store.vacuuming import Vacuumed

HISTORY = 7 * DAY
AGE = 30 * DAY
SOME = 2000
"""So many readings are folded and deleted in one transaction."""


class Vacuuming(Struct, frozen=True, kw_only=True):
    """Arguments of the task ``vacuum``: ``alone`` says that no server uses the store, so that it may be rewritten."""

    alone: bool = False


class PurgeHistory(Struct, frozen=True, kw_only=True):
    """Arguments of the task ``purge_history``: the age in seconds (the setting ``keeping.readings`` without it)."""

    older_than: float | None = None
    dry_run: bool = False


class PurgedHistory(Struct, frozen=True, kw_only=True):
    """How many readings went, and up to which moment; the days that they were folded into stay."""

    readings: int
    before: float


class PurgeLogs(Struct, frozen=True, kw_only=True):
    """Arguments of the task ``purge_logs``: the age in seconds (the setting ``logs.age`` without it)."""

    older_than: float | None = None
    dry_run: bool = False


class PurgedLogs(Struct, frozen=True, kw_only=True):
    """The log files that went, by name, their bytes, and the one that is open and stays."""

    files: tuple[str, ...]
    bytes: int
    kept: str


def vacuum(rooms: Rooms, run: Run) -> Done:
    """The task ``vacuum``: give the database's free space back; bytes before and after are in the job's result."""
    found: Vacuumed = rooms.store.vacuum(alone=run.arguments(Vacuuming).alone)
    return Done(result=found)


def purge_history(rooms: Rooms, run: Run, *, age: float = HISTORY) -> Done:
    """The task ``purge_history``: readings older than ``age`` seconds go, folded into one row a day (0 = never)."""
    asked = run.arguments(PurgeHistory)
    wanted = age if asked.older_than is None else asked.older_than
    before, gone = rooms.clock.now() - wanted, 0
    if asked.dry_run:
        with rooms.store.read() as ledger:
            return Done(result=PurgedHistory(readings=ledger.readings.older(before), before=before))
    while wanted:
        with rooms.store.write("work") as ledger:
            some = ledger.readings.purge(before, limit=SOME)
        gone += some
        if not some:
            break
    return Done(result=PurgedHistory(readings=gone, before=before))


def purge_logs(rooms: Rooms, run: Run, *, age: float = AGE, current: str = "") -> Done:
    """The task ``purge_logs``: files of ``logs/`` to which nothing was written for ``age`` seconds go (0 = never).

    ``current`` is the file that is being written; it stays, however old. Subfolders are left alone.
    """
    asked = run.arguments(PurgeLogs)
    wanted = age if asked.older_than is None else asked.older_than
    before, gone, freed = rooms.clock.now() - wanted, list[str](), 0
    for path in sorted((rooms.folder / "logs").glob("*")) if wanted else []:
        if path.name == current or path.is_symlink() or not path.is_file():
            continue
        size = _older(path, before)
        if size is not None:
            if not asked.dry_run:
                _unlink(path)
            gone.append(path.name)
            freed += size
    return Done(result=PurgedLogs(files=tuple(gone), bytes=freed, kept=current))


def _older(path: Path, before: float) -> int | None:
    """The bytes of a file that was last written before a moment, else None."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None  # rotated away meanwhile
    return found.st_size if found.st_mtime < before else None


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as fault:
        raise StoreUnavailable(f"cannot delete {path}: {fault.strerror}", remedy="check its owner and mode") from fault


def bytes_said(count: int) -> str:
    """A number of bytes for a person.

    >>> bytes_said(1_500_000)
    '1.5 MB'
    """
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
