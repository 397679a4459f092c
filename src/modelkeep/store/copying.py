"""Many rows at once on PostgreSQL: in by COPY, out by arrays of keys."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import Column, Connection, Float, Integer, LargeBinary, Table
from sqlalchemy.types import TypeEngine

from modelkeep.store.timing import noted

_TYPES: tuple[tuple[type[TypeEngine[Any]], str], ...] = ((Integer, "int8"), (Float, "float8"), (LargeBinary, "bytea"))


def type_of(column: Column[Any]) -> str:
    """What PostgreSQL calls the type of a column.

    >>> type_of(Column("at", Float)), type_of(Column("seq", Integer))
    ('float8', 'int8')
    """
    return next((name for kind, name in _TYPES if isinstance(column.type, kind)), "text")


def given(table: Table) -> list[Column[Any]]:
    """The columns that a row brings along: all but a number that the database counts."""
    return [column for column in table.columns if not (column.primary_key and column.autoincrement is True)]


@cache
def _copy(table: Table) -> tuple[str, list[str]]:
    columns = given(table)
    names = ", ".join(f'"{column.name}"' for column in columns)
    return f"COPY {table.name} ({names}) FROM STDIN (FORMAT BINARY)", [type_of(column) for column in columns]


def copy_rows(connection: Connection, table: Table, *, rows: Sequence[tuple[object, ...]]) -> None:
    """Send rows by COPY in binary; inside the transaction of ``connection``."""
    statement, types = _copy(table)
    driver: Any = connection.connection.driver_connection
    began = time.perf_counter()
    with driver.cursor() as cursor, cursor.copy(statement) as stream:
        stream.set_types(types)
        write = stream.write_row
        for row in rows:
            write(row)
    noted(connection, statement, seconds=time.perf_counter() - began)


@cache
def among(names: tuple[str, ...], types: tuple[str, ...]) -> str:
    """A condition on columns that takes one array for each: any number of keys in one statement that stays the same."""
    arrays = ", ".join(f"%s::{kind}[]" for kind in types)
    return f" WHERE ({', '.join(names)}) IN (SELECT * FROM unnest({arrays})) AND {names[0]} IS NOT NULL"


@cache
def _replacement(table: Table) -> str:
    names = [f'"{column.name}"' for column in table.columns]
    keys = [f'"{column.name}"' for column in table.primary_key.columns]
    arrays = ", ".join(f"%s::{type_of(column)}[]" for column in table.columns)
    fresh = ", ".join(f"{name} = excluded.{name}" for name in names if name not in keys)
    into = f"INSERT INTO {table.name} ({', '.join(names)}) SELECT * FROM unnest({arrays})"
    return f"{into} ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {fresh}"


def replace_rows(connection: Connection, table: Table, *, rows: Sequence[tuple[object, ...]]) -> None:
    """Insert rows, or replace those that have their key, in one statement that stays the same for any number."""
    connection.exec_driver_sql(_replacement(table), tuple(map(list, zip(*rows, strict=True))))
