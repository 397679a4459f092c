"""Predictions: asking a model, and looking at what it answered."""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from modelkeep.errors import BadInput, NotFound
from modelkeep.given import given_id
from modelkeep.nouns import Features, Outcome, Output, Prediction, Value
from modelkeep.operations.act import By, Limit, ModelName, MomentText, Operation, moment, stamp
from modelkeep.operations.models import known
from modelkeep.operations.seeing import Reveal, note, veiled
from modelkeep.operations.truths import OURS
from modelkeep.opinions import Feedback
from modelkeep.serving.calling import Members
from modelkeep.serving.gateway import Answer, Ask
from modelkeep.store.seams import Hit, Sought

if TYPE_CHECKING:
    from modelkeep.app import App

Key = Annotated[
    str, Meta(description="The entity that it is about: sticky in trials, joined with outcomes", max_length=500)
]
MOST_ROWS = 10_000


class Row(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row of a batch."""

    features: Annotated[dict[str, Value], Meta(description="The model's inputs by name")]
    key: Key = ""
    for_: MomentText | None = field(default=None, name="for")


class Predict(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row (``features``), or many (``rows``); ``for`` is the moment that it is about (now by default).

    ``subject`` is the person whom the row is about, if any.
    """

    model: Annotated[str, Meta(description="Name of the model", max_length=200)] = ""
    features: Annotated[dict[str, Value], Meta(description="The model's inputs by name")] | UnsetType = UNSET
    rows: Annotated[tuple[Row, ...], Meta(min_length=1, max_length=MOST_ROWS)] | UnsetType = UNSET
    key: Key = ""
    for_: MomentText | None = field(default=None, name="for")
    subject: Annotated[str, Meta(description="The person whom it is about", max_length=500)] = ""


class MemberView(Struct, frozen=True, kw_only=True):
    """A member of an ensemble: its share in the answer, and its own answer in the output's unit."""

    model: str
    version: int
    weight: float
    prediction: float


class Answered(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One answer; ``fallback`` says who answered in place of ``version``, and ``fallback_reason`` why.

    In a batch, a row that nobody could answer has the prediction null and says why in ``error``. ``tier`` is ``low``
    where the lighter version answered because the model is overloaded. ``cached`` is there for models whose answers are
    remembered: whether this one was.

    ``members`` are those of an ensemble that weighed in: their predictions, each taken into the space of ``link`` and
    weighed, add up to the answer's. ``degraded`` says which of them failed and were left out; the others then have
    their weight.
    """

    prediction: Output | None
    prediction_id: str
    model: str
    version: int
    role: str
    latency_ms: float
    request_id: str
    score: float | None = None
    interval: tuple[float, float] | None = None
    fallback: str = ""
    fallback_reason: str = ""
    error: str = ""
    tier: str = ""
    cached: bool | UnsetType = UNSET
    members: tuple[MemberView, ...] = ()
    link: str = ""
    degraded: str = ""


class Predicted(Struct, frozen=True, kw_only=True):
    """The answers, in the order of the rows."""

    predictions: tuple[Answered, ...]


class OutcomeView(Struct, frozen=True, kw_only=True):
    """One revision of an outcome: its value and when it was told."""

    actual: Output | None
    at: datetime
    source: str


class FeedbackView(Struct, frozen=True, kw_only=True):
    """What somebody said of a prediction: a rating from 1 (worst) to 5, and a comment."""

    id: str
    prediction_id: str
    model: str
    rating: int
    comment: str
    at: datetime
    by: str


class ReviewView(Struct, frozen=True, kw_only=True):
    """Who has looked at a prediction, and when."""

    by: str
    at: datetime
    note: str


class PredictionView(Struct, frozen=True, kw_only=True):
    """A prediction as it was recorded, with every revision of its outcome, oldest first."""

    prediction_id: str
    model: str
    version: int
    role: str
    features: Features
    feature_set: str | None
    prediction: Output | None
    score: float | None
    interval: tuple[float, float] | None
    key: str
    subject: str | None
    at: datetime
    about: datetime
    latency_ms: float | None
    error: str | None
    stand_in: int | None
    shadow_of: str | None
    request_id: str
    outcomes: tuple[OutcomeView, ...]
    given_id: str = ""
    flag: str = ""
    truth: Output | None = None
    off_by: float | None = None
    feedback: tuple[FeedbackView, ...] = ()
    reviews: tuple[ReviewView, ...] = ()


class ListPredictions(Struct, frozen=True, kw_only=True):
    """Predictions of a model, those asked last first; every filter that is given must fit.

    ``since`` and ``until`` are when they were asked; ``low`` and ``high`` bound the answer; ``min_error`` and
    ``max_error`` the distance from the truth (for classes 1 when wrong, 0 when right). ``after`` goes on where a list
    before ended (its ``next``).
    """

    model: ModelName
    version: Annotated[int, Meta(description="Only what this version answered", ge=1)] | None = None
    role: Literal["champion", "canary", "shadow", "fallback"] | None = None
    key: Annotated[str, Meta(description="Only this entity")] = ""
    subject: Annotated[str, Meta(description="Only what is about this person", max_length=500)] = ""
    since: MomentText | None = None
    until: MomentText | None = None
    low: Annotated[float, Meta(description="Least answer")] | None = None
    high: Annotated[float, Meta(description="Largest answer")] | None = None
    min_error: Annotated[float, Meta(description="Least distance from the truth")] | None = None
    max_error: Annotated[float, Meta(description="Largest distance from the truth")] | None = None
    failed: Annotated[bool, Meta(description="Only those that failed")] = False
    flagged: Annotated[bool, Meta(description="Only those about which something is odd")] = False
    after: Annotated[str, Meta(description="Go on where a list ended: its next", max_length=100)] = ""
    limit: Limit = 100
    reveal: Reveal = False
    by: By = ""


class OnePrediction(Struct, frozen=True, kw_only=True):
    """Which prediction; with ``model`` by the id that its service gave it."""

    id: Annotated[str, Meta(description="Id of the prediction", min_length=1, max_length=200)]
    model: Annotated[str, Meta(description="Model of an id that a service gave", max_length=200)] = ""
    reveal: Reveal = False
    by: By = ""


class Predictions(Struct, frozen=True, kw_only=True):
    """Predictions, those asked last first, with their truth and how far they were off by; ``next`` goes on, "" ends.

    A list that had to look at very many records may be shorter than its limit and still have a ``next``.
    """

    predictions: tuple[PredictionView, ...]
    next: str = ""


def predict(app: App, request: Predict) -> Answered | Predicted:
    """Ask a model for one answer or many; every answer is recorded.

    Raises NotFound naming near models, BadFeatures naming each field, Unavailable when nothing can answer.
    """
    request_id = uuid.uuid4().hex
    answer = app.rooms.client.ask(ask(request, request_id))
    found = all_answered(answer, request_id)
    return found[0] if request.rows is UNSET else Predicted(predictions=found)


def ask(request: Predict, request_id: str) -> Ask:
    """The gateway's form of a request. Raises BadInput naming the field."""
    if request.rows is UNSET:
        if request.features is UNSET:
            raise BadInput.of("features", expected="the model's inputs by name, or rows", got="nothing")
        about = moment(request.for_, "for")
        return Ask(
            model=request.model,
            rows=[request.features],
            keys=[request.key],
            targets=None if about is None else [about],
            subject=request.subject or None,
            request=request_id,
        )
    if request.features is not UNSET:
        raise BadInput.of("features", expected="nothing beside rows", got="an object")
    return _many(request, request.rows, request_id=request_id)


def _many(request: Predict, rows: tuple[Row, ...], *, request_id: str) -> Ask:
    common = moment(request.for_, "for")
    about = [common if row.for_ is None else moment(row.for_, f"rows[{i}].for") for i, row in enumerate(rows)]
    said = [target for target in about if target is not None]
    if said and len(said) < len(rows):
        raise BadInput.of("rows.for", expected="a moment in every row, or in none", got=f"{len(said)} of {len(rows)}")
    return Ask(
        model=request.model,
        rows=[row.features for row in rows],
        keys=[row.key or request.key for row in rows],
        targets=said or None,
        subject=request.subject or None,
        request=request_id,
    )


def all_answered(answer: Answer, request_id: str) -> tuple[Answered, ...]:
    """The answers of one request as they go out, in the order of its rows."""
    found = [answered(prediction, request_id) for prediction in answer.predictions]
    if answer.cached:
        found = [msgspec.structs.replace(one, cached=cached) for one, cached in zip(found, answer.cached, strict=True)]
    if answer.members:
        found = [_with(one, members) for one, members in zip(found, answer.members, strict=True)]
    return tuple(found)


def _with(one: Answered, told: Members | None) -> Answered:
    """The answer with the members of the ensemble that gave it; not when another stood in for it."""
    if told is None or one.fallback:
        return one
    members = tuple(
        MemberView(model=name, version=one.version, weight=weight, prediction=value)
        for name, weight, value in told.parts
    )
    return msgspec.structs.replace(one, members=members, link=told.link)


def answered(prediction: Prediction, request_id: str) -> Answered:
    """One answered prediction as it goes out."""
    itself = prediction.stand_in == prediction.version  # an ensemble without some of its members
    return Answered(
        prediction=prediction.output,
        prediction_id=prediction.id,
        model=prediction.model,
        version=prediction.version,
        role=prediction.role,
        latency_ms=prediction.seconds * 1000,
        request_id=request_id,
        score=prediction.score,
        interval=prediction.interval,
        fallback="" if prediction.stand_in is None or itself else stand_in(prediction),
        fallback_reason=prediction.error or "" if prediction.stand_in is not None and not itself else "",
        error=prediction.error or "" if prediction.output is None else "",
        tier="low" if prediction.role == "fallback" and not prediction.error else "",
        degraded=(prediction.error or "").removeprefix("degraded: ") if itself else "",
    )


def stand_in(prediction: Prediction) -> str:
    """Who answered in place of the version, in words."""
    return f"{prediction.model}@{prediction.stand_in}" if prediction.stand_in else "automatic baseline"


def list_predictions(app: App, request: ListPredictions) -> Predictions:
    """List predictions of a model, those asked last first: by version, role, entity, time, answer, error or failure.

    Raises NotFound naming near models, BadInput for a bad moment or ``after``.
    """
    sought = Sought(
        model=request.model,
        version=request.version,
        role=request.role,
        key=request.key or None,
        subject=request.subject or None,
        since=moment(request.since, "since"),
        until=moment(request.until, "until"),
        failed=request.failed or None,
        flagged=request.flagged or None,
        low=request.low,
        high=request.high,
        least=request.min_error,
        most=request.max_error,
        before=_place(request.after),
    )
    with app.rooms.store.read() as ledger:
        known(ledger, request.model)
        if request.version is not None:
            ledger.versions.get(request.model, request.version)
        found = ledger.records.search(sought, limit=request.limit)
        seen = veiled(ledger, [hit.prediction for hit in found.hits], reveal=request.reveal)
    note(app, seen, act="list", who=request.by, detail=request.model)
    return Predictions(
        predictions=tuple(view(shown, hit=hit) for shown, hit in zip(seen, found.hits, strict=True)),
        next="" if found.rest is None else f"{found.rest[0]!r}:{found.rest[1]}",
    )


def _place(after: str) -> tuple[float, int] | None:
    if not after:
        return None
    at, colon, number = after.partition(":")
    try:
        found = float(at), int(number)
    except ValueError:
        found = (math.nan, 0)
    if not colon or not math.isfinite(found[0]):
        raise BadInput.of("after", expected="what a list before gave as next", got=repr(after))
    return found


def show_prediction(app: App, request: OnePrediction) -> PredictionView:
    """Show one prediction: its exact features, who answered, its outcome with all corrections, what people said of it.

    Raises NotFound.
    """
    id_ = request.id if not request.model or OURS.fullmatch(request.id) else given_id(request.model, request.id)
    with app.rooms.store.read() as ledger:
        found = ledger.records.prediction(id_)
        if found is None:
            raise NotFound("prediction", request.id)
        features = ledger.versions.get(found.model, found.version).features if found.version else None
        (seen,) = veiled(ledger, [found], reveal=request.reveal)
        shown = view(seen, outcomes=ledger.records.outcomes(id_), features=features)
        shown = msgspec.structs.replace(
            shown,
            feedback=tuple(map(said, ledger.said.feedback_of(id_))),
            reviews=tuple(ReviewView(by=r.by, at=stamp(r.at), note=r.note) for r in ledger.said.reviews_of(id_)),
        )
    note(app, [found], act="show", who=request.by, detail=id_)
    return shown


def said(feedback: Feedback) -> FeedbackView:
    """Feedback as it goes out."""
    return FeedbackView(
        id=feedback.id,
        prediction_id=feedback.prediction,
        model=feedback.model,
        rating=feedback.rating,
        comment=feedback.comment,
        at=stamp(feedback.at),
        by=feedback.by,
    )


def view(
    prediction: Prediction, *, outcomes: Sequence[Outcome] = (), features: str | None = None, hit: Hit | None = None
) -> PredictionView:
    """A recorded prediction as it goes out; ``hit`` tells of its truth."""
    return PredictionView(
        prediction_id=prediction.id,
        model=prediction.model,
        version=prediction.version,
        role=prediction.role,
        features=prediction.features,
        feature_set=features,
        prediction=prediction.output,
        score=prediction.score,
        interval=prediction.interval,
        key=prediction.key,
        subject=prediction.subject,
        at=stamp(prediction.at),
        about=stamp(prediction.target),
        latency_ms=None if math.isnan(prediction.seconds) else prediction.seconds * 1000,
        error=prediction.error,
        stand_in=prediction.stand_in,
        shadow_of=prediction.of,
        request_id=prediction.request,
        outcomes=tuple(OutcomeView(actual=o.value, at=stamp(o.at), source=o.source) for o in outcomes),
        given_id=prediction.given,
        flag=prediction.flag,
        truth=hit.value if hit else None,
        off_by=hit.error if hit else None,
    )


OPERATIONS = (
    Operation[Predict, Answered | Predicted](
        name="predict", method="POST", path="/v1/models/{model}/predict", request=Predict, result=Predicted,
        run=predict, hot=True,
    ),
    Operation(
        name="predictions", method="GET", path="/v1/models/{model}/predictions", request=ListPredictions,
        result=Predictions, run=list_predictions, words=("predictions", "list"), plain=("model",),
        reveals=lambda asked: asked.reveal,
    ),
    Operation(
        name="prediction", method="GET", path="/v1/predictions/{id}", request=OnePrediction, result=PredictionView,
        run=show_prediction, words=("predictions", "show"), plain=("id",), reveals=lambda asked: asked.reveal,
    ),
)  # fmt: skip
