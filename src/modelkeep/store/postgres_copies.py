"""A whole PostgreSQL database as files, and back: one file of COPY's binary rows for each table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modelkeep.errors import Conflict
from modelkeep.store.parts import ready
from modelkeep.store.tables import metadata

_BLOCK = 1 << 20


def copied(connection: Any, folder: Path) -> dict[str, int]:
    """Write every table into ``folder``, within the caller's transaction (one consistent view); the rows of each."""
    found = {}
    for name, table in sorted(metadata.tables.items()):
        columns = ", ".join(f'"{column.name}"' for column in table.columns)
        order = ", ".join(f'"{column.name}"' for column in table.primary_key.columns)
        query = f'COPY (SELECT {columns} FROM "{name}" ORDER BY {order}) TO STDOUT (FORMAT binary)'
        with connection.cursor() as cursor, (folder / f"{name}.copy").open("wb") as file:
            with cursor.copy(query) as copy:
                for block in copy:
                    file.write(block)
            found[name] = cursor.rowcount
    return found


def filled(connection: Any, engine_connection: Any, *, folder: Path) -> dict[str, int]:
    """Fill an empty, migrated database from such files; the rows of each table.

    Raises Conflict when a table holds something.
    """
    found = {}
    for name in sorted(metadata.tables):
        with connection.cursor() as cursor:
            if cursor.execute(f'SELECT 1 FROM "{name}" LIMIT 1').fetchone():
                raise Conflict(f"the database is not empty: {name} has rows", remedy="restore into an empty database")
    ready(engine_connection, _moments(connection, folder))
    for name, table in sorted(metadata.tables.items()):
        columns = ", ".join(f'"{column.name}"' for column in table.columns)
        with connection.cursor() as cursor, (folder / f"{name}.copy").open("rb") as file:
            with cursor.copy(f'COPY "{name}" ({columns}) FROM STDIN (FORMAT binary)') as copy:
                while block := file.read(_BLOCK):
                    copy.write(block)
            found[name] = cursor.rowcount
            if "number" in table.columns and table.columns["number"].autoincrement is True:
                cursor.execute(
                    f"SELECT setval(pg_get_serial_sequence('{name}', 'number'), "
                    f'greatest((SELECT max(number) FROM "{name}"), 1))'
                )
    return found


def _moments(connection: Any, folder: Path) -> list[float]:
    """The moments of the predictions to come, so that their months are there: read through a table of their own."""
    table = metadata.tables["predictions"]
    columns = ", ".join(f'"{column.name}"' for column in table.columns)
    with connection.cursor() as cursor:
        cursor.execute('CREATE TEMP TABLE coming (LIKE "predictions" INCLUDING DEFAULTS) ON COMMIT DROP')
        coming = f"COPY coming ({columns}) FROM STDIN (FORMAT binary)"
        with (folder / "predictions.copy").open("rb") as file, cursor.copy(coming) as copy:
            while block := file.read(_BLOCK):
                copy.write(block)
        months = cursor.execute("SELECT DISTINCT floor(at / 86400) * 86400 FROM coming").fetchall()
        cursor.execute("DROP TABLE coming")
    return [float(month) for (month,) in months]
