"""Work that has no line of its own, done in threads: with less care while more comes than can be done well."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from modelkeep.serving.admission.pressure import Pressure, State


class Easing:
    """Whether each piece of some work is to be done with less. Thread-safe.

    More than ``hands`` at once is more than can be done well; the state follows as that of a gate does (``pressure``).

    >>> easing = Easing(hands=1)
    >>> with easing.one() as less:
    ...     less, easing.state
    (False, 'normal')
    """

    def __init__(
        self, *, hands: int, calm: float = 3.0, settle: float = 4.0, now: Callable[[], float] = monotonic
    ) -> None:
        self._hands, self._now = hands, now
        self._pressure = Pressure(calm=calm, settle=settle)
        self._lock = threading.Lock()
        self._open, self._turn = 0, 0.0

    @property
    def state(self) -> State:
        """The state now."""
        with self._lock:
            return self._pressure.look(self._now())

    @contextmanager
    def one(self) -> Iterator[bool]:
        """Do one piece within: True when it is to be done with less."""
        with self._lock:
            at = self._now()
            self._pressure.arrived(at, refused=self._open >= self._hands)
            self._open += 1
            less = self._lowers(at)
        try:
            yield less
        finally:
            with self._lock:
                self._open -= 1
                self._pressure.answered(self._now())

    def _lowers(self, at: float) -> bool:
        """In ``recovering`` a growing share is done in full again, spread evenly."""
        self._turn += self._pressure.share(at)
        if self._turn >= 1.0:
            self._turn %= 1.0
            return False
        return True
