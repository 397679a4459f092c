"""How sure the version is of its own answers: the mean score of a day."""

from __future__ import annotations

from modelkeep.nouns import Facts, Level, Reading
from modelkeep.profile import SCORE, Column, Profile, Slice, Window
from modelkeep.quantities import iso
from modelkeep.watch.folding import NEED, columns, daily, honest, lacking, last_day, unknown
from modelkeep.watch.intervals import mean

FLOOR = 0.7
LOW = 0.6
SHOWN = 7


def confidence(window: Window) -> list[Reading]:
    """Reading ``confidence``: the mean score (0..1) of the answers of the newest 24 h with predictions.

    Level: warning when it is below 0.7; unknown below ten scored answers, or for a model that gives no scores.
    Facts: ``low``, the share of answers with a score below 0.6, and the mean of each of the last seven days (UTC) by
    its date.
    """
    held = [s for s in window.slices if SCORE in s.profile.columns]
    if not held:
        detail = f"{window.version.name} gives no scores"
        return [unknown(window, "confidence", detail=detail, facts={"reason": "no scores"})]
    today = _scores(last_day(held))
    n = today.n - today.missing
    if n < NEED:
        return [lacking(window, "confidence", have=n, need=NEED, what="scored answers")]
    value = float(today.sums.sum()) / n
    bins = len(today.counts) - 2
    low = float(today.counts[: 1 + round(LOW * bins)].sum()) / n
    facts: Facts = {"low": low}
    for day in daily(held)[-SHOWN:]:
        scores = _scores(day)
        if scores.n > scores.missing:
            facts[iso(day[0].start)[:10]] = float(scores.sums.sum()) / (scores.n - scores.missing)
    level: Level = "warning" if value < FLOOR else "ok"
    # Squares are not kept; scores lie in 0..1, and what lies within has at most this spread.
    interval = mean(value * n, value * n, n=n)
    said = f"mean confidence {value:.3f} over {n} answers (floor {FLOOR:g}), {low:.0%} of them below {LOW:g}"
    return [
        honest(
            Reading(
                name="confidence", subject=window.version.name, value=value, level=level, at=window.end, n=n,
                interval=None if interval is None else (max(interval[0], 0.0), min(interval[1], 1.0)), detail=said,
                facts=facts,
            )
        )
    ]  # fmt: skip


def _scores(held: list[Slice]) -> Column:
    return columns([Slice(start=s.start, profile=_only(s)) for s in held])[SCORE]


def _only(s: Slice) -> Profile:
    return Profile(latency=s.profile.latency, columns={SCORE: s.profile.columns[SCORE]})
