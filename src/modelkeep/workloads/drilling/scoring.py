"""The transparent health score: three weighted factors that add up to it, its confidence, and where it is heading."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from msgspec import Struct

from modelkeep.workloads.drilling.features import RECENT, Factors, Features, Hour
from modelkeep.workloads.drilling.limits import Limits
from modelkeep.workloads.drilling.sessions import Floats

Risk = Literal["low", "medium", "high", "critical"]
RISKS: tuple[tuple[float, Risk], ...] = ((80.0, "low"), (60.0, "medium"), (40.0, "high"), (-math.inf, "critical"))
"""The least health of each risk level, as the guide's live service had it."""
ENOUGH = 120
"""Rows (an hour of work) at which the amount of data alone takes a third off the confidence no more."""
GOOD = 70.0
LOOK_BACK = 72.0
LEAST_POINTS = 5
WITHIN = 168.0
"""A failure expected later than this many hours from now is no alert yet."""
_Z = 1.96


class Factor(Struct, frozen=True, kw_only=True):
    """One factor of a score: its value 0-100, its weight, and ``contribution`` = weight x value; these add up."""

    feature: str
    value: float
    importance: float
    impact: Literal["positive", "negative"]
    contribution: float


class Trend(Struct, frozen=True, kw_only=True):
    """Where the hourly scores are heading: ``rate`` in points an hour with its 95 % interval, from ``n`` hours.

    ``hours`` is the time until health reaches the critical threshold, None when it does not fall surely, or only later
    than a week; ``confidence`` grows with the correlation and with n.
    """

    rate: float
    interval: tuple[float, float]
    level: float
    n: int
    confidence: float
    hours: float | None


class Score(Struct, frozen=True, kw_only=True):
    """The health of one device, or None with the ``reason`` why it is not known.

    ``confidence`` 0-1 grows with rows, days of history and known factors; ``interval`` is a 95 % interval from the
    spread between hours (None below two hours); ``reason`` also says why confidence is reduced.
    """

    device_id: str
    health: float | None
    interval: tuple[float, float] | None = None
    risk: Risk | None = None
    confidence: float = 0.0
    reason: str = ""
    factors: tuple[Factor, ...] = ()
    trend: Trend | None = None
    end: float | None = None


def nothing(device_id: str, reason: str) -> Score:
    """The score of a device of which nothing is known."""
    return Score(device_id=device_id, health=None, reason=reason)


def score(found: Features, limits: Limits) -> Score:
    """The health of a device by the guide's weights, per operating state.

    A factor that is not known gives its weight to the others and takes the same share off the confidence. Without
    current there is no score.
    """
    parts = weighed(found.recent, limits)
    if parts is None:
        return nothing(found.device_id, f"no state has enough readable current in the last hours of {found.rows} rows")
    health = sum(part.contribution for part in parts)
    hourly = hours(found.hours, limits)
    confidence, reason = _confidence(found, parts, limits=limits)
    return Score(
        device_id=found.device_id,
        health=health,
        interval=_interval(health, [value for _, value in hourly[-RECENT:]]),
        risk=next(risk for least, risk in RISKS if health >= least),
        confidence=confidence,
        reason=reason,
        factors=parts,
        trend=trend(hourly, limits),
        end=found.end,
    )


def weighed(found: Factors, limits: Limits) -> tuple[Factor, ...] | None:
    """The factors with their contributions, or None without a current stability."""
    if found.current_stability is None:
        return None
    named = (
        ("current_stability", found.current_stability, limits.current_weight, GOOD),
        ("battery_performance", found.battery_performance, limits.battery_weight, GOOD),
        ("gps_reliability", found.gps_reliability, limits.gps_weight, 80.0),
    )
    known = [(name, value, weight, good) for name, value, weight, good in named if value is not None]
    total = sum(weight for _, _, weight, _ in known)
    return tuple(
        Factor(
            feature=name,
            value=value,
            importance=weight / total,
            impact="positive" if value > good else "negative",
            contribution=value * weight / total,
        )
        for name, value, weight, good in known
    )


def hours(found: Sequence[Hour], limits: Limits) -> list[tuple[float, float]]:
    """The score of every hour that has one, as (start of the hour, score)."""
    scored = [(hour.start, weighed(hour.factors, limits)) for hour in found]
    return [(start, sum(part.contribution for part in parts)) for start, parts in scored if parts is not None]


def trend(hourly: Sequence[tuple[float, float]], limits: Limits) -> Trend | None:
    """The Theil-Sen slope (Sen 1968) of the last three days' hourly scores, in points an hour; None below 5 hours.

    The interval is the slope +- 1.96 standard errors of the least-squares line. Failure is expected where the line
    reaches ``limits.critical``, and only when the whole interval falls.
    """
    if not hourly:
        return None
    end = hourly[-1][0]
    recent = [(start, value) for start, value in hourly if end - start <= LOOK_BACK * 3600]
    if len(recent) < LEAST_POINTS:
        return None
    x = np.array([(start - end) / 3600 for start, _ in recent])
    y = np.array([value for _, value in recent])
    slope = _theil_sen(x, y)
    level = float(np.median(y - slope * x))
    residual = y - level - slope * x
    error = float(np.sqrt((residual**2).sum() / max(len(x) - 2, 1) / ((x - x.mean()) ** 2).sum()))
    interval = (slope - _Z * error, slope + _Z * error)
    spread = float(y.std())
    strength = 0.0 if spread == 0 else min(abs(float(np.corrcoef(x, y)[0, 1])), 1.0)
    until = (level - limits.critical) / -slope if interval[1] < 0 else None
    return Trend(
        rate=slope,
        interval=interval,
        level=level,
        n=len(x),
        confidence=0.8 * strength + 0.2 * min(len(x) / 20, 1.0),
        hours=None if until is None or until > WITHIN else max(until, 0.0),
    )


def _theil_sen(x: Floats, y: Floats) -> float:
    left, right = np.triu_indices(len(x), 1)
    return float(np.median((y[right] - y[left]) / (x[right] - x[left])))


def _interval(health: float, hourly: Sequence[float]) -> tuple[float, float] | None:
    if len(hourly) < 2:
        return None
    half = _Z * float(np.std(hourly, ddof=1)) / math.sqrt(len(hourly))
    return max(health - half, 0.0), min(health + half, 100.0)


def _confidence(found: Features, parts: Sequence[Factor], *, limits: Limits) -> tuple[float, str]:
    """Confidence 0-1, and in words what takes from it."""
    days = math.floor(found.history_days + 1e-9)
    history = min(found.history_days / limits.window_days, 1.0)
    amount = found.rows / (found.rows + ENOUGH / 2)
    lacking = [
        name
        for name in ("current_stability", "battery_performance", "gps_reliability")
        if name not in {part.feature for part in parts}
    ]
    reasons = []
    if days < limits.window_days:
        reasons.append(f"history {days}/{limits.window_days:g} days")
    if amount < 0.9:
        reasons.append(f"{found.rows} rows")
    if lacking:
        reasons.append(f"no {', '.join(lacking)}")
    share = 1 - len(lacking) / 3
    return amount * (0.5 + 0.5 * history) * share, "; ".join(reasons)
