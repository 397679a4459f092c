"""Requests to a server: what is tried again, and what a refusal becomes."""

from __future__ import annotations

import importlib
import random
import zlib
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from modelkeep import errors
from modelkeep.errors import ModelkeepError, Problem
from modelkeep.nouns import Output

TRIED_AGAIN = frozenset({401, 403, 404, 408, 409, 425, 429, 500, 502, 503, 504})
"""Statuses that may pass: what waits for one of them is kept and sent again."""
LONGEST = 30.0
"""Seconds between two attempts at most."""
LINES = "application/x-ndjson"
WORTH = 4096
"""Bytes from which lines are packed."""
UNKNOWN_ENCODING = 415
_KINDS: dict[str, type[ModelkeepError]] = {
    "bad_input": errors.BadInput,
    "bad_features": errors.BadFeatures,
    "not_found": errors.NotFound,
    "conflict": errors.Conflict,
    "timeout": errors.TimedOut,
    "model_failed": errors.ModelFailed,
    "store_unavailable": errors.StoreUnavailable,
    "unavailable": errors.Unavailable,
}


class Answer(Struct, frozen=True, kw_only=True):
    """One answer of a model; ``fallback`` says who answered in its version's place, and ``fallback_reason`` why.

    ``prediction`` is None with an ``error`` where nobody could answer a row of a batch.
    """

    prediction: Output | None
    prediction_id: str
    model: str
    version: int
    role: str
    latency_ms: float
    request_id: str
    score: float | None = None
    interval: tuple[float, float] | None = None
    fallback: str = ""
    fallback_reason: str = ""
    error: str = ""


class _Answers(Struct, frozen=True, kw_only=True):
    predictions: tuple[Answer, ...]


class _Failure(Struct, frozen=True, kw_only=True):
    code: str = ""
    message: str = ""
    remedy: str = ""
    problems: tuple[Problem, ...] = ()
    near: tuple[str, ...] = ()


class _Refusal(Struct, frozen=True, kw_only=True):
    error: _Failure


class LineProblem(Struct, frozen=True, kw_only=True):
    """Why the server did not take one line (the first is 1)."""

    line: int
    code: str
    message: str


class Lines(Struct, frozen=True, kw_only=True):
    """What the server says of a stream of lines."""

    refused: int = 0
    problems: tuple[LineProblem, ...] = ()


class Away(Exception):
    """The server does not answer, or not now; the text says what was seen. ``after`` is when it asks to be tried."""

    def __init__(self, why: str, *, after: float = 0.0) -> None:
        super().__init__(why)
        self.after = after


class Unpackable(Exception):
    """The server takes no packed body."""


def distant(url: str) -> bool:
    """Whether a server is on another machine, so that fewer bytes are worth the work of packing them.

    >>> distant("http://127.0.0.1:8000"), distant("http://localhost"), distant("https://models.example.org")
    (False, False, True)
    """
    host = urlsplit(url).hostname or ""
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"


def httpx() -> Any:
    """httpx, imported when something is really sent: it takes a tenth of a second."""
    return importlib.import_module("httpx")


def headers(token: str) -> dict[str, str]:
    """What every request carries."""
    return {"authorization": f"Bearer {token}"} if token else {}


def pause(attempt: int, *, after: float = 0.0) -> float:
    """Seconds until attempt number ``attempt`` (from 1) is repeated: doubling from 0.1 to 30, spread by chance."""
    wait = min(0.1 * 2.0 ** min(attempt, 12), LONGEST)
    return max(after, wait * random.uniform(0.5, 1.0))  # noqa: S311 - it spreads callers, it hides nothing


def answers(content: bytes, *, many: bool) -> list[Answer]:
    """The answers in a body."""
    if many:
        return list(msgspec.json.decode(content, type=_Answers).predictions)
    return [msgspec.json.decode(content, type=Answer)]


def refusal(status: int, content: bytes) -> ModelkeepError:
    """The server's refusal as the error that it was there."""
    try:
        found = msgspec.json.decode(content, type=_Refusal).error
    except msgspec.MsgspecError:
        return errors.Unavailable(f"the answer ({status}) is not modelkeep's: {content[:200]!r}")
    kind = _KINDS.get(found.code, errors.Unavailable if status >= 500 else errors.Refused)
    error = kind.__new__(kind)
    ModelkeepError.__init__(error, found.message, remedy=found.remedy)
    error.code = found.code
    if isinstance(error, errors.BadInput):
        error.problems = found.problems
    if isinstance(error, errors.NotFound):
        error.near = found.near
    return error


class Poster:
    """Sends what waits, as one thread does it: lines to a route, or one thing."""

    def __init__(self, url: str, *, token: str, timeout: float, compress: bool | None = None) -> None:
        self._url, self._token, self._timeout = url, token, timeout
        self.sent = 0
        """Bytes of the bodies that were sent."""
        self._packs = distant(url) if compress is None else compress
        self._client: Any = None

    def lines(self, path: str, items: Sequence[bytes]) -> Lines:
        """Send lines. Raises Away when they are to be sent again, ModelkeepError when none of them will ever do."""
        content = self._packed(path, b"\n".join(items))
        return msgspec.json.decode(content, type=Lines)

    def one(self, path: str, item: bytes) -> None:
        """Send one thing. Raises as ``lines`` does."""
        self._post(path, item, kind="application/json")

    def close(self) -> None:
        """Let the connections go."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _packed(self, path: str, body: bytes) -> bytes:
        """Send lines, packed where that is wanted and the server (or what stands before it) takes them so."""
        if not self._packs or len(body) < WORTH:
            return self._post(path, body, kind=LINES)
        packer = zlib.compressobj(level=1, wbits=31)
        content = packer.compress(body) + packer.flush()
        try:
            return self._post(path, content, kind=LINES, packed=True)
        except Unpackable:
            self._packs = False
            return self._post(path, body, kind=LINES)

    def _post(self, path: str, body: bytes, *, kind: str, packed: bool = False) -> bytes:
        library = httpx()
        if self._client is None:
            self._client = library.Client(base_url=self._url, headers=headers(self._token), timeout=self._timeout)
        try:
            told = {"content-type": kind} | ({"content-encoding": "gzip"} if packed else {})
            self.sent += len(body)
            answer = self._client.post(path, content=body, headers=told)
        except library.HTTPError as fault:
            raise Away(f"{type(fault).__name__}: {fault}") from None
        if answer.status_code in TRIED_AGAIN:
            raise Away(str(refusal(answer.status_code, answer.content)), after=retry_after(answer))
        if packed and answer.status_code == UNKNOWN_ENCODING:
            raise Unpackable
        if answer.status_code >= 400:
            raise refusal(answer.status_code, answer.content)
        content: bytes = answer.content
        return content


def retry_after(answer: Any) -> float:
    """The seconds that an answer asks to wait; 0 when it does not say."""
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isdigit() else 0.0
