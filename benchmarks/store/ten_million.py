"""What is asked of ten million predictions: `python benchmarks/store/ten_million.py [ROWS] [FOLDER]`.

ROWS predictions of ten models with a hundred entities each, over 90 days, every one with its outcome, and 20 of one
person, are written straight into a SQLite file (same rows, same encodings; it takes an hour through the recorder).
Then: one entity's error of 7 days; 30 days' error of every model per day from the hours, against all rows; one model's
export to Parquet with the peak memory of its process, for a fifth of it and for all of it; the erasure of the person.
Limits: 10 ms, 300 ms of CPU, 1e-9, memory that does not follow the rows, 60 s.
"""

import math
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from modelkeep import settings
from modelkeep.app import App
from modelkeep.nouns import EXTERNAL, Field, Prediction, Signature, Version
from modelkeep.operations.erasing import ErasePerson, erase_person
from modelkeep.operations.measuring import ReadAccuracy, accuracy
from modelkeep.store import rows, tables
from modelkeep.store.archive import exporting
from modelkeep.store.archive.paging import Span
from modelkeep.store.exact import pack
from modelkeep.store.hours import hour_of, of_rows
from modelkeep.store.sqlite import SqliteStore

ROWS = int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1].isdigit() else 10_000_000
DAY, DAYS, CHUNK = 86400.0, 90, 100_000
MODELS, ENTITIES = 10, 100
PERSON = "the-one-to-forget"
Totals = dict[tuple[str, int], list[float]]


def fill(store: SqliteStore, count: int) -> Totals:
    """The rows; the absolute errors of each model and day are given back, as all rows give them."""
    slow = [index for table in (tables.predictions, tables.matches) for index in table.indexes]
    totals: Totals = defaultdict(list)
    with store._writing() as connection:  # noqa: SLF001 - past the shelves, to fill fast
        for index in slow:
            index.drop(connection)
        open_hours: dict[tuple[str, float], list[tuple[str, str, bytes | None]]] = defaultdict(list)
        for start in range(0, count, CHUNK):
            asked, known = chunk(range(start, min(start + CHUNK, count)), count, totals=totals)
            tables.insert_rows(connection, tables.predictions, rows=asked)
            tables.insert_rows(connection, tables.matches, rows=known)
            for row, match in zip(asked, known, strict=True):
                open_hours[row[4], hour_of(row[8])].append((row[10], match[13], row[11]))
            now = hour_of(asked[-1][8])
            done = [place for place in open_hours if place[1] < now or start + CHUNK >= count]
            summed = [(m, 1, "champion", hour, pack(of_rows(open_hours.pop((m, hour))))) for m, hour in done]
            tables.insert_rows(connection, tables.error_sums, rows=summed)
        for index in slow:
            index.create(connection)
    return totals


def chunk(numbers: range, count: int, *, totals: Totals) -> tuple[list, list]:
    random = np.random.default_rng(numbers.start)
    truths = random.normal(50, 20, len(numbers)).round(2).tolist()
    errors = random.normal(0, 5, len(numbers)).round(2).tolist()
    body = rows.prediction_row(one(0, 0.0, 1.0, model="m", key="k"))[-2]
    asked, known = [], []
    for number, truth, error in zip(numbers, truths, errors, strict=True):
        at, model, key = number / count * DAYS * DAY, f"m{number % MODELS}", f"e{number // MODELS % ENTITIES}"
        answer = truth + error
        refs = rows.pack_refs((truth - error, 50.0, truth + 1.0))
        row = (
            1,
            number,
            None,
            None,
            model,
            1,
            "champion",
            key,
            at,
            at + DAY,
            rows.value_text(answer),
            refs,
            body,
            None,
        )
        asked.append(row)
        known.append((*row[:12], number + 1, rows.value_text(truth), at + 2 * DAY, 1))
        totals[model, int(at // DAY)].append(abs(answer - truth))
    return asked, known


def one(number: int, at: float, answer: float, *, model: str, key: str, subject: str | None = None) -> Prediction:
    features = {"hour": number % 24, "rain": 0.5, "day": "mon"}
    return Prediction(
        id=f"2-{number}", model=model, version=1, role="champion", features=features, output=answer, at=at,
        target=at + DAY, seconds=0.001, key=key, subject=subject,
    )  # fmt: skip


def people(folder: Path) -> None:
    signature = Signature(inputs=(Field(name="hour", kind="number"),), output=Field(name="y", kind="number"))
    with App.open(settings.load(folder=folder, environ={})) as app, app.rooms.store.write() as ledger:
        for number in range(MODELS):
            ledger.versions.add(
                Version(
                    model=f"m{number}",
                    number=1,
                    artifact="",
                    size=0,
                    runtime=EXTERNAL,
                    signature=signature,
                    created=1.0,
                )
            )
        some = [one(n, DAYS * DAY, 1.0, model=f"m{n % MODELS}", key="e1", subject=PERSON) for n in range(20)]
        ledger.records.add(some, [])


def entities(store: SqliteStore) -> tuple[float, float]:
    """The median and the worst seconds of one entity's error of seven days, each entity asked for the first time."""
    took = []
    for number in range(40):
        began = time.perf_counter()
        with store.read() as ledger:
            key = f"e{(7 + 13 * number) % ENTITIES}"
            ledger.records.sums(f"m{number % MODELS}", start=(DAYS - 7) * DAY, end=DAYS * DAY, key=key)
        took.append(time.perf_counter() - began)
    return statistics.median(took), max(took)


def fleet(folder: Path, totals: Totals) -> tuple[float, float, float]:
    """CPU and wall seconds of 30 days' error of every model per day, and the largest difference from all rows.

    The act itself is asked, as REST and the command line ask it: once for each model.
    """
    found = {}
    with App.open(settings.load(folder=folder, environ={})) as app:
        accuracy(app, ReadAccuracy(model="m0", start=0.0, end=DAY, bucket="day"))  # what the first question imports
        began, clock = time.process_time(), time.perf_counter()
        for number in range(MODELS):
            asked = ReadAccuracy(model=f"m{number}", start=(DAYS - 30) * DAY, end=DAYS * DAY, bucket="day")
            for day, point in enumerate(accuracy(app, asked).points, DAYS - 30):
                found[f"m{number}", day] = point.metrics["mae"]
        cpu, wall = time.process_time() - began, time.perf_counter() - clock
    real = {place: math.fsum(totals[place]) / len(totals[place]) for place in found}
    return cpu, wall, max(abs(found[place] - real[place]) / real[place] for place in found)


def export(path: str, end: str, target: str) -> None:
    """In a process of its own: what it exported, and its peak memory."""
    store = SqliteStore(Path(path))
    began = time.perf_counter()
    span = Span(model="m3", end=float(end))
    n = exporting.write(store, span, only=exporting.Only(), target=Path(target), form="parquet", say=lambda _: None)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    size = Path(target).stat().st_size / 1e6
    print(
        f"export: {n:,} rows, {size:.0f} MB of Parquet, {n / (time.perf_counter() - began):,.0f}/s, peak {peak:.0f} MB"
    )


def main() -> None:
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as name:
        folder = Path(name) / "data"
        people(folder)
        path, began = folder / "modelkeep.db", time.perf_counter()
        store = SqliteStore(path)
        totals = fill(store, ROWS)
        store.close()
        size = path.stat().st_size / 1e9
        print(f"{ROWS:,} rows, {size:.1f} GB, made in {time.perf_counter() - began:.0f} s", flush=True)
        store = SqliteStore(path)
        median, worst = entities(store)
        print(f"one entity, 7 days: {median * 1000:.1f} ms median, {worst * 1000:.1f} ms worst", flush=True)
        store.close()
        cpu, wall, off = fleet(folder, totals)
        said = f"{cpu * 1000:.0f} ms of CPU, {wall * 1000:.0f} ms, off by {off:.1e}"
        print(f"30 days per model and day: {said}", flush=True)
        for share in (0.2, 1.0):
            target = str(Path(name) / "out.parquet")
            command = [sys.executable, __file__, "export", str(path), str(DAYS * DAY * share), target]
            subprocess.run(command, check=True)
        with App.open(settings.load(folder=folder, environ={})) as app:
            began = time.perf_counter()
            gone = erase_person(app, ErasePerson(subject=PERSON))
            took = time.perf_counter() - began
        print(f"erased in {took:.1f} s: {gone.counts}, remains {gone.remains}")
        sys.exit(median >= 0.01 or cpu >= 0.3 or off > 1e-9 or took >= 60 or bool(gone.remains))


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] == "export":
        export(*sys.argv[2:])
    else:
        main()
