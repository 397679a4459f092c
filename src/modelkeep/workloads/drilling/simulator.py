"""Simulated drills and machines, for a first look and for tests: seeded, physical, and never to be taken for real.

A drill works in jobs of 10 to 40 minutes by day. Its motor draws A by state; wear grows slowly, then fast (an
exponential from a random moment on), and shows first in the spread of the current, then in its level, and in a battery
that sags faster; at full wear it fails. GPS noise is 20 m, batteries charge between jobs.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import numpy as np

from modelkeep import Value, iso
from modelkeep.workloads.drilling.sessions import Floats
from modelkeep.workloads.drilling.telemetry import NAMES

START = 1_751_328_000.0
"""2025-07-01T00:00:00Z."""
DAY, STEP = 86400.0, 30.0
NOISE_DEG = 0.0002
AMPS = {"standby": 1.2, "spin": 3.2, "drill": 6.2}
HOURS_OF_LIFE = 25 * 24.0


def device(name: str, *, start: float, days: float, seed: int, fails: float | None = None) -> list[dict[str, Value]]:
    """The telemetry rows of one simulated drill in the guide's layout.

    ``fails`` is the moment at which it is worn out (None: it stays healthy); nothing is sent after it.
    """
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Value]] = []
    seq, battery = 1, 95.0
    lat, lon = 52.5 + 0.1 * rng.standard_normal(), 13.4 + 0.1 * rng.standard_normal()
    for at in _jobs(rng, start=start, days=days):
        battery = min(battery + rng.uniform(5, 25), 98.0)
        tag = f"F4:12:FA:6C:9D:{seed % 256:02X}" if rng.random() < 0.8 else None
        for step in range(int(rng.integers(20, 81))):
            now = at + step * STEP
            if fails is not None and now >= fails:
                return rows
            wear = worn(now, fails)
            state = ("standby", "spin", "drill")[int(rng.choice(3, p=(0.08, 0.35, 0.57)))]
            spread = 0.06 + 0.9 * wear
            amps = AMPS[state] * (1 + 0.12 * wear) * (1 + spread * rng.standard_normal())
            battery = max(battery - (0.02 + 0.6 * wear) * rng.uniform(0.5, 1.5), 1.0)
            known = rng.random() > 0.005
            rows.append(
                {
                    "timestamp": now, "device_id": name, "seq": seq, "current_amp": round(max(amps, 0.0), 2),
                    "gps_lat": round(lat + NOISE_DEG * rng.standard_normal(), 6) if known else None,
                    "gps_lon": round(lon + NOISE_DEG * rng.standard_normal(), 6) if known else None,
                    "battery_level": round(battery), "ble_id": tag,
                }
            )  # fmt: skip
            seq += 1
        lat, lon = lat + 0.01 * rng.standard_normal(), lon + 0.01 * rng.standard_normal()
    return rows


def worn(at: float, fails: float | None) -> float:
    """The wear of a drill, 0 new to 1 failed: it doubles every three days before the failure.

    >>> worn(0.0, None), worn(0.0, 0.0)
    (0.0, 1.0)
    """
    return 0.0 if fails is None else float(min(2 ** ((at - fails) / (3 * DAY)), 1.0))


def telemetry_csv(*, devices: int = 3, days: float = 30.0, seed: int = 1, start: float = START) -> bytes:
    """A simulated telemetry file in the guide's layout, every third drill worn out before its end; about 60 jobs each.

    >>> telemetry_csv(devices=1, days=2.0).splitlines()[0]
    b'timestamp,device_id,seq,current_amp,gps_lat,gps_lon,battery_level,ble_id'
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(NAMES)
    for number in range(devices):
        fails = start + days * DAY * 0.97 if number % 3 == 2 else None
        name = f"device_{number + 1:03d}"
        for row in device(name, start=start, days=days, seed=seed * 1000 + number, fails=fails):
            values = {**row, "timestamp": iso(float(row["timestamp"] or 0.0))}
            writer.writerow(["" if values[column] is None else values[column] for column in NAMES])
    return text.getvalue().encode()


def lives(rows: int, seed: int) -> dict[str, list[Value]]:
    """A simulated run-to-failure table for ``drilling-life``: unit, cycle, five channels, and the remaining life.

    Lives are 130 to 300 cycles; wear is an exponential of its own speed for each machine, seen through sensor noise.
    """
    rng = np.random.default_rng(seed)
    names = ("unit", "cycle", "torque", "vibration", "heat", "flow", "noise", "rul")
    found: dict[str, list[Value]] = {name: [] for name in names}
    unit = 0
    while len(found["unit"]) < rows:
        unit += 1
        life = int(rng.integers(130, 301))
        speed = rng.uniform(20, 45)
        offset = rng.normal(0, 0.3, 4)
        for cycle in range(1, life + 1):
            wear = float(np.exp((cycle - life) / speed))
            seen = np.array([4.0 * wear, 3.0 * wear, 6.0 * wear**0.7, -2.5 * wear]) + offset + rng.normal(0, 0.25, 4)
            values = (
                f"m{unit:03d}", cycle, 40 + seen[0], 2 + seen[1], 60 + seen[2], 110 + seen[3], rng.normal(0, 1),
                life - cycle,
            )  # fmt: skip
            for name, value in zip(found, values, strict=True):
                found[name].append(value.item() if isinstance(value, np.generic) else value)
    return found


def rates(rows: int, seed: int) -> dict[str, list[Value]]:
    """A simulated rig log for ``drilling-rate``: a row a foot, the rate of penetration told six hours later.

    Rate follows Bingham's form, rpm x WOB over hardness; the rock gets harder at two depths, so a frozen model rots.
    """
    rng = np.random.default_rng(seed)
    depth = np.arange(rows, dtype=np.float64)
    hardness = 1.0 + 1.5 * (depth > rows * 0.45) + 2.5 * (depth > rows * 0.75)
    weight = np.clip(20 + np.cumsum(rng.normal(0, 0.3, rows)), 8, 45)
    rpm = np.clip(110 + np.cumsum(rng.normal(0, 0.8, rows)), 60, 180)
    flow = 700 + 0.2 * rpm + rng.normal(0, 10, rows)
    rate = np.clip(60 * (weight / 20) * (rpm / 110) ** 0.8 / hardness * np.exp(rng.normal(0, 0.12, rows)), 1, 300)
    at = START + np.cumsum(3600 / rate)
    torque = 5 * weight**0.5 * hardness**0.4 + rng.normal(0, 1, rows)
    columns: dict[str, Floats | list[Value]] = {
        "event_time": at, "well": ["SIM-1"] * rows, "depth": depth, "wob_klb": weight, "rpm": rpm, "flow_gpm": flow,
        "torque_kftlb": torque, "rop": rate, "label_time": at + 6 * 3600.0,
    }  # fmt: skip
    return {name: values if isinstance(values, list) else values.tolist() for name, values in columns.items()}


def _jobs(rng: np.random.Generator, *, start: float, days: float) -> Iterator[float]:
    """The starts of the jobs: two a day, in the morning and after noon, never overlapping."""
    for day in range(int(np.ceil(days))):
        for hour in (7, 13):
            at = start + day * DAY + hour * 3600 + float(rng.integers(0, 120)) * 60
            if at < start + days * DAY:
                yield at
