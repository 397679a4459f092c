"""What the archive costs and gives: bytes per record, how fast it seals, how long writers wait, how fast it answers.

Records with ten features and an outcome, of one model over 120 days, are recorded as always, then archived while
another thread goes on recording. Beside them the same records as one JSON text a row in SQLite, indexed by model and
time.
Then 30 days' error of the model per day from the hours that stay in the database, against the same from all rows.
Run: ``python benchmarks/store/archive.py [rows] [folder]``. Limits: a third of the JSON row; 1e-9; 300 ms of CPU.
"""

import json
import random
import sqlite3
import sys
import tempfile
import threading
import time
from pathlib import Path

import msgspec

from modelkeep.nouns import Outcome, Prediction
from modelkeep.store.archive.upkeep import Archive
from modelkeep.store.scoring import Part
from modelkeep.store.sqlite import SqliteStore

DAY = 86400.0
DAYS = 120
ROWS = 200_000
ENTITIES = 1000
GROUP = 1000
KINDS = ("gold", "silver", "bronze")


def made(number: int, count: int) -> tuple[Prediction, Outcome]:
    dice = random.Random(number)
    at = number / count * DAYS * DAY
    features = {f"x{n}": round(dice.gauss(50, 20), 2) for n in range(8)}
    features |= {"plan": dice.choice(KINDS), "hour": int(at // 3600) % 24}
    answer, truth = round(dice.gauss(100, 30), 3), round(dice.gauss(100, 30), 1)
    prediction = Prediction(
        id=f"{9}-{number}", model="demand", version=1, role="champion", features=features, output=answer, at=at,
        target=at + 3600, seconds=dice.random() / 1000, key=f"entity {number % ENTITIES}",
        request=f"{dice.getrandbits(128):032x}", references=(truth - 1, 50.0, truth + 1),
    )  # fmt: skip
    return prediction, Outcome(value=truth, at=at + 7200, prediction=prediction.id)


def fill(store: SqliteStore, count: int, beside: sqlite3.Connection) -> None:
    beside.execute("CREATE TABLE logs (id INTEGER PRIMARY KEY, model TEXT, at REAL, body TEXT)")
    beside.execute("CREATE INDEX logs_by_time ON logs (model, at)")
    for start in range(0, count, GROUP):
        some = [made(number, count) for number in range(start, min(start + GROUP, count))]
        with store.write() as ledger:
            ledger.records.add([p for p, _ in some], [])
            ledger.records.tell([o for _, o in some], {})
        rows = [
            (p.model, p.at, json.dumps(msgspec.to_builtins(p) | {"actual": o.value, "told": o.at})) for p, o in some
        ]
        beside.executemany("INSERT INTO logs (model, at, body) VALUES (?, ?, ?)", rows)
    beside.commit()


def per_day(store: SqliteStore) -> tuple[float, dict[int, float]]:
    began, days = time.process_time(), range(DAYS - 30, DAYS)
    with store.read() as ledger:
        series = ledger.records.series("demand", cuts=[day * DAY for day in (*days, DAYS)], part=Part())
    found = {day: sums.absolute / sums.n for day, sums in zip(days, series, strict=True)}
    return time.process_time() - began, found


def raw(count: int) -> dict[int, float]:
    totals: dict[int, list[float]] = {}
    for number in range(count):
        prediction, outcome = made(number, count)
        totals.setdefault(int(prediction.at // DAY), []).append(abs(prediction.output - outcome.value))
    return {day: sum(errors) / len(errors) for day, errors in totals.items()}


class Writer(threading.Thread):
    """Records on while the archive works."""

    def __init__(self, store: SqliteStore, *, name: int) -> None:
        super().__init__()
        self._writer = name
        self._store, self.waits, self.over = store, [], False

    def run(self) -> None:
        number = 0
        while not self.over:
            number += 1
            prediction = msgspec.structs.replace(
                made(number, 10**9)[0], id=f"{self._writer}-{number}", at=DAYS * DAY + number
            )
            began = time.perf_counter()
            with self._store.write() as ledger:
                ledger.records.add([prediction], [])
            self.waits.append(time.perf_counter() - began)
            time.sleep(0.01)


def timed(act) -> float:
    began = time.process_time()
    act()
    return (time.process_time() - began) * 1000


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as folder:
        path, other = Path(folder) / "modelkeep.db", Path(folder) / "json.db"
        store = SqliteStore(path)
        store.migrate()
        with sqlite3.connect(other) as beside:
            fill(store, count, beside)
        beside.close()
        hot, plain = store.size() / count, other.stat().st_size / count
        took_hot, days_hot = per_day(store)

        floor = Writer(store, name=11)
        floor.start()
        time.sleep(2)
        floor.over = True
        floor.join()
        archive, writer = Archive(store), Writer(store, name=10)
        writer.start()
        began, sealed, longest = time.perf_counter(), 0, 0.0
        while some := archive.seal("demand", before=DAYS * DAY, at=1.0):
            sealed += some
        sealing = time.perf_counter() - began
        archive.merge("demand", at=2.0)
        merging = time.perf_counter() - began - sealing
        writer.over = True
        writer.join()
        archive.tidy(at=1e12)
        longest = max(writer.waits)
        with store.read() as ledger:
            files = ledger.archive.partitions()
        cold = sum(p.size for p in files) / sealed
        vacuumed = store.vacuum()
        took, days = per_day(store)
        truth = raw(count)
        worst = max(abs(days[day] - truth[day]) / truth[day] for day in days)
        with store.read() as ledger:
            records = ledger.records
            entity = timed(lambda: records.sums("demand", start=100 * DAY, end=107 * DAY, key="entity 7"))
            entity = timed(lambda: records.sums("demand", start=100 * DAY, end=107 * DAY, key="entity 8"))
            one = timed(lambda: records.prediction(f"9-{count // 2}"))

        def late() -> None:
            with store.write() as ledger:
                ledger.records.tell([Outcome(value=1.0, at=1e9, prediction=f"9-{count // 3}")], {})

        figures = {
            "JSON row in SQLite, bytes": round(plain),
            "record in the database, bytes": round(hot),
            "record in the archive, bytes": round(cold, 1),
            "archive / JSON row": round(cold / plain, 3),
            "files": len(files),
            "sealed a second": round(sealed / sealing),
            "merging, s": round(merging, 1),
            "a writer beside it waited at most, ms": round(longest * 1000),
            "median, ms": round(sorted(writer.waits)[len(writer.waits) // 2] * 1000, 1),
            "the same writer alone, at most and median, ms": (
                round(max(floor.waits) * 1000),
                round(sorted(floor.waits)[len(floor.waits) // 2] * 1000, 1),
            ),
            "database before / after vacuum, MB": (round(vacuumed.before / 1e6, 1), round(vacuumed.after / 1e6, 1)),
            "30 days per day, ms of CPU (hot, archived)": (round(took_hot * 1000, 1), round(took * 1000, 1)),
            "largest difference from all rows": worst,
            "archived entity, 7 days, ms of CPU": round(entity, 1),
            "archived record by id, ms of CPU": round(one, 1),
            "late outcome, ms of CPU": round(timed(late), 1),
        }
        store.close()
    for name, value in figures.items():
        print(f"{name}: {value}")
    fine = cold <= plain / 3 and worst < 1e-9 and took < 0.3 and days.keys() == days_hot.keys()
    print("within the limits" if fine else "BEYOND A LIMIT")
    sys.exit(not fine)


if __name__ == "__main__":
    main()
