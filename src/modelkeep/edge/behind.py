"""What a server brings in once it answers: what only later requests need, before the first of them comes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

AFTER = 1.0
"""Seconds after its start: the first predictions have the processor for themselves."""
Step = Callable[[], object]


class Behind:
    """A thread that takes some steps, one by one; each is one that a request would take itself if it came sooner."""

    def __init__(self, steps: Sequence[Step], *, after: float = AFTER) -> None:
        self._steps, self._after = tuple(steps), after
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="behind", daemon=True)

    def start(self) -> None:
        """Begin to wait."""
        self._thread.start()

    def close(self) -> None:
        """Take no further step, and wait for the one that is being taken."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        for step in self._steps:
            if self._stop.wait(self._after):
                return
            step()
