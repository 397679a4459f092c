"""Trains a model for any table: LightGBM with careful defaults, stopped early and tested on the newest rows."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import lightgbm
import numpy as np

from modelkeep import Ensemble, Member, Output, Trained, TrainingRows, Value, pack_ensemble
from modelkeep.workloads.any.growing import found, grown
from modelkeep.workloads.any.judging import judged
from modelkeep.workloads.any.shaping import Floats, Shape, shaped
from modelkeep.workloads.any.splitting import Parts, Places, parts

COVERED = 0.9


def train(rows: TrainingRows) -> Trained:
    """Train on any labelled rows.

    Args:
        rows: At least 30. Numbers, true and false, and texts of at most 100 different values are inputs; the others
            are left out. Truths that are texts or true and false are classes, numbers are numbers.

    Returns:
        LightGBM trees. Its metrics are those of the newest fifth of the rows, which they had not seen, together with
        ``skill`` against the best automatic baseline on the same rows; the file is then fitted again to all rows, with
        the number of trees that was found. Numbers come with an interval that held 90 % of the test's truths (split
        conformal prediction, Papadopoulos et al. 2002). The note says so when it is below a baseline.

    Raises:
        Refused: too few rows, a label that never varies, or no usable input.
    """
    split = parts(rows)
    shape = shaped(rows)
    way, answers = found(shape, split)
    worth = judged(rows, answers, places=split.test, classes=shape.classes)
    booster = grown(shape, np.arange(len(shape.truth)), way=way)
    return Trained(
        path=_written(booster, shape, answers=answers, places=split.test),
        runtime="lightgbm" if shape.classes else "ensemble",
        signature=shape.signature,
        metrics=worth.metrics,
        rivals=worth.rivals,
        sample=_sample(rows, split, shape=shape),
        key="(key)",
        time="(at)" if split.by == "time" else "",
        split=split.by,
        note=f"{way.said}; tested by {split.by}: {worth.said}",
    )


def _written(booster: lightgbm.Booster, shape: Shape, *, answers: Sequence[Output], places: Places) -> Path:
    """The model file: bare trees for classes; for numbers with the interval that the test's errors give."""
    folder = Path(tempfile.mkdtemp(prefix="any-"))
    if shape.classes:
        booster.save_model(str(folder / "model.txt"))
        return folder / "model.txt"
    low, high = interval(shape.truth[places] - np.array(answers, dtype=np.float64))
    names = tuple(field.name for field in shape.signature.inputs)
    trees = Member(name="trees", runtime="lightgbm", data=booster.model_to_string().encode(), columns=names)
    floor = 0.0 if float(shape.truth.min()) >= 0 else None
    return pack_ensemble(
        Ensemble(members=(trees,), weights={"trees": 1.0}, low=low, high=high, floor=floor), folder / "model.zip"
    )


def interval(residuals: Floats) -> tuple[float, float]:
    """What to add to an answer for an interval that holds 90 % of truths, from truth - answer on rows not learnt from.

    >>> interval(np.arange(-10.0, 11.0))
    (-10.0, 10.0)
    """
    n = len(residuals)
    tail = (1 - COVERED) / 2
    share = min((1 - tail) * (1 + 1 / n), 1.0)  # of a sample this small, so that the promise holds for the next row
    low, high = np.quantile(residuals, [1 - share, share], method="inverted_cdf")
    return min(float(low), 0.0), max(float(high), 0.0)


def _sample(rows: TrainingRows, split: Parts, *, shape: Shape) -> dict[str, list[Value]]:
    names = [field.name for field in shape.signature.inputs]
    columns: dict[str, Sequence[Value]] = {name: rows.columns[name] for name in names}
    columns |= {"label": rows.truth, "(key)": rows.keys, "(at)": rows.at}
    return {name: [values[i] for i in split.test] for name, values in columns.items()}
