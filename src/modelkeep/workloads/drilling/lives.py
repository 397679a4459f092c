"""Lives of this fleet's own devices: telemetry up to a noted failure, hour by hour, for remaining life."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from modelkeep import Field, Refused, Rooms, Value, moment
from modelkeep.workloads.drilling import features, keeping, sessions
from modelkeep.workloads.drilling.fleet import fleet
from modelkeep.workloads.drilling.watching import LIMITS

if TYPE_CHECKING:
    from modelkeep import App, Dataset, Job

LEAST = 10
"""Devices that failed; fewer teach nothing that would hold for the next one."""
FAILURES: tuple[Field, ...] = (
    Field(name="at", kind="number", unit="s since 1970"),
    Field(name="device_id", kind="text"),
    Field(name="reason", kind="text"),
)
CHANNELS = ("current_stability", "battery_performance", "gps_reliability", "drilling_amp", "spinning_amp")


def data(rooms: Rooms) -> Dataset:
    """The failures that were noted; one a device and moment."""
    return rooms.datasets.open("drilling.failures", columns=FAILURES, time="at", key=("device_id", "at"))


def note(rooms: Rooms, device: str, *, at: str, reason: str) -> float:
    """Note that a device failed; the moment. Raises BadInput for what is no moment."""
    when = moment(at, "at") if at else rooms.clock.now()
    data(rooms).append(keeping.one(at=when, device_id=device, reason=reason))
    return when


def failures(rooms: Rooms) -> dict[str, float]:
    """When each device that failed did so first."""
    kept = data(rooms)
    if not kept.revision:
        return {}
    return {str(device): float(at) for device, at in kept.sql('SELECT device_id, min("at") FROM data GROUP BY 1')}


def lacking(rooms: Rooms) -> str:
    """Why remaining life cannot be learned from this fleet, or an empty text."""
    known = len(failures(rooms))
    if known >= LEAST:
        return ""
    return f"{known} devices are known to have failed; remaining life needs {LEAST}, so health is scored by the rule"


def table(rooms: Rooms) -> dict[str, list[Value]]:
    """One row for each working hour of each device that failed: channels, and the hours that it still ran."""
    found: dict[str, list[Value]] = {name: [] for name in ("unit", "time", "rul", "label_time", *CHANNELS)}
    devices = fleet(rooms, LIMITS)
    for device, end in sorted(failures(rooms).items()):
        of = devices.track(device, end=end)
        if not of.size:
            continue
        for hour in features.extract(of, sessions.sessions(of, LIMITS), limits=LIMITS).hours:
            parts = hour.factors
            values = (
                device, hour.start, (end - hour.start) / 3600, end, parts.current_stability, parts.battery_performance,
                parts.gps_reliability, hour.drilling, hour.spinning,
            )  # fmt: skip
            for name, value in zip(found, values, strict=True):
                found[name].append(value)
    return found


def train(app: App) -> tuple[Job, float]:
    """Train on the fleet's own lives; the job (a server answers at once and works on), and the seconds that it took.

    Raises Refused with the reason while too few devices have failed.
    """
    why = lacking(app.rooms)
    if why:
        raise Refused(why, remedy="note failures as they happen (POST /api/v1/failures), or train on a public set")
    begun = time.perf_counter()
    job = app.train("drilling-life", table(app.rooms), source="lives of this fleet's devices")
    return job, time.perf_counter() - begun
