"""A simulated day of a drilling fleet through the workload's own acts, hour by hour, for ``modelkeep demo``."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from modelkeep import Value, iso
from modelkeep.workloads.drilling import health_acts, keeping, simulator, telemetry_acts
from modelkeep.workloads.drilling.telemetry import NAMES

if TYPE_CHECKING:
    from modelkeep import App

HOUR, DAY = 3600.0, 86400.0
DRILLS = 6
LASTS = 60.0
"""Days that a simulated fleet lives."""
SIMULATED = "simulated"


def play(app: App, at: float) -> None:
    """Send the telemetry of the hour before ``at`` of six simulated drills, two of which wear out and fail."""
    start = began(app, at)
    rows = [row for number in range(DRILLS) for row in _rows(number, start) if at - HOUR <= _moment(row) < at]
    if rows:
        request = telemetry_acts.Ingest(file=as_csv(rows), name=f"{SIMULATED} {iso(at)}")
        telemetry_acts.ingest(app, request)
    for number in range(DRILLS):
        fails = failure(number, start)
        if fails is not None and at - HOUR <= fails < at:
            health_acts.failed(
                app, health_acts.Failed(device_id=name(number), at=str(fails), reason="simulated: worn out")
            )


def began(app: App, at: float) -> float:
    """The midnight at which the simulated fleet began: that of its first row, else of this day."""
    data = keeping.rows(app.rooms)
    query = "SELECT min(timestamp) FROM data WHERE device_id LIKE 'SIM%'"
    first = data.sql(query)[0][0] if data.revision else None
    return float(at if first is None else first) // DAY * DAY


def name(number: int) -> str:
    """The id of a simulated drill."""
    return f"SIM{number + 1:03d}"


def failure(number: int, start: float) -> float | None:
    """When a simulated drill fails: the third after 6 days, the sixth after 12, the others never."""
    return start + (number + 1) * 2 * DAY if number % 3 == 2 else None


def as_csv(rows: Sequence[dict[str, Value]]) -> bytes:
    """Rows as a file in the guide's layout."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(NAMES)
    for row in rows:
        writer.writerow([iso(_moment(row)), *("" if row[column] is None else row[column] for column in NAMES[1:])])
    return text.getvalue().encode()


@lru_cache(maxsize=DRILLS)
def _rows(number: int, start: float) -> list[dict[str, Value]]:
    fails = failure(number, start)
    return simulator.device(name(number), start=start, days=LASTS, seed=4000 + number, fails=fails)


def _moment(row: dict[str, Value]) -> float:
    return float(row["timestamp"] or 0.0)
