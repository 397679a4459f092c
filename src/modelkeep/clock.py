"""The seam ``Clock``: what time it is, and how to wait. Every room gets one; none asks the machine.

Moments are seconds since 1970-01-01T00:00:00Z as ``float``. Durations of real work (how long a model took) are
measured with ``time.perf_counter`` and do not pass through a clock.
"""

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time and waits."""

    def now(self) -> float:
        """Seconds since the epoch, UTC. May jump when the machine's clock is set."""

    def wait(self, wake: threading.Event, seconds: float) -> bool:
        """Return when ``wake`` is set (True) or ``seconds`` of this clock have passed (False), whichever is first."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        return time.time()

    def wait(self, wake: threading.Event, seconds: float) -> bool:
        """Wait in real time, on the monotonic clock."""
        return wake.wait(max(seconds, 0.0))


class ManualClock:
    """A clock that moves only when told to: for tests, and for replays of recorded data.

    >>> clock = ManualClock(100.0)
    >>> clock.advance(5.0)
    >>> clock.now()
    105.0
    """

    def __init__(self, at: float = 0.0) -> None:
        self._at = at
        self._moved = threading.Condition()

    def now(self) -> float:
        """The moment that the clock was last moved to."""
        return self._at

    def advance(self, seconds: float) -> None:
        """Move forward by ``seconds`` and wake whoever waits."""
        self.advance_to(self._at + seconds)

    def advance_to(self, at: float) -> None:
        """Move forward to ``at`` (seconds since the epoch); a moment already passed changes nothing."""
        with self._moved:
            self._at = max(self._at, at)
            self._moved.notify_all()

    def wait(self, wake: threading.Event, seconds: float) -> bool:
        """Wait until ``wake`` is set or the clock has been moved ``seconds`` on.

        ``wake`` cannot notify the clock, so it is looked at every 20 ms of real time.
        """
        until = self._at + seconds
        with self._moved:
            while not wake.is_set() and self._at < until:
                self._moved.wait(0.02)
        return wake.is_set()
