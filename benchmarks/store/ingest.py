"""How many predictions a second one writer keeps, against a bare ``executemany`` of the same rows.

Both commit groups of 1000 with 10 features to a file on the same disk, every commit forced to it (synchronous=FULL);
ours also encodes them, folds three profiles of ten columns a group, counts, and looks for outcomes that wait. Then
the same predictions' outcomes are told in groups of 1000, and 168 hours of profiles are read.
Run: ``python benchmarks/store/ingest.py [folder]``.
"""

import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from modelkeep.nouns import Outcome, Prediction
from modelkeep.profile import LATENCY_EDGES, Column, Profile
from modelkeep.store import rows, tables
from modelkeep.store.seams import Folded
from modelkeep.store.sqlite import SqliteStore

SIZE = 1000
GROUPS = 40
HOUR = 3600.0


def predictions(start: int) -> list[Prediction]:
    return [
        Prediction(
            id=f"1-{n}",
            model="demand",
            version=1,
            role="champion",
            features={f"input_{i}": n * 0.37 + i for i in range(10)},
            output=n * 0.5,
            at=n * 0.2,
            target=n * 0.2,
            seconds=0.001,
            key=f"entity {n % 1000}",
            references=(1.0, 2.0, 3.0),
        )
        for n in range(start, start + SIZE)
    ]


def folded(hour: float, roles: Iterable[str] = ("champion", "canary", "shadow")) -> list[Folded]:
    columns = {f"input_{i}": Column(n=SIZE, counts=np.full(122, 8.0), sums=np.full(122, 3.0)) for i in range(10)}
    profile = Profile(n=SIZE, latency=np.zeros(len(LATENCY_EDGES) + 1), columns=columns)
    return [Folded(model="demand", version=1, role=role, hour=hour, profile=profile) for role in roles]


def rate(act: Callable[[Any], None], groups: Iterable[Any]) -> float:
    """Records a second of the median group, and of nothing else."""
    taken = []
    for group in groups:
        began = time.perf_counter()
        act(group)
        taken.append(time.perf_counter() - began)
    return SIZE / statistics.median(taken)


def bare(folder: Path, groups: list[list[Prediction]]) -> float:
    """The same rows into the same table with the same indexes, by sqlite3 alone, encoded before the clock starts."""
    path = folder / "bare.db"
    store = SqliteStore(path)
    store.migrate()
    store.close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = FULL")
    names = [c.name for c in tables.predictions.columns][1:]
    marks = ", ".join("?" * len(names))
    statement = f"INSERT INTO predictions ({', '.join(names)}) VALUES ({marks})"
    encoded = [[rows.prediction_row(p) for p in group] for group in groups]

    def write(group: list[tuple[Any, ...]]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(statement, group)
        connection.execute("COMMIT")

    found = rate(write, encoded)
    connection.close()
    return found


def main() -> None:
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as name:
        folder = Path(name)
        store = SqliteStore(folder / "modelkeep.db")
        store.migrate()
        groups = [predictions(n * SIZE) for n in range(GROUPS)]

        def add(group: list[Prediction]) -> None:
            with store.write() as ledger:
                ledger.records.add(group, folded(0.0))

        def tell(group: list[Outcome]) -> None:
            with store.write() as ledger:
                ledger.records.tell(group, {})

        ours = rate(add, groups)
        alone = bare(folder, groups)
        told = [[Outcome(value=1.5, at=9.0, prediction=p.id) for p in group] for group in groups[:10]]
        by_id = rate(tell, told)
        told = [
            [Outcome(value=1.5, at=9.0, model="demand", key=p.key, target=p.target) for p in g] for g in groups[10:20]
        ]
        by_key = rate(tell, told)
        with store.write() as ledger:
            for hour in range(168):
                ledger.records.add([], folded(hour * HOUR, ["fallback"]))
        reads = []
        for _ in range(9):
            began = time.perf_counter()
            with store.read() as ledger:
                assert len(ledger.records.slices("demand", 1, role="fallback", start=0.0, end=168 * HOUR)) == 168
            reads.append(time.perf_counter() - began)
        store.close()
    print(f"kept: {ours:,.0f} records/s; bare executemany: {alone:,.0f}; ratio {ours / alone:.2f}")
    print(f"told by id: {by_id:,.0f} outcomes/s; by key: {by_key:,.0f}")
    print(f"168 hours of a profile of 10 columns: {statistics.median(reads) * 1000:.1f} ms")


if __name__ == "__main__":
    main()
