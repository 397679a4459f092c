"""Lines: what takes long waits here for a thread of its version, behind the version's gate."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Sequence

from modelkeep.errors import ModelkeepError
from modelkeep.nouns import Features
from modelkeep.runtimes import Loaded
from modelkeep.serving.admission.admitting import Admission
from modelkeep.serving.admission.gates import Gate, Priority
from modelkeep.serving.calling import Got, unasked
from modelkeep.serving.joining import Appetite, Asked
from modelkeep.serving.lanes import Lane

HANDS = 4
"""Threads of one version; a version in a process of its own has one."""
ALLOWANCE: dict[Priority, float] = {"critical": 0.0, "normal": 2.0, "batch": 5.0}
"""So many seconds later than a critical call one of this priority is due: it lets others pass, but not for ever."""
WAITING = 2000
"""So many calls stand in line at the very most; the gate lets in as many as are answered in time."""


class Lines:
    """The threads and the gate of every version that takes long. Belongs to the event loop."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._lanes: dict[tuple[str, int], Lane] = {}
        self._appetites: dict[str, Appetite] = {}

    def retain(self, versions: Container[tuple[str, int]]) -> None:
        """Let the threads of all other versions go."""
        for name in [name for name in list(self._lanes) if name not in versions]:
            self._lanes.pop(name).close()
            self._appetites.pop(f"{name[0]}@{name[1]}", None)
        self._admission.retain(versions)

    def close(self) -> None:
        """Let all threads go."""
        for lane in list(self._lanes.values()):
            lane.close()

    def gate(self, loaded: Loaded) -> Gate:
        """The gate of a version."""
        hands = loaded.hands or HANDS
        return self._admission.gate(loaded, hands=hands, most=hands + WAITING)

    async def ask(
        self, loaded: Loaded, rows: Sequence[Features], *, limit: float, priority: Priority = "normal"
    ) -> list[Got]:
        """What a version says to some rows, within ``limit`` seconds.

        Raises Overloaded at once when more calls are under way than answer in time.
        """
        name, n = loaded.version.name, len(rows)
        gate, lane, appetite = self.gate(loaded), self._lane(loaded), self._appetite(loaded)
        gate.limit.abreast = max(appetite.width / max(n, 1), 1.0)
        asked = Asked(loaded, rows, appetite, within=limit)
        if gate.stuck >= gate.limit.hands:
            return unasked(n, reason="timeout", why=f"{name} still has {gate.stuck} calls to answer that do not end")
        now = self._admission.now
        began = now()
        gate.enter(priority, at=began, within=limit)
        own = 0.0
        try:
            future = lane.submit(asked, due=began + ALLOWANCE[priority])
            if future is None:
                return unasked(n, reason="timeout", why=f"{name} still has {lane.running} calls to answer")
            try:
                got = await asyncio.wait_for(asyncio.wrap_future(future), limit)
            except TimeoutError:
                if future.cancelled():  # it stood in line all the time: nothing is known of the version
                    raise gate.late(priority, at=now()) from None
                own = limit
                if asked.lead is not None:
                    appetite.doubt()
                gate.lose(asked.lead or future)
                return unasked(n, reason="timeout", why=f"{name} took longer than {limit:g} s", seconds=limit)
            except ModelkeepError as failure:
                return unasked(n, reason="failed", why=str(failure))
            own = asked.spent
            return got
        finally:
            ended = now()
            gate.leave(priority, at=ended, whole=ended - began, own=own)

    def _appetite(self, loaded: Loaded) -> Appetite:
        known = self._appetites.get(loaded.version.name)
        if known is None:
            known = self._appetites[loaded.version.name] = Appetite()
        return known

    def _lane(self, loaded: Loaded) -> Lane:
        name = (loaded.version.model, loaded.version.number)
        lane, hands = self._lanes.get(name), loaded.hands or HANDS
        if lane is None or lane.threads != hands:
            if lane is not None:
                lane.close()
            lane = self._lanes[name] = Lane(loaded.version.name, threads=hands, waiting=WAITING)
        return lane
