"""XGBoost's trees, already checked, as a ``Plan``: it compares and adds up in 32 bits, and so do the runners.

A number goes left when it is less than the threshold, a category when it is not in the node's set; a missing value, and
a category that training did not have, go where the node says.
"""

from collections.abc import Mapping
from itertools import chain

import numpy as np

from modelkeep.nouns import Output
from modelkeep.runtimes.runners.forest import Floats, Forest, Tree, joined
from modelkeep.runtimes.runners.plan import Column, Plan
from modelkeep.runtimes.xgboost_file import Boosted, Link, Node, reached

_MOST = 4096
"""So many values of one category input are answered without the library."""


def read(
    boosted: Boosted, *, names: tuple[str, ...] | None, codes: dict[str, dict[str, float]], labels: tuple[Output, ...]
) -> Plan | None:
    """The plan of a file; ``labels`` are the classes, empty for numbers. None for what only XGBoost itself answers.

    That is: classes with different numbers of trees, sets of very many categories, categories that are compared.
    """
    most = max((max(tree.categories, default=0) for tree in boosted.trees), default=0)
    if names is None or most >= _MOST or (boosted.link == "softmax" and not labels):
        return None
    kinds = [place for place, name in enumerate(names) if name in codes]
    sizes = {place: max(max(codes[names[place]].values(), default=0.0), float(most)) + 1.0 for place in kinds}
    forest = forest_of(boosted, sizes) if all(size <= _MOST for size in sizes.values()) else None
    if forest is None:
        return None
    return Plan(
        sources=names,
        codes=codes,
        columns=_columns(len(names), sizes) if sizes else (),
        head=boosted.link,
        forest=forest,
        labels=labels,
    )


def forest_of(boosted: Boosted, sizes: Mapping[int, float]) -> Forest | None:
    """The trees of a file; ``sizes`` are the inputs that are categories, and how many values each has."""
    order = _order(boosted)
    grown = [_tree(boosted.trees[i], weight=boosted.weights[i], gaps=sizes) for i in order or ()]
    trees = [tree for tree in grown if tree is not None]
    if order is None or len(trees) < len(grown):
        return None
    base = began(boosted.base, boosted.link)
    return joined(trees, width=boosted.outputs, features=boosted.features, base=base, single=True, short=True)


def began(base: tuple[float, ...], link: Link) -> Floats:
    """Where the sums begin, from the answers' beginnings, in the library's own 32 bits."""
    value = np.array(base, dtype=np.float32)
    if link == "logit":
        value = -np.log(np.float32(1.0) / value - np.float32(1.0))
    elif link == "log":
        value = np.log(value)
    return value.astype(np.float64)


def _order(boosted: Boosted) -> list[int] | None:
    """The trees so that each adds to the next output in turn; those of one output stay in their order."""
    by = [[i for i, group in enumerate(boosted.groups) if group == output] for output in range(boosted.outputs)]
    if len({len(part) for part in by}) > 1:
        return None
    return list(chain.from_iterable(zip(*by, strict=True)))


def _columns(features: int, sizes: Mapping[int, float]) -> tuple[Column, ...]:
    """Categories as their codes; a missing one, and one that nobody knows, is the code behind the last."""
    return tuple(
        Column(source=place, table=tuple(float(i) for i in range(int(sizes[place]))), unseen=sizes[place])
        if place in sizes
        else Column(source=place)
        for place in range(features)
    )


def _tree(tree: Node, *, weight: float, gaps: Mapping[int, float]) -> Tree | None:
    """One tree; only the nodes that its root leads to."""
    left, right = np.array(tree.left_children), np.array(tree.right_children)
    here = reached(tree)
    leaf, inner = here & (left == -1), np.flatnonzero(here & (left != -1))
    name = np.where(leaf, ~(np.cumsum(leaf) - 1), np.cumsum(here & ~leaf) - 1).astype(np.int32)
    feature = np.array(tree.split_indices, dtype=np.int64)[inner].astype(np.int32)
    value = np.array(tree.split_conditions, dtype=np.float32)
    missing = np.array(tree.default_left, dtype=np.uint8)[inner]
    sides, kind, sets = (
        (name[left[inner]], name[right[inner]]),
        np.full(len(inner), -1, dtype=np.int32),
        list[list[int]](),
    )
    chosen = _chosen(tree)
    for place, node in enumerate(inner.tolist()):
        if (node in chosen) != (int(feature[place]) in gaps):
            return None
        if node in chosen:  # in the set: right; so that side stands on the left here
            sides[0][place], sides[1][place] = sides[1][place], sides[0][place]
            gap = [] if missing[place] else [int(gaps[int(feature[place])])]
            kind[place], missing[place] = len(sets), 0
            sets.append([*chosen[node], *gap])
    # Less than a number of 32 bits is at most the one before it.
    bound = np.nextafter(value[inner], np.float32(-np.inf)).astype(np.float64)
    return Tree(
        feature=feature,
        threshold=bound,
        left=sides[0],
        right=sides[1],
        missing=missing,
        kind=kind,
        sets=sets,
        values=(value[leaf] * np.float32(weight)).astype(np.float64).reshape(-1, 1),
    )


def _chosen(tree: Node) -> dict[int, list[int]]:
    """The sets of categories by node."""
    return {
        node: tree.categories[start : start + size]
        for node, start, size in zip(
            tree.categories_nodes, tree.categories_segments, tree.categories_sizes, strict=True
        )
    }
