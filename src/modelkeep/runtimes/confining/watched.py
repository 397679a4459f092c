"""A process of ours that is asked one thing at a time, and looked at while it works: has it too much in memory?"""

from __future__ import annotations

from time import monotonic

from modelkeep.runtimes.confining import frames
from modelkeep.runtimes.confining.nursery import Child

GLANCE = 0.1
"""Seconds between two looks at the memory of a process that works."""


class Heavy(Exception):
    """The process holds more memory than it may."""


class Watched:
    """One process, which may hold ``memory`` bytes beyond what it shares with its siblings."""

    def __init__(self, child: Child, *, memory: int) -> None:
        self._child, self._memory = child, memory
        self._looked = 0.0
        self.pid, self.kill, self.ended, self.step_back = child.pid, child.kill, child.ended, child.step_back

    @property
    def peak(self) -> int | None:
        """The most bytes that it ever had in memory; None where the system does not count."""
        return self._child.peak

    def asked(self, question: frames.Question, *, until: float) -> frames.Reply:
        """The reply before the moment ``until`` of the monotonic clock. Raises Cut, TimeoutError, or Heavy."""
        sock = self._child.sock
        frames.send(sock, question, until=until)
        while not frames.ready(sock, min(GLANCE, until - monotonic())):
            if monotonic() >= until:
                raise TimeoutError
            self.weigh()
        return frames.reply(sock, until=until)

    def weigh(self) -> None:
        """Raise Heavy when the process holds more than it may; looks ten times a second at most."""
        now = monotonic()
        if now < self._looked + GLANCE:
            return
        self._looked = now
        most = self._memory
        if self._child.memory > most and (held := self._child.own) > most:
            raise Heavy(f"holds {held >> 20} MB and may hold {most >> 20} MB")
