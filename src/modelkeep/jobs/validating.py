"""Whether a version may go on trial at all: it loads, answers, meets its floors, and is not plainly worse."""

import math
from collections.abc import Sequence

from msgspec import Struct

from modelkeep.errors import BadArtifact, BelowPolicy, ModelFailed, NotFound
from modelkeep.jobs.rooms import Rooms
from modelkeep.nouns import Match, Output, Policy, Prediction, Version
from modelkeep.rollout.rounds import CAP
from modelkeep.runtimes import Loaded
from modelkeep.watch.intervals import Interval, mean

LEAST = 30
_MOST = 1000


class Comparison(Struct, frozen=True, kw_only=True):
    """A version against the champion on labelled rows that it was not trained on.

    Losses are mean errors capped at the champion's 99 % quantile, or shares of wrong answers; ``difference`` is
    version - champion and ``interval`` its 95 % interval.
    """

    rows: int
    champion: float
    version: float
    difference: float
    interval: Interval


class Validation(Struct, frozen=True, kw_only=True):
    """What validation found; ``reasons`` say why the version is rejected, empty when it is not.

    ``seconds`` is the median time of a single row; ``notes`` what was left out and why.
    """

    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float | None = None
    comparison: Comparison | None = None


def validate(rooms: Rooms, version: Version, *, policy: Policy, force: bool, why: str) -> Validation:
    """Validate a version: floors, loading, a prediction, and a comparison on newer labelled rows when there are 30."""
    if refusal := below_policy(version, force=force, why=why):
        return Validation(reasons=(str(refusal),))
    with rooms.store.read() as ledger:
        rollout = ledger.rollouts.get(version.model)
        champion = ledger.versions.get(version.model, rollout.champion) if rollout else None
        since = version.created if version.lineage.end is None else version.lineage.end
        rows = (
            ledger.records.labelled(version.model, start=since, end=rooms.clock.now() - policy.horizon, limit=_MOST)
            if champion
            else []
        )
    try:
        with rooms.router.shelf.aside(version) as mine:
            return _looked(mine, rooms=rooms, champion=champion, rows=rows, allowed=policy.guards.loss)
    except (BadArtifact, NotFound, ModelFailed) as broken:
        return Validation(reasons=(str(broken),))


def _looked(
    mine: Loaded,
    *,
    rooms: Rooms,
    champion: Version | None,
    rows: Sequence[tuple[Prediction, Match]],
    allowed: float,
) -> Validation:
    version = mine.version
    if champion is not None and champion.signature.classifies != version.signature.classifies:
        return Validation(reasons=(f"{version.name} answers another kind of value than {champion.name}",))
    if champion is None or len(rows) < LEAST:
        note = f"not compared offline: {len(rows)} labelled rows are newer than its training data (needs {LEAST})"
        return Validation(notes=(note,), seconds=_known(mine.seconds))
    return _compared(mine, rooms=rooms, champion=champion, rows=rows, allowed=allowed)


def below_policy(version: Version, *, force: bool, why: str) -> BelowPolicy | None:
    """The refusal of a version that misses a floor of its policy, unless it is forced and ``why`` says the reason."""
    if not version.below or (force and why.strip()):
        return None
    remedy = "say why it is forced: --why REASON" if force else "release another, or this one with --force --why REASON"
    return BelowPolicy(f"{version.name} is below its policy: {', '.join(version.below)}", remedy=remedy)


def _compared(
    mine: Loaded, *, rooms: Rooms, champion: Version, rows: Sequence[tuple[Prediction, Match]], allowed: float
) -> Validation:
    features, truths = [p.features for p, _ in rows], [m.value for _, m in rows]
    try:
        new = _losses(mine.predict(features).values, truths)
    except ModelFailed as failed:
        return Validation(reasons=(f"on {len(rows)} labelled rows: {failed}",), seconds=_known(mine.seconds))
    try:
        with rooms.router.shelf.aside(champion) as other:
            old = _losses(other.predict(features).values, truths)
    except (BadArtifact, NotFound, ModelFailed) as broken:
        note = f"not compared offline: {broken}"
        return Validation(notes=(note,), seconds=_known(mine.seconds))
    comparison, worse = _compare(old, new, classes=mine.version.signature.classifies, allowed=allowed)
    reason = (
        f"on {comparison.rows} labelled rows that it was not trained on its loss is {comparison.version:.4g}, "
        f"the champion's {comparison.champion:.4g}"
    )
    return Validation(reasons=(reason,) if worse else (), seconds=_known(mine.seconds), comparison=comparison)


def _losses(answers: Sequence[Output], truths: Sequence[Output]) -> list[float]:
    return [
        float(a != t) if isinstance(a, str | bool) or isinstance(t, str | bool) else abs(float(a) - float(t))
        for a, t in zip(answers, truths, strict=True)
    ]


def _compare(old: list[float], new: list[float], *, classes: bool, allowed: float) -> tuple[Comparison, bool]:
    cap = 1.0 if classes else sorted(old)[min(int(CAP * len(old)), len(old) - 1)] or max(old) or 1.0
    old, new = [min(e, cap) for e in old], [min(e, cap) for e in new]
    margin = allowed if classes else 0.0
    factor = 1.0 if classes else 1.0 + allowed
    low, _ = _mean_interval([b - factor * a - margin for a, b in zip(old, new, strict=True)])
    n = len(old)
    difference = [b - a for a, b in zip(old, new, strict=True)]
    comparison = Comparison(
        rows=n,
        champion=sum(old) / n,
        version=sum(new) / n,
        difference=sum(difference) / n,
        interval=_mean_interval(difference),
    )
    return comparison, low > 0


def _mean_interval(values: Sequence[float]) -> Interval:
    found = mean(sum(values), sum(v * v for v in values), n=len(values))
    return found or (-math.inf, math.inf)


def _known(seconds: float) -> float | None:
    return None if math.isnan(seconds) else seconds
