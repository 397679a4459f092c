"""Processes that answer batches of rows, several at the same time: whatever their number, the answers are the same."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from modelkeep.errors import ModelFailed, Unavailable
from modelkeep.nouns import Features, Version
from modelkeep.runtimes import Loaded
from modelkeep.runtimes.confining.confined import Bounds, Confined, files_of
from modelkeep.runtimes.confining.nursery import POSSIBLE
from modelkeep.serving import freeing
from modelkeep.serving.calling import Got, call

LIMIT = 600.0
"""Seconds that a batch may take."""
NICENESS = 10
THREADS = 1
"""Of each process: with more, the sums of a numeric library, and so its answers, would depend on their number."""
_CLOSING = 0.1


def count(asked: int) -> int:
    """How many processes: as asked, else as many as a numeric library would have threads here (cores, at most 2)."""
    return asked or freeing.threads(0)


class _Scorer:
    """One process with the version in it."""

    def __init__(self, version: Version, files: dict[str, str], *, bounds: Bounds) -> None:
        self._confined = Confined(version, files, bounds=bounds)
        ready = self._confined.start()
        self._confined.step_back(NICENESS)
        self._loaded = Loaded(
            version=version,
            predict=self._confined.predict,
            seconds=math.nan if ready.seconds is None else ready.seconds,
            explain=self._confined.explain,
            runner=ready.runner,
        )
        self.batches = 0
        self.peak = self._confined.peak

    def answer(self, rows: Sequence[Features]) -> list[Got]:
        """What became of each row. Raises ModelFailed when the process did not survive them."""
        before = self._confined.ended[0]
        found = call(self._loaded, rows)
        after, why = self._confined.ended
        if after > before:
            raise ModelFailed(
                f"{self._loaded.version.name} {why}", remedy="score smaller batches, or raise memory in its policy"
            )
        self.batches += 1
        self.peak = self._confined.peak
        return found

    def close(self) -> None:
        """End the process now."""
        self._confined.close(_CLOSING)


class Scorers:
    """Some processes with one version. Each has one thread, lower priority than a server, and a bound of memory.

    Raises BadArtifact when the version cannot be loaded, Unavailable where processes cannot be forked.
    """

    def __init__(self, version: Version, locate: Callable[[str], Path], *, workers: int, memory: int) -> None:
        if not POSSIBLE:
            raise Unavailable("files are scored in processes that are forked, and this system has no fork")
        self.size = workers
        bounds = Bounds(limit=LIMIT, memory=memory)
        files = files_of(version, locate)
        self._all: list[_Scorer] = []
        self._free: queue.SimpleQueue[_Scorer] = queue.SimpleQueue()
        self._peaks = threading.Lock()
        self._peak: int | None = None
        with ExitStack() as undo:
            undo.callback(self.close)
            self._threads = ThreadPoolExecutor(workers, thread_name_prefix="scoring")
            for _ in range(workers):
                scorer = _Scorer(version, files, bounds=bounds)
                self._all.append(scorer)
                self._free.put(scorer)
            undo.pop_all()

    def ask(self, rows: Sequence[Features]) -> Future[list[Got]]:
        """Let the next process that is free answer a batch. The Future raises ModelFailed when one did not survive."""
        return self._threads.submit(self._answered, rows)

    @property
    def working(self) -> int:
        """How many of the processes have answered a batch."""
        return sum(scorer.batches > 0 for scorer in self._all)

    @property
    def peak(self) -> int | None:
        """The most bytes that any of the processes ever had in memory; None where the system does not count."""
        with self._peaks:
            return self._peak

    def close(self) -> None:
        """End the processes now, whatever they do."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for scorer in self._all:
            scorer.close()
        self._threads.shutdown(wait=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answered(self, rows: Sequence[Features]) -> list[Got]:
        scorer = self._free.get()
        try:
            found = scorer.answer(rows) if rows else []
            if scorer.peak is not None:
                with self._peaks:
                    self._peak = max(self._peak or 0, scorer.peak)
            return found
        finally:
            self._free.put(scorer)
