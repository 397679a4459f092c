"""Trees as plain arrays, whichever library grew them: what every runner of trees works on.

A node sends a row left when its value is at most the threshold, or when the category is in the node's set; a missing
value goes where the node says. A category that is in no set, and a missing one, go right: trees that say otherwise are
turned round when they are flattened.
"""

from typing import TypeAlias

import numpy as np
from msgspec import Struct, structs
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int32]
Places: TypeAlias = NDArray[np.intp]


ZERO = float(np.float32(1e-35))
"""LightGBM takes numbers that are no farther from zero for zero."""


class Forest(Struct, frozen=True, kw_only=True):
    """Trees that add up to ``width`` numbers a row.

    Arrays over the inner nodes of all trees: ``feature``, ``threshold``, ``left`` and ``right`` (a node, or ~leaf),
    ``missing`` (1: a missing value goes left), ``kind`` (-1: a number, else the row of ``sets`` with a bit for each
    category that goes left). ``roots`` are the trees' first nodes (or ~leaf) in the order in which they add up, tree t
    to the output t % width; with ``vector`` every tree adds to all outputs and ``values`` has the shape
    (leaves, width), else (leaves, 1). A tree's leaves stand together, in the order of the trees and from left to right;
    ``starts`` are the first ones. The sum starts at ``base`` and is divided by ``divisor``. With ``single`` values
    are rounded to float32 before they are compared, with ``short`` sums after each addition (leaves' values and base
    are such already); with ``whole`` a missing value is an error.
    """

    width: int
    features: int
    feature: Integers
    threshold: Floats
    left: Integers
    right: Integers
    missing: np.ndarray
    kind: Integers
    sets: NDArray[np.uint32]
    roots: Integers
    starts: Integers
    values: Floats
    base: Floats
    divisor: float = 1.0
    vector: bool = False
    single: bool = False
    short: bool = False
    whole: bool = False

    @property
    def trees(self) -> int:
        """How many trees there are."""
        return len(self.roots)

    @property
    def counts(self) -> Integers:
        """How many leaves each tree has."""
        return np.diff(self.starts, append=np.int32(len(self.values)))

    def counts_at(self, tree: int) -> int:
        """How many leaves one tree has."""
        end = self.starts[tree + 1] if tree + 1 < self.trees else len(self.values)
        return int(end - self.starts[tree])

    def children(self) -> tuple[Places, Places]:
        """The children of the inner nodes as places among all nodes: the inner ones first, then the leaves."""
        inner = len(self.feature)
        left, right = (np.where(side >= 0, side, inner + ~side).astype(np.intp) for side in (self.left, self.right))
        return left, right

    def levels(self) -> list[Places]:
        """The inner nodes by their depth, the roots first."""
        found, node = [], self.roots[self.roots >= 0].astype(np.intp)
        while len(node):
            found.append(node)
            below = np.concatenate((self.left[node], self.right[node]))
            node = below[below >= 0].astype(np.intp)
        return found


class Tree(Struct, frozen=True, kw_only=True):
    """One tree on its own: arrays over its inner nodes, children as in ``Forest``, ``root`` 0 (or -1: one leaf)."""

    feature: Integers
    threshold: Floats
    left: Integers
    right: Integers
    missing: np.ndarray
    values: Floats
    kind: Integers
    sets: list[list[int]]

    @property
    def root(self) -> int:
        """The first node, or ~0 when the tree is one leaf."""
        return 0 if len(self.feature) else -1


def joined(trees: list[Tree], *, width: int, features: int, base: Floats, **more: object) -> Forest:
    """Trees as one forest; ``more`` are its further fields."""
    nodes = np.cumsum([0, *(len(tree.feature) for tree in trees)])
    leaves = np.cumsum([0, *(len(tree.values) for tree in trees)])
    kinds = np.cumsum([0, *(len(tree.sets) for tree in trees)])
    places = list(zip(trees, nodes, leaves, strict=False))
    sets = [chosen for tree in trees for chosen in tree.sets]
    found: dict[str, object] = {
        "feature": np.concatenate([tree.feature for tree in trees]),
        "threshold": np.concatenate([tree.threshold for tree in trees]),
        "left": np.concatenate([_moved(tree.left, node=node, leaf=leaf) for tree, node, leaf in places]),
        "right": np.concatenate([_moved(tree.right, node=node, leaf=leaf) for tree, node, leaf in places]),
        "missing": np.concatenate([tree.missing for tree in trees]),
        "kind": np.concatenate(
            [np.where(tree.kind < 0, -1, tree.kind + start) for tree, start in zip(trees, kinds, strict=False)]
        ).astype(np.int32),
        "sets": bits(sets),
        "roots": np.array([node if tree.root == 0 else ~leaf for tree, node, leaf in places], dtype=np.int32),
        "starts": leaves[:-1].astype(np.int32),
        "values": np.concatenate([tree.values for tree in trees]),
    }
    return _ordered(Forest(width=width, features=features, base=base, **found, **more))  # type: ignore[arg-type]


def _ordered(forest: Forest) -> Forest:
    """The same trees with each one's leaves numbered from left to right."""
    inner, (left, right) = len(forest.feature), forest.children()
    held = np.ones(inner + len(forest.values), dtype=np.intp)
    first = np.zeros_like(held)
    levels = forest.levels()
    for node in reversed(levels):
        held[node] = held[left[node]] + held[right[node]]
    first[np.where(forest.roots >= 0, forest.roots, inner + ~forest.roots)] = forest.starts
    for node in levels:
        first[left[node]] = first[node]
        first[right[node]] = first[node] + held[left[node]]
    place = first[inner:]  # the old number of a leaf -> its new one
    values = np.empty_like(forest.values)
    values[place] = forest.values
    sides = [np.where(side >= 0, side, ~place[np.where(side < 0, ~side, 0)]) for side in (forest.left, forest.right)]
    return structs.replace(
        forest, left=sides[0].astype(np.int32), right=sides[1].astype(np.int32), values=values
    )  # roots that are a leaf keep their number: such a tree has no other


def bits(sets: list[list[int]]) -> NDArray[np.uint32]:
    """Sets of categories as rows of 32-bit words."""
    words = max((max(chosen, default=0) // 32 + 1 for chosen in sets), default=0)
    found = np.zeros((len(sets), words), dtype=np.uint32)
    for row, chosen in zip(found, sets, strict=True):
        for value in chosen:
            row[value // 32] |= np.uint32(1 << (value % 32))
    return found


def _moved(children: Integers, *, node: int, leaf: int) -> Integers:
    return np.where(children >= 0, children + node, children - leaf).astype(np.int32)
