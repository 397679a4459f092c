"""How far the answers were from what really happened: over any window, and bucket by bucket."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from modelkeep.errors import BadInput
from modelkeep.operations.act import DurationText, ModelName, MomentText, Operation, moment, stamp
from modelkeep.operations.models import known
from modelkeep.profile import Sums
from modelkeep.quantities import DAY, HOUR, WEEK, seconds
from modelkeep.store.scoring import Part
from modelkeep.watch.intervals import Interval
from modelkeep.watch.performance import accuracy as measured_accuracy

if TYPE_CHECKING:
    from modelkeep.app import App
    from modelkeep.store.seams import Ledger

READ = 2_000_000
"""So many records are read at most for a question about leads, which no sum answers."""
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

    A forecast's lead is how long after it was asked comes the moment that it is about. ``lead`` keeps those within
    bounds (the first belongs to it, the second not), ``leads`` cuts the pairs into ``by_lead``. Sums do not know leads:
    every record of the window is read, of one key or at most 2,000,000.
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
    lead: Annotated[str, Meta(description="Only these leads, such as 6h..1d, 6h.. or ..1d", max_length=100)] = ""
    leads: Annotated[str, Meta(description="Score these leads apart, such as 0s,6h,1d,3d", max_length=1000)] = ""


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


class Ahead(Struct, frozen=True, kw_only=True):
    """The pairs whose lead is from ``least`` seconds on and below ``below``; metrics from two pairs on."""

    least: float
    below: float
    n: int
    metrics: dict[str, float]
    intervals: dict[str, Interval]


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
    by_lead: tuple[Ahead, ...] = ()


def accuracy(app: App, request: ReadAccuracy) -> Accuracy:
    """Measure accuracy over any window: exact for its bounds, however late the outcomes came.

    Fewer than 10 pairs are said to be too few. Raises NotFound for an unknown model or version, BadInput for a bad
    window or lead, or where too many records had to be read for leads.
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
        ripe = max(ripe, start)
        part, cuts = _part(request), _cuts(request.leads)
        if part.lead or cuts:
            _bearable(ledger, request, start=start, end=end)
        found = _sums(ledger, request, part=part, start=start, end=ripe)
        young = _sums(ledger, request, part=part, start=ripe, end=end)["model"].n if ripe < end else 0
        points = tuple(_points(ledger, request, part=part, span=(start, ripe, end))) if request.bucket else ()
        ahead = ledger.records.leads(request.model, start=start, end=ripe, cuts=cuts, part=part) if cuts else []
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
        by_lead=tuple(_ahead(sums["model"], bounds) for sums, bounds in zip(ahead, pairwise(cuts), strict=True)),
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


def _part(request: ReadAccuracy) -> Part:
    lead = None
    if request.lead:
        low, dots, high = request.lead.partition("..")
        lead = seconds(low, "lead") if low else -math.inf, seconds(high, "lead") if high else math.inf
        if not dots or not lead[0] < lead[1]:
            raise BadInput.of("lead", expected="bounds such as 6h..1d, 6h.. or ..1d", got=repr(request.lead))
    return Part(version=request.version, key=request.key or None, role=request.role, lead=lead)


def _cuts(text: str) -> list[float]:
    cuts = [seconds(one, "leads") for one in text.split(",")] if text else []
    if text and (len(cuts) < 2 or any(high <= low for low, high in pairwise(cuts))):
        raise BadInput.of("leads", expected="two or more durations that rise, such as 0s,6h,1d", got=repr(text))
    return cuts


def _bearable(ledger: Ledger, request: ReadAccuracy, *, start: float, end: float) -> None:
    """Raise BadInput where a question about leads had to read too many records."""
    if request.key:
        return
    pairs = ledger.records.pairs(request.model, start=start, end=end, part=_part(request))
    if pairs > READ:
        raise BadInput.of(
            "lead" if request.lead else "leads",
            expected=f"a window with at most {READ:,} labelled predictions, or one key: each is read for its lead",
            got=f"{pairs:,}",
        )


def _sums(ledger: Ledger, request: ReadAccuracy, *, part: Part, start: float, end: float) -> dict[str, Sums]:
    if part.lead is not None:
        return ledger.records.leads(request.model, start=start, end=end, cuts=part.lead, part=part)[0]
    return ledger.records.sums(request.model, start=start, end=end, version=part.version, key=part.key, role=part.role)


def _points(ledger: Ledger, request: ReadAccuracy, *, part: Part, span: tuple[float, float, float]) -> Iterator[Point]:
    """Every bucket that begins before the end, whether anything happened in it or not: start, ripe and end."""
    start, ripe, end = span
    size, shift = BUCKETS[request.bucket or "day"], _MONDAY if request.bucket == "week" else 0.0
    first = (start - shift) // size * size + shift
    number = math.ceil((end - first) / size)
    if number > MOST:
        raise BadInput.of("bucket", expected=f"at most {MOST} points", got=str(number))
    begins = [first + place * size for place in range(number)]
    cuts = [min(max(at, start), ripe) for at in (*begins, end)]
    for begin, sums in zip(begins, ledger.records.series(request.model, cuts=cuts, part=part), strict=True):
        one = measured_accuracy(sums, need=LEAST)
        yield Point(
            start=stamp(begin), end=stamp(begin + size), n=one.n, metrics=one.metrics, intervals=one.intervals,
            mature=min(begin + size, end) <= ripe,
        )  # fmt: skip


def _ahead(sums: Sums, bounds: tuple[float, float]) -> Ahead:
    one = measured_accuracy(sums, need=LEAST)
    return Ahead(least=bounds[0], below=bounds[1], n=one.n, metrics=one.metrics, intervals=one.intervals)


OPERATIONS = (
    Operation(
        name="accuracy", method="GET", path="/v1/models/{model}/accuracy", request=ReadAccuracy, result=Accuracy,
        run=accuracy, words=("accuracy",), plain=("model",),
        finding=lambda found: "" if found.points or not found.error
        else f"insufficient_data: have {found.have}, need {found.need}",
    ),
)  # fmt: skip
