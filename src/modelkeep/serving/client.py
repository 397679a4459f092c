"""Asking and telling from inside the process, from any thread, as a client does it from outside."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, wait
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager

from modelkeep.errors import BadInput, Conflict, ModelkeepError, NotFound, TimedOut, Unavailable
from modelkeep.nouns import Features, Outcome, Prediction
from modelkeep.serving.gateway import Answer, Ask, Gateway
from modelkeep.serving.recorder import Recorder
from modelkeep.serving.router import Router
from modelkeep.store.seams import Store, Told

PATIENCE = 30.0
"""So long, in seconds, outcomes may take to get on disk."""
_LOOK = 0.5
_GONE = "the server is stopping"


class Client:
    """One's own predictions and outcomes: recorded, canaried and shadowed like those that come over HTTP."""

    def __init__(self, gateway: Gateway, router: Router, *, recorder: Recorder, store: Store) -> None:
        self._gateway, self._router, self._recorder, self._store = gateway, router, recorder, store
        self._loop: asyncio.AbstractEventLoop | None = None

    @contextmanager
    def at_home(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """While a server answers in ``loop``, what is asked here is answered there, with its lanes and shadows."""
        self._loop = loop
        try:
            yield
        finally:
            self._loop = None

    def predict(
        self,
        model: str,
        rows: Sequence[Features],
        *,
        keys: Sequence[str] = (),
        targets: Sequence[float] | None = None,
        subject: str | None = None,
        request: str = "",
        record: bool = True,
    ) -> tuple[Prediction, ...]:
        """One prediction a row, in order; see ``App.predict``."""
        for name, given in (("keys", keys), ("targets", targets or ())):
            if given and len(given) != len(rows):
                raise BadInput.of(name, expected=f"none, or one for each of {len(rows)} rows", got=str(len(given)))
        ask = Ask(
            model=model,
            rows=rows,
            keys=keys,
            targets=targets,
            subject=subject,
            request=request or uuid.uuid4().hex,
            record=record,
        )
        return self.ask(ask).predictions

    def ask(self, ask: Ask) -> Answer:
        """The gateway's answer, waited for. Raises what ``Gateway.predict`` does, and Unavailable when it stops."""
        if ask.model not in self._gateway.routes:
            self._router.refresh()  # nothing serves in this process, or the model was released a moment ago
            if ask.model not in self._gateway.routes:
                raise self.unreleased(ask.model)
        loop = self._loop
        return asyncio.run(self._gateway.predict(ask)) if loop is None else self._asked(ask, loop)

    def tell(self, outcomes: Sequence[Outcome], *, patient: bool = False) -> list[Told]:
        """What became of each outcome, once all are on disk; see ``App.tell`` and ``Recorder.tell``."""
        told = self._recorder.tell(outcomes, patient=patient)
        try:
            return told.result(PATIENCE)
        except FutureTimeout:
            raise TimedOut(
                f"outcomes were not kept within {PATIENCE:.0f} s", remedy="tell them again; repeats do no harm"
            ) from None

    def unreleased(self, model: str) -> ModelkeepError:
        """The refusal of a model that does not answer: unknown with near names, not released, or served elsewhere."""
        with self._store.read() as ledger:
            models = ledger.versions.models()
            elsewhere = model in models and ledger.versions.all(model)[-1].external
        if elsewhere:
            return Conflict(
                f"model {model!r} is served elsewhere: only its records are kept here",
                remedy="ask the service that runs it, and send what it answered to POST /v1/predictions",
            )
        if model in models:
            return NotFound("released version of model", model, known=self._gateway.routes)
        return NotFound("model", model, known=models)

    def _asked(self, ask: Ask, loop: asyncio.AbstractEventLoop) -> Answer:
        if _running() is loop:
            raise Conflict(
                "a prediction was waited for in the server's own event loop, which it needs",
                remedy="ask from a thread, or await the gateway",
            )
        call = self._gateway.predict(ask)
        try:
            future = asyncio.run_coroutine_threadsafe(call, loop)
        except RuntimeError:
            call.close()
            raise Unavailable(_GONE) from None
        while not wait([future], _LOOK).done:
            if loop.is_closed():
                raise Unavailable(_GONE)
        try:
            return future.result()
        except CancelledError:
            raise Unavailable(_GONE) from None


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
