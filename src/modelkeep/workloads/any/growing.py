"""Grows the trees: careful defaults, stopped early, with the objective and the memory that win on held-out rows."""

from collections.abc import Sequence
from typing import cast

import lightgbm
import numpy as np
from msgspec import Struct, structs

from modelkeep import Output
from modelkeep.workloads.any.shaping import Floats, Shape
from modelkeep.workloads.any.splitting import Parts, Places

ROUNDS, PATIENCE = 400, 30
RATE = 0.05
MEMORIES: tuple[int, ...] = (8,)
"""Half-lives that are tried beside "never forget", as parts of the time that the rows span."""


class Way(Struct, frozen=True, kw_only=True):
    """How trees are grown: LightGBM's objective, how many, and the seconds in which a row counts half (0 = never)."""

    objective: str
    rounds: int = ROUNDS
    forgets: float = 0.0

    @property
    def said(self) -> str:
        """In words."""
        memory = f", a row counts half after {self.forgets / 86400:.3g} days" if self.forgets else ""
        return f"{self.objective}, {self.rounds} trees{memory}"


def found(shape: Shape, split: Parts) -> tuple[Way, list[Output]]:
    """The way that errs least where growing is stopped, and its answers to the test rows.

    First with every row counting the same and with old ones fading; then, for numbers, the absolute error too.
    """
    objectives = _objectives(shape)
    ways = [Way(objective=objectives[0])]
    if shape.ages is not None:
        ways += [Way(objective=objectives[0], forgets=float(shape.ages.max()) / part) for part in MEMORIES]
    tried = [_tried(shape, split, way=way) for way in ways]
    best = min(tried, key=lambda pair: pair[0])[1]
    tried += [_tried(shape, split, way=Way(objective=name, forgets=best.forgets)) for name in objectives[1:]]
    best = min(tried, key=lambda pair: pair[0])[1]
    # What the test is judged by has also seen the rows that said when to stop, as the final file will have.
    booster = grown(shape, np.concatenate([split.fit, split.stop]), way=best)
    return best, answered(booster, shape, places=split.test)


def _tried(shape: Shape, split: Parts, *, way: Way) -> tuple[float, Way]:
    """The error where growing is stopped, and the way with its number of trees."""
    data = _data(shape, split.fit, way=way)
    held = lightgbm.Dataset(shape.matrix[split.stop], shape.truth[split.stop], reference=data)
    halt = lightgbm.early_stopping(PATIENCE, verbose=False)
    booster = lightgbm.train(
        _parameters(shape, way.objective, n=len(split.fit)), data, num_boost_round=ROUNDS, valid_sets=[held],
        callbacks=[halt],
    )  # fmt: skip
    rounds = max(booster.best_iteration, 1)
    wrong = _loss(shape, answered(booster, shape, places=split.stop, rounds=rounds), places=split.stop)
    return wrong, structs.replace(way, rounds=rounds)


def grown(shape: Shape, places: Places, *, way: Way) -> lightgbm.Booster:
    """Trees of the rows at ``places``."""
    parameters = _parameters(shape, way.objective, n=len(places))
    return lightgbm.train(parameters, _data(shape, places, way=way), num_boost_round=way.rounds)


def _data(shape: Shape, places: Places, *, way: Way) -> lightgbm.Dataset:
    # Without names of its own the file takes its inputs in the order of the signature: a stranger's names may hold
    # what the file cannot.
    weights = None
    if way.forgets and shape.ages is not None:
        ages = shape.ages[places]
        weights = 0.5 ** ((ages - ages.min()) / way.forgets)
    return lightgbm.Dataset(
        shape.matrix[places], shape.truth[places], weight=weights, categorical_feature=shape.categories
    )


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


def answered(booster: lightgbm.Booster, shape: Shape, *, places: Places, rounds: int | None = None) -> list[Output]:
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
