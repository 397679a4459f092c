"""Fits the tables that the feature code carries, and the members of the ensemble, on weighed objects.

Every object weighs the same however many photos it has. Tables are means shrunk towards what is known without them
(a table of densities, the mean of all materials): the empirical Bayes estimate of a mean from few objects.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import lightgbm
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from modelkeep.workloads.weight import features as code

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

MATERIAL, PAIR = 0.3, 1.0
"""So many objects' worth of doubt stands against a material's own density, and against its own look in one view."""
SPREAD = 0.15
UNHEARD = "(unheard of)"
"""The spread of log weights within a material before any was weighed, with the weight of two objects."""
TREES = ("long", "short", "third", "volume", "flat", "coin", "side", "physics", "above", "code")
RISING = frozenset({"long", "short", "third", "volume", "physics", "above"})
"""Inputs that cannot make an object lighter when they grow."""
LINE = ("long", "short", "third", "physics", "balanced", "coin")
PENALTIES = {"material": 0.3, "kind": 0.3, "material_kind": 0.6}


class Objects(Struct, frozen=True, kw_only=True):
    """Weighed rows: request rows, their sizes, log weights, and the object of each as a number."""

    rows: list[dict[str, Any]]
    sizes: list[dict[str, Any]]
    materials: NDArray[np.str_]
    kinds: NDArray[np.str_]
    volume: Floats
    truth: Floats
    groups: NDArray[np.int64]

    @property
    def n(self) -> int:
        """How many rows."""
        return len(self.rows)


def objects_of(rows: Sequence[dict[str, Any]], truth: Sequence[float] | Floats, *, groups: Sequence[str]) -> Objects:
    """Request rows with their weights in grams and the object of each."""
    sizes = [code.size_of(row) for row in rows]
    return Objects(
        rows=list(rows),
        sizes=sizes,
        materials=np.array([code.material_of(row) for row in rows], dtype=np.str_),
        kinds=np.array([size["kind"] for size in sizes], dtype=np.str_),
        volume=np.array([math.nan if size["volume"] is None else size["volume"] for size in sizes]),
        truth=np.log(np.asarray(truth, dtype=np.float64)),
        groups=np.unique(np.asarray(groups, dtype=np.str_), return_inverse=True)[1].astype(np.int64),
    )


def per_object(groups: NDArray[np.int64]) -> Floats:
    """Weights that sum to the number of rows and give every object the same."""
    _, place, count = np.unique(groups, return_inverse=True, return_counts=True)
    return (len(groups) / len(count)) / count[place].astype(np.float64)


def fit_tables(data: Objects, take: Mask) -> dict[str, Any]:
    """The tables of ``features.FITTED`` from the rows that ``take`` picks."""
    sized = take & np.isfinite(data.volume)
    weights = np.zeros(data.n)
    if sized.any():
        weights[sized] = per_object(data.groups[sized])
    known = np.log([code.DENSITIES.get(str(m), 1.0) for m in data.materials])
    rest = data.truth - data.volume - known
    kinds = {str(k): _mean(rest, sized & (data.kinds == k), weights=weights) for k in np.unique(data.kinds[sized])}
    rest = rest - np.array([kinds.get(str(k), 0.0) for k in data.kinds])
    density = {name: math.log(value) for name, value in code.DENSITIES.items()}
    pairs: dict[str, float] = {}
    for name in (str(m) for m in np.unique(data.materials[sized])):
        mine = sized & (data.materials == name)
        own = _mean(rest, mine, weights=weights) * _share(data, mine, doubt=MATERIAL)
        density[name] = own + math.log(code.DENSITIES.get(name, 1.0))
        for kind in kinds:
            both = mine & (data.kinds == kind)
            if both.any():
                pairs[f"{name}|{kind}"] = (_mean(rest, both, weights=weights) - own) * _share(data, both, doubt=PAIR)
    every = np.array([density[str(m)] for m in data.materials[sized]])
    density[""] = float(np.average(every, weights=weights[sized])) if sized.any() else 0.0
    usual, objects = _usual(data, take)
    physics = np.array([density.get(str(m), density[""]) for m in data.materials]) + data.volume
    for place, (name, kind) in enumerate(zip(data.materials.tolist(), data.kinds.tolist(), strict=True)):
        physics[place] += kinds.get(kind, 0.0) + pairs.get(f"{name}|{kind}", 0.0)
    squares = (data.truth - physics) ** 2
    noise = {
        kind: max(math.sqrt(_mean(squares, sized & (data.kinds == kind), weights=weights)), 0.02) for kind in kinds
    }
    return {
        "density": density,
        "kinds": kinds,
        "pairs": pairs,
        "usual": usual,
        "objects": objects,
        "noise": noise,
        "codes": {name: place for place, name in enumerate(sorted(objects))},
    }


def _mean(values: Floats, take: Mask, *, weights: Floats) -> float:
    return float(np.average(values[take], weights=weights[take]))


def _share(data: Objects, take: Mask, *, doubt: float) -> float:
    count = len(np.unique(data.groups[take]))
    return count / (count + doubt)


def _usual(data: Objects, take: Mask) -> tuple[dict[str, tuple[float, float]], dict[str, int]]:
    """What objects of each material usually weigh: (median, spread) of the log; and how many were weighed."""
    first = np.unique(data.groups[take], return_index=True)[1]
    truth, materials = data.truth[take][first], data.materials[take][first]
    usual = {"": (float(np.median(truth)), float(truth.std()) + SPREAD)}
    objects: dict[str, int] = {}
    for name in (str(m) for m in np.unique(materials)):
        own = truth[materials == name]
        middle = float(np.median(own))
        variance = (float(((own - middle) ** 2).sum()) + 2 * SPREAD**2) / (len(own) + 2)
        usual[name] = (middle, math.sqrt(variance * (1 + 1 / len(own))))
        objects[name] = len(own)
    return usual, objects


def inputs_of(data: Objects, take: Mask, *, tables: dict[str, Any], unheard: bool = False) -> list[dict[str, Any]]:
    """The members' inputs of the rows that ``take`` picks, as the packed code computes them.

    ``unheard`` gives them a material that nobody has heard of.
    """
    if unheard:
        return [
            code.inputs(data.rows[place] | {"material": UNHEARD}, data.sizes[place], fitted=tables)
            for place in np.flatnonzero(take).tolist()
        ]
    return [code.inputs(data.rows[place], data.sizes[place], fitted=tables) for place in np.flatnonzero(take).tolist()]


def matrix(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Floats:
    """Inputs as numbers, None as NaN; shape (rows, names)."""
    return np.array([[math.nan if row[name] is None else row[name] for name in names] for row in rows], dtype=float)


def fit_trees(rows: Sequence[Mapping[str, Any]], truth: Floats, *, groups: NDArray[np.int64]) -> lightgbm.Booster:
    """Boosted trees on log weights, with Huber's loss: a box drawn round the wrong thing must not bend the others."""
    few = len(np.unique(groups)) < 2000
    parameters = {
        "objective": "huber",
        "alpha": 0.2,
        "num_leaves": 8 if few else 31,
        "learning_rate": 0.04 if few else 0.08,
        "min_data_in_leaf": max(2, min(10, len(truth) // 20)),
        "lambda_l2": 1.0,
        "feature_fraction": 0.5,
        "bagging_fraction": 0.7,
        "bagging_freq": 1,
        "cat_smooth": 1.0,
        "cat_l2": 1.0,
        "min_data_per_group": 5,
        "monotone_constraints": [int(name in RISING) for name in TREES],
        "seed": 1,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }
    data = lightgbm.Dataset(
        matrix(rows, TREES), truth, weight=per_object(groups), feature_name=list(TREES), categorical_feature=["code"]
    )
    return lightgbm.train(parameters, data, num_boost_round=600 if few else 300)
