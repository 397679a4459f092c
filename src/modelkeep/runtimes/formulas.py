"""Whether a label is a formula of its inputs: then a model learns the formula, not the world.

A rule is sought by a small tree (greedy cuts of least squares, as in Breiman et al., "Classification and Regression
Trees", 1984), an equation by least squares on the inputs, on their logarithms, and on products and ratios of two.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from modelkeep.nouns import Output, Value
from modelkeep.runtimes.signatures import missing

LEAST_PAIRS = 10
"""Fewer rows than this prove neither a leak by correlation nor that a model answers the same to everything."""
LEAST = 100
"""With fewer rows, a small tree fits anything."""
SAMPLE = 20_000
LEAVES = 8
LEAST_LEAF = 5
PURE = 0.1
LEAST_RARE = 20
"""The rarer class needs so many rows before a rule for it means something."""
MOST_PAIRS = 30
"""Products and ratios are tried between so many inputs at most, those that go with the label most."""
EXACT = 1 - 1e-9
ALIKE = 0.995
"""A rule found on one half of the rows must hold for this share of the other."""
_VALUES = 40

Floats: TypeAlias = NDArray[np.float64]


class Cut(Struct, frozen=True, kw_only=True):
    """One question of a rule: is the input above the threshold?"""

    input: str
    above: float
    category: str = ""

    def __str__(self) -> str:
        return f"{self.input} is {self.category}" if self.category else f"{self.input} > {self.above:.6g}"


def leak(values: Sequence[Value], truth: Sequence[Output]) -> str:
    """How a column gives the truth away (``equals``, ``is a straight line of``), or an empty text.

    >>> leak([2.0, 4.0, 6.0] * 4, [1.0, 2.0, 3.0] * 4)
    'is a straight line of'
    """
    if len(truth) < LEAST_PAIRS or len(set(truth)) < 2:
        return ""
    if all(str(value) == str(real) or value == real for value, real in zip(values, truth, strict=True)):
        return "equals"
    if any(isinstance(value, str) for value in (*values, *truth)):
        return ""
    pairs = [(float(v), float(t)) for v, t in zip(values, truth, strict=True) if v is not None and not missing(v)]
    known = np.array(pairs)
    if len(pairs) < LEAST_PAIRS or not known.std(axis=0).all():
        return ""
    correlation = float(np.corrcoef(known, rowvar=False)[0, 1])
    return "is a straight line of" if abs(correlation) >= EXACT else ""


def formula(columns: Mapping[str, Sequence[Value]], truth: Sequence[Output]) -> str:
    """How several inputs together give the label away, in words, or an empty text.

    >>> rows = [float(i % 97) for i in range(200)]
    >>> formula({"battery": rows, "signal": rows[::-1]}, [value < 20 for value in rows])
    'a rule of battery reproduces it (battery > 19.5)'
    """
    if len(truth) < LEAST or len(set(truth)) < 2:
        return ""
    places = np.linspace(0, len(truth) - 1, min(len(truth), SAMPLE)).astype(int)
    names, matrix = _matrix(columns, places)
    label, classes = _label([truth[i] for i in places])
    if label is None or not names:
        return ""
    if not classes:
        said = _equation(names, matrix, label=label)
        if said:
            return said
    return _rule(names, matrix, label=label, classes=classes)


def _matrix(columns: Mapping[str, Sequence[Value]], places: NDArray[np.int_]) -> tuple[list[Cut], Floats]:
    """Numbers as they are, each frequent category as a column of its own; what is missing is below everything."""
    heads, found = list[Cut](), list[Floats]()
    for name, values in columns.items():
        some = [values[i] for i in places]
        known = [value for value in some if value is not None]
        if any(isinstance(value, str) for value in known):
            for category in sorted({str(v) for v in known})[:_VALUES]:
                heads.append(Cut(input=name, above=0.5, category=category))
                found.append(np.array([float(str(value) == category) for value in some]))
        elif known:
            heads.append(Cut(input=name, above=math.nan))
            found.append(np.array([math.nan if v is None else float(v) for v in some], dtype=np.float64))
    return heads, np.column_stack(found) if found else np.empty((len(places), 0))


def _label(truth: Sequence[Output]) -> tuple[Floats | None, bool]:
    """The label as numbers, and whether it is one of two classes; None for more than two."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in truth):
        found = np.array(truth, dtype=np.float64)
        return found, len(np.unique(found)) == 2
    kinds = sorted({str(value) for value in truth})
    return (np.array([float(str(v) == kinds[-1]) for v in truth]), True) if len(kinds) == 2 else (None, True)


# ------------------------------------------------------------------------------------------------ rules


def _rule(names: Sequence[Cut], matrix: Floats, *, label: Floats, classes: bool) -> str:
    if classes and min((label == label.min()).sum(), (label == label.max()).sum()) < LEAST_RARE:
        return ""
    filled = np.where(np.isnan(matrix), -math.inf, matrix)
    cuts, exact = _tree(filled, label)
    if not exact or not cuts:
        return ""
    half = np.arange(len(label)) % 2 == 0
    if not _holds(filled, label, half=half):
        return ""
    used = [_cut(names[column], threshold) for column, threshold in cuts]
    inputs = sorted({cut.input for cut in used})
    words = ", ".join(dict.fromkeys(str(cut) for cut in used))
    return f"a rule of {', '.join(inputs)} reproduces it ({words})"


def _cut(name: Cut, threshold: float) -> Cut:
    return name if name.category else Cut(input=name.input, above=threshold)


Leaf: TypeAlias = NDArray[np.int_]


def _tree(matrix: Floats, label: Floats) -> tuple[list[tuple[int, float]], bool]:
    """The cuts of a tree of at most LEAVES leaves, best first, and whether it gives the label exactly."""
    leaves: list[Leaf] = [np.arange(len(label))]
    cuts: list[tuple[int, float]] = []
    while len(leaves) < LEAVES:
        worst = max(range(len(leaves)), key=lambda i: _spread(label[leaves[i]]))
        if _spread(label[leaves[worst]]) == 0.0:
            break
        found = _best(matrix, label, rows=leaves[worst])
        if found is None:
            return cuts, False
        column, threshold = found
        rows = leaves.pop(worst)
        right = matrix[rows, column] > threshold
        leaves += [rows[~right], rows[right]]
        cuts.append((column, threshold))
    return cuts, all(_spread(label[leaf]) == 0.0 for leaf in leaves)


def _spread(values: Floats) -> float:
    return float(values.var() * len(values)) if values.min() != values.max() else 0.0


def _best(matrix: Floats, label: Floats, *, rows: Leaf) -> tuple[int, float] | None:
    """The column and the threshold of the best cut; None when no cut is allowed.

    Best is the cut that sets the largest side apart whose label is one and the same, as a rule's does; when no such
    side has a tenth of the rows, the cut that leaves the least squares.
    """
    pure, gain = (PURE * len(rows), -1, 0.0), (-math.inf, -1, 0.0)
    for column in range(matrix.shape[1]):
        order = rows[np.argsort(matrix[rows, column], kind="stable")]
        values, truth = matrix[order, column], label[order]
        left = np.arange(1, len(rows))
        allowed = (values[:-1] < values[1:]) & (left >= LEAST_LEAF) & (len(rows) - left >= LEAST_LEAF)
        if not allowed.any():
            continue
        for size, place in _sides(truth, np.flatnonzero(allowed)):
            pure = max(pure, (size, column, _between(values, place)))
        sums = np.cumsum(truth)[:-1]
        less = np.where(allowed, sums**2 / left + (truth.sum() - sums) ** 2 / (len(rows) - left), -math.inf)
        place = int(less.argmax())
        gain = max(gain, (float(less[place]), column, _between(values, place)))
    _, column, threshold = pure if pure[1] >= 0 else gain
    return (column, threshold) if column >= 0 else None


def _sides(truth: Floats, cuts: NDArray[np.int_]) -> list[tuple[float, int]]:
    """The longest beginning and the longest end of one and the same label, each cut where that is allowed: its size."""
    other = np.flatnonzero(truth != truth[0])
    first = int(other[0]) if other.size else len(truth)
    last = int(np.flatnonzero(truth != truth[-1])[-1]) if other.size else -1
    before, after = cuts[cuts < first], cuts[cuts >= last]
    found = [(float(before[-1] + 1), int(before[-1]))] if before.size else []
    return found + ([(float(len(truth) - 1 - after[0]), int(after[0]))] if after.size else [])


def _between(values: Floats, place: int) -> float:
    low, high = float(values[place]), float(values[place + 1])
    return math.nextafter(high, -math.inf) if math.isinf(low) else (low + high) / 2


def _holds(matrix: Floats, label: Floats, *, half: NDArray[np.bool_]) -> bool:
    """Whether a tree grown on one half of the rows is right on the other."""
    leaves: list[tuple[Leaf, Leaf]] = [(np.flatnonzero(half), np.flatnonzero(~half))]
    while len(leaves) < LEAVES:
        worst = max(range(len(leaves)), key=lambda i: _spread(label[leaves[i][0]]))
        found = _best(matrix, label, rows=leaves[worst][0])
        if _spread(label[leaves[worst][0]]) == 0.0 or found is None:
            break
        column, threshold = found
        grown, tested = leaves.pop(worst)
        right, other = matrix[grown, column] > threshold, matrix[tested, column] > threshold
        leaves += [(grown[~right], tested[~other]), (grown[right], tested[other])]
    near = sum(int(np.isclose(label[tested], label[grown].mean()).sum()) for grown, tested in leaves)
    tested_rows = int((~half).sum())
    # Rows between the thresholds of the two halves go wrong however few rows there are: about one a cut.
    return near >= min(ALIKE * tested_rows, tested_rows - len(leaves))


# ------------------------------------------------------------------------------------------------ equations


def _equation(names: Sequence[Cut], matrix: Floats, *, label: Floats) -> str:
    numeric = [i for i, name in enumerate(names) if not name.category]
    plain = [i for i in numeric if np.isfinite(matrix[:, i]).all() and matrix[:, i].std() > 0]
    inputs = matrix[:, plain]
    heads = [names[i].input for i in plain]
    if not heads or label.std() == 0:
        return ""
    said = _linear(heads, inputs, label=label, how="a weighted sum")
    if not said and (label > 0).all():
        above = [j for j in range(len(heads)) if (inputs[:, j] > 0).all()]
        said = _linear(
            [heads[j] for j in above], np.log(inputs[:, above]), label=np.log(label), how="a product of powers"
        )
    return said or _pair(heads, inputs, label=label)


def _linear(heads: Sequence[str], inputs: Floats, *, label: Floats, how: str) -> str:
    """Least squares on scaled inputs; those that matter are named when the fit is exact."""
    if len(heads) < 2 or len(label) < 2 * (len(heads) + 1):
        return ""
    scale = inputs.std(axis=0)
    moving = scale > 0
    scaled = (inputs[:, moving] - inputs[:, moving].mean(axis=0)) / scale[moving]
    names = [head for head, moves in zip(heads, moving, strict=True) if moves]
    centred = label - label.mean()
    weights = np.linalg.lstsq(scaled, centred, rcond=None)[0]
    if not _exact(scaled @ weights, centred):
        return ""
    used = [name for name, weight in zip(names, weights, strict=True) if abs(weight) > 1e-6 * centred.std()]
    return f"{how} of {', '.join(used)} reproduces it"


def _pair(heads: Sequence[str], inputs: Floats, *, label: Floats) -> str:
    strength = [abs(np.corrcoef(inputs[:, j], label)[0, 1]) for j in range(len(heads))]
    chosen = sorted(range(len(heads)), key=lambda j: -strength[j])[:MOST_PAIRS]
    for one, other in itertools.permutations(chosen, 2):
        if one < other and _line(inputs[:, one] * inputs[:, other], label):
            return f"{heads[one]} x {heads[other]} reproduces it"
        if (inputs[:, other] != 0).all() and _line(inputs[:, one] / inputs[:, other], label):
            return f"{heads[one]} / {heads[other]} reproduces it"
    return ""


def _line(values: Floats, label: Floats) -> bool:
    return bool(values.std() > 0 and abs(np.corrcoef(values, label)[0, 1]) >= math.sqrt(EXACT))


def _exact(fitted: Floats, truth: Floats) -> bool:
    return float(((fitted - truth) ** 2).sum()) <= (1 - EXACT) * float((truth**2).sum())
