"""Compressed bodies: a request's is unpacked as it comes, within bounds, and a large answer is packed for who takes it.

What unpacks to more than the server's limit is refused as soon as it does, by whoever reads the body; a stream of lines
has no such limit, so one that unpacks to far more than any lines do is refused as well. No more than a piece is ever
unpacked ahead.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import MutableMapping
from typing import Any, TypeAlias

import msgspec
from anyio import to_thread
from msgspec import Struct
from starlette.responses import Response
from starlette.types import Receive, Scope

from modelkeep.edge.refusals import Turned
from modelkeep.errors import BadInput

Headers: TypeAlias = list[tuple[bytes, bytes]]
TAKEN = "gzip, deflate"
PIECE = 256 * 1024
"""Bytes that are unpacked at once."""
MOST = 200
"""Lines that are all alike pack to about a hundredth; what unpacks to more than this many times its size is a bomb."""
LARGE = 64 * 1024
"""Answers of fewer bytes are sent as they are."""
_NAME = b"content-encoding"
_EITHER = 47
"""zlib's word for: gzip or zlib, as the first bytes say."""


def unpacked(scope: Scope, receive: Receive, *, limit: int) -> Receive:
    """What receives the body as it was before the caller packed it; ``limit`` bytes may always come out of it.

    Raises Turned (415) for an encoding that is not known.
    """
    said = b",".join(value for name, value in scope["headers"] if name == _NAME).strip().lower()
    if not said or said == b"identity":
        return receive
    if said not in {b"gzip", b"x-gzip", b"deflate"}:
        raise Turned(
            415,
            code="unknown_encoding",
            message=f"Content-Encoding: expected {TAKEN} or none, got {said.decode('latin-1')[:80]!r}",
            remedy="send the body as it is, or packed by gzip",
            headers=[(b"accept-encoding", TAKEN.encode())],
        )
    return _Unpacking(receive, limit=limit)


class _Unpacking:
    """Receives pieces of a body, unpacked. Called, raises BadInput for what cannot be, Turned for what is too much."""

    def __init__(self, receive: Receive, *, limit: int) -> None:
        self._receive, self._limit = receive, limit
        self._unpacker = zlib.decompressobj(wbits=_EITHER)
        self._waiting = b""
        self._more, self._begun = True, False
        self._came = self._out = 0

    async def __call__(self) -> MutableMapping[str, Any]:
        """The next piece."""
        if self._waiting:
            await asyncio.sleep(0)  # others have their turn between the pieces of one that is large
        while self._more and not self._waiting:
            message = await self._receive()
            if message["type"] != "http.request":
                return message
            self._waiting = message.get("body", b"")
            self._more = message.get("more_body", False)
            self._came += len(self._waiting)
        body = self._next()
        ahead = bool(self._waiting) or self._more
        if not ahead and self._begun and not self._unpacker.eof:
            rest = self._unpack(b"")
            if not rest and not self._unpacker.eof:
                raise BadInput("the body cannot be unpacked: it ends in the middle", remedy="send it whole")
            body += rest
            ahead = not self._unpacker.eof
        self._out += len(body)
        if self._out > self._limit and self._out > MOST * self._came:
            raise Turned(
                413,
                code="too_large",
                message=f"the body unpacks to more than {MOST} times its size ({self._came} bytes)",
                remedy="send it as it is",
            )
        return {"type": "http.request", "body": body, "more_body": ahead}

    def _next(self) -> bytes:
        """Some bytes out of those that wait; a packed body may have several parts, one behind the other."""
        if not self._waiting:
            return b""
        if self._unpacker.eof:
            self._unpacker = zlib.decompressobj(wbits=_EITHER)
        self._begun = True
        found = self._unpack(self._waiting)
        self._waiting = self._unpacker.unconsumed_tail or self._unpacker.unused_data
        return found

    def _unpack(self, data: bytes) -> bytes:
        try:
            return self._unpacker.decompress(data, PIECE)
        except zlib.error as cause:
            raise BadInput(
                f"the body cannot be unpacked: {cause}", remedy="pack it by gzip, or send it as it is"
            ) from None


def takes(headers: Headers) -> bool:
    """Whether the caller takes an answer that is packed by gzip."""
    said = b",".join(value for name, value in headers if name == b"accept-encoding").lower()
    for one in said.split(b","):
        name, _, rest = one.partition(b";")
        if name.strip() in {b"gzip", b"*"}:
            return rest.replace(b" ", b"") not in {b"q=0", b"q=0.0", b"q=0.00", b"q=0.000"}
    return False


async def answer(value: Struct, status: int, *, headers: Headers) -> Response:
    """A result as JSON, packed when it is large and the caller takes it so; that is done beside the event loop."""
    content = msgspec.json.encode(value)
    if len(content) < LARGE or not takes(headers):
        return Response(content, status_code=status, media_type="application/json")
    content = await to_thread.run_sync(packed, content)
    told = {"content-encoding": "gzip", "vary": "accept-encoding"}
    return Response(content, status_code=status, headers=told, media_type="application/json")


def packed(content: bytes) -> bytes:
    """Bytes packed by gzip, quickly rather than well."""
    packer = zlib.compressobj(level=1, wbits=31)
    return packer.compress(content) + packer.flush()
