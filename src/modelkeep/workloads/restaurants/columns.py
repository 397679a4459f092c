"""The columns of a table as arrays: under their own name or one of the names that others use for them."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from modelkeep import BadInput, Value, moment

Floats: TypeAlias = NDArray[np.floating[Any]]
Table = Mapping[str, Sequence[Value]]

ALIASES: Mapping[str, tuple[str, ...]] = {
    "restaurant": ("restaurant_id", "entity", "store", "store_id", "air_store_id", "key"),
    "date": ("target_date", "visit_date", "calendar_date", "day"),
    "visit": ("visit_datetime",),
    "booked": ("reserve_datetime",),
    "hour": ("target_hour", "target", "ts"),
    "visitors": ("amount", "label", "covers", "guests", "reserve_visitors"),
    "orders": ("amount", "label", "count"),
    "asked": ("event_time",),
    "told": ("label_time",),
    "customer": ("customer_id", "entity"),
    "amount": ("label", "total", "grand_total", "value"),
    "qty": ("quantity",),
    "item": ("item_id", "menu_item_id", "entity"),
    "minutes": ("label", "Time_taken(min)", "prep_time", "prep_minutes"),
    "station": ("station_id", "station_name"),
    "order_type": ("Type_of_order",),
    "vehicle": ("Type_of_vehicle",),
    "rider": ("Delivery_person_ID",),
    "rider_age": ("Delivery_person_Age",),
    "rider_rating": ("Delivery_person_Ratings",),
    "restaurant_latitude": ("Restaurant_latitude",),
    "restaurant_longitude": ("Restaurant_longitude",),
    "delivery_latitude": ("Delivery_location_latitude",),
    "delivery_longitude": ("Delivery_location_longitude",),
    "assigned": ("assigned_at", "event_time"),
    "completed": ("completed_at", "label_time"),
    "genre": ("air_genre_name", "cuisine"),
    "area": ("air_area_name", "city", "region"),
    "holiday": ("holiday_flg", "is_holiday"),
    "reserved": ("reserve_visitors", "reservations"),
}
"""Other names of a column, the better first."""


def named(table: Table, name: str) -> str | None:
    """What a column is called in this table, or None.

    >>> named({"entity": ["a"]}, "restaurant")
    'entity'
    """
    return next((known for known in (name, *ALIASES.get(name, ())) if known in table), None)


def needed(table: Table, name: str) -> Sequence[Value]:
    """A column that must be there. Raises BadInput naming what is there and how to map it."""
    known = named(table, name)
    if known is None:
        raise BadInput(
            f"the table has no column {name!r}; it has {', '.join(list(table)[:30])}",
            remedy=f"name it, as --map {name}=YOUR_COLUMN",
        )
    return table[known]


def numbers(values: Sequence[Value]) -> Floats:
    """Numbers, true and false as 1 and 0; None, NaN and what is no number become NaN."""
    try:
        return np.array(values, dtype=np.float64)  # None becomes NaN
    except (TypeError, ValueError):
        return np.array([_number(value) for value in values], dtype=np.float64)


def _number(value: Value) -> float:
    try:
        return float("nan") if value is None else float(str(value).strip())
    except ValueError:
        return float("nan")


def moments(values: Sequence[Value], name: str) -> Floats:
    """Moments in seconds since 1970 (UTC), from seconds or ISO-8601 text; None becomes NaN.

    Raises BadInput naming the column for anything else.
    """
    known: dict[Value, float] = {None: float("nan")}
    found = np.empty(len(values))
    for place, value in enumerate(values):
        at = known.get(value)
        if at is None:
            at = known[value] = float(value) if isinstance(value, float | int) else moment(str(value), name)
        found[place] = at
    return found


def texts(values: Sequence[Value]) -> list[str]:
    """Texts without blanks around them; a whole number loses its point, None is an empty text.

    >>> texts([7.0, " Thai ", None])
    ['7', 'Thai', '']
    """
    known: dict[Value, str] = {}
    for value in values:
        if value not in known:
            whole = isinstance(value, float) and value == int(value) if value == value else False  # noqa: PLR0124 - NaN
            known[value] = "" if value is None else str(int(value)) if whole else str(value).strip()
    return [known[value] for value in values]


def codes(values: Sequence[str]) -> tuple[NDArray[np.int64], list[str]]:
    """The place of each text among the distinct ones, and these in alphabetical order."""
    names = sorted(set(values))
    place = {name: code for code, name in enumerate(names)}
    return np.fromiter((place[value] for value in values), dtype=np.int64, count=len(values)), names


def optional(values: NDArray[np.generic] | Sequence[float]) -> list[Value]:
    """Numbers as plain values; NaN becomes None."""
    array = np.asarray(values, dtype=np.float64)
    found: list[Value] = array.tolist()
    for place in np.flatnonzero(np.isnan(array)):
        found[place] = None
    return found
