"""How a stream drives an app: in its own thread, as fast as it goes; or a server beside it, at a pace one can watch."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol, Self

from modelkeep.app import App
from modelkeep.errors import Unavailable
from modelkeep.serving.gateway import Answer, Ask

PATIENCE = 3600.0
"""So long, in real seconds, the work of one step may take: a training may be among it."""
_LOOK = 0.005


class Driver(Protocol):
    """Asks the app, and gets its jobs done."""

    def ask(self, ask: Ask) -> Answer:
        """What the gateway answers. Raises what ``Gateway.predict`` does."""

    def work(self) -> None:
        """Return when everything that is due has been done."""


class Direct:
    """Drives an app that is open and not started: all of its work is done in the caller's thread."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._loop = asyncio.Runner()

    def __enter__(self) -> Self:
        self._loop.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.close()

    def ask(self, ask: Ask) -> Answer:
        """What the gateway answers."""
        return self._loop.run(self._app.rooms.gateway.predict(ask))

    def work(self) -> None:
        """Run what is due here."""
        self._app.runner.run_due()
        self._app.rooms.router.refresh()


class Served:
    """Drives an app that is started: its server answers, and its own threads do the work."""

    def __init__(self, app: App) -> None:
        self._app = app

    def ask(self, ask: Ask) -> Answer:
        """What the gateway answers, in the server's own event loop."""
        return self._app.rooms.client.ask(ask)

    def work(self) -> None:
        """Wait until nothing is due or running. Raises Unavailable after an hour."""
        rooms, began = self._app.rooms, time.perf_counter()
        now = rooms.clock.now()
        self._app.wake()
        while (gone := time.perf_counter() - began) < PATIENCE:
            if self._app.runner.looked >= now and not self._busy(now):
                rooms.router.refresh()
                return
            time.sleep(min(_LOOK + gone / 50, 20 * _LOOK))  # what takes long is looked at less often
        raise Unavailable("the jobs of one step took longer than an hour", remedy="see: modelkeep jobs list")

    def _busy(self, now: float) -> bool:
        with self._app.rooms.store.read() as ledger:
            if ledger.jobs.all(state="running", limit=1):
                return True
            return any(job.due <= now for job in ledger.jobs.all(state="waiting", limit=100))
