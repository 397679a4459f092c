"""Waiting for what another thread or process is about to do."""

import time
from collections.abc import Callable
from typing import Any


def until(found: Callable[[], Any], within: float = 20.0, *, every: float = 0.01, what: str = "") -> Any:
    """What ``found`` answers as soon as it is true; a failure when that takes longer than ``within`` seconds."""
    end = time.monotonic() + within
    while not (answer := found()):
        assert time.monotonic() < end, f"not within {within} s: {what or found}"
        time.sleep(every)  # between two looks
    return answer
