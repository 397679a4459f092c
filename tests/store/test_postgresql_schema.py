"""The schema on PostgreSQL: what migrations build, what is refused, and the months of the predictions."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from making import folded, prediction, told
from postgres_server import Server
from sqlalchemy import create_engine

from modelkeep.errors import BadSettings, StoreUnavailable
from modelkeep.store import migrating, parts, tables
from modelkeep.store.dialect import Dialect
from modelkeep.store.postgresql import PostgresStore

NAMES = [path.stem for path in sorted((migrating.FOLDER / "versions").glob("0*.py"))]
NOVEMBER = datetime(2026, 11, 21, tzinfo=UTC).timestamp()
DAY = 86400.0


@pytest.fixture
def bare(postgres: Server) -> Iterator[str]:
    """The address of a database without any schema."""
    url = postgres.database(migrated=False)
    yield url
    postgres.drop(url)


def ask(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(query)
        return found.fetchall() if found.description else []


def _kind(kind: Any) -> str:
    said = Dialect().type_compiler_instance.process(kind, type_expression=True)
    return said.replace(' COLLATE "C"', "").replace("DOUBLE PRECISION", "FLOAT")


def _ours(_: Any, name: str | None, kind: str, reflected: bool, other: Any) -> bool:
    """All but the months, and the one index that is the key where there are months."""
    of_a_month = str(name).startswith(("predictions_early", "predictions_late", "predictions_2"))
    return not of_a_month and name != "predictions_by_id"


def test_migrations_build_exactly_the_tables(database: str) -> None:
    engine = create_engine(database.replace("postgresql://", "postgresql+psycopg://"))
    differs = lambda _, __, ___, there, here: _kind(there) != _kind(here)  # noqa: E731 - Alembic's five arguments
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": differs, "include_object": _ours})
        assert compare_metadata(context, tables.metadata) == []
    engine.dispose()


def test_whole_numbers_are_wide_texts_sort_by_bytes_and_predictions_lie_by_month(database: str) -> None:
    odd = ask(
        database,
        "SELECT table_name, column_name, data_type, collation_name FROM information_schema.columns "
        "WHERE table_schema = 'public' AND table_name <> 'alembic_version' AND (data_type IN ('integer', 'smallint', "
        "'real') OR data_type = 'text' AND collation_name IS DISTINCT FROM 'C')",
    )
    assert odd == []
    ((key,),) = ask(database, "SELECT pg_get_partkeydef('predictions'::regclass)")
    assert key == "RANGE (at)"
    ((unique,),) = ask(
        database, "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'predictions_by_id'"
    )
    assert unique == "PRIMARY KEY (writer, seq, at)"


def test_migrating_tells_what_would_run_and_what_ran(bare: str) -> None:
    store = PostgresStore(bare)
    assert store.pending() == NAMES
    assert ask(bare, "SELECT 1 FROM pg_tables WHERE schemaname = 'public'") == []
    assert store.migrate() == NAMES
    assert store.pending() == store.migrate() == []
    store.close()


def test_stores_that_start_together_migrate_once(bare: str) -> None:
    stores = [PostgresStore(bare) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        ran = list(pool.map(lambda store: store.migrate(), stores))
    assert sorted(ran) == [[], [], [], NAMES]
    for store in stores:
        store.close()


@pytest.mark.row("CFG-09")
def test_a_schema_that_is_not_ready_is_refused_with_the_remedy(bare: str) -> None:
    store = PostgresStore(bare)
    with pytest.raises(BadSettings, match=r"not ready for this release: 0001_first, .*run `modelkeep migrate`"):
        store.open()
    with pytest.raises(StoreUnavailable, match="modelkeep migrate"), store.read() as ledger:
        ledger.versions.models()
    store.migrate()
    store.open()
    store.close()


def test_a_newer_schema_and_another_programs_tables_are_refused(bare: str) -> None:
    store = PostgresStore(bare)
    ask(bare, "CREATE TABLE flights (id int)")
    store.migrate()  # tables of other names are no trouble
    ask(bare, "UPDATE alembic_version SET version_num = '0099'")
    for act in (store.migrate, store.open):
        with pytest.raises(BadSettings, match=r"schema 0099.*nothing was changed"):
            act()
    ask(bare, "DROP TABLE alembic_version")
    with pytest.raises(BadSettings, match="another program's database: it has the tables accesses"):
        store.migrate()
    store.close()


def test_a_migration_that_fails_changes_nothing(bare: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "versions").mkdir()
    text = (migrating.FOLDER / "versions" / "0001_first.py").read_text()
    (tmp_path / "versions" / "0001_first.py").write_text(text.replace("    work()\n", "    work()\n    1 / 0\n", 1))
    monkeypatch.setattr(migrating, "FOLDER", tmp_path)
    store = PostgresStore(bare)
    with pytest.raises(ZeroDivisionError):
        store.migrate()
    monkeypatch.undo()
    assert ask(bare, "SELECT 1 FROM pg_tables WHERE schemaname = 'public'") == []
    assert store.migrate() == NAMES
    store.close()


def test_a_migration_waits_for_old_processes_only_so_long(bare: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads for long keeps a migration waiting for ``busy``, not everybody behind it for ever."""
    store = PostgresStore(bare, busy=0.3)
    with monkeypatch.context() as before:
        before.setattr(tables, "HEAD", "0001")
        every = migrating.ScriptDirectory._upgrade_revs
        before.setattr(migrating.ScriptDirectory, "_upgrade_revs", lambda self, _, rev: every(self, "0001", rev))
        store.migrate()
    with psycopg.connect(bare) as old:
        old.execute("SELECT count(*) FROM predictions")
        with pytest.raises(StoreUnavailable, match=r"locked: another writer has held it for 0\.3 s"):
            store.migrate()
        old.execute("SELECT count(*) FROM predictions")
    assert store.migrate() == NAMES[1:]
    store.close()


# ------------------------------------------------------------------------------------------------------ months


def _months(store: PostgresStore) -> list[str]:
    with store._connection() as connection, connection.begin():
        return [part.name for part in parts.parts(connection)]


def test_months_are_made_when_needed_and_go_as_a_whole(bare: str) -> None:
    store = PostgresStore(bare)
    store.migrate()
    moments = [NOVEMBER, NOVEMBER + 40 * DAY, 5.0, 9e9, NOVEMBER + 1]
    for n, at in enumerate(moments):
        with store.write("predictions") as ledger:
            ledger.records.add([prediction(n, at=at)], [folded(1)])
    assert _months(store) == ["predictions_2026_11", "predictions_2026_12"]
    with store.write() as ledger:
        ledger.records.tell([told(0, 1.0)], {})
    with store._connection() as connection, connection.begin():
        assert parts.drop(connection, before=NOVEMBER + 30 * DAY) == [("predictions_2026_11", 2)]
    with store.read() as ledger:
        assert [p.at for _, p in ledger.records.predictions("demand")] == [NOVEMBER + 40 * DAY, 5.0, 9e9]
        assert ledger.records.sums("demand", start=0.0, end=1e10)["model"].n == 1
    with pytest.raises(StoreUnavailable, match="no partition"), store.write("predictions") as ledger:
        ledger.records.add([prediction(10, at=NOVEMBER)], [])  # this connection had seen the month
    with store.write("predictions") as ledger:
        ledger.records.add([prediction(10, at=NOVEMBER)], [])
    assert _months(store) == ["predictions_2026_11", "predictions_2026_12"]
    store.close()


def test_a_vacuum_lets_go_of_months_that_are_empty(bare: str) -> None:
    store = PostgresStore(bare)
    store.migrate()
    for n in range(4):
        with store.write("predictions") as ledger:
            ledger.records.add([prediction(n, at=NOVEMBER + n * 31 * DAY)], [])
    ask(bare, "DELETE FROM predictions WHERE seq IN (0, 2, 3)")
    store.vacuum()
    assert _months(store) == ["predictions_2026_12", "predictions_2027_02"]
    store.close()


def test_a_month_that_is_undone_is_made_again(bare: str) -> None:
    store = PostgresStore(bare)
    store.migrate()

    def fail() -> None:
        with store.write("predictions") as ledger:
            ledger.records.add([prediction(1, at=NOVEMBER)], [])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert _months(store) == []
    with store.write("predictions") as ledger:
        ledger.records.add([prediction(1, at=NOVEMBER)], [])
    assert _months(store) == ["predictions_2026_11"]
    store.close()


def test_many_writers_make_a_month_at_once(bare: str) -> None:
    store = PostgresStore(bare)
    store.migrate()
    gate = threading.Barrier(6)

    def add(writer: int) -> None:
        gate.wait()
        some = [prediction(n, id=f"{writer}-{n}", model=f"m{writer}", at=NOVEMBER) for n in range(20)]
        with store.write("predictions") as ledger:
            ledger.records.add(some, [])

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(add, range(6)))
    with store.read() as ledger:
        assert [ledger.records.counts(f"m{n}")[0] for n in range(6)] == [20] * 6
    store.close()
