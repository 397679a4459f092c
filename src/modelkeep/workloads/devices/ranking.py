"""The failure model: small regularised trees, and an isolation forest beside them while failures are few.

With fewer than 100 failed devices a classifier has seen too little to rank the unusual; an isolation forest needs no
failures at all. Each scores a device by its rank among the training rows, and the mean of the two ranks is the score
(rank averaging, as in Aggarwal & Sathe, 2015, for scores that share no scale). A table then turns the score into the
probability of a failure within the horizon; it never changes the order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import lightgbm
import numpy as np
from numpy.typing import NDArray

from modelkeep.workloads.devices.features import LAGS, metrics_of, names_of
from modelkeep.workloads.devices.fleet import Floats
from modelkeep.workloads.devices.isolation import isolation_forest

FEW = 100
"""With fewer failed devices than this the isolation forest ranks beside the trees."""
FOLDS = 4
ROUNDS, BAGS = 150, 3
STEPS = 2000
PARAMETERS = {
    "objective": "binary",
    "num_leaves": 7,
    "learning_rate": 0.03,
    "min_data_in_leaf": 200,
    "lambda_l2": 30.0,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "feature_fraction": 0.5,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbosity": -1,
}


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """One member: its file, the inputs that it takes, and a table of evenly spaced quantiles of its score."""

    name: str
    data: bytes
    columns: tuple[str, ...]
    ranks: tuple[float, ...]

    def score(self, columns: Mapping[str, Floats]) -> Floats:
        """The rank of each row, 0..1."""
        raw = _answers(self.data, columns, self.columns)
        found: Floats = np.interp(raw, np.array(self.ranks), np.linspace(0.0, 1.0, len(self.ranks)))
        return found


def _answers(data: bytes, columns: Mapping[str, Floats], names: Sequence[str]) -> Floats:
    booster = lightgbm.Booster(model_str=data.decode("ascii"))
    found: Floats = np.asarray(booster.predict(matrix(columns, names), num_threads=1), dtype=np.float64)
    return found


def matrix(columns: Mapping[str, Floats], names: Sequence[str]) -> Floats:
    """Columns side by side."""
    return np.column_stack([columns[name] for name in names])


def tree_inputs(columns: Mapping[str, Floats]) -> tuple[str, ...]:
    """What the trees take: levels, and the distance from the device's usual."""
    return tuple(name for metric in metrics_of(columns) for name in (names_of(metric)[0], names_of(metric)[-1]))


def forest_inputs(columns: Mapping[str, Floats]) -> tuple[str, ...]:
    """What the isolation forest takes: levels, and their changes."""
    return tuple(name for metric in metrics_of(columns) for name in names_of(metric)[: 1 + len(LAGS)])


def folds(devices: Sequence[str], *, seed: int) -> NDArray[np.intp]:
    """A fold for each row; all rows of a device stand in one."""
    known, place = np.unique(np.array(devices, dtype=object).astype(str), return_inverse=True)
    return (np.random.default_rng(seed).permutation(len(known)) % FOLDS)[place].astype(np.intp)


def fit_trees(columns: Mapping[str, Floats], truth: Floats, *, seed: int) -> bytes:
    """Boosted trees as LightGBM's text; ``BAGS`` boosters of different seeds, each with a share of the rounds."""
    names = tree_inputs(columns)
    data = lightgbm.Dataset(matrix(columns, names), truth, feature_name=list(names), free_raw_data=False)
    booster = lightgbm.train(PARAMETERS | {"seed": seed}, data, num_boost_round=ROUNDS)
    return booster.model_to_string().encode("ascii")


def table_of(scores: Floats) -> tuple[float, ...]:
    """Evenly spaced quantiles of scores, the last a little above the highest."""
    found = np.quantile(scores, np.linspace(0.0, 1.0, STEPS + 1))
    found[-1] += max(0.25 * float(found[-1] - found[0]), 1e-9)
    return tuple(np.maximum.accumulate(found).tolist())
