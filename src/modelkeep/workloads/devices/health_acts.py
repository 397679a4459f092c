"""The acts under /api/health/...: health scores of devices, their trends, comparison and summary."""

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from modelkeep import App, BadInput, Operation, stamp
from modelkeep.workloads.devices import assessing, keeping
from modelkeep.workloads.devices.fleet import DAY, known
from modelkeep.workloads.devices.metrics import converted, metric_name, number_of
from modelkeep.workloads.devices.scores import FACTORS, Health, Status, health

DeviceId = Annotated[str, Meta(description="Id of the device", min_length=1, max_length=200)]
_Word = Literal["", "excellent", "good", "fair", "poor", "critical", "unknown"]


class DeviceHealth(Struct, frozen=True, kw_only=True):
    """A device's health; ``overall_score`` is null with a ``reason`` when nothing of it is known, never 0."""

    device_id: str
    device_name: str
    overall_score: float | None
    factor_scores: dict[str, float | None]
    weights: dict[str, float]
    trend_adjustment: float
    health_status: Status
    recommendations: tuple[str, ...]
    metrics_used: tuple[str, ...]
    reasons: dict[str, str]
    reason: str
    calculated_at: datetime
    last_reading_at: datetime | None


class AskScores(Struct, frozen=True, kw_only=True):
    """Which scores: a page of them, within bounds, of one status (empty: all)."""

    skip: Annotated[int, Meta(ge=0)] = 0
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    min_score: Annotated[float, Meta(ge=0, le=100)] | None = None
    max_score: Annotated[float, Meta(ge=0, le=100)] | None = None
    health_status: _Word = ""


class Scores(Struct, frozen=True, kw_only=True):
    """Scores, the worst first; ``total`` counts all that fit the filters."""

    scores: tuple[DeviceHealth, ...]
    total: int
    skip: int
    limit: int


class AskDevice(Struct, frozen=True, kw_only=True):
    """Which device."""

    device_id: DeviceId


class AskTrend(Struct, frozen=True, kw_only=True):
    """Which device, and how many days back."""

    device_id: DeviceId
    days: Annotated[int, Meta(ge=1, le=30)] = 7


class TrendPoint(Struct, frozen=True, kw_only=True):
    """One day; the score is null when nothing was read."""

    date: datetime
    overall_score: float | None
    health_status: Status


class Trend(Struct, frozen=True, kw_only=True):
    """A device's scores by day; ``change`` is the last known minus the first known, null with fewer than two."""

    device_id: str
    days: int
    trend: tuple[TrendPoint, ...]
    change: float | None
    direction: Literal["improving", "declining", "stable", "unknown"]


class AskComparison(Struct, frozen=True, kw_only=True):
    """Which devices, ids separated by commas (empty: all)."""

    device_ids: str = ""


class Compared(Struct, frozen=True, kw_only=True):
    """Devices beside each other, the best first."""

    devices: tuple[DeviceHealth, ...]
    best: str | None
    worst: str | None
    average_score: float | None


class Nothing(Struct, frozen=True, kw_only=True):
    """No fields."""


class Summary(Struct, frozen=True, kw_only=True):
    """The fleet in numbers; the mean is over devices with a score."""

    total_devices: int
    average_score: float | None
    status_distribution: dict[str, int]
    critical_devices: tuple[str, ...]
    unknown_devices: tuple[str, ...]
    reason: str = ""


class AskCalculation(Struct, frozen=True, kw_only=True):
    """Metrics by name, in our units or as text states."""

    device_id: DeviceId
    metrics: dict[str, float | str | bool | None]


def list_scores(app: App, request: AskScores) -> Scores:
    """List health scores, the worst first; devices without a score come last."""
    low, high, word = request.min_score, request.max_score, request.health_status
    found = [
        one
        for one in scores(app)
        if (low is None or (one.overall_score is not None and one.overall_score >= low))
        and (high is None or (one.overall_score is not None and one.overall_score <= high))
        and (not word or one.health_status == word)
    ]
    page = tuple(found[request.skip : request.skip + request.limit])
    return Scores(scores=page, total=len(found), skip=request.skip, limit=request.limit)


def scores(app: App) -> list[DeviceHealth]:
    """The health of every device, the worst first."""
    now = app.rooms.clock.now()
    found = [_of(one, now=now) for one in assessing.devices(app.rooms)]
    return sorted(found, key=lambda one: (one.overall_score is None, one.overall_score or 0.0, one.device_id))


def show_score(app: App, request: AskDevice) -> DeviceHealth:
    """Show the health of one device.

    Raises NotFound naming near ids when it has never sent a reading.
    """
    return _of(assessing.devices(app.rooms, only=request.device_id)[0], now=app.rooms.clock.now())


def show_trend(app: App, request: AskTrend) -> Trend:
    """Show how a device's health score went over the last days."""
    now = app.rooms.clock.now()
    assessing.devices(app.rooms, only=request.device_id)  # refuses an id that there is not
    fleet = keeping.fleet(app.rooms, device=request.device_id, start=now - request.days * DAY)
    rows = {int(at // DAY): place for place, at in enumerate(fleet.at.tolist())}
    points = []
    for day in range(int(now // DAY) - request.days + 1, int(now // DAY) + 1):
        place = rows.get(day)
        found = health({} if place is None else {n: known(float(v[place])) for n, v in fleet.metrics.items()})
        points.append(
            TrendPoint(date=stamp(day * DAY), overall_score=found.overall_score, health_status=found.health_status)
        )
    known_scores = [point.overall_score for point in points if point.overall_score is not None]
    change = round(known_scores[-1] - known_scores[0], 2) if len(known_scores) > 1 else None
    return Trend(
        device_id=request.device_id,
        days=request.days,
        trend=tuple(points),
        change=change,
        direction="unknown" if change is None else "stable" if abs(change) < 5 else _direction(change),
    )


def _direction(change: float) -> Literal["improving", "declining"]:
    return "improving" if change > 0 else "declining"


def compare(app: App, request: AskComparison) -> Compared:
    """Compare the health of some devices, or of all.

    Raises NotFound for an id that has never sent a reading.
    """
    wanted = [name.strip() for name in request.device_ids.split(",") if name.strip()]
    now = app.rooms.clock.now()
    if wanted:
        found = [_of(one, now=now) for name in wanted for one in assessing.devices(app.rooms, only=name)]
    else:
        found = scores(app)
    scored = sorted((one for one in found if one.overall_score is not None), key=lambda one: -(one.overall_score or 0))
    return Compared(
        devices=(*scored, *(one for one in found if one.overall_score is None)),
        best=scored[0].device_id if scored else None,
        worst=scored[-1].device_id if scored else None,
        average_score=_mean(scored),
    )


def summarise(app: App, request: Nothing) -> Summary:
    """Sum up the health of the fleet."""
    del request
    found = scores(app)
    counts: dict[str, int] = {}
    for one in found:
        counts[one.health_status] = counts.get(one.health_status, 0) + 1
    scored = [one for one in found if one.overall_score is not None]
    return Summary(
        total_devices=len(found),
        average_score=_mean(scored),
        status_distribution=counts,
        critical_devices=tuple(one.device_id for one in scored if one.health_status == "critical"),
        unknown_devices=tuple(one.device_id for one in found if one.overall_score is None),
        reason="" if found else "no device has sent a reading yet",
    )


def _mean(scored: list[DeviceHealth]) -> float | None:
    return round(sum(one.overall_score or 0.0 for one in scored) / len(scored), 2) if scored else None


def calculate(app: App, request: AskCalculation) -> DeviceHealth:
    """Calculate the health score of metrics that are given; the trend comes from what the device has said before.

    Raises BadInput for a state that is neither a number nor a known word.
    """
    values: dict[str, float | None] = {}
    for name, state in request.metrics.items():
        metric = metric_name(name)
        try:
            number = number_of(state)
        except ValueError:
            raise BadInput.of(f"metrics.{name}", expected="a number", got=repr(state)) from None
        found = None if number is None else converted(number, metric=metric, unit="")
        if isinstance(found, str):
            raise BadInput.of(f"metrics.{name}", expected="a value in range", got=found)
        values[metric] = found
    kept = keeping.fleet(app.rooms, device=request.device_id, start=app.rooms.clock.now() - 30 * DAY)
    recent = {
        name: [*(v for v in map(known, kept.metrics[name].tolist()) if v is not None), value]
        if name in kept.metrics
        else [value]
        for name, value in values.items()
        if value is not None and name in FACTORS
    }
    now = app.rooms.clock.now()
    return _told(request.device_id, health(values, recent=recent), read=None, now=now)


def _of(one: assessing.Device, *, now: float) -> DeviceHealth:
    return _told(one.device, health(one.metrics, recent=one.recent), read=one.read, now=now)


def _told(device: str, found: Health, *, read: float | None, now: float) -> DeviceHealth:
    return DeviceHealth(
        device_id=device,
        device_name=device,
        overall_score=found.overall_score,
        factor_scores=found.factor_scores,
        weights=found.weights,
        trend_adjustment=found.trend_adjustment,
        health_status=found.health_status,
        recommendations=found.recommendations,
        metrics_used=found.metrics_used,
        reasons=found.reasons,
        reason=found.reason,
        calculated_at=stamp(now),
        last_reading_at=stamp(read),
    )


OPERATIONS: tuple[Operation[Any, Any], ...] = (
    Operation(
        name="devices_scores", method="GET", path="/api/health/scores", request=AskScores, result=Scores,
        run=list_scores,
    ),
    Operation(
        name="devices_score", method="GET", path="/api/health/scores/{device_id}", request=AskDevice,
        result=DeviceHealth, run=show_score, plain=("device_id",),
    ),
    Operation(
        name="devices_trend", method="GET", path="/api/health/trends/{device_id}", request=AskTrend, result=Trend,
        run=show_trend, plain=("device_id",),
    ),
    Operation(
        name="devices_comparison", method="GET", path="/api/health/comparison", request=AskComparison,
        result=Compared, run=compare,
    ),
    Operation(
        name="devices_summary", method="GET", path="/api/health/summary", request=Nothing, result=Summary,
        run=summarise,
    ),
    Operation(
        name="devices_calculate", method="POST", path="/api/health/calculate/{device_id}", request=AskCalculation,
        result=DeviceHealth, run=calculate, plain=("device_id",),
    ),
)  # fmt: skip
