"""The process that a trainer runs in: ``python -m modelkeep.runtimes.trainer_process module:function FOLDER``.

``FOLDER`` holds either the rows to train on, or what is to be made of a raw table (``making.Making``).
"""

import os
import shutil
import sys
import threading
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from modelkeep.errors import Refused
from modelkeep.runtimes import examining, packing
from modelkeep.runtimes.making import MADE, MAKING, PROGRESS, Making, called, make
from modelkeep.runtimes.training import CODE, REFUSED, RESULT, ROWS, Refusal, Trained, TrainingRows

NICENESS = 10
LIBRARIES = {"numpy": "numpy", "sklearn": "scikit-learn", "lightgbm": "lightgbm", "skops": "skops"}


def run(entry: str, folder: Path) -> None:
    """Do what the folder asks for, and write what was made into it, whole or not at all; or why it was refused."""
    try:
        if (folder / MAKING).exists():
            _make(entry, folder)
        else:
            rows = msgspec.msgpack.decode((folder / ROWS).read_bytes(), type=TrainingRows)
            examining.formulas(rows)
            trained = train(entry, rows, folder=folder)
            examining.result(trained, rows, policy=None)
            _write(folder / RESULT, trained)
    except Refused as refused:
        _write(folder / REFUSED, Refusal.of(refused))


def train(entry: str, rows: TrainingRows, *, folder: Path) -> Trained:
    """Train, and copy the files into ``folder``."""
    function = called(entry)
    start = time.perf_counter()
    trained = function(rows)
    seconds = time.perf_counter() - start
    if not isinstance(trained, Trained):
        raise TypeError(f"{entry} returned a {type(trained).__name__}, not a modelkeep.Trained")
    kept = folder / f"model{Path(trained.path).suffix}"
    shutil.copyfile(trained.path, kept)
    code = None
    if trained.code is not None:
        code = folder / CODE
        code.write_bytes(packing.pack_features(Path(trained.code)))
    libraries = {package: metadata.version(package) for module, package in LIBRARIES.items() if module in sys.modules}
    return msgspec.structs.replace(
        trained, path=kept, code=code, seconds=trained.seconds or seconds, libraries=libraries | trained.libraries
    )


def _make(entry: str, folder: Path) -> None:
    making = msgspec.msgpack.decode((folder / MAKING).read_bytes(), type=Making)

    def say(stage: str, detail: str) -> None:
        with (folder / PROGRESS).open("ab") as progress:
            progress.write(msgspec.json.encode((stage, detail)) + b"\n")

    made = make(making, folder, train=lambda rows: train(entry, rows, folder=folder), say=say)
    _write(folder / MADE, made)
    _write(folder / RESULT, made.trained)


def _write(path: Path, what: Any) -> None:
    written = path.with_suffix(".part")
    written.write_bytes(msgspec.msgpack.encode(what, enc_hook=str))
    written.replace(path)


def end_with(parent: int) -> None:
    """End this process when the one that started it is gone: nobody would take the result."""
    waiting = threading.Event()
    while os.getppid() == parent:
        waiting.wait(1.0)
    os._exit(1)


if __name__ == "__main__":
    os.nice(NICENESS)
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    run(sys.argv[1], Path(sys.argv[2]))
