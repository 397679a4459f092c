"""How the doors themselves fare, as readings: response times, errors and requests since the watch looked last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from modelkeep.edge.traffic import EDGES, Traffic
from modelkeep.nouns import Level, Reading

if TYPE_CHECKING:
    from modelkeep.jobs.rooms import Rooms

LEAST = 20
"""Fewer requests than this tell neither a percentile nor a rate of errors."""
SLOW, FAILING = 0.2, 0.001
"""Limits of the platform's KPIs: the 95th percentile in seconds, and the share of answers that are 5xx."""
UNCOUNTED = ("/metrics", "/events", "/health")
"""Routes that machines ask again and again: they would hide what people and services see."""


class Vitals:
    """A probe on what one server process counted.

    ``api_latency_p95`` (s) is interpolated within the bucket of the histogram that holds it; ``api_error_rate`` is the
    share of 5xx answers; ``api_requests_per_minute`` the mean over the time since the last pass. With fewer than 20
    requests the first two are unknown.
    """

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._before: tuple[float, Counter[int], list[int]] | None = None

    def __call__(self, rooms: Rooms) -> Iterable[Reading]:
        """The readings of the time since the last call."""
        now = rooms.clock.now()
        statuses, durations = self._counted()
        then, old_statuses, old_durations = self._before or (now, Counter[int](), [0] * len(durations))
        self._before = now, statuses, durations
        fresh = statuses - old_statuses
        n = fresh.total()
        failed = sum(count for status, count in fresh.items() if status >= 500)
        yield _latency([a - b for a, b in zip(durations, old_durations, strict=True)], n=n, at=now)
        yield _errors(failed, n=n, at=now)
        if now > then:
            yield Reading(
                name="api_requests_per_minute", subject="server", value=60 * n / (now - then), level="ok", at=now, n=n,
                unit="1/min", detail=f"{n} requests in {now - then:.0f} s",
            )  # fmt: skip

    def _counted(self) -> tuple[Counter[int], list[int]]:
        statuses: Counter[int] = Counter()
        traffic = self._traffic.whole(self._traffic.others())
        for (_, route, status), count in traffic.requests.items():
            if not route.startswith(UNCOUNTED):
                statuses[status] += count
        durations = [0] * (len(EDGES) + 1)
        for (_, route), histogram in traffic.durations.items():
            if not route.startswith(UNCOUNTED):
                durations = [a + b for a, b in zip(durations, histogram.counts, strict=True)]
        return statuses, durations


def _latency(counts: list[int], *, n: int, at: float) -> Reading:
    if n < LEAST:
        return _unknown("api_latency_p95", n=n, at=at)
    value = p95(counts)
    level: Level = "warning" if value > SLOW else "ok"
    return Reading(
        name="api_latency_p95", subject="server", value=value, level=level, at=at, n=n, unit="s",
        detail=f"95 of 100 answers within {value * 1000:.3g} ms, of {n}",
    )  # fmt: skip


def _errors(failed: int, *, n: int, at: float) -> Reading:
    if n < LEAST:
        return _unknown("api_error_rate", n=n, at=at)
    level: Level = "warning" if failed / n > FAILING and failed > 1 else "ok"
    return Reading(
        name="api_error_rate", subject="server", value=failed / n, level=level, at=at, n=n,
        detail=f"{failed} of {n} requests failed by the server's fault",
    )  # fmt: skip


def _unknown(name: str, *, n: int, at: float) -> Reading:
    return Reading(
        name=name, subject="server", value=None, level="unknown", at=at, n=n,
        detail=f"{n} requests since the last pass, {LEAST} are needed",
    )  # fmt: skip


def p95(counts: list[int]) -> float:
    """The 95th percentile, in seconds, of durations counted by ``traffic.EDGES`` (the last bucket is open).

    >>> p95([0] * 4 + [100] + [0] * 10)  # a hundred between 10 and 25 ms
    0.02425
    """
    left = 0.95 * sum(counts)
    for place, count in enumerate(counts):
        if left <= count and count:
            low = EDGES[place - 1] if place else 0.0
            high = EDGES[place] if place < len(EDGES) else 2 * EDGES[-1]
            return round(low + (high - low) * left / count, 9)
        left -= count
    return 0.0
