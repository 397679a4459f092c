"""What sealing costs, in records a second: `python benchmarks/privacy/sealed_ingest.py`.

Groups of 1,000 predictions with 13 features about 300 people, on SQLite, in the clear and sealed; the median of three
runs of each, taken in turn.
"""

import statistics
import tempfile
import time
from pathlib import Path

from modelkeep.nouns import Prediction
from modelkeep.store.sealing import Sealer
from modelkeep.store.sqlite import SqliteStore

FEATURES = {f"x{i}": i * 0.5 for i in range(12)} | {"plan": "gold"}
GROUPS, SIZE = 15, 1000
WAYS = {"plain": (), "sealed": (b"k" * 32,)}


def group(number: int) -> list[Prediction]:
    return [
        Prediction(
            id=f"7-{number * SIZE + i + 1}", model="m", version=1, role="champion", features=FEATURES, output=1.0,
            at=1e9 + i, target=1e9 + i, seconds=0.001, key=f"e{i % 100}", subject=f"user-{i % 300}",
        )
        for i in range(SIZE)
    ]  # fmt: skip


def run(masters: tuple[bytes, ...]) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as name:
        store = SqliteStore(Path(name) / "m.db", sealer=Sealer(masters))
        store.migrate()
        groups = [group(number) for number in range(GROUPS)]
        began = time.perf_counter()
        for some in groups:
            with store.write() as ledger:
                ledger.records.add(some, [])
        rate = GROUPS * SIZE / (time.perf_counter() - began)
        store.sweep()
        size = (Path(name) / "m.db").stat().st_size / (GROUPS * SIZE)
        store.close()
    return rate, size


def main() -> None:
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    for _ in range(3):
        for name, masters in WAYS.items():
            found[name].append(run(masters))
    rates = {name: statistics.median(rate for rate, _ in runs) for name, runs in found.items()}
    for name, rate in rates.items():
        print(f"{name}: {rate:,.0f} records/s, {found[name][0][1]:.0f} bytes a record")
    print(f"sealed / plain = {rates['sealed'] / rates['plain']:.2f}")


if __name__ == "__main__":
    main()
