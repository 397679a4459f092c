"""Readings: what is known, newest or over time."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from modelkeep.nouns import Facts, Level, Reading
from modelkeep.operations.act import DurationText, Operation, stamp
from modelkeep.operations.models import sought
from modelkeep.quantities import seconds

if TYPE_CHECKING:
    from modelkeep.app import App

Name = Annotated[str, Meta(description="Name of the reading", max_length=200)]
Subject = Annotated[str, Meta(description="model, model@version or server", max_length=300)]


class ReadingView(Struct, frozen=True, kw_only=True):
    """One measured fact; ``value`` None with level ``unknown`` means that it cannot be known."""

    name: str
    subject: str
    value: float | None
    level: Level
    at: datetime
    n: int
    interval: tuple[float, float] | None
    unit: str
    detail: str
    facts: Facts


class Readings(Struct, frozen=True, kw_only=True):
    """Readings: the newest of each name and subject, or one series, oldest first."""

    readings: tuple[ReadingView, ...]


class ListReadings(Struct, frozen=True, kw_only=True):
    """Which readings; ``subject`` m also finds m@1."""

    subject: Subject = ""
    name: Name = ""


class ReadSeries(Struct, frozen=True, kw_only=True):
    """One reading over the last ``window``."""

    name: Name
    subject: Subject
    window: DurationText = "24h"


def list_readings(app: App, request: ListReadings) -> Readings:
    """List the newest reading of each name and subject.

    Raises NotFound for a subject that is no model, and nothing is known of it.
    """
    with app.rooms.store.read() as ledger:
        found = ledger.readings.newest(request.subject or None, request.name or None)
        if not found and request.subject != "server":
            sought(ledger, request.subject)
    return Readings(readings=tuple(view(reading) for reading in found))


def read_series(app: App, request: ReadSeries) -> Readings:
    """List the past of one reading, oldest first.

    Raises BadInput for an unreadable window.
    """
    now = app.rooms.clock.now()
    start = now - seconds(request.window, "window")
    with app.rooms.store.read() as ledger:
        found = ledger.readings.series(request.name, request.subject, start=start, end=now + 1)
    return Readings(readings=tuple(view(reading) for reading in found))


def view(reading: Reading) -> ReadingView:
    """A reading as it goes out."""
    return ReadingView(
        name=reading.name,
        subject=reading.subject,
        value=reading.value,
        level=reading.level,
        at=stamp(reading.at),
        n=reading.n,
        interval=reading.interval,
        unit=reading.unit,
        detail=reading.detail,
        facts=reading.facts,
    )


OPERATIONS = (
    Operation(
        name="readings", method="GET", path="/v1/readings", request=ListReadings, result=Readings, run=list_readings,
        words=("readings", "list"), plain=("subject",),
    ),
    Operation(
        name="reading_series", method="GET", path="/v1/readings/series", request=ReadSeries, result=Readings,
        run=read_series, words=("readings", "series"), plain=("name", "subject"),
    ),
)  # fmt: skip
