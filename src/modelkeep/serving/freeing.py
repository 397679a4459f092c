"""Memory and threads of this process: given back when not needed, bounded where libraries take all they find."""

from __future__ import annotations

import ctypes
import functools
import gc
import os
import sys
import threading
from importlib import import_module

_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_most, _seen = 0, 0
"""The bound, and how many modules there were at the last look for libraries."""


def give_back() -> None:
    """Collect what nobody refers to, and give freed memory back to the system (glibc keeps it otherwise)."""
    gc.collect()
    trim = _trim()
    if trim is not None:
        trim(0)


@functools.cache
def _trim() -> ctypes._NamedFuncPointer | None:
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none


def threads(asked: int, *, workers: int = 1) -> int:
    """How many threads a numeric library may use in one of ``workers`` processes: ``asked``, else its share, at most 2.

    >>> threads(3), threads(0, workers=10_000)
    (3, 1)
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return asked or max(1, min(2, cores // max(workers, 1)))


def bound_threads(most: int) -> None:
    """Let numeric libraries use at most so many threads: those that are loaded, and those that will be."""
    global _most, _seen
    _most, _seen = most, 0
    for name in _VARIABLES:
        os.environ[name] = str(most)
    limit_threads()


def limit_threads() -> None:
    """Bound the libraries that have been loaded since the last look; nothing when no bound was set.

    A look goes through every library of the process (3 ms): it is taken where something was imported since.
    """
    global _seen  # noqa: PLW0603 - it is the process that has libraries
    if _most and len(sys.modules) != _seen:
        import_module("threadpoolctl").threadpool_limits(limits=_most)
        _seen = len(sys.modules)


class Collector:
    """Collects after work that left much behind, not more often than every few seconds, in a thread of its own."""

    def __init__(self, *, rows: int = 1_000, pause: float = 2.0) -> None:
        self._rows, self._pause = rows, pause
        self._waiting: threading.Timer | None = None
        self._lock = threading.Lock()

    def note(self, rows: int) -> None:
        """So many rows were answered at once."""
        if rows < self._rows:
            return
        with self._lock:
            if self._waiting is not None:
                return
            self._waiting = threading.Timer(self._pause, self._run)
            self._waiting.daemon = True
            self._waiting.start()

    def _run(self) -> None:
        with self._lock:
            self._waiting = None
        give_back()

    def close(self) -> None:
        """Collect no more."""
        with self._lock:
            if self._waiting is not None:
                self._waiting.cancel()
                self._waiting = None
