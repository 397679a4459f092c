"""What the model is worth: its error against that of the best automatic baseline on the same predictions."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from modelkeep.nouns import Facts, Level, Reading
from modelkeep.profile import Floats, Sums, Window, references
from modelkeep.watch.folding import NEED, daily, honest, lacking, span, sums, unknown
from modelkeep.watch.intervals import Interval, jackknifed

LEAST_DAYS = 5
"""Days with outcomes from which a verdict is given: with fewer, one stormy day decides it."""
FALL = 0.1
"""The least fall of the skill against the reference that is worth a word: the error grew by a tenth beside it."""
COMPLETE = 0.5
"""A baseline that answered for fewer of the model's pairs than this is not compared."""


def skill(window: Window) -> list[Reading]:
    """Reading ``skill``: log(error of the best automatic baseline / error of the model); above 0 the model is better.

    The error is the MAE for numbers (the Brier score where every truth is 0 or 1) and the share of wrong answers for
    classes. The interval is jackknifed over days
    (Student's t), because hours of one day err together. Level: critical when the whole interval is below 0 ("below
    baseline"), warning when the skill has fallen by more than 0.1 below the reference (``skill`` among the version's
    baseline metrics) and the interval excludes the reference, else ok; unknown with fewer than ten pairs or five days.
    Facts: ``baseline`` (its name), ``baseline_error``, ``model_error``, ``reference``.
    """
    days = daily(window.slices)
    model = [sums(day) for day in days]
    pairs = sum(part.n for part in model)
    if pairs < NEED:
        return [lacking(window, "skill", have=pairs, need=NEED, what="predictions with a known outcome")]
    rivals = {name: [sums(day, name) for day in days] for name in references(window.version.signature)}
    best = best_baseline({name: sum(parts, Sums()) for name, parts in {"model": model, **rivals}.items()})
    if best is None:
        detail = f"no automatic baseline has answered for half of the {pairs} pairs yet"
        return [unknown(window, "skill", detail=detail, n=pairs, facts={"reason": "no baseline"})]
    labelled = sum(ours.n > 0 and theirs.n > 0 for ours, theirs in zip(model, rivals[best], strict=True))
    if labelled < LEAST_DAYS:
        return [lacking(window, "skill", have=labelled, need=LEAST_DAYS, what="days with known outcomes")]
    return [_judged(window, best, model=model, rival=rivals[best])]


def best_baseline(errors: Mapping[str, Sums]) -> str | None:
    """The automatic baseline that errs least, of those that answered half of the model's pairs; None without any.

    >>> best_baseline({"model": Sums(n=2, absolute=1), "ewma": Sums(n=2, absolute=3), "persistence": Sums(n=2)})
    'persistence'
    """
    pairs = errors["model"].n if "model" in errors else 0
    chances = "model" in errors and errors["model"].chances
    known = {
        name: sums.lost(chances=chances) / sums.n
        for name, sums in errors.items()
        if name != "model" and sums.n and sums.n >= COMPLETE * pairs
    }
    return min(known, key=lambda name: known[name], default=None)


def log_ratio(model: Sums, baseline: Sums) -> float:
    """The skill: log(mean error of the baseline / mean error of the model); NaN when either never errs or is empty."""
    ours, theirs = (sums.lost(chances=model.chances) for sums in (model, baseline))
    if not model.n or not baseline.n or ours <= 0 or theirs <= 0:
        return math.nan
    return math.log((theirs / baseline.n) / (ours / model.n))


def _judged(window: Window, best: str, *, model: list[Sums], rival: list[Sums]) -> Reading:
    mine, other = sum(model, Sums()), sum(rival, Sums())
    ours, theirs = (sums.lost(chances=mine.chances) / sums.n for sums in (mine, other))
    n = mine.n
    facts: Facts = {
        "baseline": best,
        "baseline_error": theirs,
        "model_error": ours,
        "reference": window.version.baseline.metrics.get("skill"),
    }
    value = log_ratio(mine, other)
    interval = jackknifed(value, _without_each(model, rival))
    if interval is None:
        who = "the model" if ours <= theirs else f"the baseline {best!r}"
        detail = f"skill cannot be told: {who} errs on one day at most in {n} pairs"
        return unknown(window, "skill", detail=detail, n=n, facts={**facts, "reason": detail})
    level = _level(value, interval, reference=window.version.baseline.metrics.get("skill"))
    return honest(
        Reading(
            name="skill", subject=window.version.name, value=value, level=level, at=window.end, n=n,
            interval=interval, unit="log ratio", detail=_said(window, facts, value=value, interval=interval),
            facts=facts,
        )
    )  # fmt: skip


def _level(value: float, interval: Interval, *, reference: float | None) -> Level:
    if interval[1] < 0:
        return "critical"
    fallen = reference is not None and value < reference - FALL and interval[1] < reference
    return "warning" if fallen else "ok"


def _said(window: Window, facts: Mapping[str, float | str | bool | None], *, value: float, interval: Interval) -> str:
    signature = window.version.signature
    unit = "wrong" if signature.classifies else "(Brier)" if signature.chances else signature.output.unit
    if interval[1] < 0:
        place = f"below baseline {facts['baseline']!r}"
    elif interval[0] > 0:
        place = f"better than the best baseline, {facts['baseline']!r}"
    else:
        place = f"not distinguishable from the best baseline, {facts['baseline']!r}"
    ours = f"{facts['model_error']:.4g} {unit}".rstrip()
    theirs = f"{facts['baseline_error']:.4g} {unit}".rstrip()
    made = f", {facts['reference']:+.3f} when it was made" if facts["reference"] is not None else ""
    return (
        f"{place}: the error of {window.version.name} is {ours}, the baseline's {theirs}, in the last {span(window)}; "
        f"skill {value:+.3f} (95 % interval {interval[0]:+.3f} to {interval[1]:+.3f}{made})"
    )


def _without_each(model: list[Sums], rival: list[Sums]) -> Floats:
    """The skill of all days but one, for each day that has both."""
    held = [(ours, theirs) for ours, theirs in zip(model, rival, strict=True) if ours.n and theirs.n]
    chances = sum(model, Sums()).chances
    table = np.array(
        [[theirs.lost(chances=chances), theirs.n, ours.lost(chances=chances), ours.n] for ours, theirs in held],
        dtype=float,
    )
    rest = table.sum(axis=0) - table
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = np.log((rest[:, 0] / rest[:, 1]) / (rest[:, 2] / rest[:, 3]))
    return found
