"""The store stays fast when much is kept. Figures of the full size: ``benchmarks/store``."""

import importlib.util
import statistics
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
from making import HOUR, folded, prediction, told
from sqlalchemy import event

from modelkeep.store import tables
from modelkeep.store.sqlite import SqliteStore

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "store" / "entity_accuracy.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("entity_accuracy", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.row("LOG-07")
def test_one_entitys_accuracy_is_read_through_an_index(store: SqliteStore, benchmark: ModuleType) -> None:
    benchmark.fill(store, 20_000)
    week = {"start": 83 * 86400.0, "end": 90 * 86400.0}
    plan = benchmark.plan(store, **week, key="entity 7")
    assert plan == "SEARCH matches USING INDEX matches_by_key (model=? AND key=? AND at>? AND at<?)"
    _, pairs, metrics = benchmark.ask(store, **week, key="entity 7")
    assert pairs in {1, 2}
    assert metrics["mae"] < 30
    assert benchmark.measure(store)["first_median"] < 0.1


@pytest.mark.prove
@pytest.mark.timeout(1800)
@pytest.mark.row("LOG-07")
def test_one_entitys_accuracy_over_ten_million_rows() -> None:
    ran = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=False)
    print(ran.stdout)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "USING INDEX matches_by_key" in ran.stdout


def test_no_hot_statement_scans_a_table(store: SqliteStore) -> None:
    """Every statement of the hot paths finds its rows by an index, whatever else is kept."""
    said: list[tuple[str, object]] = []

    def note(_connection, _cursor, statement, parameters, _context, _many) -> None:
        said.append((statement, parameters))

    for engine in (store._writer, store._reader):
        event.listen(engine, "before_cursor_execute", note)
    with store.write() as ledger:
        records = ledger.records
        records.tell([told(1, 1), told(2, 2)], {"demand": 5.0})
        records.add([prediction(n) for n in range(1, 4)], [folded(3)])
        records.tell([told(1, 5), told(2, None), told(99, 1)], {})
    with store.read() as ledger:
        records = ledger.records
        records.predictions("demand", after=1)
        records.latest("demand", key="entity 1")
        records.latest("demand")
        records.place("demand")
        records.matches("demand", after=1, since=5.0)
        records.sums("demand", start=1.0, end=9000.0, key="entity 1")
        records.sums("demand", start=1.0, end=9000.0)
        records.slices("demand", 1, role="champion", start=0.0, end=9000.0)
        records.arms("demand", start=0.0, end=9000.0)
        records.counts("demand")
        records.labelled("demand", start=0.0, end=9000.0, limit=10)
        records.outcomes("7-1")
        ledger.rollouts.revision()
        ledger.alerts.due(5.0)
        ledger.readings.series("mae", "m", start=0.0, end=1.0)
    with store._reader.connect() as connection:
        for statement, parameters in said:
            if not statement.startswith(("SELECT", "UPDATE", "DELETE")):
                continue
            one = parameters[0] if isinstance(parameters, list) else parameters
            plan = [row[3] for row in connection.exec_driver_sql("EXPLAIN QUERY PLAN " + statement, one)]
            scans = [step for step in plan if step.startswith("SCAN") and step.split()[1] in tables.metadata.tables]
            assert not scans, (statement, plan)
            if 'predictions."key" = ?' in statement:
                assert "predictions_by_key" in plan[0], (statement, plan)


def test_groups_and_hours_are_quick(store: SqliteStore) -> None:
    """Loose limits, ten times what an idle machine needs; the figures are in ``benchmarks/store/ingest.py``."""
    with store.write() as ledger:
        for hour in range(168):
            ledger.records.add([prediction(hour, at=hour * HOUR)], [folded(1, hour=hour * HOUR, columns=10)])
        ledger.records.tell([told(hour, 1.0) for hour in range(168)], {})
    reads = []
    for _ in range(5):
        began = time.thread_time()
        with store.read() as ledger:
            assert len(ledger.records.slices("demand", 1, role="champion", start=0.0, end=168 * HOUR)) == 168
        reads.append(time.thread_time() - began)
    assert statistics.median(reads) < 0.2
    groups = [[prediction(n) for n in range(1000 * g, 1000 * g + 1000)] for g in range(1, 6)]
    began = time.thread_time()
    for group in groups:
        with store.write() as ledger:
            ledger.records.add(group, [folded(1000)])
    assert time.thread_time() - began < 1.25
