"""What the model is worth: its error against that of the best automatic baseline on the same predictions."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from modelkeep.nouns import Level, Reading
from modelkeep.profile import Floats, Sums, Window, references
from modelkeep.watch.folding import daily, honest, lacking, span, sums, unknown
from modelkeep.watch.intervals import Interval, jackknifed

NEED = 10
LEAST_DAYS = 5
"""Days with outcomes from which a verdict is given: with fewer, one stormy day decides it."""
FALL = 0.1
"""The least fall of the skill against the reference that is worth a word: the error grew by a tenth beside it."""
COMPLETE = 0.5
"""A baseline that answered for fewer of the model's pairs than this is not compared."""


def skill(window: Window) -> list[Reading]:
    """Reading ``skill``: log(error of the best automatic baseline / error of the model); above 0 the model is better.

    The error is the MAE for numbers and the share of wrong answers for classes. The interval is jackknifed over days
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
    errors = {name: _error(sum(parts, Sums())) for name, parts in rivals.items() if _complete(parts, pairs)}
    known = {name: error for name, error in errors.items() if error is not None}
    if not known:
        detail = f"no automatic baseline has answered for half of the {pairs} pairs yet"
        return [unknown(window, "skill", detail=detail, n=pairs, facts={"reason": "no baseline"})]
    best = min(known, key=lambda name: known[name])
    labelled = sum(ours.n > 0 and theirs.n > 0 for ours, theirs in zip(model, rivals[best], strict=True))
    if labelled < LEAST_DAYS:
        return [lacking(window, "skill", have=labelled, need=LEAST_DAYS, what="days with known outcomes")]
    return [_judged(window, best, model=model, rival=rivals[best])]


def _judged(window: Window, best: str, *, model: list[Sums], rival: list[Sums]) -> Reading:
    ours, theirs = _error(sum(model, Sums())) or 0.0, _error(sum(rival, Sums())) or 0.0
    n = sum(part.n for part in model)
    facts: dict[str, float | str | bool | None] = {
        "baseline": best,
        "baseline_error": theirs,
        "model_error": ours,
        "reference": window.version.baseline.metrics.get("skill"),
    }
    value = math.log(theirs / ours) if ours > 0 and theirs > 0 else math.nan
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
    unit = "wrong" if window.version.signature.classifies else window.version.signature.output.unit
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


def _complete(parts: list[Sums], pairs: int) -> bool:
    return sum(part.n for part in parts) >= COMPLETE * pairs


def _error(total: Sums) -> float | None:
    """The mean error of pairs: MAE of numbers, share of wrong classes; None without pairs."""
    return _wrong(total) / total.n if total.n else None


def _wrong(total: Sums) -> float:
    if not total.confusion:
        return total.absolute
    return total.n - sum(row.get(truth, 0) for truth, row in total.confusion.items())


def _without_each(model: list[Sums], rival: list[Sums]) -> Floats:
    """The skill of all days but one, for each day that has both."""
    held = [(ours, theirs) for ours, theirs in zip(model, rival, strict=True) if ours.n and theirs.n]
    table = np.array([[_wrong(theirs), theirs.n, _wrong(ours), ours.n] for ours, theirs in held], dtype=float)
    rest = table.sum(axis=0) - table
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = np.log((rest[:, 0] / rest[:, 1]) / (rest[:, 2] / rest[:, 3]))
    return found
