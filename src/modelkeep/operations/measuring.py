"""How far the answers were from what really happened: over any window, and bucket by bucket."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from modelkeep.errors import BadInput
from modelkeep.operations.act import DurationText, ModelName, MomentText, Operation, moment, stamp
from modelkeep.operations.models import known
from modelkeep.profile import Sums
from modelkeep.quantities import DAY, HOUR, WEEK, seconds
from modelkeep.watch.intervals import Interval
from modelkeep.watch.performance import accuracy as measured_accuracy

if TYPE_CHECKING:
    from modelkeep.app import App
    from modelkeep.store.seams import Ledger

BUCKETS = {"hour": HOUR, "day": DAY, "week": WEEK}
MOST = 1000
"""A series has at most so many points."""
LEAST = 2
"""A point needs so many pairs: its interval says how little that is."""
_MONDAY = 4 * DAY  # 1970-01-01 was a Thursday


class ReadAccuracy(Struct, frozen=True, kw_only=True):
    """The predictions asked in the last ``window``, or from ``start`` to ``end``; of one version, key or role.

    With ``bucket`` there are ``points`` too, one for each hour, day or week (UTC, weeks from Monday); ``days`` asks for
    the last so many days, today included. Labels of predictions that are younger than the policy's ``horizon`` are left
    out, because those that come early are not like the others; ``immature`` takes them in.
    """

    model: ModelName
    window: DurationText = "7d"
    start: MomentText | None = None
    end: MomentText | None = None
    version: int | None = None
    key: Annotated[str, Meta(description="Only this entity")] = ""
    role: Literal["champion", "canary", "shadow", "fallback"] | None = None
    bucket: Literal["hour", "day", "week"] | None = None
    days: Annotated[int, Meta(description="The last so many days", ge=1, le=1000)] | None = None
    immature: Annotated[bool, Meta(description="Score labels before their horizon too")] = False


class Errors(Struct, frozen=True, kw_only=True):
    """Metrics over ``n`` pairs; ``mape`` leaves out the ``n_skipped`` pairs whose truth is zero."""

    n: int
    n_skipped: int
    metrics: dict[str, float]


class Point(Struct, frozen=True, kw_only=True):
    """One bucket: how many pairs, and what they allow, with 95 % intervals.

    Below two pairs there are no metrics; ``mature`` is false while labels of its predictions may still be due.
    """

    start: datetime
    end: datetime
    n: int
    metrics: dict[str, float]
    intervals: dict[str, Interval]
    mature: bool


class Accuracy(Struct, frozen=True, kw_only=True):
    """How far the answers were from the truth, beside the automatic baselines on the same predictions.

    ``error`` is ``insufficient_data`` when there are fewer than ``need`` pairs; then there are no metrics. ``immature``
    pairs were left out, because their predictions are younger than the policy's horizon.
    """

    model: str
    start: datetime
    end: datetime
    have: int
    need: int
    error: Literal["insufficient_data"] | None
    sample_size: int
    n_skipped: int
    metrics: dict[str, float]
    intervals: dict[str, Interval]
    baselines: dict[str, Errors]
    immature: int = 0
    points: tuple[Point, ...] = ()


def accuracy(app: App, request: ReadAccuracy) -> Accuracy:
    """Measure accuracy over any window: exact for its bounds, however late the outcomes came.

    Fewer than 10 pairs are said to be too few. Raises NotFound for an unknown model or version, BadInput for a bad
    window.
    """
    now = app.rooms.clock.now()
    start, end = _bounds(request, now=now)
    with app.rooms.store.read() as ledger:
        known(ledger, request.model)
        if request.version is not None:
            ledger.versions.get(request.model, request.version)
        rollout = ledger.rollouts.get(request.model)
        policy = ledger.versions.policy(request.model, rollout.policy if rollout else None)
        ripe = end if request.immature or not policy.horizon else min(end, now - policy.horizon)
        found = _sums(ledger, request, start=start, end=max(ripe, start))
        young = _sums(ledger, request, start=max(ripe, start), end=end)["model"].n if ripe < end else 0
        points = tuple(_points(ledger, request, start=start, end=end, ripe=ripe)) if request.bucket else ()
    measured = {name: measured_accuracy(sums) for name, sums in found.items()}
    mine = measured.pop("model")
    return Accuracy(
        model=request.model,
        start=stamp(start),
        end=stamp(end),
        have=mine.n,
        need=mine.need,
        error="insufficient_data" if mine.error else None,
        sample_size=mine.n,
        n_skipped=mine.skipped,
        metrics=mine.metrics,
        intervals=mine.intervals,
        baselines={
            name: Errors(n=one.n, n_skipped=one.skipped, metrics=one.metrics)
            for name, one in measured.items()
            if not one.error
        },
        immature=young,
        points=points,
    )


def _bounds(request: ReadAccuracy, *, now: float) -> tuple[float, float]:
    if request.days is not None:
        if request.start is not None or request.end is not None:
            raise BadInput.of("days", expected="nothing beside start and end", got=str(request.days))
        midnight = now // DAY * DAY
        return midnight - (request.days - 1) * DAY, midnight + DAY
    end = moment(request.end, "end")
    end = now + 1e-3 if end is None else end
    start = moment(request.start, "start")
    start = end - seconds(request.window, "window") if start is None else start
    if not start < end:
        raise BadInput.of("start", expected="a moment before end", got=repr(request.start))
    return start, end


def _sums(ledger: Ledger, request: ReadAccuracy, *, start: float, end: float) -> dict[str, Sums]:
    return ledger.records.sums(
        request.model, start=start, end=end, version=request.version, key=request.key or None, role=request.role
    )


def _points(ledger: Ledger, request: ReadAccuracy, *, start: float, end: float, ripe: float) -> Iterator[Point]:
    """Every bucket that begins before ``end``, whether anything happened in it or not."""
    size, shift = BUCKETS[request.bucket or "day"], _MONDAY if request.bucket == "week" else 0.0
    first = (start - shift) // size * size + shift
    if (end - first) / size > MOST:
        raise BadInput.of("bucket", expected=f"at most {MOST} points", got=f"{(end - first) / size:.0f}")
    while first < end:
        low, high = max(first, start), min(first + size, end)
        sums = _sums(ledger, request, start=low, end=max(min(high, ripe), low))
        one = measured_accuracy(sums["model"], need=LEAST)
        yield Point(
            start=stamp(first), end=stamp(first + size), n=one.n, metrics=one.metrics, intervals=one.intervals,
            mature=high <= ripe,
        )  # fmt: skip
        first += size


OPERATIONS = (
    Operation(
        name="accuracy", method="GET", path="/v1/models/{model}/accuracy", request=ReadAccuracy, result=Accuracy,
        run=accuracy, words=("accuracy",), plain=("model",),
        finding=lambda found: "" if found.points or not found.error
        else f"insufficient_data: have {found.have}, need {found.need}",
    ),
)  # fmt: skip
