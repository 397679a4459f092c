"""The doors of the hot road: one for each model; what one turn of the event loop brings to it is answered together.

A door takes only what is plain: one row, perhaps a key. Whatever else a body says, or whatever is wrong with it, goes
the ordinary road (``hot``), which answers the same and explains more.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import os
from collections.abc import Callable, Iterable
from http import HTTPStatus
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any, NotRequired, Protocol, TypedDict

import msgspec
from msgspec import Meta, Struct, defstruct

from modelkeep.edge import refusals
from modelkeep.edge.border import fault
from modelkeep.edge.hot import OURS, ROUTE, tell
from modelkeep.edge.refusals import Turned
from modelkeep.edge.traffic import Traffic
from modelkeep.errors import ModelkeepError
from modelkeep.nouns import Field, Signature, Value
from modelkeep.operations.predictions import Key
from modelkeep.serving.blocks import Block
from modelkeep.serving.bursts import Burst, Kept

if TYPE_CHECKING:
    from modelkeep.serving.gateway import Gateway

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\nx-request-id: %b\r\n\r\n%b"
_QUICK = 2**62
_encode = msgspec.json.encode


class Line(Protocol):
    """A connection, as a door sees it."""

    def answer(self, asked: Asked, content: bytes) -> None:
        """Send the whole answer of one request, in its turn."""

    def elsewhere(self, asked: Asked) -> None:
        """Let the ordinary road answer it, in its turn."""


class Asked:
    """One request at a door: its connection, its head as it came, its body, when it came and how it is called."""

    __slots__ = ("body", "came", "content", "head", "line", "other", "request")

    def __init__(self, line: Line, head: Any, *, body: bytes, request: str) -> None:
        self.line, self.head, self.body, self.request = line, head, body, request
        self.came = perf_counter()
        self.content: bytes | None = None
        self.other = False


class Names:
    """Ids for requests that came without one: a random beginning for this process, and a count."""

    def __init__(self) -> None:
        self._start = os.urandom(9).hex()
        self._count = itertools.count(int.from_bytes(os.urandom(4), "big"))

    def new(self) -> str:
        """Thirty characters that nobody had before."""
        return f"{self._start}{next(self._count):012x}"


class Door:
    """Answers the plain predictions of one model."""

    def __init__(self, model: str, gateway: Gateway, *, traffic: Traffic) -> None:
        self.model = model
        self.queue: list[Asked] = []
        self._gateway, self._traffic = gateway, traffic
        self._signature: Signature | None = None
        self._decode: Callable[[bytes], Any] = _nothing
        self._plain = False
        self._turn: list[Asked] = []
        self._name = _encode(model)

    def turn(self) -> bool:
        """Answer what has come, a slice of it at most; True when some is left."""
        room = self._gateway.room(self.model)
        asked, self.queue = self.queue[:room], self.queue[room:]
        self._turn = asked
        route = self._gateway.routes.get(self.model)
        if route is None:
            _elsewhere(asked)
        else:
            if route.signature is not self._signature:
                self._adopt(route.signature)
            self._answer(asked)
        return bool(self.queue)

    def fail(self) -> None:
        """Say to those of this turn who have no answer that the server failed."""
        left = [one for one in self._turn if one.content is None and not one.other]
        self.refuse(left, fault())

    def _adopt(self, signature: Signature) -> None:
        self._signature = signature
        self._decode = msgspec.json.Decoder(body_of(signature)).decode
        self._plain = signature.output.numeric

    def _answer(self, asked: list[Asked]) -> None:
        good: list[Asked] = []
        rows: list[dict[str, Value]] = []
        keys: list[str] = []
        decode = self._decode
        for one in asked:
            body = one.body
            try:
                question = decode(body)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                one.line.elsewhere(one)
                continue
            features, key = question.features, question.key
            more = body.count(b":") - len(features) - 1 - (key != "")
            if more and (b"\\" in body or more != _colons(features, key)):
                one.line.elsewhere(one)  # a name too many, unknown or written twice
                continue
            good.append(one)
            rows.append(features)
            keys.append(key)
        if not good:
            return
        burst = Burst(model=self.model, rows=rows, keys=keys, requests=[one.request for one in good])
        try:
            kept = self._gateway.burst(burst)
        except ModelkeepError as error:
            self.refuse(good, error)
            return
        if kept is None:
            _elsewhere(good)
        elif kept.waits:
            _Waiting(self, good, kept=kept)
        else:
            self.finish(good, kept.blocks)

    def finish(self, asked: list[Asked], blocks: list[Block]) -> None:
        """Send the answers, and count them."""
        for block in blocks:
            mine = asked if block.places is None else [asked[place] for place in block.places]
            for one, content in zip(mine, self._contents(block), strict=True):
                one.line.answer(one, OK % (len(content), one.request.encode(), content))
            self._traffic.answers(self.model, block.keys, seconds=block.seconds)
        self._count(asked, status=200)

    def refuse(self, asked: list[Asked], error: ModelkeepError | Turned) -> None:
        """Answer all with the same refusal."""
        status = refusals.status(error)
        for one in asked:
            one.line.answer(one, refusal(error, one.request))
        if asked:
            self._count(asked, status=status)

    def _count(self, asked: list[Asked], *, status: int) -> None:
        now = perf_counter()
        self._traffic.running -= len(asked)
        taken = [now - one.came for one in asked]
        self._traffic.several("POST", ROUTE, status=status, seconds=taken)
        for one, seconds in zip(asked, taken, strict=True):
            if status >= 400 or len(one.request) != OURS:
                tell(f"/v1/models/{self.model}/predict", one.request, status=status, seconds=seconds)

    def _contents(self, block: Block) -> Iterable[bytes]:
        """The body of each answer: what ``operations.predictions.answered`` would say, put together from its parts."""
        if self._plain:
            values = _encode(block.outputs)[1:-1].split(b",")
        else:
            values = [_encode(value) for value in block.outputs]
        before = b',"prediction_id":"%d-' % block.writer
        after = b'","model":%b,"version":%d,"role":"%b","latency_ms":%b,"request_id":"' % (
            self._name, block.version, block.role.encode(), _encode(block.seconds * 1000),
        )  # fmt: skip
        seqs = range(block.first, block.first + block.size)
        if block.scores is None and block.intervals is None:
            for value, seq, request in zip(values, seqs, block.requests, strict=True):
                yield b'{"prediction":%b%b%d%b%b"}' % (value, before, seq, after, request.encode())
            return
        for place, (value, seq, request) in enumerate(zip(values, seqs, block.requests, strict=True)):
            more = b"" if block.scores is None else b',"score":%b' % _encode(block.scores[place])
            if block.intervals is not None:
                more += b',"interval":%b' % _encode(block.intervals[place])
            yield b'{"prediction":%b%b%d%b%b"%b}' % (value, before, seq, after, request.encode(), more)


class _Waiting:
    """Answers that are due when their records are on disk."""

    def __init__(self, door: Door, asked: list[Asked], *, kept: Kept) -> None:
        self._door, self._asked, self._kept = door, asked, kept
        self._left = len(kept.waits)
        loop = asyncio.get_running_loop()
        for wait in kept.waits:
            wait.add_done_callback(lambda _: loop.call_soon_threadsafe(self._done))

    def _done(self) -> None:
        self._left -= 1
        if self._left:
            return
        error = next((found for wait in self._kept.waits if (found := wait.exception()) is not None), None)
        if error is None:
            self._door.finish(self._asked, self._kept.blocks)
        else:
            self._door.refuse(self._asked, error if isinstance(error, ModelkeepError) else fault())


def body_of(signature: Signature) -> type[Struct]:
    """What a plain body looks like for a signature: a type that lets through only what fits it.

    Values keep the type that they were written in (``1`` stays a whole number). Names that the signature lacks are
    passed over; whoever decodes must count.
    """
    inputs = {field.name: _value(field) for field in signature.inputs}
    features = TypedDict("Features", inputs)  # type: ignore[misc]  # made from a signature
    return defstruct(
        "Body", [("features", features), ("key", Key, "")], forbid_unknown_fields=True, kw_only=True, gc=False
    )


def _value(field: Field) -> Any:
    kinds: dict[str, Any] = {"category": str, "text": str, "boolean": bool}
    kind = kinds.get(field.kind)
    if kind is None:
        low = -_QUICK if field.low is None else max(field.low, -_QUICK)
        high = _QUICK if field.high is None else min(field.high, _QUICK)
        kind = Annotated[int, Meta(ge=math.ceil(low), le=math.floor(high))]
        if field.kind == "number":
            kind = kind | Annotated[float, Meta(ge=float(low), le=float(high))]
    return NotRequired[kind | None] if field.nullable else kind


def refusal(error: ModelkeepError | Turned, request: str) -> bytes:
    """A refusal as a whole answer, as the ordinary road sends it."""
    content = refusals.body(error, request)
    status = refusals.status(error)
    more = b"".join(b"%b: %b\r\n" % header for header in refusals.headers(error))
    head = b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nx-request-id: %b\r\n%b\r\n"
    return head % (status, HTTPStatus(status).phrase.encode(), len(content), request.encode(), more) + content


def _colons(features: dict[str, Value], key: str) -> int:
    """How many colons stand in what a body says, not in how it says it."""
    names = sum(name.count(":") for name in features)
    return names + key.count(":") + sum(value.count(":") for value in features.values() if isinstance(value, str))


def _elsewhere(asked: Iterable[Asked]) -> None:
    for one in asked:
        one.line.elsewhere(one)


def _nothing(_: bytes) -> Any:
    raise msgspec.ValidationError
