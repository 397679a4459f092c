"""The border of the gRPC port: every call passes it, and nothing but an answer or a status leaves through it.

It does what the border of REST does: names the request, asks for the token, counts, logs, and says what went wrong in
the same words, with the status of gRPC that comes nearest.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, TypeAlias
from urllib.parse import unquote

import grpc
from msgspec import Struct

from modelkeep.edge import border, refusals
from modelkeep.edge.limits import Callers
from modelkeep.edge.refusals import Turned
from modelkeep.edge.rpc.messages import SERVICE, Message
from modelkeep.edge.traffic import Traffic
from modelkeep.errors import ModelkeepError, TimedOut

log = logging.getLogger("modelkeep.edge")
Call: TypeAlias = grpc.aio.ServicerContext[Any, Any]
Act: TypeAlias = Callable[[Message, "Asker"], Awaitable[Message]]
STATUS = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""What a status of REST is here; any other is ``INTERNAL``."""
LONGEST = 2000
"""Characters of a refusal at most: it travels in the trailers, which callers take up to 8 KB of."""
METHOD = "GRPC"
GONE, LATE = 499, 504


class Asker(Struct, frozen=True, kw_only=True):
    """Who asks: the request's name, and its headers and the caller's priority as a scope of REST has them."""

    request: str
    scope: dict[str, Any]


class Calls:
    """Lets calls in, and their answers out."""

    def __init__(self, traffic: Traffic, *, token: str, callers: Callers | None) -> None:
        self._traffic, self._token, self._callers = traffic, token.encode(), callers

    def handler(self, name: str, act: Act) -> Callable[[Message, Call], Awaitable[Message]]:
        """What gRPC calls for the method ``name``, which is done by ``act``."""

        async def handle(message: Message, call: Call) -> Message:
            started, status = perf_counter(), 200
            scope: dict[str, Any] = {"headers": _headers(call), "method": "POST", "path": ""}
            caller = border.greet(scope["headers"])
            refusal: ModelkeepError | Turned | None = None
            self._traffic.running += 1
            try:
                self._admit(scope, call)
                # Who stops waiting does not undo what was asked: it is answered, recorded and counted to its end.
                return await asyncio.shield(act(message, Asker(request=caller.request_id, scope=scope)))
            except (ModelkeepError, Turned) as refused:
                refusal = refused
            except asyncio.CancelledError:
                status = LATE if _left(call) <= 0 else GONE
                raise
            except Exception:  # the edge: a fault inside must leave as an answer, with its name in the log
                log.exception("a call failed inside the server", extra={"request_id": caller.request_id, "call": name})
                refusal = border.fault()
            finally:
                self._traffic.running -= 1
                status = status if refusal is None else refusals.status(refusal)
                self._count(name, caller, status=status, seconds=perf_counter() - started)
            return await _refuse(call, refusal, request=caller.request_id)

        return handle

    def _admit(self, scope: dict[str, Any], call: Call) -> None:
        """Let a call in. Raises Turned: no token, too many of them; TimedOut when nobody waits for it any more."""
        if self._callers is not None:
            caller = self._callers.take(scope["headers"], _address(call))
            if caller.refusal is not None:
                raise caller.refusal
            if caller.priority is not None:
                scope["priority"] = caller.priority
        border.admit(scope, token=self._token)
        if _left(call) <= 0:
            raise TimedOut("the call's deadline had passed before it was looked at", remedy="give it more time")

    def _count(self, name: str, caller: border.Caller, *, status: int, seconds: float) -> None:
        self._traffic.request(METHOD, f"{SERVICE}/{name}", status=status, seconds=seconds)
        log.log(
            logging.INFO if status >= 400 or caller.named else logging.DEBUG,
            "%s %s %s", METHOD, name, status,
            extra={"request_id": caller.request_id, "status": status, "ms": round(seconds * 1000, 3)},
        )  # fmt: skip


async def _refuse(call: Call, error: ModelkeepError | Turned, *, request: str) -> Message:
    """End a call with what went wrong; beside the sentence its stable word, and when to come back. It never returns."""
    said = refusals.failure(error, request)
    told = said.message if not said.remedy else f"{said.message}; {said.remedy}"
    again = [(name.decode(), value.decode()) for name, value in refusals.headers(error) if name == b"retry-after"]
    await call.abort(
        STATUS.get(refusals.status(error), grpc.StatusCode.INTERNAL),
        told[:LONGEST],
        trailing_metadata=(("x-request-id", request), ("error-code", said.code), *again),
    )


def _headers(call: Call) -> border.Headers:
    return [
        (name.encode(), value if isinstance(value, bytes) else value.encode("latin-1", "replace"))
        for name, value in call.invocation_metadata() or ()
    ]


def _left(call: Call) -> float:
    """Seconds until the caller stops waiting."""
    left = call.time_remaining()
    return math.inf if left is None else float(left)


def _address(call: Call) -> str:
    """The caller's address out of ``ipv4:127.0.0.1:50000`` or ``ipv6:%5B::1%5D:50000``."""
    return unquote(call.peer()).partition(":")[2].rpartition(":")[0].strip("[]")
