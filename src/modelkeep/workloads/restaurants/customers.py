"""Customers: will one stay away, and what will one spend; learnt from purchases before a day, judged by those after.

The table has ``customer``, ``date`` and ``amount`` (and ``qty``), one row a purchase. On the grid of days 30 days apart
every customer who has bought before gives one row: features from purchases up to that day, the label from the days
after it. The label is no feature's image: how long ago the last purchase was does not say whether another one follows.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modelkeep import Field, Output, Refused, TrainingRows, Value
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

DAY = 86400.0
GRID = 30
"""Days between two looks at all customers, counted from 1970 so that more data never moves them."""
AWAY = 90
"""Days without a purchase after the look that are churn."""
VALUE = 180
"""Days after the look whose spending is the value."""
LEAST_PAST = 90
"""Days of purchases before the first look."""
SPANS = (30, 90, 180, 365)
CHURN = Field(name="churned", kind="boolean")
WORTH = Field(name="value", kind="number", unit="money", low=0.0)


@dataclass(frozen=True, kw_only=True)
class Purchases:
    """Purchases by customer and day: who, day number since 1970, amount."""

    names: list[str]
    who: Whole
    day: Whole
    amount: Floats


def read_purchases(table: Table) -> Purchases:
    """The purchases of a table, in order of customer and day; rows without customer or date are left out."""
    when = np.floor(moments(needed(table, "date"), "date") / DAY)
    names = texts(needed(table, "customer"))
    money = named(table, "amount")
    amount = np.nan_to_num(numbers(table[money])) if money else np.zeros(len(when))
    kept = np.flatnonzero(np.isfinite(when) & np.array([bool(name) for name in names]))
    who, known = codes([names[i] for i in kept])
    day = when[kept].astype(np.int64)
    order = np.lexsort((day, who))
    return Purchases(names=known, who=who[order], day=day[order], amount=amount[kept][order])


def features(purchases: Purchases, look: int) -> tuple[Whole, dict[str, Floats]]:
    """The customers who had bought by a day (number, inclusive), and what is known of each then.

    Days and counts are plain; money is in the table's unit. A visit is a day with purchases.
    """
    past = purchases.day <= look
    who, day, amount = purchases.who[past], purchases.day[past], purchases.amount[past]
    size = len(purchases.names)
    first_of_visit = np.ones(len(who), dtype=np.bool_)
    first_of_visit[1:] = (who[1:] != who[:-1]) | (day[1:] != day[:-1])
    visit_who, visit_day = who[first_of_visit], day[first_of_visit]
    visits = np.bincount(visit_who, minlength=size)
    customers = np.flatnonzero(visits)
    last, first = np.full(size, 0), np.full(size, 0)
    last[visit_who] = visit_day
    first[visit_who[::-1]] = visit_day[::-1]
    spent = np.bincount(who, amount, size)
    newest = np.zeros(size)
    np.add.at(newest, who, np.where(day == last[who], amount, 0.0))
    gaps = np.diff(visit_day, prepend=0).astype(float)
    gaps[np.r_[True, visit_who[1:] != visit_who[:-1]]] = 0.0
    longest = np.zeros(size)
    np.maximum.at(longest, visit_who, gaps)
    square = np.bincount(visit_who, gaps**2, size)
    found: dict[str, Floats] = {
        "recency_days": (look - last).astype(float),
        "tenure_days": (look - first).astype(float),
        "visits": visits.astype(float),
        "spent": spent.astype(np.float64),
        "spent_a_visit": spent / np.maximum(visits, 1),
        "spent_last": newest,
        "longest_gap": np.where(visits > 1, longest, np.nan),
    }
    mean_gap = np.where(visits > 1, (last - first) / np.maximum(visits - 1, 1), np.nan)
    found["mean_gap"] = mean_gap
    found["gap_spread"] = np.sqrt(np.maximum(square / np.maximum(visits - 1, 1) - mean_gap**2, 0.0))
    found["recency_in_gaps"] = found["recency_days"] / np.maximum(mean_gap, 1.0)
    for span in SPANS:
        late = visit_day > look - span
        found[f"visits_{span}"] = np.bincount(visit_who[late], minlength=size).astype(float)
        found[f"spent_{span}"] = np.bincount(who[day > look - span], amount[day > look - span], size).astype(np.float64)
    return customers, {name: values[customers] for name, values in found.items()}


def looks(purchases: Purchases, *, after: int) -> list[int]:
    """The days of the grid after which ``after`` days are known. Raises Refused when there is none."""
    start, end = int(purchases.day.min(initial=2**40)), int(purchases.day.max(initial=0))
    found = list(range(-(-(start + LEAST_PAST) // GRID) * GRID, end - after + 1, GRID))
    if not found:
        span = max(end - start + 1, 0)
        raise Refused(
            f"the purchases span {span} days; {LEAST_PAST + after + GRID} are needed to see what customers do after",
            remedy="bring a longer past",
        )
    return found


def prepare_churn(table: Table) -> TrainingRows:
    """Rows to learn churn from: true when a customer bought nothing in the 90 days after the look.

    Raises BadInput for a column that is missing or unreadable, Refused for too short a past.
    """
    purchases = read_purchases(table)
    return _rows(purchases, after=AWAY, label=lambda visits, _: visits == 0)


def prepare_value(table: Table) -> TrainingRows:
    """Rows to learn the value from: what a customer spent in the 180 days after the look.

    Raises BadInput for a column that is missing or unreadable, Refused for too short a past.
    """
    purchases = read_purchases(table)
    return _rows(purchases, after=VALUE, label=lambda _, money: np.maximum(money, 0.0))


def _rows(purchases: Purchases, *, after: int, label: Callable[[Floats, Floats], NDArray[np.generic]]) -> TrainingRows:
    columns: dict[str, list[Value]] = {}
    truth: list[Output] = []
    keys: list[str] = []
    at: list[float] = []
    size = len(purchases.names)
    for look in looks(purchases, after=after):
        customers, found = features(purchases, look)
        for name, values in found.items():
            columns.setdefault(name, []).extend(optional(values))
        later = (purchases.day > look) & (purchases.day <= look + after)
        visits = np.bincount(purchases.who[later], minlength=size).astype(np.float64)
        money = np.bincount(purchases.who[later], purchases.amount[later], size).astype(np.float64)
        truth += label(visits, money)[customers].tolist()
        keys += [purchases.names[i] for i in customers]
        at += [(look + 1) * DAY] * len(customers)
    told = [moment + after * DAY for moment in at]
    return TrainingRows(columns=columns, truth=truth, keys=keys, at=at, targets=at, told=told)
