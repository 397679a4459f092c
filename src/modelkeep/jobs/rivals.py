"""A version beside simple baselines by name, on the same held-out data: who is better, by which metric, in words."""

import math
import re
from collections.abc import Mapping

from msgspec import Struct

LESS = frozenset(
    {
        *("mae", "rmse", "mse", "rmsle", "mape", "wape", "smape", "medae", "mase", "error", "loss", "logloss", "brier"),
        *("deviance", "pinball", "crps", "width", "far", "seconds"),
    }
)
"""A metric with one of these words in its name is better the smaller it is; of every other one, more is better."""


class Compared(Struct, frozen=True, kw_only=True):
    """One metric of the model and of each baseline that has it; ``verdict`` says in words who is better."""

    metric: str
    model: float
    baselines: dict[str, float]
    verdict: str


def less_is_better(metric: str) -> bool:
    """Whether a metric is an error.

    >>> less_is_better("mae"), less_is_better("mae_7d"), less_is_better("average_precision")
    (True, True, False)
    """
    return bool(LESS & set(re.split(r"[^a-z]+", metric.lower())))


def compared(metrics: Mapping[str, float], rivals: Mapping[str, Mapping[str, float]]) -> tuple[Compared, ...]:
    """Every metric of the model, beside the baselines that have it too."""
    return tuple(_compared(metric, value, rivals=rivals) for metric, value in metrics.items())


def about_baselines(reason: str) -> bool:
    """Whether a reason against a version tells of simple rules, and not of a target of its policy.

    >>> about_baselines("below baseline ewma: mae 3.2, baseline 2.9"), about_baselines("r2 0.40 < 0.50")
    (True, False)
    """
    return reason.startswith("below baseline ") or reason.endswith("always answering the mean")


def below(metrics: Mapping[str, float], rivals: Mapping[str, Mapping[str, float]]) -> tuple[str, ...]:
    """The best baseline when it is at least as good as the model by the first metric that they share, in words.

    >>> below({"mae": 3.2}, {"ewma": {"mae": 2.9}, "mean": {"mae": 5.0}})
    ('below baseline ewma: mae 3.2, baseline 2.9',)
    >>> below({"mae": 2.0}, {"ewma": {"mae": 2.9}})
    ()
    """
    for metric, value in metrics.items():
        others = {name: found[metric] for name, found in rivals.items() if metric in found}
        if others:
            best = _best(metric, others)
            if not _better(metric, value, other=others[best]):
                return (f"below baseline {best}: {metric} {value:.4g}, baseline {others[best]:.4g}",)
            return ()
    return ()


def joined(
    simple: Mapping[str, Mapping[str, float]], named: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    """The automatic baselines and those that a trainer names; what the trainer says of one counts."""
    return {name: {**simple.get(name, {}), **named.get(name, {})} for name in (*simple, *named)}


def unskilled(metrics: Mapping[str, float], simple: Mapping[str, Mapping[str, float]]) -> tuple[str, ...]:
    """That the best of the automatic baselines errs less than the model (a ``skill`` below 0), in words.

    >>> unskilled({"skill": -0.1, "mae": 3.3}, {"ewma": {"mae": 3.0}, "persistence": {"mae": 4.0}})
    ('below baseline ewma: skill -0.1 < 0',)
    """
    skill = metrics.get("skill")
    if skill is None or skill >= 0 or not simple:
        return ()
    metric = "mae" if "mae" in metrics else "accuracy"
    best = _best(metric, {name: found[metric] for name, found in simple.items() if metric in found})
    return (f"below baseline {best}: skill {skill:.3g} < 0",)


def worse_than_nothing(metrics: Mapping[str, float], rivals: Mapping[str, Mapping[str, float]]) -> tuple[str, ...]:
    """That an R2 below 0 is worse than always answering the mean, in words.

    Rare large errors alone can do that, so a model that beats a baseline by name, or the automatic ones (``skill``
    above 0), is not said to be worse than nothing.

    >>> worse_than_nothing({"r2": -0.2}, {}), worse_than_nothing({"r2": -0.2, "skill": 0.4}, {})
    (('r2 -0.2 < 0: worse than always answering the mean',), ())
    """
    r2 = metrics.get("r2")
    shared = any(metric in found for found in rivals.values() for metric in metrics)
    if r2 is None or r2 >= 0 or metrics.get("skill", 0.0) > 0 or (shared and not below(metrics, rivals)):
        return ()
    return (f"r2 {r2:.3g} < 0: worse than always answering the mean",)


def _compared(metric: str, value: float, *, rivals: Mapping[str, Mapping[str, float]]) -> Compared:
    others = {name: found[metric] for name, found in rivals.items() if metric in found}
    if not others or metric == "bias":  # a bias has a sign, and nobody is better by it
        return Compared(metric=metric, model=value, baselines=others, verdict="")
    best = _best(metric, others)
    if _better(metric, value, other=others[best]):
        share = abs(value - others[best]) / abs(others[best]) if others[best] else math.inf
        how = f"by {share:.1%} of it" if math.isfinite(share) else ""
        return Compared(metric=metric, model=value, baselines=others, verdict=f"better than {best} {how}".strip())
    return Compared(metric=metric, model=value, baselines=others, verdict=f"below baseline {best}")


def _best(metric: str, others: Mapping[str, float]) -> str:
    order = min if less_is_better(metric) else max
    return order(others, key=others.__getitem__)


def _better(metric: str, value: float, *, other: float) -> bool:
    return value < other if less_is_better(metric) else value > other
