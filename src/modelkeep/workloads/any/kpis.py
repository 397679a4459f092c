"""The twelve KPIs of an MLOps platform, each from what the product itself recorded, or unknown with the reason.

The targets are those of the operations guide for such platforms: uptime, response time, error rate, throughput;
accuracy, model latency, time until drift is found; time to detect and to resolve, deployments, failed changes, cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from modelkeep import Act, Alert, Operation, Reading

if TYPE_CHECKING:
    from modelkeep import App

DAY = 86400.0
DRIFTS = frozenset({"rot", "world", "bias", "skill"})
"""Readings that tell of drift."""
SLOT = 600.0
"""Seconds without any reading of the server after which it counts as down."""


class Kpi(Struct, frozen=True, kw_only=True):
    """One KPI: ``value`` is None when it is unknown, and ``detail`` says why; ``met`` then is None, too."""

    name: str
    target: str
    value: float | None
    unit: str
    met: bool | None
    n: int
    detail: str


class Span(Struct, frozen=True, kw_only=True):
    """Over how many days."""

    days: Annotated[float, Meta(description="Days to look back", gt=0, le=365)] = 7.0


class Kpis(Struct, frozen=True, kw_only=True):
    """The KPIs, in the order of the guide."""

    kpis: tuple[Kpi, ...]
    passed: int
    failed: int
    unknown: int


class Seen(Struct, frozen=True, kw_only=True):
    """What the KPIs are computed from: the span, and everything recorded in it."""

    start: float
    end: float
    pulse: tuple[float, ...]
    """Moments at which the server said how its store is."""
    newest: tuple[Reading, ...]
    alerts: tuple[Alert, ...]
    acts: tuple[Act, ...]
    predictions: int


class Goal(Struct, frozen=True, kw_only=True):
    """What a KPI is called, in what unit, and which values meet it (None: the value tells nothing)."""

    name: str
    target: str
    unit: str
    met: Callable[[float], bool | None]

    def at(self, value: float, *, n: int, detail: str) -> Kpi:
        """The KPI at this value."""
        return Kpi(
            name=self.name, target=self.target, unit=self.unit, value=value, met=self.met(value), n=n, detail=detail
        )

    def unknown(self, why: str, *, n: int = 0) -> Kpi:
        """The KPI without a value."""
        return Kpi(
            name=self.name, target=self.target, unit=self.unit, value=None, met=None, n=n, detail=f"unknown: {why}"
        )


UPTIME = Goal(name="uptime", target="> 99.9 %", unit="%", met=lambda v: v > 99.9)
RESPONSE = Goal(name="response time p95", target="< 200 ms", unit="ms", met=lambda v: v < 200)
ERRORS = Goal(name="error rate", target="< 0.1 %", unit="%", met=lambda v: v < 0.1)
THROUGHPUT = Goal(
    name="throughput", target="> 1,000 requests/min", unit="requests/min", met=lambda v: True if v > 1000 else None
)
ACCURACY = Goal(name="accuracy", target="> 90 %", unit="%", met=lambda v: v > 90)
LATENCY = Goal(name="model latency", target="< 100 ms", unit="ms", met=lambda v: v < 100)
DRIFT = Goal(name="drift found within", target="< 24 h", unit="h", met=lambda v: v < 24)
DETECT = Goal(name="time to detect", target="< 5 min", unit="min", met=lambda v: v < 5)
RESOLVE = Goal(name="time to resolve", target="< 15 min", unit="min", met=lambda v: v < 15)
DEPLOYMENTS = Goal(name="deployments", target="daily", unit="per day", met=lambda v: v >= 1)
FAILED = Goal(name="failed changes", target="< 5 %", unit="%", met=lambda v: v < 5)
COST = Goal(name="cost per prediction", target="< 0.01 $", unit="$", met=lambda v: v < 0.01)


def kpis(app: App, request: Span) -> Kpis:
    """Tell the twelve KPIs of the platform over the last days; what was not measured is unknown, with the reason."""
    end = app.rooms.clock.now()
    start = end - request.days * DAY
    with app.rooms.store.read() as ledger:
        seen = Seen(
            start=start,
            end=end,
            pulse=tuple(r.at for r in ledger.readings.series("store", "server", start=start, end=end)),
            newest=tuple(ledger.readings.newest()),
            alerts=tuple(a for a in ledger.alerts.all(limit=10_000) if a.opened >= start),
            acts=tuple(a for a in ledger.acts.all(limit=10_000) if a.at >= start),
            predictions=sum(ledger.records.counts(model)[0] for model in ledger.versions.models()),
        )
    found = tuple(told(seen))
    return Kpis(
        kpis=found,
        passed=sum(k.met is True for k in found),
        failed=sum(k.met is False for k in found),
        unknown=sum(k.met is None for k in found),
    )


def told(seen: Seen) -> Iterable[Kpi]:
    """Each KPI of what was seen."""
    yield _uptime(seen)
    yield _worst(seen, RESPONSE, reading="api_latency_p95", scale=1000)
    yield _worst(seen, ERRORS, reading="api_error_rate", scale=100)
    yield _worst(seen, THROUGHPUT, reading="api_requests_per_minute")
    yield _worst(seen, ACCURACY, reading="accuracy", scale=100, worse=min)
    yield _worst(seen, LATENCY, reading="latency_p95", scale=1000)
    yield _drift(seen)
    yield _mean(DETECT, [alert.opened - _began(alert) for alert in seen.alerts if alert.readings], what="alerts")
    pages = [a for a in seen.alerts if a.severity in {"high", "critical"} and a.resolved is not None]
    yield _mean(RESOLVE, [(a.resolved or 0.0) - a.opened for a in pages], what="critical alerts that are resolved")
    live = [act for act in seen.acts if act.what in {"release", "release.promoted"}]
    days = (seen.end - seen.start) / DAY
    yield DEPLOYMENTS.at(len(live) / days, n=len(live), detail=f"{len(live)} versions went live in {days:g} days")
    yield _changes(seen, live=len(live))
    yield COST.unknown("the product is not told what the machine costs", n=seen.predictions)


def _uptime(seen: Seen) -> Kpi:
    if not seen.pulse:
        return UPTIME.unknown("the server has not watched itself yet")
    down = sum(max(after - before - SLOT, 0.0) for before, after in pairwise((*seen.pulse, seen.end)))
    share = 100 * (1 - down / max(seen.end - seen.pulse[0], SLOT))
    detail = f"{down / 60:.0f} minutes without a sign of life since the first of {len(seen.pulse)} signs"
    return UPTIME.at(share, n=len(seen.pulse), detail=detail)


def _worst(
    seen: Seen, goal: Goal, *, reading: str, scale: float = 1.0, worse: Callable[[Iterable[float]], float] = max
) -> Kpi:
    known = {r.value: r for r in seen.newest if r.name == reading and r.value is not None}
    if not known:
        return goal.unknown(f"no reading {reading!r} has a value")
    value = worse(known)
    worst = known[value]
    return goal.at(value * scale, n=worst.n, detail=f"{worst.subject}: {worst.detail}")


def _drift(seen: Seen) -> Kpi:
    found = [a for a in seen.alerts if a.readings and any(r.name in DRIFTS for r in a.readings)]
    if not found:
        return DRIFT.unknown("no drift was found")
    lags = [alert.opened - _began(alert) for alert in found]
    return DRIFT.at(
        max(lags) / 3600, n=len(found), detail=f"the slowest of {len(found)}, from when it began by estimate"
    )


def _began(alert: Alert) -> float:
    """When what an alert tells of began: the estimate of its readings, else when they were first taken."""
    since = [r.facts.get("since") for r in alert.readings]
    known = [float(at) for at in since if isinstance(at, int | float) and not isinstance(at, bool)]
    return min((*known, *(r.at for r in alert.readings)))


def _mean(goal: Goal, seconds: Sequence[float], *, what: str) -> Kpi:
    if not seconds:
        return goal.unknown(f"no {what}")
    return goal.at(fmean(seconds) / 60, n=len(seconds), detail=f"the mean of {len(seconds)} {what}")


def _changes(seen: Seen, *, live: int) -> Kpi:
    if not live:
        return FAILED.unknown("nothing went live")
    failed = sum(act.what == "rollback" for act in seen.acts)
    return FAILED.at(100 * failed / live, n=live, detail=f"{failed} rolled back after {live} went live")


OPERATIONS = (Operation(name="any_kpis", method="GET", path="/api/kpis", request=Span, result=Kpis, run=kpis),)
