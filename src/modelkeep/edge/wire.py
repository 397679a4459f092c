"""The hot road: uvicorn's protocol, with plain predictions taken out of it before they cost anything.

A head that was seen before, byte for byte, need not be parsed again: what it says about route, token and length is
known. A head that is new is parsed by uvicorn's own parser. Requests that are not plain predictions, or that come on a
connection with something unanswered before them, go through uvicorn as if this class were not there.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from time import perf_counter
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from modelkeep.edge import border, inference, limits, questions
from modelkeep.edge.doors import Asked, Asks, Door, Names
from modelkeep.edge.heads import Head, said
from modelkeep.edge.hot import ROUTE
from modelkeep.edge.inference import INFER
from modelkeep.edge.refusals import Turned
from modelkeep.edge.replies import refusal
from modelkeep.edge.traffic import Traffic
from modelkeep.serving.admission.gates import PRIORITIES

if TYPE_CHECKING:
    from modelkeep.serving.gateway import Gateway

log = logging.getLogger("modelkeep.edge")
WAYS = (
    (b"/v1/models/", b"/predict", Asks(route=ROUTE, reader=questions.predictions, refusal=refusal)),
    (b"/v2/models/", b"/infer", Asks(route=INFER, reader=questions.inferences, refusal=inference.refusal)),
)
NAMED = Asks(route=inference.PINNED, reader=questions.inferences, refusal=inference.refusal)
"""How a version by its number is asked."""
VERSIONS = "/versions/"
LARGE = 1 << 20
"""Longer bodies are read by uvicorn, which holds back a caller who sends faster than they are taken."""
HEADS, HEAD = 1024, 4096
"""So many heads are remembered, of so many bytes at most."""
WIDEST = 64 * 1024
"""A head of more bytes is refused."""
DEEP = 256
"""A connection with so many requests to answer is not read on."""
LEAST = 1024
"""Bytes a second that a body must come with at least, beyond the patience that every request has."""
_END = b"\r\n\r\n"
_FAREWELL = (
    b"HTTP/1.1 %d %b\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
)


class Road:
    """What all connections of a server share: the doors, the heads that were seen, and the turn of the loop."""

    def __init__(
        self, gateway: Gateway, traffic: Traffic, *, limit: int, token: str, patience: float,
        callers: limits.Callers | None = None,
    ) -> None:  # fmt: skip
        self.callers = callers
        """Who may ask how often; None when nothing is set."""
        self.heads: dict[bytes, Head] = {}
        self.names = Names()
        self.spare = self.names.spare
        self.patience = patience
        self.traffic = traffic
        self._gateway = gateway
        self._limit, self._token = min(limit, LARGE), token.encode()
        self._doors: dict[tuple[str, str, str], Door] = {}
        self._open: list[Door] = []
        self.more: Callable[[], None] | None = None
        """Takes connections that wait to be accepted; set by the server."""
        self._arriving = False

    def arrive(self) -> None:
        """A connection was made: there may be more, and the loop by itself accepts one a turn, however long that is."""
        if self.more is not None and not self._arriving:
            self._arriving = True
            asyncio.get_running_loop().call_soon(self._accept)

    def _accept(self) -> None:
        self._arriving = False
        if self.more is not None:
            self.more()

    def protocol(self) -> type[Wire]:
        """The protocol of this road, as uvicorn wants it: a class that is called for each connection."""
        return type("Wire", (Wire,), {"road": self})

    def open(self, door: Door) -> None:
        """Let a door answer all that this turn of the loop brings to it."""
        if not self._open:
            asyncio.get_running_loop().call_soon(self._turn)
        self._open.append(door)

    def _turn(self) -> None:
        doors, self._open = self._open, []
        left = [door for door in doors if self._answered(door)]
        if left:
            if not self._open:
                asyncio.get_running_loop().call_soon(self._turn)
            self._open += [door for door in left if door not in self._open]

    def _answered(self, door: Door) -> bool:
        """Let a door answer; True when it has more to do. A fault of ours is an answer too."""
        try:
            return door.turn()
        except Exception:  # the edge: whatever goes wrong must leave as an answer
            log.exception("predictions failed inside the server", extra={"model_name": door.model})
            door.fail()
            return bool(door.queue)

    def plain(self, url: bytes, headers: list[tuple[bytes, bytes]]) -> Head | None:
        """What a POST's head leads to, or None when the hot road does not take it."""
        way = _way(url)
        if way is None:
            return None
        body = said(headers)
        if body is None or not 0 < body.size <= self._limit or body.parted > body.size:
            return None
        door = self._door(*way)
        if door is None or not self._admitted(headers):
            return None
        return Head(url, headers, door=door, body=body)

    def _admitted(self, headers: list[tuple[bytes, bytes]]) -> bool:
        if not self._token:
            return True
        try:
            border.admit({"headers": headers, "method": "POST", "path": ""}, token=self._token)
        except Turned:
            return False  # the ordinary road says so
        return True

    def remember(self, data: bytes, head: Head) -> None:
        """Know a head again that came whole, unless it names its request: no other will be like it."""
        if len(data) <= HEAD and not head.request:
            if len(self.heads) >= HEADS:
                self.heads.clear()
            head.raw, head.begin = data, len(data)
            head.whole = head.begin + head.size
            self.heads[data] = head

    def _door(self, model: str, version: str, asks: Asks) -> Door | None:  # noqa: PLR0917 - what ``_way`` says
        door = self._doors.get((model, version, asks.route))
        route = None if door is not None else self._gateway.routes.get(model)
        if route is not None and version in {"", str(route.rollout.champion)}:
            door = Door(model, self._gateway, traffic=self.traffic, asks=asks, version=int(version or 0))
            self._doors[model, version, asks.route] = door
        return door


def _way(url: bytes) -> tuple[str, str, Asks] | None:
    """The model of a hot path, the version that it names ("" = none), and how it is asked."""
    for before, after, asks in WAYS:
        if url.startswith(before) and url.endswith(after):
            name = url[len(before) : -len(after)].decode("ascii")
            model = unquote(name) if "%" in name else name
            if asks.route != INFER or VERSIONS not in model:
                return model, "", asks
            most, _, version = model.rpartition(VERSIONS)
            return (most, version, NAMED) if version and "/" not in version else (model, "", asks)
    return None


class Wire(HttpToolsProtocol):
    """One connection."""

    road: Road

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.url = b""
        self._last: Head | None = None
        """The head that came last and was known: the next is mostly the same."""
        self._came: Head | None = None
        """The head of the plain request that was parsed last."""
        self._line: deque[Asked] = deque()
        self._head: Head | None = None
        """The head of the request that is being read, when it is plain."""
        self._raw = False
        """True when that head was known, so that the parser has not seen it."""
        self._pieces: list[bytes] = []
        self._between = True
        """True between two requests: the parser has nothing half-read."""
        self._width = 0
        """Bytes of a body whose head was known, or of a head that is being parsed; -1 behind it."""
        self._running: Any = None
        """The plain-looking request that uvicorn answers."""
        self._special = False
        """True while more than the next answer has to be thought of: uvicorn answers one, or this one is the last."""
        self._leaving = False
        self._farewell = b""
        self._requests = self._received = self._had = 0
        self._seen, self._since = (-1, False), 0.0

    # ------------------------------------------------------------------------------------------- reading

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Somebody is there."""
        super().connection_made(transport)
        self.road.arrive()

    def data_received(self, data: bytes) -> None:
        """Take what came: a whole plain request with a known head, or the body of one; the rest is parsed."""
        if self._raw:
            self._more(data)
            return
        if self._between and not self.pipeline and (self.cycle is None or self.cycle.response_complete):
            head = self._last
            if head is None or not data.startswith(head.raw):
                head = self._last = self.road.heads.get(data[: data.find(_END) + 4])
            if head is not None:
                if self.timeout_keep_alive_task is not None:
                    self._unset_keepalive_if_required()
                size = len(data)
                if size == head.whole:
                    self._enter(head, data[head.begin :])
                    return
                if size < head.whole:
                    self._head, self._raw, self._pieces, self._width = head, True, [data], size - head.begin
                    return
        self._parse(data)

    def _more(self, data: bytes) -> None:
        """Another piece of a body whose head was known."""
        self._pieces.append(data)
        self._width += len(data)
        self._received += len(data)
        head = self._head
        if head is None or self._width < head.size:
            return
        whole = b"".join(self._pieces)
        extra = self._width - head.size
        self._head, self._raw, self._pieces, self._width = None, False, [], 0
        if extra:
            self._parse(whole)  # the next request has begun: the parser shall part them
        else:
            self._enter(head, whole[-head.size :])

    def _parse(self, data: bytes) -> None:
        fresh, before, self._came = self._between, self._requests, None
        self._received += len(data)
        if self._width >= 0:
            self._width += len(data)
        super().data_received(data)
        if self._width > WIDEST:
            self._turn_away(431, "the head is too long")
        elif fresh and self._between and self._requests == before + 1 and not self.transport.is_closing():
            self._learn(data)

    def _learn(self, data: bytes) -> None:
        """Remember the head of a request that came alone and whole."""
        head, end = self._came, data.find(_END) + 4
        if head is not None and len(data) - end == head.size:
            self.road.remember(data[:end], head)

    def on_message_begin(self) -> None:
        """A request begins; what uvicorn needs is made when it is its."""
        self.url = b""
        self.headers = []
        self._between = False
        self._head = None

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header in."""
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Take a plain prediction, and let uvicorn have any other request."""
        self._width = -1
        parser = self.parser
        if (
            parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not self.pipeline
            and (self.cycle is None or self.cycle.response_complete)
            and not (self._line and self._line[-1].other)
        ):
            self._head = self.road.plain(self.url, self.headers)
            if self._head is not None:
                self._pieces = []
                return
        self._hand_over()

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body in."""
        if self._head is None:
            super().on_body(body)
        else:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        """A request is whole."""
        head, self._head = self._head, None
        self._between, self._width = True, 0
        self._came = head
        if head is None:
            super().on_message_complete()
        else:
            self._enter(head, b"".join(self._pieces))

    def _enter(self, head: Head, body: bytes) -> None:
        self._requests += 1
        road, line, door = self.road, self._line, head.door
        spare = road.spare
        name = head.request or (spare.pop() if spare else road.names.new())
        full = door.full
        if full is not None and full[head.rank] and self._alone and not head.request:
            self.transport.write(door.step.refuse(head.rank, name))
            return
        asked = Asked(self, head, body, name, head.rank, perf_counter())
        if line and len(line) >= DEEP:
            self.flow.pause_reading()
        line.append(asked)
        if road.callers is None or self._may(asked, road.callers):
            queue = door.queue
            if not queue:
                road.open(door)
            queue.append(asked)
            road.traffic.running += 1

    @property
    def _alone(self) -> bool:
        """Whether an answer may go out at once: nothing is due before it, and no rates have to be told with it."""
        return not self._line and not self._special and not self.pipeline and self.road.callers is None

    def _may(self, asked: Asked, callers: limits.Callers) -> bool:
        """Count a request of its caller; one too many is answered at once."""
        caller = callers.take(asked.head.headers, str((self.client or ("",))[0]))
        refused = caller.refusal
        if refused is not None:
            self.road.traffic.request("POST", limits.ROUTE, status=429, seconds=0.0)
            self.answer(asked, refusal(refused, asked.request))
            return False
        asked.caller = caller
        if caller.priority is not None:
            asked.rank = max(asked.rank, PRIORITIES.index(caller.priority))
        return True

    # ----------------------------------------------------------------------------------------- uvicorn's

    def _hand_over(self) -> None:
        """Let uvicorn have the request whose head was just read, behind what is still to be answered."""
        self._requests += 1
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url = url
        self.headers += headers
        self.expect_100_continue = any(n == b"expect" and v.lower() == b"100-continue" for n, v in headers)
        if self._line:
            self.cycle = _BUSY  # type: ignore[assignment]  # uvicorn then puts the new one in its own line
        super().on_headers_complete()

    def _cycle_of(self, asked: Asked) -> RequestResponseCycle:
        """A plain-looking request as uvicorn would have it, read whole."""
        reading = self.url, self.headers, self.scope, self.expect_100_continue
        super().on_message_begin()
        scope, head = self.scope, asked.head
        self.url, self.headers, self.scope, self.expect_100_continue = reading
        scope["headers"] = head.headers
        scope["method"], scope["query_string"] = "POST", b""
        if asked.caller is not None:
            scope["caller"] = asked.caller  # type: ignore[typeddict-unknown-key]  # for the rates
        scope["path"], scope["raw_path"] = unquote(head.url.decode("ascii")), head.url
        cycle = RequestResponseCycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=not self._leaving,
            on_response=self.on_response_complete,
        )
        cycle.body = bytearray(asked.body)
        cycle.more_body = False
        cycle.message_event.set()
        return cycle

    def on_response_complete(self) -> None:
        """Go on behind an answer that uvicorn gave: what stands in line, then uvicorn's own line."""
        self._running = None
        self._special = self._leaving or bool(self._farewell)
        if self._line:
            self.server_state.total_requests += 1
            self._drain()
        elif self._leaving and not self.pipeline:
            self.transport.close()
        else:
            super().on_response_complete()

    def shutdown(self) -> None:
        """The server stops: finish what is being answered, then close."""
        if self._line:
            self._leaving = self._special = True
        else:
            super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, behind the answers that are due."""
        self._turn_away(400, msg)

    # ----------------------------------------------------------------------------------------- answering

    def answer(self, asked: Asked, content: bytes) -> None:
        """Send the whole answer of one request, in its turn."""
        line, caller = self._line, asked.caller
        if caller is not None and caller.headers:
            content = content.replace(_END, b"\r\n%b%b" % (caller.headers, b"\r\n"), 1)
        if len(line) == 1 and not self._special and not self.pipeline:  # it is the one
            line.popleft()
            self.transport.write(content)
        else:
            asked.content = content
            self._drain()

    def elsewhere(self, asked: Asked) -> None:
        """Let the ordinary road answer a request, in its turn."""
        self.road.traffic.running -= 1
        asked.other = True
        self._drain()

    def _drain(self) -> None:
        """Send what is due, in order."""
        line = self._line
        while line and self._running is None:
            first = line[0]
            if first.content is not None:
                self.transport.write(first.content)
            elif first.other:
                self._running = cycle = self._cycle_of(first)
                self._special = True
                if not self.pipeline:
                    self.cycle = cycle
                self._start_asgi_task(cycle, self.app)
            else:
                return
            line.popleft()
        if line or self._running is not None:
            return
        if self._farewell or (self._leaving and not self.pipeline):
            self.transport.write(self._farewell)
            self.transport.close()
        elif self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        else:
            self.flow.resume_reading()

    def pause_writing(self) -> None:
        """The caller does not take what is sent: take no more of it until they do."""
        super().pause_writing()
        self.flow.pause_reading()

    def resume_writing(self) -> None:
        """The caller takes it again."""
        super().resume_writing()
        if not self.transport.is_closing():
            self.flow.resume_reading()

    def eof_received(self) -> bool | None:  # type: ignore[override]  # uvicorn closes at once
        """The caller sends no more; whoever has asked is answered before the connection is closed."""
        if not self._line and self._running is None:
            return None
        self._leaving = self._special = True
        if self.pipeline and self.pipeline[0][0].more_body:
            self.pipeline.popleft()  # the newest one: it will never be whole
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there any more."""
        self._line.clear()
        super().connection_lost(exc)

    # ------------------------------------------------------------------------------------------ patience

    @property
    def reading(self) -> bool:
        """True while a request has begun and is not whole."""
        return self._raw or not self._between

    @property
    def _idle(self) -> bool:
        """True while nothing is to be answered."""
        if self._line or self._running is not None or self.pipeline:
            return False
        return self.cycle is None or bool(self.cycle.response_complete)

    def look(self, now: float) -> None:
        """Close a connection that has been idle, or on which a request comes too slowly; called every second."""
        reading, busy = self.reading, not self._idle
        if (self.flow.read_paused or busy) and not (reading and not self.flow.read_paused):
            self._seen = (-1, False)
            return
        if self._seen != (self._requests, reading):
            self._seen, self._since, self._had = (self._requests, reading), now, self._received
            return
        waited = now - self._since
        if reading and waited > self.road.patience + (self._received - self._had) / LEAST:
            self._turn_away(408, "the request came too slowly")
        elif not reading and waited > self.timeout_keep_alive:
            self.transport.close()

    def _turn_away(self, status: int, message: str) -> None:
        """Refuse what cannot be read, and close."""
        if self.transport.is_closing() or self._farewell:
            return
        started = self._running or self.cycle
        if started is not None and started.response_started and not started.response_complete:
            self.transport.close()
            return
        self._head, self._raw, self._pieces, self._special = None, False, [], True
        content = message.encode()
        self._farewell = _FAREWELL % (status, HTTPStatus(status).phrase.encode(), len(content), content)
        self.flow.pause_reading()
        if self._line:
            self._drain()
        else:
            self.transport.write(self._farewell)
            self.transport.close()


class _Busy:
    """Stands for a cycle that is not finished."""

    response_complete = False
    response_started = False


_BUSY = _Busy()
