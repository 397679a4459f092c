"""How long the version takes: p50, p95 and p99 of its newest calls, against the policy's limit."""

from __future__ import annotations

from modelkeep.nouns import Level, Reading
from modelkeep.profile import Profile, Slice, Window, empty
from modelkeep.watch.folding import covers, honest, lacking, recent
from modelkeep.watch.intervals import quantile_ranks

NEED = {"latency_p50": (0.5, 10), "latency_p95": (0.95, 59), "latency_p99": (0.99, 299)}
"""Quantile and the calls it takes: from there on the slowest call lies above the true quantile 19 times of 20."""


def latency(window: Window) -> list[Reading]:
    """Readings ``latency_p50``, ``latency_p95`` and ``latency_p99`` in seconds, each with a 95 % interval.

    Level: critical when more than the policy's ``limit``, warning when more than half of it (the lower end of the
    interval counts), unknown with too few calls. Values are upper bounds of histogram buckets (26 % apart).
    """
    return [_quantile(window, name) for name in NEED]


def _quantile(window: Window, name: str) -> Reading:
    quantile, need = NEED[name]
    hours = recent(window.slices, need)
    profile = _calls(hours)
    have = int(profile.latency.sum())
    value = profile.seconds(quantile)
    if have < need or value is None:
        return lacking(window, name, have=have, need=need, what="timed calls")
    low, high = (profile.seconds(rank) or value for rank in quantile_ranks(quantile, have))
    limit = window.policy.limit
    level: Level = "critical" if low > limit else "warning" if low > limit / 2 else "ok"
    detail = (
        f"{quantile:.0%} of {have} calls in the last {covers(hours, window.end)} took at most {_ms(value)} "
        f"(95 % interval {_ms(low)} to {_ms(high)}; limit {_ms(limit)})"
    )
    return honest(
        Reading(
            name=name, subject=window.version.name, value=value, level=level, at=window.end, n=have,
            interval=(low, high), unit="s", detail=detail, facts={"limit": limit},
        )
    )  # fmt: skip


def _calls(hours: list[Slice]) -> Profile:
    total = empty()
    counts = total.latency
    for s in hours:
        counts = counts + s.profile.latency
    return Profile(latency=counts)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms"
