"""Every table, as SQLAlchemy sees it. The migrations build exactly this (a test compares them).

Columns are what is searched or changed; the rest of a noun is in ``body`` (JSON, or MessagePack where it is bulky).
Indexes of some rows only are so on both databases: ``dialect`` tells PostgreSQL's part of the library.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Dialect,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Select,
    Table,
    Text,
    insert,
)
from sqlalchemy.dialects import sqlite

from modelkeep.store import copying

TOGETHER = 100
"""So many rows are inserted by one statement: of a table of 14 columns, less than half of what SQLite takes at most."""
HEAD = "0002"
"""The newest migration."""

metadata = MetaData()


def _number() -> Column[int]:
    return Column("number", Integer, primary_key=True, autoincrement=True)


def _integer(name: str, *, key: bool = False, null: bool = False) -> Column[int]:
    return Column(name, Integer, primary_key=key, nullable=null)


def _float(name: str, *, key: bool = False, null: bool = False) -> Column[float]:
    return Column(name, Float, primary_key=key, nullable=null)


def _text(name: str, *, key: bool = False, null: bool = False) -> Column[str]:
    return Column(name, Text, primary_key=key, nullable=null)


def _bytes(name: str, *, null: bool = False) -> Column[bytes]:
    return Column(name, LargeBinary, nullable=null)


# ------------------------------------------------------------------------------------------------ records

predictions = Table(
    "predictions",
    metadata,
    _number(),
    _integer("writer"),
    _integer("seq"),
    _integer("of_writer", null=True),
    _integer("of_seq", null=True),
    _text("model"),
    _integer("version"),
    _text("role"),
    _text("key"),
    _float("at"),
    _float("target"),
    _text("output"),
    _bytes("refs", null=True),
    _bytes("body"),
    _text("subject", null=True),
    Index("predictions_by_id", "writer", "seq", unique=True),
    Index("predictions_by_model", "model", "number"),
    Index("predictions_by_key", "model", "key", "target"),
    Index("predictions_by_time", "model", "at", "number"),
    sqlite_autoincrement=True,
)
Index(
    "predictions_by_of",
    predictions.c.of_writer,
    predictions.c.of_seq,
    sqlite_where=predictions.c.of_writer.is_not(None),
)

Index(
    "predictions_by_subject",
    predictions.c.subject,
    predictions.c.number,
    sqlite_where=predictions.c.subject.is_not(None),
)

outcomes = Table(
    "outcomes",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    _integer("writer", null=True),
    _integer("seq", null=True),
    _text("model", null=True),
    _text("key"),
    _float("target", null=True),
    _float("tolerance"),
    _integer("revision"),
    _float("at"),
    _float("last"),
    _text("value"),
    _text("source"),
)
Index(
    "outcomes_by_id",
    outcomes.c.writer,
    outcomes.c.seq,
    sqlite_where=outcomes.c.writer.is_not(None),
)
Index(
    "outcomes_by_key",
    outcomes.c.model,
    outcomes.c.key,
    outcomes.c.target,
    sqlite_where=outcomes.c.model.is_not(None),
)

matches = Table(
    "matches",
    metadata,
    _number(),
    _integer("writer"),
    _integer("seq"),
    _integer("of_writer", null=True),
    _integer("of_seq", null=True),
    _text("model"),
    _integer("version"),
    _text("role"),
    _text("key"),
    _float("at"),
    _float("target"),
    _text("output"),
    _bytes("refs", null=True),
    _integer("outcome"),
    _text("value"),
    _float("told"),
    _integer("revision"),
    Index("matches_by_id", "writer", "seq", unique=True),
    Index("matches_by_model", "model", "number"),
    Index("matches_by_key", "model", "key", "at"),
    Index("matches_by_time", "model", "at"),
    sqlite_autoincrement=True,
)

profiles = Table(
    "profiles",
    metadata,
    _text("model", key=True),
    _integer("version", key=True),
    _text("role", key=True),
    _float("hour", key=True),
    _bytes("body"),
)

error_sums = Table(
    "error_sums",
    metadata,
    _text("model", key=True),
    _integer("version", key=True),
    _text("role", key=True),
    _float("hour", key=True),
    _bytes("body"),
    Index("error_sums_by_hour", "model", "hour"),
)

tallies = Table(
    "tallies",
    metadata,
    _text("model", key=True),
    _integer("predictions"),
    _integer("labelled"),
    _float("newest", null=True),
    _float("tolerance", null=True),
)

memory = Table("memory", metadata, _text("model", key=True), _text("key", key=True), _bytes("body"))

# ----------------------------------------------------------------------------------------------- registry

versions = Table("versions", metadata, _text("model", key=True), _integer("number", key=True), _text("body"))

policies = Table("policies", metadata, _text("model", key=True), _integer("number", key=True), _text("body"))

rollouts = Table(
    "rollouts",
    metadata,
    _number(),
    _text("model"),
    _integer("turn"),
    _text("body"),
    Index("rollouts_by_model", "model", "turn", unique=True),
    sqlite_autoincrement=True,
)

# --------------------------------------------------------------------------------- readings, alerts, jobs, acts

readings = Table(
    "readings",
    metadata,
    _number(),
    _text("name"),
    _text("subject"),
    _float("at"),
    _text("body"),
    Index("readings_by_name", "name", "subject", "at"),
    Index("readings_by_time", "at"),
)

newest = Table(
    "newest",
    metadata,
    _text("name", key=True),
    _text("subject", key=True),
    _float("at"),
    _text("body"),
)

alerts = Table(
    "alerts",
    metadata,
    _text("id", key=True),
    _text("state"),
    _float("opened"),
    _float("due", null=True),
    _text("body"),
    Index("alerts_by_time", "opened"),
    Index("alerts_by_state", "state", "opened"),
    Index("alerts_by_due", "due"),
)

jobs = Table(
    "jobs",
    metadata,
    _text("id", key=True),
    _text("task"),
    _text("subject"),
    _text("state"),
    _float("due"),
    _float("created"),
    _float("until", null=True),
    _integer("token"),
    _text("body"),
    Index("jobs_by_state", "state", "due"),
    Index("jobs_by_task", "task", "subject", "state"),
    Index("jobs_by_time", "created"),
)

acts = Table(
    "acts",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    _text("subject"),
    _text("digest"),
    _text("body"),
    Index("acts_by_subject", "subject", "number"),
)

pulse = Table("pulse", metadata, Column("number", Integer, primary_key=True, autoincrement=False), _integer("beat"))

# ------------------------------------------------------------------------------------- what people say of records

feedback = Table(
    "feedback",
    metadata,
    _text("id", key=True),
    _integer("writer"),
    _integer("seq"),
    _text("model"),
    _integer("rating"),
    _float("at"),
    _text("comment"),
    _text("by"),
    Index("feedback_by_prediction", "writer", "seq"),
    Index("feedback_by_model", "model", "at"),
)

reviews = Table(
    "reviews",
    metadata,
    _number(),
    _integer("writer"),
    _integer("seq"),
    _text("model"),
    _text("by"),
    _float("at"),
    _text("note"),
    Index("reviews_by_prediction", "writer", "seq"),
    Index("reviews_by_model", "model", "at"),
    sqlite_autoincrement=True,
)

# ------------------------------------------------------------------------------------------------ people

consents = Table(
    "consents",
    metadata,
    _number(),
    _text("subject"),
    _integer("granted"),
    _float("at"),
    _text("by"),
    Index("consents_by_subject", "subject", "number"),
    sqlite_autoincrement=True,
)

keys = Table("keys", metadata, _text("name", key=True), _text("master"), _bytes("sealed"), _float("at"))

accesses = Table(
    "accesses",
    metadata,
    _number(),
    _float("at"),
    _text("who"),
    _text("act"),
    _text("subject", null=True),
    _integer("records"),
    _text("detail"),
    Index("accesses_by_subject", "subject", "number"),
    Index("accesses_by_time", "at"),
    sqlite_autoincrement=True,
)

erasures = Table(
    "erasures",
    metadata,
    _text("id", key=True),
    _text("subject"),
    _float("at"),
    _text("receipt"),
    Index("erasures_by_subject", "subject"),
)

reading_days = Table(
    "reading_days",
    metadata,
    _text("name", key=True),
    _text("subject", key=True),
    _float("day", key=True),
    _integer("n"),
    _integer("known"),
    _float("low", null=True),
    _float("high", null=True),
    _float("total"),
    _text("worst"),
)

# ----------------------------------------------------------------------------------------------- archive

archived = Table(
    "archived",
    metadata,
    _number(),
    _text("model"),
    _text("period"),
    _text("digest"),
    _integer("size"),
    _integer("rows"),
    _integer("labelled"),
    _float("at_low"),
    _float("at_high"),
    _float("target_low"),
    _float("target_high"),
    _integer("first"),
    _integer("last"),
    _integer("match_last"),
    _integer("outcome_last"),
    _integer("bare"),
    _float("sealed"),
    _float("retired", null=True),
    Index("archived_by_time", "retired", "model", "at_high"),
    Index("archived_by_target", "retired", "model", "target_high"),
    Index("archived_by_outcome", "outcome_last"),
    sqlite_autoincrement=True,
)

archived_ids = Table(
    "archived_ids",
    metadata,
    _integer("partition", key=True),
    _text("kind", key=True),
    _integer("writer", key=True),
    _integer("low"),
    _integer("high"),
    Index("archived_ids_by_writer", "kind", "writer", "high"),
)

thawed = Table(
    "thawed",
    metadata,
    _integer("partition", key=True),
    _integer("writer", key=True),
    _integer("seq", key=True),
)

# ------------------------------------------------------------------------------------- many rows at a time

CHUNK = 500
"""How many rows one statement looks for."""


@cache
def _statement(query: Select[Any], dialect: Dialect) -> str:
    return str(query.compile(dialect=dialect))


def rows_among(
    connection: Connection, query: Select[Any], *, columns: Sequence[Column[Any]], keys: Iterable[tuple[Any, ...]]
) -> Iterator[Any]:
    """The rows of ``query`` (a constant without conditions) whose ``columns`` are one of ``keys``, by their index.

    Core's ``tuple_(...).in_(...)`` says ``IN (VALUES ...)``, for which SQLite scans the whole table; it uses an index
    when the values are a subquery. The last condition lets it take partial indexes too.
    """
    for statement, parameters in _among(connection, query, columns=columns, keys=list(keys)):
        yield from connection.exec_driver_sql(statement, parameters)


def tuples_among(
    connection: Connection, query: Select[Any], *, columns: Sequence[Column[Any]], keys: Sequence[tuple[Any, ...]]
) -> list[tuple[Any, ...]]:
    """``rows_among`` as the driver's own tuples: a third of the time where rows come by the thousand."""
    found: list[tuple[Any, ...]] = []
    for statement, parameters in _among(connection, query, columns=columns, keys=keys):
        result = connection.exec_driver_sql(statement, parameters)
        found += result.cursor.fetchall()
        result.close()
    return found


def _among(
    connection: Connection, query: Select[Any], *, columns: Sequence[Column[Any]], keys: Sequence[tuple[Any, ...]]
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """The statements of ``rows_among``, each with what is bound in it."""
    dialect = connection.dialect
    names = [str(column.compile(dialect=dialect)) for column in columns]
    if dialect.name == "postgresql":
        condition = copying.among(tuple(names), tuple(copying.type_of(column) for column in columns))
        if keys:
            yield _statement(query, dialect) + condition, tuple(map(list, zip(*keys, strict=True)))
        return
    one = f"({', '.join(['?'] * len(columns))})"
    for start in range(0, len(keys), CHUNK):
        some = keys[start : start + CHUNK]
        values = f"SELECT * FROM (VALUES {', '.join([one] * len(some))}) AS wanted"
        among = f" WHERE ({', '.join(names)}) IN ({values}) AND {names[0]} IS NOT NULL"
        yield _statement(query, dialect) + among, tuple(value for key in some for value in key)


@cache
def _insertion(table: Table, dialect: Dialect, *, n: int = 1) -> str:
    """The statement that inserts ``n`` rows."""
    columns = [column.name for column in copying.given(table)]
    one = str(insert(table).compile(dialect=dialect, column_keys=columns))
    head, values, row = one.partition(" VALUES ")
    return head + values + ", ".join([row] * n)


def insert_rows(connection: Connection, table: Table, *, rows: Sequence[tuple[object, ...]]) -> None:
    """Insert many rows by one prepared statement; a row has every column but a counted ``number``, in table order.

    Core's own ``insert`` costs four times as much for each row, because it takes rows as dicts. PostgreSQL takes them
    by COPY; SQLite by the hundred: row by row takes half as long again, and lets go of the interpreter at each.
    """
    if rows and connection.dialect.name == "postgresql":
        copying.copy_rows(connection, table, rows=rows)
        return
    whole = len(rows) // TOGETHER * TOGETHER
    for start in range(0, whole, TOGETHER):
        some = tuple(chain.from_iterable(rows[start : start + TOGETHER]))
        connection.exec_driver_sql(_insertion(table, connection.dialect, n=TOGETHER), some)
    if whole < len(rows):
        connection.exec_driver_sql(_insertion(table, connection.dialect), list(rows[whole:]))


@cache
def upsert(table: Table) -> sqlite.Insert:
    """Insert a row, or replace everything but the key of the one that has its primary key.

    SQLite's statement of SQLAlchemy is written for both databases: they share the words, and PostgreSQL's part of the
    library is not imported where there is none.
    """
    statement = sqlite.insert(table)
    keys = list(table.primary_key.columns)
    return statement.on_conflict_do_update(
        index_elements=keys,
        set_={c.name: statement.excluded[c.name] for c in table.columns if c not in set(keys)},
    )


@cache
def _replacement(table: Table, dialect: Dialect) -> str:
    columns = [column.name for column in table.columns]
    return str(upsert(table).compile(dialect=dialect, column_keys=columns))


def replace_rows(connection: Connection, table: Table, *, rows: Sequence[tuple[object, ...]]) -> None:
    """``upsert`` many rows, each with every column in table order; a fifth of what Core takes for a few rows."""
    if rows and connection.dialect.name == "postgresql":
        copying.replace_rows(connection, table, rows=rows)
    elif rows:
        connection.exec_driver_sql(_replacement(table, connection.dialect), list(rows))
