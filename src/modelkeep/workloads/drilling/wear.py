"""Anomalies of a device's own channels: current, its spread, and how fast the battery sags, within each state."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modelkeep import Value
from modelkeep.workloads.drilling import anomaly, features
from modelkeep.workloads.drilling.anomaly import Anomaly
from modelkeep.workloads.drilling.limits import Limits
from modelkeep.workloads.drilling.sessions import Floats, Session, Track

LEAST_ROWS = 15
"""A shorter span above the alarm is one noisy moment: half of it is the window of the mean itself."""


def anomalies(of: Track, found: Sequence[Session], *, limits: Limits) -> tuple[Anomaly, ...]:
    """The spans in which a device is far from its own healthy start, with the channels named, oldest first.

    Channels: ``current_amp``, ``current_spread`` (distance from the median of the state in the last rows before), and
    ``battery_sag`` (loss since the start of the session, per row of it). The first 400 rows are the start.
    """
    if of.size < 4 * anomaly.LEAST:
        return ()
    state = features.states(of.current, limits)
    table: dict[str, list[Value]] = {
        "timestamp": of.at.tolist(),
        "device_id": [of.device_id] * of.size,
        "current_amp": _values(of.current),
        "current_spread": _values(_spread(of.current, state)),
        "battery_sag": _values(_sag(of, found)),
    }
    known = {name: values for name, values in table.items() if any(value is not None for value in values)}
    if not {"current_amp", "current_spread", "battery_sag"} & set(known):
        return ()
    (scored,) = anomaly.score(known, state=state.tolist())
    return tuple(one for one in scored.anomalies if one.rows >= LEAST_ROWS)


def _spread(current: Floats, state: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Floats:
    """How far each current is from the median of the healthy start of its state."""
    found = np.full(len(current), np.nan)
    start = min(anomaly.START, len(current) // 2)
    for code in np.unique(state):
        rows = state == code
        healthy = current[rows & (np.arange(len(current)) < start)]
        if code != features.UNKNOWN and len(healthy):
            found[rows] = np.abs(current[rows] - np.median(healthy))
    return found


def _sag(of: Track, found: Sequence[Session]) -> Floats:
    sag = np.full(of.size, np.nan)
    for session in found:
        places = np.array(session.places, dtype=np.intp)
        sag[places] = (of.battery[places[0]] - of.battery[places]) / np.maximum(np.arange(len(places)), anomaly.WIDTH)
    return sag


def _values(numbers: Floats) -> list[Value]:
    return [float(number) if np.isfinite(number) else None for number in numbers]
