"""Sessions of one device: rows without a pause, told apart even where two of them overlap in time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from modelkeep import Value
from modelkeep.workloads.drilling.limits import Limits

Floats = NDArray[np.float64]
EARTH_KM = 6371.0088
"""Mean radius of the earth (IUGG)."""
FAR_KM = 1.0
"""A device whose two sessions at once are farther apart was in two places."""


class Track(Struct, frozen=True, kw_only=True):
    """The telemetry of one device in time order: arrays of one entry a row; what is missing is NaN.

    ``tagged`` is True where a Smart Tag was near. ``current`` in A, ``battery`` in %, positions in degrees.
    """

    device_id: str
    at: Floats
    seq: Floats
    current: Floats
    lat: Floats
    lon: Floats
    battery: Floats
    tagged: NDArray[np.bool_]

    @property
    def size(self) -> int:
        """Rows."""
        return len(self.at)

    def part(self, places: NDArray[np.intp]) -> Track:
        """The same track at some of its rows."""
        arrays = {name: getattr(self, name)[places] for name in self.__struct_fields__ if name != "device_id"}
        return Track(device_id=self.device_id, **arrays)


class Session(Struct, frozen=True, kw_only=True):
    """One session: its rows (places in the track), bounds in epoch seconds, and whether any row is tagged."""

    session_id: str
    device_id: str
    start: float
    end: float
    places: tuple[int, ...]
    tagged: bool
    lat: float | None
    lon: float | None

    @property
    def minutes(self) -> float:
        """Length in minutes, from the first row to the last."""
        return (self.end - self.start) / 60


class Overlap(Struct, frozen=True, kw_only=True):
    """Two sessions of one device at the same time; ``km`` apart where both have positions."""

    first: str
    second: str
    seconds: float
    km: float | None

    @property
    def two_places(self) -> bool:
        """True when one device was in two places at once."""
        return self.km is not None and self.km > FAR_KM


def track(columns: Mapping[str, Sequence[Value]], device_id: str) -> Track:
    """The columns of one device (see ``telemetry.COLUMNS``) as arrays in time order."""

    def floats(name: str) -> Floats:
        return np.array([math.nan if v is None else float(v) for v in columns[name]], dtype=np.float64)

    at, seq = floats("timestamp"), floats("seq")
    tagged = np.array([bool(v) for v in columns["ble_id"]], dtype=np.bool_)
    whole = Track(
        device_id=device_id, at=at, seq=seq, current=floats("current_amp"), lat=floats("gps_lat"),
        lon=floats("gps_lon"), battery=floats("battery_level"), tagged=tagged,
    )  # fmt: skip
    return whole.part(np.lexsort((seq, at)))


def sessions(of: Track, limits: Limits) -> tuple[Session, ...]:
    """The sessions of a device, by start.

    In time order every row goes on with the open session whose ``seq`` it follows most closely and whose last row is
    at most ``limits.gap`` seconds old; else it opens a session. So two recordings of one device that overlap in time
    stay two sessions, where a rule by time alone makes one out of them.
    """
    open_: list[list[int]] = []
    done: list[list[int]] = []
    for place, (at, seq) in enumerate(zip(of.at.tolist(), of.seq.tolist(), strict=True)):
        still = [rows for rows in open_ if at - of.at[rows[-1]] <= limits.gap]
        done += [rows for rows in open_ if at - of.at[rows[-1]] > limits.gap]
        open_ = still
        follows = [rows for rows in open_ if 0 < seq - of.seq[rows[-1]] <= len(open_) + 1]
        mine = min(follows, key=lambda rows: (seq - of.seq[rows[-1]], -of.at[rows[-1]]), default=None)
        if mine is None:
            open_.append([place])
        else:
            mine.append(place)
    found = [_session(of, rows) for rows in done + open_]
    return tuple(sorted(found, key=lambda s: (s.start, s.session_id)))


def overlaps(found: Sequence[Session]) -> tuple[Overlap, ...]:
    """Pairs of sessions of one device that run at the same time."""
    pairs = []
    ordered = sorted(found, key=lambda s: s.start)
    for i, first in enumerate(ordered):
        for second in ordered[i + 1 :]:
            if second.start > first.end:
                break
            seconds = min(first.end, second.end) - second.start
            pairs.append(
                Overlap(first=first.session_id, second=second.session_id, seconds=seconds, km=_apart(first, second))
            )
    return tuple(pairs)


def kilometres(lat: Floats, lon: Floats) -> Floats:
    """Great-circle distances (haversine) between neighbours of a path in degrees, in km; one entry less than points.

    >>> round(float(kilometres(np.array([52.5, 52.6]), np.array([13.4, 13.4]))[0]), 2)
    11.12
    """
    phi, lam = np.radians(lat), np.radians(lon)
    half = np.sin(np.diff(phi) / 2) ** 2 + np.cos(phi[:-1]) * np.cos(phi[1:]) * np.sin(np.diff(lam) / 2) ** 2
    apart: Floats = 2 * EARTH_KM * np.arcsin(np.sqrt(np.clip(half, 0.0, 1.0)))
    return apart


def _session(of: Track, rows: list[int]) -> Session:
    places = np.array(rows, dtype=np.intp)
    start, end = float(of.at[rows[0]]), float(of.at[rows[-1]])
    lat, lon = of.lat[places], of.lon[places]
    known = np.isfinite(lat) & np.isfinite(lon)
    begun = datetime.fromtimestamp(start, UTC)
    return Session(
        session_id=f"{of.device_id}-{begun:%Y%m%dT%H%M%SZ}-{int(of.seq[rows[0]])}",
        device_id=of.device_id,
        start=start,
        end=end,
        places=tuple(rows),
        tagged=bool(of.tagged[places].any()),
        lat=float(lat[known].mean()) if known.any() else None,
        lon=float(lon[known].mean()) if known.any() else None,
    )


def _apart(first: Session, second: Session) -> float | None:
    if first.lat is None or second.lat is None or first.lon is None or second.lon is None:
        return None
    return float(kilometres(np.array([first.lat, second.lat]), np.array([first.lon, second.lon]))[0])
