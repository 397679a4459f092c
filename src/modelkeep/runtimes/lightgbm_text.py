"""The structure of LightGBM's text file, checked without LightGBM.

The library's parser trusts what it reads: a child that points nowhere reads memory that is not its own. So every tree
is checked to be one before the library sees it.
"""

import json
import re

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from modelkeep.errors import BadArtifact

_END = "end of trees\n"
_NODES = ("split_feature", "left_child", "right_child", "decision_type")
_DESCRIBE = ("split_gain", "internal_value", "internal_weight", "internal_count")
_KNOWN = {
    *("Tree", "num_leaves", "num_cat", "threshold", "leaf_value", "leaf_weight", "leaf_count", "cat_boundaries"),
    *("cat_threshold", "is_linear", "shrinkage", *_NODES, *_DESCRIBE),
}
_INTEGERS = re.compile(r"(?:-?\d{1,12} )*-?\d{1,12}")
_NUMBERS = re.compile(r"(?:-?\d+(?:\.\d+)?(?:e[-+]\d+)? )*-?\d+(?:\.\d+)?(?:e[-+]\d+)?")
_OBJECTIVE = re.compile(r"[a-z0-9_]*(?: (?:[a-z_]+:)?[a-z0-9_.]+)*")
_INFO = re.compile(r"none|\[-?[\d.einf+-]+:-?[\d.einf+-]+\]|-?\d+(?::-?\d+)*")
_HEAD = {
    *(
        "version",
        "num_class",
        "num_tree_per_iteration",
        "label_index",
        "max_feature_idx",
        "objective",
        "average_output",
    ),
    *("feature_names", "feature_infos", "monotone_constraints", "tree_sizes", "tree"),
}
_CUT = "copy the file again, or save it with Booster.save_model"


class Head(Struct, frozen=True, kw_only=True):
    """What the file says about itself; ``named`` are its inputs when they have names of their own.

    ``link`` is the space in which its trees add up to an answer.
    """

    features: tuple[str, ...]
    named: tuple[str, ...]
    objective: str
    classes: int
    link: str = "identity"

    @property
    def classifies(self) -> bool | None:
        """Whether it answers classes; None when the objective does not tell."""
        if self.objective in {"binary", "multiclass", "multiclassova", "cross_entropy"}:
            return True
        return None if self.objective in {"", "custom"} else False


class Sound(Struct, frozen=True, kw_only=True):
    """A file that was checked: its head, and the text that the library may see.

    The text ends with the trees. What follows them (importances, parameters of the training) is not needed to predict,
    and a parameter without a value makes the library read beyond its memory.
    """

    head: Head
    text: str
    categories: tuple[tuple[str, ...], ...]


def checked(data: bytes) -> Sound:
    """A file whose trees are all whole. Raises BadArtifact with the tree and what is wrong with it."""
    try:
        text = data.decode("ascii")
        head, sizes = _head(text)
        at = text.index("\nTree=0\n") + 1
        for number, size in enumerate(sizes):
            _check_tree(text[at : at + size], number=number, features=len(head.features))
            at += size
        categories = _categories(text[at:])
    except (ValueError, KeyError, IndexError, OverflowError, TypeError) as error:
        raise BadArtifact(f"not a whole LightGBM file: {error}", remedy=_CUT) from error
    if not text[at:].startswith(_END) or "\nend of parameters\n" not in text[at:]:
        raise BadArtifact("the LightGBM file is cut off or changed: its trees do not end where it says", remedy=_CUT)
    return Sound(head=head, text=text[:at] + _END, categories=categories)


def _categories(rest: str) -> tuple[tuple[str, ...], ...]:
    """The values of each category input, when the file was trained on a data frame that knew them."""
    _, found, line = rest.rpartition("\npandas_categorical:")
    kept = json.loads(line) if found else None
    return tuple(tuple(str(value) for value in values) for values in kept or ())


def _head(text: str) -> tuple[Head, list[int]]:
    rows = [line.partition("=") for line in text[: text.index("\n\nTree=0\n")].split("\n")]
    lines = {name: value for name, _, value in rows}
    if len(lines) < len(rows) or lines.keys() - _HEAD:
        raise ValueError(f"its head has a line twice, or an unknown one: {sorted(lines.keys() - _HEAD)[:3]}")
    names = lines["feature_names"]
    features = tuple(names.split(" "))
    count = int(_ints(lines["max_feature_idx"], 1)[0]) + 1
    classes = int(_ints(lines["num_class"], 1)[0])
    infos = lines["feature_infos"].split(" ")
    if not len(features) == len(infos) == count or not all(features) or not names.isprintable():
        raise ValueError(f"{len(features)} feature names for {count} features")
    if any(not _INFO.fullmatch(info) for info in infos):
        raise ValueError("a feature's range is broken")
    _check_objective(lines, classes)
    sizes = [int(size) for size in _ints(lines["tree_sizes"], lines["tree_sizes"].count(" ") + 1)]
    if len(sizes) % classes or min(sizes) < 1:
        raise ValueError(f"{len(sizes)} trees for {classes} classes")
    own = not all(re.fullmatch(r"Column_\d+", name) for name in features)
    said = lines.get("objective", "")
    head = Head(
        features=features,
        named=features if own else (),
        objective=said.split(" ")[0],
        classes=classes,
        link=_link(said),
    )
    return head, sizes


def _link(objective: str) -> str:
    """The space in which trees of this objective add up.

    >>> _link("binary sigmoid:1"), _link("poisson"), _link("regression"), _link("regression sqrt")
    ('logit', 'log', 'identity', 'regression sqrt')
    """
    name, _, more = objective.partition(" ")
    if name in {"poisson", "gamma", "tweedie"}:
        return "log"
    if name in {"multiclass", "softmax"}:
        return "softmax"
    if (name == "binary" and more == "sigmoid:1") or name == "cross_entropy":
        return "logit"
    return objective if name in {"binary", "multiclassova", "cross_entropy_lambda"} or "sqrt" in more else "identity"


def _check_objective(lines: dict[str, str], classes: int) -> None:
    said = lines.get("objective", "")
    several = re.search(r"num_class:(\d+)", said)
    if not 1 <= classes <= 10_000 or int(_ints(lines["num_tree_per_iteration"], 1)[0]) != classes:
        raise ValueError(f"its trees are not for {classes} classes")
    if not _OBJECTIVE.fullmatch(said) or ((classes > 1 or several) and (not several or int(several[1]) != classes)):
        raise ValueError(f"its objective {said[:40]!r} is not for {classes} classes")
    _ints(lines["label_index"], 1)
    if not re.fullmatch(r"v\d", lines["version"]) or lines.get("average_output") or lines["tree"]:
        raise ValueError("its head is broken")
    if "monotone_constraints" in lines:
        _ints(lines["monotone_constraints"], len(lines["feature_names"].split(" ")))


def _check_tree(block: str, *, number: int, features: int) -> None:
    if not block.startswith(f"Tree={number}\n") or not block.endswith("\n\n\n"):
        raise ValueError(f"tree {number} does not begin or end where the head says")
    rows = [line.partition("=") for line in block.strip("\n").split("\n")]
    lines = {name: value for name, _, value in rows}
    if len(lines) < len(rows):
        raise ValueError(f"tree {number} says something twice")
    leaves = int(lines["num_leaves"])
    if leaves < 1 or len(_floats(lines["leaf_value"])) != leaves:
        raise ValueError(f"tree {number} is broken")
    if unknown := lines.keys() - _KNOWN:
        raise ValueError(f"tree {number} has a line {min(unknown)[:40]!r}")
    if lines.get("is_linear", "0") != "0":
        raise ValueError(f"tree {number} has linear models in its leaves, which are not supported")
    if len(_floats(lines["shrinkage"])) != 1:
        raise ValueError(f"tree {number} is broken")
    if leaves > 1:
        _check_nodes(lines, number=number, features=features)


def _check_nodes(lines: dict[str, str], *, number: int, features: int) -> None:
    leaves, nodes = int(lines["num_leaves"]), int(lines["num_leaves"]) - 1
    split, left, right, kinds = (_ints(lines[name], nodes) for name in _NODES)
    # "inf" parts the known values from the missing ones.
    thresholds = _floats(" ".join("1e+300" if part == "inf" else part for part in lines["threshold"].split(" ")))
    # Each leaf (negative) and each node but the root is the child of exactly one node.
    children = np.sort(np.concatenate((left, right)))
    whole = np.array_equal(children, np.concatenate((np.arange(-leaves, 0), np.arange(1, nodes))))
    if not whole or len(thresholds) != nodes:
        raise ValueError(f"tree {number} is not a tree")
    if split.min() < 0 or split.max() >= features or kinds.min() < 0 or kinds.max() > 11:
        raise ValueError(f"tree {number} splits by a feature that does not exist")
    _check_optional(lines, number=number, leaves=leaves)
    chosen = thresholds[(kinds & 1) == 1]
    count = int(lines["num_cat"])
    if not count:
        if chosen.size:
            raise ValueError(f"tree {number} has no categories to split by")
        return
    bounds = _ints(lines["cat_boundaries"], count + 1)
    bits = _ints(lines["cat_threshold"], max(int(bounds[-1]), 1))
    ordered = bounds[0] == 0 and (np.diff(bounds) > 0).all() and bits.min() >= 0 and bits.max() < 2**32
    if not ordered or not np.isin(chosen, np.arange(count)).all():
        raise ValueError(f"tree {number} splits by categories that do not exist")


def _check_optional(lines: dict[str, str], *, number: int, leaves: int) -> None:
    """The lines that only describe the training: the library reads as many numbers as there are leaves or nodes."""
    for name, count in (("leaf_weight", leaves), ("leaf_count", leaves), *((name, leaves - 1) for name in _DESCRIBE)):
        if len(_floats(lines.get(name) or "0")) not in {count, 1 if name not in lines else count}:
            raise ValueError(f"tree {number} has a broken {name}")


def _ints(text: str, count: int) -> NDArray[np.int64]:
    # Only what the library reads in the same way passes: no signs, spaces or letters that Python alone understands.
    if text.count(" ") != count - 1 or not _INTEGERS.fullmatch(text):
        raise ValueError(f"{text[:40]!r} are not {count} whole numbers")
    return np.array(text.split(" "), dtype=np.int64)


def _floats(text: str) -> NDArray[np.float64]:
    if not _NUMBERS.fullmatch(text):
        raise ValueError(f"{text[:40]!r} are not numbers")
    found = np.array(text.split(" "), dtype=np.float64)
    if not np.isfinite(found).all():
        raise ValueError(f"{text[:40]!r} are not all finite")
    return found
