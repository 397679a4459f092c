"""Tables and files of devices that the tests share."""

import csv
import json
import os
from functools import cache
from pathlib import Path

import pytest

from modelkeep.workloads.devices import simulator, training

ROOT = Path(__file__).parents[3]
DAY = 86400.0


def shared(*parts: str) -> Path:
    """A file of the shared data, or a skip that names it."""
    path = Path(os.environ.get("PUBLIC_DATA", ROOT.parent / "shared" / "data")).joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{'/'.join(parts)} is not here")
    return path


def states() -> dict[str, list[str]]:
    """The states of a real home, as columns of texts."""
    with shared("origins", "homeiq", "ha_states_filtered.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    return {name: [row[name] for row in rows] for name in rows[0]}


def records(name: str) -> list[dict[str, object]]:
    return json.loads(shared("origins", "homeiq", f"{name}.json").read_text())


@cache
def homes(devices: int = 60, seed: int = 3):
    """A simulated fleet over 180 days, as a wide table."""
    return simulator.simulate(devices * simulator.DAYS, seed)


@cache
def prepared(devices: int = 60, seed: int = 3):
    return training.prepare({name: list(values) for name, values in homes(devices, seed).items()})
