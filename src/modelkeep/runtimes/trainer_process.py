"""The process that a trainer runs in: ``python -m modelkeep.runtimes.trainer_process module:function FOLDER``."""

import importlib
import os
import shutil
import sys
import threading
import time
from importlib import metadata
from pathlib import Path

import msgspec

from modelkeep.runtimes.training import RESULT, ROWS, Trained, TrainingRows

NICENESS = 10
LIBRARIES = {"numpy": "numpy", "sklearn": "scikit-learn", "lightgbm": "lightgbm", "skops": "skops"}


def run(entry: str, folder: Path) -> None:
    """Train, copy the file into ``folder``, and write what was made beside it, whole or not at all."""
    rows = msgspec.msgpack.decode((folder / ROWS).read_bytes(), type=TrainingRows)
    name, _, function = entry.partition(":")
    train = getattr(importlib.import_module(name), function)
    start = time.perf_counter()
    trained = train(rows)
    seconds = time.perf_counter() - start
    if not isinstance(trained, Trained):
        raise TypeError(f"{entry} returned a {type(trained).__name__}, not a modelkeep.Trained")
    kept = folder / f"model{Path(trained.path).suffix}"
    shutil.copyfile(trained.path, kept)
    libraries = {package: metadata.version(package) for module, package in LIBRARIES.items() if module in sys.modules}
    result = msgspec.structs.replace(
        trained, path=kept, seconds=trained.seconds or seconds, libraries=libraries | trained.libraries
    )
    written = folder / f"{RESULT}.part"
    written.write_bytes(msgspec.msgpack.encode(result, enc_hook=str))
    written.replace(folder / RESULT)


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
