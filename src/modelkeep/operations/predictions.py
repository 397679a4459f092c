"""Predictions: asking a model, and looking at what it answered."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from msgspec import UNSET, Meta, Struct, UnsetType, field

from modelkeep.errors import BadInput, NotFound
from modelkeep.nouns import Features, Outcome, Output, Prediction, Value
from modelkeep.operations.act import Limit, ModelName, MomentText, Operation, moment, stamp
from modelkeep.operations.models import known
from modelkeep.serving.gateway import Ask

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


class Answered(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One answer; ``fallback`` says who answered in place of ``version``, and ``fallback_reason`` why.

    In a batch, a row that nobody could answer has the prediction null and says why in ``error``.
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


class Predicted(Struct, frozen=True, kw_only=True):
    """The answers, in the order of the rows."""

    predictions: tuple[Answered, ...]


class OutcomeView(Struct, frozen=True, kw_only=True):
    """One revision of an outcome: its value and when it was told."""

    actual: Output | None
    at: datetime
    source: str


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
    latency_ms: float
    error: str | None
    stand_in: int | None
    shadow_of: str | None
    request_id: str
    outcomes: tuple[OutcomeView, ...]


class ListPredictions(Struct, frozen=True, kw_only=True):
    """The newest predictions of a model, or of one of its keys."""

    model: ModelName
    key: Annotated[str, Meta(description="Only this entity")] = ""
    limit: Limit = 100


class OnePrediction(Struct, frozen=True, kw_only=True):
    """Which prediction."""

    id: Annotated[str, Meta(description="Id of the prediction", min_length=1, max_length=100)]


class Predictions(Struct, frozen=True, kw_only=True):
    """Predictions, newest first; outcomes are those of one prediction shown alone."""

    predictions: tuple[PredictionView, ...]


def predict(app: App, request: Predict) -> Answered | Predicted:
    """Ask a model for one answer or many; every answer is recorded.

    Raises NotFound naming near models, BadFeatures naming each field, Unavailable when nothing can answer.
    """
    request_id = uuid.uuid4().hex
    answer = app.rooms.client.ask(ask(request, request_id))
    found = tuple(answered(prediction, request_id) for prediction in answer.predictions)
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


def answered(prediction: Prediction, request_id: str) -> Answered:
    """One answered prediction as it goes out."""
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
        fallback="" if prediction.stand_in is None else stand_in(prediction),
        fallback_reason=prediction.error or "" if prediction.stand_in is not None else "",
        error=prediction.error or "" if prediction.output is None else "",
    )


def stand_in(prediction: Prediction) -> str:
    """Who answered in place of the version, in words."""
    return f"{prediction.model}@{prediction.stand_in}" if prediction.stand_in else "automatic baseline"


def list_predictions(app: App, request: ListPredictions) -> Predictions:
    """List the newest predictions of a model, newest first.

    Raises NotFound naming near models.
    """
    with app.rooms.store.read() as ledger:
        known(ledger, request.model)
        found = ledger.records.latest(request.model, key=request.key or None, limit=request.limit)
    return Predictions(predictions=tuple(view(prediction, outcomes=[], features=None) for prediction in found))


def show_prediction(app: App, request: OnePrediction) -> PredictionView:
    """Show one prediction: its exact features, who answered, and its outcome with all corrections.

    Raises NotFound.
    """
    with app.rooms.store.read() as ledger:
        found = ledger.records.prediction(request.id)
        if found is None:
            raise NotFound("prediction", request.id)
        features = ledger.versions.get(found.model, found.version).features if found.version else None
        return view(found, outcomes=ledger.records.outcomes(request.id), features=features)


def view(prediction: Prediction, *, outcomes: list[Outcome], features: str | None) -> PredictionView:
    """A recorded prediction as it goes out."""
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
        latency_ms=prediction.seconds * 1000,
        error=prediction.error,
        stand_in=prediction.stand_in,
        shadow_of=prediction.of,
        request_id=prediction.request,
        outcomes=tuple(OutcomeView(actual=o.value, at=stamp(o.at), source=o.source) for o in outcomes),
    )


OPERATIONS = (
    Operation[Predict, Answered | Predicted](
        name="predict", method="POST", path="/v1/models/{model}/predict", request=Predict, result=Predicted,
        run=predict, hot=True,
    ),
    Operation(
        name="predictions", method="GET", path="/v1/models/{model}/predictions", request=ListPredictions,
        result=Predictions, run=list_predictions, words=("predictions", "list"), plain=("model",),
    ),
    Operation(
        name="prediction", method="GET", path="/v1/predictions/{id}", request=OnePrediction, result=PredictionView,
        run=show_prediction, words=("predictions", "show"), plain=("id",),
    ),
)  # fmt: skip
