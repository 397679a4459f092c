"""What the workload keeps about people: what the devices of a home say tells of those who live there.

A device is named by its id. Homes are not kept: who leaves names each device of the home.
"""

from collections.abc import Sequence

from modelkeep import Personal, Rooms, Value
from modelkeep.workloads.devices.keeping import MODEL, dataset

PLACES = ("readings", "failures", "scored")


def _keys(rooms: Rooms, subject: str) -> Sequence[tuple[str, str]]:
    known = any(
        dataset(rooms, name).sql("SELECT 1 FROM data WHERE device_id = ? LIMIT 1", [subject]) for name in PLACES
    )
    return ((MODEL, subject),) if known else ()


def _held(rooms: Rooms, subject: str) -> dict[str, list[dict[str, Value]]]:
    tables = {f"devices.{name}": dataset(rooms, name).read(where={"device_id": subject}) for name in PLACES}
    return {
        place: [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
        for place, table in tables.items()
        if any(table.values())
    }


def _erase(rooms: Rooms, subject: str) -> dict[str, int]:
    return {f"devices.{name}": dataset(rooms, name).erase(where={"device_id": subject}) for name in reversed(PLACES)}


def _plant(rooms: Rooms, subject: str) -> None:
    row: dict[str, list[Value]] = {
        "at": [1.0],
        "device_id": [subject],
        "metric": ["battery"],
        "value": [50.0],
        "why": [None],
    }
    dataset(rooms, "readings").append(row)


PERSONAL = Personal(held=_held, erase=_erase, keys=_keys, plant=_plant)
