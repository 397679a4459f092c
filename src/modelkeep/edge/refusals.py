"""How an error leaves through the doors: its status, and one JSON shape for all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from modelkeep import errors
from modelkeep.errors import ModelkeepError, Problem

STATUS: tuple[tuple[type[ModelkeepError], int], ...] = (
    (errors.BadFeatures, 422),
    (errors.BadInput, 422),
    (errors.BadArtifact, 422),
    (errors.NotFound, 404),
    (errors.Conflict, 409),
    (errors.BelowPolicy, 409),
    (errors.BadSettings, 400),
    (errors.Refused, 400),
    (errors.TimedOut, 504),
    (errors.Unavailable, 503),
    (errors.ModelFailed, 502),
    (errors.LeaseLost, 409),
)
"""The first class that fits decides."""

RETRY_AFTER = 2


class Failure(Struct, frozen=True, kw_only=True):
    """What went wrong: a stable word, a sentence, what to do, and what is wrong with which field.

    ``near`` are the names that exist and look alike, when something was not found.
    """

    code: str
    message: str
    remedy: str = ""
    problems: tuple[Problem, ...] = ()
    near: tuple[str, ...] = ()
    request_id: str = ""


class Refusal(Struct, frozen=True, kw_only=True):
    """The body of every answer that is not a success."""

    error: Failure


class Turned(Exception):
    """Turned away by the door itself, before any act: no route, no token, a body that is too large or not JSON."""

    def __init__(
        self, status: int, *, code: str, message: str, remedy: str = "", headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = list(headers)
        self.failure = Failure(code=code, message=message, remedy=remedy)


def status(error: ModelkeepError | Turned) -> int:
    """The HTTP status of an error."""
    if isinstance(error, Turned):
        return error.status
    return next((code for kind, code in STATUS if isinstance(error, kind)), 500)


def failure(error: ModelkeepError | Turned, request_id: str) -> Failure:
    """An error as it goes out."""
    if isinstance(error, Turned):
        return msgspec.structs.replace(error.failure, request_id=request_id)
    return Failure(
        code=error.code,
        message=error.message,
        remedy=error.remedy,
        problems=error.problems if isinstance(error, errors.BadInput) else (),
        near=error.near if isinstance(error, errors.NotFound) else (),
        request_id=request_id,
    )


def body(error: ModelkeepError | Turned, request_id: str) -> bytes:
    """The JSON of a refusal."""
    return msgspec.json.encode(Refusal(error=failure(error, request_id)))


def headers(error: ModelkeepError | Turned) -> list[tuple[bytes, bytes]]:
    """What a refusal says beside its body: when to come back, or how to say who one is."""
    code = status(error)
    if isinstance(error, Turned) and error.headers:
        return error.headers
    if isinstance(error, errors.Overloaded):
        return [(b"retry-after", b"%d" % math.ceil(error.wait))]
    if code == 503:
        return [(b"retry-after", str(RETRY_AFTER).encode())]
    # A browser asks for the token by itself when Basic is offered; the user's name is of no matter.
    return [(b"www-authenticate", b'Bearer, Basic realm="modelkeep"')] if code == 401 else []
