"""Health for people, orchestrators and other tools: alive, ready, and every component with its state."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from time import perf_counter
from typing import TYPE_CHECKING, Literal

import psutil
from anyio import to_thread
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from modelkeep.app import services_of
from modelkeep.edge.bodies import answer
from modelkeep.jobs import services
from modelkeep.operations.act import stamp
from modelkeep.operations.status import trouble

if TYPE_CHECKING:
    from modelkeep.app import App

log = logging.getLogger("modelkeep.edge")
Status = Literal["healthy", "warning", "critical", "not_configured"]
_ORDER: tuple[Status, ...] = ("not_configured", "healthy", "warning", "critical")
SLOW_STORE = (1.0, 5.0)
FULL = (80.0, 95.0)


class Alive(Struct, frozen=True, kw_only=True):
    """The process answers."""

    status: Literal["healthy"] = "healthy"


class Ready(Struct, frozen=True, kw_only=True):
    """Whether all of the work can be done; ``causes`` say what cannot."""

    status: Literal["ready", "not_ready"]
    causes: tuple[str, ...] = ()


class Component(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One component: its status, and what was measured."""

    status: Status
    error: str = ""
    detail: str = ""
    response_time_ms: float | None = None
    connection: str = ""
    cpu_percent: float | None = None
    memory_percent: float | None = None
    disk_percent: float | None = None
    available_memory_gb: float | None = None
    status_code: int | None = None


class Health(Struct, frozen=True, kw_only=True):
    """Every component; ``overall_status`` is the worst of them, ``timestamp`` seconds since 1970."""

    timestamp: float
    overall_status: Status
    components: dict[str, Component]


class Services(Struct, frozen=True, kw_only=True):
    """The services of the machine-learning part; each ``ready`` or ``error: ...``."""

    status: Literal["healthy", "critical"]
    ml_enabled: bool
    services: dict[str, str]
    last_updated: datetime


def routes(app: App) -> list[BaseRoute]:
    """The health routes."""

    async def live(_: Request) -> Response:
        return answer(Alive())

    async def ready(_: Request) -> Response:
        causes = await to_thread.run_sync(trouble, app)
        found = Ready(status="not_ready" if causes else "ready", causes=tuple(causes))
        return answer(found, 503 if causes else 200)

    async def full(_: Request) -> Response:
        found = await to_thread.run_sync(measure, app, probes(app))
        return answer(found, 503 if found.overall_status == "critical" else 200)

    async def services(_: Request) -> Response:
        found = await to_thread.run_sync(_services, app)
        return answer(found, 200 if found.status == "healthy" else 503)

    return [
        Route("/health", live),
        Route("/health/live", live),
        Route("/health/ready", ready),
        Route("/health/full", full),
        Route("/api/ml/health", services),
    ]


Probe = Callable[[], Component]


def probes(app: App) -> dict[str, Probe]:
    """What looks at each component. What this installation does without is said to be not configured."""
    return {
        "system": lambda: _system(app),
        "database": lambda: _database(app),
        **_services_beside(app),
        "api": lambda: _api(app),
    }


def _services_beside(app: App) -> dict[str, Probe]:
    """What looks at Redis and MLflow; without an address each says that nothing here needs it."""
    asked = services.looks(services_of(app.settings))
    absent = {
        "redis": "nothing here needs it; services.redis names one to watch",
        "mlflow": "versions are kept by this server itself; services.mlflow names one to watch",
    }

    def look(name: str, why: str) -> Probe:
        if name not in asked:
            return lambda: Component(status="not_configured", detail=why)
        return lambda: _component(asked[name]())

    return {name: look(name, why) for name, why in absent.items()}


def _component(found: services.Looked) -> Component:
    level: Status = "healthy" if found.level == "ok" else "warning" if found.level == "warning" else "critical"
    return Component(
        status=level,
        error=found.error,
        response_time_ms=found.seconds * 1000,
        connection="" if found.error else "active",
        status_code=found.code,
    )


def measure(app: App, looks: dict[str, Probe]) -> Health:
    """Look at every component; a look that fails is itself a critical result."""
    components = {name: _looked(name, look) for name, look in looks.items()}
    return Health(timestamp=app.rooms.clock.now(), overall_status=worst(components), components=components)


def worst(components: dict[str, Component]) -> Status:
    """The worst status of all, ``healthy`` at best."""
    return (
        max((c.status for c in components.values()), key=_ORDER.index, default="healthy")
        if any(c.status != "not_configured" for c in components.values())
        else "healthy"
    )


def _looked(name: str, look: Probe) -> Component:
    try:
        return look()
    except Exception as error:  # the edge: a failing probe is a result, never an exception
        log.warning("the probe of %s failed", name, exc_info=error)
        return Component(status="critical", error=f"{type(error).__name__}: {error}")


def _graded(value: float, limits: tuple[float, float]) -> Status:
    return "critical" if value > limits[1] else "warning" if value > limits[0] else "healthy"


def _system(app: App) -> Component:
    cpu, memory = psutil.cpu_percent(), psutil.virtual_memory()
    disk = psutil.disk_usage(str(app.rooms.folder)).percent
    return Component(
        status=_graded(max(cpu, memory.percent, disk), FULL),
        cpu_percent=cpu,
        memory_percent=memory.percent,
        disk_percent=disk,
        available_memory_gb=memory.available / 1024**3,
    )


def _database(app: App) -> Component:
    seconds = app.rooms.store.ping()
    return Component(status=_graded(seconds, SLOW_STORE), response_time_ms=seconds * 1000, connection="active")


def _api(app: App) -> Component:
    started = perf_counter()
    causes = trouble(app)
    return Component(
        status="critical" if causes else "healthy",
        error="; ".join(causes),
        response_time_ms=(perf_counter() - started) * 1000,
        status_code=503 if causes else 200,
    )


def _services(app: App) -> Services:
    """The guide's four services by the rooms that do their work here."""
    failures = app.rooms.router.failures
    recording = app.rooms.recorder.state
    causes = {
        "feature_engineering": "; ".join(failures.values()),
        "health_scoring": app.trouble("watch"),
        "predictive_alerts": app.trouble("jobs"),
        "model_manager": recording.cause or "",
    }
    services = {name: f"error: {cause}" if cause else "ready" for name, cause in causes.items()}
    return Services(
        status="critical" if any(causes.values()) else "healthy",
        ml_enabled=True,
        services=services,
        last_updated=stamp(app.rooms.clock.now()),
    )
