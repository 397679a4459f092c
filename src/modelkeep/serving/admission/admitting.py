"""Admission as the gateway and the doors see it: a gate for each version that takes a line, and the state of all."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Container
from time import monotonic, perf_counter

from msgspec import Struct

from modelkeep.runtimes import Loaded
from modelkeep.serving.admission.easing import Easing
from modelkeep.serving.admission.gates import Gate, GateView
from modelkeep.serving.admission.gradient import Limit
from modelkeep.serving.admission.pressure import STATES, Pressure, State

_log = logging.getLogger("modelkeep.serving")
HUNG = 2.0
"""A version that holds the event loop for so many seconds will not be trusted with it again."""
EVERY = 0.5
"""Seconds between two looks for changes of state."""


class Change(Struct, frozen=True, kw_only=True):
    """The state of a version's gate became another, ``ago`` seconds before it was noticed."""

    was: State
    now: GateView
    ago: float


class Hung(Struct, frozen=True, kw_only=True):
    """A version does not end its calls: it holds the event loop, or all of its threads."""

    model: str
    version: int
    why: str


class Admission:
    """The gates of all versions.

    They belong to the event loop; ``views`` and ``state`` may be called from any thread (at worst one window of counts
    comes out short). ``told`` is called with every change of state, in the thread that looks.
    """

    def __init__(
        self, *, calm: float = 3.0, settle: float = 4.0, share: float = 1.0,
        told: Callable[[Change], None] | None = None, now: Callable[[], float] = monotonic,
    ) -> None:  # fmt: skip
        self._calm, self._settle, self._share = calm, settle, share
        self.told = told
        self.now = now
        self.gates: dict[tuple[str, int], Gate] = {}
        """The gate of every version that has had a line."""
        self._easings: dict[str, Easing] = {}
        self._known: dict[tuple[str, int], State] = {}
        self.hung: Callable[[Hung], None] | None = None
        """Told once of each version that does not end its calls, in the thread that looks."""
        self.inline: tuple[Loaded, float] | None = None
        """The version that the event loop runs now, and since when (``perf_counter``)."""
        self._told: set[tuple[str, int]] = set()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def gate(self, loaded: Loaded, *, hands: int, most: int) -> Gate:
        """The gate of a version, made when it is first needed."""
        model, version = loaded.version.model, loaded.version.number
        gate = self.gates.get((model, version))
        if gate is None or gate.limit.hands != hands:
            limit = Limit(hands=hands, most=most, own=loaded.seconds)
            share = self._share
            pressure = Pressure(calm=self._calm, settle=self._settle, used=share)
            gate = self.gates[model, version] = Gate(model, version, limit=limit, pressure=pressure, share=share)
        return gate

    def easing(self, work: str) -> Easing:
        """Whether some work beside the models is to be done with less, made when first asked for. From any thread."""
        found = self._easings.get(work)
        if found is None:
            made = Easing(hands=2 * (os.cpu_count() or 1), calm=self._calm, settle=self._settle, now=self.now)
            found = self._easings.setdefault(work, made)
        return found

    def known(self, model: str, version: int) -> Gate | None:
        """The gate of a version, or None while it has had no line."""
        return self.gates.get((model, version))

    def retain(self, versions: Container[tuple[str, int]]) -> None:
        """Forget the gates of all other versions."""
        for name in [name for name in list(self.gates) if name not in versions]:
            del self.gates[name]
            self._told.discard(name)
            self._known.pop(name, None)

    def look(self) -> None:
        """Tell what has changed since the last look. Belongs to one thread."""
        at = self.now()
        for name, gate in list(self.gates.items()):
            state, was = gate.pressure.look(at), self._known.get(name, "normal")
            if state != was:
                self._known[name] = state
                self._changed(Change(was=was, now=gate.view(at), ago=max(at - gate.pressure.since, 0.0)))
            if gate.stuck >= gate.limit.hands > 1:
                self._hangs(*name, why=f"{gate.stuck} calls do not end, and every thread of it is taken")
        inline = self.inline
        if inline is not None and perf_counter() - inline[1] > HUNG:
            version = inline[0].version
            seconds = perf_counter() - inline[1]
            self._hangs(version.model, version.number, why=f"it has held the event loop for {seconds:.1f} s")

    def _hangs(self, model: str, version: int, *, why: str) -> None:
        if (model, version) in self._told:
            return
        self._told.add((model, version))
        extra = {"model_name": model, "model_version": version}
        _log.critical("%s@%s hangs: %s", model, version, why, extra=extra)
        if self.hung is not None:
            self.hung(Hung(model=model, version=version, why=why))

    def start(self) -> None:
        """Look every 0.5 s of real time, in a thread of its own."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="admission", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(5.0)
            self._thread = None

    def _run(self) -> None:
        while not self._stop.wait(EVERY):
            self.look()

    @property
    def state(self) -> State:
        """The worst state of any version."""
        at = self.now()
        found = [gate.pressure.look(at) for gate in list(self.gates.values())]
        return max(found, key=STATES.index, default="normal")

    @property
    def strained(self) -> bool:
        """True while any version is not in the state normal."""
        return self.state != "normal"

    def views(self) -> list[GateView]:
        """How every gate stands, by model and version."""
        at = self.now()
        return [gate.view(at) for _, gate in sorted(self.gates.items())]

    def _changed(self, change: Change) -> None:
        view = change.now
        _log.log(
            logging.WARNING if view.state == "shedding" else logging.INFO,
            "%s@%s: %s -> %s", view.model, view.version, change.was, view.state,
            extra={"model_name": view.model, "model_version": view.version, "offered": round(view.offered, 1),
                   "capacity": view.capacity, "limit": view.limit},
        )  # fmt: skip
        if self.told is not None:
            self.told(change)
