"""Trains the delay model: LightGBM, with the loss that wins on the newest held-out fifth.

The first version was made as most first versions are: with LightGBM's default loss. Every later one also tries the
absolute error, which is what the model is judged by, and takes the better on held-out flights.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import lightgbm
import numpy as np
from numpy.typing import NDArray

from modelkeep import Field, Kind, Signature, Trained, TrainingRows, Value
from modelkeep.workloads.flights.data import INPUTS, UNITS

CATEGORIES = ("carrier", "origin", "dest")
INTEGERS = ("distance", "block", "hour", "weekday")
HELD_OUT = 0.2
TREES = 150
PARAMETERS = {
    "num_leaves": 15,
    "learning_rate": 0.05,
    "min_data_in_leaf": 200,
    "seed": 1,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbosity": -1,
}
RANGES = {
    "distance": (1.0, 6000.0),
    "block": (20.0, 900.0),
    "hour": (0.0, 23.0),
    "weekday": (0.0, 6.0),
    "temperature": (-40.0, 130.0),
    "wind_speed": (0.0, 150.0),
    "precipitation": (0.0, 10.0),
    "visibility": (0.0, 20.0),
}


def train(rows: TrainingRows) -> Trained:
    """Train on labelled flights, trying squared and absolute error.

    Args:
        rows: At least some hundred flights; columns by the names of INPUTS, the truth in minutes of arrival delay.

    Returns:
        The trained file with its signature and its error on the newest fifth, which it has not seen; the held-out
        flights are its reference.
    """
    return fit(rows, losses=("regression", "regression_l1"))


def fit(rows: TrainingRows, *, losses: Sequence[str]) -> Trained:
    """The same with the losses named as LightGBM names them."""
    order = np.argsort(np.asarray(rows.at), kind="stable")
    truth = np.asarray(rows.truth, dtype=np.float64)[order]
    signature = describe(rows.columns)
    matrix = encode(rows.columns, signature)[order]
    split = round(len(truth) * (1 - HELD_OUT))
    boosters = {loss: _boost(matrix[:split], truth[:split], loss=loss) for loss in losses}
    errors = {loss: _error(booster, matrix[split:], truth=truth[split:]) for loss, booster in boosters.items()}
    best = min(errors, key=errors.__getitem__)
    path = Path(tempfile.mkdtemp(prefix="flights-")) / "model.txt"
    boosters[best].save_model(str(path))
    return Trained(
        path=path,
        runtime="lightgbm",
        signature=signature,
        sample=_sample(rows, order[split:]),
        key="flight",
        time="departs",
        note=f"loss {best}; held-out MAE " + ", ".join(f"{loss} {error:.2f}" for loss, error in errors.items()),
    )


def _sample(rows: TrainingRows, places: NDArray[np.intp]) -> dict[str, list[Value]]:
    columns: dict[str, Sequence[Value]] = {**rows.columns, "delay": rows.truth, "flight": rows.keys, "departs": rows.at}
    return {name: [values[i] for i in places] for name, values in columns.items()}


def describe(columns: Mapping[str, Sequence[Value]]) -> Signature:
    """The signature of the delay model; airports and carriers are those of ``columns``."""
    return Signature(
        inputs=tuple(_field(name, columns[name]) for name in INPUTS),
        output=Field(name="delay", kind="number", unit=UNITS["delay"]),
    )


def encode(columns: Mapping[str, Sequence[Value]], signature: Signature) -> NDArray[np.float64]:
    """The matrix that LightGBM sees, one column an input: categories by their place, unknown as NaN."""
    return np.column_stack([_codes(field, columns[field.name]) for field in signature.inputs])


def _field(name: str, values: Sequence[Value]) -> Field:
    if name in CATEGORIES:
        return Field(name=name, kind="category", categories=tuple(sorted({str(v) for v in values})))
    low, high = RANGES[name]
    whole = name in INTEGERS  # the others are weather, which may be missing
    kind: Kind = "integer" if whole else "number"
    return Field(name=name, kind=kind, unit=UNITS.get(name, ""), low=low, high=high, nullable=not whole)


def _codes(field: Field, values: Sequence[Value]) -> NDArray[np.float64]:
    if field.kind != "category":
        return np.array([np.nan if v is None else float(v) for v in values])
    place = {name: float(code) for code, name in enumerate(field.categories)}
    return np.array([place.get(str(v), np.nan) for v in values])


def _boost(matrix: NDArray[np.float64], truth: NDArray[np.float64], *, loss: str) -> lightgbm.Booster:
    columns = [i for i, name in enumerate(INPUTS) if name in CATEGORIES]
    data = lightgbm.Dataset(matrix, truth, feature_name=list(INPUTS), categorical_feature=columns)
    return lightgbm.train(PARAMETERS | {"objective": loss}, data, num_boost_round=TREES)


def _error(booster: lightgbm.Booster, matrix: NDArray[np.float64], *, truth: NDArray[np.float64]) -> float:
    answers = cast("NDArray[np.float64]", booster.predict(matrix, num_threads=1))
    return float(np.abs(answers - truth).mean())
