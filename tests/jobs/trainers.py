"""Trainers, right and wrong, that ``test_training`` runs in processes of their own."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from modelkeep.runtimes.training import Trained, TrainingRows


def train(rows: TrainingRows) -> Trained:
    """The factor between x and the truth."""
    factor = sum(rows.truth) / sum(rows.columns["x"])
    path = Path(tempfile.mkdtemp()) / "rule.py"
    path.write_text(f"def predict(row):\n    return row['x'] * {factor!r}\n")
    sample = {**rows.columns, "y": rows.truth, "key": rows.keys, "at": rows.at}
    return Trained(path=path, metrics={"mae": 0.5}, sample=sample, key="key", time="at", note="a factor")


def wrong(rows: TrainingRows) -> Trained:
    print("the data is upside down")
    raise ValueError(len(rows.truth))


def no_result(rows: TrainingRows) -> None:
    return None


def endless(rows: TrainingRows) -> Trained:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print(f"child {child.pid}", flush=True)
    time.sleep(600)
    raise AssertionError


def prepared(rows: TrainingRows) -> Trained:
    """Fits on the columns that the champion's feature code makes."""
    columns = rows.prepared()
    path = Path(columns["folder"][0]) / "prepared.py"
    path.write_text(f"def predict(row):\n    return row['half'] * {len(columns['half'])}\n")
    return Trained(path=path, prepared=True)


def coded(rows: TrainingRows) -> Trained:
    """Ten times what feature code of its own makes of x."""
    folder = Path(tempfile.mkdtemp())
    (folder / "code.py").write_text("def features(row):\n    return {'half': 2 * row['x']}\n")
    (folder / "rule.py").write_text("def predict(row):\n    return row['half'] * 10\n")
    return Trained(
        path=folder / "rule.py", code=folder / "code.py", split="time", metrics={"mae": 1.0},
        rivals={"mean": {"mae": 2.0}},
    )  # fmt: skip


def beaten(rows: TrainingRows) -> Trained:
    """Far better than what is answered, and still not as good as a simple rule."""
    return msgspec.structs.replace(train(rows), rivals={"ewma": {"mae": 0.4}})
