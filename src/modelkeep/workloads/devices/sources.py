"""Public data of devices that fail."""

import csv
from pathlib import Path

from modelkeep import Source, Value, moment

DAY = 86400.0
BEGUN = "2020-01-01T00:00:00Z"
APART = 3
"""Days between the beginnings of two engines, so that they fail all over the time, as a fleet does."""
SEEN = 400
"""Days that are seen; what an engine did later is cut off, so some are still well at the end."""
STILL = 1e-9

SOURCES = (
    Source(
        name="turbofan-fleet",
        url="https://raw.githubusercontent.com/microsoft/SQL-Server-R-Services-Samples/"
        "45d54372617fb93fcecfeb4decf3f334a3700c05/PredictiveMaintenance/Data/PM_train.csv",
        sha256="5035ff2d0bb083db7753f7ddfe7512e21062f825f8cc28abbe9ae7b4ebf7ea73",
        licence="CC BY 4.0 (the repository); NASA's C-MAPSS FD001, a work of the US government",
        about="100 simulated turbofans of NASA's C-MAPSS as a fleet: a cycle a day, one more every three days, for "
        "400 days; the dates are made up",
        file="turbofan-fleet.parquet",
        convert="modelkeep.workloads.devices.sources:fleet",
        recipe="devices-failure",
        size=3_301_154,
    ),
)


def fleet(path: Path) -> dict[str, list[Value]]:
    """Daily readings of the engines, with a 1 on the day one failed; sensors that never move are left out."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    last: dict[str, int] = {}
    for row in rows:
        last[row["id"]] = max(last.get(row["id"], 0), int(row["cycle"]))
    seen = [row for row in rows if _day(row) <= SEEN]
    sensors = [name for name in rows[0] if name not in {"id", "cycle"} and _moves(seen, name)]
    start = moment(BEGUN)
    return {
        "device_id": [f"engine-{row['id']}" for row in seen],
        "timestamp": [start + DAY * _day(row) for row in seen],
        **{name: [float(row[name]) for row in seen] for name in sensors},
        "failure": [int(int(row["cycle"]) == last[row["id"]]) for row in seen],
    }


def _day(row: dict[str, str]) -> int:
    return APART * (int(row["id"]) - 1) + int(row["cycle"])


def _moves(rows: list[dict[str, str]], name: str) -> bool:
    values = [float(row[name]) for row in rows]
    return max(values) - min(values) > STILL
