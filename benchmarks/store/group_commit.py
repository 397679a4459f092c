"""How many predictions a second two writers keep, against a bare loop of the same rows, on PostgreSQL or SQLite.

Two processes write at the same time, as two servers do that have more to keep than they can: transactions of as many
records with 10 features as the recorder then keeps together, each commit on disk. Ours encodes the records, folds their
profile (two roles, ten columns), counts them and looks for outcomes that wait. The bare loop is psycopg's COPY (or
sqlite3's ``executemany``) of the same rows in the same transactions, encoded before the clock starts, into the same
table with the same indexes; it takes no turns. The better of the runs of each counts, in turns.

Both writers record one model, whose predictions must become visible in the order of their numbers; on PostgreSQL also
each its own, which they do beside each other.

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
from modelkeep.serving.recorder import TOGETHER
from modelkeep.store import copying, parts, rows, tables
from modelkeep.store.archive.cold import Cold
from modelkeep.store.folder import FolderFiles
from modelkeep.store.postgresql import PostgresStore
from modelkeep.store.seams import Store
from modelkeep.store.sqlite import SqliteStore

SIZE, GROUPS, WRITERS, RUNS = TOGETHER, 15, 2, 3
START = 1_795_000_000.0
INPUTS = tuple(Field(name=f"input_{i}", kind="number") for i in range(10))

Group = list[Prediction]


def groups(writer: int, model: str) -> list[Group]:
    random = np.random.default_rng(writer)
    values = random.normal(0, 1, (GROUPS * SIZE, len(INPUTS))).tolist()
    made = [
        Prediction(
            id=f"{writer}-{n}",
            model=model,
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
    if address.startswith("postgresql"):
        return PostgresStore(address, cold=Cold(Path(tempfile.mkdtemp())))
    return SqliteStore(Path(address))


def ours(address: str, writer: int, model: str) -> Callable[[], None]:
    """Keep every group as the recorder's second thread does."""
    store, waiting = opened(address), groups(writer, model)
    binnings = Binnings(FolderFiles(Path(tempfile.mkdtemp())))

    def work() -> None:
        for group in waiting:
            with store.write("predictions") as ledger:
                folded = fold(group, lambda model, n: binnings.of(ledger, model=model, version=n))
                ledger.records.add(group, folded)

    return work


def bare(address: str, writer: int, model: str) -> Callable[[], None]:
    """Write the same rows, encoded already, by the driver alone."""
    encoded = [[rows.prediction_row(p) for p in group] for group in groups(writer, model)]
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


Make = Callable[[str, int, str], Callable[[], None]]


def _writer(make: Make, address: str, writer: int, *, model: str, gate: Any) -> None:
    work = make(address, writer, model)
    gc.freeze()  # what was made for the measurement is not collected in it
    gate.wait()
    work()
    gate.wait()
    os._exit(0)


def rate(make: Make, address: str, *, own: bool) -> float:
    """Records a second of both writers together."""
    context = multiprocessing.get_context("fork")
    gate = context.Barrier(WRITERS + 1)
    writers = []
    for n in range(WRITERS):
        how = {"model": f"demand{n if own else 0}", "gate": gate}
        writers.append(context.Process(target=_writer, args=(make, address, n + 1), kwargs=how))
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
        signature = Signature(inputs=INPUTS, output=Field(name="demand", kind="number"))
        for n in range(WRITERS):
            version = Version(
                model=f"demand{n}", number=1, artifact="0" * 64, runtime="python", size=1, signature=signature,
                created=START,
            )  # fmt: skip
            ledger.versions.add(version)
        if isinstance(store, PostgresStore):
            parts.ready(ledger.records._connection, [START])  # noqa: SLF001 - the bare loop makes no part of a month
    store.close()
    return address


def measure(kind: str, fresh: Callable[[], str], *, own: bool = False) -> float:
    """Both in turns, each time into a store of its own; the ratio of the best runs."""
    found: dict[str, list[float]] = {"ours": [], "bare": []}
    for _, (name, make) in itertools.product(range(RUNS), (("bare", bare), ("ours", ours))):
        found[name].append(rate(make, prepared(fresh()), own=own))
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
            ratios.append(measure("PostgreSQL, two models", _databases(server), own=True))
            ratios.append(measure("PostgreSQL, one model", _databases(server)))
    if kind in {"sqlite", "both"}:
        with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as name:
            numbers = itertools.count()
            ratios.append(measure("SQLite", lambda: str(Path(name) / f"{next(numbers)}.db")))
    sys.exit(min(ratios) < 0.7)


if __name__ == "__main__":
    main()
