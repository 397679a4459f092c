"""Lanes: threads of one version, so that a model that is slow or hangs takes nobody's time but its own."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeAlias, TypeVar

from modelkeep.errors import ModelFailed, ModelkeepError
from modelkeep.serving.joining import Asked, together

T = TypeVar("T")
_Work: TypeAlias = tuple[float, int, Future[Any] | None, Callable[[], Any] | None]
_LAST = float("inf")


class Lane:
    """Up to ``threads`` calls of one version at a time, and ``waiting`` more in line. Threads start when needed.

    Calls that are ``Asked`` and stand in line are answered together where that pays. The threads are daemons: a call
    that never returns keeps nobody from stopping the process.
    """

    def __init__(self, name: str, *, threads: int = 4, waiting: int = 256) -> None:
        self._name, self.threads, self._most = name, threads, threads + waiting
        self._work: queue.PriorityQueue[_Work] = queue.PriorityQueue()
        self._taken = itertools.count()
        self._lock = threading.Lock()
        self._live: list[threading.Thread] = []
        self.running = 0
        """Calls that were taken and have not ended."""

    def submit(self, call: Callable[[], T], *, due: float = 0.0) -> Future[T] | None:
        """Take a call, or answer None when the line is full. The call may raise ModelkeepError into its Future.

        What is ``due`` earlier (on any clock, the same for all) goes first, equals in the order in which they came.
        """
        future: Future[T] = Future()
        with self._lock:
            if self.running >= self._most:
                return None
            self.running += 1
            if len(self._live) < min(self.running, self.threads):
                self._live.append(threading.Thread(target=self._run, name=self._name, daemon=True))
                self._live[-1].start()
        self._work.put((due, next(self._taken), future, call))
        return future

    def close(self, timeout: float = 0.0) -> None:
        """Let the threads go when they have done what is in line; wait ``timeout`` seconds for them at most."""
        with self._lock:
            leaving, self._live = self._live, []
            for _ in leaving:
                self._work.put((_LAST, next(self._taken), None, None))
        until = time.perf_counter() + timeout
        for thread in leaving:
            thread.join(max(until - time.perf_counter(), 0.0))

    def _run(self) -> None:
        while True:
            work = self._work.get()
            if work[2] is None:
                return
            group = [work, *self._more(work)]
            try:
                _answer_all([(one[2], one[3]) for one in group if one[2] and one[2].set_running_or_notify_cancel()])
            finally:
                with self._lock:
                    self.running -= len(group)

    def _more(self, first: _Work) -> list[_Work]:
        """What stands in line at this moment and goes together with ``first``, in its order."""
        asked, found = first[3], list[_Work]()
        if not isinstance(asked, Asked):
            return found
        room = asked.appetite.rows(asked.within) - len(asked.rows)
        while room > 0:
            try:
                work = self._work.get_nowait()
            except queue.Empty:
                break
            other = work[3]
            if not isinstance(other, Asked) or other.loaded is not asked.loaded or len(other.rows) > room:
                self._work.put(work)  # it keeps its place
                break
            found.append(work)
            room -= len(other.rows)
        return found


def _answer_all(calls: list[tuple[Future[Any], Any]]) -> None:
    if len(calls) < 2:
        for future, call in calls:
            _answer(future, call)
        return
    try:
        for future, found in together(calls):
            future.set_result(found)
    finally:
        for future, _ in calls:
            if not future.done():
                future.set_exception(ModelFailed("the call ended without an answer"))


def _answer(future: Future[Any], call: Callable[[], Any]) -> None:
    try:
        future.set_result(call())
    except ModelkeepError as fault:
        future.set_exception(fault)
    finally:
        if not future.done():  # whatever else happened, nobody waits for ever
            future.set_exception(ModelFailed("the call ended without an answer"))
