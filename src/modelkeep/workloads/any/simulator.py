"""Simulated households and the electricity that each uses in an hour: what a stranger's table may look like.

Physics in one line: a base load by people, a morning and an evening peak, heating below 16 degC by floor area and
insulation, cooling above 24 degC, and noise that grows with the load. Everything follows from the seed and the hour, so
any hour can be made again. From SHIFT on every third household heats with a pump that takes a third of the power:
a model of the time before then errs.
"""

from __future__ import annotations

import math
import random

from msgspec import Struct

from modelkeep import Features, Value, iso

HOUR, DAY, YEAR = 3600.0, 86400.0, 365.25 * 86400.0
HOUSEHOLDS = 40
LATE = 24 * HOUR
"""The meter of an hour is read a day later."""
SHIFT = 25 * DAY
START = 1_704_067_200.0
"""2024-01-01T00:00:00Z: where a simulated table begins."""


class Asked(Struct, frozen=True, kw_only=True):
    """One household in one hour: what is known beforehand, and the kWh that it will turn out to have used."""

    key: str
    at: float
    features: Features
    used: float


def hour_of(at: float, *, seed: int, shifted: bool = False) -> list[Asked]:
    """All households in the hour that begins at ``at`` (a moment); ``shifted`` once the pumps are in."""
    weather = random.Random(f"{seed} {at // HOUR}")  # noqa: S311 - a simulation
    season = math.cos(2 * math.pi * (at % YEAR) / YEAR)
    day = math.sin(2 * math.pi * ((at / HOUR) % 24 - 9) / 24)
    temperature = round(11 - 11 * season + 4 * day + weather.gauss(0, 2), 1)
    return [_household(number, at, temperature=temperature, seed=seed, shifted=shifted) for number in range(HOUSEHOLDS)]


def _household(number: int, at: float, *, temperature: float, seed: int, shifted: bool) -> Asked:
    own = random.Random(f"{seed} household {number}")  # noqa: S311 - the same
    people, area, leaks = own.randint(1, 5), own.randint(40, 180), own.uniform(0.6, 1.4)
    hour, weekday = int(at // HOUR) % 24, int(at // DAY + 3) % 7
    peak = math.exp(-((hour - 19) ** 2) / 8) + 0.6 * math.exp(-((hour - 7) ** 2) / 4)
    heating = 0.0012 * area * leaks * max(16 - temperature, 0.0)
    heating *= 1 / 3 if shifted and number % 3 == 0 else 1.0
    load = 0.12 + 0.05 * people + 0.25 * people**0.6 * peak * (1.2 if weekday > 4 else 1.0) + heating
    load += 0.0006 * area * max(temperature - 24, 0.0)
    noise = random.Random(f"{seed} {number} {at // HOUR}").gauss(0, 0.12)  # noqa: S311 - the same
    features: dict[str, Value] = {
        "temperature": temperature,
        "hour": float(hour),
        "weekday": float(weekday),
        "people": float(people),
        "floor_area": float(area),
    }
    return Asked(key=f"SIM-{number + 1:02d}", at=at, features=features, used=round(max(load * (1 + noise), 0.0), 3))


def simulate(rows: int, seed: int) -> dict[str, list[Value]]:
    """A table of ``rows`` rows in replay form, an hour after the other; label in kWh, told a day later.

    >>> sorted(simulate(3, 1))[:3]
    ['entity', 'event_time', 'floor_area']
    """
    asked: list[Asked] = []
    at = START
    while len(asked) < rows:
        asked += hour_of(at, seed=seed)
        at += 3 * HOUR  # every third hour: a table of 4,000 rows spans two weeks
    asked = asked[:rows]
    table: dict[str, list[Value]] = {
        "event_time": [iso(one.at) for one in asked],
        "entity": [one.key for one in asked],
        "label": [one.used for one in asked],
        "label_time": [iso(one.at + LATE) for one in asked],
    }
    return table | {name: [one.features[name] for one in asked] for name in asked[0].features}
