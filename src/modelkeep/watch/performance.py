"""How far the answers are from the truth, with n and interval, and against the time of training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from modelkeep.nouns import Facts, Level, Reading
from modelkeep.profile import CEILINGS, Sums, Window
from modelkeep.watch import intervals
from modelkeep.watch.folding import NEED, daily, honest, lacking, span, sums, unknown
from modelkeep.watch.intervals import Interval

NUMBERS = ("mae", "rmse", "mape", "bias", "r2")
CLASSES = ("accuracy", "precision", "recall", "f1")
LEAST_DAYS = 3
"""Days with outcomes from which drift is told: with fewer, one stormy day decides it."""
SEVERE = 2.5
"""Error drift is critical at this many times the policy's threshold."""


class Accuracy(Struct, frozen=True, kw_only=True):
    """Every metric that ``n`` pairs of answer and truth allow, with 95 % intervals where they can be told.

    Below ``need`` pairs ``error`` is ``insufficient_data`` and there are no metrics. ``skipped`` pairs have a truth of
    zero, which ``mape`` leaves out.
    """

    n: int
    need: int
    metrics: dict[str, float] = {}
    intervals: dict[str, Interval] = {}
    skipped: int = 0
    error: str = ""


def accuracy(sums: Sums, *, need: int = NEED, blocks: Sequence[Sums] = ()) -> Accuracy:
    """The metrics of these sums; ``blocks`` (the same pairs by day or hour) give more of them an interval.

    The interval of ``mae`` and ``bias`` is Student's t from the first two moments of the error; that of ``accuracy``,
    and of ``precision`` and ``recall`` of two classes, is Wilson's; all others are jackknifed over ``blocks`` and
    absent without three of them.

    >>> pairs = sum((Sums.of(12.0, 10.0), Sums.of(10.0, 10.0)), Sums())
    >>> accuracy(pairs, need=2).metrics["mae"]
    1.0
    >>> accuracy(pairs).error
    'insufficient_data'
    """
    if sums.n < need:
        return Accuracy(n=sums.n, need=need, error="insufficient_data")
    metrics = {name: value for name, value in sums.metrics().items() if math.isfinite(value)}
    found = intervals.of_metrics(blocks, Sums.metrics)
    found = {name: _bounded(name, found[name]) for name in metrics if name in found}
    found.update(_of_classes(sums) if sums.confusion else _of_numbers(sums))
    skipped = 0 if sums.confusion else sums.n - sums.relative_n
    return Accuracy(n=sums.n, need=need, metrics=metrics, intervals=found, skipped=skipped)


def _of_numbers(sums: Sums) -> dict[str, Interval]:
    found = {
        "mae": intervals.mean(sums.absolute, sums.square, n=sums.n),
        "bias": intervals.mean(sums.error, sums.square, n=sums.n),
    }
    return {name: _bounded(name, interval) for name, interval in found.items() if interval is not None}


def _of_classes(sums: Sums) -> dict[str, Interval]:
    found = {"accuracy": intervals.wilson(sums.n - sums.loss, sums.n)}
    labels = list(sums.labels().values())
    if len(labels) == 2:
        positive = labels[-1]
        found["precision"] = intervals.wilson(positive.right, positive.said)
        found["recall"] = intervals.wilson(positive.right, positive.true)
    return found


def _bounded(name: str, interval: Interval) -> Interval:
    low, high = interval
    if name in CEILINGS:
        return max(low, 0.0), high
    if name in CLASSES:
        return max(low, 0.0), min(high, 1.0)
    return (low, min(high, 1.0)) if name == "r2" else (low, high)


def performance(window: Window) -> list[Reading]:
    """Readings of every metric of the model's kind over the window, and ``error_drift``.

    Numbers: ``mae``, ``rmse``, ``bias`` (in the output's unit), ``mape`` (a fraction), ``r2``. Classes: ``accuracy``,
    ``precision``, ``recall``, ``f1``. Level: unknown below ten pairs; warning when the policy has a target for the
    metric and it is missed, critical when the whole interval misses it; ok otherwise.
    """
    by_day = [sums(day) for day in daily(window.slices)]
    by_day = [day for day in by_day if day.n]
    blocks = by_day
    if len(by_day) < intervals.LEAST_BLOCKS:
        blocks = [s.profile.errors["model"] for s in window.slices if "model" in s.profile.errors]
    found = accuracy(sum(by_day, Sums()), blocks=blocks)
    names = CLASSES if window.version.signature.classifies else NUMBERS
    return [*(_metric(window, name, found=found) for name in names), error_drift(window, found, days=len(by_day))]


def _metric(window: Window, name: str, *, found: Accuracy) -> Reading:
    if found.error:
        return lacking(window, name, have=found.n, need=found.need, what="predictions with a known outcome")
    value = found.metrics.get(name)
    if value is None:
        reason = {"mape": "every true value is zero", "r2": "all true values are the same"}.get(
            name, "no pair allows it"
        )
        return unknown(window, name, detail=f"{name} cannot be told: {reason}", n=found.n, facts={"reason": reason})
    unit = window.version.signature.output.unit if name in {"mae", "rmse", "bias"} else ""
    interval = found.intervals.get(name)
    target = window.policy.targets.get(name)
    n = found.n - found.skipped if name == "mape" else found.n
    facts: Facts = {"n_skipped": found.skipped} if name == "mape" else {}
    if target is not None:
        facts["target"] = target
    parts = [f"{name} {value:.4g}{f' {unit}' if unit else ''} over {n} pairs in the last {span(window)}"]
    parts += [f"95 % interval {interval[0]:.4g} to {interval[1]:.4g}"] if interval else []
    parts += [f"{found.skipped} with a truth of zero skipped"] if name == "mape" and found.skipped else []
    parts += [f"target {'at most' if name in CEILINGS else 'at least'} {target:g}"] if target is not None else []
    return honest(
        Reading(
            name=name, subject=window.version.name, value=value, at=window.end,
            level=_against(name, value, interval=interval, target=target),
            n=n, interval=interval, unit=unit, detail=", ".join(parts), facts=facts,
        )
    )  # fmt: skip


def _against(name: str, value: float, *, interval: Interval | None, target: float | None) -> Level:
    if target is None:
        return "ok"
    sign = -1.0 if name in CEILINGS else 1.0
    if sign * value >= sign * target:
        return "ok"
    best = None if interval is None else max(sign * end for end in interval)
    return "critical" if best is not None and best < sign * target else "warning"


def error_drift(window: Window, found: Accuracy, *, days: int) -> Reading:
    """Reading ``error_drift``: by how many per cent the error is above that of training.

    For numbers the error is the MAE, for classes the share of wrong answers. Facts: ``drift_detected``,
    ``training_mae``, ``recent_mae``, ``degradation_pct``, ``threshold_pct`` (the policy's ``drift``). Level: warning
    when the degradation exceeds the threshold, critical from 2.5 times the threshold on; unknown below ten pairs, with
    outcomes of fewer than three ``days``, or when the version has no training error above zero.
    """
    trained, recent, interval = _errors(
        window.version.baseline.metrics, found, classes=window.version.signature.classifies
    )
    facts: Facts = {
        "drift_detected": None,
        "training_mae": trained,
        "recent_mae": recent,
        "threshold_pct": window.policy.drift * 100,
    }
    if found.error:
        little = lacking(window, "error_drift", have=found.n, need=found.need, what="predictions with a known outcome")
        return msgspec.structs.replace(little, facts=facts | little.facts)
    if trained is None or recent is None or not trained > 0:
        reason = (
            f"{window.version.name} has no training error" if trained is None else f"its training error is {trained:g}"
        )
        return unknown(
            window, "error_drift", detail=f"error drift cannot be told: {reason}", n=found.n,
            facts={**facts, "reason": reason},
        )  # fmt: skip
    if days < LEAST_DAYS:
        little = lacking(window, "error_drift", have=days, need=LEAST_DAYS, what="days with known outcomes")
        return msgspec.structs.replace(little, facts=facts | little.facts)
    return _drifted(window, found, trained=trained, recent=recent, interval=interval, facts=facts)


def _drifted(
    window: Window, found: Accuracy, *, trained: float, recent: float, interval: Interval | None, facts: Facts
) -> Reading:
    rise = round((recent / trained - 1) * 100, 9)
    limit = window.policy.drift * 100
    level: Level = "critical" if rise > SEVERE * limit else "warning" if rise > limit else "ok"
    unit = window.version.signature.output.unit
    ends = None if interval is None else ((interval[0] / trained - 1) * 100, (interval[1] / trained - 1) * 100)
    said = f", 95 % interval {ends[0]:+.1f} to {ends[1]:+.1f} %" if ends else ""
    detail = (
        f"the error is {recent:.4g}{f' {unit}' if unit else ''} over {found.n} pairs in the last {span(window)}, "
        f"{rise:+.1f} % against {trained:.4g} in training (threshold {limit:g} %{said})"
    )
    return honest(
        Reading(
            name="error_drift", subject=window.version.name, value=rise, level=level, at=window.end, n=found.n,
            interval=ends, unit="%", detail=detail,
            facts={**facts, "drift_detected": rise > limit, "degradation_pct": rise},
        )
    )  # fmt: skip


def _errors(
    trained: Mapping[str, float], found: Accuracy, *, classes: bool
) -> tuple[float | None, float | None, Interval | None]:
    """The error of training, the recent one, and the recent one's interval."""
    before = trained.get("accuracy" if classes else "mae")
    now = found.metrics.get("accuracy" if classes else "mae")
    interval = found.intervals.get("accuracy" if classes else "mae")
    if before is not None and not math.isfinite(before):
        before = None
    if not classes:
        return before, now, interval
    return (
        None if before is None else 1 - before,
        None if now is None else 1 - now,
        None if interval is None else (1 - interval[1], 1 - interval[0]),
    )
