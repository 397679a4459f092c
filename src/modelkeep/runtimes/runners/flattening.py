"""scikit-learn's trees as a ``Forest``, read from the fitted estimators' own nodes."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from modelkeep.runtimes.runners.forest import Forest, Integers, Tree, joined

_NO_SETS: list[list[int]] = []


def flattened(model: Any) -> Forest | None:
    """The trees of a fitted estimator, or None when it is none that is known."""
    read = _READ.get(type(model).__name__)
    return None if read is None or not type(model).__module__.startswith("sklearn.") else read(model)


def _histogram(model: Any) -> Forest:
    """Histogram gradient boosting: ``_predictors`` hold an array of nodes for every iteration and class."""
    known, places = model._bin_mapper.make_known_categories_bitsets()  # noqa: SLF001 - no public way leads to the trees
    found = {feature: _members(known[place]) for feature, place in enumerate(places.tolist()) if place < len(known)}
    trees = [_binned(tree, found) for stage in model._predictors for tree in stage]  # noqa: SLF001
    base = np.asarray(model._baseline_prediction, dtype=np.float64).reshape(-1)  # noqa: SLF001
    return joined(trees, width=len(base), features=int(model._n_features), base=base)  # noqa: SLF001


def _binned(predictor: Any, known: Mapping[int, list[int]]) -> Tree:
    nodes = predictor.nodes
    leaf = nodes["is_leaf"].astype(bool)
    inner = np.flatnonzero(~leaf)
    name = _names(leaf)
    left, right = name[nodes["left"][inner]], name[nodes["right"][inner]]
    missing = nodes["missing_go_to_left"][inner].astype(np.uint8)
    kind = np.full(len(inner), -1, dtype=np.int32)
    sets: list[list[int]] = []
    for place in np.flatnonzero(nodes["is_categorical"][inner]):
        node = nodes[inner[place]]
        chosen = _members(predictor.raw_left_cat_bitsets[node["bitset_idx"]])
        if missing[place]:  # all that is not known goes left: let the known ones that go right be the set
            chosen = sorted(set(known[int(node["feature_idx"])]) - set(chosen))
            left[place], right[place], missing[place] = right[place], left[place], 0
        kind[place] = len(sets)
        sets.append(chosen)
    return Tree(
        feature=nodes["feature_idx"][inner].astype(np.int32),
        threshold=nodes["num_threshold"][inner].astype(np.float64),
        left=left,
        right=right,
        missing=missing,
        kind=kind,
        sets=sets,
        values=nodes["value"][leaf].astype(np.float64).reshape(-1, 1),
    )


def _members(words: Any) -> list[int]:
    return [32 * i + bit for i, word in enumerate(words.tolist()) for bit in range(32) if word >> bit & 1]


def _names(leaf: Any) -> Integers:
    """What a node is called in a ``Tree``: its number among the inner nodes, or ~ that among the leaves."""
    return np.where(leaf, ~(np.cumsum(leaf) - 1), np.cumsum(~leaf) - 1).astype(np.int32)


def _grown(tree: Any, values: Any) -> Tree:
    """A tree of scikit-learn's own ``Tree``; ``values`` have a row a node."""
    leaf = tree.children_left == -1
    inner = np.flatnonzero(~leaf)
    name = _names(leaf)
    return Tree(
        feature=tree.feature[inner].astype(np.int32),
        threshold=tree.threshold[inner].astype(np.float64),
        left=name[tree.children_left[inner]],
        right=name[tree.children_right[inner]],
        missing=tree.missing_go_to_left[inner].astype(np.uint8),
        kind=np.full(len(inner), -1, dtype=np.int32),
        sets=_NO_SETS,
        values=np.ascontiguousarray(values[leaf], dtype=np.float64),
    )


def _mean(model: Any) -> Forest | None:
    """Random forests, extra trees and single trees: the mean of the trees' answers, or of their chances."""
    trees = getattr(model, "estimators_", None) or [model]
    if getattr(model, "n_outputs_", 1) != 1:
        return None
    grown = []
    for one in trees:
        values = one.tree_.value[:, 0, :]
        if hasattr(model, "classes_"):  # as predict_proba of one tree
            values = values[:, : one.tree_.n_classes[0]]
        grown.append(_grown(one.tree_, values))
    width = grown[0].values.shape[1]
    whole = not trees[0].__sklearn_tags__().input_tags.allow_nan
    return joined(
        grown,
        width=width,
        features=int(model.n_features_in_),
        base=np.zeros(width),
        divisor=float(len(trees)),
        vector=True,
        single=True,
        whole=whole,
    )


def _staged(model: Any) -> Forest | None:
    """Gradient boosting: a starting value, and the learning rate times every tree's answer."""
    start = model._raw_predict_init(np.zeros((1, model.n_features_in_), dtype=np.float32))  # noqa: SLF001
    if type(model.init_).__name__ not in {"DummyClassifier", "DummyRegressor", "str"}:
        return None  # it starts from another model's answer, which differs from row to row
    trees = [
        _grown(one.tree_, model.learning_rate * one.tree_.value[:, 0, :])
        for stage in model.estimators_
        for one in stage
    ]
    base = np.asarray(start, dtype=np.float64).reshape(-1)
    return joined(trees, width=len(base), features=int(model.n_features_in_), base=base, single=True, whole=True)


_READ: Mapping[str, Callable[[Any], Forest | None]] = {
    **dict.fromkeys(("HistGradientBoostingRegressor", "HistGradientBoostingClassifier"), _histogram),
    **dict.fromkeys(
        (
            *("RandomForestRegressor", "RandomForestClassifier", "ExtraTreesRegressor", "ExtraTreesClassifier"),
            *("DecisionTreeRegressor", "DecisionTreeClassifier", "ExtraTreeRegressor", "ExtraTreeClassifier"),
        ),
        _mean,
    ),
    **dict.fromkeys(("GradientBoostingRegressor", "GradientBoostingClassifier"), _staged),
}
