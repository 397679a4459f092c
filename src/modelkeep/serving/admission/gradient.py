"""How many calls of one version may be under way: a limit that follows latency.

A version has a number of hands (threads, or its own process). More calls than hands wait in line, and waiting shows as
latency: the time from arrival to answer over the time in the model itself. Where that ratio exceeds ``TOLERANCE`` the
limit shrinks by it, and it grows by the square root of itself where there is room, which leaves a short line so that no
hand is ever idle. This is the gradient of TCP Vegas as in Netflix's concurrency-limits (``Gradient2Limit``) and Envoy's
adaptive concurrency; other than theirs, it needs no phases in which traffic is held back to learn the latency without
a line: the gateway measures a call's own time beside its waiting.
"""

from __future__ import annotations

TOLERANCE = 2.0
"""The whole may take so many times the model's own time before the limit shrinks."""
LEAST_GRADIENT = 0.5
_WEIGHT = 0.2
_NEWEST = 0.05


class Limit:
    """The limit of one version with so many ``hands``; never below them, never above ``most``.

    ``own`` is a call's own time as far as it is known beforehand.

    >>> limit = Limit(hands=4, most=260)
    >>> for _ in range(200):  # every call waits as long as the limit lets it: the line is kept short
    ...     limit.note(whole=0.02 * limit.value / 4, own=0.02, open_=limit.value)
    >>> 8 <= limit.value <= 12
    True
    """

    def __init__(self, *, hands: int, most: int, own: float = 0.0) -> None:
        self.hands, self.most = hands, most
        self._value = min(4.0 * hands, float(most))
        self._n = 1 if own > 0 else 0
        self.own = own if own > 0 else 0.0
        """A call's own time in seconds: the mean of the newest; 0 before the first."""
        self.abreast = 1.0
        """Requests that one hand answers in one call, where they are put together."""

    @property
    def value(self) -> int:
        """Calls that may be under way, those in line included."""
        return max(int(self._value), int(self.hands * self.abreast))

    def note(self, *, whole: float, own: float, open_: int) -> None:
        """Take in one call: seconds from arrival to answer, seconds in the model, and how many were under way."""
        self._n += 1
        self.own += max(_NEWEST, 1 / self._n) * (own - self.own)
        if open_ * 2 < self._value or whole <= 0:
            return  # the traffic is what limits, and says nothing of how much more would be borne
        gradient = min(1.0, max(LEAST_GRADIENT, TOLERANCE * self.own / whole))
        wanted = self._value * gradient + self._value**0.5
        self._value = min(max((1 - _WEIGHT) * self._value + _WEIGHT * wanted, float(self.hands)), float(self.most))

    def wait(self, open_: int) -> float:
        """How long one more call would take with so many under way, in seconds, as far as is known."""
        return self.own * (open_ // max(int(self.hands * self.abreast), 1) + 1)
