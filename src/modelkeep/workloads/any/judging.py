"""What a model's answers are worth beside the automatic baselines, on rows that it has not seen."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from modelkeep import Output, TrainingRows, backtest, scored
from modelkeep.workloads.any.splitting import Places


class Worth(Struct, frozen=True, kw_only=True):
    """What answers are worth: in words, as metrics, and the metrics of the simple rules by name."""

    said: str
    metrics: dict[str, float]
    rivals: dict[str, dict[str, float]]


def judged(rows: TrainingRows, answers: Sequence[Output], *, places: Places, classes: Sequence[Output]) -> Worth:
    """How good answers to the rows at ``places`` are beside the automatic baselines on the same rows."""
    truth = [rows.truth[i] for i in places]
    errors = scored(truth, {"model": list(answers), **_simple(rows, places, classifies=bool(classes))})
    mine = errors.pop("model")
    rivals = {name: sums.loss / sums.n for name, sums in errors.items() if sums.n}
    metrics = _finite(mine.metrics()) if mine.n else {}
    if not rivals:
        return Worth(said="no automatic baseline knows these rows", metrics=metrics, rivals={})
    best = min(rivals, key=rivals.__getitem__)
    error = mine.loss / mine.n
    if min(error, rivals[best]) > 0:
        metrics["skill"] = math.log(rivals[best] / error)
    listed = ", ".join(f"{name} {value:.4g}" for name, value in sorted(rivals.items(), key=lambda pair: pair[1]))
    place = f"below baseline {best!r}" if error >= rivals[best] else f"better than {best!r}"
    main = "accuracy" if classes else "mae"
    return Worth(
        said=f"{place}: error {error:.4g}, {listed}",
        metrics={main: metrics.pop(main), **metrics},
        rivals={name: _finite({main: sums.metrics()[main]}) for name, sums in errors.items() if sums.n},
    )


def _simple(rows: TrainingRows, places: Places, *, classifies: bool) -> dict[str, list[Output | None]]:
    known = backtest(
        rows.at,
        targets=rows.targets or rows.at,
        keys=rows.keys,
        truths=rows.truth,
        told=rows.told or rows.at,
        classifies=classifies,
    )
    found = {name: [values[i] for i in places] for name, values in known.items()}
    if any(value is not None for values in found.values() for value in values):
        return found
    return {"constant": [_constant(rows, places)] * len(places)}  # without moments nobody remembers anything


def _finite(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def _constant(rows: TrainingRows, places: Places) -> Output:
    """The one answer of somebody who knows no input: the most frequent class, or the median, of the other rows."""
    held = set(places.tolist())
    others = [truth for i, truth in enumerate(rows.truth) if i not in held]
    if isinstance(others[0], float):
        return float(np.median(np.array(others, dtype=np.float64)))
    return Counter(others).most_common(1)[0][0]
