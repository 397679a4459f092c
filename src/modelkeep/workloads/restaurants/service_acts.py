"""The acts around the models: what there is, whether it is well, which versions serve, and taking data in."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from modelkeep import BadInput, ModelkeepError, NotFound, Operation, Value, Version, stamp
from modelkeep.workloads.restaurants import ingesting, keeping
from modelkeep.workloads.restaurants.answering import (
    Envelope,
    RestaurantId,
    answered,
    champion,
    refusal,
    serving,
    unkept,
)  # fmt: skip
from modelkeep.workloads.restaurants.recipes import CHURN, DEMAND, HOURLY, PREP, RECIPES, VALUE

if TYPE_CHECKING:
    from modelkeep import App

MODELS = {"demand": DEMAND, "hourly": HOURLY, "kitchen": PREP, "churn": CHURN, "ltv": VALUE}
"""The guide's words for the models."""
MOST = 200_000
ModelType = Annotated[str, Meta(description=f"One of {', '.join(MODELS)}, or a model's name")]


class Nothing(Struct, frozen=True, kw_only=True):
    """Nothing is asked."""


class Part(Struct, frozen=True, kw_only=True):
    """One part and how it is: ok, or what is wrong in words."""

    name: str
    status: str
    detail: str


class Service(Struct, frozen=True, kw_only=True):
    """What stands here: the models with the version that serves each (null when none does)."""

    name: str
    models: dict[str, str | None]
    restaurants: int
    documentation: str


class ServiceAnswer(Envelope, frozen=True, kw_only=True):
    """What stands here."""

    data: Service


class Health(Struct, frozen=True, kw_only=True):
    """``healthy``, ``degraded`` (models are missing) or ``unhealthy``; every part was asked just now."""

    status: str
    parts: tuple[Part, ...]


class HealthAnswer(Envelope, frozen=True, kw_only=True):
    """Health."""

    data: Health


class AskModel(Struct, frozen=True, kw_only=True):
    """Which model; a restaurant is taken and does not change the answer, since one model serves all."""

    model_type: ModelType
    restaurant_id: RestaurantId = ""


class ModelInfo(Struct, frozen=True, kw_only=True):
    """A version: what it was made of, when, and its metrics on data that it had not seen."""

    model_type: str
    version: str
    serving: bool
    trained_at: datetime
    training_rows: int | None
    source: str
    metrics: dict[str, float]
    note: str


class ModelAnswer(Envelope, frozen=True, kw_only=True):
    """The version that serves."""

    data: ModelInfo


class Versions(Struct, frozen=True, kw_only=True):
    """All versions of a model, the newest first."""

    model_type: str
    versions: tuple[ModelInfo, ...]


class VersionsAnswer(Envelope, frozen=True, kw_only=True):
    """Versions."""

    data: Versions


class Ingest(Struct, frozen=True, kw_only=True):
    """Rows of one kind, as a list or as a file (CSV, JSON, Parquet)."""

    kind: Annotated[str, Meta(description=", ".join(keeping.KINDS))]
    rows: Annotated[tuple[dict[str, Value], ...], Meta(max_length=MOST)] = ()
    file: bytes = b""
    format: Literal["csv", "json", "parquet"] = "csv"


class IngestAnswer(Envelope, frozen=True, kw_only=True):
    """What became of the rows."""

    data: ingesting.Ingested


def index(app: App, request: Nothing) -> ServiceAnswer:
    """Say what stands here: the models with the versions that serve, and how many restaurants are known."""

    def make() -> tuple[Service, str]:
        serve = {recipe.model: champion(app.rooms, recipe.model) for recipe in RECIPES}
        named = {model: None if number is None else f"{model}@{number}" for model, number in serve.items()}
        return Service(
            name="Modelkeep restaurants", models=named, restaurants=len(keeping.known(app.rooms)),
            documentation="docs/workloads/restaurants.md",
        ), "none"  # fmt: skip

    data, metadata = answered(app, request, make=make, kinds=tuple(keeping.KINDS), models=tuple(MODELS.values()))
    return ServiceAnswer(data=data, metadata=metadata)


def health(app: App, request: Nothing) -> HealthAnswer:
    """Ask every part how it is: the store, the datasets, the jobs, and each model's version. Nothing is assumed."""
    del request
    began = time.perf_counter()
    parts = (*_rooms(app), *(_model(app, name, model=model) for name, model in MODELS.items()))
    rooms = [part for part in parts if part.name in {"store", "data", "jobs"}]
    status = "unhealthy" if any(part.status != "ok" for part in rooms) else "healthy"
    if status == "healthy" and any(part.status != "ok" for part in parts):
        status = "degraded"
    return HealthAnswer(data=Health(status=status, parts=parts), metadata=unkept(app, began))


def _rooms(app: App) -> tuple[Part, ...]:
    looks: dict[str, Callable[[], str]] = {
        "store": lambda: _store(app),
        "data": lambda: f"{len(keeping.known(app.rooms))} restaurants",
    }
    found = []
    for name, look in looks.items():
        try:
            found.append(Part(name=name, status="ok", detail=look()))
        except ModelkeepError as wrong:
            found.append(Part(name=name, status="failing", detail=str(wrong)))
    trouble = app.trouble("jobs")
    found.append(Part(name="jobs", status="failing" if trouble else "ok", detail=trouble or "the queue is looked at"))
    return tuple(found)


def _store(app: App) -> str:
    with app.rooms.store.read() as ledger:
        return f"{len(ledger.versions.all(DEMAND))} versions of {DEMAND}"


def _model(app: App, name: str, *, model: str) -> Part:
    number = champion(app.rooms, model)
    if number is None:
        return Part(name=name, status="missing", detail=f"no version of {model} is released")
    answers = model in app.rooms.gateway.routes
    detail = f"{model}@{number}" if answers else f"{model}@{number} is released and not loaded"
    return Part(name=name, status="ok" if answers else "failing", detail=detail)


def info(app: App, request: AskModel) -> ModelAnswer:
    """Tell of the version that serves a model: what it was made of, and its metrics.

    Raises NotFound for an unknown model, and when no version of it is released.
    """
    began = time.perf_counter()
    version = serving(app.rooms, _named(request.model_type))
    data = _info(request.model_type, version, serves=version.number)
    return ModelAnswer(data=data, metadata=unkept(app, began, version=version.name))


def versions(app: App, request: AskModel) -> VersionsAnswer:
    """Tell of all versions of a model, the newest first.

    Raises NotFound for an unknown model.
    """
    began = time.perf_counter()
    model = _named(request.model_type)
    with app.rooms.store.read() as ledger:
        found = sorted(ledger.versions.all(model), key=lambda one: -one.number)
    serves = champion(app.rooms, model)
    data = Versions(
        model_type=request.model_type, versions=tuple(_info(request.model_type, one, serves=serves) for one in found)
    )
    return VersionsAnswer(data=data, metadata=unkept(app, began, version=f"{model}@{serves}" if serves else "none"))


def _named(kind: str) -> str:
    model = MODELS.get(kind, kind)
    known = {recipe.model for recipe in RECIPES}
    if model not in known:
        raise NotFound("model type", kind, known=[*MODELS, *known])
    return model


def _info(kind: str, version: Version, *, serves: int | None) -> ModelInfo:
    return ModelInfo(
        model_type=kind,
        version=version.name,
        serving=version.number == serves,
        trained_at=stamp(version.created),
        training_rows=version.lineage.rows,
        source=version.lineage.source,
        metrics=version.baseline.metrics,
        note=version.note,
    )


def take_in(app: App, request: Ingest) -> IngestAnswer:
    """Keep rows of one kind; those that do not fit are counted and named, a row that is known takes its place.

    Raises NotFound for an unknown kind, BadInput when there is no row, or none fits.
    """
    began = time.perf_counter()
    rows = ingesting.table_of(request.file, request.format) if request.file else request.rows
    if not rows:
        raise BadInput.of("rows", expected="at least one row, or a file", got="none")
    data = ingesting.ingest(app.rooms, request.kind, rows=rows)
    return IngestAnswer(data=data, metadata=unkept(app, began))


OPERATIONS = (
    Operation(
        name="restaurants_index", method="GET", path="/api/", request=Nothing, result=ServiceAnswer, run=index,
        words=("index",), refusal=refusal,
    ),
    Operation(
        name="restaurants_health", method="GET", path="/api/health", request=Nothing, result=HealthAnswer, run=health,
        words=("health",), refusal=refusal,
    ),
    Operation(
        name="restaurants_status", method="GET", path="/api/status", request=Nothing, result=HealthAnswer, run=health,
        words=("status",), refusal=refusal,
    ),
    Operation(
        name="restaurants_model_info", method="GET", path="/api/model/info", request=AskModel, result=ModelAnswer,
        run=info, words=("model", "info"), plain=("model_type",), refusal=refusal,
    ),
    Operation(
        name="restaurants_model_versions", method="POST", path="/api/model/versions", request=AskModel,
        result=VersionsAnswer, run=versions, words=("model", "versions"), plain=("model_type",), refusal=refusal,
    ),
    Operation(
        name="restaurants_ingest", method="POST", path="/api/data/{kind}", request=Ingest, result=IngestAnswer,
        run=take_in, words=("ingest",), plain=("kind", "file"), refusal=refusal, upload="file",
    ),
)  # fmt: skip
