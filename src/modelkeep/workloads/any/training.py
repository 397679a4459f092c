"""Trains a model for any table: LightGBM with careful defaults, stopped early and tested on the newest rows."""

import math
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import lightgbm
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from modelkeep import (
    Ensemble,
    Field,
    Member,
    Output,
    Refused,
    Signature,
    Trained,
    TrainingRows,
    Value,
    backtest,
    pack_ensemble,
    scored,
)
from modelkeep.workloads.any.splitting import Parts, Places, parts

Floats = NDArray[np.float64]
MOST_CATEGORIES = 100
ROUNDS, PATIENCE = 400, 30
RATE = 0.05
COVERED = 0.9


class Shape(Struct, frozen=True, kw_only=True):
    """What is learned: the signature, the matrix of the inputs, and the truth as numbers (classes by their place)."""

    signature: Signature
    matrix: Floats
    truth: Floats
    classes: tuple[Output, ...] = ()

    @property
    def categories(self) -> list[int]:
        """Places of the inputs that are categories."""
        return [i for i, field in enumerate(self.signature.inputs) if field.kind == "category"]


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
    objective, rounds, answers = _found(shape, split)
    worth = judged(rows, answers, places=split.test, classes=shape.classes)
    booster = _grown(shape, np.arange(len(shape.truth)), objective=objective, rounds=rounds)
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
        note=f"{objective}, {rounds} trees; tested by {split.by}: {worth.said}",
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


# ---------------------------------------------------------------------------------------------------- shape


def shaped(rows: TrainingRows) -> Shape:
    """What can be learned from rows. Raises Refused when the label never varies or no input does."""
    distinct = sorted(set(rows.truth), key=str)
    if len(distinct) < 2:
        raise Refused(f"the label is {distinct[0]!r} in all {len(rows.truth)} rows: there is nothing to learn")
    fields = [field for name, values in rows.columns.items() if (field := _input(name, values))]
    if not fields:
        raise Refused(
            "no column can be an input: each is constant, or holds texts of more than 100 different values",
            remedy="give the columns that the answer depends on",
        )
    classes: tuple[Output, ...] = () if isinstance(distinct[0], float) else tuple(distinct)
    place = {value: float(i) for i, value in enumerate(classes)}
    return Shape(
        signature=Signature(inputs=tuple(fields), output=_output(classes)),
        matrix=np.column_stack([_codes(field, rows.columns[field.name]) for field in fields]),
        truth=np.array([place[value] if classes else float(value) for value in rows.truth]),
        classes=classes,
    )


def _output(classes: Sequence[Output]) -> Field:
    if not classes:
        return Field(name="label", kind="number")
    if isinstance(classes[0], bool):
        return Field(name="label", kind="boolean")
    return Field(name="label", kind="category", categories=tuple(str(value) for value in classes))


def _input(name: str, values: Sequence[Value]) -> Field | None:
    """A column as an input without bounds (what is out of range is watched, not refused); None when it is useless."""
    distinct = {value for value in values if value is not None}
    if len(distinct) < 2:
        return None
    if all(isinstance(value, bool) for value in distinct):
        return Field(name=name, kind="boolean", nullable=True)
    if any(isinstance(value, str | bool) for value in distinct):
        if len(distinct) > MOST_CATEGORIES or not all(isinstance(value, str) for value in distinct):
            return None
        return Field(name=name, kind="category", categories=tuple(sorted(map(str, distinct))), nullable=True)
    return Field(name=name, kind="number", nullable=True)


def _codes(field: Field, values: Sequence[Value]) -> Floats:
    if field.kind != "category":
        return np.array([math.nan if value is None else float(value) for value in values])
    place = {name: float(code) for code, name in enumerate(field.categories)}
    return np.array([place.get(str(value), math.nan) for value in values])


# ---------------------------------------------------------------------------------------------------- trees


def _found(shape: Shape, split: Parts) -> tuple[str, int, list[Output]]:
    """The objective that errs least where growing is stopped, its number of trees, and its answers to the test rows."""
    tried = []
    for objective in _objectives(shape):
        booster = _grown(shape, split.fit, objective=objective, stop=split.stop)
        rounds = max(booster.best_iteration, 1)
        wrong = _loss(shape, answered(booster, shape, places=split.stop, rounds=rounds), places=split.stop)
        tried.append((wrong, objective, rounds))
    _, objective, rounds = min(tried)
    # What the test is judged by has also seen the rows that said when to stop, as the final file will have.
    booster = _grown(shape, np.concatenate([split.fit, split.stop]), objective=objective, rounds=rounds)
    return objective, rounds, answered(booster, shape, places=split.test, rounds=rounds)


def _objectives(shape: Shape) -> tuple[str, ...]:
    if not shape.classes:
        return ("regression", "regression_l1")
    return ("binary",) if len(shape.classes) == 2 else ("multiclass",)


def _parameters(shape: Shape, objective: str, *, n: int) -> dict[str, object]:
    found: dict[str, object] = {
        "objective": objective,
        "num_leaves": 31 if n >= 5000 else 15 if n >= 500 else 7,
        "learning_rate": RATE,
        "min_data_in_leaf": max(min(20, n // 30), 3),
        "lambda_l2": 1.0,
        "feature_fraction": 0.7,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "seed": 1,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }
    return found | ({"num_class": len(shape.classes)} if objective == "multiclass" else {})


def _grown(
    shape: Shape, places: Places, *, objective: str, stop: Places | None = None, rounds: int = ROUNDS
) -> lightgbm.Booster:
    # Without names of its own the file takes its inputs in the order of the signature: a stranger's names may hold
    # what the file cannot.
    data = lightgbm.Dataset(shape.matrix[places], shape.truth[places], categorical_feature=shape.categories)
    parameters = _parameters(shape, objective, n=len(places))
    if stop is None:
        return lightgbm.train(parameters, data, num_boost_round=rounds)
    held = lightgbm.Dataset(shape.matrix[stop], shape.truth[stop], reference=data)
    halt = lightgbm.early_stopping(PATIENCE, verbose=False)
    return lightgbm.train(parameters, data, num_boost_round=rounds, valid_sets=[held], callbacks=[halt])


def answered(booster: lightgbm.Booster, shape: Shape, *, places: Places, rounds: int) -> list[Output]:
    """The answers to rows in the form of the truth."""
    chances = cast("Floats", booster.predict(shape.matrix[places], num_iteration=rounds, num_threads=1))
    if not shape.classes:
        return list(chances.tolist())
    picked = chances.argmax(axis=1) if chances.ndim == 2 else (chances >= 0.5).astype(int)
    return [shape.classes[place] for place in picked]


def _loss(shape: Shape, answers: Sequence[Output], *, places: Places) -> float:
    truth = _truths(shape, places)
    if shape.classes:
        return float(np.mean([a != t for a, t in zip(answers, truth, strict=True)]))
    return float(np.mean([abs(float(a) - float(t)) for a, t in zip(answers, truth, strict=True)]))


def _truths(shape: Shape, places: Places) -> list[Output]:
    return [shape.classes[int(value)] if shape.classes else float(value) for value in shape.truth[places]]


# ---------------------------------------------------------------------------------------------------- worth


class Worth(Struct, frozen=True, kw_only=True):
    """What answers are worth: in words, as metrics, and the metrics of the simple rules by name."""

    said: str
    metrics: dict[str, float]
    rivals: dict[str, dict[str, float]]


def judged(rows: TrainingRows, answers: Sequence[Output], *, places: Places, classes: Sequence[Output]) -> Worth:
    """How good answers to the rows at ``places`` are beside the automatic baselines on the same rows."""
    truth = [rows.truth[i] for i in places]
    errors = scored(truth, {"model": list(answers), **_simple(rows, places, classifies=bool(classes))})
    mine = errors.pop("model")
    rivals = {name: sums.loss / sums.n for name, sums in errors.items() if sums.n}
    metrics = _finite(mine.metrics()) if mine.n else {}
    if not rivals:
        return Worth(said="no automatic baseline knows these rows", metrics=metrics, rivals={})
    best = min(rivals, key=rivals.__getitem__)
    error = mine.loss / mine.n
    if min(error, rivals[best]) > 0:
        metrics["skill"] = math.log(rivals[best] / error)
    listed = ", ".join(f"{name} {value:.4g}" for name, value in sorted(rivals.items(), key=lambda pair: pair[1]))
    place = f"below baseline {best!r}" if error >= rivals[best] else f"better than {best!r}"
    main = "accuracy" if classes else "mae"
    return Worth(
        said=f"{place}: error {error:.4g}, {listed}",
        metrics={main: metrics.pop(main), **metrics},
        rivals={name: _finite({main: sums.metrics()[main]}) for name, sums in errors.items() if sums.n},
    )


def _simple(rows: TrainingRows, places: Places, *, classifies: bool) -> dict[str, list[Output | None]]:
    known = backtest(
        rows.at,
        targets=rows.targets or rows.at,
        keys=rows.keys,
        truths=rows.truth,
        told=rows.told or rows.at,
        classifies=classifies,
    )
    found = {name: [values[i] for i in places] for name, values in known.items()}
    if any(value is not None for values in found.values() for value in values):
        return found
    return {"constant": [_constant(rows, places)] * len(places)}  # without moments nobody remembers anything


def _finite(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def _constant(rows: TrainingRows, places: Places) -> Output:
    """The one answer of somebody who knows no input: the most frequent class, or the median, of the other rows."""
    held = set(places.tolist())
    others = [truth for i, truth in enumerate(rows.truth) if i not in held]
    if isinstance(others[0], float):
        return float(np.median(np.array(others, dtype=np.float64)))
    return Counter(others).most_common(1)[0][0]


def _sample(rows: TrainingRows, split: Parts, *, shape: Shape) -> dict[str, list[Value]]:
    names = [field.name for field in shape.signature.inputs]
    columns: dict[str, Sequence[Value]] = {name: rows.columns[name] for name in names}
    columns |= {"label": rows.truth, "(key)": rows.keys, "(at)": rows.at}
    return {name: [values[i] for i in split.test] for name, values in columns.items()}
