"""Overload as a state: normal -> shedding -> recovering -> normal, slow to leave so that it does not flap.

Every request is refused or let in by the limit alone; the state decides what is switched off meanwhile, and is what
people see. It begins when refusals last; it ends only when what is *asked for* (not what was let in) would fit into
the capacity that was seen, for ``calm`` seconds; and then the rest comes back over ``settle`` seconds. An overload that
returns soon after doubles the calm that the next end needs, so that square waves end in one long shedding.
Pure: moments come from the caller, on any clock that never runs backwards.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

State: TypeAlias = Literal["normal", "shedding", "recovering"]
STATES: tuple[State, ...] = ("normal", "recovering", "shedding")
"""The better first."""
WINDOW = 0.25
"""Seconds over which arrivals, refusals and answers are counted."""
FITS = 0.9
"""Demand below this share of the capacity is calm."""
BURST = 20
"""Refusals in one window that begin an overload at once; fewer must last into a second window."""
SOON = 60.0
"""An overload that returns within so many seconds needs double the calm."""
LONGEST = 60.0
_NEWEST = 0.5


class Pressure:
    """The state of one thing that can be overloaded.

    >>> pressure = Pressure(calm=3.0, settle=4.0)
    >>> for i in range(100):
    ...     pressure.arrived(i / 100, refused=i % 2 == 0)
    >>> pressure.look(1.0), pressure.look(4.5), pressure.look(9.0)
    ('shedding', 'recovering', 'normal')
    """

    def __init__(self, *, calm: float = 3.0, settle: float = 4.0, used: float = 1.0) -> None:
        self._calm, self._settle = calm, settle
        self._used = used
        """Such a share of what could be answered is let in while it sheds."""
        self._hold = calm
        self._window = -1
        self._arrived = self._refused = self._answered = 0
        self._refusing = 0
        self._calm_from = 0.0
        self._since = 0.0
        self._left = float("-inf")
        self.state: State = "normal"
        self.offered = 0.0
        """Requests a second that were asked for lately."""
        self.capacity: float | None = None
        """Requests a second that were answered while some were refused; None when none were yet."""

    @property
    def since(self) -> float:
        """When the state began."""
        return self._since

    def arrived(self, at: float, *, refused: bool) -> None:
        """Count one request."""
        self._turn(at)
        self._arrived += 1
        self._refused += refused

    def answered(self, at: float) -> None:
        """Count one answer of the version itself."""
        self._turn(at)
        self._answered += 1

    def came(self, at: float, *, arrived: int = 0, refused: int = 0, answered: int = 0) -> None:
        """Count several at once; ``refused`` are among those that arrived, now or before."""
        self._turn(at)
        self._arrived += arrived
        self._refused += refused
        self._answered += answered

    def look(self, at: float) -> State:
        """The state at a moment."""
        self._turn(at)
        self._pass(at)
        return self.state

    def share(self, at: float) -> float:
        """How much of what may wait is served in full: 1 in normal, 0 in shedding, and growing in recovering."""
        state = self.look(at)
        if state == "recovering":
            return min(max((at - self._since) / self._settle, 0.0), 1.0)
        return 1.0 if state == "normal" else 0.0

    def _turn(self, at: float) -> None:
        """Close the window that has ended, and with it those in which nothing came."""
        now = int(at // WINDOW)
        if now == self._window:
            return
        if self._window >= 0:
            self._closed((self._window + 1) * WINDOW)
            if now > self._window + 1:
                self.offered, self._refusing = 0.0, 0
            self._pass(at)
        self._window = max(now, self._window)
        self._arrived = self._refused = self._answered = 0

    def _pass(self, at: float) -> None:
        """The changes that come with time alone."""
        if self.state == "shedding" and at - self._calm_from >= self._hold:
            self._become("recovering", self._calm_from + self._hold)
        if self.state == "recovering" and at - self._since >= self._settle:
            self._become("normal", self._since + self._settle)

    def _closed(self, end: float) -> None:
        self.offered += _NEWEST * (self._arrived / WINDOW - self.offered)
        many = self._refused >= BURST and 2 * self._refused >= self._arrived
        self._refusing = self._refusing + 1 if self._refused else 0
        if self._refused and self._answered:
            seen = self._answered / WINDOW / (self._used if self.state == "shedding" else 1.0)
            self.capacity = seen if self.capacity is None else self.capacity + 0.2 * (seen - self.capacity)
        if self._refused or (self.capacity is not None and self.offered > FITS * self.capacity):
            self._calm_from = end
        if (many or self._refusing >= 2) and self.state != "shedding":
            self._become("shedding", end)

    def _become(self, state: State, at: float) -> None:
        if state == "shedding":
            soon = self.state == "recovering" or at - self._left < SOON
            self._hold = min(2 * self._hold, LONGEST) if soon else self._calm
        elif state == "normal":
            self._left = at
        self.state, self._since = state, at
