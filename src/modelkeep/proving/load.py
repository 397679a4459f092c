"""Callers: open-loop load over HTTP, each request due at its moment whether or not the one before was answered.

A caller who gets no answer, or 503, tries again until its patience ends: a prediction may be asked for twice. Its wait
counts from the moment the request was due. What a request had to suffer on the way stays in its record.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
import msgspec
from msgspec import Struct

from modelkeep.clock import SystemClock
from modelkeep.proving.sandbox import MODEL, Biopsy

PAUSE = 0.1
"""Seconds between two tries of one caller."""
BUSY = 503
TELL = 1.0
ONCE = 5.0
"""Seconds that a caller waits who tries only once."""
now = SystemClock().now


class Call(Struct, frozen=True, kw_only=True):
    """One request: when it was due and when it ended (seconds since 1970), and how.

    ``status`` is that of the last try (0: no answer at all); ``refused`` how many tries failed before; ``right``
    whether the answer was the truth, ``stood_in`` whether another than the version had to give it.
    """

    due: float
    ended: float
    status: int
    refused: int
    model_seconds: float | None = None
    right: bool | None = None
    stood_in: bool = False

    @property
    def ok(self) -> bool:
        """Whether the caller got an answer that can be used."""
        return self.status == 200 and self.right is not None


class _Answer(Struct):
    prediction: bool | None = None
    prediction_id: str = ""
    latency_ms: float | None = None
    fallback: str | None = None


class _Told(Struct):
    prediction_id: str
    actual: bool


@dataclass
class Load:
    """What callers have seen so far; ``calls`` grows while it runs."""

    url: str
    rows: Sequence[Biopsy]
    rate: float
    patience: float
    calls: list[Call] = field(default_factory=list)
    told: int = 0
    _untold: list[_Told] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def between(self, start: float, end: float) -> list[Call]:
        """The calls that were due in a span."""
        return [call for call in list(self.calls) if start <= call.due < end]

    def run(self) -> None:
        """Ask until it is stopped, then wait for the last answers."""
        asyncio.run(self._run())

    def stop(self) -> None:
        """Ask no more."""
        self._stop.set()

    async def _run(self) -> None:
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=50)
        async with httpx.AsyncClient(base_url=self.url, limits=limits) as client:
            began, number = now(), 0
            telling = asyncio.create_task(self._tell(client))
            waiting: set[asyncio.Task[None]] = set()
            while not self._stop.is_set():
                due = began + number / self.rate
                await asyncio.sleep(max(due - now(), 0.0))
                task = asyncio.create_task(self._ask(client, number, due=due))
                waiting.add(task)
                task.add_done_callback(waiting.discard)
                number += 1
            await asyncio.gather(*waiting)
            await telling

    async def _ask(self, client: httpx.AsyncClient, number: int, *, due: float) -> None:
        row = self.rows[number % len(self.rows)]
        body = {"features": row.features, "key": f"patient {number}"}
        status = refused = 0
        while True:
            left = max(due + self.patience - now(), PAUSE) if self.patience else ONCE
            answer = await _tried(client, f"/v1/models/{MODEL}/predict", body=body, patience=left)
            status = answer.status_code if answer is not None else 0
            if status not in {0, BUSY} or now() + PAUSE > due + self.patience:
                break
            refused += 1
            await asyncio.sleep(PAUSE)
        said = _read(answer)
        if said.prediction_id:
            self._untold.append(_Told(prediction_id=said.prediction_id, actual=row.benign))
        self.calls.append(
            Call(
                due=due,
                ended=now(),
                status=status,
                refused=refused,
                model_seconds=None if said.latency_ms is None else said.latency_ms / 1000,
                right=None if said.prediction is None else said.prediction == row.benign,
                stood_in=bool(said.fallback),
            )
        )

    async def _tell(self, client: httpx.AsyncClient) -> None:
        """Tell what happened, in batches; what is not acknowledged is told again."""
        while not self._stop.is_set():
            await asyncio.sleep(TELL)
            batch = list(self._untold)
            if not batch:
                continue
            body = {"outcomes": [msgspec.to_builtins(one) for one in batch]}
            answer = await _tried(client, "/v1/outcomes", body=body, patience=ONCE)
            if answer is not None and answer.status_code == 200:
                del self._untold[: len(batch)]
                self.told += len(batch)


async def _tried(client: httpx.AsyncClient, path: str, *, body: object, patience: float) -> httpx.Response | None:
    """An answer, or None when the connection was refused, broke or took too long."""
    try:
        return await client.post(path, json=body, timeout=patience)
    except httpx.HTTPError:
        return None


def _read(answer: httpx.Response | None) -> _Answer:
    if answer is None or answer.status_code != 200:
        return _Answer()
    try:
        return msgspec.json.decode(answer.content, type=_Answer)
    except msgspec.MsgspecError:
        return _Answer()


@contextmanager
def under_load(load: Load) -> Iterator[Load]:
    """Callers ask while the block runs; at its end the last of them are waited for."""
    thread = threading.Thread(target=load.run, daemon=True, name="callers")
    thread.start()
    try:
        yield load
    finally:
        load.stop()
        thread.join(load.patience + 5)
