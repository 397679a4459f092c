"""Small recorded worlds: what is asked, what came, and when it was known; one of them changes in the middle."""

import random
from pathlib import Path

import duckdb

from modelkeep import iso, moment

START = moment("2025-01-01")
DAY = 86400.0


def world(*, days=60, rows=40, breaks=30, seed=1, shift=25.0):
    """Loads of shops by temperature and weekday; from the day ``breaks`` on the effect of the temperature turns."""
    draw = random.Random(seed)
    table = {name: [] for name in ("event_time", "entity", "label", "label_time", "temperature", "weekday")}
    for day in range(days):
        for place in range(rows):
            at = START + day * DAY + place * DAY / rows
            temperature, shop = draw.uniform(0, 30), place % 25
            slope = 2.0 if day < breaks else -2.0
            base = 60.0 if day < breaks else 60.0 + shift
            load = base + slope * temperature + 5.0 * (day % 7 == 6) + draw.gauss(0, 2)
            table["event_time"].append(iso(at))
            table["entity"].append(f"shop {shop}")
            table["label"].append(round(load, 2))
            table["label_time"].append(iso(at + DAY / 2))
            table["temperature"].append(round(temperature, 2))
            table["weekday"].append(day % 7)
    return table


def parquet(table, path: Path) -> Path:
    """The table as a file in replay form."""
    names = list(table)
    with duckdb.connect() as connection:
        kinds = ", ".join(
            f'"{name}" {"TIMESTAMP" if name.endswith("_time") else _kind(table[name][0])}' for name in names
        )
        connection.execute(f"CREATE TABLE t ({kinds})")
        columns = [
            [value.rstrip("Z") for value in values] if name.endswith("_time") else values
            for name, values in table.items()
        ]
        connection.execute(f"INSERT INTO t SELECT {', '.join('unnest(?)' for _ in names)}", columns)
        connection.execute(f"COPY t TO '{path}' (FORMAT parquet)")
    return path


def _kind(value):
    return {bool: "BOOLEAN", int: "BIGINT", float: "DOUBLE"}.get(type(value), "VARCHAR")
