"""How fast the accuracy of one entity is answered when ten million predictions are kept (row LOG-07).

Fills a store with ROWS predictions over 90 days, every one with its outcome, then asks for the last seven days of one
entity, and shows which index SQLite used. Run: ``python benchmarks/store/entity_accuracy.py [rows] [folder]``.

The fill writes the rows as ``Records`` would (same columns, same encodings), but with the indexes built afterwards:
through ``add`` and ``tell`` it takes about twenty minutes, this takes about three.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Connection
from sqlalchemy.dialects import sqlite

from modelkeep.nouns import Prediction
from modelkeep.store import rows, tables
from modelkeep.store.scoring import Part, rows_between
from modelkeep.store.sqlite import SqliteStore

DAYS = 90
ENTITIES = 1000
DAY = 86400.0
CHUNK = 100_000
FULL = 10_000_000


def fill(store: SqliteStore, count: int) -> None:
    """Write ``count`` predictions with their outcomes, entities in turn, evenly over the days."""
    slow = [index for table in (tables.predictions, tables.matches) for index in table.indexes]
    with store._writing() as connection:  # noqa: SLF001 - past the shelves, to fill fast
        for index in slow:
            index.drop(connection)
        for start in range(0, count, CHUNK):
            _chunk(connection, range(start, min(start + CHUNK, count)), count)
        for index in slow:
            index.create(connection)


def _chunk(connection: Connection, numbers: range, count: int) -> None:
    asked, known = [], []
    for row, truth in _rows(numbers, count):
        asked.append(row)
        known.append((*row[:12], row[1] + 1, truth, row[8] + DAY, 1))
    tables.insert_rows(connection, tables.predictions, rows=asked)
    tables.insert_rows(connection, tables.matches, rows=known)


def _rows(numbers: range, count: int) -> Iterator[tuple[tuple[Any, ...], str]]:
    random = np.random.default_rng(numbers.start)
    truths = random.normal(50, 20, len(numbers)).round(2).tolist()
    errors = random.normal(0, 5, len(numbers)).round(2).tolist()
    for number, truth, error in zip(numbers, truths, errors, strict=True):
        at = number / count * DAYS * DAY
        prediction = Prediction(
            id=f"1-{number}",
            model="demand",
            version=1,
            role="champion",
            features={"hour": number % 24, "rain": 0.5, "day": "mon"},
            output=truth + error,
            at=at,
            target=at + DAY,
            seconds=0.001,
            key=f"entity {number % ENTITIES}",
            references=(truth - error, 50.0, truth + 1.0),
        )
        yield rows.prediction_row(prediction), rows.value_text(truth)


def plan(store: SqliteStore, *, start: float, end: float, key: str) -> str:
    """What SQLite says it does to answer for one entity."""
    query = rows_between("demand", start=start, end=end, part=Part(key=key))
    text = str(query.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True}))
    with store._reader.begin() as connection:  # noqa: SLF001 - only SQLite itself explains its plans
        found = connection.exec_driver_sql("EXPLAIN QUERY PLAN " + text.replace("%", "%%"))
        return "; ".join(row[3] for row in found)


def ask(store: SqliteStore, *, start: float, end: float, key: str) -> tuple[float, int, dict[str, float]]:
    """Seconds, pairs and metrics of one entity's accuracy."""
    began = time.perf_counter()
    with store.read() as ledger:
        sums = ledger.records.sums("demand", start=start, end=end, key=key)["model"]
    return time.perf_counter() - began, sums.n, sums.metrics()


def measure(store: SqliteStore) -> dict[str, float]:
    """The seconds of the first question (entities not asked before) and of the same one again."""
    start, end = (DAYS - 7) * DAY, DAYS * DAY
    print("plan:", plan(store, start=start, end=end, key="entity 7"))
    keys = [f"entity {7 + 41 * n}" for n in range(20)]
    first = [ask(store, start=start, end=end, key=key) for key in keys]
    began = time.process_time()
    for key in keys:
        ask(store, start=start, end=end, key=key)
    cpu = (time.process_time() - began) / len(keys)
    again = [ask(store, start=start, end=end, key=key) for key in keys]
    print("one entity, 7 days:", first[0][1], "pairs", {name: round(v, 3) for name, v in first[0][2].items()})
    return {
        "first_max": max(seconds for seconds, _, _ in first),
        "first_median": statistics.median(seconds for seconds, _, _ in first),
        "again_cpu": cpu,
        "again_median": statistics.median(seconds for seconds, _, _ in again),
    }


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else FULL
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as folder:
        path = Path(folder) / "modelkeep.db"
        store = SqliteStore(path)
        store.migrate()
        began = time.perf_counter()
        fill(store, count)
        print(f"filled {count:,} rows in {time.perf_counter() - began:.0f} s, {path.stat().st_size / 1e9:.1f} GB")
        store.close()
        store = SqliteStore(path)
        figures = measure(store)
        store.close()
    print({name: f"{seconds * 1000:.1f} ms" for name, seconds in figures.items()}, "limit: 100 ms")
    sys.exit(figures["first_max"] >= 0.1)


if __name__ == "__main__":
    main()
