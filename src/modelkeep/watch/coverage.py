"""How many predictions have an outcome by now, and how long outcomes take."""

from __future__ import annotations

from modelkeep.nouns import Level, Reading
from modelkeep.profile import Slice, Window
from modelkeep.quantities import HOUR, duration
from modelkeep.watch.folding import NEED, honest, lacking, span, unknown
from modelkeep.watch.intervals import wilson

FALL = 0.2
"""The least fall against the weeks before, in shares, that is worth a word."""


def coverage(window: Window) -> list[Reading]:
    """Readings ``coverage`` and ``label_delay``.

    ``coverage`` is the share of answered predictions, older than the policy's horizon, whose outcome is known. Level:
    warning when the share is 20 points or more below that of the four weeks before and chance does not explain it, or
    when there is none any more; unknown below ten such predictions, or when no outcome was ever told.
    ``label_delay`` is how many seconds half of the newest outcomes took; warning when more than 5 % of them take longer
    than the horizon: labels are then scored that are not yet what they will be. Unknown before the first outcome.
    """
    return [*_covered(window), _delay(window)]


def _delay(window: Window) -> Reading:
    horizon = window.policy.horizon
    if window.delays is None:
        return unknown(window, "label_delay", detail="no outcome was ever told", facts={"reason": "no outcomes"})
    half, most = window.delays
    late = 0 < horizon < most
    said = f"half of the newest outcomes came within {duration(half)}, 95 % within {duration(most)}"
    beyond = f", and the policy takes labels for final after {duration(horizon)}" if horizon > 0 else ""
    return honest(
        Reading(
            name="label_delay", subject=window.version.name, value=half, level="warning" if late else "ok",
            at=window.end, n=window.told, unit="s", detail=f"{said}{beyond}",
            facts={"p50": half, "p95": most, "horizon": horizon},
        )
    )  # fmt: skip


def _covered(window: Window) -> list[Reading]:
    """The reading ``coverage``."""
    grown = [s for s in window.slices if s.start + HOUR + window.policy.horizon <= window.end]
    n = sum(s.profile.n - s.profile.failures for s in grown)
    if n < NEED:
        return [lacking(window, "coverage", have=n, need=NEED, what="predictions older than the horizon")]
    told = sum(_told(s) for s in grown)
    earlier = sum(s.profile.n - s.profile.failures for s in window.before)
    earlier_told = sum(_told(s) for s in window.before)
    low, high = wilson(told, n)
    if not told and not earlier_told:
        detail = f"no outcome was ever told for {n + earlier} predictions"
        return [unknown(window, "coverage", detail=detail, n=n, facts={"reason": "no outcomes", "labelled": 0})]
    usual = earlier_told / earlier if earlier >= NEED else None
    fallen = usual is not None and high < usual and (usual - told / n >= FALL or not told)
    level: Level = "warning" if fallen or not told else "ok"
    before = f", {usual:.1%} in the weeks before" if usual is not None else ""
    detail = f"the outcome of {told} of {n} predictions in the last {span(window)} is known: {told / n:.1%}{before}"
    return [
        honest(
            Reading(
                name="coverage", subject=window.version.name, value=told / n, level=level, at=window.end, n=n,
                interval=(low, high), detail=detail, facts={"labelled": told, "usual": usual},
            )
        )
    ]  # fmt: skip


def _told(s: Slice) -> int:
    # A prediction that failed and was answered by a stand-in may have an outcome too: it is not counted twice.
    return min(s.profile.errors["model"].n, s.profile.n - s.profile.failures) if "model" in s.profile.errors else 0
