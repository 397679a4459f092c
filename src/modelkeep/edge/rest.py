"""REST: one route for every operation, made from its definition."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
from anyio import to_thread
from msgspec import Struct
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from modelkeep.edge import (
    KEY_HEADER,
    border,
    decoding,
    forms,
    health,
    hot,
    inference,
    mounting,
    openapi,
    packing,
    refusals,
    reported,
    streaming,
)
from modelkeep.edge.behind import Step
from modelkeep.edge.bodies import answer, too_large
from modelkeep.edge.border import Border, fault
from modelkeep.edge.hosts import Hosts
from modelkeep.edge.limits import Callers, Limits
from modelkeep.edge.machine import Machine
from modelkeep.edge.refusals import Turned
from modelkeep.edge.traffic import Traffic
from modelkeep.edge.vitals import Vitals
from modelkeep.errors import BadInput, ModelkeepError, Refused
from modelkeep.jobs.probing import Probing
from modelkeep.operations import uploads
from modelkeep.operations.act import Operation
from modelkeep.operations.uploads import Incoming
from modelkeep.store.repeating import repeated

if TYPE_CHECKING:
    from modelkeep.app import App

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]


class Uploaded(Struct, frozen=True, kw_only=True):
    """The digest under which a file is kept, and its size in bytes."""

    digest: str
    size: int


def build(
    app: App,
    *,
    key: str = "",
    pages: Sequence[BaseRoute] = (),
    traffic: Traffic | None = None,
    callers: Callers | None = None,
    later: list[Step] | None = None,
) -> ASGIApp:
    """The whole server as one ASGI application; ``pages`` are routes of the web pages.

    ``traffic`` is where requests are counted, ``callers`` what each caller may, where that is limited. ``later`` gets
    the steps that bring in what is not there yet (see ``behind``).

    Whoever sends ``key`` may vouch for code; nobody may when it is empty and the setting ``server.trust`` is false.
    Raises BadSettings when two acts want one route.
    """
    traffic = traffic or Traffic()
    limit, token = app.settings.server.body, app.settings.server.token
    secret = token.reveal() if token else ""
    app.probes.append(Probing(workload="server", probe=Vitals(traffic)))
    app.probes.append(Probing(workload="server", probe=Machine()))
    acts: list[Operation[Any, Any]] = []
    own: list[BaseRoute] = [
        Route("/openapi.json", openapi.endpoint(acts)),
        Route("/v1/files", _upload(app), methods=["POST", "PUT"]),
        Route("/metrics", _metrics(app, traffic, later=[] if later is None else later)),
        *health.routes(app),
        *reported.routes(app),
        *inference.routes(app, traffic),
        *pages,
    ]
    acts += mounting.mounted(app.extensions, own)
    routes: list[BaseRoute] = [
        *(_route(app, act, limit=limit, key=key) for act in mounting.ordered(acts) if not act.hot),
        *own,
    ]
    handlers = {HTTPException: _no_route, ModelkeepError: _refuse, Turned: _refuse, Exception: _fault}
    inner = Starlette(routes=routes, exception_handlers=handlers)
    hosts = Hosts(app.settings.server)
    road = hot.route(app, traffic, hosts=hosts, limit=limit, token=secret)
    whole = Border(inner, hot=road, traffic=traffic, hosts=hosts, limit=limit, token=secret)
    return whole if callers is None else Limits(whole, callers, traffic=traffic)


def _metrics(app: App, traffic: Traffic, *, later: list[Step]) -> Endpoint:
    """The route ``/metrics``, whose library comes in behind the start."""

    @cache
    def made() -> Endpoint:
        found: Endpoint = import_module("modelkeep.edge.metrics").endpoint(app, traffic)
        return found

    async def scrape(request: Request) -> Response:
        return await (await to_thread.run_sync(made))(request)

    later.append(made)
    return scrape


def _route(app: App, operation: Operation[Any, Any], *, limit: int, key: str) -> Route:
    names = [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]
    types = cache(partial(_types, operation.request))

    def from_path(values: Mapping[str, str]) -> dict[str, Any]:
        try:
            return {n: msgspec.convert(values[n], type=types()[n], strict=False) for n in names}
        except msgspec.ValidationError as complaint:
            name = next(n for n in names if _unfit(values[n], types()[n]))
            expected = decoding.problem(complaint).expected
            raise BadInput.of(name, expected=expected, got=repr(values[name])[:80]) from None

    async def asked(request: Request) -> Any:
        values = from_path(request.path_params)
        if operation.method in {"GET", "DELETE"}:
            found = decoding.spread(operation.request, forms.query(request))
            return decoding.build(operation.request, {**found, **values}, strict=False)
        body, texts = await forms.given(request, limit=limit, upload=operation.upload, many=operation.many)
        body = decoding.spread(operation.request, body) if texts else body
        forms.unlike_path(body, values)
        return decoding.build(operation.request, {**body, **values}, strict=not texts)

    async def act(request: Request) -> Response:
        try:
            _spare(app, operation)
            if streaming.streams(operation, request):
                return await streaming.stream(app, operation, request=request)
            wanted = await asked(request)
            if not (app.settings.server.trust or _vouches(request, key)):
                _refuse_stranger(operation, wanted)
            result = await to_thread.run_sync(_done, operation, lambda: operation.run(app, wanted))
        except (ModelkeepError, Turned) as error:
            if operation.refusal is None:
                raise
            return _shaped(operation.refusal, error, at=app.rooms.clock.now())
        return await packing.answer(result, operation.status, headers=request.scope["headers"])

    return Route(mounting.path_of(operation), act, methods=[operation.method], name=operation.name)


def _types(request: type[Struct]) -> Mapping[str, Any]:
    return {field.encode_name: field.type for field in msgspec.structs.fields(request)}


def _done(operation: Operation[Any, Any], run: Callable[[], Struct]) -> Struct:
    """The result of an act; a question is asked again when the connection to the store breaks in the middle of it."""
    return repeated(run) if operation.method == "GET" else run()


def _spare(app: App, operation: Operation[Any, Any]) -> None:
    """Raise Turned for what is not essential while a model is overloaded."""
    if not operation.essential and app.rooms.gateway.admission.strained:
        raise border.switched_off(operation.name)


def _shaped(shape: Callable[[ModelkeepError, float], Struct], error: ModelkeepError | Turned, *, at: float) -> Response:
    """A refusal in the shape that the act has chosen, with the status that it has anyway."""
    if isinstance(error, Turned):
        said: ModelkeepError = Refused(error.failure.message, remedy=error.failure.remedy)
        said.code = error.failure.code
    else:
        said = error
    headers = {name.decode(): value.decode() for name, value in refusals.headers(error)}
    response = answer(shape(said, at), refusals.status(error))
    response.headers.update(headers)
    return response


def _refuse_stranger(operation: Operation[Any, Any], wanted: Struct) -> None:
    """Raise Turned for what only the owner of the data folder may ask: to run code, to see who people are."""
    if operation.runs_code(wanted):
        raise border.unvouched()
    if operation.reveals(wanted):
        raise border.unrevealed()


def _vouches(request: Request, key: str) -> bool:
    sent = request.headers.get(KEY_HEADER, "").encode("latin-1", "replace")
    return bool(key) and hmac.compare_digest(sent, key.encode())


def _unfit(value: str, kind: Any) -> bool:
    try:
        msgspec.convert(value, type=kind, strict=False)
    except msgspec.ValidationError:
        return True
    return False


def _upload(app: App) -> Endpoint:
    async def upload(request: Request) -> Response:
        incoming = await to_thread.run_sync(Incoming, app)
        try:
            async for piece in request.stream():
                if incoming.size + len(piece) > uploads.MOST:
                    raise too_large(uploads.MOST)
                await to_thread.run_sync(incoming.write, piece)
            if not incoming.size:
                raise Turned(400, code="empty", message="the body is empty", remedy="send the file's bytes as the body")
            digest = await to_thread.run_sync(incoming.done)
        finally:
            incoming.drop()
        return answer(Uploaded(digest=digest, size=incoming.size), 201)

    return upload


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, ModelkeepError | Turned)  # noqa: S101 - registered for these two only
    headers = {name.decode(): value.decode() for name, value in refusals.headers(error)}
    content = refusals.body(error, request.scope.get("request_id", ""))
    return Response(content, status_code=refusals.status(error), headers=headers, media_type="application/json")


async def _fault(request: Request, _: Exception) -> Response:
    """Starlette answers with this and raises the fault again, for the border to log."""
    return await _refuse(request, fault())


async def _no_route(request: Request, error: Exception) -> Response:
    """What Starlette itself refuses: no such path, or not with this method."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it only
    code = {404: "no_route", 405: "wrong_method"}.get(error.status_code, "refused")
    refusal = Turned(
        error.status_code,
        code=code,
        message=f"{request.method} {request.url.path}: {error.detail.lower()}",
        remedy="every route is in /openapi.json",
    )
    response = await _refuse(request, refusal)
    response.headers.update(error.headers or {})
    return response
