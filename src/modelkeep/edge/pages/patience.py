"""When a reading may still be taken for the present."""

from __future__ import annotations

import time

from modelkeep.quantities import HOUR

STALE = HOUR
"""Seconds of the product's clock after which a reading must be renewed to be believed."""
WAIT = 120.0
"""Seconds of real time for which one that was seen to be renewed is believed all the same."""


class Patience:
    """Believes a reading that is young, or whose subject was seen to be renewed a moment ago.

    The second half is for replays, where the product's clock runs a day while the machine's runs a second: there an old
    reading is not a dead watcher. With the machine's own clock both halves agree but for two minutes.
    """

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, float | None]] = {}

    def believes(self, subject: str, at: float, *, now: float) -> bool:
        """Whether the newest reading of ``subject``, made at ``at``, still tells how things are."""
        before = self._seen.get(subject)
        if before is None:
            before = self._seen[subject] = (at, None)
        elif before[0] != at:
            before = self._seen[subject] = (at, time.perf_counter())
        renewed = before[1]
        return now - at <= STALE or (renewed is not None and time.perf_counter() - renewed <= WAIT)
