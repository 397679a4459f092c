"""What the workload keeps on disk: readings, failures, what was said of each device, and the plan of training."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from msgspec import Struct

from modelkeep import Dataset, Field, Outcome, Rooms, Value
from modelkeep.workloads.devices.fleet import DAY, Fleet, known, of_days
from modelkeep.workloads.devices.readings import Ingested, rows_of

MODEL = "devices-failure"
HORIZON = 14 * DAY
HISTORY = 366 * DAY
"""How far back a device's own past is looked at: what is usual for it."""
MODES = ("full", "incremental")

_DEVICE = Field(name="device_id", kind="text")
_COLUMNS: Mapping[str, tuple[tuple[Field, ...], tuple[str, ...]]] = MappingProxyType(
    {
        "readings": (
            (
                _DEVICE,
                Field(name="metric", kind="text"),
                Field(name="value", kind="number", nullable=True),
                Field(name="why", kind="text", nullable=True),
            ),
            ("device_id", "metric", "at"),
        ),
        "failures": ((_DEVICE, Field(name="mode", kind="text", nullable=True)), ("device_id", "at")),
        "scored": (
            (
                _DEVICE,
                Field(name="read", kind="number", unit="s since 1970"),
                Field(name="chance", kind="number", nullable=True),
                Field(name="version", kind="integer", nullable=True),
            ),
            ("device_id", "read"),
        ),
        "plan": (
            (
                Field(name="name", kind="text"),
                Field(name="enabled", kind="boolean"),
                Field(name="mode", kind="text"),
            ),
            ("name",),
        ),
    }
)


class Plan(Struct, frozen=True, kw_only=True):
    """Whether the weekly training runs, and on what: ``full`` = all that is kept, ``incremental`` = what is recent."""

    enabled: bool = False
    mode: str = "full"


def dataset(rooms: Rooms, name: str) -> Dataset:
    """One of ``readings``, ``failures``, ``scored`` and ``plan``."""
    columns, key = _COLUMNS[name]
    return rooms.datasets.open(f"devices.{name}", columns=columns, time="at", key=key)


def ingest(rooms: Rooms, table: Mapping[str, Sequence[Value]]) -> Ingested:
    """Keep readings of one metric a row; a reading of the same device, metric and moment replaces the older one.

    Raises BadInput for a table without the columns that are needed, or with one distinct row.
    """
    found = rows_of(table)
    rows: list[tuple[Value, ...]] = [(one.device, one.metric, one.value, None, one.at) for one in found.taken]
    rows += [(one.device, one.metric, None, one.why, one.at) for one in found.lost]
    if rows:
        names = ("device_id", "metric", "value", "why", "at")
        dataset(rooms, "readings").append(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))
    return found


def fail(rooms: Rooms, device: str, *, at: float, mode: str = "") -> int:
    """Record that a device failed, and tell it to every question of the 14 days before; how many there were."""
    dataset(rooms, "failures").append({"device_id": [device], "mode": [mode or None], "at": [at]})
    asked = dataset(rooms, "scored").sql(
        "SELECT read FROM data WHERE device_id = ? AND version IS NOT NULL AND read >= ? AND read <= ?",
        (device, at - HORIZON, at),
    )
    outcomes = [_outcome(device, float(row[0]), value=1.0, at=at) for row in asked]
    if outcomes:
        rooms.client.tell(outcomes)
    return len(outcomes)


def mature(rooms: Rooms, *, now: float) -> int:
    """Tell the questions whose 14 days have passed without a failure; how many there were.

    Those of the last ten days are told each time: telling the same twice changes nothing.
    """
    asked = dataset(rooms, "scored").sql(
        "SELECT device_id, read FROM data WHERE version IS NOT NULL AND read > ? AND read <= ?",
        (now - HORIZON - 10 * DAY, now - HORIZON),
    )
    failed = failures(rooms)
    outcomes = [
        _outcome(str(device), float(read), value=0.0, at=float(read) + HORIZON)
        for device, read in asked
        if not any(read <= at <= read + HORIZON for at in failed.get(str(device), ()))
    ]
    if outcomes:
        rooms.client.tell(outcomes)
    return len(outcomes)


def _outcome(device: str, read: float, *, value: float, at: float) -> Outcome:
    return Outcome(value=value, at=at, model=MODEL, key=device, target=read, source="devices")


def failures(rooms: Rooms) -> dict[str, list[float]]:
    """The moments at which each device failed, sorted."""
    found: dict[str, list[float]] = {}
    kept = dataset(rooms, "failures").read()
    for device, at in zip(kept["device_id"], kept["at"], strict=True):
        found.setdefault(str(device), []).append(float(at or 0.0))
    return found


def fleet(rooms: Rooms, *, device: str = "", start: float | None = None) -> Fleet:
    """The daily means of what was read since ``start``, of one device or of all."""
    where, parameters = ["value IS NOT NULL"], list[Value]()
    if device:
        where.append("device_id = ?")
        parameters.append(device)
    if start is not None:
        where.append('"at" >= ?')
        parameters.append(start)
    days = dataset(rooms, "readings").sql(
        'SELECT device_id, CAST(floor("at" / 86400) AS BIGINT) AS day, metric, avg(value), max("at") FROM data '
        f"WHERE {' AND '.join(where)} GROUP BY ALL",
        parameters,
    )
    return of_days([(str(d), int(day), str(m), float(mean), float(last)) for d, day, m, mean, last in days])


def table(rooms: Rooms, *, start: float | None = None) -> dict[str, list[Value]]:
    """What is kept as a wide table to train on: a row a device and day, with ``failure`` on the day of one."""
    found = fleet(rooms, start=start)
    failed = failures(rooms)
    days = {(device, int(at // DAY)) for device, moments in failed.items() for at in moments}
    names = found.names
    columns: dict[str, list[Value]] = {
        "device_id": list(names),
        "timestamp": found.at.tolist(),
        "failure": [
            float((device, int(at // DAY)) in days) for device, at in zip(names, found.at.tolist(), strict=True)
        ],
    }
    for name, values in found.metrics.items():
        columns[name] = [known(value) for value in values.tolist()]
    # A device that reported nothing on the day it failed still failed: a row without readings says so.
    told = {(device, int(at // DAY)) for device, at in zip(names, found.at.tolist(), strict=True)}
    for device, moments in failed.items():
        for at in moments:
            if (device, int(at // DAY)) not in told and (start is None or at >= start):
                row: dict[str, Value] = {"device_id": device, "timestamp": at, "failure": 1.0}
                for name, column in columns.items():
                    column.append(row.get(name))
    return columns


def plan(rooms: Rooms) -> Plan:
    """The plan of training; off until somebody turns it on."""
    kept = dataset(rooms, "plan").read(where={"name": "weekly"})
    if not kept["at"]:
        return Plan()
    return Plan(enabled=bool(kept["enabled"][-1]), mode=str(kept["mode"][-1]))


def set_plan(rooms: Rooms, wanted: Plan, *, at: float) -> None:
    """Keep another plan."""
    row: dict[str, list[Value]] = {"name": ["weekly"], "enabled": [wanted.enabled], "mode": [wanted.mode], "at": [at]}
    dataset(rooms, "plan").append(row)


def set_simulated(rooms: Rooms, *, at: float) -> None:
    """Remember that the readings here are simulated."""
    row: dict[str, list[Value]] = {
        "name": ["simulated"],
        "enabled": [True],
        "mode": [""],
        "at": [at],
    }
    dataset(rooms, "plan").append(row)


def simulated_since(rooms: Rooms) -> float | None:
    """Since when simulated devices report here, or None where they do not."""
    kept = dataset(rooms, "plan").read(where={"name": "simulated"})["at"]
    return float(kept[0] or 0.0) if kept else None


def simulated(rooms: Rooms) -> bool:
    """Whether what is kept comes from the simulator."""
    return simulated_since(rooms) is not None
