"""Where a model file is on trial: in this process for a command, in one of its own for a server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from modelkeep.errors import Unavailable
from modelkeep.nouns import Features, Outputs, Predict, Version
from modelkeep.runtimes import Inspected, Loaded, inspect, load, running
from modelkeep.runtimes.confining import confined
from modelkeep.runtimes.confining.confined import Bounds
from modelkeep.runtimes.confining.nursery import POSSIBLE
from modelkeep.runtimes.confining.trial import Trial, check
from modelkeep.runtimes.running import Chosen
from modelkeep.runtimes.taking import Taken, take

LATER = "register it again in a minute"
AT_ONCE = 2
"""So many files are on trial at a time: each may take as much memory as its model's policy allows."""

WAITING = 8
"""So many others wait for their turn: each takes a thread meanwhile, of which everything else needs some, too."""


class Candidate(Protocol):
    """A file on trial. Its methods are asked in this order, and raise BadArtifact.

    ``taken`` is the copy that is tried, and that is to be kept.
    """

    taken: Taken

    def look(self, *, trust: bool, runtime: str | None) -> Inspected:
        """Recognise the file and look at it, running none of it."""

    def load(self, version: Version, locate: Callable[[str], Path]) -> None:
        """Load it."""

    def predict(self, rows: Sequence[Features]) -> Outputs:
        """Answer rows. Raises ModelFailed, too."""

    def choose(self, rows: Sequence[Features]) -> Chosen | None:
        """The fastest runner that answers as it does; None when its library is the best."""


class Trials:
    """The trials of one process: in that very process, unless a server has said ``begin``."""

    def __init__(self) -> None:
        self._apart = False
        self._seconds = 0.0
        self._turns = threading.BoundedSemaphore(AT_ONCE)
        self._here, self._door = 0, threading.Lock()

    def begin(self, seconds: float, *, apart: bool) -> None:
        """From now on files are tried in processes of their own, if ``apart``; a step may take so many seconds."""
        self._apart, self._seconds = apart and POSSIBLE, seconds

    @property
    def full(self) -> bool:
        """Whether so many are on trial and wait that nobody else may."""
        return self._here >= AT_ONCE + WAITING

    @contextmanager
    def of(self, path: Path, folder: Path, *, memory: int, ours: bool = False) -> Iterator[Candidate]:
        """Put a file on trial, which may hold ``memory`` bytes when it is apart; its copy is made in ``folder``.

        ``ours`` says that nobody writes to the file any more. Raises BadArtifact for one that is too large or cannot
        be read, StoreUnavailable when the disk does not take the copy, and Unavailable when others are on trial for as
        long as a step may take, or too many wait already, or no process can be started.
        """
        if not self._apart:
            yield _Here(take(path, folder, ours=ours))
            return
        with self._door:
            if self.full:
                raise Unavailable(f"{AT_ONCE} other files are on trial, and {WAITING} wait", remedy=LATER)
            self._here += 1
        try:
            if not self._turns.acquire(timeout=self._seconds):
                raise Unavailable(f"{AT_ONCE} other files are on trial", remedy=LATER)
            try:
                check(path, memory=memory)
                with Trial(take(path, folder, ours=ours), memory=memory, seconds=self._seconds) as trial:
                    yield trial
            finally:
                self._turns.release()
        finally:
            with self._door:
                self._here -= 1

    @contextmanager
    def loaded(self, version: Version, locate: Callable[[str], Path], *, memory: int) -> Iterator[Loaded]:
        """A version that is kept already, to be asked beside those that serve; a call may take as long as a step."""
        if not self._apart:
            yield load(version, locate)
            return
        found = confined.load(version, locate, bounds=Bounds(limit=self._seconds, memory=memory))
        try:
            yield found
        finally:
            if found.close is not None:
                found.close()


class _Here:
    """A file on trial in this very process."""

    def __init__(self, taken: Taken) -> None:
        self.taken = taken
        self._version: Version
        self._locate: Callable[[str], Path]
        self.predict: Predict

    def look(self, *, trust: bool, runtime: str | None) -> Inspected:
        return inspect(self.taken.path, trust=trust, runtime=runtime, name=self.taken.name)

    def load(self, version: Version, locate: Callable[[str], Path]) -> None:
        self._version, self._locate = version, locate
        self.predict = load(version, locate).predict

    def choose(self, rows: Sequence[Features]) -> Chosen | None:
        return running.choose(self._version, self._locate, rows=rows)
