"""The failure model: small regularised trees, and an isolation forest beside them while failures are few.

With fewer than 100 failed devices a classifier has seen too little to rank the unusual; an isolation forest needs no
failures at all. Each scores a device by its rank among the training rows, and a weighed mean of the ranks is the score
(rank averaging, as in Aggarwal & Sathe, 2015, for scores that share no scale); the forest's weight is what ranks
devices best that the trees had not seen. A table then turns the score into the
probability of a failure within the horizon; it never changes the order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import lightgbm
import numpy as np
from numpy.typing import NDArray

from modelkeep import Ensemble, Member
from modelkeep.workloads.devices.budget import average_precision
from modelkeep.workloads.devices.features import LAGS, metrics_of, names_of
from modelkeep.workloads.devices.fleet import Floats
from modelkeep.workloads.devices.isolation import isolation_forest

FEW = 100
"""With fewer failed devices than this the isolation forest ranks beside the trees."""
FOLDS = 3
STEPS = 2000
POINTS = 200
SHARES_OF_FOREST = (0.0, 0.5)
RIDGE = 1.0
_SHARES = np.linspace(0.0, 1.0, STEPS + 1)
PARAMETERS = {
    "objective": "binary",
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "feature_fraction": 0.5,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbosity": -1,
}
SMALL = {"num_leaves": 7, "learning_rate": 0.03, "min_data_in_leaf": 200, "lambda_l2": 30.0, "num_iterations": 150}
SMALLER = {"num_leaves": 4, "learning_rate": 0.05, "min_data_in_leaf": 50, "lambda_l2": 10.0, "num_iterations": 100}


@dataclass(frozen=True, kw_only=True)
class Boosting:
    """How one member of boosted trees is made: small and regularised, each a little different from the others."""

    name: str
    changes: bool
    shape: Mapping[str, float]


BOOSTINGS = (
    Boosting(name="trees", changes=False, shape=SMALL),
    Boosting(name="trees_changes", changes=True, shape=SMALL),
    Boosting(name="trees_shallow", changes=False, shape=SMALLER),
)


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """One member: its file, the inputs that it takes, and a table of evenly spaced quantiles of its score."""

    name: str
    data: bytes
    columns: tuple[str, ...]
    ranks: tuple[float, ...]

    def score(self, columns: Mapping[str, Floats]) -> Floats:
        """The rank of each row, 0..1."""
        raw = answers(self.data, columns, names=self.columns)
        found: Floats = np.interp(raw, np.array(self.ranks), np.linspace(0.0, 1.0, len(self.ranks)))
        return found


def answers(data: bytes, columns: Mapping[str, Floats], *, names: Sequence[str]) -> Floats:
    """What a LightGBM file answers to each row of columns."""
    booster = lightgbm.Booster(model_str=data.decode("ascii"))
    found: Floats = np.asarray(booster.predict(matrix(columns, names), num_threads=1), dtype=np.float64)
    return found


def matrix(columns: Mapping[str, Floats], names: Sequence[str]) -> Floats:
    """Columns side by side."""
    return np.column_stack([columns[name] for name in names])


def tree_inputs(columns: Mapping[str, Floats], *, changes: bool) -> tuple[str, ...]:
    """What the trees take: levels and the distance from the device's usual; with ``changes`` these, too."""
    if changes:
        return tuple(name for metric in metrics_of(columns) for name in names_of(metric))
    return tuple(name for metric in metrics_of(columns) for name in (names_of(metric)[0], names_of(metric)[-1]))


def forest_inputs(columns: Mapping[str, Floats]) -> tuple[str, ...]:
    """What the isolation forest takes: levels, and their changes."""
    return tuple(name for metric in metrics_of(columns) for name in names_of(metric)[: 1 + len(LAGS)])


def folds(devices: Sequence[str], *, seed: int) -> NDArray[np.intp]:
    """A fold for each row; all rows of a device stand in one."""
    known, place = np.unique(np.array(devices, dtype=object).astype(str), return_inverse=True)
    return (np.random.default_rng(seed).permutation(len(known)) % FOLDS)[place].astype(np.intp)


def fit_trees(how: Boosting, data: lightgbm.Dataset, *, seed: int, rows: NDArray[np.intp] | None = None) -> bytes:
    """Boosted trees as LightGBM's text, of all rows or of some."""
    part = data if rows is None else data.subset(rows.tolist())
    return lightgbm.train({**PARAMETERS, **how.shape, "seed": seed}, part).model_to_string().encode("ascii")


def _dataset(how: Boosting, columns: Mapping[str, Floats], *, truth: Floats) -> lightgbm.Dataset:
    names = tree_inputs(columns, changes=how.changes)
    data = lightgbm.Dataset(
        matrix(columns, names), truth, feature_name=list(names), params={**PARAMETERS, **how.shape}, free_raw_data=False
    )
    return data.construct()


def table_of(scores: Floats) -> tuple[float, ...]:
    """Evenly spaced quantiles of scores, the last a little above the highest."""
    found = np.quantile(scores, np.linspace(0.0, 1.0, STEPS + 1))
    found[-1] += max(0.25 * float(found[-1] - found[0]), 1e-9)
    return tuple(np.maximum.accumulate(found).tolist())


@dataclass(frozen=True, kw_only=True)
class Model:
    """A fitted ranking: its members with their weights, the table from score to probability, and the threshold."""

    scorers: tuple[Scorer, ...]
    weights: dict[str, float]
    calibrated: tuple[tuple[float, float], ...]
    threshold: float

    def score(self, columns: Mapping[str, Floats]) -> Floats:
        """The weighed mean of the members' ranks, 0..1."""
        return _mean(self.scorers, columns, weights=self.weights)

    def chance(self, columns: Mapping[str, Floats]) -> Floats:
        """The probability of a failure within the horizon."""
        places, chances = zip(*self.calibrated, strict=True)
        found: Floats = np.interp(self.score(columns), np.array(places), np.array(chances))
        return found

    def forest_score(self, columns: Mapping[str, Floats]) -> Floats:
        """The isolation forest's rank alone."""
        return next(scorer for scorer in self.scorers if scorer.name == "forest").score(columns)

    def ensemble(self) -> Ensemble:
        """The model as a file's content."""
        members = tuple(
            Member(name=s.name, runtime="lightgbm", data=s.data, columns=s.columns, ranks=s.ranks) for s in self.scorers
        )
        return Ensemble(members=members, weights=self.weights, calibrated=self.calibrated, floor=0.0, ceiling=1.0)


def _mean(scorers: Sequence[Scorer], columns: Mapping[str, Floats], *, weights: Mapping[str, float]) -> Floats:
    found: Floats = np.sum([weights[scorer.name] * scorer.score(columns) for scorer in scorers], axis=0)
    return found


def fit(columns: Mapping[str, Floats], truth: Floats, *, devices: Sequence[str], seed: int) -> Model:
    """Fit the ranking to device days.

    Its weights, ranks and probabilities come from scores of devices that the scoring trees had not seen (``FOLDS``
    folds of devices), because on its own rows a booster is too sure of itself.
    """
    data = [_dataset(how, columns, truth=truth) for how in BOOSTINGS]
    fold = folds(devices, seed=seed)
    unseen = [
        _unseen(how, binned, columns=columns, fold=fold, seed=seed) for how, binned in zip(BOOSTINGS, data, strict=True)
    ]
    scorers = [
        Scorer(
            name=how.name,
            data=fit_trees(how, binned, seed=seed),
            columns=tree_inputs(columns, changes=how.changes),
            ranks=table_of(scores),
        )
        for how, binned, scores in zip(BOOSTINGS, data, unseen, strict=True)
    ]
    ranks = np.mean(
        [np.interp(scores, np.array(one.ranks), _SHARES) for one, scores in zip(scorers, unseen, strict=True)], axis=0
    )
    inputs = forest_inputs(columns)
    alone = isolation_forest({name: columns[name] for name in inputs}, seed=seed)
    forest = Scorer(name="forest", data=alone, columns=inputs, ranks=table_of(answers(alone, columns, names=inputs)))
    strange = forest.score(columns)
    failed = len({device for device, true in zip(devices, truth.tolist(), strict=True) if true})
    shares = SHARES_OF_FOREST if failed < FEW else SHARES_OF_FOREST[:1]
    share = max(shares, key=lambda share: average_precision((1 - share) * ranks + share * strange, truth))
    score = (1 - share) * ranks + share * strange
    calibrated = calibration(score, truth)
    places, chances = zip(*calibrated, strict=True)
    return Model(
        scorers=(*scorers, forest),
        weights={one.name: (1 - share) / len(scorers) for one in scorers} | {"forest": share},
        calibrated=calibrated,
        threshold=best_threshold(np.interp(score, np.array(places), np.array(chances)), truth),
    )


def _unseen(
    how: Boosting, data: lightgbm.Dataset, *, columns: Mapping[str, Floats], fold: NDArray[np.intp], seed: int
) -> Floats:
    """The scores of rows by trees that were fitted to other devices."""
    truth = np.asarray(data.get_label())
    found = np.zeros(len(truth))
    names = tree_inputs(columns, changes=how.changes)
    for number in range(FOLDS):
        outside = fold == number
        if outside.any() and truth[~outside].any():
            fitted = fit_trees(how, data, seed=seed, rows=np.flatnonzero(~outside))
            found[outside] = answers(fitted, _part(columns, outside), names=names)
    return found


def _part(columns: Mapping[str, Floats], rows: NDArray[np.bool_]) -> dict[str, Floats]:
    return {name: values[rows] for name, values in columns.items()}


def calibration(score: Floats, truth: Floats) -> tuple[tuple[float, float], ...]:
    """A rising table from score to probability: log-odds as a straight line of -log(1 - rank of the score).

    Chances of rare events grow with the tail of the ranks, not with the ranks; two numbers are fitted (Newton, with a
    little ridge), so that few failures suffice, and the slope is never below 0.01: the order stays as it is.
    """
    steps = np.quantile(score, np.linspace(0.0, 1.0, POINTS + 1))
    tail = np.interp(score, steps, _tail(POINTS))
    weights = _logistic(tail, truth)
    chances = 1 / (1 + np.exp(-(weights[0] + weights[1] * _tail(POINTS))))
    known = dict(zip(steps.tolist(), chances.tolist(), strict=True))  # of equal scores the highest chance
    beyond = weights[0] + weights[1] * (_tail(POINTS)[-1] + np.log(2))  # as far out as one row in twice as many
    last = float(1 / (1 + np.exp(-beyond)))
    return ((0.0, float(chances[0]) / 2), *((p, c) for p, c in known.items() if 0 < p < 1), (1.0, last))


def _tail(points: int) -> Floats:
    found: Floats = -np.log(1 - np.linspace(0.0, 1.0, points + 1) * (1 - 0.2 / points))
    return found


def _logistic(values: Floats, truth: Floats) -> Floats:
    table = np.column_stack([np.ones_like(values), values])
    weights = np.array([np.log(max(truth.mean(), 1e-6) / (1 - min(truth.mean(), 1 - 1e-6))), 0.5])
    for _ in range(30):
        chance = 1 / (1 + np.exp(-np.clip(table @ weights, -30, 30)))
        slope = table.T @ (chance - truth) + RIDGE * weights * [0, 1]
        curve = (table * (chance * (1 - chance))[:, None]).T @ table + RIDGE * np.diag([1e-6, 1.0])
        step = np.linalg.solve(curve, slope)
        weights = weights - step
        if np.abs(step).max() < 1e-9:
            break
    found: Floats = np.array([weights[0], max(weights[1], 0.01)])
    return found


def best_threshold(chance: Floats, truth: Floats) -> float:
    """The probability from which saying "fails" has the best F1 among these rows."""
    order = np.argsort(-chance, kind="stable")
    right = np.cumsum(truth[order])
    f1 = 2 * right / (np.arange(1, len(order) + 1) + truth.sum())
    return float(chance[order][int(f1.argmax())])
