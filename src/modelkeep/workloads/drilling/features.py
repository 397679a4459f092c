"""Features of one device from its telemetry: 24 figures, three factors from 0 to 100, and the same hour by hour.

Current is judged within each operating state, battery within each session: going from standby to drilling, or charging
between two jobs, is work and not wear. What cannot be computed is None, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from modelkeep.workloads.drilling.limits import Limits
from modelkeep.workloads.drilling.sessions import Floats, Session, Track, kilometres, overlaps

OFF, STANDBY, SPIN, DRILL, UNKNOWN = 0, 1, 2, 3, -1
STATES = ("off", "standby", "spin", "drill")
LEAST = 5
"""Fewer rows of a state say nothing about its spread."""
STEP = 30.0 / 3600.0
"""Hours that a row stands for: the device sends every 30 s."""
NOISE_KM = 0.25
"""A move shorter than this is the noise of a GPS receiver at rest; a stranger's receiver is seldom worse."""
HOUR = 3600.0
RECENT = 6
"""Hours with telemetry that tell how a device is now; a month would hide the last day before a failure."""


class State(Struct, frozen=True, kw_only=True):
    """One operating state of a device: how long, at what current (A), and how steady (0-100)."""

    state: str
    rows: int
    hours: float
    current_mean: float | None
    current_std: float | None
    stability: float | None


class Factors(Struct, frozen=True, kw_only=True):
    """The three factors of health, each 0-100 or None where the data do not say."""

    current_stability: float | None
    battery_performance: float | None
    gps_reliability: float | None


class Hour(Struct, frozen=True, kw_only=True):
    """One hour with telemetry: its start, rows, factors, and mean currents (A) while drilling and spinning."""

    start: float
    rows: int
    factors: Factors
    drilling: float | None = None
    spinning: float | None = None


class Features(Struct, frozen=True, kw_only=True):
    """What is known of one device between the moments ``start`` and ``end``; None where the data do not say.

    Currents in A, battery in %, times in hours unless named otherwise, shares 0-1, variance of the location in km2.
    ``recent`` are the factors of the last RECENT hours with telemetry, which health stands on.
    """

    device_id: str
    start: float
    end: float
    rows: int
    current_mean: float | None
    current_std: float | None
    current_max: float | None
    current_min: float | None
    current_trend: float | None
    battery_mean: float | None
    battery_std: float | None
    battery_min: float | None
    battery_drop_per_hour: float | None
    drilling_hours: float
    spinning_hours: float
    standby_hours: float
    state_changes: int
    drilling_efficiency: float | None
    sessions: int
    session_minutes_mean: float
    tagged_share: float
    peak_hour: int | None
    daily_hours: float
    location_variance: float | None
    total_km: float | None
    missing_gps_share: float
    missing_ble_share: float
    data_quality: float
    factors: Factors
    recent: Factors
    states: tuple[State, ...]
    hours: tuple[Hour, ...]

    @property
    def history_days(self) -> float:
        """Days from the first row to the last."""
        return (self.end - self.start) / 86400


def states(current: Floats, limits: Limits) -> NDArray[np.int64]:
    """The operating state of each row by its current in A: OFF, STANDBY, SPIN, DRILL, or UNKNOWN where it is missing.

    >>> states(np.array([0.1, 1.0, 3.0, 6.0, math.nan]), Limits()).tolist()
    [0, 1, 2, 3, -1]
    """
    edges = np.array([limits.standby_amp, limits.spin_amp, limits.drill_amp])
    found = np.searchsorted(edges, np.nan_to_num(current), side="left")
    return np.where(np.isfinite(current), found, UNKNOWN)


def extract(of: Track, found: Sequence[Session], *, limits: Limits) -> Features:
    """The features of a device with at least one row, its sessions given (see ``sessions.sessions``)."""
    state = states(of.current, limits)
    index = _session_of(of, found)
    known, charged = of.current[np.isfinite(of.current)], of.battery[np.isfinite(of.battery)]
    placed = np.isfinite(of.lat) & np.isfinite(of.lon)
    hours = {code: float((state == code).sum()) * STEP for code in (STANDBY, SPIN, DRILL)}
    working = sum(hours.values())
    days = len(np.unique(of.at // 86400))
    missing_gps, missing_ble = 1 - float(placed.mean()), 1 - float(of.tagged.mean())
    drilling = (of.at[state == DRILL] % 86400 // HOUR).astype(np.int64)
    return Features(
        device_id=of.device_id, start=float(of.at[0]), end=float(of.at[-1]), rows=of.size,
        current_mean=_mean(known), current_std=_std(known),
        current_max=float(known.max()) if known.size else None,
        current_min=float(known.min()) if known.size else None,
        current_trend=_slope(of.at / HOUR, of.current),
        battery_mean=_mean(charged), battery_std=_std(charged),
        battery_min=float(charged.min()) if charged.size else None,
        battery_drop_per_hour=_drop(of, found),
        drilling_hours=hours[DRILL], spinning_hours=hours[SPIN], standby_hours=hours[STANDBY],
        state_changes=_changes(state, found),
        drilling_efficiency=hours[DRILL] / working if working else None,
        sessions=len(found),
        session_minutes_mean=sum(s.minutes for s in found) / max(len(found), 1),
        tagged_share=sum(s.tagged for s in found) / max(len(found), 1),
        peak_hour=int(np.bincount(drilling, minlength=24).argmax()) if drilling.size else None,
        daily_hours=working / max(days, 1),
        location_variance=_variance(of.lat[placed], of.lon[placed]),
        total_km=_distance(of, found),
        missing_gps_share=missing_gps, missing_ble_share=missing_ble,
        data_quality=1 - 0.4 * missing_gps - 0.2 * missing_ble,
        factors=factors(of, state=state, session=index),
        recent=_recent(of, state, session=index),
        states=tuple(_state(of.current, state, code=code) for code in (OFF, STANDBY, SPIN, DRILL)),
        hours=_hours(of, state, session=index),
    )  # fmt: skip


def factors(of: Track, *, state: NDArray[np.int64], session: NDArray[np.int64]) -> Factors:
    """The three factors over the rows of a track.

    Current stability: 100 - 100 sd/mean within each working state, at least 0, weighted by rows. Battery performance:
    mean level less twice its range within each session, at least 0, weighted by rows. GPS reliability: share of rows
    with both coordinates, in per cent. (The formulas of the guide, taken per state and per session.)
    """
    steady = [(s.rows, s.stability) for code in (STANDBY, SPIN, DRILL) for s in [_state(of.current, state, code=code)]]
    return Factors(
        current_stability=_weighted([(n, value) for n, value in steady if value is not None]),
        battery_performance=_battery(of.battery, session),
        gps_reliability=100 * float((np.isfinite(of.lat) & np.isfinite(of.lon)).mean()) if of.size else None,
    )


def _recent(of: Track, state: NDArray[np.int64], *, session: NDArray[np.int64]) -> Factors:
    """The factors of the last RECENT hours that have telemetry."""
    worked = np.unique(of.at // HOUR)
    rows = np.flatnonzero(of.at // HOUR >= worked[-min(RECENT, len(worked))])
    return factors(of.part(rows), state=state[rows], session=session[rows])


def _battery(level: Floats, session: NDArray[np.int64]) -> float | None:
    known = np.isfinite(level)
    if not known.any():
        return None
    values, group = level[known], session[known]
    order = np.argsort(group, kind="stable")
    values, group = values[order], group[order]
    first = np.flatnonzero(np.diff(group, prepend=group[0] - 1))
    n = np.diff(np.append(first, len(group)))
    spread = np.maximum.reduceat(values, first) - np.minimum.reduceat(values, first)
    worth = np.maximum(np.add.reduceat(values, first) / n - 2 * spread, 0.0)
    return float((worth * n).sum() / n.sum())


def _state(current: Floats, state: NDArray[np.int64], *, code: int) -> State:
    own = current[state == code]
    mean, spread = _mean(own), _std(own)
    steady = None
    if len(own) >= LEAST and mean is not None and spread is not None and mean > 0:
        steady = max(0.0, 100 - 100 * spread / mean)
    return State(
        state=STATES[code], rows=len(own), hours=len(own) * STEP, current_mean=mean, current_std=spread,
        stability=steady,
    )  # fmt: skip


def _hours(of: Track, state: NDArray[np.int64], *, session: NDArray[np.int64]) -> tuple[Hour, ...]:
    hour = of.at // HOUR
    first = np.flatnonzero(np.diff(hour, prepend=hour[0] - 1))
    found = []
    for start, end in zip(first, [*first[1:], of.size], strict=True):
        rows = np.arange(start, end)
        own = factors(of.part(rows), state=state[rows], session=session[rows])
        drilling, spinning = (_mean(of.current[rows][state[rows] == code]) for code in (DRILL, SPIN))
        at = float(hour[start] * HOUR)
        found.append(Hour(start=at, rows=len(rows), factors=own, drilling=drilling, spinning=spinning))
    return tuple(found)


def _session_of(of: Track, found: Sequence[Session]) -> NDArray[np.int64]:
    index = np.zeros(of.size, dtype=np.int64)
    for number, session in enumerate(found):
        index[list(session.places)] = number
    return index


def _changes(state: NDArray[np.int64], found: Sequence[Session]) -> int:
    total = 0
    for session in found:
        own = state[list(session.places)]
        own = own[own != UNKNOWN]
        total += int((np.diff(own) != 0).sum())
    return total


def _drop(of: Track, found: Sequence[Session]) -> float | None:
    """Per cent of battery lost per hour of use, over sessions in which it fell or stayed."""
    lost = spent = 0.0
    for session in found:
        rows = [i for i in (session.places[0], session.places[-1]) if math.isfinite(of.battery[i])]
        if len(rows) == 2 and session.end > session.start and of.battery[rows[0]] >= of.battery[rows[1]]:
            lost += of.battery[rows[0]] - of.battery[rows[1]]
            spent += (session.end - session.start) / HOUR
    return float(lost / spent) if spent else None


def _distance(of: Track, found: Sequence[Session]) -> float | None:
    """Kilometres moved: within each session from anchor to anchor, and between sessions that do not overlap."""
    if not any(s.lat is not None for s in found):
        return None
    beside = {name for pair in overlaps(found) for name in (pair.first, pair.second)}
    total = sum(_path(of, session) for session in found)
    placed = [s for s in found if s.lat is not None and s.session_id not in beside]
    if len(placed) > 1:
        hops = kilometres(np.array([s.lat for s in placed]), np.array([s.lon for s in placed]))
        total += float(hops[hops > NOISE_KM].sum())
    return total


def _path(of: Track, session: Session) -> float:
    """The way from anchor to anchor: the next anchor is the first point farther than NOISE_KM from the last one."""
    places = np.array(session.places, dtype=np.intp)
    places = places[np.isfinite(of.lat[places]) & np.isfinite(of.lon[places])]
    lat, lon = of.lat[places], of.lon[places]
    total, anchor = 0.0, 0
    while anchor < len(lat) - 1:
        away = _from(lat[anchor:], lon[anchor:])
        beyond = np.flatnonzero(away > NOISE_KM)
        if not beyond.size:
            break
        total += float(away[beyond[0]])
        anchor += int(beyond[0])
    return total


def _from(lat: Floats, lon: Floats) -> Floats:
    """Kilometres of every point from the first."""
    lats, lons = np.empty(2 * len(lat)), np.empty(2 * len(lon))
    lats[0::2], lats[1::2], lons[0::2], lons[1::2] = lat[0], lat, lon[0], lon
    return kilometres(lats, lons)[0::2]


def _variance(lat: Floats, lon: Floats) -> float | None:
    if not lat.size:
        return None
    middle = np.full(len(lat), lat.mean()), np.full(len(lon), lon.mean())
    lats, lons = np.ravel(np.column_stack((middle[0], lat))), np.ravel(np.column_stack((middle[1], lon)))
    return float((kilometres(lats, lons)[0::2] ** 2).mean())


def _slope(x: Floats, y: Floats) -> float | None:
    known = np.isfinite(y)
    x, y = x[known], y[known]
    if len(x) < LEAST or float(np.ptp(x)) == 0:
        return None
    away = x - x.mean()
    return float((away * y).sum() / (away**2).sum())


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if values.size else None


def _std(values: Floats) -> float | None:
    return float(values.std()) if values.size else None


def _weighted(pairs: Sequence[tuple[int, float]]) -> float | None:
    total = sum(n for n, _ in pairs)
    return sum(n * value for n, value in pairs) / total if total else None


def day(at: float) -> str:
    """The UTC day of a moment, as ``2025-07-01``."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"
