"""The acts by which readings and failures come in."""

from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta, Struct

from modelkeep import App, BadInput, Operation, Value, stamp
from modelkeep.workloads.devices import assessing, keeping
from modelkeep.workloads.devices.fleet import DAY
from modelkeep.workloads.devices.metrics import METRICS, metric_name
from modelkeep.workloads.devices.readings import DEVICE, NOT_METRICS, TIME, column, instant
from modelkeep.workloads.devices.streams import Stream, spared

DeviceId = Annotated[str, Meta(description="Id of the device", min_length=1, max_length=200)]


class Readings(Struct, frozen=True, kw_only=True):
    """Readings as objects.

    Either one metric each (device_id, metric_name, metric_value, metric_unit, timestamp; the names of Home Assistant
    do, too), or one device each with its metrics side by side.
    """

    readings: Annotated[list[dict[str, Value | list[Any] | dict[str, Any]]], Meta(min_length=1, max_length=100_000)]


class Taken(Struct, frozen=True, kw_only=True):
    """What became of the readings: how many were kept, and how many say nothing, by reason (they never become 0)."""

    rows: int
    kept: int
    missing: dict[str, int]
    converted: dict[str, int]
    duplicate_devices: tuple[str, ...]
    mains_devices: tuple[str, ...]


class Failure(Struct, frozen=True, kw_only=True):
    """A device that failed, when (now without it), and how (free text)."""

    device_id: DeviceId
    failed_at: Annotated[str | float, Meta(description="ISO-8601, or seconds since 1970")] = ""
    mode: Annotated[str, Meta(max_length=200)] = ""


class AskAnomalies(Struct, frozen=True, kw_only=True):
    """Which device, which metric (empty: all), and how many days back."""

    device_id: DeviceId
    metric: Annotated[str, Meta(max_length=200)] = ""
    days: Annotated[int, Meta(ge=1, le=366)] = 30


class Anomaly(Struct, frozen=True, kw_only=True):
    """One moment at which a metric left its usual; the score is a sum of standardised deviations, 17 and more."""

    device_id: str
    metric: str
    timestamp: datetime
    value: float
    score: float


class Anomalies(Struct, frozen=True, kw_only=True):
    """Anomalies, and how many readings of each metric were looked at; ``spared`` of them only taught what is usual."""

    anomalies: tuple[Anomaly, ...]
    readings: dict[str, int]
    spared: dict[str, int]


class Noted(Struct, frozen=True, kw_only=True):
    """How many questions of the 14 days before now have their answer."""

    device_id: str
    answered: int


def take(app: App, request: Readings) -> Taken:
    """Take readings of devices, of one metric each or side by side.

    Unknown and unavailable states are missing values, counted by reason; units are converted; the same device, metric
    and moment again replaces the older reading. Raises BadInput for rows without device, time or metric, and when all
    rows are the same.
    """
    table = tall(request.readings, now=app.rooms.clock.now())
    found = keeping.ingest(app.rooms, table)
    return Taken(
        rows=found.rows,
        kept=len(found.taken),
        missing=found.missing,
        converted=found.converted,
        duplicate_devices=found.duplicates,
        mains_devices=found.mains,
    )


def tall(rows: list[dict[str, Any]], *, now: float) -> dict[str, list[Value]]:
    """Rows of either layout as a table with one metric a row; a row without a time is of ``now``.

    Raises BadInput for a row that names no device.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    if any(name in names for name in ("metric_name", "metric", "device_class")):
        table: dict[str, list[Value]] = {name: [_plain(row.get(name)) for row in rows] for name in names}
        if not column(table, TIME):
            table["timestamp"] = [now] * len(rows)
        return table
    who, when = (next((name for name in known if name in names), "") for known in (DEVICE, TIME))
    if not who:
        raise BadInput.of("readings", expected="a device_id in each", got=f"only {', '.join(names)}")
    if len(rows) > 1 and all(row == rows[0] for row in rows):
        raise BadInput(f"all {len(rows)} readings are the same", remedy="the collector that sent them is broken")
    found: dict[str, list[Value]] = {"device_id": [], "metric_name": [], "metric_value": [], "timestamp": []}
    for row in rows:
        at = instant(row[when], when) if when and row.get(when) is not None else now
        for name, value in row.items():
            if name.lower() not in NOT_METRICS and (name in METRICS or not isinstance(value, list | dict)):
                for key, part in zip(found, (_plain(row.get(who)), name, _plain(value), at), strict=True):
                    found[key].append(part)
    return found


def _plain(value: Any) -> Value:
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def note(app: App, request: Failure) -> Noted:
    """Note that a device failed. It answers every question that was asked about the device in the 14 days before."""
    at = instant(request.failed_at, "failed_at") if request.failed_at != "" else app.rooms.clock.now()
    answered = keeping.fail(app.rooms, request.device_id, at=at, mode=request.mode)
    return Noted(device_id=request.device_id, answered=answered)


def list_anomalies(app: App, request: AskAnomalies) -> Anomalies:
    """List the moments at which a device's metrics left what is usual for them, newest first.

    Each metric's readings of the last ``days`` are a stream of their own; the first 15 % (750 at most) teach what is
    usual. Raises NotFound naming near ids when the device has never sent a reading.
    """
    assessing.devices(app.rooms, only=request.device_id)
    start = app.rooms.clock.now() - request.days * DAY
    where: dict[str, Value | tuple[Value, ...]] = {"device_id": request.device_id}
    if request.metric:
        where["metric"] = metric_name(request.metric)
    kept = keeping.dataset(app.rooms, "readings").read(start=start, where=where)
    sizes: dict[str, int] = {}
    for metric in kept["metric"]:
        sizes[str(metric)] = sizes.get(str(metric), 0) + 1
    streams = {metric: Stream(spared=spared(size)) for metric, size in sizes.items()}
    found = []
    for metric, value, at in zip(kept["metric"], kept["value"], kept["at"], strict=True):
        moment = float(at or 0.0)
        said = streams[str(metric)].update(None if value is None else float(value), at=moment)
        if said.anomaly and value is not None:
            found.append(
                Anomaly(
                    device_id=request.device_id, metric=str(metric), timestamp=stamp(moment), value=float(value),
                    score=round(said.score, 2),
                )
            )  # fmt: skip
    return Anomalies(
        anomalies=tuple(reversed(found)), readings=sizes, spared={name: spared(n) for name, n in sizes.items()}
    )


OPERATIONS: tuple[Operation[Any, Any], ...] = (
    Operation(
        name="devices_readings", method="POST", path="/api/devices/readings", request=Readings, result=Taken, run=take,
    ),
    Operation(
        name="devices_anomalies", method="GET", path="/api/devices/{device_id}/anomalies", request=AskAnomalies,
        result=Anomalies, run=list_anomalies, plain=("device_id",),
    ),
    Operation(
        name="devices_failed", method="POST", path="/api/devices/failures", request=Failure, result=Noted, run=note,
    ),
)  # fmt: skip
