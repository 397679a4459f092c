"""The gate of one version: who gets in now, who is turned away at once, and who is answered by less."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from modelkeep.errors import Overloaded
from modelkeep.serving.admission.gradient import Limit
from modelkeep.serving.admission.pressure import Pressure, State

Priority: TypeAlias = Literal["critical", "normal", "batch"]
PRIORITIES: tuple[Priority, ...] = ("critical", "normal", "batch")
"""The most urgent first."""
SHARES = {"critical": 2.0, "normal": 0.8, "batch": 0.5}
"""Up to which share of the limit a priority gets in: what is urgent always finds room that the others leave."""
LINE, BURST_LINE = 0.1, 0.5
"""Seconds in which a line must be worked off: one that lasts, and one that was empty within ``FRESH`` seconds."""
FRESH = 1.0
LEAST_WAIT, MOST_WAIT = 1.0, 30.0


def patience(priority: Priority, *, fresh: bool) -> float:
    """So many seconds a request may wait in a line that is ``fresh`` (was empty a moment ago), or lasts."""
    return SHARES[priority] * (BURST_LINE if fresh else LINE)


class GateView(Struct, frozen=True, kw_only=True):
    """How one version's gate stands.

    ``open`` calls are under way of at most ``limit``; ``load`` is what is asked for over what can be answered (None
    until both are known); ``shed`` and ``lowered`` count requests since the start, by priority.
    """

    model: str
    version: int
    state: State
    since: float
    open: int
    limit: int
    own_seconds: float
    offered: float
    capacity: float | None
    load: float | None
    shed: dict[str, int]
    lowered: dict[str, int]


class Gate:
    """The gate of one version whose calls take a line. Belongs to the event loop: no lock."""

    def __init__(self, model: str, version: int, *, limit: Limit, pressure: Pressure, share: float = 1.0) -> None:
        self.model, self.version = model, version
        self.limit, self.pressure = limit, pressure
        self.open = 0
        self._by: Counter[str] = Counter()
        self._empty = self._eased = float("-inf")
        """When hands were free last, and when they would have been without what is not critical."""
        self._lost: list[Future[Any]] = []
        self.shed: Counter[str] = Counter()
        self.lowered: Counter[str] = Counter()
        self._turn = 0.0
        self._crowd = self._fits = 0
        self._each = 0.0
        self._share, self._due = share, float("-inf")

    @property
    def stuck(self) -> int:
        """Calls that were given up and have not ended."""
        if self._lost:
            self._lost = [call for call in self._lost if not call.done()]
        return len(self._lost)

    def lose(self, call: Future[Any]) -> None:
        """A call goes on though nobody waits for it any more; one that answers several is one."""
        if not any(known is call for known in self._lost):
            self._lost.append(call)

    def enter(self, priority: Priority, *, at: float, within: float = float("inf")) -> None:
        """Let one call in that is to be answered ``within`` so many seconds; ``leave`` must follow.

        Raises Overloaded when it would only wait, naming when to try again.
        """
        refusal = self.refuses(priority, at=at, within=within)
        if refusal is not None:
            raise refusal
        self.pressure.arrived(at, refused=False)
        self.take(at)
        self.open += 1
        self._by[priority] += 1

    def refuses(
        self, priority: Priority, *, at: float, within: float = float("inf"), coming: int = 0
    ) -> Overloaded | None:
        """The refusal of one more call, counted; None when it may enter, behind so many that are ``coming``."""
        self._note_free(at)
        ahead = self._ahead(priority) + coming
        room = self._room(priority, at=at)
        fits = ahead < room and (ahead <= 0 or self.limit.wait(ahead) <= within)
        if fits and not self.throttles(priority, at=at):
            return None
        self.pressure.arrived(at, refused=True)
        return self._refusal(priority, ahead=ahead, at=at)

    def throttles(self, priority: Priority, *, at: float) -> bool:
        """Whether one more that is not critical would be more than the share that is to be used while it sheds."""
        return self._due - at > LINE and priority != "critical" and self.pressure.state == "shedding"

    def take(self, at: float) -> None:
        """Count one that is let in, where only a share of what could be answered is to be used."""
        each = self._each or self.limit.own / self.limit.hands
        if self._share < 1 and each and self.pressure.state == "shedding":
            self._due = max(self._due, at) + each / self._share

    def crowded(self, gone: Mapping[Priority, int], *, arrived: int, each: float, at: float) -> None:
        """Count so many who were turned away while they waited for the event loop, by priority, and all that arrived.

        ``each`` is how many seconds it takes until the crowd has moved by one.
        """
        self._each = each
        self._fits = int(patience("critical", fresh=False) / each) if each else 0
        self.pressure.came(at, arrived=arrived, refused=sum(gone.values()))
        for priority, n in gone.items():
            self.shed[priority] += n

    def refusal(self, priority: Priority, *, at: float) -> Overloaded:
        """What those who wait for the event loop hear; not counted (``crowded`` does)."""
        return self._overloaded(priority, ahead=self._crowd, at=at)

    def served(self, answered: int, *, waiting: int, at: float) -> None:
        """So many were answered in one turn of the event loop, and so many wait for the next."""
        self._crowd = waiting
        self.pressure.came(at, answered=answered)

    def waits(self, seconds: float, priority: Priority, *, fresh: bool, at: float) -> Overloaded | None:
        """The refusal of a call that has waited so long for the event loop already, counted; None when it may go on."""
        if seconds > patience(priority, fresh=fresh):
            self.pressure.arrived(at, refused=True)
            return self._refusal(priority, ahead=self._crowd, at=at)
        if self.pressure.state != "normal":
            self.pressure.came(at, arrived=1, answered=1)
        return None

    def late(self, priority: Priority, *, at: float) -> Overloaded:
        """The refusal of a call that was let in and stood in line until its time was up."""
        self.pressure.arrived(at, refused=True)
        return self._refusal(priority, ahead=self._ahead(priority), at=at)

    def _refusal(self, priority: Priority, *, ahead: int, at: float) -> Overloaded:
        self.shed[priority] += 1
        return self._overloaded(priority, ahead=ahead, at=at)

    def _overloaded(self, priority: Priority, *, ahead: int, at: float) -> Overloaded:
        return Overloaded(
            f"{self.model}@{self.version} has {ahead} calls under way, more {priority} ones would only wait",
            remedy="try again later, or send X-Priority: critical with what cannot wait",
            wait=self.wait(at),
        )

    def _room(self, priority: Priority, *, at: float) -> float:
        """How many calls may be under way for one more of this priority to get in.

        A line that is soon worked off is nobody's harm, however many calls stand in it. As in CoDel, what matters is
        whether a line lasts: after a burst it may take longer.
        """
        limit, share = self.limit, SHARES[priority]
        empty = self._eased if priority == "critical" else self._empty
        seconds = BURST_LINE if at - empty < FRESH else LINE
        hands = limit.hands * limit.abreast
        short = hands * seconds / limit.own if limit.own else 0.0
        least = hands if priority == "batch" else 1 + hands
        return min(max(share * max(limit.value, short), least), limit.most)

    def _ahead(self, priority: Priority) -> int:
        """Calls under way that go before one more of this priority: what is less urgent lets it pass."""
        if priority == "critical":
            return self._by["critical"]
        return self.open - self._by["batch"] if priority == "normal" else self.open

    def leave(self, priority: Priority, *, at: float, whole: float, own: float) -> None:
        """One call has ended: seconds since it arrived, and seconds in the model itself (0 = it never got there)."""
        if own > 0:
            self.limit.note(whole=whole, own=own, open_=self.open)
            self.pressure.answered(at)
        self.open -= 1
        self._by[priority] -= 1
        self._note_free(at)

    def _note_free(self, at: float) -> None:
        if self._by["critical"] <= self.limit.hands:
            self._eased = at
            if self.open <= self.limit.hands:
                self._empty = at

    def lowers(self, priority: Priority, *, at: float) -> bool:
        """Whether a request of this priority is to be answered by less, where there is less. Counts it as asked for.

        In ``recovering`` a growing share is served in full again, spread evenly.
        """
        if priority == "critical" or self.pressure.state == "normal":
            return False
        self._turn += self.pressure.share(at)
        if self._turn >= 1.0:
            self._turn -= 1.0
            return False
        self.pressure.arrived(at, refused=False)
        self.lowered[priority] += 1
        return True

    def wait(self, at: float) -> float:
        """After how many seconds it is worth trying again."""
        state = self.pressure.look(at)
        line = self.limit.wait(self.open + self._crowd)
        return min(max(2 * line if state != "normal" else line, LEAST_WAIT), MOST_WAIT)

    def view(self, at: float) -> GateView:
        """How it stands."""
        pressure = self.pressure
        state = pressure.look(at)
        capacity = pressure.capacity
        return GateView(
            model=self.model,
            version=self.version,
            state=state,
            since=pressure.since,
            open=self.open + self._crowd,
            limit=self._fits or self.limit.value,
            own_seconds=self.limit.own,
            offered=pressure.offered,
            capacity=capacity,
            load=(self.open + self._crowd) / max(self._fits or self.limit.value, 1)
            if capacity is None
            else pressure.offered / capacity,
            shed=dict(self.shed),
            lowered=dict(self.lowered),
        )
