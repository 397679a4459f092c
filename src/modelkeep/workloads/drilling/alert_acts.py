"""The acts on predictive alerts, with the routes and JSON keys of the guide's service: ``/api/ml/alerts...``.

They are the product's own alerts: what is acknowledged here is acknowledged everywhere, and the other way round.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from modelkeep import Act, Alert, BadInput, NotFound, Operation, Value, moment
from modelkeep.workloads.drilling import journal, keeping, watching
from modelkeep.workloads.drilling.fleet import fleet
from modelkeep.workloads.drilling.watching import LIMITS, PREFIX

if TYPE_CHECKING:
    from modelkeep import App

RULES = ("drilling_critical", "drilling_high", "drilling_medium")
TYPES = ("performance_degradation", "equipment_failure_risk", "battery_maintenance")
STATUSES = {"open": "active", "acknowledged": "acknowledged", "resolved": "resolved"}
AFFECTED = {
    "performance_degradation": ("drive",),
    "battery_maintenance": ("battery",),
    "equipment_failure_risk": ("position", "communication"),
}
MANY = 10_000
Id = Annotated[str, Meta(description="Id of the alert", min_length=1, max_length=200)]


class ListAlerts(Struct, frozen=True, kw_only=True):
    """Which alerts, newest first."""

    device_id: Annotated[str, Meta(max_length=200)] = ""
    severity: Annotated[str, Meta(description="medium, high or critical")] = ""
    status: Annotated[str, Meta(description="active, acknowledged, resolved or suppressed")] = ""
    alert_type: Annotated[str, Meta(description=", ".join(TYPES))] = ""
    created_after: Annotated[str, Meta(max_length=40)] = ""
    created_before: Annotated[str, Meta(max_length=40)] = ""
    page: Annotated[int, Meta(ge=1)] = 1
    per_page: Annotated[int, Meta(ge=1, le=1000)] = 50
    limit: Annotated[int, Meta(description="At most so many, from the newest", ge=1, le=1000)] = 1000


class DeviceAlert(Struct, frozen=True, kw_only=True):
    """One predictive alert of a device; ``predicted_failure_time`` is null where health does not surely fall."""

    id: str
    device_id: str
    alert_type: str
    severity: str
    status: str
    title: str
    description: str
    predicted_failure_time: datetime | None
    confidence_score: float | None
    recommended_actions: tuple[str, ...]
    affected_systems: tuple[str, ...]
    created_at: datetime
    acknowledged_at: datetime | None
    resolved_at: datetime | None
    metadata: dict[str, Value]


class DeviceAlerts(Struct, frozen=True, kw_only=True):
    """Alerts, newest first; ``data`` is the same as ``alerts``."""

    alerts: tuple[DeviceAlert, ...]
    data: tuple[DeviceAlert, ...]
    total_count: int
    page: int
    per_page: int
    has_next: bool


class Generate(Struct, frozen=True, kw_only=True):
    """For one device, or all."""

    device_id: Annotated[str, Meta(max_length=200)] = ""


class Generated(Struct, frozen=True, kw_only=True):
    """The alerts that opened, how many devices were looked at, and how long deciding took."""

    alerts: tuple[DeviceAlert, ...]
    data: tuple[DeviceAlert, ...]
    devices: int
    processing_time: float


class Take(Struct, frozen=True, kw_only=True):
    """Who takes care of which alert."""

    id: Id
    acknowledged_by: Annotated[str, Meta(min_length=1, max_length=200)]
    notes: Annotated[str, Meta(max_length=2000)] = ""


class Settle(Struct, frozen=True, kw_only=True):
    """Which alert is over."""

    id: Id
    resolved_by: Annotated[str, Meta(max_length=200)] = ""
    notes: Annotated[str, Meta(max_length=2000)] = ""


class Suppress(Struct, frozen=True, kw_only=True):
    """No alerts of a device for some hours; of one type, or all when it is empty."""

    device_id: Annotated[str, Meta(min_length=1, max_length=200)]
    alert_type: str = ""
    suppress_hours: Annotated[float, Meta(gt=0, le=8760)] = 24.0
    reason: Annotated[str, Meta(max_length=2000)] = ""


class Suppressed(Struct, frozen=True, kw_only=True):
    """Until when nothing is told."""

    device_id: str
    alert_type: str
    suppressed_until: datetime
    reason: str


class Nothing(Struct, frozen=True, kw_only=True):
    """Nothing to say."""


class Statistics(Struct, frozen=True, kw_only=True):
    """How many alerts there are and were; the mean time to resolve is null before the first was."""

    active_alerts: int
    total_generated: int
    severity_breakdown: dict[str, int]
    average_resolution_time_hours: float | None
    suppression_rules_active: int


def list_alerts(app: App, request: ListAlerts) -> DeviceAlerts:
    """List predictive alerts of devices, newest first. Raises BadInput for a status that there is not."""
    if request.status and request.status not in {*STATUSES.values(), "suppressed"}:
        raise BadInput.of("status", expected="active, acknowledged, resolved or suppressed", got=request.status)
    after = moment(request.created_after, "created_after") if request.created_after else None
    before = moment(request.created_before, "created_before") if request.created_before else None
    views = [
        view
        for view in _views(app)
        if request.device_id in {"", view.device_id}
        and request.severity in {"", view.severity}
        and request.status in {"", view.status}
        and request.alert_type in {"", view.alert_type}
        and (after is None or view.created_at.timestamp() >= after)
        and (before is None or view.created_at.timestamp() < before)
    ][: request.limit]
    first = (request.page - 1) * request.per_page
    shown = tuple(views[first : first + request.per_page])
    return DeviceAlerts(
        alerts=shown, data=shown, total_count=len(views), page=request.page, per_page=request.per_page,
        has_next=first + request.per_page < len(views),
    )  # fmt: skip


def generate(app: App, request: Generate) -> Generated:
    """Judge every device now, as the watch does, and open what is due. Raises NotFound for an unknown device."""
    devices = fleet(app.rooms, LIMITS)
    known = devices.prints()
    if request.device_id and request.device_id not in known:
        raise NotFound("device", request.device_id, known=known)
    scores = devices.scores([request.device_id] if request.device_id else [])
    begun = time.perf_counter()
    readings = watching.device_readings(app.rooms, scores, at=app.rooms.clock.now())
    with app.rooms.store.write() as ledger:
        ledger.readings.add(readings)
        changed = app.rooms.book.evaluate(ledger, readings)
    seconds = time.perf_counter() - begun
    journal.line(app.rooms, "alert_generation", processing_time=seconds, devices=len(scores), alerts=len(changed))
    opened = {alert.id for alert in changed if alert.state != "resolved"}
    views = tuple(view for view in _views(app) if view.id in opened)
    return Generated(alerts=views, data=views, devices=len(scores), processing_time=seconds)


def acknowledge(app: App, request: Take) -> DeviceAlert:
    """Say that a person takes care of an alert. Raises NotFound, or Conflict when it is resolved already."""
    with app.rooms.store.write() as ledger:
        _own(ledger.alerts.get(request.id))
        app.rooms.book.acknowledge(ledger, request.id, who=request.acknowledged_by)
        ledger.acts.append(
            who=request.acknowledged_by, what="acknowledge", subject=f"alert {request.id}", why=request.notes,
            at=app.rooms.clock.now(),
        )  # fmt: skip
    return _one(app, request.id)


def resolve(app: App, request: Settle) -> DeviceAlert:
    """Close an alert by hand; it opens again when there is still a reason.

    Raises NotFound, or Conflict when it is resolved already.
    """
    with app.rooms.store.write() as ledger:
        _own(ledger.alerts.get(request.id))
        app.rooms.book.resolve(ledger, request.id)
        ledger.acts.append(
            who=request.resolved_by, what="resolve", subject=f"alert {request.id}", why=request.notes,
            at=app.rooms.clock.now(),
        )  # fmt: skip
    return _one(app, request.id)


def suppress(app: App, request: Suppress) -> Suppressed:
    """Tell nothing of a device for some hours: nothing opens, and what is open stays as it is.

    Raises BadInput for an alert type that there is not.
    """
    if request.alert_type not in {"", *TYPES}:
        raise BadInput.of("alert_type", expected=f"{', '.join(TYPES)}, or nothing for all", got=request.alert_type)
    now = app.rooms.clock.now()
    until = now + request.suppress_hours * 3600
    keeping.suppressions(app.rooms).append(
        keeping.one(
            at=now, until=until, device_id=request.device_id, alert_type=request.alert_type, reason=request.reason
        )
    )
    with app.rooms.store.write() as ledger:
        ledger.acts.append(who="", what="suppress", subject=f"{PREFIX}{request.device_id}", why=request.reason, at=now)
    return Suppressed(
        device_id=request.device_id, alert_type=request.alert_type, suppressed_until=_utc(until), reason=request.reason
    )


def statistics(app: App, _: Nothing) -> Statistics:
    """Count the alerts of devices, by severity, and say how long they took to resolve."""
    with app.rooms.store.read() as ledger:
        found = [alert for alert in ledger.alerts.all(limit=MANY) if alert.rule in RULES]
    took = [(alert.resolved - alert.opened) / 3600 for alert in found if alert.resolved is not None]
    active = [alert for alert in found if alert.state != "resolved"]
    return Statistics(
        active_alerts=len(active), total_generated=len(found),
        severity_breakdown=dict(Counter(alert.severity for alert in active)),
        average_resolution_time_hours=sum(took) / len(took) if took else None,
        suppression_rules_active=len(keeping.suppressed(app.rooms, app.rooms.clock.now())),
    )  # fmt: skip


def _own(alert: Alert) -> Alert:
    if alert.rule not in RULES:
        raise NotFound("device alert", alert.id)
    return alert


def _one(app: App, id: str) -> DeviceAlert:
    return next(view for view in _views(app) if view.id == id)


def _views(app: App) -> list[DeviceAlert]:
    """Every alert of a device, newest first."""
    with app.rooms.store.read() as ledger:
        found = [alert for alert in ledger.alerts.all(limit=MANY) if alert.rule in RULES]
        taken = {alert.id: _taken(ledger.acts.all(subject=f"alert {alert.id}", limit=20)) for alert in found}
    now = app.rooms.clock.now()
    quiet = {(s.device_id, s.alert_type) for s in keeping.suppressed(app.rooms, now)}
    return [_view(alert, taken=taken[alert.id], quiet=quiet) for alert in found]


def _taken(acts: Sequence[Act]) -> float | None:
    return next((act.at for act in acts if act.what == "acknowledge"), None)


def _view(alert: Alert, *, taken: float | None, quiet: set[tuple[str, str]]) -> DeviceAlert:
    device = alert.subject.removeprefix(PREFIX)
    reading = alert.readings[0] if alert.readings else None
    facts = reading.facts if reading else {}
    kind = str(facts.get("alert_type") or "performance_degradation")
    hours, confidence = facts.get("predicted_failure_hours"), facts.get("confidence")
    status = STATUSES[alert.state]
    if alert.state == "open" and {(device, ""), (device, kind)} & quiet:
        status = "suppressed"
    title, _, rest = alert.message.partition("\n")
    return DeviceAlert(
        id=alert.id, device_id=device, alert_type=kind, severity=alert.severity, status=status, title=title,
        description=rest or (reading.detail if reading else ""),
        predicted_failure_time=_utc(reading.at + hours * 3600) if reading and isinstance(hours, float | int) else None,
        confidence_score=float(confidence) if isinstance(confidence, float | int) else None,
        recommended_actions=alert.advice, affected_systems=AFFECTED.get(kind, ()), created_at=_utc(alert.opened),
        acknowledged_at=None if taken is None else _utc(taken),
        resolved_at=None if alert.resolved is None else _utc(alert.resolved),
        metadata={**facts, "rule": alert.rule, "acknowledged_by": alert.acknowledged_by},
    )  # fmt: skip


def _utc(at: float) -> datetime:
    return datetime.fromtimestamp(float(at), UTC)


OPERATIONS = (
    Operation(
        name="drilling_alerts", method="GET", path="/api/ml/alerts", request=ListAlerts, result=DeviceAlerts,
        run=list_alerts, words=("alerts",),
    ),
    Operation(
        name="drilling_alerts_generate", method="POST", path="/api/ml/alerts/generate", request=Generate,
        result=Generated, run=generate, words=("generate",),
    ),
    Operation(
        name="drilling_alert_acknowledge", method="POST", path="/api/ml/alerts/{id}/acknowledge", request=Take,
        result=DeviceAlert, run=acknowledge, words=("acknowledge",), plain=("id",),
    ),
    Operation(
        name="drilling_alert_resolve", method="POST", path="/api/ml/alerts/{id}/resolve", request=Settle,
        result=DeviceAlert, run=resolve, words=("resolve",), plain=("id",),
    ),
    Operation(
        name="drilling_alerts_suppress", method="POST", path="/api/ml/alerts/suppress", request=Suppress,
        result=Suppressed, run=suppress, words=("suppress",), plain=("device_id",),
    ),
    Operation(
        name="drilling_alert_statistics", method="GET", path="/api/ml/alerts/statistics", request=Nothing,
        result=Statistics, run=statistics, words=("statistics",),
    ),
)  # fmt: skip
