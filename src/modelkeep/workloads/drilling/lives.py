"""Lives of this fleet's own devices: telemetry up to a noted failure, hour by hour, for remaining life."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from modelkeep import Field, Outcome, Refused, Rooms, Value, moment
from modelkeep.workloads.drilling import channels, features, keeping, sessions, signals
from modelkeep.workloads.drilling.fleet import fleet
from modelkeep.workloads.drilling.watching import LIMITS

if TYPE_CHECKING:
    from modelkeep import App, Dataset, Job

MODEL = "drilling-life"
CAP = 125.0
"""Hours above which remaining life is not told apart: that of ``life.CAP``."""
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
    found: dict[str, list[Value]] = {name: [] for name in ("rul", "label_time", "unit", "time", *CHANNELS)}
    for device, end in sorted(failures(rooms).items()):
        hourly = working(rooms, device, end=end)
        found["rul"] += [(end - float(at or 0.0)) / 3600 for at in hourly["time"]]
        found["label_time"] += [end] * len(hourly["time"])
        for name, values in hourly.items():
            found[name] += values
    return found


def working(rooms: Rooms, device: str, *, end: float | None = None) -> dict[str, list[Value]]:
    """The channels of a device, one row for each working hour up to a moment."""
    found: dict[str, list[Value]] = {name: [] for name in ("unit", "time", *CHANNELS)}
    of = fleet(rooms, LIMITS).track(device, end=end)
    hours = features.extract(of, sessions.sessions(of, LIMITS), limits=LIMITS).hours if of.size else ()
    for hour in hours:
        parts = hour.factors
        values = (
            device, hour.start, parts.current_stability, parts.battery_performance, parts.gps_reliability,
            hour.drilling, hour.spinning,
        )  # fmt: skip
        for name, value in zip(found, values, strict=True):
            found[name].append(value)
    return found


def foresee(app: App, devices: Iterable[str]) -> int:
    """Ask the model how long each device still runs, once an hour of its work; how many were asked.

    Nothing is asked while no model of this fleet's channels answers.
    """
    with app.rooms.store.read() as ledger:
        rollout = ledger.rollouts.get(MODEL)
        inputs = (
            [field.name for field in ledger.versions.get(MODEL, rollout.champion).signature.inputs] if rollout else []
        )
        asked = {device: ledger.records.latest(MODEL, key=device, limit=1) for device in devices} if inputs else {}
    keys, rows, targets = [], [], []
    for device, before in asked.items():
        hourly = working(app.rooms, device)
        last = float(hourly["time"][-1] or 0.0) if hourly["time"] else 0.0
        if not last or (before and before[0].target >= last):
            continue
        now = {name: float(values[-1]) for name, values in signals.features(channels.read(hourly)).items()}
        if set(inputs) <= set(now):
            keys.append(device)
            targets.append(last)
            rows.append({name: now[name] if math.isfinite(now[name]) else None for name in inputs})
    if rows:
        app.predict(MODEL, rows, keys=keys, targets=targets)
    return len(rows)


def settle(app: App, device: str, *, at: float) -> int:
    """Tell what became of a device's predictions, once it failed at a moment; how many there were."""
    with app.rooms.store.read() as ledger:
        made = [one for one in ledger.records.latest(MODEL, key=device, limit=10_000) if one.target <= at]
    told = [
        Outcome(prediction=one.id, value=min((at - one.target) / 3600, CAP), at=app.rooms.clock.now()) for one in made
    ]
    if told:
        app.tell(told)
    return len(told)


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
