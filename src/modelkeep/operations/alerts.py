"""Alerts: what a person should know, and what became of it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from modelkeep.alerts.conditions import severity
from modelkeep.nouns import SEVERITIES, Alert, Rule, about
from modelkeep.operations import readings as facts
from modelkeep.operations.act import By, Limit, Operation, Why, stamp
from modelkeep.operations.models import sought

if TYPE_CHECKING:
    from modelkeep.app import App


class DeliveryView(Struct, frozen=True, kw_only=True):
    """One message to one channel; a ``waiting`` one is tried at ``due``."""

    channel: str
    event: str
    state: str
    attempts: int
    due: datetime
    error: str


class AlertView(Struct, frozen=True, kw_only=True):
    """An alert: what (``type``, ``message``), how bad (``severity``), since when, on what evidence, what repairs it.

    ``timestamp`` is when it opened; ``system_metrics`` how the machine was then. ``false``: a person found nothing
    behind it. ``digest``: the alert that told of it instead of it.
    """

    id: str
    type: str
    severity: str
    message: str
    timestamp: datetime
    system_metrics: dict[str, float]
    recommended_actions: tuple[str, ...]
    rule: str
    subject: str
    state: str
    changed: datetime
    resolved: datetime | None
    acknowledged_by: str
    command: str
    readings: tuple[facts.ReadingView, ...]
    deliveries: tuple[DeliveryView, ...]
    false: bool
    digest: str


class Alerts(Struct, frozen=True, kw_only=True):
    """Alerts, newest first."""

    alerts: tuple[AlertView, ...]


class ListAlerts(Struct, frozen=True, kw_only=True):
    """Which alerts: all, or those not resolved; at least as severe as ``severity``; of one model or type."""

    active: Annotated[bool, Meta(description="Only alerts that are open or acknowledged")] = False
    severity: Annotated[str, Meta(description=f"At least this severe: {', '.join(SEVERITIES)}")] = "info"
    model: Annotated[str, Meta(description="Only alerts of this model")] = ""
    type: Annotated[str, Meta(description="Only alerts of this type", max_length=100)] = ""
    limit: Limit = 200


class OneAlert(Struct, frozen=True, kw_only=True):
    """Which alert."""

    id: Annotated[str, Meta(description="Id of the alert", min_length=1, max_length=200)]


class Acknowledge(Struct, frozen=True, kw_only=True):
    """Who has seen which alert."""

    id: Annotated[str, Meta(description="Id of the alert", min_length=1, max_length=200)]
    who: Annotated[str, Meta(description="Who takes care of it", min_length=1, max_length=200)]


class Resolve(Struct, frozen=True, kw_only=True):
    """Which alert is over, and why; ``false`` when there was nothing behind it."""

    id: Annotated[str, Meta(description="Id of the alert", min_length=1, max_length=200)]
    false: Annotated[bool, Meta(description="There was nothing behind it")] = False
    why: Why = ""
    by: By = ""


class RaiseAlert(Struct, frozen=True, kw_only=True):
    """What people should know: its type, how bad it is, a sentence, and what helps.

    ``metrics`` are kept with those of the machine; ``actions`` are sentences for people, ``command`` what repairs it.
    """

    type: Annotated[
        str,
        Meta(
            description="modelFailure, performanceDegradation, dataCollectionIssue, systemOverload, "
            "userExperienceImpact, or a word of your own",
            pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,99}$",
        ),
    ]
    message: Annotated[str, Meta(description="What, in a sentence", min_length=1, max_length=4000)]
    severity: Annotated[str, Meta(description=f"How bad: {', '.join(SEVERITIES)}")] = "warning"
    subject: Annotated[str, Meta(description="What it is about: a model, or server", max_length=300)] = "server"
    metrics: Annotated[dict[str, float], Meta(description="Numbers that belong to it")] = {}
    actions: Annotated[tuple[str, ...], Meta(description="What people should do", max_length=20)] = ()
    command: Annotated[str, Meta(description="The command that repairs it", max_length=1000)] = ""
    by: By = ""


class ListRules(Struct, frozen=True, kw_only=True):
    """Nothing to say: all rules."""


class Rules(Struct, frozen=True, kw_only=True):
    """The rules that turn readings into alerts."""

    rules: tuple[Rule, ...]


def list_alerts(app: App, request: ListAlerts) -> Alerts:
    """List alerts, newest first.

    Raises BadInput for a severity that is not on the scale, NotFound for an unknown model.
    """
    least = SEVERITIES.index(severity(request.severity))
    narrowed = bool(request.model or request.type or least)
    with app.rooms.store.read() as ledger:
        sought(ledger, request.model)
        found = ledger.alerts.all(active=request.active, limit=10_000 if narrowed else request.limit)
    chosen = [
        alert
        for alert in found
        if SEVERITIES.index(alert.severity) >= least
        and about(alert.subject, request.model)
        and request.type in {"", alert.kind}
    ]
    return Alerts(alerts=tuple(view(alert) for alert in chosen[: request.limit]))


def show_alert(app: App, request: OneAlert) -> AlertView:
    """Show one alert with its readings, advice, repairing command and deliveries.

    Raises NotFound.
    """
    with app.rooms.store.read() as ledger:
        return view(ledger.alerts.get(request.id))


def raise_alert(app: App, request: RaiseAlert) -> AlertView:
    """Raise an alert by hand or from a script: it is kept, shown and delivered like every other one.

    The same type and subject only updates an alert that is open; ``info`` is a notice. Raises BadInput for a severity
    that is not on the scale.
    """
    with app.rooms.store.write() as ledger:
        alert = app.rooms.book.raise_event(
            ledger, rule=f"raised.{request.type}", subject=request.subject, kind=request.type,
            severity=severity(request.severity), message=request.message, advice=request.actions,
            command=request.command, system=request.metrics,
        )  # fmt: skip
        now = app.rooms.clock.now()
        ledger.acts.append(who=request.by, what="raise", subject=f"alert {alert.id}", why=request.message, at=now)
    return view(alert)


def acknowledge(app: App, request: Acknowledge) -> AlertView:
    """Say that a person takes care of an alert; it stops escalating.

    Raises NotFound, or Conflict when it is resolved already.
    """
    with app.rooms.store.write() as ledger:
        alert = app.rooms.book.acknowledge(ledger, request.id, who=request.who)
        ledger.acts.append(
            who=request.who, what="acknowledge", subject=f"alert {request.id}", why="", at=app.rooms.clock.now()
        )
    return view(alert)


def resolve(app: App, request: Resolve) -> AlertView:
    """Close an alert by hand; it opens again when its rule still finds a reason.

    With ``false`` it is noted that there was nothing behind it, also of one that is resolved already.

    Raises NotFound, or Conflict when it is resolved already.
    """
    now = app.rooms.clock.now()
    with app.rooms.store.write() as ledger:
        alert = app.rooms.book.resolve(ledger, request.id, false=request.false)
        what = "mark false" if request.false else "resolve"
        ledger.acts.append(who=request.by, what=what, subject=f"alert {request.id}", why=request.why, at=now)
    return view(alert)


def list_rules(app: App, _: ListRules) -> Rules:
    """List the rules that turn readings into alerts."""
    return Rules(rules=app.rooms.book.rules)


def view(alert: Alert) -> AlertView:
    """An alert as it goes out."""
    return AlertView(
        id=alert.id,
        type=alert.kind,
        severity=alert.severity,
        message=alert.message,
        timestamp=stamp(alert.opened),
        system_metrics=alert.system,
        recommended_actions=alert.advice,
        rule=alert.rule,
        subject=alert.subject,
        state=alert.state,
        changed=stamp(alert.changed),
        resolved=stamp(alert.resolved),
        acknowledged_by=alert.acknowledged_by,
        command=alert.command,
        readings=tuple(facts.view(reading) for reading in alert.readings),
        deliveries=tuple(
            DeliveryView(
                channel=d.channel, event=d.event, state=d.state, attempts=d.attempts, due=stamp(d.due), error=d.error
            )
            for d in alert.deliveries
        ),
        false=alert.false,
        digest=alert.digest,
    )


OPERATIONS = (
    Operation(
        name="alerts", method="GET", path="/v1/alerts", request=ListAlerts, result=Alerts, run=list_alerts,
        words=("alerts", "list"),
    ),
    Operation(
        name="raise", method="POST", path="/v1/alerts", request=RaiseAlert, result=AlertView, run=raise_alert,
        words=("alerts", "raise"), plain=("type", "message"), status=201,
    ),
    Operation(
        name="alert", method="GET", path="/v1/alerts/{id}", request=OneAlert, result=AlertView, run=show_alert,
        words=("alerts", "show"), plain=("id",),
    ),
    Operation(
        name="acknowledge", method="POST", path="/v1/alerts/{id}/ack", request=Acknowledge, result=AlertView,
        run=acknowledge, words=("alerts", "ack"), plain=("id",),
    ),
    Operation(
        name="resolve", method="POST", path="/v1/alerts/{id}/resolve", request=Resolve, result=AlertView, run=resolve,
        words=("alerts", "resolve"), plain=("id",),
    ),
    Operation(
        name="rules", method="GET", path="/v1/rules", request=ListRules, result=Rules, run=list_rules,
        words=("alerts", "rules"),
    ),
)  # fmt: skip
