"""What goes over the sockets: frames of MessagePack behind four bytes of length, in types that both sides check."""

from __future__ import annotations

import select
import socket
import struct
from time import monotonic
from typing import TypeAlias, TypeVar

import msgspec
from msgspec import Struct

from modelkeep.nouns import Outputs, Runner, Value, Version
from modelkeep.runtimes.explaining import Explanation

T = TypeVar("T")
LARGEST = 512 * 1024 * 1024
_HEAD = struct.Struct("<I")
_PIECE = 1 << 20


class Cut(Exception):
    """The other side has gone, or does not keep to the form."""


class Look(Struct, frozen=True, kw_only=True, tag=True):
    """The first frame of a trial: which file to look at, how, and how many bytes of data the process may have.

    ``name`` is what people call the file.
    """

    path: str
    name: str
    trust: bool
    runtime: str | None
    memory: int


class Load(Struct, frozen=True, kw_only=True, tag=True):
    """The first frame but for a look: which version, where its files are, how many bytes of data it may have."""

    version: Version
    files: dict[str, str]
    memory: int
    remember: bool = False


class Ask(Struct, frozen=True, kw_only=True, tag=True):
    """Answer these rows."""

    rows: list[dict[str, Value]]


class Explain(Struct, frozen=True, kw_only=True, tag=True):
    """Take the answer to this row apart."""

    row: dict[str, Value]


class Choose(Struct, frozen=True, kw_only=True, tag=True):
    """Find the fastest runner that answers as the version does; the rows are requests."""

    rows: list[dict[str, Value]]


class Looked(Struct, frozen=True, kw_only=True, tag=True):
    """What looking at a file told, but for its bytes."""

    runtime: str
    libraries: dict[str, str]
    inputs: tuple[str, ...]
    classifies: bool | None


class Ready(Struct, frozen=True, kw_only=True, tag=True):
    """The version is loaded; ``seconds`` of a single row, None when the made-up row could not be answered."""

    seconds: float | None
    runner: str


class Answered(Struct, frozen=True, kw_only=True, tag=True):
    """The outputs, and how often the feature cache was asked for them and knew."""

    outputs: Outputs
    lookups: int = 0
    hits: int = 0


class Explained(Struct, frozen=True, kw_only=True, tag=True):
    """The explanation."""

    explanation: Explanation


class Chose(Struct, frozen=True, kw_only=True, tag=True):
    """The runner and the bytes of its plan; None when the library is the best."""

    runner: Runner | None
    data: bytes = b""


class Failed(Struct, frozen=True, kw_only=True, tag=True):
    """It went wrong: ``kind`` is ``failed`` (the model), ``refused``, or ``artifact`` (it cannot be loaded)."""

    kind: str
    message: str
    remedy: str = ""


Question: TypeAlias = Look | Load | Ask | Explain | Choose
Reply: TypeAlias = Looked | Ready | Answered | Explained | Chose | Failed
_encode = msgspec.msgpack.Encoder().encode
_questions: msgspec.msgpack.Decoder[Question] = msgspec.msgpack.Decoder(Look | Load | Ask | Explain | Choose)
_replies: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(
    Looked | Ready | Answered | Explained | Chose | Failed
)


def send(sock: socket.socket, what: Question | Reply, *, until: float = float("inf")) -> None:
    """Send one frame before the moment ``until``. Raises Cut, or TimeoutError."""
    data = _encode(what)
    view = memoryview(_HEAD.pack(len(data)) + data)
    while view:
        _wait(sock, until=until, writing=True)
        try:
            view = view[sock.send(view, 0 if until == float("inf") else socket.MSG_DONTWAIT) :]
        except BlockingIOError:
            continue
        except OSError as gone:
            raise Cut(str(gone)) from None


def question(sock: socket.socket) -> Question:
    """The next question, however long it takes to come. Raises Cut when nobody will ask any more."""
    return _questions.decode(_frame(sock, until=float("inf")))


def reply(sock: socket.socket, *, until: float) -> Reply:
    """The reply, before the moment ``until`` of the monotonic clock. Raises Cut, or TimeoutError."""
    try:
        return _replies.decode(_frame(sock, until=until))
    except msgspec.MsgspecError as strange:
        raise Cut(f"it answered what is no reply: {strange}") from None


def _frame(sock: socket.socket, *, until: float) -> bytes:
    (size,) = _HEAD.unpack(_exactly(sock, _HEAD.size, until=until))
    if size > LARGEST:
        raise Cut(f"it announced {size} bytes")
    return _exactly(sock, size, until=until)


def _exactly(sock: socket.socket, size: int, *, until: float) -> bytes:
    found = bytearray()
    while len(found) < size:
        _wait(sock, until=until, writing=False)
        try:
            piece = sock.recv(min(size - len(found), _PIECE))
        except BlockingIOError:
            continue
        except OSError as gone:
            raise Cut(str(gone)) from None
        if not piece:
            raise Cut("it ended")
        found += piece
    return bytes(found)


def _wait(sock: socket.socket, *, until: float, writing: bool) -> None:
    if until < float("inf") and not ready(sock, until - monotonic(), writing=writing):
        raise TimeoutError


def ready(sock: socket.socket, seconds: float, *, writing: bool = False) -> bool:
    """Whether something can be read (or written) within so many seconds. Raises Cut."""
    poll = select.poll()
    try:
        poll.register(sock, select.POLLOUT if writing else select.POLLIN)
    except ValueError:
        raise Cut("it was closed") from None
    return bool(poll.poll(max(seconds, 0.0) * 1000))
