"""The acts under /api/predictions: which devices will likely fail, what to maintain, and questions about a device."""

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from modelkeep import App, BadInput, Operation, stamp
from modelkeep.workloads.devices import assessing
from modelkeep.workloads.devices.assessing import Assessed
from modelkeep.workloads.devices.metrics import converted, metric_name, number_of
from modelkeep.workloads.devices.readings import Taken
from modelkeep.workloads.devices.risk import Risk

DeviceId = Annotated[str, Meta(description="Id of the device", min_length=1, max_length=200)]
Percent = Annotated[float, Meta(description="Percent", ge=0, le=100)]
LISTED = 30.0
HIGH = 60.0


class FailurePrediction(Struct, frozen=True, kw_only=True):
    """What is said of one device.

    ``failure_probability`` is the chance in percent that it fails within 14 days, or null with ``reason``;
    ``anomaly_score`` how far its strangest metric is from its usual (signed logarithm: 0.7 is about a doubling);
    ``confidence`` (0..1) grows with the days of history and the metrics known. ``model_version`` is ``rule`` while no
    model is released: then the percentage is points for crossed limits, not a frequency.
    """

    device_id: str
    device_name: str
    failure_probability: float | None
    risk_level: Risk
    anomaly_score: float | None
    is_anomaly: bool
    confidence: float
    recommendations: tuple[str, ...]
    model_version: str
    predicted_at: datetime
    last_reading_at: datetime
    reason: str = ""


class Filters(Struct, frozen=True, kw_only=True):
    """The filters that were used."""

    limit: int
    min_probability: float | None
    max_probability: float | None
    risk_level: str | None


class AskFailures(Struct, frozen=True, kw_only=True):
    """Which predictions: at most ``limit``, within percentages, of one risk level (empty: all)."""

    limit: Annotated[int, Meta(ge=1, le=10_000)] = 100
    min_probability: Percent | None = None
    max_probability: Percent | None = None
    risk_level: Literal["", "critical", "high", "medium", "low", "minimal", "unknown"] = ""


class Failures(Struct, frozen=True, kw_only=True):
    """Predictions, the likeliest first."""

    total_predictions: int
    predictions: tuple[FailurePrediction, ...]
    filters: Filters


class AskDevice(Struct, frozen=True, kw_only=True):
    """Which device."""

    device_id: DeviceId


class Nothing(Struct, frozen=True, kw_only=True):
    """No fields."""


class Maintenance(Struct, frozen=True, kw_only=True):
    """What to look at, the most urgent first."""

    total_recommendations: int
    recommendations: tuple["Upkeep", ...]


class Upkeep(Struct, frozen=True, kw_only=True):
    """One device to look at; ``priority`` is high above 60 %, else medium (above 30 %, or within today's alarms)."""

    device_id: str
    device_name: str
    failure_probability: float | None
    risk_level: Risk
    recommendations: tuple[str, ...]
    priority: Literal["high", "medium"]
    predicted_at: datetime


class AskPrediction(Struct, frozen=True, kw_only=True):
    """Metrics of a device by name, in our units or with text states; those it has said before stand for the rest."""

    device_id: DeviceId
    metrics: dict[str, float | str | bool | None]


class Asked(Struct, frozen=True, kw_only=True):
    """The prediction for the metrics that were given."""

    prediction: FailurePrediction
    metrics_used: tuple[str, ...]
    metrics_missing: dict[str, str]


def list_failures(app: App, request: AskFailures) -> Failures:
    """List which devices will likely fail within 14 days, the likeliest first.

    Every device with readings is in it; what is not known is null with its reason and comes last.
    """
    low, high, risk = request.min_probability, request.max_probability, request.risk_level
    found = [
        one
        for one in map(said, assessing.assess(app.rooms))
        if (low is None or (one.failure_probability is not None and one.failure_probability >= low))
        and (high is None or (one.failure_probability is not None and one.failure_probability <= high))
        and (not risk or one.risk_level == risk)
    ]
    return Failures(
        total_predictions=len(found),
        predictions=tuple(found[: request.limit]),
        filters=Filters(limit=request.limit, min_probability=low, max_probability=high, risk_level=risk or None),
    )


def show_failure(app: App, request: AskDevice) -> FailurePrediction:
    """Show what is said of one device.

    Raises NotFound naming near ids when it has never sent a reading.
    """
    return said(assessing.assess(app.rooms, only=request.device_id)[0])


def said(one: Assessed) -> FailurePrediction:
    """What is said of a device, as it goes out."""
    return FailurePrediction(
        device_id=one.device.device,
        device_name=one.device.device,
        failure_probability=None if one.chance is None else round(100 * one.chance, 2),
        risk_level=one.risk,
        anomaly_score=None if one.anomaly is None else round(one.anomaly, 4),
        is_anomaly=bool(one.strange),
        confidence=one.confidence,
        recommendations=one.advice,
        model_version=one.by,
        predicted_at=stamp(one.at),
        last_reading_at=stamp(one.device.read),
        reason=_reason(one),
    )


def _reason(one: Assessed) -> str:
    if one.version is None:
        known = "" if one.chance is not None else "; no metric of the rule is known"
        return f"no model is released: points for limits that are crossed{known}"
    if one.chance is None:
        return "the model failed on this device; see its record"
    return f"history {one.device.days}/30 days" if one.device.days < 30 else ""


def list_maintenance(app: App, request: Nothing) -> Maintenance:
    """List the devices to look at: above 30 %, and whatever stands highest within an alert budget of 1 % a day."""
    del request
    found = assessing.assess(app.rooms)
    budget = -(-len(found) // 100)
    listed = [
        one
        for place, one in enumerate(found)
        if one.chance is not None and (100 * one.chance > LISTED or (one.version is not None and place < budget))
    ]
    rows = tuple(
        Upkeep(
            device_id=one.device_id,
            device_name=one.device_name,
            failure_probability=one.failure_probability,
            risk_level=one.risk_level,
            recommendations=one.recommendations,
            priority="high" if (one.failure_probability or 0.0) > HIGH else "medium",
            predicted_at=one.predicted_at,
        )
        for one in map(said, listed)
    )
    return Maintenance(total_recommendations=len(rows), recommendations=rows)


def predict(app: App, request: AskPrediction) -> Asked:
    """Ask about a device with metrics that are given, beside those that it has said before.

    Nothing is kept of the metrics; the question is recorded like every other. Raises BadInput when none can be used.
    """
    now = app.rooms.clock.now()
    taken, lost = _given(request, now=now)
    if not taken:
        raise BadInput.of("metrics", expected="at least one number", got=str(lost or "none"))
    device = assessing.beside(app.rooms, request.device_id, taken=taken)
    version = assessing.champion(app.rooms)
    if version is None:
        one = assessing.by_rule([device], now=now)[0]
    else:
        one = assessing.ask_once(app.rooms, device, version=version)
    used = tuple(sorted({reading.metric for reading in taken}))
    return Asked(prediction=said(one), metrics_used=used, metrics_missing=lost)


def _given(request: AskPrediction, *, now: float) -> tuple[list[Taken], dict[str, str]]:
    taken, lost = list[Taken](), dict[str, str]()
    for name, state in request.metrics.items():
        metric = metric_name(name)
        try:
            number = number_of(state)
        except ValueError:
            lost[metric] = f"not a number: {str(state)[:40]!r}"
            continue
        found = "missing" if number is None else converted(number, metric=metric, unit="")
        if isinstance(found, str):
            lost[metric] = found
        else:
            taken.append(Taken(device=request.device_id, metric=metric, value=found, at=now))
    return taken, lost


OPERATIONS: tuple[Operation[Any, Any], ...] = (
    Operation(
        name="devices_failures",
        method="GET",
        path="/api/predictions/failures",
        request=AskFailures,
        result=Failures,
        run=list_failures,
    ),
    Operation(
        name="devices_failure",
        method="GET",
        path="/api/predictions/failures/{device_id}",
        request=AskDevice,
        result=FailurePrediction,
        run=show_failure,
        plain=("device_id",),
    ),
    Operation(
        name="devices_maintenance",
        method="GET",
        path="/api/predictions/maintenance",
        request=Nothing,
        result=Maintenance,
        run=list_maintenance,
    ),
    Operation(
        name="devices_predict",
        method="POST",
        path="/api/predictions/predict",
        request=AskPrediction,
        result=Asked,
        run=predict,
    ),
)
