"""Bodies of JSON lines: read, cut and handed on piece by piece, so that their length costs no memory."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from anyio import to_thread
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from modelkeep.edge import decoding, forms
from modelkeep.edge.bodies import answer
from modelkeep.edge.refusals import Turned
from modelkeep.operations.act import Operation

if TYPE_CHECKING:
    from modelkeep.app import App

KINDS = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl", "application/jsonlines"})
AT_ONCE = 2000
"""So many lines are handed on together."""
HELD = 4 * 1024 * 1024
"""Or lines of so many bytes."""
LONGEST = 1024 * 1024
"""A longer line is none that anybody meant; it is refused, and what follows is read on."""


class Cutter:
    """Cuts bytes into numbered lines; empty ones are counted and left out.

    >>> cutter = Cutter()
    >>> cutter.feed(b'{}' + bytes([10, 10]) + b'{"a"')
    [(1, b'{}')]
    >>> cutter.rest()
    [(3, b'{"a"')]
    """

    def __init__(self) -> None:
        self._held = b""
        self._number = 0
        self._skipping = False

    def feed(self, piece: bytes) -> list[tuple[int, bytes]]:
        """The lines that end in these bytes."""
        *whole, self._held = (self._held + piece).split(b"\n")
        found = [numbered for line in whole if (numbered := self._numbered(line))]
        if len(self._held) > LONGEST:
            if not self._skipping:
                self._skipping = True
                self._number += 1
                found.append((self._number, self._held[:LONGEST]))  # cut off, it is no JSON
            self._held = b""
        return found

    def rest(self) -> list[tuple[int, bytes]]:
        """What came after the last end of a line."""
        line, self._held = self._held, b""
        numbered = self._numbered(line)
        return [numbered] if numbered else []

    def _numbered(self, line: bytes) -> tuple[int, bytes] | None:
        if self._skipping:
            self._skipping = False
            return None
        self._number += 1
        line = line.strip()
        return (self._number, line) if line else None


def streams(operation: Operation[Any, Any], request: Request) -> bool:
    """Whether this request brings lines to an act that takes them."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return operation.lines is not None and kind in KINDS


async def stream(app: App, operation: Operation[Any, Any], *, request: Request) -> Response:
    """Do an act on a stream of lines, as they come. Raises what the act refuses as a whole with."""
    lines = operation.lines
    assert lines is not None  # noqa: S101 - asked for by ``streams`` before
    wanted = decoding.build(operation.request, decoding.spread(operation.request, forms.query(request)), strict=False)
    cutter, waiting, size = Cutter(), list[tuple[int, bytes]](), 0
    total: Struct | None = None

    async def hand_on() -> None:
        nonlocal total, waiting, size
        result = await to_thread.run_sync(partial(lines.take, app, waiting, request=wanted))
        total = result if total is None else lines.join(total, result)
        waiting, size = [], 0

    async for piece in request.stream():
        fresh = cutter.feed(piece)
        waiting += fresh
        size += sum(len(line) for _, line in fresh)
        if len(waiting) >= AT_ONCE or size >= HELD:
            await hand_on()
    waiting += cutter.rest()
    if waiting:
        await hand_on()
    if total is None:
        raise Turned(400, code="empty", message="the body is empty", remedy="send one JSON object a line")
    return answer(total, operation.status)
