"""The routes of the pages; ``rest`` mounts them, and guards them as every other route."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from modelkeep.edge.pages.graphs import RANGES
from modelkeep.edge.pages.panels import Panels
from modelkeep.edge.pages.render import Asset, Renderer
from modelkeep.edge.pages.views import Sources
from modelkeep.edge.pages.watched import Watched
from modelkeep.errors import NotFound, Unavailable
from modelkeep.workload import workloads

if TYPE_CHECKING:
    from modelkeep.app import App

USUAL = 30
"""Days of charts that a page shows unless asked for others."""
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


class Pages:
    """The web pages of one app: ``routes`` to mount, ``stop`` to call when the server is asked to end.

    A stream of events does not end by itself, and a server waits for its answers: without ``stop`` it waits for ever.
    """

    def __init__(self, sources: Sources, panels: Panels | None = None) -> None:
        self._renderer = Renderer()
        self._watched = Watched(sources, self._renderer, panels=panels)
        self.routes: list[BaseRoute] = [
            Route("/", self._page, name="overview"),
            Route("/models/{model:path}", self._page, name="model"),
            Route("/workloads/{workload}", self._panel, name="workload"),
            Route("/events", self._events, name="events"),
            *(Route(asset.path, _served(asset), name=name) for name, asset in self._renderer.assets.items()),
        ]

    def ready(self) -> None:
        """Bring in what pages need before one is asked for; from any thread."""
        self._renderer.ready()

    def stop(self) -> None:
        """End every open stream within half a second; from any thread, or a signal handler."""
        self._watched.stop()

    async def _page(self, request: Request) -> Response:
        try:
            rendered, whole = await self._watched.look(request.path_params.get("model"), _days(request))
        except NotFound as missing:
            text = self._renderer.missing(missing.message, missing.near)
            return HTMLResponse(text, status_code=404, headers=_HEADERS)
        return HTMLResponse(rendered.page, status_code=200 if whole else 503, headers=_HEADERS)

    async def _panel(self, request: Request) -> Response:
        try:
            rendered, whole = await self._watched.look(None, USUAL, workload=request.path_params["workload"])
        except NotFound as missing:
            text = self._renderer.missing(missing.message, missing.near, folder="workloads")
            return HTMLResponse(text, status_code=404, headers=_HEADERS)
        return HTMLResponse(rendered.page, status_code=200 if whole else 503, headers=_HEADERS)

    async def _events(self, request: Request) -> Response:
        model, days = request.query_params.get("model"), _days(request)
        workload = request.query_params.get("workload", "")
        try:
            await self._watched.look(model, days, workload=workload)
            self._watched.enter()
        except NotFound as missing:
            return PlainTextResponse(str(missing), status_code=404)
        except Unavailable as full:
            return PlainTextResponse(str(full), status_code=503, headers={"retry-after": "30"})
        return _Listener(self._watched, self._watched.stream(model, days, workload=workload))


class _Listener(StreamingResponse):
    """One open page; its place is given back however the connection ends."""

    def __init__(self, watched: Watched, events: AsyncIterator[bytes]) -> None:
        super().__init__(events, media_type="text/event-stream", headers=_HEADERS)
        self._watched = watched

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: PLR0917 - ASGI's own shape
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._watched.leave()


def pages(app: App) -> Pages:
    """The pages of an app."""
    rooms = app.rooms
    panels = Panels({each.name: partial(each.panel, app) for each in workloads(app) if each.panel is not None})
    return Pages(
        Sources(
            store=rooms.store,
            clock=rooms.clock,
            recording=lambda: rooms.recorder.state,
            failures=lambda: rooms.router.failures,
            rules=rooms.book.rules,
            shown=panels.shown,
        ),
        panels,
    )


def _days(request: Request) -> int:
    """The range of the charts; anything that is not offered is the usual one."""
    asked = request.query_params.get("days", "")
    return int(asked) if asked in {str(days) for days in RANGES} else USUAL


def _served(asset: Asset) -> Callable[[Request], Awaitable[Response]]:
    response_headers = {"cache-control": "public, max-age=31536000, immutable", "x-content-type-options": "nosniff"}

    async def serve(_: Request) -> Response:
        return Response(asset.content, media_type=asset.kind, headers=response_headers)

    return serve
