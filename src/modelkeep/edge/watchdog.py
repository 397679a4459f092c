"""A process whose event loop a model holds beyond its time limit starts anew: nobody can end the call from outside.

Versions that bring code run in processes of their own, which are ended one by one. This is for the others, which the
event loop runs itself because they are quick: should one hang, every connection of this process hangs with it. By the
time it starts anew the version's policy says ``isolation = "process"`` (see ``jobs.overloads.Demoting``), so that it
cannot hold the loop again.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING

from modelkeep.serving.admission.admitting import HUNG

if TYPE_CHECKING:
    from modelkeep.app import App

log = logging.getLogger("modelkeep.edge")
EVERY = 0.5
AFTER = 1.0
"""Seconds beyond the limit, in which the policy is changed."""
KEEPING = 5.0
"""Seconds that records which were taken may need to be safe."""
HELD = 75
"""The exit code of a helper that was held."""


class Watchdog:
    """Looks from a thread of its own; ``anew`` starts the process anew, and does not come back.

    A call that keeps the interpreter's lock lets no thread look: then only the system can end the process.
    """

    def __init__(self, app: App, *, anew: Callable[[], None]) -> None:
        self._app, self._anew = app, anew
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._stop.set()

    def held(self) -> str:
        """The version that holds the event loop beyond its limit, and for how long; empty when none does."""
        gateway = self._app.rooms.gateway
        inline = gateway.admission.inline
        if inline is None:
            return ""
        loaded, since = inline
        route = gateway.routes.get(loaded.version.model)
        limit = 0.0 if route is None else route.policy.limit
        seconds = perf_counter() - since
        if seconds <= max(limit, HUNG) + AFTER:
            return ""
        return f"{loaded.version.name} has held the event loop for {seconds:.1f} s"

    def _run(self) -> None:
        while not self._stop.wait(EVERY):
            said = self.held()
            if said:
                log.critical("this process starts anew: %s", said)
                self._app.rooms.recorder.caught_up(KEEPING)
                self._anew()
                return


def restart() -> None:
    """The same command again in this very process: its number stays, its connections and helpers end."""
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - what runs already


def leave() -> None:
    """End now; the server sees it and starts another helper."""
    os._exit(HELD)
