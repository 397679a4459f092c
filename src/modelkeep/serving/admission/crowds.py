"""The crowd before a version that runs in the event loop: who goes first in a turn, and who is told at once to go.

Such a version has no line of its own. What one turn of the loop cannot answer waits for the next, in the order of
urgency. How long each would wait is known from how fast the crowd moved lately, whatever else the loop had to do; who
would wait longer than a line may last (``gates``) is turned away before anything of the request is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from operator import attrgetter
from time import perf_counter
from typing import Protocol, TypeVar

from modelkeep.errors import Overloaded
from modelkeep.serving.admission.gates import FRESH, LINE, PRIORITIES, Gate, Priority, patience

_NEWEST, _AT_ONCE = 0.2, 3.0


class Waiter(Protocol):
    """A request that waits: how urgent it is, and since when it has waited."""

    @property
    def rank(self) -> int:
        """The place of its priority in ``PRIORITIES``."""

    @property
    def came(self) -> float:
        """The moment at which it came."""


W = TypeVar("W", bound=Waiter)
_rank = attrgetter("rank")


class Crowd:
    """Those who wait at one place for the event loop. Moments are of ``perf_counter``; belongs to the loop."""

    def __init__(self) -> None:
        self._each: float | None = None
        """Seconds in which the crowd moves by one, all that the loop does beside it included."""
        self._left = self._done = 0
        self._began = 0.0
        self._rested = self._eased = float("-inf")
        """When nobody was left waiting, and nobody critical, last."""
        self._gate: Gate | None = None

    @property
    def quiet(self) -> bool:
        """True while nobody waits for the next turn, and nobody was turned away lately."""
        return self._gate is None and not self._left

    def thin(
        self, waiting: list[W], *, room: int, at: float, gate: Callable[[], Gate | None], ticks: float
    ) -> tuple[list[W], Sequence[tuple[Priority, Overloaded, list[W]]]]:
        """Begin a turn that answers about ``room``: who stays, the most urgent first, and who had better go.

        ``gate`` names the gate of the version and is asked when it is first needed; ``ticks`` is the moment on its
        clock.
        """
        arrived = len(waiting) - self._left
        if self._left and self._done and at > self._began:
            self._learn((at - self._began) / self._done)
        self._began = at
        gone: dict[Priority, list[W]] = {}
        if len(waiting) <= room:
            self._rested = at
        else:
            waiting, gone = self._parted(waiting, room=room, at=at, ticks=ticks)
            if gone and self._gate is None:
                self._gate = gate()
        if self._gate is None:
            return waiting, ()
        told = self._gate.crowded(
            {priority: len(them) for priority, them in gone.items()}, arrived=arrived, each=self._each or 0.0, at=ticks
        )
        return waiting, [(priority, told[priority], them) for priority, them in gone.items()]

    def turned(self, *, done: int, left: int, ticks: float) -> None:
        """End a turn in which so many were answered, and so many are left."""
        self._done, self._left = done, left
        gate = self._gate
        if gate is not None:
            gate.served(done, waiting=left, at=ticks)
            if not left and gate.pressure.state == "normal":
                self._gate = None

    def _learn(self, each: float) -> None:
        """Take in one turn; a pause in which the machine did something else says little."""
        known = self._each
        self._each = each if known is None else known + _NEWEST * (min(each, _AT_ONCE * known) - known)

    def _parted(
        self, waiting: list[W], *, room: int, at: float, ticks: float
    ) -> tuple[list[W], dict[Priority, list[W]]]:
        """Those who may stay, in the order of urgency, and the others by priority.

        Who comes anew goes when those before would take too long, or have: what is less urgent moves slower than the
        crowd. Who was let stay before may stay on, unless that has taken longer than any line may last. A pause of the
        machine alone turns nothing critical away.
        """
        each = self._each
        if each is None:
            return sorted(waiting, key=_rank), {}
        fresh = self._gate is None and at - self._rested < FRESH
        urgent = sum(one.rank == 0 for one in waiting)
        if urgent <= room or each * urgent < LINE:
            self._eased = at
        bounds = [patience(priority, fresh=fresh) for priority in PRIORITIES]
        bounds[0] = patience("critical", fresh=at - self._eased < FRESH)
        longest = [patience(priority, fresh=True) for priority in PRIORITIES]
        oldest = [0.0 for _ in PRIORITIES]
        known = {id(one) for one in waiting[: self._left]}
        gate, stay = self._gate, list[W]()
        gone: dict[Priority, list[W]] = {}
        for one in sorted(waiting, key=_rank):
            rank = one.rank
            if id(one) in known:
                age = at - one.came
                oldest[rank] = max(oldest[rank], age)
                goes = age > longest[rank]
            else:
                goes = each * len(stay) > bounds[rank] or (rank > 0 and oldest[rank] > bounds[rank])
                if gate is not None and not goes:
                    goes = gate.throttles(PRIORITIES[rank], at=ticks)
                    if not goes:
                        gate.take(ticks)
            if goes:
                gone.setdefault(PRIORITIES[rank], []).append(one)
            else:
                stay.append(one)
        return stay, gone


class Turns:
    """How long the loop's present turn has taken, for calls that each come by a task of their own.

    The tasks that one turn starts run one after another: who is not the first has waited for all before.
    """

    def __init__(self) -> None:
        self._began: float | None = None
        self._long = float("-inf")

    def waited(self, now: float) -> float:
        """Seconds since the first call of this turn. Belongs to the running loop."""
        if self._began is None:
            self._began = now
            asyncio.get_running_loop().call_soon(self._over)
        return now - self._began

    def fresh(self, now: float) -> bool:
        """True when no turn has lasted lately."""
        return now - self._long > FRESH

    def _over(self) -> None:
        now = perf_counter()
        if self._began is not None and now - self._began > LINE / 2:
            self._long = now
        self._began = None
