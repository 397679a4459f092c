"""The one place where an error of the database becomes one of ours, with its cause in words."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from modelkeep.errors import ModelkeepError, StoreUnavailable

_CAUSES: dict[int, tuple[str, str]] = {
    sqlite3.SQLITE_FULL: ("is full: no space is left on its disk", "free space on the disk; nothing needs a restart"),
    sqlite3.SQLITE_CORRUPT: ("is damaged", "stop the server and restore the newest backup"),
    sqlite3.SQLITE_NOTADB: ("is not a database", "give another path, or restore the newest backup"),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", "check that the file and its folder exist and may be written"),
    sqlite3.SQLITE_READONLY: ("may not be written", "check the owner and the mode of the file and its folder"),
    sqlite3.SQLITE_PERM: ("may not be opened", "check the owner and the mode of the file and its folder"),
    sqlite3.SQLITE_IOERR: ("cannot be read or written", "check the disk; the system's log names its fault"),
}


@contextmanager
def translated(path: Path, *, busy: float) -> Iterator[None]:
    """Turn whatever SQLite or SQLAlchemy raises in the block into StoreUnavailable naming the cause."""
    try:
        yield
    except PoolTimeout as fault:
        raise locked(path, busy=busy) from fault
    except (SQLAlchemyError, sqlite3.Error) as fault:
        raise explained(path, fault=fault, busy=busy) from fault


def locked(path: Path, *, busy: float) -> StoreUnavailable:
    """What is said when somebody else has been writing for ``busy`` seconds."""
    return StoreUnavailable(
        f"the store {path} is locked: another writer has held it for {busy:g} s",
        remedy="it works again when that writer is done; see what else has the file open",
    )


def explained(path: Path, *, fault: Exception, busy: float) -> ModelkeepError:
    """The error of ours that says what ``fault`` means."""
    cause = fault.orig if isinstance(fault, DBAPIError) and fault.orig is not None else fault
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return locked(path, busy=busy)
    if "no such table" in str(cause):
        return StoreUnavailable(f"the store {path} has no schema: {cause}", remedy="run `modelkeep init`")
    words, remedy = _CAUSES.get(code, ("failed", "see the cause; nothing was changed"))
    return StoreUnavailable(f"the store {path} {words}: {cause}", remedy=remedy)
