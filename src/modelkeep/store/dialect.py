"""PostgreSQL as the tables mean it: whole numbers of 64 bits, and text that sorts by its bytes, as on SQLite.

The tables and the migrations say ``Integer`` and ``Text`` for both databases. SQLite's integers have 64 bits and its
texts sort by their bytes; PostgreSQL's would have 32 bits, and would sort by the language that the server was set up
with. So what they are called there is decided here, once, and nobody can forget it in a migration.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import Integer, MetaData
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.base import PGDDLCompiler, PGTypeCompiler
from sqlalchemy.dialects.postgresql.psycopg import PGCompiler_psycopg, PGDialect_psycopg

from modelkeep.store import tables

DRIVER = "modelkeep"
"""The name of the dialect below, as in ``postgresql+modelkeep://``."""
SORTED = '"C"'
"""The collation of every text: by bytes, on every server the same, and the quickest."""


class _Types(PGTypeCompiler):
    """The names of column types."""

    def visit_INTEGER(self, type_: Any, **_: Any) -> str:  # noqa: N802, ARG002 - SQLAlchemy's names
        return "BIGINT"

    def visit_TEXT(self, type_: Any, **more: Any) -> str:  # noqa: N802 - SQLAlchemy's name
        name = "TEXT" if type_.collation else f"TEXT COLLATE {SORTED}"
        return name if "type_expression" in more else super().visit_TEXT(type_, **more)


class _Definitions(PGDDLCompiler):
    """The definitions of columns."""

    def get_column_specification(self, column: Any, **more: Any) -> str:
        said: str = super().get_column_specification(column, **more)  # type: ignore[no-untyped-call]
        counted = isinstance(column.type, Integer) and " SERIAL" in said
        return said.replace(" SERIAL", " BIGSERIAL", 1) if counted else said


class _Statements(PGCompiler_psycopg):
    """Upserts are written by SQLite's ``insert``, whose conflicts never name a constraint and lack the word for it."""

    def visit_on_conflict_do_nothing(self, on_conflict: Any, **more: Any) -> str:
        on_conflict.constraint_target = None
        return str(super().visit_on_conflict_do_nothing(on_conflict, **more))  # type: ignore[no-untyped-call]

    def visit_on_conflict_do_update(self, on_conflict: Any, **more: Any) -> str:
        on_conflict.constraint_target = None
        return str(super().visit_on_conflict_do_update(on_conflict, **more))  # type: ignore[no-untyped-call]


class _Whole(Integer):
    """A whole number on its way in: psycopg tells its size by its value, so nothing is said beside it."""

    render_bind_cast = False


class Dialect(PGDialect_psycopg):
    """SQLAlchemy's dialect for psycopg 3 with the types above."""

    colspecs = {**PGDialect_psycopg.colspecs, Integer: _Whole}

    ddl_compiler = _Definitions
    statement_compiler = _Statements
    type_compiler_cls: ClassVar[Any] = _Types
    supports_statement_cache = True


def _part_of(metadata: MetaData) -> None:
    """Let the indexes of some rows only be so here as well: the tables say it to SQLite alone.

    To say it to PostgreSQL there would import its part of SQLAlchemy into every server, for most in vain.
    """
    for table in metadata.tables.values():
        for index in table.indexes:
            index.dialect_options["postgresql"]["where"] = index.dialect_options["sqlite"]["where"]


_part_of(tables.metadata)
registry.register(f"postgresql.{DRIVER}", __name__, Dialect.__name__)
