"""Five hundred models of one entity each in one process: memory, seconds to load, and to load from files that are one.

python benchmarks/serving/many_models.py [--count 500]

Every model is LightGBM's, 100 trees of 31 leaves on data of its own, registered with the plan of its runner; the shelf
of a server loads them. What is printed is the memory of the process before, with all of them, and after letting go.
"""

import argparse
import hashlib
import tempfile
import time
from pathlib import Path

import lightgbm
import numpy as np
import psutil

from modelkeep.clock import SystemClock
from modelkeep.nouns import Field, Runner, Signature, Version
from modelkeep.runtimes.lightgbm_text import checked
from modelkeep.runtimes.runners import grown, plan
from modelkeep.serving import freeing
from modelkeep.serving.shelf import Keeping, Shelf
from modelkeep.store.folder import FolderFiles

NAMES = tuple("abcdefgh")
MB = 2**20


def made(seed: int) -> bytes:
    """A model's file."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(2000, 8))
    y = x[:, 0] * draw.normal() + np.sin(x[:, 1]) + draw.normal(size=2000) * 0.3
    params = {"verbose": -1, "num_threads": 1, "seed": seed}
    booster = lightgbm.train(params, lightgbm.Dataset(x, y, feature_name=list(NAMES)), 100)
    return booster.model_to_string().encode()


def versions(files: FolderFiles, count: int, *, runner: str) -> list[Version]:
    """So many registered models."""
    inputs = tuple(Field(name=name, kind="number", low=-9, high=9) for name in NAMES)
    signature = Signature(inputs=inputs, output=Field(name="y", kind="number"))
    found = []
    for number in range(count):
        data = made(number)
        known = grown.read(checked(data), names=NAMES, codes={}, labels=())
        digest = files.put(plan.encode(known))
        own = Runner(name=runner, rows=0, difference=0, one=0, hundred=0, library_one=0, library_hundred=0, plan=digest)
        found.append(
            Version(
                model=f"demand/{number}",
                number=1,
                artifact=files.put(data),
                size=len(data),
                runtime="lightgbm",
                signature=signature,
                created=0.0,
                runner=own,
            )
        )
    return found


def measured(count: int, runner: str) -> tuple[float, float, float, float]:
    """MB before, with all models and after, and the seconds that loading took."""
    with tempfile.TemporaryDirectory() as folder:
        files = FolderFiles(Path(folder))
        known = versions(files, count, runner=runner)
        shelf = Shelf(files, SystemClock(), keeping=Keeping(), uses=dict)
        freeing.give_back()
        process = psutil.Process()
        before = process.memory_info().rss / MB
        start = time.perf_counter()
        for version in known:
            assert not shelf.load([version], why="start")
        seconds = time.perf_counter() - start
        row = [dict.fromkeys(NAMES, 0.5)]
        digest = hashlib.sha256(repr([one.predict(row).values for one in shelf.loaded.values()]).encode()).hexdigest()
        full = process.memory_info().rss / MB
        for version in known:
            shelf.drop(version.model)
        shelf.retain(())
        freeing.give_back()
        print(f"    {runner:10} answers {digest[:12]}", end="  ")
        return before, full, process.memory_info().rss / MB, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500)
    given = parser.parse_args()
    print(f"{given.count} models of LightGBM, 100 trees x 31 leaves")
    for runner in ("native", "flattened", "compiled"):
        before, full, after, seconds = measured(given.count, runner)
        print(f"{before:6.0f} MB -> {full:6.0f} MB -> {after:6.0f} MB; {1000 * seconds / given.count:.1f} ms a model")


if __name__ == "__main__":
    main()
