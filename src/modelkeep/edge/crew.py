"""Several processes on the same ports: the first one is the server, the others help it to answer predictions.

The system shares connections out among them (``SO_REUSEPORT``). Each helper has its own models in memory and its own
spool; the store is one. Watching, jobs, pages and every other act are the first one's: a helper hands it the whole
connection of whoever asks for them, with what it has read. A helper that ends is replaced.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec

from modelkeep.edge.channel import COUNTS, COUNTS_WANTED, HANDED, READY, START, Channel
from modelkeep.edge.traffic import Tally, Traffic
from modelkeep.settings import Settings

log = logging.getLogger("modelkeep.edge")
PATIENCE = 0.5
"""Seconds that a scrape waits for the counts of one helper; then its last ones stand."""
SOONEST, LATEST = 0.2, 10.0
"""Seconds until a helper that ended is replaced: each time longer when it does not live a minute."""
MINUTE = 60.0
GRACE = 15.0
Adopt = Callable[[socket.socket, bytes], None]


@dataclass
class _Helper:
    """One helper: its process, the channel to it, and what it counted."""

    number: int
    process: subprocess.Popen[bytes]
    channel: Channel
    ready: threading.Event = field(default_factory=threading.Event)
    told: threading.Event = field(default_factory=threading.Event)
    tally: Tally = field(default_factory=Tally)


class Crew:
    """Starts the helpers, takes over the connections that they hand over, and replaces those that end."""

    def __init__(self, settings: Settings, ports: tuple[int, ...], *, adopt: Adopt) -> None:
        self._settings, self._ports, self._adopt = settings, ports, adopt
        self._helpers: dict[int, _Helper] = {}
        self._gone: list[Tally] = []
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._asking = threading.Lock()

    def start(self) -> None:
        """Start the helpers; each in the care of a thread."""
        for number in range(1, self._settings.server.workers):
            thread = threading.Thread(target=self._care, args=(number,), name=f"worker {number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def leave(self) -> None:
        """Ask the helpers to finish what they are answering, keep their records, and end; safe from a signal."""
        self._stop.set()
        for helper in list(self._helpers.values()):
            helper.channel.close()

    def stop(self) -> None:
        """The same, and wait until they have."""
        self.leave()
        for thread in self._threads:
            thread.join(GRACE + 2)

    @property
    def ready(self) -> bool:
        """True when every helper answers."""
        wanted = self._settings.server.workers - 1
        return len(self._helpers) == wanted and all(helper.ready.is_set() for helper in list(self._helpers.values()))

    def tallies(self) -> Iterable[Tally]:
        """What every helper counted until now, those that are gone included. Not for the event loop: it waits."""
        with self._asking:
            asked = [helper for helper in list(self._helpers.values()) if helper.ready.is_set()]
            for helper in asked:
                helper.told.clear()
                helper.channel.send(COUNTS_WANTED)
            until = time.perf_counter() + PATIENCE
            for helper in asked:
                helper.told.wait(max(until - time.perf_counter(), 0.0))
            return [*self._gone, *(helper.tally for helper in list(self._helpers.values()))]

    def _care(self, number: int) -> None:
        pause = SOONEST
        while not self._stop.is_set():
            began = time.perf_counter()
            helper = self._started(number)
            self._listen(helper)
            code = self._ended(helper)
            if self._stop.is_set():
                return
            pause = SOONEST if time.perf_counter() - began > MINUTE else min(pause * 2, LATEST)
            log.error("worker %d has ended (%s); another takes its place", number, code, extra={"worker": number})
            self._stop.wait(pause)

    def _started(self, number: int) -> _Helper:
        mine, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-m", "modelkeep.edge.mate", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        helper = _Helper(number, process, Channel(mine))
        helper.channel.send(START, pickle.dumps((self._settings, self._ports, number)))
        self._helpers[number] = helper
        if self._stop.is_set():
            helper.channel.close()
        return helper

    def _listen(self, helper: _Helper) -> None:
        """Take what a helper sends, until it ends."""
        for kind, data, taken in helper.channel.frames():
            if kind == HANDED and taken is not None:
                self._adopt(taken, data)
            elif kind == COUNTS:
                helper.tally = msgspec.msgpack.decode(data, type=Tally)
                helper.told.set()
            elif kind == READY:
                helper.ready.set()

    def _ended(self, helper: _Helper) -> int:
        try:
            code = helper.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            helper.process.kill()
            code = helper.process.wait()
        self._helpers.pop(helper.number, None)
        self._keep(helper.tally.ended())
        helper.told.set()
        helper.channel.close()
        return code

    def _keep(self, tally: Tally) -> None:
        """What helpers that are gone have counted stays counted: a counter must never fall."""
        self._gone = [_one([*self._gone, tally])]


def _one(tallies: list[Tally]) -> Tally:
    counts: dict[tuple[str, str], int] = {}
    for tally in tallies:
        for name, count in tally.fallbacks:
            counts[name] = counts.get(name, 0) + count
    whole = Traffic().whole(tallies).tally()
    return msgspec.structs.replace(
        whole, fallbacks=list(counts.items()), dropped=sum(tally.dropped for tally in tallies)
    )
