"""Bodies: reading a request's within a limit, and answering with JSON."""

from __future__ import annotations

import msgspec
from msgspec import Struct
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope

from modelkeep.edge.refusals import Turned


def answer(value: Struct, status: int = 200) -> Response:
    """A result as JSON."""
    return Response(msgspec.json.encode(value), status_code=status, media_type="application/json")


def too_large(limit: int) -> Turned:
    """The refusal of a body above the limit."""
    return Turned(
        413,
        code="too_large",
        message=f"the body is larger than {limit} bytes",
        remedy="send less, or raise server.body",
    )


async def read(scope: Scope, receive: Receive, *, limit: int) -> bytes:
    """The whole body. Raises Turned (413) as soon as it is, or says it is, above ``limit`` bytes."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > limit:
            raise too_large(limit)
    found, total = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        piece = message.get("body", b"")
        total += len(piece)
        if total > limit:
            raise too_large(limit)
        found.append(piece)
        if not message.get("more_body", False):
            return b"".join(found)
