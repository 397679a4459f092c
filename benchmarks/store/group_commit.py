"""How many predictions a second two writers keep, against a bare loop of the same rows, on PostgreSQL or SQLite.

Two processes write at the same time, as two servers do that have more to keep than they can: transactions of as many
records with 10 features as the recorder then keeps together, each commit on disk. Ours encodes the records, folds their
profile (two roles, ten columns), counts them and looks for outcomes that wait. The bare loop is psycopg's COPY (or
sqlite3's ``executemany``) of the same rows in the same transactions, encoded before the clock starts, into the same
table with the same indexes; it keeps no order and counts nothing. The best of the runs of each counts, in turns.

Both writers record one model; on PostgreSQL also each its own. Beside the rates stands what a record takes of the
processors, writers and server together: that hardly changes when other programs use them too.

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
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

import numpy as np
import psutil
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

SIZE, GROUPS, WRITERS, RUNS = TOGETHER, 15, 2, 5
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


class Read(NamedTuple):
    """Records a second of both writers together, and microseconds of the processors for each record."""

    rate: float
    effort: float


def _writer(make: Make, address: str, writer: int, *, model: str, gate: Any, used: Any) -> None:
    work = make(address, writer, model)
    gc.freeze()  # what was made for the measurement is not collected in it
    gate.wait()
    began = time.process_time()
    work()
    used[writer - 1] = time.process_time() - began
    gate.wait()
    os._exit(0)


def _served(server: int | None) -> float:
    """Seconds of the processors that a server has used, with those of its connections that are closed."""
    if server is None:
        return 0.0
    first = psutil.Process(server)
    every = [one.cpu_times() for one in (first, *first.children(recursive=True))]
    closed = first.cpu_times()
    return sum(one.user + one.system for one in every) + closed.children_user + closed.children_system


def read(make: Make, address: str, *, own: bool, server: int | None) -> Read:
    """One run of both writers."""
    context = multiprocessing.get_context("fork")
    gate, used = context.Barrier(WRITERS + 1), context.Array("d", WRITERS)
    writers = []
    for n in range(WRITERS):
        how = {"model": f"demand{n if own else 0}", "gate": gate, "used": used}
        writers.append(context.Process(target=_writer, args=(make, address, n + 1), kwargs=how))
    for writer in writers:
        writer.start()
    gate.wait()
    began, before = time.perf_counter(), _served(server)
    gate.wait()
    taken, served = time.perf_counter() - began, _served(server) - before
    for writer in writers:
        writer.join()
    records = WRITERS * GROUPS * SIZE
    return Read(records / taken, (sum(used) + served) / records * 1e6)


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


def measure(kind: str, fresh: Callable[[], str], *, own: bool = False, server: int | None = None) -> float:
    """Both in turns, each time into a store of its own; the ratio of the best runs."""
    found: dict[str, list[Read]] = {"ours": [], "bare": []}
    for _, (name, make) in itertools.product(range(RUNS), (("bare", bare), ("ours", ours))):
        found[name].append(read(make, prepared(fresh()), own=own, server=server))
    best = {name: max(one.rate for one in some) for name, some in found.items()}
    least = {name: min(one.effort for one in some) for name, some in found.items()}
    ratio = best["ours"] / best["bare"]
    print(f"{kind}: {best['ours']:,.0f} records/s; bare: {best['bare']:,.0f}; ratio {ratio:.2f}")
    print(
        f"  processor: {least['ours']:.1f} us a record; bare: {least['bare']:.1f}; {least['bare'] / least['ours']:.2f}"
    )
    print("  every run:", {name: [f"{one.rate:,.0f}" for one in some] for name, some in found.items()})
    return ratio


def _databases(server: Server) -> Callable[[], str]:
    return lambda: server.database(migrated=False)


def main() -> None:
    kind = sys.argv[1] if len(sys.argv) > 1 else "both"
    ratios = []
    if kind in {"postgresql", "both"}:
        with running(durable=True) as server:
            process = server.process
            ratios.append(measure("PostgreSQL, two models", _databases(server), own=True, server=process))
            ratios.append(measure("PostgreSQL, one model", _databases(server), server=process))
    if kind in {"sqlite", "both"}:
        with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as name:
            numbers = itertools.count()
            ratios.append(measure("SQLite", lambda: str(Path(name) / f"{next(numbers)}.db")))
    sys.exit(min(ratios) < 0.7)


if __name__ == "__main__":
    main()
