"""The gRPC port: the service of the Open Inference Protocol, in the server's own event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from anyio import to_thread

from modelkeep.edge import hot, protocol
from modelkeep.edge.limits import Callers
from modelkeep.edge.protocol import Inference, ServerMetadata
from modelkeep.edge.rpc import translating
from modelkeep.edge.rpc.calling import Act, Asker, Calls
from modelkeep.edge.rpc.messages import MESSAGES, SERVICE, Message
from modelkeep.edge.tensors import Columns
from modelkeep.edge.traffic import Traffic
from modelkeep.errors import BadSettings
from modelkeep.operations.status import trouble

if TYPE_CHECKING:
    from modelkeep.app import App

GRACE = 10.0
"""Seconds that a stop gives to calls that are being answered."""
STREAMS = 1024
"""Calls of one connection that are answered at a time; a caller who has not been told so yet may be turned away."""


class Service:
    """The methods of the protocol."""

    def __init__(self, app: App, traffic: Traffic) -> None:
        self._app, self._traffic = app, traffic

    @property
    def acts(self) -> dict[str, Act]:
        """Every method by its name."""
        return {
            "ServerLive": self._live,
            "ServerReady": self._ready,
            "ServerMetadata": self._server,
            "ModelReady": self._model_ready,
            "ModelMetadata": self._model,
            "ModelInfer": self._infer,
        }

    async def _live(self, _: Message, __: Asker) -> Message:
        return MESSAGES["ServerLiveResponse"](live=True)

    async def _ready(self, _: Message, __: Asker) -> Message:
        return MESSAGES["ServerReadyResponse"](ready=not await to_thread.run_sync(trouble, self._app))

    async def _server(self, _: Message, __: Asker) -> Message:
        return translating.server_metadata(ServerMetadata())

    async def _model_ready(self, message: Message, _: Asker) -> Message:
        model = protocol.served(self._app, message.name, version=message.version)
        return MESSAGES["ModelReadyResponse"](ready=model.ready)

    async def _model(self, message: Message, _: Asker) -> Message:
        return translating.model_metadata(protocol.served(self._app, message.name, version=message.version).metadata)

    async def _infer(self, message: Message, asker: Asker) -> Message:
        model = protocol.served(self._app, message.model_name, version=message.model_version)
        asked, binary = translating.infer_of(message)
        urgent = hot.urgency(asker.scope)
        inference = Inference(asked=asked, binary=binary, request=asker.request, priority=urgent)
        found = await protocol.infer(self._app, self._traffic, model=model, inference=inference)
        return translating.response(
            message,
            asked,
            found=Columns.told(found.predictions),
            signature=model.route.signature,
            told=protocol.marks(found, request=asker.request),
        )


class Listener:
    """Answers calls on one port, which other processes of this user may share."""

    def __init__(self, app: App, traffic: Traffic, *, address: str, callers: Callers | None) -> None:
        settings = app.settings.server
        calls = Calls(traffic, token=settings.token.reveal() if settings.token else "", callers=callers)
        self._address = address
        self._patience, self._largest = settings.patience, settings.body
        self._handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                calls.handler(name, act),
                request_deserializer=MESSAGES[f"{name}Request"].FromString,
                response_serializer=MESSAGES[f"{name}Response"].SerializeToString,
            )
            for name, act in Service(app, traffic).acts.items()
        }
        self._server: Any = None

    async def start(self) -> None:
        """Listen, in the running loop. Raises BadSettings when the port is taken."""
        options = (
            ("grpc.so_reuseport", 1),
            ("grpc.max_receive_message_length", self._largest),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_concurrent_streams", STREAMS),
            ("grpc.server_handshake_timeout_ms", int(self._patience * 1000)),
        )
        self._server = grpc.aio.server(options=options)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, self._handlers),))
        try:
            self._server.add_insecure_port(self._address)
        except RuntimeError:
            raise BadSettings(
                f"cannot listen on {self._address} for gRPC", remedy="another server has it? choose another server.grpc"
            ) from None
        await self._server.start()

    async def stop(self) -> None:
        """Take no more calls, and finish those that have begun."""
        if self._server is not None:
            await self._server.stop(GRACE)
            self._server = None
