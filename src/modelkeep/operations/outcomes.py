"""Outcomes: telling what really happened, and how far the answers were from it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from modelkeep.errors import BadInput
from modelkeep.nouns import Outcome, Output
from modelkeep.operations.act import DurationText, ModelName, MomentText, Operation, moment, stamp
from modelkeep.operations.models import known
from modelkeep.quantities import seconds
from modelkeep.store.seams import Told
from modelkeep.watch.intervals import Interval
from modelkeep.watch.performance import accuracy as measured_accuracy

if TYPE_CHECKING:
    from modelkeep.app import App


class About(Struct, frozen=True, kw_only=True):
    """Which prediction an outcome is about, and when it became known (``at``, now by default)."""

    prediction_id: Annotated[str, Meta(description="Id of the prediction", max_length=100)] = ""
    model: Annotated[str, Meta(description="Name of the model", max_length=200)] = ""
    key: Annotated[str, Meta(description="Entity of the prediction", max_length=500)] = ""
    for_: MomentText | None = field(default=None, name="for")
    at: MomentText | None = None
    source: Annotated[str, Meta(description="Where it comes from", max_length=200)] = ""


Actual = Annotated[Output | None, Meta(description="What really happened; null withdraws the outcome")]


class Truth(About, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One outcome: by ``prediction_id``, or by ``model``, ``key`` and the moment that it is about (``for``)."""

    actual: Actual


class TellOutcomes(About, frozen=True, kw_only=True):
    """One outcome (its fields at the top), or many under ``outcomes``; ``at`` is when it became known (default now)."""

    outcomes: Annotated[tuple[Truth, ...], Meta(max_length=10_000)] | UnsetType = UNSET
    actual: Actual | UnsetType = UNSET


class ToldOutcomes(Struct, frozen=True, kw_only=True):
    """What became of each outcome, in the order of the request."""

    outcomes: tuple[Told, ...]


class ReadAccuracy(Struct, frozen=True, kw_only=True):
    """The predictions asked in the last ``window``, or from ``start`` to ``end``; of one version, key or role."""

    model: ModelName
    window: DurationText = "7d"
    start: MomentText | None = None
    end: MomentText | None = None
    version: int | None = None
    key: Annotated[str, Meta(description="Only this entity")] = ""
    role: Literal["champion", "canary", "shadow", "fallback"] | None = None


class Errors(Struct, frozen=True, kw_only=True):
    """Metrics over ``n`` pairs; ``mape`` leaves out the ``n_skipped`` pairs whose truth is zero."""

    n: int
    n_skipped: int
    metrics: dict[str, float]


class Accuracy(Struct, frozen=True, kw_only=True):
    """How far the answers were from the truth, beside the automatic baselines on the same predictions.

    ``error`` is ``insufficient_data`` when there are fewer than ``need`` pairs; then there are no metrics.
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


def tell_outcomes(app: App, request: TellOutcomes) -> ToldOutcomes:
    """Tell what really happened, for one prediction or many; safe to repeat.

    An outcome before its prediction is kept and joined later; another value for the same prediction is a correction.
    The answer comes when the outcomes are on disk. Raises BadInput naming the field, Unavailable when they cannot be.
    """
    now = app.rooms.clock.now()
    told = app.tell([_outcome(truth, now=now, place=place) for place, truth in _truths(request)])
    return ToldOutcomes(outcomes=tuple(told))


def accuracy(app: App, request: ReadAccuracy) -> Accuracy:
    """Measure accuracy over any window: exact for its bounds, however late the outcomes came.

    Fewer than 10 pairs are said to be too few. Raises NotFound for an unknown model or version, BadInput for a bad
    window.
    """
    now = app.rooms.clock.now()
    end = moment(request.end, "end")
    end = now + 1e-3 if end is None else end
    start = moment(request.start, "start")
    start = end - seconds(request.window, "window") if start is None else start
    if not start < end:
        raise BadInput.of("start", expected="a moment before end", got=repr(request.start))
    with app.rooms.store.read() as ledger:
        known(ledger, request.model)
        if request.version is not None:
            ledger.versions.get(request.model, request.version)
        found = ledger.records.sums(
            request.model, start=start, end=end, version=request.version, key=request.key or None, role=request.role
        )
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
    )


def _truths(request: TellOutcomes) -> list[tuple[str, Truth]]:
    if request.outcomes is not UNSET:
        if request.actual is not UNSET:
            raise BadInput.of("actual", expected="nothing beside outcomes", got=repr(request.actual))
        return [(f"outcomes[{i}].", truth) for i, truth in enumerate(request.outcomes)]
    if request.actual is UNSET:
        raise BadInput.of("actual", expected="a number, a boolean, a text or null", got="nothing")
    about = {name: getattr(request, name) for name in About.__struct_fields__}
    alone = Truth(actual=request.actual, **about)
    return [("", alone)]


def _outcome(truth: Truth, *, now: float, place: str) -> Outcome:
    about = moment(truth.for_, f"{place}for")
    if not truth.prediction_id and (not truth.model or about is None):
        raise BadInput.of(
            f"{place}prediction_id", expected="a prediction id, or model and for (and key)", got="neither"
        )
    told = moment(truth.at, f"{place}at")
    return Outcome(
        value=truth.actual,
        at=now if told is None else told,
        prediction=truth.prediction_id or None,
        model=truth.model or None,
        key=truth.key,
        target=about,
        source=truth.source,
    )


OPERATIONS = (
    Operation(
        name="outcomes", method="POST", path="/v1/outcomes", request=TellOutcomes, result=ToldOutcomes,
        run=tell_outcomes,
    ),
    Operation(
        name="accuracy", method="GET", path="/v1/models/{model}/accuracy", request=ReadAccuracy, result=Accuracy,
        run=accuracy, words=("accuracy",), plain=("model",),
        finding=lambda found: f"insufficient_data: have {found.have}, need {found.need}" if found.error else "",
    ),
)  # fmt: skip
