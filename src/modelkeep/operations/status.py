"""How everything stands, in one answer."""

from __future__ import annotations

from datetime import datetime
from importlib import metadata
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from modelkeep.errors import NotFound, StoreUnavailable
from modelkeep.nouns import Alert, gravity
from modelkeep.operations.act import Operation, stamp
from modelkeep.operations.alerts import AlertView
from modelkeep.operations.alerts import view as alert_view
from modelkeep.operations.models import ListModels, Model, list_models
from modelkeep.serving.admission.pressure import State
from modelkeep.store.repeating import repeated

if TYPE_CHECKING:
    from modelkeep.app import App

Overall = Literal["ok", "warning", "critical"]


class RecordingView(Struct, frozen=True, kw_only=True):
    """Whether what happens is kept: ``held`` wait in memory, ``spooled`` on disk, ``dropped`` are lost, and why."""

    held: int
    spooled: int
    dropped: int
    cause: str
    since: datetime | None


class Status(Struct, frozen=True, kw_only=True):
    """How everything stands; ``causes`` say why it is not ``ok``."""

    overall: Overall
    causes: tuple[str, ...]
    version: str
    at: datetime
    folder: str
    serving: bool
    models: tuple[Model, ...]
    alerts: tuple[AlertView, ...]
    jobs_running: int
    jobs_waiting: int
    recording: RecordingView
    overload: State = "normal"


class ReadStatus(Struct, frozen=True, kw_only=True):
    """Nothing to say: everything."""


def status(app: App, _: ReadStatus) -> Status:
    """Say how everything stands: models, open alerts, work under way, and whether records are kept."""
    models = list_models(app, ListModels()).models
    with app.rooms.store.read() as ledger:
        alerts = ledger.alerts.all(active=True, limit=100)
        running = len(ledger.jobs.all(state="running", limit=1000))
        waiting = len(ledger.jobs.all(state="waiting", limit=1000))
    causes = trouble(app)
    critical = [f"{m.model} is {m.state}: {m.detail}" for m in models if m.state in {"unhealthy", "stopped"}]
    pressing = [_said(a) for a in alerts if gravity(a.severity) == "critical"]
    mild = [f"{m.model} is {m.state}: {m.detail}" for m in models if m.state == "slow"]
    mild += [_said(a) for a in alerts if gravity(a.severity) == "warning"]
    mild += _overloaded(app)
    overall: Overall = "critical" if causes or critical or pressing else "warning" if mild else "ok"
    recording = app.rooms.recorder.state
    return Status(
        overall=overall,
        causes=(*causes, *critical, *pressing, *mild),
        version=metadata.version("modelkeep"),
        at=stamp(app.rooms.clock.now()),
        folder=str(app.rooms.folder),
        serving=app.serving,
        models=models,
        alerts=tuple(alert_view(alert) for alert in alerts),
        jobs_running=running,
        jobs_waiting=waiting,
        recording=RecordingView(
            held=recording.held,
            spooled=recording.spooled,
            dropped=recording.dropped,
            cause=recording.cause or "",
            since=stamp(recording.since) if recording.cause else None,
        ),
        overload=app.rooms.gateway.admission.state,
    )


def _overloaded(app: App) -> list[str]:
    """The versions of which more is asked than they can answer."""
    strained = [view for view in app.rooms.gateway.admission.views() if view.state != "normal"]
    return [f"{view.model}@{view.version} is overloaded ({view.state}): modelkeep overload" for view in strained]


def _said(alert: Alert) -> str:
    """The alert's first line; the alert itself has the rest."""
    return f"{alert.severity} alert: {alert.message.partition(chr(10))[0]}"


def trouble(app: App) -> list[str]:
    """Why this server cannot do all of its work now; empty when it can."""
    found = []
    try:
        repeated(lambda: _look(app))
    except StoreUnavailable as error:
        found.append(f"store: {error}")
    found += _unreadable(app)
    recording = app.rooms.recorder.state
    if recording.cause:
        found.append(f"records are held: {recording.cause}")
    return found


def _look(app: App) -> None:
    with app.rooms.store.read() as ledger:
        ledger.rollouts.revision()


def _unreadable(app: App) -> list[str]:
    """Files of champions that could not be loaded again: the models answer, but not after a restart."""
    for route in app.rooms.gateway.routes.values():
        champion = route.loaded.get(route.rollout.champion)
        if champion is None:
            continue
        try:
            app.rooms.files.size(champion.version.artifact)
        except (StoreUnavailable, NotFound) as error:
            return [f"files: {champion.version.name}: {error}"]
    return []


OPERATIONS = (
    Operation(
        name="status", method="GET", path="/v1/status", request=ReadStatus, result=Status, run=status,
        words=("status",),
        finding=lambda found: f"critical: {found.causes[0]}" if found.overall == "critical" else "",
    ),
)  # fmt: skip
