"""A whole database as files, and back: what a backup holds. SQLite here; PostgreSQL in ``postgres_copies``."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from modelkeep.errors import BadArtifact
from modelkeep.store.faults import translated
from modelkeep.store.tables import metadata

NAME = "modelkeep.db"


def copied(path: Path, folder: Path) -> None:
    """Write a consistent copy of the database ``path`` into ``folder``; others go on writing meanwhile.

    It is SQLite's online backup in one step: a snapshot of the moment that it began.
    """
    with translated(path, busy=0.0):
        source = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        target = sqlite3.connect(folder / NAME)
        try:
            source.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")
        finally:
            target.close()
            source.close()


def rows(path: Path) -> dict[str, int]:
    """How many rows each table of a copied database has. Raises BadArtifact when the database is damaged."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    try:
        said = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if said != "ok":
            raise BadArtifact(f"the database {path} is damaged: {said}", remedy="take another backup")
        return {
            name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in sorted(metadata.tables)
        }
    except sqlite3.DatabaseError as fault:
        raise BadArtifact(f"the database {path} cannot be read: {fault}", remedy="take another backup") from fault
    finally:
        connection.close()
