"""``modelkeep.Client`` and ``modelkeep.AsyncClient``."""

from __future__ import annotations

import asyncio
import logging
import math
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypedDict, TypeVar, Unpack
from urllib.parse import quote

import msgspec
from msgspec import Struct

from modelkeep.client.outbox import Outbox, OutboxState
from modelkeep.client.posting import Answer, Poster, answers, headers, httpx, pause, refusal, retry_after
from modelkeep.client.recording import LAST, Recipe, plain, recorded
from modelkeep.errors import Unavailable
from modelkeep.nouns import Output, Value

F = TypeVar("F", bound=Callable[..., Any])
_log = logging.getLogger("modelkeep.client")


def _hook(value: Any) -> Any:
    """A scalar of NumPy as Python's own."""
    found = plain(value)
    if found is value:
        raise NotImplementedError(f"{type(value).__name__} is no number, text or boolean")
    return found


_encode = msgspec.json.Encoder(enc_hook=_hook).encode
BUSY = frozenset({429, 503})


class Options(Struct, frozen=True, kw_only=True):
    """How a client behaves.

    ``timeout`` seconds for one request, ``retries`` more attempts of a prediction that the server did not begin;
    ``spool`` is a folder for what waits to be sent (None: memory), at most ``limit`` bytes; ``batch`` records are sent
    together, fewer after ``every`` seconds. Records are packed by gzip on their way to another machine; ``compress``
    says so, or not, of any.
    """

    token: str = ""
    timeout: float = 5.0
    retries: int = 2
    spool: Path | str | None = None
    limit: int = 64 * 1024 * 1024
    batch: int = 500
    every: float = 1.0
    compress: bool | None = None


class More(TypedDict, total=False):
    """What else may be said of a record, as in the REST call.

    ``at`` is when it was asked (now), ``about`` the moment that it is about, ``seconds`` how long it took.
    """

    key: str
    at: float
    about: float | str
    seconds: float
    version: int
    role: str
    score: float
    interval: tuple[float, float]
    subject: str
    request_id: str


class _Later(Struct, frozen=True, kw_only=True):
    """That an attempt may be repeated after ``wait`` seconds, and the error when it is not."""

    error: Unavailable
    wait: float = 0.0


class _Sending:
    """What both clients can: everything that is sent behind the caller's back."""

    def __init__(self, url: str, options: Options) -> None:
        self._url, self._options = url.rstrip("/"), options
        poster = partial(Poster, self._url, token=options.token, timeout=options.timeout, compress=options.compress)
        self._outbox = Outbox(
            poster,
            folder=Path(options.spool) if options.spool else None,
            limit=options.limit,
            batch=options.batch,
            every=options.every,
        )
        if options.spool:
            self._outbox.open()

    @property
    def state(self) -> OutboxState:
        """What waits, was sent, dropped or refused."""
        return self._outbox.state

    @property
    def last_id(self) -> str:
        """The id of the newest record that a ``recorded`` function made in this thread or task; "" before the first."""
        return LAST.get()

    def record(
        self,
        model: str,
        *,
        features: Mapping[str, Value],
        output: Output | None = None,
        error: str = "",
        id: str = "",
        **more: Unpack[More],
    ) -> str:
        """Record a prediction that was made here; its id, by which an outcome can be told with ``model``.

        ``error`` says why nothing was answered. Returns at once and raises nothing: what cannot be sent waits, what
        cannot be encoded is counted as dropped and logged.
        """
        name, seconds = id or uuid.uuid4().hex, more.pop("seconds", None)
        record: dict[str, Any] = {
            "model": model,
            "id": name,
            "features": features,
            "prediction": output,
            "error": error,
            "for": more.pop("about", None),
            "latency_ms": None if seconds is None else seconds * 1000,
            "at": time.time(),
            **more,
        }
        self._put(b"p", {field: value for field, value in record.items() if value not in (None, "")})
        return name

    def outcome(
        self,
        actual: Output | None,
        *,
        prediction: str = "",
        model: str = "",
        key: str = "",
        about: float | str | None = None,
        at: float | None = None,
    ) -> None:
        """Tell what really happened; None takes it back. Returns at once, raises nothing.

        By ``prediction`` (an id that was given there, or with ``model`` one's own), or by ``model``, ``key`` and the
        moment that it is ``about``.
        """
        told = {
            "prediction_id": prediction,
            "model": model,
            "key": key,
            "for": about,
            "at": time.time() if at is None else at,
        }
        self._put(b"o", {n: v for n, v in told.items() if v not in (None, "")} | {"actual": actual})

    def feedback(self, prediction: str, *, rating: int, comment: str = "", model: str = "", by: str = "") -> None:
        """Say what a prediction was worth, from 1 (worst) to 5. Returns at once, raises nothing."""
        told = {
            "prediction_id": prediction,
            "rating": rating,
            "comment": comment,
            "model": model,
            "by": by,
            "at": time.time(),
            "id": uuid.uuid4().hex,
        }
        self._put(b"f", told)

    def recorded(
        self,
        model: str,
        *,
        key: str = "",
        features: Callable[..., Mapping[str, Value]] | None = None,
        output: Callable[[Any], Output] | None = None,
    ) -> Callable[[F], F]:
        """Decorate a function (or a coroutine function) so that its predictions, and its failures, are recorded.

        Its arguments are the features (a single mapping is its own), its result is the answer; ``key`` names the
        argument with the entity, ``features(*args, **kwargs)`` and ``output(result)`` say it otherwise. Whatever
        becomes of the recording, the function returns and raises as it did.

            @client.recorded("price", key="customer")
            def price(customer, rooms, area): ...
        """
        recipe = Recipe(model=model, key=key, features=features, output=output)
        return lambda function: recorded(function, recipe, record=self.record)

    def _put(self, kind: bytes, body: dict[str, Any]) -> None:
        try:
            content = _encode(body)
        except (TypeError, ValueError, OverflowError, RecursionError, NotImplementedError) as fault:
            content = b""
            _log.error("something cannot be sent: %s", fault)
        if not content or not _finite(body):
            self._outbox.drop()
            return
        self._outbox.put(kind, content)

    def _away(self, fault: Exception) -> _Later:
        """A request that did not arrive may be repeated. Raises Unavailable for one that may have."""
        error = Unavailable(f"no answer from {self._url}: {type(fault).__name__} {fault}")
        if not isinstance(fault, httpx().ConnectError):
            raise error from None
        return _Later(error=error)

    @staticmethod
    def _judged(answer: Any, *, many: bool) -> list[Answer] | _Later:
        """The answers of a response, or that it may be asked again. Raises the server's refusal."""
        if answer.status_code < 400:
            return answers(answer.content, many=many)
        error = refusal(answer.status_code, answer.content)
        if answer.status_code not in BUSY:
            raise error
        return _Later(error=Unavailable(error.message, remedy=error.remedy), wait=retry_after(answer))

    def _ask(self, model: str, rows: Sequence[Mapping[str, Value]], *, key: str, about: Any) -> tuple[str, bytes]:
        body: dict[str, Any] = {"features": rows[0]} if len(rows) == 1 else {"rows": [{"features": r} for r in rows]}
        if key:
            body["key"] = key
        if about is not None:
            body["for"] = about
        return f"/v1/models/{quote(model, safe='/')}/predict", _encode(body)


class Client(_Sending):
    """A server seen from another process; any thread may use it, and a forked process gets an outbox of its own.

    >>> client = Client("http://127.0.0.1:8000")
    >>> client.state.waiting
    0

    Options are those of ``Options``: ``token``, ``timeout``, ``retries``, ``spool``, ``limit``, ``batch``, ``every``,
    ``compress``.
    """

    def __init__(self, url: str = "http://127.0.0.1:8000", **options: Any) -> None:
        super().__init__(url, Options(**options))
        self._http: Any = None

    def predict(
        self, model: str, features: Mapping[str, Value], *, key: str = "", about: float | str | None = None
    ) -> Answer:
        """Ask a model for one answer.

        Raises what the server refuses with (NotFound, BadFeatures, ...), Unavailable when it cannot be reached.
        """
        return self.predict_many(model, [features], key=key, about=about)[0]

    def predict_many(
        self,
        model: str,
        rows: Sequence[Mapping[str, Value]],
        *,
        key: str = "",
        about: float | str | None = None,
    ) -> list[Answer]:
        """Ask a model for one answer a row, in order. Raises as ``predict`` does."""
        path, body = self._ask(model, rows, key=key, about=about)
        library = httpx()
        if self._http is None:
            self._http = library.Client(
                base_url=self._url, headers=headers(self._options.token), timeout=self._options.timeout
            )
        attempt = 1
        while True:
            try:
                answer = self._http.post(path, content=body, headers={"content-type": "application/json"})
            except library.HTTPError as fault:
                later = self._away(fault)
            else:
                found = self._judged(answer, many=len(rows) != 1)
                if isinstance(found, list):
                    return found
                later = found
            if attempt > self._options.retries:
                raise later.error
            time.sleep(min(pause(attempt, after=later.wait), self._options.timeout))
            attempt += 1

    def flush(self, within: float = 10.0) -> int:
        """Send what waits now; how many still wait after ``within`` seconds."""
        return self._outbox.flush(within)

    def close(self, within: float = 10.0) -> int:
        """Send what waits, then let go; how many are left (in the spool, when there is one)."""
        left = self._outbox.close(within)
        if self._http is not None:
            self._http.close()
            self._http = None
        return left

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient(_Sending):
    """The same for code that awaits. ``record``, ``outcome`` and ``feedback`` return at once and are not awaited."""

    def __init__(self, url: str = "http://127.0.0.1:8000", **options: Any) -> None:
        super().__init__(url, Options(**options))
        self._http: Any = None

    async def predict(
        self, model: str, features: Mapping[str, Value], *, key: str = "", about: float | str | None = None
    ) -> Answer:
        """Ask a model for one answer. Raises as ``Client.predict`` does."""
        return (await self.predict_many(model, [features], key=key, about=about))[0]

    async def predict_many(
        self,
        model: str,
        rows: Sequence[Mapping[str, Value]],
        *,
        key: str = "",
        about: float | str | None = None,
    ) -> list[Answer]:
        """Ask a model for one answer a row, in order. Raises as ``Client.predict`` does."""
        path, body = self._ask(model, rows, key=key, about=about)
        library = httpx()
        if self._http is None:
            self._http = library.AsyncClient(
                base_url=self._url, headers=headers(self._options.token), timeout=self._options.timeout
            )
        attempt = 1
        while True:
            try:
                answer = await self._http.post(path, content=body, headers={"content-type": "application/json"})
            except library.HTTPError as fault:
                later = self._away(fault)
            else:
                found = self._judged(answer, many=len(rows) != 1)
                if isinstance(found, list):
                    return found
                later = found
            if attempt > self._options.retries:
                raise later.error
            await asyncio.sleep(min(pause(attempt, after=later.wait), self._options.timeout))
            attempt += 1

    async def flush(self, within: float = 10.0) -> int:
        """Send what waits now; how many still wait after ``within`` seconds."""
        return await asyncio.to_thread(self._outbox.flush, within)

    async def close(self, within: float = 10.0) -> int:
        """Send what waits, then let go; how many are left (in the spool, when there is one)."""
        left = await asyncio.to_thread(self._outbox.close, within)
        if self._http is not None:
            await self._http.aclose()
            self._http = None
        return left

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        await self.close()


def _finite(body: Mapping[str, Any]) -> bool:
    """Whether every number of a record can be written as JSON: NaN would become null without a word."""
    values = [*body.values(), *dict(body.get("features", {})).values()]
    odd = [value for value in values if isinstance(value, float) and not math.isfinite(value)]
    if odd:
        _log.error("a record was not sent: it holds %s", odd[0])
    return not odd
