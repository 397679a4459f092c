"""Brings a schema up to date with Alembic. Imported only when there is something to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from modelkeep.errors import BadSettings
from modelkeep.store.tables import metadata

FOLDER = Path(__file__).parent / "migrations"


def upgrade(connection: Connection, *, name: str) -> list[str]:
    """Run what is missing, inside the caller's transaction; the names of what ran, oldest first.

    Raises BadSettings when the schema of ``name`` comes from a newer release, or when it is another program's file.
    """
    scripts = _scripts()
    _refuse(connection, scripts, name=name)
    ran: list[str] = []

    def steps(revision: Any, _context: MigrationContext) -> Any:
        found = scripts._upgrade_revs("head", revision)  # noqa: SLF001 - Alembic's own commands do the same
        ran.extend(Path(step.revision.module.__file__ or "").stem for step in found)
        return found

    with EnvironmentContext(_config(), scripts, fn=steps) as environment:
        environment.configure(connection=connection, target_metadata=metadata, transactional_ddl=False)
        environment.run_migrations()
    return ran


def pending(connection: Connection, *, name: str) -> list[str]:
    """What ``upgrade`` would run, oldest first. Raises BadSettings as it does."""
    scripts = _scripts()
    _refuse(connection, scripts, name=name)
    heads = MigrationContext.configure(connection).get_current_heads()
    return [
        Path(script.module.__file__ or "").stem
        for script in reversed(list(scripts.iterate_revisions("head", heads or "base")))
    ]


def every() -> list[str]:
    """What there is to run, oldest first."""
    return [Path(script.module.__file__ or "").stem for script in reversed(list(_scripts().walk_revisions()))]


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(FOLDER))


def _refuse(connection: Connection, scripts: ScriptDirectory, *, name: str) -> None:
    """Raise BadSettings for a schema that is newer than this release, or not ours."""
    known = {script.revision for script in scripts.walk_revisions()}
    heads = MigrationContext.configure(connection).get_current_heads()
    if unknown := sorted(set(heads) - known):
        raise BadSettings(
            f"the store {name} has schema {unknown[0]}, which this release does not know (it knows up to {max(known)})",
            remedy="use the release that wrote it, or a newer one; nothing was changed",
        )
    if heads:
        return
    there = inspect(connection).get_table_names()
    if connection.dialect.name == "postgresql":  # others may have tables of their own in the same database
        there = [table for table in there if table in metadata.tables]
    if there:
        raise BadSettings(
            f"the store {name} is another program's database: it has the tables {', '.join(sorted(there)[:3])}",
            remedy="give another path" if connection.dialect.name == "sqlite" else "give a database of its own",
        )
