"""The structure of LightGBM's text file, checked without LightGBM.

The library's parser trusts what it reads: a child that points nowhere reads memory that is not its own. So every tree
is checked to be one before the library sees it.
"""

import re

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from modelkeep.errors import BadArtifact

_CUT = "copy the file again, or save it with Booster.save_model"


class Head(Struct, frozen=True, kw_only=True):
    """What the file says about itself; ``named`` are its inputs when they have names of their own."""

    features: tuple[str, ...]
    named: tuple[str, ...]
    objective: str
    classes: int

    @property
    def classifies(self) -> bool | None:
        """Whether it answers classes; None when the objective does not tell."""
        if self.objective in {"binary", "multiclass", "multiclassova", "cross_entropy"}:
            return True
        return None if self.objective in {"", "custom"} else False


def checked(data: bytes) -> Head:
    """The head of a file whose trees are all whole. Raises BadArtifact with the tree and what is wrong with it."""
    try:
        text = data.decode()
        head, sizes = _head(text)
        at = text.index("\nTree=0\n") + 1
        for number, size in enumerate(sizes):
            _check_tree(text[at : at + size], number=number, features=len(head.features))
            at += size
    except (ValueError, KeyError, IndexError, OverflowError) as error:
        raise BadArtifact(f"not a whole LightGBM file: {error}", remedy=_CUT) from error
    if not text[at:].startswith("end of trees") or "end of parameters" not in text[at:]:
        raise BadArtifact("the LightGBM file is cut off or changed: its trees do not end where it says", remedy=_CUT)
    return head


def _head(text: str) -> tuple[Head, list[int]]:
    lines = dict(line.partition("=")[::2] for line in text[: text.index("\nTree=0\n")].splitlines())
    features = tuple(lines["feature_names"].split(" "))
    if len(features) != int(lines["max_feature_idx"]) + 1:
        raise ValueError(f"{len(features)} feature names for {int(lines['max_feature_idx']) + 1} features")
    own = not all(re.fullmatch(r"Column_\d+", name) for name in features)
    sizes = [int(size) for size in lines["tree_sizes"].split(" ")]
    head = Head(
        features=features,
        named=features if own else (),
        objective=lines.get("objective", "").split(" ")[0],
        classes=int(lines["num_class"]),
    )
    if not sizes or head.classes < 1 or len(sizes) % int(lines["num_tree_per_iteration"]):
        raise ValueError("its head does not fit its trees")
    return head, sizes


def _check_tree(block: str, *, number: int, features: int) -> None:
    lines = dict(line.partition("=")[::2] for line in block.splitlines())
    leaves = int(lines["num_leaves"])
    if lines.get("Tree") != str(number) or leaves < 1 or len(_floats(lines["leaf_value"])) != leaves:
        raise ValueError(f"tree {number} is broken")
    if leaves == 1:
        return
    split, left, right = (_ints(lines[name]) for name in ("split_feature", "left_child", "right_child"))
    _floats(lines["threshold"])
    children = np.sort(np.concatenate((left, right)))
    # Each leaf (negative) and each node but the root is the child of exactly one node.
    whole = np.array_equal(children, np.concatenate((np.arange(-leaves, 0), np.arange(1, leaves - 1))))
    if not whole or len(split) != leaves - 1 or len(lines["threshold"].split(" ")) != leaves - 1:
        raise ValueError(f"tree {number} is not a tree")
    if split.min() < 0 or split.max() >= features:
        raise ValueError(f"tree {number} splits by a feature that does not exist")


def _ints(text: str) -> NDArray[np.int64]:
    return np.array(text.split(" "), dtype=np.int64)


def _floats(text: str) -> NDArray[np.float64]:
    return np.array(text.split(" "), dtype=np.float64)
