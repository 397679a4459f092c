"""Routes for teams that come from a platform of their own: ``/models``, ``/predict``, ``/predict/batch``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from modelkeep import BadInput, Conflict, Operation, Output, Value
from modelkeep.workloads.any.kpis import OPERATIONS as KPIS

if TYPE_CHECKING:
    from modelkeep import App, Prediction, Rollout, Version

LATEST = "latest"
MOST = 10_000


class ModelInfo(Struct, frozen=True, kw_only=True):
    """One model: the version that answers, or its newest candidate; ``status`` is one of serving, trial, candidate."""

    name: str
    version: str
    created_at: datetime
    model_type: str
    metrics: dict[str, float]
    feature_count: int
    status: str


class ListThem(Struct, frozen=True, kw_only=True):
    """Nothing to say: every model."""


class Listing(Struct, frozen=True, kw_only=True):
    """Every model that has a version."""

    models: tuple[ModelInfo, ...]


class Ask(Struct, frozen=True, kw_only=True):
    """Rows for one model: ``data`` holds one object of features a row.

    ``entity_ids`` name the entity of each row (or stay empty); ``model_version`` is ``latest`` for whichever version
    answers now, or its number.
    """

    data: Annotated[tuple[dict[str, Value], ...], Meta(description="One object of features a row", max_length=MOST)]
    model_name: Annotated[str, Meta(description="Name of the model", min_length=1, max_length=200)]
    model_version: Annotated[str, Meta(description="latest, or a number", max_length=20)] = LATEST
    entity_ids: Annotated[tuple[str | int, ...], Meta(description="One entity a row", max_length=MOST)] = ()


class Info(Struct, frozen=True, kw_only=True):
    """Who answered."""

    name: str
    version: int
    role: str
    fallback: bool


class Answers(Struct, frozen=True, kw_only=True):
    """One prediction a row, in order; ``probabilities`` of the answered classes, null for numbers.

    ``prediction_ids`` are what outcomes are told by. A row that nobody could answer is null and says why in ``errors``.
    """

    predictions: tuple[Output | None, ...]
    probabilities: tuple[float | None, ...] | None
    intervals: tuple[tuple[float, float] | None, ...] | None
    prediction_ids: tuple[str, ...]
    errors: tuple[str, ...]
    model_info: Info
    latency_ms: float
    timestamp: datetime


def models(app: App, _: ListThem) -> Listing:
    """List every model with the version that answers, its metrics and how many features it takes."""
    with app.rooms.store.read() as ledger:
        found = []
        for name in ledger.versions.models():
            rollout = ledger.rollouts.get(name)
            number = rollout.champion if rollout else max(v.number for v in ledger.versions.all(name))
            found.append(_info(ledger.versions.get(name, number), rollout))
    return Listing(models=tuple(found))


def predict(app: App, request: Ask) -> Answers:
    """Ask a model for one answer or many; every answer is recorded.

    Raises NotFound naming near models, BadFeatures naming each field of each row, Conflict when another version than
    the one asked for answers.
    """
    if not request.data:
        raise BadInput.of("data", expected="one object of features a row", got="none")
    if request.entity_ids and len(request.entity_ids) != len(request.data):
        raise BadInput.of("entity_ids", expected=f"none, or {len(request.data)}", got=str(len(request.entity_ids)))
    if request.model_version != LATEST:
        _check_version(app, request)
    found = app.predict(request.model_name, request.data, keys=[str(key) for key in request.entity_ids])
    return _answers(found, classified=any(one.score is not None for one in found))


def _check_version(app: App, request: Ask) -> None:
    asked = request.model_version.removeprefix("v")
    with app.rooms.store.read() as ledger:
        rollout = ledger.rollouts.get(request.model_name)
    if rollout is None:
        return  # the prediction itself refuses it, with near names
    if not asked.isdigit():
        raise BadInput.of("model_version", expected="latest, or a number", got=repr(request.model_version))
    if int(asked) != rollout.champion:
        raise Conflict(
            f"version {rollout.champion} of {request.model_name!r} answers now, not {asked}",
            remedy=f"ask for latest, or release it: modelkeep release {request.model_name}@{asked}",
        )


def _answers(found: tuple[Prediction, ...], *, classified: bool) -> Answers:
    first = found[0]
    stood_in = [one for one in found if one.stand_in is not None]
    return Answers(
        predictions=tuple(one.output for one in found),
        probabilities=tuple(one.score for one in found) if classified else None,
        intervals=tuple(one.interval for one in found) if any(one.interval for one in found) else None,
        prediction_ids=tuple(one.id for one in found),
        errors=tuple(one.error or "" for one in found if one.error),
        model_info=Info(name=first.model, version=first.version, role=first.role, fallback=bool(stood_in)),
        latency_ms=sum(one.seconds for one in found) * 1000,
        timestamp=datetime.fromtimestamp(first.at, UTC),
    )


def _info(version: Version, rollout: Rollout | None) -> ModelInfo:
    status = "candidate" if rollout is None else "trial" if rollout.challenger is not None else "serving"
    if rollout is not None and rollout.disabled:
        status = "disabled"
    return ModelInfo(
        name=version.model,
        version=str(version.number),
        created_at=datetime.fromtimestamp(version.created, UTC),
        model_type=version.runtime,
        metrics=version.baseline.metrics,
        feature_count=len(version.signature.inputs),
        status=status,
    )


OPERATIONS = (
    Operation(name="any_models", method="GET", path="/models", request=ListThem, result=Listing, run=models),
    Operation(name="any_predict", method="POST", path="/predict", request=Ask, result=Answers, run=predict),
    Operation(name="any_predict_batch", method="POST", path="/predict/batch", request=Ask, result=Answers, run=predict),
    *KPIS,
)
