"""How many predictions a second two writers keep, against a bare loop of the same rows, on PostgreSQL or SQLite.

Both commit groups of 1,000 with 10 features, each commit on disk; two processes write at the same time, as two servers
do. Ours encodes the records, folds their profile (one model, two roles, ten columns), counts them, looks for outcomes
that wait. The bare loop is psycopg's COPY (or sqlite3's ``executemany``) of the same rows, encoded before the clock
starts, into the same table with the same indexes. The better of the runs of each counts, in turns.

Run: ``python benchmarks/store/group_commit.py [postgresql|sqlite|both] [folder]``. PostgreSQL is started from the
machine's own programs, in a folder and on a port of its own, with fsync on.
"""

import gc
import itertools
import multiprocessing
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

import numpy as np
import psycopg
from postgres_server import Server, running

from modelkeep.nouns import Field, Prediction, Signature, Version
from modelkeep.serving.binning import Binnings, fold
from modelkeep.store import copying, parts, rows, tables
from modelkeep.store.folder import FolderFiles
from modelkeep.store.postgresql import PostgresStore
from modelkeep.store.seams import Store
from modelkeep.store.sqlite import SqliteStore

SIZE, GROUPS, WRITERS, RUNS = 1000, 40, 2, 3
START = 1_795_000_000.0
INPUTS = tuple(Field(name=f"input_{i}", kind="number") for i in range(10))

Group = list[Prediction]


def groups(writer: int) -> list[Group]:
    random = np.random.default_rng(writer)
    values = random.normal(0, 1, (GROUPS * SIZE, len(INPUTS))).tolist()
    made = [
        Prediction(
            id=f"{writer}-{n}",
            model="demand",
            version=1,
            role="champion" if n % 10 else "canary",
            features={field.name: value for field, value in zip(INPUTS, row, strict=True)},
            output=row[0] * 2,
            at=START + n * 0.001,
            target=START + n * 0.001,
            seconds=0.001,
            key=f"entity {n % 1000}",
            references=(row[1], row[2], row[3]),
        )
        for n, row in enumerate(values)
    ]
    return [made[start : start + SIZE] for start in range(0, len(made), SIZE)]


def opened(address: str) -> Store:
    return PostgresStore(address) if address.startswith("postgresql") else SqliteStore(Path(address))


def ours(address: str, writer: int) -> Callable[[], None]:
    """Keep every group as the recorder's second thread does."""
    store, waiting = opened(address), groups(writer)
    binnings = Binnings(FolderFiles(Path(tempfile.mkdtemp())))

    def work() -> None:
        for group in waiting:
            with store.write("predictions") as ledger:
                folded = fold(group, lambda model, n: binnings.of(ledger, model=model, version=n))
                ledger.records.add(group, folded)

    return work


def bare(address: str, writer: int) -> Callable[[], None]:
    """Write the same rows, encoded already, by the driver alone."""
    encoded = [[rows.prediction_row(p) for p in group] for group in groups(writer)]
    return _copied(address, encoded) if address.startswith("postgresql") else _executed(address, encoded)


def _copied(address: str, encoded: list[list[tuple[Any, ...]]]) -> Callable[[], None]:
    connection = psycopg.connect(address)
    statement, types = copying._copy(tables.predictions)  # noqa: SLF001 - the very same statement

    def work() -> None:
        for group in encoded:
            with connection.cursor() as cursor, cursor.copy(statement) as stream:
                stream.set_types(types)
                for row in group:
                    stream.write_row(row)
            connection.commit()

    return work


def _executed(address: str, encoded: list[list[tuple[Any, ...]]]) -> Callable[[], None]:
    connection = sqlite3.connect(address, isolation_level=None, timeout=30)
    connection.execute("PRAGMA synchronous = FULL")
    names = [column.name for column in copying.given(tables.predictions)]
    statement = f"INSERT INTO predictions ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"

    def work() -> None:
        for group in encoded:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(statement, group)
            connection.execute("COMMIT")

    return work


def _writer(make: Callable[[str, int], Callable[[], None]], address: str, writer: int, gate: Any) -> None:
    work = make(address, writer)
    gc.freeze()  # what was made for the measurement is not collected in it
    gate.wait()
    work()
    gate.wait()
    os._exit(0)


def rate(make: Callable[[str, int], Callable[[], None]], address: str) -> float:
    """Records a second of both writers together."""
    context = multiprocessing.get_context("fork")
    gate = context.Barrier(WRITERS + 1)
    writers = [context.Process(target=_writer, args=(make, address, n + 1, gate)) for n in range(WRITERS)]
    for writer in writers:
        writer.start()
    gate.wait()
    began = time.perf_counter()
    gate.wait()
    taken = time.perf_counter() - began
    for writer in writers:
        writer.join()
    return WRITERS * GROUPS * SIZE / taken


def prepared(address: str) -> str:
    """A fresh store with the model in it."""
    store = opened(address)
    store.migrate()
    with store.write() as ledger:
        output = Field(name="demand", kind="number")
        ledger.versions.add(
            Version(
                model="demand", number=1, artifact="0" * 64, runtime="python", size=1,
                signature=Signature(inputs=INPUTS, output=output), created=START,
            )
        )  # fmt: skip
        if isinstance(store, PostgresStore):
            parts.ready(ledger.records._connection, [START])  # noqa: SLF001 - the bare loop makes no part of a month
    store.close()
    return address


def measure(kind: str, fresh: Callable[[], str]) -> float:
    """Both in turns, each time into a store of its own; the ratio of the best runs."""
    found: dict[str, list[float]] = {"ours": [], "bare": []}
    for _, (name, make) in itertools.product(range(RUNS), (("bare", bare), ("ours", ours))):
        found[name].append(rate(make, prepared(fresh())))
    best = {name: max(rates) for name, rates in found.items()}
    ratio = best["ours"] / best["bare"]
    print(f"{kind}: {best['ours']:,.0f} records/s; bare: {best['bare']:,.0f}; ratio {ratio:.2f}")
    print("  every run:", {name: [f"{one:,.0f}" for one in rates] for name, rates in found.items()})
    return ratio


def _databases(server: Server) -> Callable[[], str]:
    return lambda: server.database(migrated=False)


def main() -> None:
    kind = sys.argv[1] if len(sys.argv) > 1 else "both"
    ratios = []
    if kind in {"postgresql", "both"}:
        with running(durable=True) as server:
            ratios.append(measure("PostgreSQL", _databases(server)))
    if kind in {"sqlite", "both"}:
        with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as name:
            numbers = itertools.count()
            ratios.append(measure("SQLite", lambda: str(Path(name) / f"{next(numbers)}.db")))
    sys.exit(min(ratios) < 0.7)


if __name__ == "__main__":
    main()
