"""Asks a server as many clients do, and tells how it answered.

With a rate, requests are due at fixed moments whether or not those before are answered, and each latency counts from
the moment at which the request was due (no coordinated omission). Without one, each connection asks again as soon as
it is answered.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import Counter
from collections.abc import Sequence
from time import perf_counter

import numpy as np
from msgspec import Struct

from modelkeep.errors import BadInput, Unavailable

SHARES = (0.5, 0.9, 0.95, 0.99, 0.999)
PATIENCE = 60.0
BROKEN = "broken connection"
_MODEL = re.compile(rb'"latency_ms":([0-9.eE+-]+)')
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


class Wanted(Struct, frozen=True, kw_only=True):
    """What to ask: ``bodies`` in turn, ``n`` requests in all, over ``connections``, ``rate`` a second (0 = no rate)."""

    host: str
    port: int
    path: str
    bodies: Sequence[bytes]
    n: int
    connections: int = 16
    rate: float = 0.0
    headers: tuple[tuple[str, str], ...] = ()
    secure: bool = False


class Times(Struct, frozen=True, kw_only=True):
    """Times in milliseconds."""

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    p999: float
    max: float


class Second(Struct, frozen=True, kw_only=True):
    """One second of the run: requests that were due in it and were answered, their times, and the errors."""

    second: int
    answered: int
    errors: int
    p50: float | None = None
    p99: float | None = None


class Pressed(Struct, frozen=True, kw_only=True):
    """How the server answered.

    ``whole`` are the times of the whole request (from the moment that it was due, with a rate), ``model`` those of the
    model's own call, as it says itself; None when nothing was answered. ``errors`` counts by status. ``late`` is how
    late, in the 99th percentile, the asking side itself was: when it is not small, it was this side that was slow.
    """

    n: int
    answered: int
    errors: dict[str, int]
    seconds: float
    rate: float
    wanted_rate: float
    connections: int
    whole: Times | None
    model: Times | None
    late: float | None
    timeline: tuple[Second, ...]
    quantiles: tuple[tuple[float, float], ...] = ()


class _Run:
    """What is asked and what was measured; one entry a request."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.queue: asyncio.Queue[tuple[int, float]] = asyncio.Queue()
        self.due: list[float] = []
        self.took: list[float] = []
        self.fine: list[bool] = []
        self.inside: list[float] = []
        self.late: list[float] = []
        self.errors: Counter[str] = Counter()


def press(wanted: Wanted) -> Pressed:
    """Ask, and tell. Raises Unavailable when nobody answers at all, BadInput for nonsense."""
    if wanted.n < 1 or wanted.connections < 1 or wanted.rate < 0 or not wanted.bodies:
        raise BadInput("nothing to ask: requests, connections and bodies are at least one, the rate is not negative")
    run = _Run(wanted)
    began = perf_counter()
    try:
        asyncio.run(_all(run))
    except OSError as cause:
        raise Unavailable(f"no server answers at {wanted.host}:{wanted.port}: {cause}") from None
    return _told(run, seconds=perf_counter() - began)


async def _all(run: _Run) -> None:
    wanted, queue = run.wanted, run.queue
    first = await _connected(wanted)  # whether anybody answers is found out before the clock starts
    callers = [asyncio.ensure_future(_caller(run, first if i == 0 else None))
               for i in range(min(wanted.connections, wanted.n))]  # fmt: skip
    try:
        if wanted.rate:
            await _scheduled(run)
        else:
            for number in range(wanted.n):
                queue.put_nowait((number, 0.0))
        for _ in callers:
            queue.put_nowait((-1, 0.0))
        await asyncio.gather(*callers)
    finally:
        for caller in callers:
            caller.cancel()


async def _scheduled(run: _Run) -> None:
    """Put each request into the line at its moment; one that this side is late with keeps its moment."""
    wanted, start = run.wanted, perf_counter() + 0.05
    for number in range(wanted.n):
        due = start + number / wanted.rate
        left = due - perf_counter()
        if left > 0:
            await asyncio.sleep(left)
        run.late.append(max(perf_counter() - due, 0.0))
        run.queue.put_nowait((number, due))


async def _connected(wanted: Wanted) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    context = ssl.create_default_context() if wanted.secure else None
    return await asyncio.open_connection(wanted.host, wanted.port, ssl=context)


async def _caller(run: _Run, line: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None) -> None:
    """One connection: asks what is in the line, and connects again when it breaks."""
    wanted = run.wanted
    heads = [_request(wanted, body) for body in wanted.bodies]
    while (each := await run.queue.get())[0] >= 0:
        number, due = each
        due = due or perf_counter()
        status, content = BROKEN, b""
        try:
            line = line or await _connected(wanted)
            status, content, stays = await asyncio.wait_for(_asked(heads[number % len(heads)], line), PATIENCE)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            stays = False
        run.due.append(due)
        run.took.append(perf_counter() - due)
        run.fine.append(status == "200")
        if status == "200":
            found = _MODEL.search(content)
            if found is not None:
                run.inside.append(float(found[1]))
        else:
            run.errors[status] += 1
        if not stays and line is not None:
            line[1].close()
            line = None
    if line is not None:
        line[1].close()


def _request(wanted: Wanted, body: bytes) -> bytes:
    lines = [f"POST {wanted.path} HTTP/1.1", f"Host: {wanted.host}:{wanted.port}", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in wanted.headers]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


async def _asked(request: bytes, line: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> tuple[str, bytes, bool]:
    """Status and body of the answer, and whether the connection stays."""
    reader, writer = line
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    content = await reader.readexactly(int(length[1])) if length else b""
    return head[9:12].decode("latin-1"), content, length is not None and b"connection: close" not in head.lower()


# ------------------------------------------------------------------------------------------------- what it was


def _told(run: _Run, *, seconds: float) -> Pressed:
    wanted = run.wanted
    took, fine, due = np.array(run.took) * 1000, np.array(run.fine, dtype=bool), np.array(run.due)
    if wanted.rate and len(due):
        seconds = float((due + took / 1000).max() - due.min())
    good = took[fine]
    ladder = [round(float(share), 6) for share in (*np.arange(0, 0.9, 0.02), *(1 - np.logspace(-1, -5, 41)))]
    enough = [share for share in ladder if len(good) * (1 - share) >= 1]
    return Pressed(
        n=len(took),
        answered=int(fine.sum()),
        errors=dict(run.errors),
        seconds=seconds,
        rate=float(fine.sum()) / max(seconds, 1e-9),
        wanted_rate=wanted.rate,
        connections=wanted.connections,
        whole=_times(good),
        model=_times(np.array(run.inside)),
        late=float(np.quantile(run.late, 0.99) * 1000) if run.late else None,
        timeline=tuple(_timeline(due, took, fine=fine)),
        quantiles=tuple((share, float(np.quantile(good, share))) for share in enough),
    )


def _times(found: np.ndarray) -> Times | None:
    if not len(found):
        return None
    p50, p90, p95, p99, p999 = (float(value) for value in np.quantile(found, SHARES))
    return Times(mean=float(found.mean()), p50=p50, p90=p90, p95=p95, p99=p99, p999=p999, max=float(found.max()))


def _timeline(due: np.ndarray, took: np.ndarray, *, fine: np.ndarray) -> list[Second]:
    if not len(due):
        return []
    seconds = (due - due.min()).astype(int)
    found = []
    for second in range(int(seconds.max()) + 1):
        here = seconds == second
        good = took[here & fine]
        p50, p99 = (float(v) for v in np.quantile(good, (0.5, 0.99))) if len(good) else (None, None)
        errors = int((here & ~fine).sum())
        found.append(Second(second=second, answered=len(good), errors=errors, p50=p50, p99=p99))
    return found
