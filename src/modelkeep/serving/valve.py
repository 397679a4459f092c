"""Whether anything is collected: on, or off, at once and over restarts."""

from __future__ import annotations

import logging
import threading

from modelkeep.errors import StoreUnavailable
from modelkeep.serving.keeper import Keeper

_log = logging.getLogger("modelkeep.serving")


class Valve:
    """Off, nothing new is taken, and what waits is let through only while it is being flushed. Any thread may turn it.

    It stands alike in every process on the store: each looks when it is told of a change, as for rollouts.

    What was said while the store was away is ``unsaved`` until ``save`` has told it.
    """

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._through = threading.Event()
        self._through.set()
        self.off = self.unsaved = False
        self._lock, self._turned = threading.Lock(), 0

    def restore(self) -> None:
        """Stand as the process before left it; on, when the store cannot tell."""
        try:
            self.off = self._keeper.off()
        except StoreUnavailable as away:
            _log.warning("whether collection was off is not known", extra={"cause": str(away)})
        self.settle()

    def turn(self, *, on: bool) -> bool:
        """Turn it; False while the store is away, which is told when it is back."""
        with self._lock:
            self.off, self.unsaved = not on, True
            self._turned += 1
        self.settle()
        return self.save()

    def look(self) -> bool:
        """Stand as another process has left it meanwhile; whether that is another way. Raises StoreUnavailable.

        What was said here and is not told yet is newer than what the store says, and so is what was said while it was
        being read.
        """
        if not self.save():
            return False
        turned = self._turned
        off = self._keeper.off()
        with self._lock:
            if off == self.off or self.unsaved or turned != self._turned:
                return False
            self.off = off
        self.settle()
        return True

    def save(self) -> bool:
        """Tell the store how it stands, when it does not know yet; whether it knows now."""
        if self.unsaved:
            try:
                self._keeper.remember_off(self.off)
            except StoreUnavailable:
                return False
            self.unsaved = False
        return True

    @property
    def through(self) -> bool:
        """Whether what waits may go to the store."""
        return self._through.is_set()

    def open(self) -> None:
        """Let through what waits, whether on or off."""
        self._through.set()

    def settle(self) -> None:
        """Let through what waits when it is on."""
        if self.off:
            self._through.clear()
        else:
            self._through.set()
