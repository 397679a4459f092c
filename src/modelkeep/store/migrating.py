"""Brings a schema up to date with Alembic. Imported only when there is something to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from modelkeep.errors import BadSettings
from modelkeep.store.tables import metadata

FOLDER = Path(__file__).parent / "migrations"


def upgrade(connection: Connection, *, name: str) -> list[str]:
    """Run what is missing, inside the caller's transaction; the names of what ran, oldest first.

    Raises BadSettings when the schema of ``name`` comes from a newer release, or when it is another program's file.
    """
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    scripts = ScriptDirectory(str(FOLDER))
    known = {script.revision for script in scripts.walk_revisions()}
    heads = MigrationContext.configure(connection).get_current_heads()
    if unknown := sorted(set(heads) - known):
        raise BadSettings(
            f"the store {name} has schema {unknown[0]}, which this release does not know (it knows up to {max(known)})",
            remedy="use the release that wrote it, or a newer one; nothing was changed",
        )
    _refuse_foreign(connection, name=name, heads=heads)
    ran: list[str] = []

    def steps(revision: Any, _context: MigrationContext) -> Any:
        found = scripts._upgrade_revs("head", revision)  # noqa: SLF001 - Alembic's own commands do the same
        ran.extend(Path(step.revision.module.__file__ or "").stem for step in found)
        return found

    with EnvironmentContext(config, scripts, fn=steps) as environment:
        environment.configure(connection=connection, target_metadata=metadata, transactional_ddl=False)
        environment.run_migrations()
    return ran


def _refuse_foreign(connection: Connection, *, name: str, heads: tuple[str, ...]) -> None:
    if heads:
        return
    there = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table' LIMIT 3").scalars().all()
    if there:
        raise BadSettings(
            f"the store {name} is another program's database: it has the tables {', '.join(there)}",
            remedy="give another path",
        )
