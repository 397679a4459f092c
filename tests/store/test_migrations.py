import re
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from modelkeep.errors import BadSettings
from modelkeep.store import migrating, tables
from modelkeep.store.sqlite import SqliteStore

RAN = ["0001_first", "0002_records"]


def dump(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    lines = list(connection.iterdump())
    connection.close()
    return lines


def test_migrations_build_exactly_the_tables(store: SqliteStore) -> None:
    with store._reader.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, tables.metadata) == []


def test_every_statement_of_the_schema_is_the_same(store: SqliteStore, path: Path, tmp_path: Path) -> None:
    """Also what Alembic does not compare on SQLite: partial indexes, AUTOINCREMENT."""
    from sqlalchemy import create_engine

    fresh = tmp_path / "fresh.db"
    engine = create_engine(f"sqlite:///{fresh}")
    tables.metadata.create_all(engine)
    engine.dispose()

    def schema(file: Path) -> set[str]:
        connection = sqlite3.connect(file)
        rows = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name <> 'alembic_version'")
        found = {re.sub(r"\s*([(),])\s*", r"\1", " ".join(sql.split())) for (sql,) in rows}
        connection.close()
        return found

    assert schema(path) == schema(fresh)


def test_the_newest_migration_is_the_head() -> None:
    assert ScriptDirectory(str(migrating.FOLDER)).get_heads() == [tables.HEAD]


def test_migrating_tells_what_ran_once(path: Path) -> None:
    store = SqliteStore(path)
    assert store.migrate() == RAN
    assert store.migrate() == []
    store.close()


def test_stores_that_start_together_migrate_once(path: Path) -> None:
    stores = [SqliteStore(path) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        ran = list(pool.map(lambda store: store.migrate(), stores))
    assert sorted(ran) == [[], [], [], RAN]
    for store in stores:
        store.close()


def test_a_newer_schema_is_refused_and_left_alone(path: Path) -> None:
    store = SqliteStore(path)
    store.migrate()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0099'")
    connection.close()
    before = dump(path)
    with pytest.raises(BadSettings, match=r"schema 0099.*knows up to 0002.*nothing was changed"):
        store.migrate()
    assert dump(path) == before
    store.close()


def test_another_programs_database_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE flights (id)")
    connection.close()
    before = dump(path)
    store = SqliteStore(path)
    with pytest.raises(BadSettings, match="flights"):
        store.migrate()
    assert dump(path) == before
    store.close()


def test_a_migration_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    (folder / "versions").mkdir(parents=True)
    text = (migrating.FOLDER / "versions" / "0001_first.py").read_text()
    (folder / "versions" / "0001_first.py").write_text(text.replace("    work()\n", "    work()\n    1 / 0\n", 1))
    monkeypatch.setattr(migrating, "FOLDER", folder)
    store = SqliteStore(path)
    with pytest.raises(ZeroDivisionError):
        store.migrate()
    monkeypatch.undo()
    assert not [line for line in dump(path) if "CREATE" in line]
    assert store.migrate() == RAN
    store.close()


def test_alembic_is_imported_only_to_migrate(store: SqliteStore, path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from modelkeep.store.sqlite import SqliteStore;"
        f"store = SqliteStore(Path({str(path)!r})); store.migrate(); store.ping(); store.close();"
        "sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
