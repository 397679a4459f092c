"""What the workload keeps: the telemetry, what became of every file that was sent, and who wants no alerts of what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from modelkeep import Field, Rooms, Value
from modelkeep.workloads.drilling import telemetry

if TYPE_CHECKING:
    from modelkeep import Dataset

INGESTS: tuple[Field, ...] = (
    Field(name="at", kind="number", unit="s since 1970"),
    Field(name="file", kind="text"),
    Field(name="read", kind="integer"),
    Field(name="rows", kind="integer"),
    Field(name="known", kind="integer"),
    Field(name="bad", kind="integer"),
    Field(name="sessions", kind="integer"),
    Field(name="failed", kind="integer"),
    Field(name="cells", kind="integer"),
    Field(name="missing", kind="integer"),
    Field(name="two_places", kind="integer"),
    Field(name="worst", kind="text"),
    Field(name="reasons", kind="text"),
    Field(name="seconds", kind="number", unit="s"),
)
SUPPRESSIONS: tuple[Field, ...] = (
    Field(name="at", kind="number", unit="s since 1970"),
    Field(name="until", kind="number", unit="s since 1970"),
    Field(name="device_id", kind="text"),
    Field(name="alert_type", kind="text"),
    Field(name="reason", kind="text"),
)


class Suppression(Struct, frozen=True, kw_only=True):
    """No alerts of a type (all when empty) of a device until a moment, and why."""

    device_id: str
    alert_type: str
    until: float
    reason: str


def rows(rooms: Rooms) -> Dataset:
    """The telemetry rows; a row sent again takes the place of the first."""
    return rooms.datasets.open("drilling.telemetry", columns=telemetry.COLUMNS, time="timestamp", key=telemetry.KEY)


def ingests(rooms: Rooms) -> Dataset:
    """One row for every file that was sent."""
    return rooms.datasets.open("drilling.ingests", columns=INGESTS, time="at")


def suppressions(rooms: Rooms) -> Dataset:
    """Every suppression that was asked for."""
    return rooms.datasets.open("drilling.suppressions", columns=SUPPRESSIONS, time="at")


def suppressed(rooms: Rooms, now: float) -> tuple[Suppression, ...]:
    """The suppressions in force at a moment."""
    data = suppressions(rooms)
    if not data.revision:
        return ()
    found = data.sql(
        "SELECT device_id, alert_type, max(until), last(reason) FROM data WHERE until > ? GROUP BY 1, 2", [now]
    )
    return tuple(
        Suppression(device_id=device, alert_type=kind, until=float(until), reason=reason)
        for device, kind, until, reason in found
    )


def one(**values: Value) -> Mapping[str, Sequence[Value]]:
    """A row as columns."""
    return {name: [value] for name, value in values.items()}
