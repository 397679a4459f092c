"""How long statements take, gathered as they run: what ``modelkeep db explain`` tells."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Any

from msgspec import Struct, structs
from sqlalchemy import Connection, Engine, event

_MOST = 1000
"""So many different statements are remembered; then the half that took least is forgotten."""
_WORK = ("SELECT", "INSERT", "UPDATE", "DELETE", "COPY", "WITH")
"""What the others are (definitions, settings of a connection) is nobody's question."""
_LISTS = re.compile(r"(\((?:[^()]*?)\))(?:, \1)+")
_PLACES = re.compile(r"(\?|%s|%\(\w+\)s(?:::\w+)?)(?:, (?:\?|%s|%\(\w+\)s(?:::\w+)?))+")


class Slow(Struct, frozen=True, kw_only=True):
    """One statement of the database: how often it ran in this process, its seconds in all and at worst, its plan.

    Values are left out of both texts.
    """

    statement: str
    calls: int = 0
    seconds: float = 0.0
    worst: float = 0.0
    plan: str = ""


class _Taken:
    """One statement: how often, how long, and the values of its slowest run (which never leave the process)."""

    __slots__ = ("calls", "many", "parameters", "seconds", "worst")

    def __init__(self) -> None:
        self.calls, self.seconds, self.worst = 0, 0.0, -1.0
        self.parameters: Any = None
        self.many = False


class Timings:
    """The statements of one engine."""

    def __init__(self) -> None:
        self._taken: dict[str, _Taken] = {}
        self._lock = threading.Lock()

    def note(self, statement: str, *, seconds: float, parameters: Any = None, many: bool = False) -> None:
        """Count one run (about 1 us)."""
        taken = self._taken.get(statement)
        if taken is None:
            taken = self._known(statement)
        taken.calls += 1
        taken.seconds += seconds
        if seconds > taken.worst:
            taken.worst = seconds
            if not statement.startswith("INSERT"):  # whole records are not held for this
                taken.parameters, taken.many = parameters, many

    def slowest(self, limit: int, plan: Callable[[str, Any], str]) -> list[Slow]:
        """The statements that took longest in all, with what ``plan`` says of their slowest run."""
        alike: dict[str, Slow] = {}
        example: dict[str, tuple[str, _Taken]] = {}
        with self._lock:
            known = list(self._taken.items())
        for statement, taken in known:
            if not statement.startswith(_WORK):
                continue
            text = shortened(statement)
            was = alike.get(text) or Slow(statement=text)
            if text not in example or taken.worst > example[text][1].worst:
                example[text] = statement, taken
            alike[text] = Slow(
                statement=text,
                calls=was.calls + taken.calls,
                seconds=was.seconds + taken.seconds,
                worst=max(was.worst, taken.worst),
            )
        found = sorted(alike.values(), key=lambda slow: slow.seconds, reverse=True)[:limit]
        return [structs.replace(slow, plan=plan(*_slowest_of(*example[slow.statement]))) for slow in found]

    def _known(self, statement: str) -> _Taken:
        with self._lock:
            if len(self._taken) >= _MOST:
                kept = sorted(self._taken.items(), key=lambda item: item[1].seconds, reverse=True)[: _MOST // 2]
                self._taken = dict(kept)
            return self._taken.setdefault(statement, _Taken())


def _slowest_of(statement: str, taken: _Taken) -> tuple[str, Any]:
    """A statement with the values of its slowest run, of one row where it was run for many."""
    values = taken.parameters
    return statement, values[0] if taken.many and values else values


_TIMINGS, _BEGAN = "modelkeep timings", "modelkeep began"


def timed(engine: Engine, timings: Timings) -> None:
    """Let every statement of an engine be timed."""

    def connected(_: Any, record: Any) -> None:
        record.info[_TIMINGS] = timings

    event.listen(engine, "connect", connected)
    event.listen(engine, "before_cursor_execute", _begun)
    event.listen(engine, "after_cursor_execute", _ended)


def noted(connection: Connection, statement: str, *, seconds: float) -> None:
    """Count what ran past SQLAlchemy's events."""
    timings = connection.info.get(_TIMINGS)
    if timings is not None:
        timings.note(statement, seconds=seconds)


def _begun(connection: Connection, *_: Any) -> None:
    connection.info[_BEGAN] = time.perf_counter()


def _ended(connection: Connection, _: Any, statement: str, *rest: Any) -> None:
    info = connection.info
    parameters, _context, many = rest
    info[_TIMINGS].note(statement, seconds=time.perf_counter() - info[_BEGAN], parameters=parameters, many=many)


def shortened(statement: str) -> str:
    """A statement on one line, its lists of values shortened to one, so that those of any length are one statement.

    >>> shortened("SELECT a  FROM t WHERE (b, c) IN (VALUES (?, ?), (?, ?), (?, ?))")
    'SELECT a FROM t WHERE (b, c) IN (VALUES (?, ...), ...)'
    """
    line = " ".join(statement.split())
    line = _PLACES.sub(r"\1, ...", line)
    return _LISTS.sub(r"\1, ...", line)
