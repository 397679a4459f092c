"""What to prepare of an item: quantiles of what was sold on the same weekdays.

Counts of one item are few and ragged: the empirical quantile of the same weekdays of half a year loses least (pinball
loss), and it answers the question that a kitchen has: with how much are we safe on so many days of ten.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from modelkeep import NotFound, Rooms, iso
from modelkeep.workloads.restaurants import keeping

DAY = 86400.0
WEEKS = 26
LEAST = 4
"""Same weekdays that must have been seen."""
RULE = "quantiles of the same weekday of 26 weeks"


class ItemDay(Struct, frozen=True, kw_only=True):
    """One day: the mean, what to ``prepare`` so that it does on the wanted share of days, and an 80 % interval.

    ``n`` weekdays stand behind it; everything is null with fewer than four.
    """

    date: str
    predicted_quantity: float | None
    prepare: float | None
    lower: float | None
    upper: float | None
    n: int


class Sold(Struct, frozen=True, kw_only=True):
    """What was sold by day number, on the days on which the restaurant took any order; ``reason`` of an empty past."""

    by_day: Mapping[int, float]
    worked: frozenset[int]
    label: str
    reason: str = ""


def sold(rooms: Rooms, restaurant: str, *, by: str, name: str) -> Sold:
    """The days of an item or a category (``by``). Raises NotFound naming those that the restaurant sells."""
    data = keeping.dataset(rooms, "orders")
    start = rooms.clock.now() - (WEEKS * 7 + 8) * DAY
    rows = data.sql(
        f"SELECT CAST(floor(moment / 86400) AS BIGINT), sum(coalesce(quantity, 1)), any_value(item_name) FROM data "
        f"WHERE restaurant = ? AND {by} = ? AND moment >= ? GROUP BY 1",
        [restaurant, name, start],
    )
    worked = data.sql(
        "SELECT DISTINCT CAST(floor(moment / 86400) AS BIGINT) FROM data WHERE restaurant = ? AND moment >= ?",
        [restaurant, start],
    )
    if not rows:
        known = [
            str(row[0])
            for row in data.sql(f"SELECT DISTINCT {by} FROM data WHERE restaurant = ? AND {by} <> ''", [restaurant])
        ]
        if name not in known:
            raise NotFound(f"{by} of restaurant {restaurant}", name, known=known)
        return Sold(by_day={}, worked=frozenset(), label=name, reason=f"nothing was sold in {WEEKS} weeks")
    label = next((str(row[2]) for row in rows if row[2]), name)
    return Sold(
        by_day={int(day): float(many) for day, many, _ in rows}, worked=frozenset(int(row[0]) for row in worked),
        label=label if by == "item" else name,
    )  # fmt: skip


def days_ahead(found: Sold, *, now: float, hours: int, service: float) -> tuple[ItemDay, ...]:
    """The days after today, as many as ``hours`` reach."""
    today = int(now // DAY)
    return tuple(
        one_day(found, today=today, day=today + 1 + ahead, service=service) for ahead in range(max(1, -(-hours // 24)))
    )


def one_day(found: Sold, *, today: int, day: int, service: float) -> ItemDay:
    """One day's quantiles; a day on which the restaurant worked and sold none counts as 0."""
    last = today - 1 - (today - 1 - day) % 7
    past = [found.by_day.get(one, 0.0) for one in range(last, last - 7 * WEEKS, -7) if one in found.worked]
    if len(past) < LEAST:
        nothing = None
        return ItemDay(
            date=iso(day * DAY)[:10], predicted_quantity=nothing, prepare=nothing, lower=nothing, upper=nothing,
            n=len(past),
        )  # fmt: skip
    return ItemDay(
        date=iso(day * DAY)[:10],
        predicted_quantity=round(sum(past) / len(past), 2),
        prepare=quantile(past, service),
        lower=quantile(past, 0.1),
        upper=quantile(past, 0.9),
        n=len(past),
    )


def quantile(values: Sequence[float], share: float) -> float:
    """The quantile between the two nearest values, as numpy computes it.

    >>> quantile([1.0, 2.0, 3.0, 4.0], 0.5)
    2.5
    """
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return round(ordered[low] + (place - low) * (ordered[high] - ordered[low]), 6)
