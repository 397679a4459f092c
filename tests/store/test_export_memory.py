"""An export holds as much in memory for many rows as for few: each runs in a process of its own."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from modelkeep.nouns import Prediction
from modelkeep.store import rows, tables
from modelkeep.store.archive import exporting
from modelkeep.store.archive.paging import Span
from modelkeep.store.archive.upkeep import Archive
from modelkeep.store.sqlite import SqliteStore

TEXT = "x" * 600
CHILD = """
import resource, sys
from pathlib import Path
from modelkeep.store.archive import exporting
from modelkeep.store.archive.paging import Span
from modelkeep.store.sqlite import SqliteStore

store, target = SqliteStore(Path(sys.argv[1])), Path(sys.argv[2])
span = Span(model="demand", end=float(sys.argv[3]))
n = exporting.write(store, span, only=exporting.Only(), target=target, form="parquet", say=lambda _: None)
print(n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def one(number: int, *, at: float) -> Prediction:
    return Prediction(
        id=f"7-{number}", model="demand", version=1, role="champion", features={"text": TEXT, "n": number},
        output=1.0, at=at, target=at, seconds=0.1, key="k",
    )  # fmt: skip


def fill(store: SqliteStore, count: int) -> None:
    """Rows as the recorder writes them, one a second; all but the first from one template."""
    row = rows.prediction_row(one(0, at=0.0))
    for start in range(0, count, 50_000):
        with store._writing() as connection:
            some = [
                (row[0], n, *row[2:8], float(n), float(n), *row[10:]) for n in range(start, min(start + 50_000, count))
            ]
            tables.insert_rows(connection, tables.predictions, rows=some)


def peak(path: Path, *, rows: int) -> int:
    """Megabytes that the export of so many rows takes."""
    target = path.parent / f"{rows}.parquet"
    said = subprocess.run(
        [sys.executable, "-c", CHILD, str(path), str(target), str(rows)], check=True, capture_output=True, text=True
    ).stdout.split()
    assert int(said[0]) == rows
    return int(said[1])


def test_memory_does_not_follow_the_rows(store: SqliteStore, path: Path) -> None:
    fill(store, 64_000)
    few, many = peak(path, rows=24_000), peak(path, rows=64_000)
    assert many - few < 50, (few, many)


@pytest.mark.prove
@pytest.mark.timeout(900)
def test_memory_is_the_same_for_two_hundred_thousand_rows_and_for_two_million(store: SqliteStore, path: Path) -> None:
    fill(store, 2_000_000)
    few, many = peak(path, rows=200_000), peak(path, rows=2_000_000)
    assert many - few < 60, (few, many)


def test_an_export_is_in_order_wherever_the_rows_lie(store: SqliteStore, tmp_path: Path) -> None:
    """Many at one moment, some far apart, some archived: the oldest first, those of one moment by their ids."""
    moments = [1e6, 1e6, 1e6 + 4e-7, 3599.9999999, 3600.0, 3.0, 3.5, 0.0, *(1e6 + n / 8 for n in range(40))]
    with store.write() as ledger:
        ledger.records.add([one(n, at=at) for n, at in enumerate(moments)], [])
    Archive(store).seal("demand", before=4000.0, at=2e6)
    target = tmp_path / "out.csv"
    exporting.write(store, Span(), only=exporting.Only(), target=target, form="csv", say=lambda _: None, window=3)
    with target.open() as stream:
        found = [(row["asked"], row["id"]) for row in csv.DictReader(stream)]
    assert len(found) == len(moments)
    assert found == sorted(found)
