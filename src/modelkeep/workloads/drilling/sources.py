"""Public data of machines: a real rig's log, and simulated engines that ran to failure."""

import csv
from pathlib import Path

from modelkeep import Source, Value, moment

SPUD = "2017-07-31T00:00:00Z"
"""When the well was begun; the log tells depths and rates only."""
TOLD = 6 * 3600.0
"""Seconds until the rate of a foot counts as told, as a rig's report does."""
FORGE = {
    "depth": "Depth(ft)",
    "wob_k_lbs": "weight on bit (k-lbs)",
    "temp_out_degf": "Temp Out( degF)",
    "temp_in_degf": "Temp In(degF)",
    "pit_total_bbls": "Pit Total (bbls)",
    "pump_press_psi": "Pump Press (psi)",
    "hookload_k_lbs": "Hookload (k-lbs)",
    "surface_torque_psi": "Surface Torque (psi)",
    "rotary_speed_rpm": "Rotary Speed (rpm)",
    "flow_in_gpm": "Flow In (gal/min)",
    "flow_out_pct": "Flow Out %",
}

SOURCES = (
    Source(
        name="forge-58-32",
        url="https://raw.githubusercontent.com/Arbi-ben-aoun/Drilling-rate-of-penetration-prediction/"
        "454967ac1eee2a8277e47e2bf6ecdf1997de196d/Well_58-32.csv",
        sha256="231e3ecb460860d2fe055beaf944c2b2fc456063482d2c047cbfb3a13eea2537",
        licence="MIT (the repository, which carries Utah FORGE's public log)",
        about="A real geothermal well, Utah FORGE 58-32: rate of penetration and rig channels, a row a foot",
        file="forge-58-32.parquet",
        convert="modelkeep.workloads.drilling.sources:forge",
        recipe="drilling-rate",
        size=1_291_607,
    ),
    Source(
        name="turbofan",
        url="https://raw.githubusercontent.com/microsoft/SQL-Server-R-Services-Samples/"
        "45d54372617fb93fcecfeb4decf3f334a3700c05/PredictiveMaintenance/Data/PM_train.csv",
        sha256="5035ff2d0bb083db7753f7ddfe7512e21062f825f8cc28abbe9ae7b4ebf7ea73",
        licence="CC BY 4.0 (the repository); NASA's C-MAPSS FD001, a work of the US government",
        about="100 simulated turbofans of NASA's C-MAPSS, each from its first cycle until it failed",
        file="turbofan.parquet",
        convert="modelkeep.workloads.drilling.sources:turbofan",
        recipe="drilling-life",
        size=3_301_154,
    ),
)


def forge(path: Path) -> dict[str, list[Value]]:
    """The rig's log by the foot. A row's moment is the drilling time until then, from the rates: pauses are unknown."""
    rows = _rows(path)
    rates = [float(row["ROP(1 ft)"]) for row in rows]
    at, moments = moment(SPUD), []
    for rate in rates:
        at += 3600.0 / rate if rate > 0 else 0.0
        moments.append(at)
    return {
        "event_time": list(moments),
        "entity": ["FORGE-58-32"] * len(rows),
        "label": list(rates),
        "label_time": [at + TOLD for at in moments],
        **{ours: [float(row[theirs]) for row in rows] for ours, theirs in FORGE.items()},
    }


def turbofan(path: Path) -> dict[str, list[Value]]:
    """The engines with their remaining life: each file's last cycle of an engine is its failure."""
    rows = _rows(path)
    last: dict[str, int] = {}
    for row in rows:
        last[row["id"]] = max(last.get(row["id"], 0), int(row["cycle"]))
    channels = [name for name in rows[0] if name not in {"id", "cycle"}]
    return {
        "unit": [f"engine-{row['id']}" for row in rows],
        "cycle": [int(row["cycle"]) for row in rows],
        **{name: [float(row[name]) for row in rows] for name in channels},
        "rul": [float(last[row["id"]] - int(row["cycle"])) for row in rows],
    }


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))
