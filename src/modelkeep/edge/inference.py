"""The Open Inference Protocol (v2) over REST, and MLflow's ``/invocations``: other servers' clients work here as well.

Both ask the same gateway as every prediction, so their answers are recorded, counted, canaried and shadowed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
from anyio import to_thread
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from modelkeep.edge import decoding, hot, protocol, refusals, replies, tensors
from modelkeep.edge.bodies import answer, read
from modelkeep.edge.frames import Frames, rows_in
from modelkeep.edge.protocol import Inference, Served, ServerMetadata
from modelkeep.edge.refusals import Turned
from modelkeep.edge.tensors import Infer
from modelkeep.edge.traffic import Traffic
from modelkeep.errors import BadInput, ModelkeepError, NotFound, Problem
from modelkeep.nouns import Output
from modelkeep.operations.status import trouble
from modelkeep.serving.gateway import Ask

if TYPE_CHECKING:
    from modelkeep.app import App

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]
LENGTH = "Inference-Header-Content-Length"
INFER = "/v2/models/{model}/infer"
PINNED = "/v2/models/{model}/versions/{version}/infer"
_INFER, _FRAMES = msgspec.json.Decoder(Infer), msgspec.json.Decoder(Frames)


class Live(Struct, frozen=True, kw_only=True):
    """The server answers."""

    live: bool = True


class Ready(Struct, frozen=True, kw_only=True):
    """All of the work can be done."""

    ready: bool


class ModelReady(Struct, frozen=True, kw_only=True):
    """A model can be asked."""

    name: str
    ready: bool


class Refused(Struct, frozen=True, kw_only=True):
    """What went wrong, as the protocol has it: a sentence in ``error``; beside it what every refusal here says."""

    error: str
    code: str
    remedy: str
    problems: tuple[Problem, ...]
    request_id: str


class Invoked(Struct, frozen=True, kw_only=True):
    """MLflow's form of an answer."""

    predictions: list[Output | None]


class Uninvoked(Struct, frozen=True, kw_only=True):
    """MLflow's form of a refusal."""

    error_code: str
    message: str


def routes(app: App, traffic: Traffic) -> list[BaseRoute]:
    """The routes of both protocols."""
    limit = app.settings.server.body
    found: list[BaseRoute] = [
        Route("/v2", _server),
        Route("/v2/health/live", _live),
        Route("/v2/health/ready", _ready(app)),
        Route("/ping", _live),
        Route("/invocations", _invocations(app, traffic, limit=limit), methods=["POST"]),
    ]
    for path in ("/v2/models/{model:path}/versions/{version}", "/v2/models/{model:path}"):
        found += [
            Route(f"{path}/infer", _guarded(_infer(app, traffic, limit=limit)), methods=["POST"]),
            Route(f"{path}/ready", _guarded(_model_ready(app))),
            Route(path, _guarded(_metadata(app))),
        ]
    return found


async def _server(_: Request) -> Response:
    return answer(ServerMetadata())


async def _live(_: Request) -> Response:
    return answer(Live())


def _ready(app: App) -> Endpoint:
    async def ready(_: Request) -> Response:
        fine = not await to_thread.run_sync(trouble, app)
        return answer(Ready(ready=fine), 200 if fine else 503)

    return ready


def _metadata(app: App) -> Endpoint:
    async def metadata(request: Request) -> Response:
        return answer(_named(app, request).metadata)

    return metadata


def _model_ready(app: App) -> Endpoint:
    async def ready(request: Request) -> Response:
        model = _named(app, request)
        return answer(ModelReady(name=model.route.rollout.model, ready=model.ready), 200 if model.ready else 503)

    return ready


def _infer(app: App, traffic: Traffic, *, limit: int) -> Endpoint:
    async def infer(request: Request) -> Response:
        model, name = _named(app, request), request.scope["request_id"]
        body = await read(request.scope, request.receive, limit=limit)
        asked, binary = _parted(request, body)
        urgent = hot.urgency(request.scope)
        inference = Inference(asked=asked, binary=binary, request=name, priority=urgent)
        found = await protocol.infer(app, traffic, model=model, inference=inference)
        content, size = tensors.response(
            asked,
            tensors.Columns.told(found.predictions),
            signature=model.route.signature,
            parameters=protocol.marks(found, request=name),
        )
        if size:
            return Response(content, headers={LENGTH: str(size)}, media_type="application/octet-stream")
        return Response(content, media_type="application/json")

    return infer


def _invocations(app: App, traffic: Traffic, *, limit: int) -> Endpoint:
    async def invocations(request: Request) -> Response:
        try:
            route = protocol.served(app, _only(app, request)).route
            body = await read(request.scope, request.receive, limit=limit)
            given = _decoded(_FRAMES, body)
            rows = rows_in(given, route.signature)
            keys = [str(given.params.get("key", ""))] * len(rows)
            asked = Ask(model=route.rollout.model, rows=rows, keys=keys, request=request.scope["request_id"])
            found = await app.rooms.gateway.predict(asked)
            protocol.count(traffic, found)
            return answer(Invoked(predictions=[prediction.output for prediction in protocol.whole(found)]))
        except (ModelkeepError, Turned) as error:
            said = refusals.failure(error, "")
            code = "RESOURCE_DOES_NOT_EXIST" if isinstance(error, NotFound) else "BAD_REQUEST"
            status = refusals.status(error)
            word = code if status < 500 else "INTERNAL_ERROR"
            return answer(Uninvoked(error_code=word, message=f"{said.message}; {said.remedy}"), status)

    return invocations


# --------------------------------------------------------------------------------------------------- helpers


def _guarded(endpoint: Endpoint) -> Endpoint:
    """The endpoint with refusals in the protocol's form."""

    async def guarded(request: Request) -> Response:
        try:
            return await endpoint(request)
        except (ModelkeepError, Turned) as error:
            response = Response(
                _refused(error, request.scope["request_id"]),
                status_code=refusals.status(error),
                media_type="application/json",
            )
            response.headers.update({name.decode(): value.decode() for name, value in refusals.headers(error)})
            return response

    return guarded


def refusal(error: ModelkeepError | Turned, request: str) -> bytes:
    """A refusal as a whole answer, as the hot road sends it."""
    return replies.refusal(error, request, content=_refused(error, request))


def _refused(error: ModelkeepError | Turned, request: str) -> bytes:
    said = refusals.failure(error, request)
    told = said.message if not said.remedy else f"{said.message}; {said.remedy}"
    return msgspec.json.encode(
        Refused(error=told, code=said.code, remedy=said.remedy, problems=said.problems, request_id=said.request_id)
    )


def _named(app: App, request: Request) -> Served:
    """The model of a request's path. Raises NotFound."""
    return protocol.served(app, request.path_params["model"], version=request.path_params.get("version", ""))


def _only(app: App, request: Request) -> str:
    """The model that MLflow's form asks: the one that is named, or the only one there is. Raises BadInput."""
    named = request.query_params.get("model") or request.headers.get("x-model")
    if named:
        return named
    known = sorted(app.rooms.gateway.routes)
    if len(known) == 1:
        return known[0]
    raise BadInput.of("model", expected="/invocations?model=NAME, as several models answer here", got="nothing")


def _parted(request: Request, body: bytes) -> tuple[Infer, bytes]:
    """The JSON of a request and the bytes behind it."""
    said = request.headers.get(LENGTH)
    if said is None:
        return _decoded(_INFER, body), b""
    if not (said.isascii() and said.isdigit()) or int(said) > len(body):
        raise BadInput.of(LENGTH, expected=f"a length up to {len(body)}", got=repr(said)[:80])
    return _decoded(_INFER, body[: int(said)]), body[int(said) :]


def _decoded(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as complaint:
        raise decoding.refused(complaint) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
        raise decoding.unreadable(cause) from None
