"""What is to be sent: kept in order, on disk when a folder is given, until the server has it.

A record is in the spool before ``put`` returns: the operating system keeps it when the process is killed (a power cut
may take the last ones). Whoever next uses the folder sends what was left behind. Everything carries an id, so what was
sent and not acknowledged is sent again without harm.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from modelkeep.claims import Claim, claim, claim_one
from modelkeep.client.posting import Away, Lines, Poster, pause
from modelkeep.errors import ModelkeepError
from modelkeep.serving.spool import Place, Spool

_log = logging.getLogger("modelkeep.client")
SPOOL = "records.spool"
ROUTES = {b"p": "/v1/predictions", b"o": "/v1/outcomes", b"f": "/v1/feedback"}
NAMED = 100
"""The server names so many refused lines; of more, halves are sent again until all are named."""
LEAVING = 2.0
"""Seconds that the end of a process waits for what is still to be sent."""


class OutboxState(Struct, frozen=True, kw_only=True):
    """How the outbox is: what waits, was sent, dropped at the bound, or refused by the server for good.

    ``cause`` is why it waits, empty when all is well.
    """

    waiting: int = 0
    sent: int = 0
    dropped: int = 0
    refused: int = 0
    cause: str = ""


class Outbox:
    """A queue that a thread of its own empties. ``put`` never waits for the network, and never raises.

    Args:
        poster: makes what sends (one for each process).
        folder: where it is kept on disk; None = in memory only.
        limit: most bytes that wait; beyond, what comes is dropped and counted.
        batch: so many are sent together, and at once when they are there.
        every: seconds after which fewer are sent.
    """

    def __init__(
        self, poster: Callable[[], Poster], *, folder: Path | None, limit: int, batch: int, every: float
    ) -> None:
        self._make, self._folder, self._limit, self._batch, self._every = poster, folder, limit, batch, every
        self._lock = threading.Lock()
        self._wake, self._idle = threading.Event(), threading.Event()
        self._stop = False
        self._pid = 0
        self._thread: threading.Thread | None = None
        self._queue: deque[bytes | Place] = deque()
        self._spool: Spool | None = None
        self._claim: Claim | None = None
        self._bytes = self._sent = self._dropped = self._refused = 0
        self._cause = ""
        self._hurry = False
        atexit.register(self.close, LEAVING)

    @property
    def state(self) -> OutboxState:
        """How it is at this moment."""
        return OutboxState(
            waiting=len(self._queue),
            sent=self._sent,
            dropped=self._dropped,
            refused=self._refused,
            cause=self._cause,
        )

    def open(self) -> None:
        """Take up what an earlier process left in the folder, and begin to send; ``put`` does it by itself."""
        with self._lock:
            self._begin()

    def put(self, kind: bytes, item: bytes) -> bool:
        """Keep one thing to be sent; False when it was dropped, because the bound is reached or the disk refuses."""
        frame = kind + item
        with self._lock:
            if self._stop:
                self._dropped += 1
                return False
            self._begin()
            if self._bytes + len(frame) > self._limit:
                self._dropped += 1
                self._cause = f"{self._limit} bytes wait already"
                return False
            place: bytes | Place = frame
            if self._spool is not None:
                try:
                    place = self._spool.append(frame)
                except ModelkeepError as fault:
                    self._dropped += 1
                    self._cause = str(fault)
                    return False
            self._queue.append(place)
            self._bytes += len(frame)
            self._idle.clear()
            if len(self._queue) >= self._batch:
                self._wake.set()
        return True

    def drop(self) -> None:
        """Count what could not even be written down."""
        with self._lock:
            self._dropped += 1

    def flush(self, timeout: float = 10.0) -> int:
        """Send what waits now; how many still wait after ``timeout`` seconds."""
        with self._lock:
            if self._queue and not self._stop:
                self._begin()
            self._hurry = True
        self._wake.set()
        if self._queue:
            self._idle.wait(timeout)
        self._hurry = False
        return len(self._queue)

    def close(self, timeout: float = 10.0) -> int:
        """Send what waits, then stop; how many are left, on disk when there is a folder."""
        if self._pid != os.getpid():
            return 0
        left = self.flush(timeout)
        self._stop = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(1.0)
        with self._lock:
            if self._spool is not None:
                if not self._queue:
                    self._spool.clear()
                self._spool.close()
                self._spool = None
            if self._claim is not None:
                self._claim.close()
                self._claim = None
        return left

    # ------------------------------------------------------------------------------------------- opening

    def _begin(self) -> None:
        """Open the folder and start the thread; again in a process that was forked off, which has neither."""
        if self._pid == os.getpid():
            return
        forked = self._pid != 0
        self._pid = os.getpid()
        if forked:  # what waits belongs to the parent, and so does its file
            self._queue, self._bytes = deque(), 0
            self._spool = self._claim = None
        if self._folder is not None:
            self._claim = claim_one(self._folder)
            self._spool = Spool(self._claim.folder / SPOOL, limit=2 * self._limit)
            for place, data in self._spool.frames():
                self._queue.append(place)
                self._bytes += len(data)
            self._adopt(self._claim.folder, self._spool)
        if self._queue:
            self._wake.set()
        self._thread = threading.Thread(target=self._run, name="modelkeep client", daemon=True)
        self._thread.start()

    def _adopt(self, mine: Path, spool: Spool) -> None:
        """Take over what other processes left that do not live any more."""
        assert self._folder is not None  # noqa: S101 - there is a spool
        for place in sorted(self._folder.glob("[0-9]*")):
            left = place / SPOOL
            if place == mine or not left.is_file() or not left.stat().st_size:
                continue
            other = claim(place)
            if other is None:
                continue
            theirs = Spool(left, limit=2 * self._limit)
            with suppress(ModelkeepError):
                for _, data in list(theirs.frames()):
                    self._queue.append(spool.append(data))
                    self._bytes += len(data)
                theirs.clear()
            theirs.close()
            other.close()

    # ------------------------------------------------------------------------------------------- sending

    def _run(self) -> None:
        poster, failed = self._make(), 0
        while not self._stop:
            self._wake.wait(self._every)
            self._wake.clear()
            while self._queue and not self._stop:
                try:
                    self._send(poster)
                except Away as away:
                    failed += 1
                    if not self._cause:
                        _log.warning("records wait: %s", away)
                    self._cause = str(away)
                    until = time.monotonic() + pause(1 if self._hurry else failed, after=away.after)
                    while time.monotonic() < until and not self._stop:
                        self._wake.wait(min(0.1, until - time.monotonic()))
                        self._wake.clear()
                else:
                    failed, self._cause = 0, ""
            if not self._queue:
                self._idle.set()
        poster.close()

    def _send(self, poster: Poster) -> None:
        """Send the first things of one kind. Raises Away."""
        with self._lock:
            places = [self._queue[i] for i in range(min(self._batch, len(self._queue)))]
            frames = [self._read(place) for place in places]
        kind = frames[0][:1]
        same = next((i for i, frame in enumerate(frames) if frame[:1] != kind), len(frames))
        items = [frame[1:] for frame in frames[:same]]
        if kind == b"f":
            items, same = items[:1], 1
        if items[0]:
            self._told(poster, kind, items=items)
        self._taken(same, size=sum(map(len, frames[:same])))

    def _read(self, place: bytes | Place) -> bytes:
        if isinstance(place, bytes):
            return place
        assert self._spool is not None  # noqa: S101 - there are places in it
        try:
            return self._spool.read(place)
        except ModelkeepError:
            _log.exception("a record in the spool is damaged and is left out")
            return b"p"

    def _told(self, poster: Poster, kind: bytes, *, items: Sequence[bytes]) -> None:
        """Send things of one kind; what the server will never take is put aside. Raises Away."""
        path = ROUTES.get(kind, ROUTES[b"p"])
        try:
            if kind == b"f":
                poster.one(path, items[0])
                return
            said = poster.lines(path, items)
        except ModelkeepError as refused:
            if len(items) == 1:
                self._put_aside(items[0], str(refused))
                return
            said = Lines(refused=len(items))
        if said.refused > len(said.problems):
            middle = len(items) // 2
            for part in (items[:middle], items[middle:]):
                self._told(poster, kind, items=part)
            return
        for problem in said.problems:
            self._put_aside(items[problem.line - 1], problem.message)

    def _taken(self, count: int, *, size: int) -> None:
        with self._lock:
            for _ in range(count):
                self._queue.popleft()
            self._sent += count
            self._bytes -= size
            if self._spool is None:
                return
            first = self._queue[0] if self._queue else None
            if first is None:
                self._spool.clear()
            elif isinstance(first, Place) and self._spool.size > self._limit // 4 and self._spool.dead(first) > 0.5:
                with suppress(ModelkeepError):
                    self._spool.trim(first)

    def _put_aside(self, item: bytes, why: str) -> None:
        """What the server refuses for good must not block what is behind it, and must not vanish."""
        self._refused += 1
        _log.error("a record was refused: %s", why)
        if self._folder is not None:
            with suppress(OSError), (self._folder / "refused.ndjson").open("ab") as file:
                file.write(item + b"\n")
