"""The crowd before a version that runs in the event loop: who goes first in a turn, and who is told at once to go.

Such a version has no line of its own. What one turn of the loop cannot answer waits for the next, in the order of
urgency. How long each would wait is known from how fast the crowd moved lately, whatever else the loop had to do; who
would wait longer than a line may last (``gates``) is turned away before anything of the request is read.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from operator import attrgetter
from time import perf_counter
from typing import Any, Protocol, TypeVar

from modelkeep.errors import Overloaded
from modelkeep.serving.admission.gates import FRESH, LINE, PRIORITIES, Gate, Priority, patience

_NEWEST, _AT_ONCE = 0.2, 3.0
NOBODY: Mapping[Priority, int] = {}
"""Nobody was refused since the last turn."""
_NONE: Sequence[list[Any]] = ([], [], [])
"""Nobody stands there, of any priority."""


class Waiter(Protocol):
    """A request that waits: how urgent it is, and since when it has waited."""

    @property
    def rank(self) -> int:
        """The place of its priority in ``PRIORITIES``."""

    @property
    def came(self) -> float:
        """The moment at which it came."""


W = TypeVar("W", bound=Waiter)
_rank, _came = attrgetter("rank"), attrgetter("came")


class Crowd:
    """Those who wait at one place for the event loop. Moments are of ``perf_counter``; belongs to the loop."""

    def __init__(self) -> None:
        self._each: float | None = None
        """Seconds in which the crowd moves by one, all that the loop does beside it included."""
        self._left = self._done = 0
        self._standing: Sequence[list[Any]] = _NONE
        """Those who were left, by priority, in the order in which they came."""
        self._began = 0.0
        self._rested = self._eased = float("-inf")
        """When nobody was left waiting, and nobody critical, last."""
        self._shut = [float("-inf") for _ in PRIORITIES]
        """Until when nobody of a priority is let in, since some of it have waited in vain."""
        self._gate: Gate | None = None

    @property
    def left(self) -> int:
        """How many the last turn has left: the first of those who wait now."""
        return self._left

    @property
    def quiet(self) -> bool:
        """True while nobody waits for the next turn, and nobody was turned away lately."""
        return self._gate is None and not self._left

    def thin(
        self,
        waiting: list[W],
        *,
        room: int,
        at: float,
        gate: Callable[[], Gate | None],
        ticks: float,
        early: Mapping[Priority, int] = NOBODY,
    ) -> tuple[list[W], Sequence[tuple[Priority, Overloaded, list[W]]]]:
        """Begin a turn that answers about ``room``: who stays, the most urgent first, and who had better go.

        ``gate`` names the gate of the version and is asked when it is first needed; ``ticks`` is the moment on its
        clock. ``early`` says how many went since the last turn, as ``turned`` has said.
        """
        left, self._left = self._left, 0  # a turn that fails has left nobody whom this crowd knows
        arrived = len(waiting) - left + sum(early.values())
        if left and self._done and at > self._began:
            self._learn((at - self._began) / self._done)
        self._began = at
        gone: dict[Priority, list[W]] = {}
        if len(waiting) <= room:
            self._rested = at
            self._shut = [float("-inf") for _ in PRIORITIES]
        else:
            waiting, gone = self._parted(waiting, left, room=room, at=at, ticks=ticks)
            if gone and self._gate is None:
                self._gate = gate()
        if self._gate is None:
            return waiting, ()
        away = Counter(early)
        for priority, them in gone.items():
            away[priority] += len(them)
        self._gate.crowded(away, arrived=arrived, each=self._each or 0.0, at=ticks)
        refusal = partial(self._gate.refusal, at=ticks)
        return waiting, [(priority, refusal(priority), them) for priority, them in gone.items()]

    def refusal(self, priority: Priority, *, ticks: float) -> Overloaded:
        """What they hear for whom ``turned`` has said that there is no place."""
        assert self._gate is not None  # noqa: S101 - else it names nobody
        return self._gate.refusal(priority, at=ticks)

    def turned(self, waiting: list[W], *, done: int, room: int, at: float, ticks: float) -> Sequence[bool]:
        """End a turn in which so many were answered, and these are left; for which priorities there is no place more.

        That is what the next turn, with so much ``room``, would find of whoever comes until then; empty while nobody
        was turned away.
        """
        left = len(waiting)
        self._done, self._left, self._standing = done, left, _by_rank(waiting)
        gate, each = self._gate, self._each
        if gate is None:
            return ()
        gate.served(done, waiting=left, at=ticks)
        if not left and gate.pressure.state == "normal":
            self._gate = None
        if left < room:
            return ()
        found, ahead = [], 0
        for rank, (mine, bound) in enumerate(zip(self._standing, self._bounds(at), strict=True)):
            ahead += len(mine)
            found.append((each or 0.0) * ahead > bound or self._lost(rank, mine, bound=bound, at=at))
        return found

    def _bounds(self, at: float) -> list[float]:
        """How many seconds a line of each priority may last at this moment."""
        fresh = self._gate is None and at - self._rested < FRESH
        bounds = [patience(priority, fresh=fresh) for priority in PRIORITIES]
        bounds[0] = patience("critical", fresh=at - self._eased < FRESH)
        return bounds

    def _learn(self, each: float) -> None:
        """Take in one turn; a pause in which the machine did something else says little."""
        known = self._each
        self._each = each if known is None else known + _NEWEST * (min(each, _AT_ONCE * known) - known)

    def _parted(
        self, waiting: list[W], left: int, *, room: int, at: float, ticks: float
    ) -> tuple[list[W], dict[Priority, list[W]]]:
        """Those who may stay, in the order of urgency, and the others by priority; so many were ``left`` before.

        Who comes anew goes when those before would take too long, or have: what is less urgent moves slower than the
        crowd. Who was let stay before may stay on, unless that has taken longer than any line may last; then nobody of
        that priority is let in for ``FRESH`` seconds, who would wait in vain, too. A pause of the machine alone turns
        nothing critical away.
        """
        each = self._each
        if each is None:
            return sorted(waiting, key=_rank), {}
        before, new = self._standing if left else _NONE, _by_rank(waiting[left:])
        urgent = len(before[0]) + len(new[0])
        if urgent <= room or each * urgent < LINE:
            self._eased = at
        bounds = self._bounds(at)
        stay: list[W] = []
        gone: dict[Priority, list[W]] = {}
        for rank, priority in enumerate(PRIORITIES):
            mine, longest, bound = before[rank], patience(priority, fresh=True), bounds[rank]
            old = bisect_left(mine, at - longest, key=_came)  # in a class who came first stands first
            if old:
                self._shut[rank] = at + FRESH
            stay += mine[old:]
            full = self._lost(rank, mine, bound=bound, at=at)
            goes = mine[:old] + (new[rank] if full else self._too_late(new[rank], stay, most=bound / each, ticks=ticks))
            if goes:
                gone[priority] = goes
        return stay, gone

    def _lost(self, rank: int, mine: Sequence[W], *, bound: float, at: float) -> bool:
        """Whether who comes anew would only wait, since others of the same priority do; never for what is urgent."""
        return rank > 0 and (at < self._shut[rank] or (bool(mine) and at - mine[0].came > bound))

    def _too_late(self, came: list[W], stay: list[W], *, most: float, ticks: float) -> list[W]:
        """Put behind those who stay who came anew, while they are not more than ``most``; the others."""
        gate = self._gate
        gone: list[W] = []
        for place, one in enumerate(came):
            if len(stay) > most:
                return gone + came[place:]
            if gate is not None:
                if gate.throttles(PRIORITIES[one.rank], at=ticks):
                    gone.append(one)
                    continue
                gate.take(ticks)
            stay.append(one)
        return gone


def _by_rank(waiting: list[W]) -> tuple[list[W], ...]:
    """The waiting of each priority, in the order in which they came."""
    ordered = sorted(waiting, key=_rank)
    ends = [bisect_right(ordered, rank, key=_rank) for rank in range(len(PRIORITIES))]
    return tuple(ordered[begin:end] for begin, end in pairwise((0, *ends)))


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
