"""The border of the server: every request passes it, and nothing but an answer leaves through it.

It names the request (``X-Request-ID``), asks for the token, refuses what another site's page sends, counts, logs, and
turns whatever went wrong inside into an answer with the request's name in it.
"""

from __future__ import annotations

import base64
import hmac
import logging
import re
import uuid
from collections.abc import MutableMapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, TypeAlias

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from modelkeep.edge import packing, refusals
from modelkeep.edge.hosts import Hosts
from modelkeep.edge.refusals import Turned
from modelkeep.edge.traffic import Traffic

log = logging.getLogger("modelkeep.edge")
Headers: TypeAlias = list[tuple[bytes, bytes]]
JSON = (b"content-type", b"application/json")
OPEN = frozenset({"/health", "/health/live"})
_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, kw_only=True)
class Caller:
    """What the border takes from the headers of a request."""

    request_id: str
    named: bool


class Border:
    """Wraps the whole application."""

    def __init__(
        self, inner: ASGIApp, *, hot: ASGIApp, traffic: Traffic, hosts: Hosts, limit: int, token: str = ""
    ) -> None:
        self._inner = inner
        self._hosts, self._limit = hosts, limit
        self._hot = hot
        self._traffic = traffic
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: PLR0917 - ASGI's own form
        """Answer one request."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
        elif (
            scope["method"] == "POST" and scope["path"].endswith("/predict") and scope["path"].startswith("/v1/models/")
        ):
            await self._hot(scope, receive, send)
        else:
            await self._pass(scope, receive, send=send)

    async def _pass(self, scope: Scope, receive: Receive, *, send: Send) -> None:
        started, status = perf_counter(), 0
        caller = greet(scope["headers"])
        scope["request_id"] = caller.request_id

        async def named(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", caller.request_id.encode())]
            await send(message)

        self._traffic.running += 1
        try:
            admit(scope, token=self._token, hosts=self._hosts)
            await self._inner(scope, packing.unpacked(scope, receive, limit=self._limit), named)
        except Turned as refusal:
            await answer_refusal(refusal, request_id=caller.request_id, send=named)
        except ClientDisconnect:
            status = 499
        except Exception:  # the edge: a fault inside must leave as an answer, with its name in the log
            log.exception(
                "a request failed inside the server", extra={"request_id": caller.request_id, "path": scope["path"]}
            )
            if not status:
                await answer_refusal(fault(), request_id=caller.request_id, send=named)
        finally:
            self._traffic.running -= 1
            seconds = perf_counter() - started
            route = template(scope)
            self._traffic.request(scope["method"], route, status=status, seconds=seconds)
            log.log(
                logging.INFO if status >= 400 or caller.named else logging.DEBUG,
                "%s %s %s",
                scope["method"],
                scope["path"],
                status,
                extra={"request_id": caller.request_id, "status": status, "ms": round(seconds * 1000, 3)},
            )


def fault() -> Turned:
    """The refusal for what should not have happened."""
    return Turned(
        500,
        code="internal_error",
        message="the server failed on this request; the log has the cause under its request id",
        remedy="report it with the request id",
    )


def unvouched() -> Turned:
    """The refusal of code for which the caller may not vouch."""
    return Turned(
        403,
        code="not_vouched",
        message="this request makes the server run code, and a caller over the network may not vouch for code",
        remedy="use the command line on the server's own data folder, or set server.trust = true",
    )


def switched_off(name: str) -> Turned:
    """The refusal of what is not essential while a model is overloaded."""
    return Turned(
        503,
        code="feature_disabled",
        message=f"{name} is not essential and is switched off while a model is overloaded",
        remedy="try again when modelkeep status shows no overload",
    )


def unrevealed() -> Turned:
    """The refusal to show who people are."""
    return Turned(
        403,
        code="not_revealed",
        message="features that tell who somebody is are shown to the owner of the data folder only",
        remedy="use the command line on the server's own data folder, or leave reveal out",
    )


def template(scope: Scope) -> str:
    """The route's own path, such as ``/v1/models/{model}``; what no route takes shares one name."""
    route = scope.get("route")
    return str(getattr(route, "path", "(none)")).replace(":path}", "}")


def greet(headers: Headers) -> Caller:
    """Who asks: the request id that came along, or a new one."""
    for name, value in headers:
        if name == b"x-request-id" and _ID.fullmatch(value):
            return Caller(request_id=value.decode(), named=True)
    return Caller(request_id=uuid.uuid4().hex, named=False)


def admit(scope: Scope, *, token: bytes, hosts: Hosts | None = None) -> None:
    """Let a request in, or raise Turned: no token, sent by another site's page, or to another name."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    if hosts is not None and scope["path"] not in OPEN:
        hosts.check(headers.get(b"host"))
    origin = headers.get(b"origin")
    if origin and scope["method"] not in _SAFE and origin.rpartition(b"//")[2] != headers.get(b"host"):
        raise Turned(403, code="cross_site", message=f"a page of {origin.decode('latin-1')} may not act here")
    if (
        token
        and scope["path"] not in OPEN
        and not hmac.compare_digest(_shown(headers.get(b"authorization", b"")), token)
    ):
        raise Turned(
            401, code="no_token", message="this server asks for its token", remedy="send Authorization: Bearer TOKEN"
        )


def _shown(header: bytes) -> bytes:
    """The token in an Authorization header: Bearer's, or Basic's password (what a browser can send)."""
    scheme, _, rest = header.partition(b" ")
    if scheme.lower() == b"basic":
        try:
            return base64.b64decode(rest, validate=True).partition(b":")[2]
        except ValueError:
            return b""
    return rest if scheme.lower() == b"bearer" else b""


async def answer_refusal(refusal: Turned, *, request_id: str, send: Send) -> None:
    """Send a refusal of the door."""
    content = refusals.body(refusal, request_id)
    headers = [JSON, (b"content-length", str(len(content)).encode()), *refusals.headers(refusal)]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
