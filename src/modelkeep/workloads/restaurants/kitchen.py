"""Minutes from taking an order to its being ready (or delivered): rows to learn from.

The table has ``minutes`` and whatever is known when an order comes in: ``restaurant``, ``station``, ``item``,
``quantity``, ``queue`` (orders waiting), ``order_type``, ``vehicle``, ``rider``, ``rider_age``, ``rider_rating`` and
``distance_km`` (or four coordinates). With ``assigned`` and ``completed`` (moments) the past of a station and item is
known, and judging is by time; without them rows of one rider, station or restaurant never stand on both sides.
"""

import numpy as np

from modelkeep import Field, TrainingRows, Value
from modelkeep.workloads.restaurants.columns import (
    Floats,
    Table,
    codes,
    moments,
    named,
    needed,
    numbers,
    optional,
    texts,
)
from modelkeep.workloads.restaurants.diary import Whole

DAY, HOUR = 86400.0, 3600.0
LONGEST = 120.0
"""Minutes above which a time is a forgotten ticket and no preparation; such rows are left out."""
RECENT = 20
EARTH = 6371.0
CATEGORIES = ("station", "item", "order_type", "vehicle")
NUMBERS = ("quantity", "queue", "rider_age", "rider_rating")
PLACES = ("restaurant_latitude", "restaurant_longitude", "delivery_latitude", "delivery_longitude")
OUTPUT = Field(name="minutes", kind="number", unit="min", low=0.0)


def prepare(table: Table) -> TrainingRows:
    """Rows to learn the minutes from; see the module for the columns.

    Raises BadInput for a column that is missing or unreadable.

    >>> orders = {"minutes": [10.0, 12.0, 400.0], "station": ["grill", "grill", "bar"]}
    >>> len(prepare(orders).truth)
    2
    """
    minutes = numbers(needed(table, "minutes"))
    kept = np.flatnonzero((minutes > 0) & (minutes <= LONGEST))
    timed = named(table, "assigned") is not None
    asked = moments(needed(table, "assigned"), "assigned") if timed else np.arange(len(minutes), dtype=float)
    ended = named(table, "completed")
    told = moments(table[ended], "completed") if ended and timed else asked + minutes * 60
    told = np.maximum(np.where(np.isnan(told), asked + minutes * 60, told), asked)
    if timed:
        kept = kept[np.isfinite(asked[kept])]
        kept = kept[np.argsort(asked[kept], kind="stable")]
    columns = columns_of(table, minutes=minutes if timed else None, asked=asked, told=told)
    groups = group_of(table, len(minutes))
    return TrainingRows(
        columns={name: [values[i] for i in kept] for name, values in columns.items()},
        truth=minutes[kept].tolist(),
        keys=[groups[i] for i in kept],
        at=asked[kept].tolist(),
        targets=asked[kept].tolist(),
        told=told[kept].tolist(),
        groups=[] if timed else [groups[i] for i in kept],
    )


def group_of(table: Table, size: int) -> list[str]:
    """What rows have in common: the rider, else restaurant and station, else nothing (each row stands alone)."""
    rider = named(table, "rider")
    if rider:
        return texts(table[rider])
    parts = [texts(table[known]) for name in ("restaurant", "station") if (known := named(table, name))]
    return ["/".join(row) for row in zip(*parts, strict=True)] if parts else [str(i) for i in range(size)]


def columns_of(table: Table, *, minutes: Floats | None, asked: Floats, told: Floats) -> dict[str, list[Value]]:
    """The features of orders; without ``minutes`` of the past there is no history of stations and items."""
    size = len(asked)
    found: dict[str, list[Value]] = {}
    for name in CATEGORIES:
        known = named(table, name)
        found[name] = [value or None for value in texts(table[known])] if known else [None] * size
    for name in NUMBERS:
        known = named(table, name)
        found[name] = optional(numbers(table[known])) if known else [None] * size
    found["distance_km"] = optional(distance(table, size))
    nothing = np.full(size, np.nan)
    timed = minutes is not None
    found["hour"] = optional(asked % DAY // HOUR if timed else nothing)
    found["weekday"] = optional((asked // DAY + 3) % 7 if timed else nothing)
    restaurant = named(table, "restaurant")
    who = texts(table[restaurant]) if restaurant else [""] * size
    pairs = {
        "station_minutes": [f"{a}\t{b}" for a, b in zip(who, found["station"], strict=True)],
        "item_minutes": [f"{a}\t{b}" for a, b in zip(who, found["item"], strict=True)],
    }
    for name, keys in pairs.items():
        past = recent_mean(codes(keys)[0], asked=asked, told=told, values=minutes) if minutes is not None else nothing
        found[name] = optional(past)
    return found


def recent_mean(keys: Whole, *, asked: Floats, told: Floats, values: Floats) -> Floats:
    """For each row the mean of the newest of its key's values that were told when it was asked; NaN for none.

    >>> known = recent_mean(np.array([0, 0]), asked=np.array([0.0, 9.0]), told=np.array([5.0, 12.0]), values=np.ones(2))
    >>> known.tolist()
    [nan, 1.0]
    """
    usable = np.flatnonzero(np.isfinite(values) & np.isfinite(told))
    usable = usable[np.lexsort((told[usable], keys[usable]))]
    step = float(max(told[usable].max(initial=0.0), asked.max(initial=0.0))) + 1.0
    line = keys[usable] * step + told[usable]
    until = np.searchsorted(line, keys * step + asked, side="right")
    first = np.maximum(np.searchsorted(line, keys * step), until - RECENT)
    sums = np.concatenate([[0.0], np.cumsum(values[usable])])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(until > first, (sums[until] - sums[first]) / (until - first), np.nan)


def distance(table: Table, size: int) -> Floats:
    """Kilometres between restaurant and delivery: given, or along the great circle (haversine) between coordinates.

    A sign that was lost or added counts as a slip: only absolute values are taken. Beyond 100 km nothing is known.
    """
    given = named(table, "distance_km")
    if given:
        return numbers(table[given])
    if any(named(table, name) is None for name in PLACES):
        return np.full(size, np.nan)
    here, here_east, there, there_east = (np.radians(np.abs(numbers(needed(table, name)))) for name in PLACES)
    half = np.sin((there - here) / 2) ** 2 + np.cos(here) * np.cos(there) * np.sin((there_east - here_east) / 2) ** 2
    km = 2 * EARTH * np.arcsin(np.sqrt(half))
    return np.where(km < 100, km, np.nan)
