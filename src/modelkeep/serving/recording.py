"""How recording stands, and the small parts of the recorder."""

from __future__ import annotations

import logging
import secrets
from concurrent.futures import Future
from pathlib import Path
from time import perf_counter

from msgspec import Struct

from modelkeep.serving.spool import Marks

_log = logging.getLogger("modelkeep.serving")
SOME, ENOUGH = 20.0, 100
"""From so many records a second the store's thread rests between its transactions, until about so many wait, since each
costs some milliseconds whatever it keeps..."""
BUSY = 1000
"""... and at least once as long as the last one took for each so many that come in a second (more would make
transactions so long that they are felt at moderate load)..."""
REST, LONGEST = 29.0, 2.0
"""... so many times at most, and never longer than this, in seconds."""


class Recording(Struct, frozen=True, kw_only=True):
    """How the recorder is.

    ``held``: records that wait for the store, ``spooled`` of them on disk. ``dropped``: records that were not taken
    because spool and memory had reached their bounds (``async``); ``refused``: records whose caller was told so
    (``sync``, outcomes). ``aside``: records that can never be kept, written to files beside the spool.
    ``gap``: records that the process before this one lost when it was killed. ``cause``: why records wait, empty when
    all is well; ``since``: the moment that it began.
    """

    held: int = 0
    spooled: int = 0
    dropped: int = 0
    refused: int = 0
    aside: int = 0
    gap: int = 0
    cause: str = ""
    since: float | None = None


def marks_in(path: Path) -> Marks | None:
    """The marks of a recorder; None, with a word in the log, where none can be kept."""
    try:
        return Marks(path)
    except OSError:
        _log.warning("what a kill would lose cannot be counted", extra={"path": str(path)}, exc_info=True)
        return None


def set_aside(path: Path, data: bytes, *, fault: Exception, n: int) -> None:
    """Write what can never be kept into a file of its own, beside the spool."""
    _log.error("a record cannot be kept and was put aside", extra={"path": str(path)}, exc_info=fault)
    try:
        path.write_bytes(data)
    except OSError:  # a log is no place for somebody's data
        _log.exception("it could not be written beside the spool either", extra={"records": n})


def unheard(at: float) -> int:
    """A writer number for a process that began at a moment when no store could give it one.

    >>> unheard(0.0) >> 60
    1
    """
    moment = int(at * 1000) & (1 << 43) - 1
    return 1 << 60 | moment << 16 | secrets.randbits(16)


def done() -> Future[None]:
    """The answer to whoever need not wait."""
    answer: Future[None] = Future()
    answer.set_result(None)
    return answer


class Rate:
    """How many a second there are more of something that is only ever counted up."""

    def __init__(self) -> None:
        self._at, self._had = perf_counter(), 0

    def of(self, count: int) -> float:
        """The rate since the last time; ``count`` is how many there are now."""
        at, had = self._at, self._had
        self._at, self._had = perf_counter(), count
        return (count - had) / max(self._at - at, 1e-6)


def rest(rate: float, seconds: float) -> float:
    """How long the store's thread rests after a transaction of so many ``seconds``, at so many records a second.

    >>> rest(2, 0.01), rest(50, 0.002), rest(5000, 0.004), rest(50_000, 0.02)
    (0.0, 0.058, 0.02, 0.58)
    """
    if rate < SOME:
        return 0.0
    most = REST * seconds
    return round(min(max(rate / BUSY * seconds, ENOUGH / rate), most, LONGEST), 6)
