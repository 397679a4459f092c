"""XGBoost's own file (JSON or UBJSON, ``save_model``), checked and read without XGBoost.

The library's parser trusts what it reads, so that it only ever sees what was checked here and written anew: every tree
is one, every place that a node names exists. What is read is enough to answer without the library.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np
from msgspec import UNSET, Struct, UnsetType, structs

from modelkeep.errors import BadArtifact
from modelkeep.runtimes import ubjson

Link: TypeAlias = Literal["identity", "log", "logit", "softmax"]
LINKS: dict[str, Link] = {
    **dict.fromkeys(
        (
            *("reg:squarederror", "reg:squaredlogerror", "reg:absoluteerror", "reg:pseudohubererror", "reg:linear"),
            *("reg:quantileerror", "rank:pairwise", "rank:ndcg", "rank:map", "binary:logitraw"),
        ),
        "identity",
    ),
    **dict.fromkeys(("count:poisson", "reg:gamma", "reg:tweedie", "survival:cox"), "log"),
    **dict.fromkeys(("reg:logistic", "binary:logistic"), "logit"),
    **dict.fromkeys(("multi:softprob", "multi:softmax"), "softmax"),
}
"""The objectives that are served, and the space in which their trees add up."""
DEEPEST = 500
MOST_CATEGORIES = 1 << 24
_CUT = "copy the file again, or save it again with save_model"
_UNNAMED = re.compile(r"f\d+")
_LARGEST = float(np.finfo(np.float32).max)
_KINDS = frozenset({"q", "c", "i", "int", "float", "indicator"})


class Node(Struct, frozen=True, kw_only=True):
    """One tree as the file has it: arrays over its nodes, the first the root; a leaf has no children (-1)."""

    tree_param: dict[str, str]
    left_children: list[int]
    right_children: list[int]
    parents: list[int]
    split_indices: list[int]
    split_conditions: list[float]
    default_left: list[int | bool]
    sum_hessian: list[float]
    base_weights: list[float]
    loss_changes: list[float]
    id: int = 0
    split_type: list[int] = []
    categories: list[int] = []
    categories_nodes: list[int] = []
    categories_segments: list[int] = []
    categories_sizes: list[int] = []


class _Model(Struct, frozen=True, kw_only=True):
    gbtree_model_param: dict[str, str] = {}
    tree_info: list[int] = []
    trees: list[Node] = []
    iteration_indptr: list[int] | UnsetType = UNSET
    cats: dict[str, Any] | UnsetType = UNSET


class _Plain(Struct, frozen=True, kw_only=True):
    model: _Model
    name: str = "gbtree"


class _Booster(Struct, frozen=True, kw_only=True):
    name: str
    model: _Model | UnsetType = UNSET
    gbtree: _Plain | UnsetType = UNSET
    weight_drop: list[float] | UnsetType = UNSET


class _Learner(Struct, frozen=True, kw_only=True):
    gradient_booster: _Booster
    learner_model_param: dict[str, str]
    objective: dict[str, str | dict[str, str]]
    feature_names: list[str] = []
    feature_types: list[str] = []
    attributes: dict[str, str] = {}


class _File(Struct, frozen=True, kw_only=True):
    learner: _Learner
    version: list[int]


class Boosted(Struct, frozen=True, kw_only=True):
    """A file that was checked.

    ``groups`` says to which output each of the ``trees`` adds, ``weights`` by how much (all 1 but for DART); ``base``
    are the answers' beginnings as the file has them, in the output's own unit. ``categories`` are the values of inputs
    that are categories, by place, where the file knows them. ``text`` is what the library may see.
    ``dropped`` = it is DART.
    """

    named: tuple[str, ...]
    features: int
    outputs: int
    objective: str
    link: Link
    trees: tuple[Node, ...]
    groups: tuple[int, ...]
    weights: tuple[float, ...]
    base: tuple[float, ...]
    kinds: tuple[int, ...]
    categories: dict[int, tuple[str, ...]]
    version: tuple[int, ...]
    text: bytes
    dropped: bool

    @property
    def classifies(self) -> bool | None:
        """Whether it answers classes; None when the objective does not tell."""
        return self.objective == "binary:logistic" or self.link == "softmax"


def checked(data: bytes, *, stopped: bool = False) -> Boosted:
    """A file whose trees are all whole; with ``stopped`` only those up to the best iteration, if it names one.

    So it is with a file that scikit-learn's wrapper has saved. Raises BadArtifact with what is wrong with it.
    """
    try:
        return _read(_decoded(data), stopped=stopped)
    except (msgspec.MsgspecError, ValueError, KeyError, IndexError, OverflowError, RecursionError) as error:
        raise BadArtifact(f"not a whole XGBoost file: {error}", remedy=_CUT) from error


def _decoded(data: bytes) -> _File:
    if data[1:2] in {b"L", b"l", b"I", b"i", b"U"}:
        return msgspec.convert(ubjson.decode(data), type=_File)
    return msgspec.json.decode(data, type=_File)


def _read(file: _File, *, stopped: bool) -> Boosted:
    learner = file.learner
    booster = learner.gradient_booster
    plain = booster.gbtree.model if isinstance(booster.gbtree, _Plain) else booster.model
    if booster.name not in {"gbtree", "dart"} or isinstance(plain, UnsetType):
        raise BadArtifact(f"the booster {booster.name!r} is not served", remedy="train with gbtree or dart")
    objective = learner.objective.get("name")
    if not isinstance(objective, str) or objective not in LINKS:
        raise BadArtifact(f"the objective {objective!r} is not served", remedy=f"one of: {', '.join(sorted(LINKS))}")
    features, outputs = _shape(learner.learner_model_param)
    model, drops = _best(plain, booster, learner=learner, stopped=stopped)
    for number, tree in enumerate(model.trees):
        _check_tree(tree, number=number, features=features)
    if len(model.tree_info) != len(model.trees) or len(drops) != len(model.trees) or not model.trees:
        raise ValueError(f"{len(model.trees)} trees, {len(model.tree_info)} places of them")
    if not all(0 <= group < outputs for group in model.tree_info) or not np.isfinite(drops).all():
        raise ValueError(f"a tree adds to an output beyond {outputs}")
    types = learner.feature_types
    if len(learner.feature_names) not in {0, features} or len(types) not in {0, features} or set(types) - _KINDS:
        raise ValueError(f"{len(learner.feature_names)} names for {features} features, or a kind that is unknown")
    if len(file.version) != 3 or not 1 <= file.version[0] <= 9 or not all(0 <= part < 100 for part in file.version):
        raise ValueError(f"it was written by version {file.version}")
    return Boosted(
        named=_names(learner.feature_names),
        features=features,
        outputs=outputs,
        objective=objective,
        link=LINKS[objective],
        trees=tuple(model.trees),
        groups=tuple(model.tree_info),
        weights=tuple(drops),
        base=_base(learner.learner_model_param["base_score"], outputs),
        kinds=tuple(place for place, kind in enumerate(types) if kind == "c"),
        categories=_categories(model.cats, features),
        version=tuple(file.version),
        text=_text(file, model, drops=drops),
        dropped=booster.name == "dart",
    )


def _shape(said: dict[str, str]) -> tuple[int, int]:
    features, classes = int(said["num_feature"]), int(said.get("num_class", "0"))
    if int(said.get("num_target", "1")) > 1:
        raise BadArtifact("it answers several targets at once", remedy="train one model for each target")
    if not 1 <= features <= 100_000 or not 0 <= classes <= 10_000:
        raise ValueError(f"{features} features, {classes} classes")
    return features, max(classes, 1)


def _best(model: _Model, booster: _Booster, *, learner: _Learner, stopped: bool) -> tuple[_Model, list[float]]:
    """The trees that answer: those up to the best iteration, where scikit-learn's wrapper has stopped early."""
    drops = [1.0] * len(model.trees) if isinstance(booster.weight_drop, UnsetType) else booster.weight_drop
    ends, best = model.iteration_indptr, learner.attributes.get("best_iteration")
    stopped = stopped or "scikit_learn" in learner.attributes
    if best is None or not stopped or isinstance(ends, UnsetType):
        return model, drops
    until = int(best) + 1
    if not 0 < until < len(ends) or not 0 < ends[until] <= len(model.trees):
        raise ValueError(f"its best iteration {best} is none that it has")
    n = ends[until]
    return structs.replace(
        model,
        trees=model.trees[:n],
        tree_info=model.tree_info[:n],
        iteration_indptr=ends[: until + 1],
        gbtree_model_param=model.gbtree_model_param | {"num_trees": str(n)},
    ), drops[:n]


def _names(names: list[str]) -> tuple[str, ...]:
    if len(set(names)) < len(names) or not all(name.isprintable() and name for name in names):
        raise ValueError("two inputs have the same name, or one has none")
    return () if all(_UNNAMED.fullmatch(name) for name in names) else tuple(names)


def _base(said: str, outputs: int) -> tuple[float, ...]:
    values = tuple(float(part) for part in said.strip("[]").split(","))
    if len(values) == 1:
        values *= outputs
    if len(values) != outputs or not np.isfinite(values).all():
        raise ValueError(f"its base score {said!r} is not {outputs} numbers")
    return values


def _check_tree(tree: Node, *, number: int, features: int) -> None:
    count = len(tree.left_children)
    own = (tree.right_children, tree.parents, tree.split_indices, tree.split_conditions, tree.default_left)
    more = (tree.sum_hessian, tree.base_weights, tree.loss_changes)
    if not 1 <= count == int(tree.tree_param["num_nodes"]) or any(len(part) != count for part in (*own, *more)):
        raise ValueError(f"tree {number} has parts of different lengths")
    if len(tree.split_type) not in {0, count} or int(tree.tree_param.get("size_leaf_vector", "1")) > 1:
        raise ValueError(f"tree {number} has leaves of several values")
    left, right = np.array(tree.left_children, dtype=np.int64), np.array(tree.right_children, dtype=np.int64)
    inner = left != -1
    most = max(map(abs, tree.split_conditions))
    if not np.array_equal(inner, right != -1) or not most <= _LARGEST:
        raise ValueError(f"tree {number} has half a node, or a value that is not finite")
    below = np.concatenate((left[inner], right[inner]))
    # Every node has one parent at most, and the root none: what the root leads to is a tree.
    if len(below) and not (below.min() > 0 and below.max() < count and len(np.unique(below)) == len(below)):
        raise ValueError(f"tree {number} is no tree")
    places = np.array(tree.split_indices, dtype=np.int64)[inner]
    if len(places) and not (places.min() >= 0 and places.max() < features):
        raise ValueError(f"tree {number} asks for a feature beyond {features}")
    depth, level = 0, np.array([0])
    while len(level):
        depth += 1
        if depth > DEEPEST:
            raise ValueError(f"tree {number} is deeper than {DEEPEST}")
        level = np.concatenate((left[level], right[level]))
        level = level[level > 0]
    _check_sets(tree, inner, number=number)


def reached(tree: Node) -> np.ndarray:
    """Which nodes the root leads to; pruning leaves others behind."""
    left, right = np.array(tree.left_children), np.array(tree.right_children)
    here = np.zeros(len(left), dtype=bool)
    level = np.array([0])
    while len(level):
        here[level] = True
        level = np.concatenate((left[level], right[level]))
        level = level[level > 0]
    return here


def _check_sets(tree: Node, inner: np.ndarray, *, number: int) -> None:
    nodes, starts, sizes = tree.categories_nodes, tree.categories_segments, tree.categories_sizes
    here = reached(tree)
    by_set = [place for place, kind in enumerate(tree.split_type) if kind == 1 and inner[place] and here[place]]
    ends = [start + size for start, size in zip(starts, sizes, strict=True)]
    whole = nodes == by_set and len(starts) == len(nodes) and all(start >= 0 for start in starts)
    if not whole or any(end > len(tree.categories) for end in ends) or min(sizes, default=1) < 1:
        raise ValueError(f"tree {number} has sets of categories that are not there")
    if tree.categories and not 0 <= min(tree.categories) <= max(tree.categories) < MOST_CATEGORIES:
        raise ValueError(f"tree {number} has a category beyond {MOST_CATEGORIES:,}")
    if any(kind not in {0, 1} for kind in tree.split_type):
        raise ValueError(f"tree {number} splits in an unknown way")


def _categories(cats: dict[str, Any] | UnsetType, features: int) -> dict[int, tuple[str, ...]]:
    """The values of category inputs by place, where training knew their names (XGBoost 3.1 and later)."""
    if isinstance(cats, UnsetType) or not cats.get("enc"):
        return {}
    segments, found = [int(end) for end in cats["feature_segments"]], {}
    if len(cats["enc"]) != features or len(segments) != features + 1:
        raise ValueError("the categories' names are not those of its features")
    for place, known in enumerate(cats["enc"]):
        if segments[place + 1] == segments[place]:
            continue
        values, offsets = known["values"], known.get("offsets")
        if offsets is None:
            found[place] = tuple(f"{value:g}" for value in values)
            continue
        data = bytes(value & 0xFF for value in values)
        bounds = [int(end) for end in offsets]
        names = [data[a:b].decode("utf-8") for a, b in pairwise(bounds)]
        if len(set(names)) != len(names) or len(names) != segments[place + 1] - segments[place]:
            raise ValueError(f"the categories of feature {place} are not told apart")
        found[place] = tuple(names)
    return found


def _text(file: _File, model: _Model, *, drops: list[float]) -> bytes:
    """The file as the library sees it: only what was checked, categories as their codes, chances for every class."""
    learner = file.learner
    features, outputs = _shape(learner.learner_model_param)
    params = {"num_trees": str(len(model.trees)), "num_parallel_tree": str(_parallel(model, outputs))}
    trees = [_written(tree, number=number, features=features) for number, tree in enumerate(model.trees)]
    bare = structs.replace(model, trees=trees, gbtree_model_param=params, cats=UNSET)
    booster = _Booster(name="gbtree", model=bare)
    if learner.gradient_booster.name == "dart":
        booster = _Booster(name="dart", gbtree=_Plain(model=bare), weight_drop=drops)
    objective = dict(learner.objective)
    if objective["name"] == "multi:softmax":
        objective["name"] = "multi:softprob"
    said = {"base_score", "num_class", "num_feature", "num_target", "boost_from_average"}
    whole = structs.replace(
        learner,
        gradient_booster=booster,
        objective=objective,
        learner_model_param={name: value for name, value in learner.learner_model_param.items() if name in said},
        attributes={},
        feature_names=[],
    )
    return msgspec.json.encode(structs.replace(file, learner=whole))


def _parallel(model: _Model, outputs: int) -> int:
    """How many trees of each output one iteration has. Raises ValueError where iterations and trees do not fit."""
    parallel, ends = int(model.gbtree_model_param["num_parallel_tree"]), model.iteration_indptr
    each, count = parallel * outputs, len(model.trees)
    if not 1 <= parallel <= count or count % each:
        raise ValueError(f"{count} trees in iterations of {each}")
    if not isinstance(ends, UnsetType) and ends != list(range(0, count + 1, each)):
        raise ValueError("its iterations do not follow each other")
    wanted = [output for output in range(outputs) for _ in range(parallel)] * (count // each)
    if model.tree_info != wanted:
        raise ValueError("its trees do not add to its outputs in turn")
    return parallel


def _written(tree: Node, *, number: int, features: int) -> Node:
    """A checked tree; what can be told from its nodes is told anew."""
    here = np.flatnonzero(reached(tree))
    left, right = np.array(tree.left_children), np.array(tree.right_children)
    place = np.full(len(left), -1, dtype=np.int64)
    place[here] = np.arange(len(here))
    sides = [np.where(side[here] == -1, -1, place[side[here]]) for side in (left, right)]
    parents = np.full(len(here), 2**31 - 1, dtype=np.int64)
    for side in sides:
        parents[side[side > 0]] = np.flatnonzero(side > 0)

    def kept(values: list[Any]) -> list[Any]:
        return [values[i] for i in here.tolist()] if values else values

    count = str(len(here))
    return structs.replace(
        tree,
        id=number,
        tree_param={"num_deleted": "0", "num_feature": str(features), "num_nodes": count, "size_leaf_vector": "1"},
        left_children=sides[0].tolist(),
        right_children=sides[1].tolist(),
        parents=parents.tolist(),
        split_indices=[at if inner else 0 for at, inner in zip(kept(tree.split_indices), sides[0] > 0, strict=True)],
        split_conditions=kept(tree.split_conditions),
        default_left=[int(left) for left in kept(tree.default_left)],
        sum_hessian=kept(tree.sum_hessian),
        base_weights=kept(tree.base_weights),
        loss_changes=[0.0] * len(here),
        split_type=kept(tree.split_type) or [0] * len(here),
        categories_nodes=[int(place[node]) for node in tree.categories_nodes],
    )
