"""The border of the gRPC port: every call passes it, and nothing but an answer or a status leaves through it.

It does what the border of REST does: names the request, asks for the token, counts, logs, and says what went wrong in
the same words, with the status of gRPC that comes nearest.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from time import perf_counter
from typing import Any, TypeAlias
from urllib.parse import unquote

import grpc
from msgspec import Struct

from modelkeep.edge import border, refusals
from modelkeep.edge.limits import Callers
from modelkeep.edge.refusals import Turned
from modelkeep.edge.rpc.defining import Message
from modelkeep.edge.traffic import Traffic
from modelkeep.errors import ModelkeepError, TimedOut

log = logging.getLogger("modelkeep.edge")
Call: TypeAlias = grpc.aio.ServicerContext[Any, Any]
Act: TypeAlias = Callable[[Message, "Asker"], Awaitable[Message]]
Flow: TypeAlias = Callable[[Any, "Asker"], AsyncIterator[Message]]
Free: TypeAlias = Callable[[Message], bool]
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
OPEN = "/health"
STREAMS = 200
"""So many streams (of health, of reflection) are open at a time."""


class Asker(Struct, frozen=True, kw_only=True):
    """Who asks: the request's name, and its headers and the caller's priority as a scope of REST has them."""

    request: str
    scope: dict[str, Any]


def never(_: Message) -> bool:
    """Nothing is free."""
    return False


class Calls:
    """Lets calls in, and their answers out."""

    def __init__(self, traffic: Traffic, *, token: str, callers: Callers | None) -> None:
        self.traffic, self.token, self.callers = traffic, token.encode(), callers
        self.streams = 0

    def handler(self, route: str, act: Act, *, free: Free = never) -> Callable[[Message, Call], Awaitable[Message]]:
        """What gRPC calls for the method ``route``, which is done by ``act``; what is ``free`` needs no token."""

        async def handle(message: Message, call: Call) -> Message:
            async with _Passage(self, call, route=route, free=free(message)) as asker:
                # Who stops waiting does not undo what was asked: it is answered, recorded and counted to its end.
                return await asyncio.shield(act(message, asker))

        return handle

    def stream(self, route: str, act: Flow, *, free: Free = never) -> Callable[[Any, Call], AsyncIterator[Message]]:
        """The same for a method that answers many times; ``act`` gets what the method asks, one or many."""

        async def handle(asked: Any, call: Call) -> AsyncIterator[Message]:
            async with _Passage(self, call, route=route, free=free(asked), lasts=True) as asker:
                async for answer in act(asked, asker):
                    yield answer

        return handle


async def heard(requests: AsyncIterator[Message], *, leaving: asyncio.Event) -> AsyncIterator[Message]:
    """The requests of a stream, until the server is ``leaving``: a caller may keep silent for ever."""
    over = asyncio.ensure_future(leaving.wait())
    following: asyncio.Future[Message | None] = over  # type: ignore[assignment]
    try:
        while not leaving.is_set():
            following = asyncio.ensure_future(_next(requests))
            await asyncio.wait({over, following}, return_when=asyncio.FIRST_COMPLETED)
            if not following.done() or (request := following.result()) is None:
                return
            yield request
    finally:
        over.cancel()
        following.cancel()


async def _next(requests: AsyncIterator[Message]) -> Message | None:
    return await anext(requests, None)


class _Passage:
    """One call on its way through the border. Entering and leaving end the call with its status when it is refused."""

    def __init__(self, calls: Calls, call: Call, *, route: str, free: bool, lasts: bool = False) -> None:
        self._calls, self._call, self._route, self._free, self._lasts = calls, call, route, free, lasts
        # What needs no token is to the rules what the open health routes of REST are.
        self._scope: dict[str, Any] = {"headers": _headers(call), "method": "POST", "path": OPEN if free else ""}
        self._caller = border.greet(self._scope["headers"])
        self._started = perf_counter()

    async def __aenter__(self) -> Asker:
        self._counted(1)
        try:
            self._admit()
        except (ModelkeepError, Turned) as refused:
            await self._end(refused)
        return Asker(request=self._caller.request_id, scope=self._scope)

    async def __aexit__(self, *raised: object) -> None:
        error = raised[1]
        if error is None or isinstance(error, ModelkeepError | Turned):
            await self._end(error)
        elif isinstance(error, Exception):  # the edge: a fault inside must leave as an answer, with its name in the log
            extra = {"request_id": self._caller.request_id, "call": self._route}
            log.error("a call failed inside the server", exc_info=error, extra=extra)
            await self._end(border.fault())
        else:
            self._told(200 if self._lasts else LATE if _left(self._call) <= 0 else GONE)

    async def _end(self, refusal: ModelkeepError | Turned | None) -> None:
        self._told(200 if refusal is None else refusals.status(refusal))
        if refusal is not None:
            await _refuse(self._call, refusal, request=self._caller.request_id)

    def _counted(self, one: int) -> None:
        """A stream is not work under way: it is there to wait."""
        if self._lasts:
            self._calls.streams += one
        else:
            self._calls.traffic.running += one

    def _admit(self) -> None:
        """Let a call in. Raises Turned: no token, too many of them; TimedOut when nobody waits for it any more."""
        if self._calls.callers is not None and not self._free:
            caller = self._calls.callers.take(self._scope["headers"], _address(self._call))
            if caller.refusal is not None:
                raise caller.refusal
            if caller.priority is not None:
                self._scope["priority"] = caller.priority
        border.admit(self._scope, token=self._calls.token)
        if self._calls.streams > STREAMS:
            raise Turned(429, code="too_many_streams", message=f"{STREAMS} streams are open", remedy="close some")
        if _left(self._call) <= 0:
            raise TimedOut("the call's deadline had passed before it was looked at", remedy="give it more time")

    def _told(self, status: int) -> None:
        """Count and log the call."""
        self._counted(-1)
        seconds = perf_counter() - self._started
        self._calls.traffic.request(METHOD, self._route, status=status, seconds=seconds)
        log.log(
            logging.INFO if status >= 400 or self._caller.named else logging.DEBUG,
            "%s %s %s", METHOD, self._route, status,
            extra={"request_id": self._caller.request_id, "status": status, "ms": round(seconds * 1000, 3)},
        )  # fmt: skip


async def _refuse(call: Call, error: ModelkeepError | Turned, *, request: str) -> None:
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
