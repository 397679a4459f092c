"""Giving free space of a database back to its disk while it is written and read."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from msgspec import Struct

STEP = 250
"""Pages that are given back in one transaction; others write between two of them."""
PAUSE = 0.005
"""Seconds between two of them."""
SMALL = 64 * 1024**2
"""A file of an earlier release, which cannot give back page by page, is rewritten at once up to this size."""


class Vacuumed(Struct, frozen=True, kw_only=True):
    """What a vacuum did: bytes before and after, seconds in all, and the longest that a writer had to wait for it.

    ``note`` says what is left to do, if anything.
    """

    before: int
    after: int
    seconds: float
    longest: float
    note: str = ""


def vacuum(
    path: Path, turn: Callable[[], AbstractContextManager[sqlite3.Connection]], *, alone: bool = False
) -> Vacuumed:
    """Give back the free pages of an SQLite file; ``turn`` opens a connection while nobody of this process writes.

    ``alone`` says that no server uses the file: then it may be rewritten whole, whatever its size.
    """
    began, before, longest, note = time.perf_counter(), size(path), 0.0, ""
    with turn() as connection:
        steps = int(connection.execute("PRAGMA auto_vacuum").fetchone()[0]) == 2
    if not steps and (alone or before <= SMALL):
        at = time.perf_counter()
        with turn() as connection:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("VACUUM")
        longest = time.perf_counter() - at
    elif not steps:
        note = "the file is of an earlier release: stop the server once and vacuum again, then it can serve meanwhile"
    while steps:
        at = time.perf_counter()
        with turn() as connection:
            connection.executescript(f"PRAGMA incremental_vacuum({STEP})")  # execute() would stop after one page
            left = int(connection.execute("PRAGMA freelist_count").fetchone()[0])
        longest = max(longest, time.perf_counter() - at)
        if not left:
            break
        time.sleep(PAUSE)
    at = time.perf_counter()
    with turn() as connection:
        connection.execute("PRAGMA analysis_limit = 400")
        connection.execute("PRAGMA optimize")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    longest = max(longest, time.perf_counter() - at)
    return Vacuumed(before=before, after=size(path), seconds=time.perf_counter() - began, longest=longest, note=note)


def size(path: Path) -> int:
    """Bytes of a database with its write-ahead log."""
    files = (path, path.with_name(f"{path.name}-wal"))
    return sum(file.stat().st_size for file in files if file.exists())
