"""What does not come: predictions, outcomes, variety. Silence is a fault of its own and never ok.

What is expected is learned from the four weeks before, hour of the week by hour of the week, so nights, weekends and
seasons of a week are no silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import dropwhile, pairwise

import numpy as np

from modelkeep.nouns import Facts, Level, Reading
from modelkeep.profile import Column, Slice, Window
from modelkeep.quantities import DAY, HOUR, WEEK, duration, iso
from modelkeep.watch.folding import columns, honest, lacking, last_day, unknown

EXPECTED = 10.0
"""So many missing events in a row are no chance: e^-10 even if they came independently."""
FROZEN = 1e-6
"""The chance, under the reference, below which one single value all day counts as frozen."""
FAMILIAR = 14
"""On so many days an input must have varied before one value all day is remarkable: clear skies are not a fault."""
HISTORY = DAY
PATIENCE = DAY
"""How long outcomes may take when the policy states no horizon."""


def silence(window: Window) -> list[Reading]:
    """Readings ``silence``, ``outcome_silence``, ``frozen_output`` and ``frozen_inputs``.

    ``silence``: seconds without a prediction; warning when ten or more were expected in its full hours and none of
    the weeks before was as quiet then (with less than two weeks of history: when it is twice the longest gap so far);
    unknown with less than a day of history. ``outcome_silence``: predictions in a row without an outcome though ten
    or more outcomes were expected. ``frozen_output`` and ``frozen_inputs``: one single value in the newest 24 h with
    predictions, where the reference (or the days before) say that it varies.
    """
    return [_predictions(window), _outcomes(window), _output(window), _inputs(window)]


def _predictions(window: Window) -> Reading:
    # Whoever answered: a model whose version has just changed is not silent.
    counts: dict[float, int] = {}
    for s in (*window.before, *window.others, *window.slices):
        counts[s.start] = counts.get(s.start, 0) + s.profile.n
    counts = {start: n for start, n in counts.items() if n}
    if not counts:
        return unknown(window, "silence", detail="there was never a prediction", facts={"reason": "no predictions"})
    last = max(counts) + HOUR
    quiet = max(window.end - last, 0.0)
    known = last - min(counts)
    if known < HISTORY:
        have, need = duration(known), duration(HISTORY)
        detail = f"only {have} of traffic are known, {need} are needed to tell what is normal"
        facts: Facts = {"reason": "insufficient_data", "have": known, "need": HISTORY}
        return unknown(window, "silence", detail=detail, facts=facts)
    # Whole hours only: within one, nobody knows whether its predictions come at its beginning or at its end.
    expected, usual = _expected(counts, last=last, end=max(window.end // HOUR * HOUR, last))
    silent = expected >= EXPECTED and not usual
    said = f"no prediction since {iso(last)}, {duration(quiet)}" if quiet > 0 else "predictions are coming"
    why = f"about {expected:.0f} were expected in its full hours" if quiet > 0 else "the newest hour has some"
    return honest(
        Reading(
            name="silence", subject=window.version.name, value=quiet, level="warning" if silent else "ok",
            at=window.end, n=sum(counts.values()), unit="s", detail=f"{said}; {why}",
            facts={"expected": expected, "last": last},
        )
    )  # fmt: skip


def _expected(counts: Mapping[float, int], *, last: float, end: float) -> tuple[float, bool]:
    """How many predictions were expected from ``last`` to ``end``, and whether such a quiet time is usual."""
    first = min(counts)
    weeks = int((last - first) // WEEK)
    if weeks >= 2:
        past = [_between(counts, start=last - k * WEEK, end=end - k * WEEK) for k in range(1, min(weeks, 4) + 1)]
        return sum(past) / len(past), min(past) <= 0
    starts = sorted(counts)
    longest = max((b - a - HOUR for a, b in pairwise(starts)), default=0.0)
    rate = sum(counts.values()) / (last - first)
    quiet = max(end - last, 0.0)
    return rate * quiet, quiet <= 2 * longest


def _between(counts: Mapping[float, int], *, start: float, end: float) -> float:
    """The predictions from ``start`` to ``end``, each hour's spread evenly over it."""
    total, hour = 0.0, start // HOUR * HOUR
    while hour < end:
        covered = min(hour + HOUR, end) - max(hour, start)
        total += counts.get(hour, 0) * covered / HOUR
        hour += HOUR
    return total


def _outcomes(window: Window) -> Reading:
    horizon = window.policy.horizon
    due = window.end - (max(1.5 * horizon, horizon + HOUR) if horizon > 0 else PATIENCE)
    hours = [s for s in (*window.before, *window.slices) if s.start + HOUR <= due]
    told = [s for s in hours if "model" in s.profile.errors and s.profile.errors["model"].n]
    asked = sum(_answered(s) for s in hours)
    if not told:
        if asked < EXPECTED:
            return lacking(window, "outcome_silence", have=asked, need=int(EXPECTED), what="predictions due an outcome")
        detail = f"no outcome was ever told for {asked} predictions"
        return unknown(window, "outcome_silence", detail=detail, n=asked, facts={"reason": "no outcomes"})
    last = told[-1].start + HOUR
    until = [s for s in hours if s.start < last]
    share = sum(s.profile.errors["model"].n for s in told) / max(sum(_answered(s) for s in until), 1)
    bare = sum(_answered(s) for s in hours if s.start >= last)
    expected = share * bare
    level: Level = "warning" if expected >= EXPECTED else "ok"
    said = (
        f"none of the {bare} predictions since {iso(last)} has an outcome, about {expected:.0f} were expected"
        if level == "warning"
        else f"outcomes are coming: {share:.0%} of the predictions get one"
    )
    return honest(
        Reading(
            name="outcome_silence", subject=window.version.name, value=float(bare), level=level, at=window.end,
            n=asked, unit="predictions", detail=said, facts={"expected": expected, "usual": share, "last": last},
        )
    )  # fmt: skip


def _answered(s: Slice) -> int:
    return s.profile.n - s.profile.failures


def _output(window: Window) -> Reading:
    name = window.version.signature.output.name
    column = columns([_only(s, name) for s in last_day(window.slices)]).get(name)
    n = 0 if column is None else column.n - column.missing
    if column is None or n < EXPECTED:
        return lacking(window, "frozen_output", have=n, need=int(EXPECTED), what="answers")
    single = _single(column) and _steady(window, name)
    if single is None:
        detail = "the answers cannot be told apart: the version has no sample of its output, or all lie outside of it"
        return unknown(window, "frozen_output", detail=detail, n=n, facts={"reason": "no reference"})
    chance = _chance(column, window.reference.columns.get(name) if window.reference else None, n=n)
    frozen = single and (chance < FROZEN if chance is not None else _varied(window, name))
    detail = (
        f"all {n} answers of the newest day with predictions are the same" if single else f"the {n} newest answers vary"
    )
    return Reading(
        name="frozen_output", subject=window.version.name, value=float(frozen), level="warning" if frozen else "ok",
        at=window.end, n=n, detail=detail, facts={"chance": chance},
    )  # fmt: skip


def _inputs(window: Window) -> Reading:
    held = columns(last_day(window.slices))
    inputs = [field.name for field in window.version.signature.inputs if field.name in held]
    n = max((held[name].n for name in inputs), default=0)
    if n < EXPECTED:
        return lacking(window, "frozen_inputs", have=n, need=int(EXPECTED), what="predictions")
    single = [name for name in inputs if _single(held[name]) and held[name].n - held[name].missing >= EXPECTED]
    frozen = [name for name in single if _steady(window, name) and _varied(window, name)]
    named = ", ".join(frozen[:5])
    detail = (
        f"{named}: one single value in all {n} predictions of the newest day with predictions, varied every day before"
        if frozen
        else f"no input stopped varying in the newest {n} predictions"
    )
    return Reading(
        name="frozen_inputs", subject=window.version.name, value=float(len(frozen)),
        level="warning" if frozen else "ok", at=window.end, n=n, unit="columns", detail=detail,
        facts={"columns": named} if frozen else {},
    )  # fmt: skip


def _only(s: Slice, name: str) -> Slice:
    column = s.profile.columns.get(name)
    held = {} if column is None else {name: column}
    return Slice(start=s.start, profile=type(s.profile)(latency=s.profile.latency, columns=held))


def _single(column: Column) -> bool | None:
    """Whether all values lie in one bin or category; None when that cannot be told.

    It cannot when the column was not counted into any, or when all lie outside the reference: those bins are open.
    """
    if column.values:
        return len(column.values) == 1
    filled = np.flatnonzero(column.counts)
    if not filled.size or (filled.size == 1 and filled[0] in {0, column.counts.size - 1}):
        return None
    return filled.size == 1


def _steady(window: Window, name: str) -> bool:
    """Whether the newest day's hours agree on the mean of a column that lies in one bin: a bin holds many values."""
    held = [s.profile.columns[name] for s in last_day(window.slices) if name in s.profile.columns]
    means = [column.sums.sum() / column.counts.sum() for column in held if column.counts.sum()]
    return not means or max(means) - min(means) <= 1e-9 * max(1.0, abs(means[0]))


def _chance(column: Column, reference: Column | None, *, n: int) -> float | None:
    """The chance that ``n`` values of the reference all fall where these did; None without a reference."""
    if reference is None or not _single(column):
        return None
    if column.values:
        total = sum(reference.values.values())
        share = reference.values.get(next(iter(column.values)), 0) / total if total else None
    else:
        total = reference.counts.sum()
        share = float(reference.counts[column.counts.argmax()] / total) if total else None
    return None if share is None else share**n


def _varied(window: Window, name: str) -> bool:
    """Whether the column varied on each day before it began to have this one value, on FAMILIAR days at least."""
    # Days that end at this hour, not at midnight: else what is constant by the local day seems to stop varying.
    newest, days = window.slices[-1].start, dict[int, list[Slice]]()
    for s in (*window.before, *window.slices):
        days.setdefault(int((newest - s.start) // DAY), []).append(_only(s, name))
    found = [columns(days[ago]).get(name) for ago in sorted(days)]
    held = [column for column in found if column is not None and column.n - column.missing >= EXPECTED]
    earlier = list(dropwhile(_single, held))
    return len(earlier) >= FAMILIAR and not any(_single(column) for column in earlier)
