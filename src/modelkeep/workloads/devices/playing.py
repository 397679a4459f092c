"""Simulated life for ``modelkeep demo devices``: 100 devices, a reading a day each, and failures as they happen."""

import math
from functools import lru_cache

from modelkeep import App, Value
from modelkeep.workloads.devices import keeping, planning
from modelkeep.workloads.devices.assessing import assess, champion
from modelkeep.workloads.devices.fleet import DAY
from modelkeep.workloads.devices.simulator import DAYS, METRICS, Device, device

DEVICES, SEED = 100, 7
MORNING = 6 * 3600.0
"""Every device reports at this time of the day."""


def play(app: App, at: float) -> None:
    """Let the hour ``at`` happen: every device reports in the morning, and what failed is noted.

    The first hour brings 180 days of history and trains the model on them; it goes on from where the store says it is.
    """
    begun = keeping.simulated_since(app.rooms)
    if begun is None:
        begun = at - at % DAY
        keeping.set_simulated(app.rooms, at=begun)
    kept = keeping.dataset(app.rooms, "readings").sql('SELECT max("at") FROM data')
    newest = None if not kept or kept[0][0] is None else float(kept[0][0])
    done = 0 if newest is None else int((newest - begun) // DAY) + DAYS + 1
    due = int((at - MORNING - begun) // DAY) + DAYS + 1
    for day in range(done, due, DAYS):
        _send(app, range(day, min(day + DAYS, due)), begun=begun)
    if champion(app.rooms) is None:
        _first(app)
    elif due > done:
        keeping.mature(app.rooms, now=at)
        assess(app.rooms)


def _first(app: App) -> None:
    """Train the first version, once."""
    if planning.running(app.rooms) is None and planning.last(app.rooms) is None:
        app.train(
            keeping.MODEL,
            keeping.table(app.rooms),
            data_source="sample",
            source="simulated devices",
            why="a demonstration on simulated devices, and labelled so",
            by="demo",
        )


def _send(app: App, days: range, *, begun: float) -> None:
    """Bring the readings of some days, each day's failures after them; day ``DAYS`` is the first of the play."""
    columns: dict[str, list[Value]] = {"device_id": [], "metric_name": [], "metric_value": [], "timestamp": []}
    failed: list[tuple[float, str]] = []
    for number in range(DEVICES):
        for day in days:
            life = _life(number, day // DAYS)
            at = begun + (day - DAYS) * DAY + MORNING
            for name in METRICS:
                columns["device_id"].append(f"sim-{number:04d}")
                columns["metric_name"].append(name)
                value = float(life.metrics[name][day % DAYS])
                columns["metric_value"].append("unavailable" if math.isnan(value) else value)
                columns["timestamp"].append(at)
            if life.failed[day % DAYS]:
                failed.append((at, f"sim-{number:04d}"))
    if columns["device_id"]:
        keeping.ingest(app.rooms, columns)
    for at, name in sorted(failed):
        keeping.fail(app.rooms, name, at=at, mode="simulated")


@lru_cache(maxsize=4 * DEVICES)
def _life(number: int, part: int) -> Device:
    return device(number + DEVICES * part, seed=SEED)
