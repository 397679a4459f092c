"""How long it takes to erase one person among many records: `python benchmarks/privacy/erase_one.py [ROWS]`.

The rows are made by SQLite itself (100 bytes of body each, 500,000 people), then one person with 20 predictions is
erased as a user does it: records, texts, sweep, the search of every file, the receipt.
"""

import sqlite3
import sys
import tempfile
import time
from pathlib import Path

from modelkeep import settings
from modelkeep.app import App
from modelkeep.nouns import EXTERNAL, Field, Prediction, Signature, Version
from modelkeep.operations.erasing import ErasePerson, erase_person

ROWS = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
MANY = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
INSERT INTO predictions (writer, seq, model, version, role, key, at, target, output, body, subject)
SELECT 99, i, 'm', 1, 'champion', 'e' || (i % 5000), 1.6e9 + i, 1.6e9 + i, '1.0', zeroblob(100),
    'person-' || (i % 500000)
FROM n
"""


def populated(folder: Path) -> None:
    signature = Signature(inputs=(Field(name="x", kind="number"),), output=Field(name="y", kind="number"))
    with App.open(settings.load(folder=folder, environ={})) as app:
        with app.rooms.store.write() as ledger:
            ledger.versions.add(
                Version(model="m", number=1, artifact="", size=0, runtime=EXTERNAL, signature=signature, created=1.0)
            )
        predictions = [
            Prediction(
                id=one, model="m", version=1, role="champion", features={"x": 1.0}, output=1.0, at=1.7e9, target=1.7e9,
                seconds=0.1, key="e", subject="the-one-to-forget",
            )
            for one in app.rooms.recorder.new_ids(20)
        ]  # fmt: skip
        app.rooms.recorder.take(predictions)
        app.rooms.recorder.flush()
    with sqlite3.connect(folder / "modelkeep.db") as database:
        database.execute("PRAGMA synchronous = OFF")
        database.execute(MANY, (ROWS,))
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "data"
        began = time.perf_counter()
        populated(folder)
        size = (folder / "modelkeep.db").stat().st_size
        print(f"{ROWS:,} rows, {size / 1e9:.2f} GB, made in {time.perf_counter() - began:.0f} s", flush=True)
        with App.open(settings.load(folder=folder, environ={})) as app:
            began = time.perf_counter()
            gone = erase_person(app, ErasePerson(subject="the-one-to-forget"))
            print(f"erased in {time.perf_counter() - began:.1f} s: {gone.counts}, remains {gone.remains}")


if __name__ == "__main__":
    main()
