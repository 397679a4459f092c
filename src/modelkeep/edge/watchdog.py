"""A process whose event loop a model holds beyond its time limit starts anew: nobody can end the call from outside.

Versions that bring code run in processes of their own, which are ended one by one. This is for the others, which the
event loop runs itself because they are quick: should one hang, every connection of this process hangs with it. A call
that keeps the interpreter's lock as well is seen by the half that stands outside (``outside``). By the
time it starts anew the version's policy says ``isolation = "process"`` (see ``jobs.overloads.Demoting``), so that it
cannot hold the loop again.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from msgspec import Struct

from modelkeep.edge import outside
from modelkeep.edge.beating import STACKS, Beating
from modelkeep.jobs.overloads import Demoting
from modelkeep.serving.admission.admitting import HUNG, Hung

if TYPE_CHECKING:
    from modelkeep.app import App

log = logging.getLogger("modelkeep.edge")
EVERY = 0.5
AFTER = 1.0
"""Seconds beyond the limit, in which the policy is changed."""
AGAIN = 10.0
"""Seconds until another process watches from outside when one has ended."""
KEEPING = 5.0
"""Seconds that records which were taken may need to be safe."""
LONGEST = 20_000
"""Characters of stacks that go into the log."""
HELD = 75
"""The exit code of a helper that was held."""


class Held(Struct, frozen=True, kw_only=True):
    """A version that held an earlier process, and the stacks that this one left."""

    hung: Hung
    stacks: str


class Watchdog:
    """Looks from a thread of its own; ``anew`` starts the process anew, and does not come back.

    A call that keeps the interpreter's lock lets no thread look: with ``outer`` a process beside this one ends it then.
    """

    def __init__(self, app: App, *, anew: Callable[[], None], outer: bool = False, again: float = AGAIN) -> None:
        self._app, self._anew, self._outer = app, anew, outer and os.name == "posix"
        self._stop, self._again, self._rests = threading.Event(), again, 0.0
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(KEEPING)

    def held(self) -> str:
        """The version that holds the event loop beyond its limit, and for how long; empty when none does."""
        gateway = self._app.rooms.gateway
        inline = gateway.admission.inline
        if inline is None:
            return ""
        loaded, since = inline
        route = gateway.routes.get(loaded.version.model)
        limit = 0.0 if route is None else route.policy.limit
        seconds = perf_counter() - since
        if seconds <= max(limit, HUNG) + AFTER:
            return ""
        return f"{loaded.version.name} has held the event loop for {seconds:.1f} s"

    @property
    def allowed(self) -> float:
        """Seconds for which any version of this process may keep the interpreter's lock: the longest limit of them."""
        routes = list(self._app.rooms.gateway.routes.values())
        here = (route for route in routes if any(loaded.hands == 0 for loaded in route.loaded.values()))
        return max(HUNG, *(route.policy.limit for route in here), 0.0)

    def _run(self) -> None:
        beats: Beating | None = None
        try:
            while not self._stop.wait(EVERY):
                beats = self._beaten(beats)
                said = self.held()
                if said:
                    log.critical("this process starts anew: %s", said)
                    self._app.rooms.recorder.caught_up(KEEPING)
                    break
        finally:
            if beats is not None:
                beats.close()
        if not self._stop.is_set():
            self._anew()

    def _beaten(self, beats: Beating | None) -> Beating | None:
        """One beat for the process outside, which is started before the first; None where there can be none."""
        if not self._outer or perf_counter() < self._rests:
            return beats
        try:
            beats = beats or Beating(_folder(self._app))
            beats.beat(self.allowed)
        except BrokenPipeError:  # somebody ended it, or the system did for want of memory
            code = beats.close() if beats is not None else None
            log.warning(
                "what watched this process from outside has ended (%s); in %g s another does", code, self._again
            )
            self._rests = perf_counter() + self._again
            return None
        except (OSError, RuntimeError) as fault:  # no process, thread or file more: this half goes on alone
            log.warning("nobody watches this process from outside: %s", fault)
            self._outer = False
        return beats


def recall(app: App) -> tuple[Held, ...]:
    """Give each version that an earlier process of this folder was ended for a process of its own, by its policy.

    What is returned is for ``told``, once there is a log.
    """
    found: list[Held] = []
    for path in sorted(_folder(app).glob(STACKS.format("*"))):
        try:
            stacks = path.read_text(encoding="ascii", errors="replace")
        except FileNotFoundError:
            continue  # another process of this folder has begun at the same time
        path.unlink(missing_ok=True)
        _, mark, how = stacks.partition(outside.MARK)
        why = f"its process was {mark}{how.rstrip()}"
        for model, number in sorted(set(outside.FRAME.findall(stacks))):
            hung = Hung(model=model, version=int(number), why=why)
            Demoting(app.rooms)(hung)
            found.append(Held(hung=hung, stacks=stacks[:LONGEST]))
    return tuple(found)


def told(found: Iterable[Held]) -> None:
    """Log what was found."""
    for one in found:
        hung, extra = one.hung, {"model_name": one.hung.model, "stacks": one.stacks}
        log.critical("%s@%s hangs: %s", hung.model, hung.version, hung.why, extra=extra)


def restart() -> None:
    """The same command again in this very process: its number stays, its connections and helpers end."""
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - what runs already


def leave() -> None:
    """End now; the server sees it and starts another helper."""
    os._exit(HELD)


def _folder(app: App) -> Path:
    return app.rooms.folder / "work"
