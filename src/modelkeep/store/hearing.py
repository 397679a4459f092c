"""Hears at once, by LISTEN and NOTIFY, that another process has changed a rollout."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import psycopg

from modelkeep.store.turns import CHANNEL

_log = logging.getLogger("modelkeep.store")
LOOK = 0.5
"""How long one wait lasts, in seconds; between two the thread sees whether it is to end."""
AGAIN = 1.0
"""Pause in seconds before a lost connection is opened anew."""


class Ear:
    """A thread with a connection of its own. What changed while the connection was lost is told when it is back."""

    def __init__(self, connect: Callable[[], Any], changed: Callable[[], None]) -> None:
        self._connect, self._changed = connect, changed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="store hearing", daemon=True)

    def start(self) -> None:
        """Begin to hear."""
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._listen()
            except (psycopg.Error, OSError) as fault:
                _log.debug("not told of changes for a moment", extra={"cause": " ".join(str(fault).split())[:200]})
                self._stop.wait(AGAIN)

    def _listen(self) -> None:
        with self._connect() as connection:
            connection.execute(f"LISTEN {CHANNEL}")
            self._changed()
            while not self._stop.is_set():
                if any(True for _ in connection.notifies(timeout=LOOK, stop_after=1)):
                    self._changed()
