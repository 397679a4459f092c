"""The acts on health scores and the model, with the routes and JSON keys of the guide's service: ``/api/ml/...``."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from modelkeep import BadInput, NotFound, Operation
from modelkeep.workloads.drilling import lives, scoring
from modelkeep.workloads.drilling.features import Features
from modelkeep.workloads.drilling.fleet import Look, fleet
from modelkeep.workloads.drilling.watching import LIMITS

if TYPE_CHECKING:
    from modelkeep import App, Prediction, Rooms, Version

MODEL = lives.MODEL
Health = Annotated[float, Meta(ge=0, le=100)]
_IMPORTANCE = re.compile(r"^([^=\s]+)=(\d+)$", re.MULTILINE)


class ListScores(Struct, frozen=True, kw_only=True):
    """Which scores: of one device or several, within bounds, by page."""

    device_id: Annotated[str, Meta(description="Only this device", max_length=200)] = ""
    device_ids: Annotated[str, Meta(description="Only these devices, with commas between", max_length=20_000)] = ""
    min_health_score: Health | None = None
    max_health_score: Health | None = None
    risk_levels: Annotated[str, Meta(description="low, medium, high, critical, with commas between")] = ""
    include_debug: Annotated[bool, Meta(description="Add raw features, timings and cache hits")] = False
    page: Annotated[int, Meta(ge=1)] = 1
    page_size: Annotated[int, Meta(ge=1, le=100)] = 20


class FactorView(Struct, frozen=True, kw_only=True):
    """One factor: its value 0-100, its weight, and what it adds to the score; contributions sum to the score."""

    feature: str
    value: float
    importance: float
    impact: str
    contribution: float


class Debug(Struct, frozen=True, kw_only=True):
    """How a score came about: the raw features, how long they took, and whether they came from the cache."""

    raw_features: Features | None
    processing_time: float
    cache_hit: bool
    cache_hits: int


class ScoreView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The health of one device, 0-100, or null with the reason.

    ``confidence_interval`` is a 95 % interval from the spread between hours; ``remaining_life_hours`` is the model's,
    where one is released.
    """

    device_id: str
    health_score: float | None
    confidence: float
    confidence_interval: tuple[float, float] | None
    risk_level: str | None
    explanatory_factors: tuple[FactorView, ...]
    factors: tuple[FactorView, ...]
    last_calculated: datetime
    reason: str
    trend_per_hour: float | None
    predicted_failure_hours: float | None
    remaining_life_hours: float | None
    remaining_life_interval: tuple[float, float] | None
    debug: Debug | None = None


class Scores(Struct, frozen=True, kw_only=True):
    """Scores by device; the averages are over all that fit the filter, not the page."""

    health_scores: tuple[ScoreView, ...]
    total_devices: int
    average_health_score: float | None
    at_risk_devices: int
    filters_applied: dict[str, str | float]
    page: int
    page_size: int


class Metrics(Struct, frozen=True, kw_only=True):
    """What the model is worth on machines held out whole; None where it is not known."""

    r2_score: float | None
    rmse: float | None
    cross_val_score: float | None
    feature_count: int | None
    training_samples: int | None


class ModelStatus(Struct, frozen=True, kw_only=True):
    """The remaining-life model that answers now; ``reason`` says why there is none."""

    model_version: str | None
    training_date: datetime | None
    is_trained: bool
    status: Literal["ready", "training", "not_trained"]
    performance_metrics: Metrics
    baselines: dict[str, dict[str, float]]
    feature_importance_top_10: dict[str, int]
    last_prediction_time: datetime | None
    reason: str


class TrainModel(Struct, frozen=True, kw_only=True):
    """Whether to train even though a model answers already."""

    force_retrain: bool = False


class Training(Struct, frozen=True, kw_only=True):
    """What became of a training."""

    status: str
    message: str
    model_metadata: ModelStatus
    training_time_seconds: float | None


class Failed(Struct, frozen=True, kw_only=True):
    """A device failed: what remaining life is learned from."""

    device_id: Annotated[str, Meta(min_length=1, max_length=200)]
    at: Annotated[str, Meta(description="When (now by default)", max_length=40)] = ""
    reason: Annotated[str, Meta(max_length=2000)] = ""


class Noted(Struct, frozen=True, kw_only=True):
    """How many failures are known now."""

    device_id: str
    at: datetime
    failures: int


class Nothing(Struct, frozen=True, kw_only=True):
    """Nothing to say."""


class Services(Struct, frozen=True, kw_only=True):
    """Each part: ``ready``, or what is wrong with it."""

    feature_engineering: str
    health_scoring: str
    predictive_alerts: str
    model_manager: str


class MlHealth(Struct, frozen=True, kw_only=True):
    """How the parts are; ``status`` is healthy only when every part was looked at and is ready."""

    status: Literal["healthy", "degraded", "disabled"]
    timestamp: datetime
    ml_enabled: bool
    ml_service: str
    health_scoring: Literal["ready", "not_trained"]
    feature_engineering: str
    services: Services
    last_updated: datetime | None


def health_scores(app: App, request: ListScores) -> Scores:
    """Score the health of devices, with factors that sum to the score, confidence and trend.

    A device without data is null with a reason. Raises BadInput for a risk level that there is not.
    """
    devices = [name.strip() for name in (request.device_ids or request.device_id).split(",") if name.strip()]
    risks = {name.strip() for name in request.risk_levels.split(",") if name.strip()}
    known = {risk for _, risk in scoring.RISKS}
    if risks - known:
        raise BadInput.of("risk_levels", expected=f"some of {', '.join(sorted(known))}", got=request.risk_levels)
    fresh = fleet(app.rooms, LIMITS).refresh(devices)
    found = [score for score in fleet(app.rooms, LIMITS).scores(devices) if _fits(score, request, risks=risks)]
    scored = [score.health for score in found if score.health is not None]
    first = (request.page - 1) * request.page_size
    shown = [score.device_id for score in found[first : first + request.page_size]]
    looks = fleet(app.rooms, LIMITS).looks(shown, fresh=fresh) if shown else ()
    with app.rooms.store.read() as ledger:
        lasts = {device: ledger.records.latest(MODEL, key=device, limit=1) for device in shown}
    return Scores(
        health_scores=tuple(
            _score_view(look, lasts[look.score.device_id], at=app.rooms.clock.now(), debug=request.include_debug)
            for look in looks
        ),
        total_devices=len(found),
        average_health_score=sum(scored) / len(scored) if scored else None,
        at_risk_devices=sum(score < LIMITS.alert_threshold for score in scored),
        filters_applied=_filters(request),
        page=request.page,
        page_size=request.page_size,
    )


def model_status(app: App, _: Nothing) -> ModelStatus:
    """Show the remaining-life model that answers now, and what it is worth."""
    return _status(app)


def train_model(app: App, request: TrainModel) -> Training:
    """Train the remaining-life model on this fleet's own failures, and release it when it is better.

    Raises Refused with the reason while too few devices have failed.
    """
    before = _status(app)
    if before.is_trained and not request.force_retrain:
        return Training(
            status="skipped", message=f"{before.model_version} answers already; force_retrain trains anew",
            model_metadata=before, training_time_seconds=None,
        )  # fmt: skip
    job, seconds = lives.train(app)
    done = job.state == "done"
    return Training(
        status="success" if done else "started" if job.state != "failed" else "failed",
        message=job.error or f"job {job.id} is {job.state}",
        model_metadata=_status(app),
        training_time_seconds=seconds if done else None,
    )


def failed(app: App, request: Failed) -> Noted:
    """Note that a device failed; its telemetry up to then is what remaining life is learned from.

    Raises NotFound for a device of which there is no telemetry.
    """
    known = fleet(app.rooms, LIMITS).prints()
    if request.device_id not in known:
        raise NotFound("device", request.device_id, known=known)
    at = lives.note(app.rooms, request.device_id, at=request.at, reason=request.reason)
    lives.settle(app, request.device_id, at=at)
    return Noted(device_id=request.device_id, at=_utc(at), failures=len(lives.failures(app.rooms)))


def ml_health(app: App, _: Nothing) -> MlHealth:
    """Look at every part: are features readable and writable, do alerts run, is there a model?"""
    rooms = app.rooms
    prints = fleet(rooms, LIMITS).prints()
    cache = fleet(rooms, LIMITS).folder
    cache.mkdir(parents=True, exist_ok=True)
    writable = "ready" if os.access(cache, os.W_OK) else f"{cache} cannot be written"
    jobs = app.trouble("jobs") if app.serving else ""
    watch = app.trouble("watch") if app.serving else ""
    services = Services(
        feature_engineering=writable, health_scoring=writable, predictive_alerts=watch or "ready",
        model_manager=jobs or "ready",
    )  # fmt: skip
    well = all(part == "ready" for part in (writable, services.predictive_alerts, services.model_manager))
    last = max((of.last for of in prints.values()), default=None)
    return MlHealth(
        status="disabled" if not LIMITS.enabled else "healthy" if well else "degraded",
        timestamp=_utc(rooms.clock.now()), ml_enabled=LIMITS.enabled, ml_service="running" if LIMITS.enabled else "off",
        health_scoring="ready" if _champion(rooms) else "not_trained", feature_engineering=writable,
        services=services, last_updated=None if last is None else _utc(last),
    )  # fmt: skip


def _fits(score: scoring.Score, request: ListScores, *, risks: set[scoring.Risk] | set[str]) -> bool:
    if risks and score.risk not in risks:
        return False
    low, high = request.min_health_score, request.max_health_score
    if low is None and high is None:
        return True
    return score.health is not None and (low or 0.0) <= score.health <= (100.0 if high is None else high)


def _filters(request: ListScores) -> dict[str, str | float]:
    said = {name: getattr(request, name) for name in ("device_id", "device_ids", "risk_levels")}
    bounds = {name: getattr(request, name) for name in ("min_health_score", "max_health_score")}
    return {name: value for name, value in {**said, **bounds}.items() if value not in {"", None}}


def _score_view(look: Look, lasts: Sequence[Prediction], *, at: float, debug: bool) -> ScoreView:
    score = look.score
    parts = tuple(
        FactorView(
            feature=part.feature, value=part.value, importance=part.importance, impact=part.impact,
            contribution=part.contribution,
        )
        for part in score.factors
    )  # fmt: skip
    trend = score.trend
    return ScoreView(
        device_id=score.device_id, health_score=score.health, confidence=score.confidence,
        confidence_interval=score.interval, risk_level=score.risk, explanatory_factors=parts, factors=parts,
        last_calculated=_utc(at), reason=score.reason, trend_per_hour=trend.rate if trend else None,
        predicted_failure_hours=trend.hours if trend else None,
        remaining_life_hours=_life(lasts), remaining_life_interval=lasts[0].interval if lasts else None,
        debug=Debug(
            raw_features=look.features, processing_time=look.seconds, cache_hit=look.cache_hit, cache_hits=look.hits
        ) if debug else None,
    )  # fmt: skip


def _life(lasts: Sequence[Prediction]) -> float | None:
    output = lasts[0].output if lasts else None
    return float(output) if isinstance(output, int | float) else None


def _champion(rooms: Rooms) -> Version | None:
    with rooms.store.read() as ledger:
        rollout = ledger.rollouts.get(MODEL)
        return None if rollout is None else ledger.versions.get(MODEL, rollout.champion)


def _status(app: App) -> ModelStatus:
    version = _champion(app.rooms)
    with app.rooms.store.read() as ledger:
        busy = any(job.subject == MODEL for job in ledger.jobs.all(task="retrain", state="running"))
        latest = ledger.records.latest(MODEL, limit=1) if version else []
    metrics = version.baseline.metrics if version else {}
    return ModelStatus(
        model_version=version.name if version else None,
        training_date=_utc(version.created) if version else None,
        is_trained=version is not None,
        status="training" if busy else "ready" if version else "not_trained",
        performance_metrics=Metrics(
            r2_score=metrics.get("r2"), rmse=metrics.get("rmse"), cross_val_score=None,
            feature_count=len(version.signature.inputs) if version else None,
            training_samples=version.lineage.rows if version else None,
        ),
        baselines=dict(version.baseline.rivals) if version else {},
        feature_importance_top_10=_importance(app.rooms, version) if version else {},
        last_prediction_time=_utc(latest[0].at) if latest else None,
        reason="" if version else lives.lacking(app.rooms),
    )  # fmt: skip


def _importance(rooms: Rooms, version: Version) -> dict[str, int]:
    """How often the trees of a version split on each input, the ten most used; LightGBM writes it into its file."""
    path = rooms.files.path(version.artifact)
    if not zipfile.is_zipfile(path):
        return {}
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith("/answer")]
        text = archive.read(names[0]).decode() if names else ""
    found = _IMPORTANCE.findall(text.partition("feature_importances:")[2].partition("parameters:")[0])
    return {name: int(count) for name, count in found[:10]}


def _utc(at: float) -> datetime:
    return datetime.fromtimestamp(float(at), UTC)


OPERATIONS = (
    Operation(
        name="drilling_health_scores", method="GET", path="/api/ml/health-scores", request=ListScores, result=Scores,
        run=health_scores, words=("health-scores",),
    ),
    Operation(
        name="drilling_model_status", method="GET", path="/api/ml/model-status", request=Nothing, result=ModelStatus,
        run=model_status, words=("model-status",),
    ),
    Operation(
        name="drilling_train", method="POST", path="/api/ml/train", request=TrainModel, result=Training,
        run=train_model, words=("train",),
    ),
    Operation(
        name="drilling_failed", method="POST", path="/api/v1/failures", request=Failed, result=Noted, run=failed,
        words=("failed",), plain=("device_id",),
    ),
    Operation(
        name="drilling_ml_health", method="GET", path="/api/ml/health", request=Nothing, result=MlHealth,
        run=ml_health, words=("ml-health",),
    ),
)  # fmt: skip
