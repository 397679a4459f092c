"""LightGBM's text, already checked, as a ``Plan``."""

import itertools

import numpy as np

from modelkeep.nouns import Output
from modelkeep.runtimes.lightgbm_text import Sound
from modelkeep.runtimes.runners.forest import ZERO, Floats, Forest, Tree, joined
from modelkeep.runtimes.runners.plan import Head, Plan

_CATEGORY, _LEFT = 1, 2
_NEVER, _ZERO = 0, 1
_HEADS: dict[str, Head] = {"identity": "identity", "log": "log", "logit": "logit", "softmax": "softmax"}


def read(
    sound: Sound, *, names: tuple[str, ...] | None, codes: dict[str, dict[str, float]], labels: tuple[Output, ...]
) -> Plan | None:
    """The plan of a file; ``labels`` are the classes, empty for numbers. None for what only LightGBM itself answers.

    That is: another link than those of a plan, zero as missing, a category that is compared as a number.
    """
    head, width = _HEADS.get(sound.head.link), sound.head.classes
    if names is None or head is None or (head == "softmax" and not labels):
        return None
    trees = [_tree(block) for block in sound.text.split("\nTree=")[1:]]
    known = [tree for tree in trees if tree is not None]
    kinds = [place for place, name in enumerate(names) if name in codes]
    compared = {int(f) for tree in known for f in tree.feature[tree.kind < 0]}
    if len(known) < len(trees) or compared & set(kinds):
        return None
    forest: Forest = joined(known, width=width, features=len(names), base=np.zeros(width))
    return Plan(sources=names, codes=codes, head=head, forest=forest, labels=labels)


def _tree(block: str) -> Tree | None:
    lines = dict(line.split("=", 1) for line in block.split("\n")[1:] if "=" in line)
    values = _floats(lines["leaf_value"]).reshape(-1, 1)
    if len(values) == 1:
        nothing = np.zeros(0, dtype=np.int32)
        gaps = nothing.astype(np.uint8)
        return Tree(
            feature=nothing,
            threshold=np.zeros(0),
            left=nothing,
            right=nothing,
            missing=gaps,
            kind=nothing,
            sets=[],
            values=values,
        )
    decision, threshold = _whole(lines["decision_type"]), _floats(lines["threshold"])
    sort, by_set = decision >> 2, (decision & _CATEGORY) == 1
    if (sort[~by_set] == _ZERO).any():
        return None
    # Where training saw no missing value, the library takes one for zero.
    left = np.where(sort == _NEVER, threshold >= 0.0, (decision & _LEFT) != 0)
    sets = _sets(lines) if by_set.any() else []
    return Tree(
        feature=_whole(lines["split_feature"]),
        threshold=_beyond_zero(threshold),
        left=_whole(lines["left_child"]),
        right=_whole(lines["right_child"]),
        missing=np.where(by_set, 0, left).astype(np.uint8),
        kind=np.where(by_set, threshold, -1).astype(np.int32),
        sets=sets,
        values=values,
    )


def _beyond_zero(threshold: Floats) -> Floats:
    """Thresholds that part the numbers that count as zero from none of their like."""
    above = np.where((threshold >= 0.0) & (threshold < ZERO), ZERO, threshold)
    return np.where((above >= -ZERO) & (above < 0.0), np.nextafter(-ZERO, -1.0), above)


def _sets(lines: dict[str, str]) -> list[list[int]]:
    bounds = [int(part) for part in lines["cat_boundaries"].split(" ")]
    words = [int(part) for part in lines["cat_threshold"].split(" ")]
    found = []
    for start, end in itertools.pairwise(bounds):
        part = words[start:end]
        found.append([32 * i + bit for i, word in enumerate(part) for bit in range(32) if word >> bit & 1])
    return found


def _whole(text: str) -> np.ndarray:
    return np.array(text.split(" "), dtype=np.int32)


def _floats(text: str) -> Floats:
    return np.array(text.split(" "), dtype=np.float64)
