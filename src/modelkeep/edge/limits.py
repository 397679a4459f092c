"""Rates per caller at the door, before anything else is done for a request: headers, and 429 for what is too much.

Only there when a rate is set. A caller is known by the header that ``overload.caller`` names (set by your own proxy or
services: whoever may write it may be anybody), else by its address.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, MutableMapping
from time import monotonic
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from modelkeep.edge.border import OPEN, answer_refusal, greet
from modelkeep.edge.refusals import Turned
from modelkeep.edge.traffic import Traffic
from modelkeep.serving.admission.gates import Priority
from modelkeep.serving.admission.rates import Buckets, Left, Rate
from modelkeep.settings.sections import OverloadSettings

ROUTE = "(rate limit)"
UNLIMITED = OPEN | {"/metrics", "/health/ready"}


class Limits:
    """Wraps the whole application."""

    def __init__(self, inner: ASGIApp, settings: OverloadSettings, *, traffic: Traffic) -> None:
        self._inner, self._traffic = inner, traffic
        self._header = settings.caller.lower().encode()
        self._rate = rate_of(settings.rate, settings.burst)
        self._rates: Mapping[str, Rate] = {n: rate_of(c.rate, c.burst) for n, c in settings.callers.items()}
        self._priorities: Mapping[str, Priority] = {n: c.priority for n, c in settings.callers.items() if c.priority}
        self._buckets = Buckets()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: PLR0917 - ASGI's own form
        """Let a request in with its headers, or answer 429."""
        if scope["type"] != "http" or scope["path"] in UNLIMITED:
            await self._inner(scope, receive, send)
            return
        caller = self._caller(scope)
        if caller in self._priorities:
            scope["priority"] = self._priorities[caller]
        rate = self._rates.get(caller, self._rate)
        if rate.rate <= 0:
            await self._inner(scope, receive, send)
            return
        left = self._buckets.take(caller, rate, at=monotonic())
        if left.wait:
            self._traffic.request(scope["method"], ROUTE, status=429, seconds=0.0)
            await answer_refusal(
                _refusal(caller, rate, left=left), request_id=greet(scope["headers"]).request_id, send=send
            )
            return

        async def told(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_headers(left)]
            await send(message)

        await self._inner(scope, receive, told)

    def _caller(self, scope: Scope) -> str:
        if self._header:
            for name, value in scope["headers"]:
                if name == self._header:
                    return str(value[:200].decode("latin-1"))
        return str((scope.get("client") or ("",))[0])


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
