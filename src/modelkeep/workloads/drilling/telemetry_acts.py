"""The acts on telemetry, with the routes and JSON keys of the guide's service: ``/api/v1/...``."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

import numpy as np
from msgspec import Meta, Struct
from msgspec.structs import replace

from modelkeep import BadInput, Operation, moment
from modelkeep.workloads.drilling import features, ingesting, keeping, lives, wear
from modelkeep.workloads.drilling.fleet import fleet
from modelkeep.workloads.drilling.ingesting import Gap, Ingested, Pair
from modelkeep.workloads.drilling.watching import LIMITS

if TYPE_CHECKING:
    from modelkeep import App
    from modelkeep.workloads.drilling.sessions import Session, Track

SHORT_MIN, LOW_BATTERY, FIRST = 5.0, 20.0, 10
Device = Annotated[str, Meta(description="Only this device", max_length=200)]
Start = Annotated[str, Meta(description="From this moment (ISO-8601, or epoch seconds)", max_length=40)]
End = Annotated[str, Meta(description="Up to this moment", max_length=40)]


class Ingest(Struct, frozen=True, kw_only=True):
    """A telemetry file: CSV with a header, or Parquet."""

    file: Annotated[bytes, Meta(description="The file's bytes", min_length=1)]
    name: Annotated[str, Meta(description="What the file is called, kept with what became of it", max_length=200)] = ""


class Span(Struct, frozen=True, kw_only=True):
    """A device (all when empty) and a span of time."""

    device_id: Device = ""
    start_date: Start = ""
    end_date: End = ""


class Nothing(Struct, frozen=True, kw_only=True):
    """Nothing to say."""


class SessionView(Struct, frozen=True, kw_only=True):
    """One session; moments in UTC."""

    session_id: str
    device_id: str
    start: datetime
    end: datetime
    duration_min: float
    tagged: bool


class Sessions(Struct, frozen=True, kw_only=True):
    """Sessions by start; ``overlaps`` are pairs of one device at once."""

    sessions: tuple[SessionView, ...]
    overlaps: tuple[Pair, ...] = ()


class Stretch(Struct, frozen=True, kw_only=True):
    """A stretch of one operating state within a session."""

    session_id: str
    device_id: str
    state: str
    start: datetime
    end: datetime


class Timeline(Struct, frozen=True, kw_only=True):
    """The stretches of every session, by time."""

    timeline: tuple[Stretch, ...]


class Location(Struct, frozen=True, kw_only=True):
    """The middle of a session's positions."""

    session_id: str
    device_id: str
    lat: float
    lon: float
    tagged: bool


class Missing(Struct, frozen=True, kw_only=True):
    """Sequence numbers that never came, by device."""

    device_id: str
    gaps_count: int
    max_gap: int


class At(Struct, frozen=True, kw_only=True):
    """A row of a device."""

    timestamp: datetime
    device_id: str
    battery_level: float | None = None


class Unusual(Struct, frozen=True, kw_only=True):
    """A span in which a device is far from its own healthy start: mean robust z of the channels named, worst first."""

    device_id: str
    start: datetime
    end: datetime
    rows: int
    score: float
    channels: tuple[str, ...]


class Anomalies(Struct, frozen=True, kw_only=True):
    """What is odd about the telemetry: sessions under 5 min, lost rows, rows without position, batteries under 20 %.

    ``channel_anomalies`` are spans in which a device is far from its own healthy start.
    """

    short_sessions: tuple[SessionView, ...]
    missing_telemetry: tuple[Missing, ...]
    missing_gps: tuple[At, ...]
    low_battery: tuple[At, ...]
    overlapping_sessions: tuple[Pair, ...]
    channel_anomalies: tuple[Unusual, ...] = ()


class Insights(Struct, frozen=True, kw_only=True):
    """How the fleet was used; ``operating_states_distribution`` are hours by state; None where there is no session."""

    total_drilling_time_hours: float
    total_sessions: int
    average_session_length_min: float | None
    tagged_sessions_percentage: float | None
    operating_states_distribution: dict[str, float]
    low_battery_alerts: int
    session_locations: tuple[Location, ...]
    anomalies: Anomalies
    total_operational_time_hours: float
    total_timespan_hours: float | None


class Level(Struct, frozen=True, kw_only=True):
    """The battery of a session at one row."""

    timestamp: datetime
    device_id: str
    battery_level: float
    session_id: str


class Battery(Struct, frozen=True, kw_only=True):
    """Battery levels by time; at most 10,000."""

    battery_trends: tuple[Level, ...]


class DeviceView(Struct, frozen=True, kw_only=True):
    """A device: how much telemetry there is of it, and since when."""

    device_id: str
    records: int
    first_seen: datetime
    last_seen: datetime


class Devices(Struct, frozen=True, kw_only=True):
    """Every device that was ever read."""

    devices: tuple[DeviceView, ...]
    total: int


class ServiceHealth(Struct, frozen=True, kw_only=True):
    """Whether the telemetry can be read, how much there is, and how long the look took."""

    status: str
    timestamp: datetime
    records: int
    devices: int
    last_ingest: datetime | None
    read_seconds: float


def ingest(app: App, request: Ingest) -> Ingested:
    """Take in a telemetry file; bad rows are counted and named with line and reason, and never fatal.

    A row sent again takes the place of the first. Where a remaining-life model answers, it is asked for each device.
    Raises BadInput for a file that is no telemetry.
    """
    said = ingesting.ingest(app.rooms, request.file, name=request.name or "telemetry", limits=LIMITS)
    lives.foresee(app, said.device_ids)
    return said


def list_sessions(app: App, request: Span) -> Sessions:
    """List sessions, by start; rows of a device without a pause over 30 s are one session."""
    found = _found(app, request)
    views = sorted((_view(s) for _, sessions in found for s in sessions), key=lambda view: view.start)
    return Sessions(sessions=tuple(views), overlaps=_overlaps(found))


def timeline(app: App, request: Span) -> Timeline:
    """Show the operating states of every session, as stretches by time."""
    stretches: list[Stretch] = []
    for of, sessions in _found(app, request):
        state = features.states(of.current, LIMITS)
        for session in sessions:
            stretches += _stretches(of, session, state=state[list(session.places)])
    return Timeline(timeline=tuple(sorted(stretches, key=lambda each: each.start)))


def anomalies(app: App, request: Span) -> Anomalies:
    """Name short sessions, lost rows, missing positions, low batteries, devices in two places, and odd channels."""
    found = _found(app, request)
    start, end = _bounds(request)
    unusual = [
        one
        for of, _ in found
        for one in unusual_spans(app, of.device_id)
        if (start is None or one.end.timestamp() >= start) and (end is None or one.start.timestamp() < end)
    ]
    return replace(oddities(found), channel_anomalies=tuple(unusual))


def insights(app: App, request: Span) -> Insights:
    """Sum up how the fleet was used: hours by operating state, sessions, tags, places and anomalies."""
    found = _found(app, request)
    sessions = [session for _, some in found for session in some]
    rows: Counter[str] = Counter()
    for of, _ in found:
        for code in features.states(of.current, LIMITS).tolist():
            rows["unknown" if code < 0 else features.STATES[code]] += 1
    hours = {state: round(count * features.STEP, 4) for state, count in sorted(rows.items())}
    odd = oddities(found)
    ends = [(float(of.at[0]), float(of.at[-1])) for of, _ in found if of.size]
    return Insights(
        total_drilling_time_hours=hours.get("drill", 0.0),
        total_sessions=len(sessions),
        average_session_length_min=sum(s.minutes for s in sessions) / len(sessions) if sessions else None,
        tagged_sessions_percentage=100 * sum(s.tagged for s in sessions) / len(sessions) if sessions else None,
        operating_states_distribution=hours,
        low_battery_alerts=len(odd.low_battery),
        session_locations=tuple(
            Location(session_id=s.session_id, device_id=s.device_id, lat=s.lat, lon=s.lon, tagged=s.tagged)
            for s in sessions
            if s.lat is not None and s.lon is not None
        ),
        anomalies=odd,
        total_operational_time_hours=sum(hours.get(state, 0.0) for state in ("standby", "spin", "drill")),
        total_timespan_hours=(max(b for _, b in ends) - min(a for a, _ in ends)) / 3600 if ends else None,
    )


def battery_trends(app: App, request: Span) -> Battery:
    """List battery levels by time, with the session each belongs to."""
    levels = [
        Level(
            timestamp=_utc(of.at[i]), device_id=of.device_id, battery_level=float(of.battery[i]),
            session_id=session.session_id,
        )
        for of, sessions in _found(app, request)
        for session in sessions
        for i in session.places
        if np.isfinite(of.battery[i])
    ]  # fmt: skip
    return Battery(battery_trends=tuple(sorted(levels, key=lambda each: each.timestamp)[-10_000:]))


def devices(app: App, _: Nothing) -> Devices:
    """List every device with how much telemetry there is of it."""
    data = keeping.rows(app.rooms)
    query = "SELECT device_id, count(*), min(timestamp), max(timestamp) FROM data GROUP BY 1 ORDER BY 1"
    rows = data.sql(query) if data.revision else []
    found = tuple(
        DeviceView(device_id=device, records=int(n), first_seen=_utc(first), last_seen=_utc(last))
        for device, n, first, last in rows
    )
    return Devices(devices=found, total=len(found))


def service_health(app: App, _: Nothing) -> ServiceHealth:
    """Read the telemetry store and say how much it holds; a store that cannot be read is an error, not healthy."""
    begun = time.perf_counter()
    prints = fleet(app.rooms, LIMITS).prints()
    ingests = keeping.ingests(app.rooms)
    last = ingests.sql('SELECT max("at") FROM data')[0][0] if ingests.revision else None
    return ServiceHealth(
        status="healthy", timestamp=_utc(app.rooms.clock.now()), records=sum(of.rows for of in prints.values()),
        devices=len(prints), last_ingest=None if last is None else _utc(last),
        read_seconds=time.perf_counter() - begun,
    )  # fmt: skip


def unusual_spans(app: App, device: str) -> list[Unusual]:
    """The spans in which a device is far from its own healthy start, over all of its telemetry."""
    return [
        Unusual(
            device_id=device, start=_utc(one.start), end=_utc(one.end), rows=one.rows, score=one.score,
            channels=one.channels,
        )
        for of, sessions in fleet(app.rooms, LIMITS).sessions(device=device)
        for one in wear.anomalies(of, sessions, limits=LIMITS)
    ]  # fmt: skip


def _bounds(request: Span) -> tuple[float | None, float | None]:
    start = moment(request.start_date, "start_date") if request.start_date else None
    end = moment(request.end_date, "end_date") if request.end_date else None
    if start is not None and end is not None and end <= start:
        raise BadInput.of("end_date", expected="a moment after start_date", got=request.end_date)
    return start, end


def _found(app: App, request: Span) -> list[tuple[Track, tuple[Session, ...]]]:
    start, end = _bounds(request)
    return list(fleet(app.rooms, LIMITS).sessions(device=request.device_id, start=start, end=end))


def _view(session: Session) -> SessionView:
    return SessionView(
        session_id=session.session_id, device_id=session.device_id, start=_utc(session.start), end=_utc(session.end),
        duration_min=round(session.minutes, 3), tagged=session.tagged,
    )  # fmt: skip


def _stretches(of: Track, session: Session, *, state: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[Stretch]:
    edges = [0, *(np.flatnonzero(np.diff(state)) + 1).tolist(), len(state)]
    return [
        Stretch(
            session_id=session.session_id, device_id=session.device_id,
            state="unknown" if state[a] < 0 else features.STATES[int(state[a])],
            start=_utc(of.at[session.places[a]]), end=_utc(of.at[session.places[b - 1]]),
        )
        for a, b in pairwise(edges)
    ]  # fmt: skip


def _overlaps(found: Sequence[tuple[Track, tuple[Session, ...]]]) -> tuple[Pair, ...]:
    return tuple(pair for of, sessions in found for pair in ingesting.pairs(of.device_id, sessions))


def oddities(found: Sequence[tuple[Track, tuple[Session, ...]]]) -> Anomalies:
    """What is odd about the telemetry of devices, their sessions given."""
    lost: dict[str, list[Gap]] = {}
    for of, _ in found:
        for gap in ingesting.gaps(of):
            lost.setdefault(of.device_id, []).append(gap)
    unplaced = [(of, int(i)) for of, _ in found for i in np.flatnonzero(~(np.isfinite(of.lat) & np.isfinite(of.lon)))]
    low = [(of, int(i)) for of, _ in found for i in np.flatnonzero(of.battery < LOW_BATTERY)]
    return Anomalies(
        short_sessions=tuple(_view(s) for _, sessions in found for s in sessions if s.minutes < SHORT_MIN),
        missing_telemetry=tuple(
            Missing(device_id=device, gaps_count=len(gaps), max_gap=max(gap.lost for gap in gaps))
            for device, gaps in lost.items()
        ),
        missing_gps=tuple(At(timestamp=_utc(of.at[i]), device_id=of.device_id) for of, i in unplaced[:FIRST]),
        low_battery=tuple(
            At(timestamp=_utc(of.at[i]), device_id=of.device_id, battery_level=float(of.battery[i]))
            for of, i in low[:FIRST]
        ),
        overlapping_sessions=_overlaps(found),
    )


def _utc(at: float) -> datetime:
    return datetime.fromtimestamp(float(at), UTC)


OPERATIONS = (
    Operation(
        name="drilling_ingest", method="POST", path="/api/v1/telemetry", request=Ingest, result=Ingested, run=ingest,
        words=("ingest",), plain=("file",), upload="file",
    ),
    Operation(
        name="drilling_insights", method="GET", path="/api/v1/insights", request=Span, result=Insights, run=insights,
        words=("insights",),
    ),
    Operation(
        name="drilling_anomalies", method="GET", path="/api/v1/anomalies", request=Span, result=Anomalies,
        run=anomalies, words=("anomalies",),
    ),
    Operation(
        name="drilling_sessions", method="GET", path="/api/v1/sessions", request=Span, result=Sessions,
        run=list_sessions, words=("sessions",),
    ),
    Operation(
        name="drilling_timeline", method="GET", path="/api/v1/sessions/timeline", request=Span, result=Timeline,
        run=timeline, words=("timeline",),
    ),
    Operation(
        name="drilling_battery", method="GET", path="/api/v1/battery/trends", request=Span, result=Battery,
        run=battery_trends, words=("battery",),
    ),
    Operation(
        name="drilling_devices", method="GET", path="/api/v1/devices", request=Nothing, result=Devices, run=devices,
        words=("devices",),
    ),
    Operation(
        name="drilling_service", method="GET", path="/api/v1/health", request=Nothing, result=ServiceHealth,
        run=service_health, words=("service",),
    ),
)  # fmt: skip
