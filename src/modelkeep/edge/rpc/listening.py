"""The gRPC port, in the server's own event loop: the service of the Open Inference Protocol, health, reflection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import grpc
from anyio import to_thread

from modelkeep.edge import hot, protocol
from modelkeep.edge.limits import Callers
from modelkeep.edge.protocol import Inference, ServerMetadata
from modelkeep.edge.rpc import checking, reflecting, securing, translating
from modelkeep.edge.rpc.calling import Act, Asker, Calls, Free, never
from modelkeep.edge.rpc.defining import Message
from modelkeep.edge.rpc.messages import MESSAGES, SERVICE
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
    """Answers calls on one port, which other processes of this user may share. Raises BadSettings for its TLS."""

    def __init__(self, app: App, traffic: Traffic, *, address: str, callers: Callers | None) -> None:
        settings = app.settings.server
        self._calls = Calls(traffic, token=settings.token.reveal() if settings.token else "", callers=callers)
        self._address = address
        self._patience, self._largest = settings.patience, settings.body
        self._acts = Service(app, traffic).acts
        self._app = app
        self._credentials = securing.credentials(app.settings)
        self._server: Any = None
        self._checks: checking.Checks | None = None

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
        self._checks = checking.Checks(self._app)
        self._server.add_generic_rpc_handlers(self._handlers(self._checks))
        try:
            if self._credentials is None:
                self._server.add_insecure_port(self._address)
            else:
                self._server.add_secure_port(self._address, self._credentials)
        except RuntimeError:
            raise BadSettings(
                f"cannot listen on {self._address} for gRPC", remedy="another server has it? choose another server.grpc"
            ) from None
        await self._server.start()

    async def stop(self) -> None:
        """Take no more calls, and finish those that have begun."""
        if self._server is not None and self._checks is not None:
            self._checks.leave()
            await self._server.stop(GRACE)
            self._server = None

    def _handlers(self, checks: checking.Checks) -> list[grpc.GenericRpcHandler]:
        """Every service of the port: the protocol's, health, and reflection, which tells of them all."""
        found = {
            SERVICE: {name: self._single(SERVICE, name, act=act, messages=MESSAGES) for name, act in self._acts.items()}
        }
        health = checking.SERVICE
        watching = self._calls.stream(f"{health}/Watch", checks.watch, free=checks.free)
        found[health] = {
            "Check": self._single(
                health, "Check", act=checks.check, messages=checking.MESSAGES, free=checks.free, kind="HealthCheck"
            ),
            "List": self._single(health, "List", act=checks.everything, messages=checking.MESSAGES, kind="HealthList"),
            "Watch": grpc.unary_stream_rpc_method_handler(watching, **_forms(checking.MESSAGES, "HealthCheck")),
        }
        name = "ServerReflectionInfo"
        for service, messages in reflecting.MESSAGES.items():
            mirror = reflecting.Mirror(messages, lambda: sorted(found), leaving=checks.leaving)
            act = self._calls.stream(f"{service}/{name}", mirror.info)
            forms = _forms(messages, "ServerReflection")
            found[service] = {name: grpc.stream_stream_rpc_method_handler(act, **forms)}
        return [grpc.method_handlers_generic_handler(service, methods) for service, methods in found.items()]

    def _single(
        self, service: str, name: str, *, act: Act, messages: Mapping[str, Message], free: Free = never, kind: str = ""
    ) -> grpc.RpcMethodHandler:
        """The handler of a method with one question and one answer."""
        handle = self._calls.handler(f"{service}/{name}", act, free=free)
        return grpc.unary_unary_rpc_method_handler(handle, **_forms(messages, kind or name))


def _forms(messages: Mapping[str, Message], kind: str) -> dict[str, Any]:
    """How a method's question and answer are read and written."""
    return {
        "request_deserializer": messages[f"{kind}Request"].FromString,
        "response_serializer": messages[f"{kind}Response"].SerializeToString,
    }
