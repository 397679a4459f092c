"""Trees answered with NumPy alone: small trees all at once by bits, deep ones level by level.

By bits: every node that a row does not pass strikes out the leaves to its left; what is left first is the row's leaf
(QuickScorer, Lucchese et al. 2015). Sums are made in the order of the trees, so that they are those of the library to
the last bit.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from modelkeep.runtimes.runners.forest import Floats, Forest, Places

Leaves: TypeAlias = Callable[[Floats], Places]
"""Rows as numbers in; for each row and tree the place of its leaf in ``Forest.values`` out, shape (rows, trees)."""

WORD = 64
"""Trees with at most so many leaves are answered by bits."""
_Passes: TypeAlias = Callable[[NDArray[np.bool_], Floats, Places], NDArray[np.bool_]]
_CELLS = 500000
"""Rows are taken in parts of about so many comparisons, which stay in the processor's cache and bound the memory."""


def walked(forest: Forest) -> Callable[[Floats], Floats]:
    """What answers the sums of a forest, of shape (rows, width)."""
    leaves = by_bits(forest) or by_levels(forest)
    return lambda table: summed(forest, leaves(table))


def summed(forest: Forest, leaves: Places) -> Floats:
    """The sums over the trees of their leaves' values, in the order of the trees."""
    rows, width = len(leaves), forest.width
    found = forest.values[leaves]  # rows, trees, 1 or width
    if not forest.vector:
        found = found.reshape(rows, -1, width)
    if forest.short:
        found = found.astype(np.float32)
    if forest.base.any():
        found[:, 0, :] += forest.base.astype(found.dtype)
    total: Floats = np.add.accumulate(found, axis=1)[:, -1, :] if rows * width < 16 else _folded(found)
    total = total.astype(np.float64, copy=False)
    return total if forest.divisor == 1.0 else total / forest.divisor


def _folded(found: Floats) -> Floats:
    """The same sums of many rows: NumPy adds whole slices one after the other when the trees come first."""
    stages = np.ascontiguousarray(found.transpose(1, 0, 2))
    total: Floats = np.add.reduce(stages, axis=0)
    return total


def by_levels(forest: Forest) -> Leaves:
    """All rows and trees go down one level at a time; leaves are nodes that lead to themselves."""
    inner, leaves = len(forest.feature), len(forest.values)
    own = np.arange(inner, inner + leaves)
    left, right = forest.children()
    child = np.empty(2 * (inner + leaves), dtype=np.intp)
    child[0::2], child[1::2] = np.concatenate((right, own)), np.concatenate((left, own))
    feature = np.concatenate((forest.feature, np.zeros(leaves))).astype(np.intp)
    threshold = np.concatenate((forest.threshold, np.full(leaves, np.inf)))
    roots = np.where(forest.roots >= 0, forest.roots, inner + ~forest.roots).astype(np.intp)
    depth, gaps, passes = len(forest.levels()), bool(forest.missing.any()), _sets(forest)
    missing = np.concatenate((forest.missing, np.zeros(leaves))).astype(bool)

    def walk(table: Floats) -> Places:
        rows = np.arange(len(table))[:, None]
        node = np.broadcast_to(roots, (len(table), len(roots)))
        nan = gaps and bool(np.isnan(table).any())
        for _ in range(depth):
            value = table[rows, feature[node]]
            go = value <= threshold[node]
            if nan:
                go |= missing[node] & np.isnan(value)
            if passes is not None:
                go = passes(go, value, node)
            node = child[2 * node + go]
        return node - inner

    return _parted(walk, cells=len(roots))


def by_bits(forest: Forest) -> Leaves | None:
    """The leaves of small trees from one comparison of every node; None when a tree has too many leaves."""
    if forest.counts.max() > WORD or (forest.roots < 0).any():
        return None
    order, masks, firsts = struck(forest)
    feature, threshold = forest.feature[order].astype(np.intp), forest.threshold[order]
    missing, passes = forest.missing[order].astype(bool), _sets(forest)
    gaps, starts = bool(missing.any()), forest.starts.astype(np.intp)
    # One node a row: the processor then compares and combines many requests at once.
    tall = (threshold[:, None], missing[:, None], order[:, None], masks[:, None], starts[:, None])

    def leaves(table: Floats) -> Places:
        single = len(table) == 1
        value = table[0].take(feature) if single else table.T.take(feature, axis=0)
        bound, gap, node, mask, start = (threshold, missing, order, masks, starts) if single else tall
        go = value <= bound
        if gaps and np.isnan(table).any():
            go |= gap & np.isnan(value)
        if passes is not None:
            go = passes(go, value, node)
        alive = np.bitwise_and.reduceat(np.where(go, _ALL, mask), firsts, axis=0)
        lowest = alive & (~alive + _ONE)
        place: Places = (lowest.astype(np.float64).view(np.int64) >> 52) - 1023
        place += start
        return place[None, :] if single else place.T

    return _parted(leaves, cells=len(order))


def struck(forest: Forest) -> tuple[Places, NDArray[np.uint64], Places]:
    """The nodes in the order of the trees, the leaves that each leaves over when a row does not pass, trees' firsts."""
    inner, (left, right) = len(forest.feature), forest.children()
    lowest = np.arange(-inner, len(forest.values), dtype=np.intp)
    highest, tree = lowest.copy(), np.zeros(inner, dtype=np.intp)
    for node in reversed(forest.levels()):
        lowest[node], highest[node] = lowest[left[node]], highest[right[node]]
    tree[:] = np.searchsorted(forest.starts, lowest[:inner], side="right") - 1
    order = np.argsort(tree, kind="stable")
    begin, end = (ends[left[order]] - forest.starts[tree[order]] for ends in (lowest, highest))
    span = (end - begin + 1).astype(np.uint64)
    ones = (_ONE << span) - _ONE  # a left side never holds all 64 leaves
    firsts = forest.starts - np.arange(forest.trees)  # a tree has one node less than it has leaves
    return order, ~(ones << begin.astype(np.uint64)), firsts.astype(np.intp)


_ALL, _ONE = np.uint64(2**64 - 1), np.uint64(1)


def _sets(forest: Forest) -> _Passes | None:
    """What corrects the comparisons at nodes that split by categories; None when there are none."""
    if not len(forest.sets):
        return None
    sets = forest.sets
    kind = np.concatenate((forest.kind, np.full(len(forest.values), -1)))
    most = sets.shape[1] * 32

    def passes(go: NDArray[np.bool_], value: Floats, node: Places) -> NDArray[np.bool_]:  # noqa: PLR0917 - a plain function of arrays
        chosen = kind[node]
        by = chosen >= 0
        if not by.any():
            return go
        with np.errstate(invalid="ignore"):
            inside = by & (value > -1.0) & (value < most)
            code = np.where(inside, value, 0.0).astype(np.intp)  # cut off towards zero, as the libraries do
        word = sets[np.broadcast_to(chosen, go.shape), code >> 5]
        held = inside & ((word >> (code & 31).astype(np.uint32)) & np.uint32(1)).astype(bool)
        return np.where(by, held, go)

    return passes


def _parted(leaves: Leaves, *, cells: int) -> Leaves:
    part = max(_CELLS // cells, 1)

    def taken(table: Floats) -> NDArray[np.intp]:
        if len(table) <= part:
            return leaves(table)
        return np.concatenate([leaves(table[i : i + part]) for i in range(0, len(table), part)])

    return taken
