"""Services beside the product (Redis, MLflow): each is asked whether it lives, with a limit, and never trusted to."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from time import perf_counter
from typing import Any

from msgspec import Struct

from modelkeep.jobs.rooms import Rooms
from modelkeep.nouns import Level, Reading

PATIENCE = 5.0
"""Seconds until a service that does not answer counts as gone."""
SLOW_REDIS = (0.1, 1.0)
SLOW_MLFLOW = (1.0, PATIENCE)


class Looked(Struct, frozen=True, kw_only=True):
    """How a service is: ``level`` ok, warning (slow) or critical (very slow, or no answer, then ``error`` says why)."""

    level: Level
    seconds: float
    error: str = ""
    code: int | None = None


def redis(url: str) -> Looked:
    """Send PING to the Redis server at ``redis://[user:password@]host:port/db``; slow from 0.1 s, too slow from 1 s."""
    try:
        client: Any = importlib.import_module("redis")  # the extra `redis`, for those who have a server to watch
    except ModuleNotFoundError:
        return Looked(
            level="critical", seconds=0.0, error="the package redis is missing: pip install 'modelkeep[redis]'"
        )
    began = perf_counter()
    try:
        with client.Redis.from_url(url, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE, retry=None) as asked:
            asked.ping()
    except (client.RedisError, OSError, ValueError) as cause:
        return Looked(level="critical", seconds=perf_counter() - began, error=_said(cause))
    took = perf_counter() - began
    return Looked(level=_graded(took, SLOW_REDIS), seconds=took)


def mlflow(url: str) -> Looked:
    """Ask the MLflow server at ``http://host:port`` for ``/health``; anything but 200 within 5 s is critical."""
    httpx: Any = importlib.import_module("httpx")  # heavy, and asked for where somebody has such a server only
    began = perf_counter()
    try:
        answer = httpx.get(f"{url.rstrip('/')}/health", timeout=PATIENCE, follow_redirects=False)
    except (httpx.HTTPError, httpx.InvalidURL) as cause:
        return Looked(level="critical", seconds=perf_counter() - began, error=_said(cause))
    took = perf_counter() - began
    if answer.status_code != httpx.codes.OK:
        return Looked(level="critical", seconds=took, error=f"answered {answer.status_code}", code=answer.status_code)
    return Looked(level=_graded(took, SLOW_MLFLOW), seconds=took, code=answer.status_code)


def looks(addresses: Mapping[str, str]) -> dict[str, Callable[[], Looked]]:
    """How to look at each configured service, by name; those without an address are left out."""
    known = {"redis": redis, "mlflow": mlflow}
    return {name: partial(known[name], address) for name, address in addresses.items() if address}


def readings(rooms: Rooms, *, addresses: Mapping[str, str]) -> Iterable[Reading]:
    """The reading ``service`` of each configured one: the seconds until it answered, critical when it did not."""
    for name, look in looks(addresses).items():
        found = look()
        said = found.error or f"answered after {found.seconds * 1000:.3g} ms"
        yield Reading(
            name="service", subject=name, value=found.seconds, level=found.level, at=rooms.clock.now(), n=1, unit="s",
            detail=f"{name}: {said}",
        )  # fmt: skip


def _graded(seconds: float, limits: tuple[float, float]) -> Level:
    return "critical" if seconds > limits[1] else "warning" if seconds > limits[0] else "ok"


def _said(cause: Exception) -> str:
    # The address may hold a password: the cause's type and its own words are told, never the address.
    return f"{type(cause).__name__}: {str(cause).partition('redis://')[0][:200]}"
