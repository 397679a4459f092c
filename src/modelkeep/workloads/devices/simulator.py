"""Simulated homes: devices of eight types over 180 days, that wear out in five ways. Everything here is simulated.

A failure is an event drawn at random; what shows before it (errors, slow answers, an emptying battery, a weak signal)
grows towards it with the size and the speed of its own kind, and some failures come out of the blue. Troubles that pass
by themselves (a crowded network, a battery that is changed in time) look alike and end in nothing. So no threshold of
the readings is the label.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from modelkeep import Value, moment
from modelkeep.workloads.devices.fleet import DAY, known

Floats: TypeAlias = NDArray[np.float64]
DAYS = 180
START = moment("2025-01-01T06:00:00Z")
TYPES = ("sensor", "switch", "light", "climate", "security", "battery", "media", "vacuum")
SHARES = (0.25, 0.167, 0.125, 0.083, 0.083, 0.067, 0.042, 0.183)
MODES = ("progressive", "sudden", "intermittent", "battery", "network")
MODE_SHARES = (0.35, 0.06, 0.17, 0.21, 0.21)
FAILURES_A_DEVICE = 0.5
"""The mean number of failures of a device in 180 days."""
TROUBLES_A_DEVICE = 0.2
"""The mean number of troubles that pass by themselves."""
MISSING = 0.02
ON_BATTERY = frozenset({"sensor", "security", "battery", "vacuum"})
METRICS = (
    "response_time",
    "error_rate",
    "battery_level",
    "signal_strength",
    "usage_frequency",
    "temperature",
    "humidity",
    "uptime_hours",
    "restart_count",
    "connection_drops",
    "data_transfer_rate",
)


@dataclass(frozen=True, kw_only=True)
class Device:
    """One simulated device's life: its readings a day, and whether it failed that day."""

    name: str
    kind: str
    home: str
    metrics: dict[str, Floats]
    failed: NDArray[np.bool_]


def simulate(rows: int, seed: int) -> dict[str, list[Value]]:
    """A wide table of about ``rows`` device days (at least 20 devices over 180 days), the same for the same seed.

    Columns: device_id, home_id, device_type, timestamp (seconds), failure (1 on the day a device failed), and the
    eleven metrics in their own units; 2 % of the readings are missing.
    """
    devices = [device(number, seed=seed) for number in range(max(round(rows / DAYS), 20))]
    table: dict[str, list[Value]] = {name: [] for name in ("device_id", "home_id", "device_type", "timestamp")}
    table |= {"failure": [], **{name: [] for name in METRICS}}
    for one in devices:
        table["device_id"] += [one.name] * DAYS
        table["home_id"] += [one.home] * DAYS
        table["device_type"] += [one.kind] * DAYS
        table["timestamp"] += (START + DAY * np.arange(DAYS)).tolist()
        table["failure"] += one.failed.astype(int).tolist()
        for name in METRICS:
            table[name] += [known(value) for value in one.metrics[name].tolist()]
    return table


def device(number: int, *, seed: int) -> Device:
    """The life of one device; a device has the same life in every fleet of the seed."""
    draw = np.random.default_rng((seed, number))
    kind = str(draw.choice(TYPES, p=SHARES))
    days = np.arange(DAYS)
    failed, strain, mode = _failures(draw)
    trouble, passing = _troubles(draw)
    wear = {name: np.where(mode == place, strain, 0.0) for place, name in enumerate(MODES)}
    rough = wear["progressive"] + wear["sudden"] + wear["intermittent"] * (draw.random(DAYS) < 0.6)
    network = wear["network"] + np.where(passing == 0, trouble, 0.0)
    week = 1 + 0.1 * np.sin(2 * np.pi * (days + draw.integers(7)) / 7)
    response = draw.lognormal(5.0, 0.5) * week * _noise(draw, 0.12) * (1 + 2.0 * rough + 1.5 * network)
    errors = draw.lognormal(-4.0, 0.4) * _noise(draw, 0.2) * (1 + 5 * rough + 2 * network)
    since = days - np.maximum.accumulate(np.where(failed, days, 0))
    metrics = {
        "response_time": response,
        "error_rate": np.clip(errors, 0, 1),
        "battery_level": _battery(
            draw, kind, drain=wear["battery"] + 0.5 * np.where(passing == 1, trouble, 0.0), failed=failed
        ),
        "signal_strength": np.clip(draw.normal(-58, 6) + draw.normal(0, 1.5, DAYS) - 14 * network, -100, -10),
        "usage_frequency": np.clip(draw.beta(3, 3) * week * _noise(draw, 0.1) * (1 - 0.2 * rough), 0, 1),
        "temperature": 20 + 6 * np.sin(2 * np.pi * (days - 100) / 365) + draw.normal(0, 1, DAYS) + 2 * rough,
        "humidity": np.clip(50 + draw.normal(0, 6, DAYS), 0, 100),
        "uptime_hours": 24.0 * (since + 1),
        "restart_count": draw.poisson(0.05 + 0.8 * rough).astype(float),
        "connection_drops": draw.poisson(0.3 + 5 * network + 0.5 * rough).astype(float),
        "data_transfer_rate": draw.lognormal(6, 0.4) * _noise(draw, 0.15) * (1 - 0.4 * np.clip(network, 0, 1)),
    }
    lost = {name: np.where(draw.random(DAYS) < MISSING, np.nan, np.round(v, 4)) for name, v in metrics.items()}
    return Device(name=f"sim-{number:04d}", kind=kind, home=f"home-{number // 20:03d}", metrics=lost, failed=failed)


def _noise(draw: np.random.Generator, size: float) -> Floats:
    """Noise that lasts for days: a first-order autoregression, as a factor."""
    steps, found = draw.normal(0, size * np.sqrt(1 - 0.5**2), DAYS), np.zeros(DAYS)
    for day in range(1, DAYS):
        found[day] = 0.5 * found[day - 1] + steps[day]
    return np.exp(found)


def _failures(draw: np.random.Generator) -> tuple[NDArray[np.bool_], Floats, NDArray[np.intp]]:
    """The days of failure, the strain before each (0 to about 1), and its mode by place in MODES."""
    failed, strain, mode = np.zeros(DAYS, dtype=np.bool_), np.zeros(DAYS), np.zeros(DAYS, dtype=np.intp)
    day = 0
    while True:
        day += 1 + int(draw.exponential(DAYS / FAILURES_A_DEVICE))
        if day >= DAYS:
            return failed, strain, mode
        failed[day] = True
        kind = int(draw.choice(len(MODES), p=MODE_SHARES))
        lead = int(draw.integers(0, 3)) if MODES[kind] == "sudden" else int(draw.integers(14, 24))
        first = max(day - lead, 0)
        grown = (np.arange(first, day + 1) - (day - lead) + 1) / (lead + 1)
        strain[first : day + 1] = draw.uniform(0.9, 1.5) * grown**0.4
        mode[first : day + 1] = kind
        day += 15  # repaired, and as good as new for a while


def _troubles(draw: np.random.Generator) -> tuple[Floats, NDArray[np.intp]]:
    """Strain that ends in nothing, and its kind: 0 network, 1 battery."""
    strain, kind = np.zeros(DAYS), np.full(DAYS, -1, dtype=np.intp)
    for first in np.flatnonzero(draw.random(DAYS) < TROUBLES_A_DEVICE / DAYS):
        last = min(int(first) + int(draw.integers(3, 10)), DAYS)
        strain[first:last] = draw.uniform(0.3, 0.8)
        kind[first:last] = draw.integers(2)
    return strain, kind


def _battery(draw: np.random.Generator, kind: str, *, drain: Floats, failed: NDArray[np.bool_]) -> Floats:
    """The charge in percent: mains devices read 100 for ever; a battery empties and is changed near 20 %, or failed."""
    if kind not in ON_BATTERY:
        return np.full(DAYS, 100.0)
    level, found = float(draw.uniform(40, 100)), np.zeros(DAYS)
    usual = draw.uniform(0.2, 0.6)
    for day in range(DAYS):
        level -= usual * draw.uniform(0.5, 1.5) + 5.0 * drain[day]
        if (day and failed[day - 1]) or level < draw.uniform(3, 25) - 40 * (drain[day] > 0):
            level = 100.0
        found[day] = max(level, 0.0)
    return found
