"""The scorer of the Numenta Anomaly Benchmark, standard profile, from its public definition.

Lavin & Ahmad, "Evaluating real-time anomaly detection algorithms", ICMLA 2015 (arXiv:1510.03336), section II. Each
labelled window earns its earliest detection's weight, 1 at the window's start and about 0 at its end (a scaled
sigmoid); a missed window costs 1; a detection outside costs 0.11, less just after a window. The first 15 % of a series
(750 points at most) are not scored. One threshold for the whole corpus is chosen, the best for the detector, and the
sum is scaled: 0 for a detector that says nothing, 100 for one that detects every window at its first point.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE = 1.0, 0.11, 1.0
SPARED, SPARED_OF = 0.15, 5000


def sigmoid(position: float) -> float:
    """The weight of a detection: position -1 is a window's start, 0 its end, above 0 after it in window widths."""
    return -1.0 if position > 3 else 2 / (1 + math.exp(5 * position)) - 1


def spared(length: int) -> int:
    """How many points at the start of a series are not scored."""
    return math.floor(SPARED * min(length, SPARED_OF))


def score(series: Mapping[str, Floats], windows: Mapping[str, Sequence[tuple[int, int]]]) -> tuple[float, float]:
    """The normalised score at the best threshold, and that threshold.

    ``series`` are anomaly scores by name, one a point; ``windows`` the first and last point of each labelled window.
    """
    gains: list[tuple[float, float]] = []
    count = 0
    for name, scores in series.items():
        count += len(windows[name])
        gains += _gains(scores, windows[name])
    table = np.array(sorted(gains, reverse=True))
    worth = np.cumsum(table[:, 1])
    last = np.append(np.diff(table[:, 0]) != 0, True)  # points of one score are detected together
    best = int(np.argmax(np.where(last, worth, -np.inf)))
    raw, threshold = (worth[best], table[best, 0]) if worth[best] > 0 else (0.0, math.inf)
    # A detector that says nothing misses every window; worth is counted from there.
    return 100 * float(raw) / (count * (TRUE_POSITIVE + FALSE_NEGATIVE)), float(threshold)


def _gains(scores: Floats, windows: Sequence[tuple[int, int]]) -> Iterator[tuple[float, float]]:
    """What each point adds when the threshold falls to its score: (score, gain)."""
    start = spared(len(scores))
    inside = np.zeros(len(scores), dtype=np.bool_)
    for first, last in windows:
        inside[first : last + 1] = True
        places = np.arange(max(first, start), last + 1)
        best = -math.inf
        for place in places[np.argsort(-scores[places], kind="stable")]:
            worth = TRUE_POSITIVE * sigmoid(-(last - place + 1) / (last - first + 1)) / sigmoid(-1.0)
            if worth > best:
                yield float(scores[place]), worth + FALSE_NEGATIVE if best == -math.inf else worth - best
                best = worth
    previous: tuple[int, int] | None = None
    ends = {last: (first, last) for first, last in windows}
    for place in range(len(scores)):
        if place - 1 in ends:
            previous = ends[place - 1]
        if place >= start and not inside[place]:
            weight = -1.0
            if previous is not None:
                width = max(previous[1] - previous[0], 1)
                weight = sigmoid((place - previous[1]) / width)
            yield float(scores[place]), FALSE_POSITIVE * weight


def windowed_gaussian(values: Floats, *, window: int = 6400, step: int = 100) -> Floats:
    """NAB's baseline of that name: how far a value is in the tail of a normal fitted to the values before it."""
    found = np.zeros(len(values))
    kept: list[float] = []
    waiting: list[float] = []
    mean, spread = 0.0, 1.0
    total = squares = 0.0
    for place, value in enumerate(values.tolist()):
        if kept:
            distance = abs(value - mean) / spread
            found[place] = 1 - 0.5 * math.erfc(distance / math.sqrt(2))
        if len(kept) < window:
            kept.append(value)
            total, squares = total + value, squares + value * value
            mean = total / len(kept)
            spread = math.sqrt(max(squares / len(kept) - mean * mean, 0.0)) or 1e-6
        else:
            waiting.append(value)
            if len(waiting) == step:
                kept = kept[step:] + waiting
                waiting = []
                mean, spread = float(np.mean(kept)), float(np.std(kept)) or 1e-6
    return found
