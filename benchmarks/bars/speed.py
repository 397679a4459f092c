"""One prediction of every workload's champion, and the training of each, on simulated tables."""

import importlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bar import Bar

from modelkeep import App, Recipe, Settings
from modelkeep.extending import BUILT_IN, find
from modelkeep.runtimes import load

ROWS, SEED, ASKED = 4000, 1, 500
MORE = {"devices-failure": 40_000}
"""Rows of simulated tables in which too little happens otherwise."""
LIMIT, TRAINING = 10.0, 60.0
"""Milliseconds of the 95th of 100 single predictions, and seconds of a training."""


def bars(_: Path) -> Iterator[Bar]:
    """Every recipe that has a simulator: trained through the app, loaded as the server does, asked row by row."""
    for name in BUILT_IN:
        for recipe in find(name).recipes:
            if recipe.simulate:
                yield from _of(name, recipe)


def _of(name: str, recipe: Recipe) -> Iterator[Bar]:
    module, _, function = recipe.simulate.partition(":")
    table = getattr(importlib.import_module(module), function)(MORE.get(recipe.model, ROWS), SEED)
    with tempfile.TemporaryDirectory() as folder, App.open(Settings(folder=Path(folder))) as app:
        began = time.perf_counter()
        app.train(f"{name}/{recipe.model}", table, release=False, data_source="sample", why="its speed is measured")
        taken = time.perf_counter() - began
        with app.rooms.store.read() as ledger:
            version = ledger.versions.all(recipe.model)[-1]
        rows = _rows(recipe, table)
        predict = load(version, app.rooms.files.path).predict
        best = min(_p95(predict, rows) for _ in range(3))
    protocol = f"simulated, {len(next(iter(table.values()))):,} rows; {ASKED} single rows, best of 3"
    yield Bar(
        workload=name, what=f"{recipe.model}: one prediction, p95", protocol=protocol, unit="ms", target=LIMIT,
        reached=best * 1000, n=ASKED, seconds=taken,
    )  # fmt: skip
    yield Bar(
        workload=name, what=f"{recipe.model}: training, all of it", protocol="read, prepared, checked, fitted, kept",
        unit="s", target=TRAINING, reached=taken, n=len(rows), seconds=taken,
    )  # fmt: skip


def _rows(recipe: Recipe, table: dict) -> list[dict]:
    module, _, function = recipe.prepare.partition(":")
    prepared = getattr(importlib.import_module(module), function)(table)
    places = range(0, len(prepared.truth), max(len(prepared.truth) // ASKED, 1))
    return [{name: values[i] for name, values in prepared.columns.items()} for i in places]


def _p95(predict, rows: list[dict]) -> float:
    taken = []
    for row in rows:
        began = time.perf_counter()
        predict([row])
        taken.append(time.perf_counter() - began)
    return sorted(taken)[int(0.95 * len(taken))]
