"""The bars of workload ``any``: Elec2, 45,312 half hours of electricity prices, up or down."""

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import lightgbm
import numpy as np
from bar import Bar
from msgspec import structs

from modelkeep import TrainingRows, backtest, iso, moment
from modelkeep.runtimes import read_table
from modelkeep.workloads.any import training
from modelkeep.workloads.any.preparing import prepare

FIRST = 8000
WEEK = 336
WINDOW = 4000
AT_ONCE = 1799.0
"""Seconds after which a price is known: before the next half hour is asked about."""


def bars(data: Path) -> Iterator[Bar]:
    """Version 1 on the first 8,000 rows and left alone; retrained every week; beside persistence on the same rows."""
    table = read_table(found(data / "replay" / "w3_elec2.parquet"))
    table["label_time"] = [iso(moment(str(at)) + AT_ONCE) for at in table["event_time"]]
    rows = prepare(table)
    truth = np.array(rows.truth)
    n = len(truth)
    simple = {
        "persistence": kept(rows, start=FIRST),
        "majority": float(max(truth[FIRST:].mean(), 1 - truth[FIRST:].mean())),
    }
    about = {"workload": "any", "unit": "accuracy", "better": "more", "baselines": simple, "n": n - FIRST}

    began = time.perf_counter()
    frozen = answers(part(rows, 0, FIRST), rows, start=FIRST, end=n)
    yield Bar(
        what="Elec2, version 1 left alone",
        protocol="trained on rows 0-8,000, asked about all later ones; labels at once",
        target=0.706,
        reached=float((frozen == truth[FIRST:]).mean()),
        seconds=time.perf_counter() - began,
        **about,
    )
    began = time.perf_counter()
    chain = np.concatenate(
        [
            answers(part(rows, max(start - WINDOW, 0), start), rows, start=start, end=min(start + WEEK, n))
            for start in range(FIRST, n, WEEK)
        ]
    )
    yield Bar(
        what="Elec2, retrained",
        protocol="the same rows; every 336 rows anew on the 4,000 before",
        target=0.768,
        reached=float((chain == truth[FIRST:]).mean()),
        seconds=time.perf_counter() - began,
        **about,
    )


def found(path: Path) -> Path:
    """The file, if it is there."""
    if not path.exists():
        raise FileNotFoundError(2, "no such file", str(path))
    return path


def part(rows: TrainingRows, start: int, end: int) -> TrainingRows:
    """The rows ``start`` to ``end``."""

    def some(values: Sequence) -> list:
        return list(values[start:end])

    return structs.replace(
        rows,
        columns={name: some(values) for name, values in rows.columns.items()},
        truth=some(rows.truth), keys=some(rows.keys), at=some(rows.at), told=some(rows.told),
    )  # fmt: skip


def answers(learnt: TrainingRows, rows: TrainingRows, *, start: int, end: int) -> np.ndarray:
    """What a model that learnt from some rows says about others."""
    trained = training.train(learnt)
    booster = lightgbm.Booster(model_file=str(trained.path))
    matrix = [
        [math.nan if value is None else float(value) for value in rows.columns[field.name][start:end]]
        for field in trained.signature.inputs
    ]
    return booster.predict(np.column_stack(matrix), num_threads=1) >= 0.5


def kept(rows: TrainingRows, *, start: int) -> float:
    """The accuracy of the product's own persistence, from labels told before each question."""
    known = backtest(rows.at, targets=rows.at, keys=rows.keys, truths=rows.truth, told=rows.told, classifies=True)
    said = known["persistence"]
    return float(np.mean([a == t for a, t in zip(said[start:], rows.truth[start:], strict=True)]))
