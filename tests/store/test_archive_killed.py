"""A process that archives is killed at each of its steps: no record is lost, none is there twice."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest
from making import HOUR, folded, prediction, told
from migrated import ready

from modelkeep.store.archive.upkeep import Archive
from modelkeep.store.sqlite import SqliteStore

KILLED = 137
SEALING = ("archive.written", "archive.announcing", "archive.announced", "archive.taking", "archive.sealed")
MERGING = ("archive.rewritten", "archive.swapping", "archive.swapped")


def archive(work: Archive) -> None:
    """What is done by the process that is killed, and by whoever goes on after it."""
    work._batch = 7
    while work.seal("demand", before=1e9, at=1.0):
        pass
    work.merge("demand", at=1.0)
    work.erase("anna", at=1.0)


CHILD = f"""
import sys
from pathlib import Path
from modelkeep.jobs.failpoints import failpoint
from modelkeep.store.archive.upkeep import Archive
from modelkeep.store.sqlite import SqliteStore

{inspect.getsource(archive)}

archive(Archive(SqliteStore(Path(sys.argv[1])), pause=failpoint))
"""


def state(store: SqliteStore, *, without: str = "") -> object:
    with store.read() as ledger:
        records = ledger.records
        return (
            [p for _, p in records.predictions("demand") if p.subject != without],
            [m for m in records.matches("demand") if m.prediction != "7-3"],
            records.sums("demand", start=0.0, end=1e9),
            records.sums("demand", start=HOUR + 0.5, end=9 * HOUR),
        )


@pytest.mark.row("LOG-08")
@pytest.mark.parametrize("point", [*SEALING, *MERGING])
def test_a_kill_at_any_step_loses_and_doubles_nothing(path: Path, point: str) -> None:
    store = SqliteStore(ready(path))
    with store.write() as ledger:
        made = [prediction(n, subject="anna" if n == 3 else None) for n in range(1, 31)]
        ledger.records.add(made, [folded(30)])
        ledger.records.tell([told(n, 1.5) for n in range(1, 21)], {})
    before = state(store, without="anna")
    store.close()
    died = subprocess.run(
        [sys.executable, "-c", CHILD, str(path)], env={**os.environ, "MODELKEEP_FAILPOINT": point}, check=False
    )
    assert died.returncode == KILLED
    store = SqliteStore(path)
    assert state(store, without="anna") == before
    with store.read() as ledger:
        kept = {p.id for _, p in ledger.records.predictions("demand")}
    assert len(kept) in {29, 30}
    another = SqliteStore(path)
    archive(Archive(another))
    another.close()
    assert state(store, without="anna") == before
    work = Archive(store)
    work.tidy(at=1e9)
    with store.read() as ledger:
        assert sorted(work.cold.all()) == sorted(p.digest for p in ledger.archive.partitions())
        assert ledger.records.prediction("7-3") is None
        assert ledger.records.counts("demand")[:2] == (29, 19)
    assert not list(work.cold.folder.glob(".*.part"))
    store.close()
