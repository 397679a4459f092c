"""Rates per caller at the door, before anything else is done for a request: headers, and 429 for what is too much.

Only there when a rate is set. A caller is known by the header that ``overload.caller`` names (set by your own proxy or
services: whoever may write it may be anybody), else by its address.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, MutableMapping
from time import monotonic
from typing import Any

from msgspec import Struct
from starlette.types import ASGIApp, Receive, Scope, Send

from modelkeep.edge import refusals
from modelkeep.edge.border import JSON, OPEN, greet
from modelkeep.edge.refusals import Turned
from modelkeep.edge.traffic import Traffic
from modelkeep.serving.admission.gates import Priority
from modelkeep.serving.admission.rates import Buckets, Left, Rate
from modelkeep.settings.sections import OverloadSettings

ROUTE = "(rate limit)"
UNLIMITED = OPEN | {"/metrics", "/health/ready"}


class Caller(Struct, frozen=True, kw_only=True):
    """Who asks, what this caller may, and what is left of it (None: no rate holds)."""

    name: str
    rate: Rate
    priority: Priority | None
    left: Left | None

    @property
    def refusal(self) -> Turned | None:
        """Why the request is too much; None when it is not."""
        return _refusal(self.name, self.rate, left=self.left) if self.left is not None and self.left.wait else None

    @property
    def headers(self) -> bytes:
        """What every answer to this caller says of the rate, as it is written; empty when no rate holds."""
        left = self.left
        return b"" if left is None else b"".join(b"%b: %b\r\n" % header for header in _headers(left))


class Callers:
    """Everybody who asks this process, through whichever door: one count for each."""

    def __init__(self, settings: OverloadSettings) -> None:
        self._header = settings.caller.lower().encode()
        self._rate = rate_of(settings.rate, settings.burst)
        self._rates: Mapping[str, Rate] = {n: rate_of(c.rate, c.burst) for n, c in settings.callers.items()}
        self._priorities: Mapping[str, Priority] = {n: c.priority for n, c in settings.callers.items() if c.priority}
        self._buckets = Buckets()

    def take(self, headers: Iterable[tuple[bytes, bytes]], address: str) -> Caller:
        """Count one request of whoever sends these headers from this address."""
        name = address
        if self._header:
            found = (str(value[:200].decode("latin-1")) for name, value in headers if name == self._header)
            name = next(found, address)
        rate = self._rates.get(name, self._rate)
        left = self._buckets.take(name, rate, at=monotonic()) if rate.rate > 0 else None
        return Caller(name=name, rate=rate, priority=self._priorities.get(name), left=left)


class Limits:
    """Wraps the whole application."""

    def __init__(self, inner: ASGIApp, callers: Callers, *, traffic: Traffic) -> None:
        self._inner, self._callers, self._traffic = inner, callers, traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: PLR0917 - ASGI's own form
        """Let a request in with its headers, or answer 429."""
        if scope["type"] != "http" or scope["path"] in UNLIMITED:
            await self._inner(scope, receive, send)
            return
        caller: Caller | None = scope.get("caller")  # counted on the hot road
        if caller is None:
            caller = self._callers.take(scope["headers"], str((scope.get("client") or ("",))[0]))
        if caller.priority is not None:
            scope["priority"] = caller.priority
        left = caller.left
        if left is None:
            await self._inner(scope, receive, send)
            return
        refusal = caller.refusal
        if refusal is not None:
            self._traffic.request(scope["method"], ROUTE, status=429, seconds=0.0)
            await _turn_away(refusal, greet(scope["headers"]).request_id, send=send)
            return

        async def told(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_headers(left)]
            await send(message)

        await self._inner(scope, receive, told)


async def _turn_away(refusal: Turned, request_id: str, *, send: Send) -> None:
    content = refusals.body(refusal, request_id)
    headers = [JSON, (b"content-length", b"%d" % len(content)), (b"x-request-id", request_id.encode())]
    headers += refusals.headers(refusal)
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def rate_of(rate: float, burst: int) -> Rate:
    """A rate as it is set; without a burst, that of one second."""
    return Rate(rate=rate, burst=burst or max(1, math.ceil(rate)))


def limited(settings: OverloadSettings) -> bool:
    """Whether there is anything to look at for each request."""
    return settings.rate > 0 or bool(settings.callers)


def _headers(left: Left) -> list[tuple[bytes, bytes]]:
    return [
        (b"ratelimit-limit", b"%d" % left.limit),
        (b"ratelimit-remaining", b"%d" % left.left),
        (b"ratelimit-reset", b"%d" % math.ceil(left.reset)),
    ]


def _refusal(caller: str, rate: Rate, *, left: Left) -> Turned:
    return Turned(
        429,
        code="too_many_requests",
        message=f"caller {caller!r} may send {rate.rate:g} requests a second, {rate.burst} at once",
        remedy=f"try again in {math.ceil(left.wait)} s",
        headers=(*_headers(left), (b"retry-after", b"%d" % math.ceil(left.wait))),
    )
