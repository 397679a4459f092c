"""The twelve KPIs of a drill: by what its callers saw, and where they cannot see it, by what the server recorded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from statistics import fmean, quantiles

from msgspec import Struct

from modelkeep.proving.load import Call
from modelkeep.workloads.any import kpis
from modelkeep.workloads.any.kpis import Kpi

MINUTE = 60.0
LATE = 15.0
"""Seconds after a fault in which an alert is still its."""


class Span(Struct, frozen=True, kw_only=True):
    """A fault as it went: moments, what came of it, and what callers saw meanwhile.

    ``survived`` is False when the server did not behave as it should; ``detail`` then says how. ``calls`` were due
    while it lasted; of these ``waited`` had to try again, ``lost`` never got an answer, and ``stood_in`` were answered
    by another version.
    """

    name: str
    start: float
    end: float
    survived: bool
    detail: str
    calls: int = 0
    waited: int = 0
    lost: int = 0
    stood_in: int = 0
    slowest: float | None = None


class Told(Struct, frozen=True, kw_only=True):
    """An alert, as far as it is needed: moments in seconds since 1970."""

    severity: str
    opened: float
    resolved: float | None


class Seen(Struct, frozen=True, kw_only=True):
    """Everything that the KPIs are computed from."""

    start: float
    end: float
    patience: float
    calls: tuple[Call, ...]
    spans: tuple[Span, ...]
    alerts: tuple[Told, ...]
    server: dict[str, Kpi]
    """The server's own KPIs by name."""
    live: int
    """Versions that went live."""
    bad: int
    """Bad ones among them."""


def seen_by(span: Span, calls: Sequence[Call]) -> Span:
    """A fault with what the calls that were due meanwhile had to suffer."""
    return Span(
        name=span.name,
        start=span.start,
        end=span.end,
        survived=span.survived,
        detail=span.detail,
        calls=len(calls),
        waited=sum(call.refused > 0 for call in calls),
        lost=sum(not call.ok for call in calls),
        stood_in=sum(call.stood_in for call in calls),
        slowest=max((call.ended - call.due for call in calls), default=None),
    )


def measured(seen: Seen) -> tuple[Kpi, ...]:
    """The twelve KPIs, in the order of the guide."""
    return tuple(_measured(seen))


def _measured(seen: Seen) -> Iterator[Kpi]:
    calls, minutes = seen.calls, max(seen.end - seen.start, 1e-9) / MINUTE
    lost = [call for call in calls if not call.ok]
    yield _uptime(seen)
    waits = [call.ended - call.due for call in calls if call.ok]
    yield (
        kpis.RESPONSE.at(1000 * _p95(waits), n=len(waits), detail="as callers saw it, their waiting included")
        if len(waits) > 1
        else kpis.RESPONSE.unknown("no caller was answered")
    )
    again = sum(call.refused > 0 for call in calls)
    yield (
        kpis.ERRORS.at(
            100 * len(lost) / len(calls),
            n=len(calls),
            detail=f"{len(lost)} of {len(calls):,} callers never got an answer; {again} had to try again",
        )
        if calls
        else kpis.ERRORS.unknown("nobody asked")
    )
    answered = (len(calls) - len(lost)) / minutes
    yield kpis.THROUGHPUT.at(answered, n=len(calls), detail="answered; more was not asked for")
    known = [call.right for call in calls if call.right is not None]
    yield (
        kpis.ACCURACY.at(100 * fmean(known), n=len(known), detail="of all answers, bad versions and stand-ins included")
        if known
        else kpis.ACCURACY.unknown("nobody was answered")
    )
    inside = [call.model_seconds for call in calls if call.model_seconds is not None]
    yield (
        kpis.LATENCY.at(1000 * _p95(inside), n=len(inside), detail="p95 of what the model itself took")
        if len(inside) > 1
        else kpis.LATENCY.unknown("nobody was answered")
    )
    yield seen.server.get(kpis.DRIFT.name, kpis.DRIFT.unknown("the server was not asked"))
    yield _detected(seen)
    ended = [one.resolved - one.opened for one in seen.alerts if one.resolved is not None]
    yield (
        kpis.RESOLVE.at(
            fmean(ended) / MINUTE, n=len(ended), detail=f"the mean of {len(ended)} alerts that are resolved"
        )
        if ended
        else kpis.RESOLVE.unknown("no alert was resolved")
    )
    yield kpis.DEPLOYMENTS.at(float(seen.live), n=seen.live, detail=f"{seen.live} went live in the day of this drill")
    yield (
        kpis.FAILED.at(100 * seen.bad / seen.live, n=seen.live, detail=f"{seen.bad} bad of {seen.live} that went live")
        if seen.live
        else kpis.FAILED.unknown("nothing went live")
    )
    yield kpis.COST.unknown("the product is not told what the machine costs", n=len(calls))


def _uptime(seen: Seen) -> Kpi:
    """The share of time in which a request that was made got its answer within the callers' patience."""
    if not seen.calls:
        return kpis.UPTIME.unknown("nobody asked")
    ordered = sorted(seen.calls, key=lambda call: call.due)
    ends = [call.due for call in ordered[1:]] + [seen.end]
    spans = [(call, max(end - call.due, 0.0)) for call, end in zip(ordered, ends, strict=True)]
    whole = sum(length for _, length in spans)
    down = sum(length for call, length in spans if call.status != 200)
    first = sum(length for call, length in spans if call.status != 200 or call.refused)
    detail = (
        f"answered within the {seen.patience:g} s that a caller tries; {first:.1f} s of {whole:.0f} s in which the"
        " first try failed"
    )
    return kpis.UPTIME.at(100 * (1 - down / whole) if whole else 100.0, n=len(ordered), detail=detail)


def _detected(seen: Seen) -> Kpi:
    lags = []
    for span in seen.spans:
        opened = [one.opened for one in seen.alerts if span.start <= one.opened < span.end + LATE]
        if opened:
            lags.append(min(opened) - span.start)
    if not lags:
        return kpis.DETECT.unknown("no alert was opened during a fault")
    return kpis.DETECT.at(
        fmean(lags) / MINUTE,
        n=len(lags),
        detail=f"from a fault to its first alert, over {len(lags)} faults that had one",
    )


def _p95(values: Sequence[float]) -> float:
    return quantiles(values, n=20, method="inclusive")[-1]


def epoch(text: str | None) -> float | None:
    """Seconds since 1970 of a moment in an answer."""
    return None if text is None else datetime.fromisoformat(text).timestamp()
