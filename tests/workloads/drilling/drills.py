"""Tables and files of drills that the tests share."""

import csv
import io
import os
from pathlib import Path

import pytest

from modelkeep.workloads.drilling import simulator, telemetry

ROOT = Path(__file__).parents[3]
DAY = 86400.0


def shared(*parts: str) -> Path:
    """A file of the shared data, or a skip that names it."""
    path = Path(os.environ.get("PUBLIC_DATA", ROOT.parent / "shared" / "data")).joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{'/'.join(parts)} is not here")
    return path


def rows_of(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode())))


def as_csv(rows: list[dict[str, str]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, telemetry.NAMES, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def columns_of(rows: list[dict[str, object]]) -> dict[str, list[object]]:
    return {name: [row[name] for row in rows] for name in telemetry.NAMES}


def hundred_sessions() -> list[list[dict[str, str]]]:
    """100 sessions of one device, 20 rows each, an hour apart."""
    found, seq = [], 0
    for number in range(100):
        some = []
        for step in range(20):
            seq += 1
            at = simulator.START + number * 3600 + step * 30
            some.append(
                {
                    "timestamp": str(at), "device_id": "d1", "seq": str(seq),
                    "current_amp": f"{6 + step % 3 * 0.1:.1f}",
                    "gps_lat": "52.5", "gps_lon": "13.4", "battery_level": "80", "ble_id": "",
                }
            )  # fmt: skip
        found.append(some)
    return found
