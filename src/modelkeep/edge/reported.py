"""The page of a report: the HTML file as it was written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from modelkeep.errors import NotFound
from modelkeep.jobs import reports

if TYPE_CHECKING:
    from modelkeep.app import App

_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
"""The file brings its own style and has no script."""


def routes(app: App) -> list[BaseRoute]:
    """The route of the page."""

    async def page(request: Request) -> Response:
        wanted = request.path_params["id"]
        path = await to_thread.run_sync(reports.page_of, app.rooms, wanted)
        if path is None:
            raise NotFound("report", wanted, known=[])
        return HTMLResponse(await to_thread.run_sync(path.read_bytes), headers=_HEADERS)

    return [Route("/reports/{id}", page, name="report")]
