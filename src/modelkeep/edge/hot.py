"""The prediction route, as one raw ASGI function: from bytes to ``Gateway.predict`` without a frame of ours between.

It does what the border does for every other route (request id, token, counting), written out in a line each, because
a prediction must cost little more than an echo. Everything unusual leaves the straight line at once.
"""

from __future__ import annotations

import logging
import os
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import UNSET
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from modelkeep.edge import border, decoding, packing, refusals
from modelkeep.edge.bodies import read
from modelkeep.edge.hosts import Hosts
from modelkeep.edge.refusals import Turned
from modelkeep.edge.traffic import Traffic
from modelkeep.errors import BadFeatures, BadInput, ModelkeepError, NotFound, StoreUnavailable
from modelkeep.operations import predictions
from modelkeep.operations.predictions import Answered, Predict, Predicted
from modelkeep.serving.admission.gates import PRIORITIES, Priority
from modelkeep.serving.gateway import Answer, Ask

if TYPE_CHECKING:
    from modelkeep.app import App

log = logging.getLogger("modelkeep.edge")
ROUTE = "/v1/models/{model}/predict"
_BEFORE, _AFTER = len("/v1/models/"), -len("/predict")
_NOTHING: list[tuple[bytes, bytes]] = []
OURS = 30
"""Length of the request ids that we make; another length came along with the request (and is worth a log line)."""


def route(app: App, traffic: Traffic, *, hosts: Hosts, limit: int, token: str) -> ASGIApp:
    """The ASGI function for ``POST /v1/models/{model}/predict``."""
    gateway, secret = app.rooms.gateway, token.encode()
    decode = msgspec.json.Decoder(Predict).decode
    encode = msgspec.json.encode

    async def predict(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: PLR0917 - ASGI's own form
        started, request_id, content = perf_counter(), "", b""
        status, special = 200, _NOTHING
        traffic.running += 1
        try:
            request_id = _greet(scope, secret, hosts=hosts)
            if scope.get("packed"):
                receive = packing.unpacked(scope, receive, limit=limit)
            message = await receive()
            content = message.get("body", b"")
            if message.get("more_body") or len(content) > limit or message["type"] != "http.request":
                content = await _rest(scope, receive, message=message, limit=limit)
            question = decode(content)
            given = question.features
            if given is UNSET or content.count(b":") > len(given) + 1 + (question.key != ""):
                decoding.once(content)  # more colons than names: one may stand there twice
            answer = await gateway.predict(
                Ask(
                    model=scope["path"][_BEFORE:_AFTER],
                    rows=[question.features],
                    keys=[question.key],
                    targets=None,
                    subject=question.subject or None,
                    request=request_id,
                    priority=scope.get("priority", ""),
                )
                if question.features is not UNSET
                and question.rows is UNSET
                and question.for_ is None
                and not question.model
                else _ask(question, scope, request_id=request_id)
            )
            payload = encode(_answered(answer, question, request_id=request_id))
            _count(traffic, answer)
        except Exception as error:  # noqa: BLE001 - the edge: whatever goes wrong must leave as an answer
            refusal = _refusal(app, scope, content=content, error=error, request_id=request_id)
            status, special, payload = (
                refusals.status(refusal),
                refusals.headers(refusal),
                refusals.body(refusal, request_id),
            )
        finally:
            traffic.running -= 1
        name = (b"x-request-id", request_id.encode())
        headers = [border.JSON, (b"content-length", b"%d" % len(payload)), name, *special]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": payload})
        seconds = perf_counter() - started
        traffic.request("POST", ROUTE, status=status, seconds=seconds)
        if status >= 400 or len(request_id) != OURS:
            model = scope["path"][_BEFORE:_AFTER]
            tell(scope["path"], request_id, model=model, status=status, seconds=seconds)

    return predict


def _greet(scope: Scope, secret: bytes, *, hosts: Hosts) -> str:
    """The request's id, after its token and origin were looked at."""
    request_id = ""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            request_id = border.greet([(name, value)]).request_id
        elif name == b"origin":
            border.admit(
                scope, token=secret, hosts=hosts
            )  # a browser's: whoever else lies about the name gains nothing
        elif name == b"content-encoding":
            scope["packed"] = True
        elif name == b"x-priority":
            scope["priority"] = priority(value, scope.get("priority"))
    if secret:
        border.admit(scope, token=secret)
    return request_id or os.urandom(OURS // 2).hex()


def urgency(scope: Scope) -> Priority | Literal[""]:
    """The priority of a request on the ordinary road: what it asks for, else its caller's. Raises BadInput."""
    said = next((value for name, value in scope["headers"] if name == b"x-priority"), None)
    most: Priority | Literal[""] = scope.get("priority", "")
    return most if said is None else priority(said, most or None)


def priority(said: bytes, most: Priority | None) -> Priority:
    """The priority that a request asks for, at most that of its caller. Raises BadInput for another word."""
    word = said.decode("latin-1").strip().lower()
    rank = {"critical": 0, "normal": 1, "batch": 2, "low": 2}.get(word)
    if rank is None:
        raise BadInput.of("X-Priority", expected="critical, normal or batch (low is the same)", got=repr(word))
    return PRIORITIES[max(rank, PRIORITIES.index(most) if most else 0)]


async def _rest(scope: Scope, receive: Receive, *, message: Any, limit: int) -> bytes:
    """A body in several pieces, or one that is too large."""
    first = [message]

    async def again() -> Any:
        return first.pop() if first else await receive()

    return await read(scope, again, limit=limit)


def _ask(question: Predict, scope: Scope, *, request_id: str) -> Ask:
    model = scope["path"][_BEFORE:_AFTER]
    if question.model and question.model != model:
        raise BadInput.of("model", expected=repr(model), got=repr(question.model))
    asked = predictions.ask(msgspec.structs.replace(question, model=model), request_id)
    return msgspec.structs.replace(asked, priority=scope.get("priority", ""))


def _answered(answer: Answer, question: Predict, *, request_id: str) -> Answered | Predicted:
    found = predictions.all_answered(answer, request_id)
    return found[0] if question.rows is UNSET else Predicted(predictions=found)


def _count(traffic: Traffic, answer: Answer) -> None:
    for prediction in answer.predictions:
        traffic.prediction(prediction.model, prediction.key, seconds=prediction.seconds)


def _refusal(app: App, scope: Scope, *, content: bytes, error: Exception, request_id: str) -> ModelkeepError | Turned:
    """What to answer to an error: a refusal that names the field where it can, or the fault with its log line."""
    if isinstance(error, NotFound):
        return _missing(app, scope, error=error)
    if isinstance(error, ModelkeepError | Turned):
        return error
    if isinstance(error, msgspec.ValidationError | msgspec.DecodeError | UnicodeDecodeError | RecursionError):
        return _explained(app, scope, content=content, cause=error)
    if isinstance(error, ClientDisconnect):
        return Turned(499, code="gone", message="the caller went away before the body was read")
    log.error(
        "a prediction failed inside the server",
        exc_info=error,
        extra={"request_id": request_id, "model_name": scope["path"][_BEFORE:_AFTER]},
    )
    return border.fault()


def _missing(app: App, scope: Scope, *, error: NotFound) -> ModelkeepError:
    """The refusal of a model that has no route, in the words of the store when it can be asked."""
    try:
        return app.rooms.client.unreleased(scope["path"][_BEFORE:_AFTER])
    except StoreUnavailable:
        return error


def _explained(app: App, scope: Scope, *, content: bytes, cause: Exception) -> ModelkeepError | Turned:
    """The refusal of a body that could not be decoded: the features to blame, else the field, else that it is no JSON.

    NaN and Infinity are no JSON, yet Python writes them: they are named as the features they are.
    """
    fits = isinstance(cause, msgspec.ValidationError)
    if not fits and b"NaN" not in content and b"Infinity" not in content:
        return decoding.unreadable(cause)
    try:
        misfit = _misfit(app, scope, body=decoding.loads(content) if fits else decoding.loads_loosely(content))
    except Turned as refusal:
        return refusal
    if misfit is not None:
        return misfit
    return decoding.refused(cause) if isinstance(cause, msgspec.ValidationError) else decoding.unreadable(cause)


def _misfit(app: App, scope: Scope, *, body: object) -> ModelkeepError | None:
    """The features that no model takes, named one by one, or None when something else is wrong with the body."""
    if not isinstance(body, dict):
        return None
    batch = body.get("rows")
    rows = [row.get("features") for row in batch if isinstance(row, dict)] if isinstance(batch, list) else []
    if "features" in body and not rows:
        rows = [body["features"]]
    route = app.rooms.gateway.routes.get(scope["path"][_BEFORE:_AFTER])
    problems = decoding.misfits(rows, route.signature if route else None)
    if not problems:
        return None
    more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
    return BadFeatures(f"{problems[0]}{more}", problems=problems)


def tell(path: str, request_id: str, *, model: str, status: int, seconds: float) -> None:
    """Predictions are logged when the caller named the request, or when it was refused; the rest are counted."""
    log.info(
        "POST %s %s",
        path,
        status,
        extra={
            "request_id": request_id,
            "model_name": model,
            "status": status,
            "ms": round(seconds * 1000, 3),
        },
    )
