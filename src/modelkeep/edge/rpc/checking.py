"""The standard health service of gRPC (``grpc.health.v1.Health``): of the whole server, of a service, of a model.

Source: the gRPC health checking protocol (grpc/grpc, doc/health-checking.md, and grpc/health/v1/health.proto).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from time import monotonic
from typing import TYPE_CHECKING

from anyio import to_thread

from modelkeep.edge import protocol
from modelkeep.edge.rpc import defining, messages
from modelkeep.edge.rpc.calling import Asker
from modelkeep.edge.rpc.defining import STREAM, Definition, Message
from modelkeep.errors import NotFound
from modelkeep.operations.status import trouble

if TYPE_CHECKING:
    from modelkeep.app import App

SERVICE = "grpc.health.v1.Health"
STATUS = "HealthCheckResponse.ServingStatus"
DEFINED = Definition(
    file="grpc/health/v1/health.proto",
    service=SERVICE,
    messages={
        "HealthCheckRequest": "string service = 1",
        "HealthCheckResponse": f"{STATUS} status = 1",
        "HealthListRequest": "",
        "HealthListResponse": "map:HealthCheckResponse statuses = 1",
    },
    methods={
        "Check": ("HealthCheckRequest", "HealthCheckResponse"),
        "List": ("HealthListRequest", "HealthListResponse"),
        "Watch": ("HealthCheckRequest", f"{STREAM}HealthCheckResponse"),
    },
    enums={STATUS: ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")},
)
MESSAGES = defining.made(DEFINED)
SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3
WHOLE = ""
"""The name of the whole server."""
EVERY = 0.5
"""Seconds between two looks for those who watch."""


class Checks:
    """Says how things stand, and goes on saying it to those who watch, until ``leave``."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.leaving = asyncio.Event()
        """Set when the server stops."""
        self._looking = asyncio.Lock()
        self._until, self._whole = 0.0, NOT_SERVING
        self.services = frozenset({SERVICE, messages.SERVICE})
        """Services by their full names: they answer, or nobody does."""

    def free(self, message: Message) -> bool:
        """What a probe may ask that has no token: it tells no name."""
        return message.service == WHOLE or message.service in self.services

    def leave(self) -> None:
        """Tell those who watch that it is over, and end their calls."""
        self.leaving.set()

    async def check(self, message: Message, _: Asker) -> Message:
        """How the server (no name), a service or a model stands now. Raises NotFound."""
        status = await self._status(message.service)
        if status == SERVICE_UNKNOWN:
            raise NotFound("model or service", message.service, known=self._names())
        return MESSAGES["HealthCheckResponse"](status=status)

    async def everything(self, _: Message, __: Asker) -> Message:
        """How everything stands, by name."""
        answer = MESSAGES["HealthListResponse"]()
        for name in (WHOLE, *self._names()):
            answer.statuses[name].status = await self._status(name)
        return answer

    async def watch(self, message: Message, _: Asker) -> AsyncIterator[Message]:
        """The same at once and whenever it has changed; of a name that nobody knows yet, too."""
        told = None
        while not self.leaving.is_set():
            status = await self._status(message.service)
            if status != told:
                told = status
                yield MESSAGES["HealthCheckResponse"](status=status)
            try:
                await asyncio.wait_for(self.leaving.wait(), EVERY)
            except TimeoutError:
                continue
        if told != NOT_SERVING:
            yield MESSAGES["HealthCheckResponse"](status=NOT_SERVING)

    def _names(self) -> list[str]:
        return sorted({*self._app.rooms.gateway.routes, *self.services})

    async def _status(self, name: str) -> int:
        if self.leaving.is_set():
            return NOT_SERVING
        if name in self.services:
            return SERVING
        if name == WHOLE:
            return await self._overall()
        if name not in self._app.rooms.gateway.routes:
            return SERVICE_UNKNOWN
        return SERVING if protocol.served(self._app, name).ready else NOT_SERVING

    async def _overall(self) -> int:
        """Whether all of the work can be done, looked at once for all who ask within a while."""
        async with self._looking:  # who comes while somebody looks waits for what is found
            if monotonic() >= self._until:
                self._whole = NOT_SERVING if await to_thread.run_sync(trouble, self._app) else SERVING
                self._until = monotonic() + EVERY
            return self._whole
