"""Orders per hour: the level of a restaurant times the profile of its week, corrected by what a model learns.

The table has ``restaurant``, ``hour`` (a moment; the start of the hour), ``orders`` (0 is a real answer in an opening
hour), and where known ``asked`` and ``told``. Without ``asked`` every hour is asked 24 h ahead, without ``told`` it is
told an hour after its start. An ``orders`` column may be absent: then every row is one order.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from modelkeep import Field, TrainingRows, Value
from modelkeep.workloads.restaurants import diary
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
from modelkeep.workloads.restaurants.diary import Diary, Grid, Whole, read

DAY, HOUR = 86400.0, 3600.0
AHEAD = 24 * HOUR
COMPLETE = 3 * HOUR
"""After the end of a day by which its hours must have been told to count as a day."""
CATEGORIES = ("restaurant",)
OUTPUT = Field(name="orders", kind="number", unit="orders/h", low=0.0)
SLOT_WEIGHTS: Mapping[str, float] = {"slot_ewma": 0.05, "slot_ewma_fast": 0.15}
LEVEL_WEIGHTS: Mapping[str, float] = {"level_ewma": 0.05, "level_ewma_fast": 0.2}
LONG = 26


@dataclass(frozen=True, kw_only=True)
class Hours:
    """Hours of restaurants, one entry each: who, its day (number since 1970) and hour 0..23 UTC, orders, when told."""

    names: list[str]
    who: Whole
    day: Whole
    hour: Whole
    orders: Floats
    asked: Floats
    told: Floats
    holiday: Floats

    def at(self, places: Whole) -> "Hours":
        """Some of them."""
        kept = {name: value[places] for name, value in self.__dict__.items() if name != "names"}
        return Hours(names=self.names, **kept)


def prepare(table: Table) -> TrainingRows:
    """Rows to learn the hourly orders from, by the moment at which each was asked.

    Features are orders/h or days, from hours told by then alone. Raises BadInput for a column that is missing or
    unreadable.

    >>> hours = {"hour": [f"2024-01-0{d}T12:00" for d in range(1, 10)], "orders": [3] * 9}
    >>> prepare(hours).columns["slot_ewma"][-1]
    3.0
    """
    hours = read_hours(table)
    hours = hours.at(np.flatnonzero(np.isfinite(hours.orders)))
    hours = hours.at(np.lexsort((hours.who, hours.hour, hours.day, hours.asked)))
    return TrainingRows(
        columns=columns_of(Past.of(hours), hours),
        truth=[*hours.orders.tolist()],
        keys=[hours.names[i] for i in hours.who],
        at=hours.asked.tolist(),
        targets=(hours.day * DAY + hours.hour * HOUR).tolist(),
        told=hours.told.tolist(),
    )


def read_hours(table: Table) -> Hours:
    """The hours of a table; rows without a moment are left out. Raises BadInput."""
    when = moments(needed(table, "hour"), "hour")
    kept = np.flatnonzero(np.isfinite(when))
    known = named(table, "restaurant")
    who, names = codes(texts(table[known]) if known else ["restaurant"] * len(when))
    asked_as, told_as, count = named(table, "asked"), named(table, "told"), named(table, "orders")
    start = np.floor(np.nan_to_num(when) / HOUR) * HOUR
    free = named(table, "holiday")
    found = Hours(
        names=names,
        who=who,
        day=np.floor(start / DAY).astype(np.int64),
        hour=(start % DAY // HOUR).astype(np.int64),
        orders=np.maximum(numbers(table[count]), 0.0) if count else np.ones(len(when)),
        asked=moments(table[asked_as], "asked") if asked_as else start - AHEAD,
        told=np.nan_to_num(moments(table[told_as], "told"), nan=np.inf) if told_as else start + HOUR,
        holiday=numbers(table[free]) if free else np.full(len(when), np.nan),
    ).at(kept)
    return found if asked_as else _added_up(found)


def _added_up(hours: Hours) -> Hours:
    """One entry a restaurant and hour: orders are added; hours without any between them are no entries."""
    place = (hours.who * 10**6 + hours.day) * 24 + hours.hour
    _, first, same = np.unique(place, return_index=True, return_inverse=True)
    if len(first) == len(place):
        return hours
    total = np.bincount(same, weights=np.nan_to_num(hours.orders))
    return Hours(**{**hours.at(first).__dict__, "orders": total})


@dataclass(frozen=True, kw_only=True)
class Past:
    """What was ordered in each hour of the day of each restaurant (``slots``), and on the whole day (``levels``)."""

    slots: Diary
    levels: Diary

    @classmethod
    def of(cls, hours: Hours) -> "Past":
        """From hours with their orders."""
        number = len(hours.names)
        nothing = np.full(len(hours.day), np.nan)
        slots = Diary.of(
            hours.who * 24 + hours.hour,
            hours.day,
            values=hours.orders,
            told=hours.told,
            groups=diary.Groups(peers=np.repeat(np.arange(number), 24), holiday=hours.holiday, eve=nothing),
        )
        return cls(slots=slots, levels=_levels(hours, number))


def _levels(hours: Hours, number: int) -> Diary:
    """Mean orders an opening hour of each day; a day is known some hours after its end, from what was told by then."""
    due = (hours.day + 1) * DAY + COMPLETE
    kept = hours.at(np.flatnonzero(hours.told <= due))
    place, first, same = np.unique(kept.who * 10**6 + kept.day, return_index=True, return_inverse=True)
    total = np.bincount(same, weights=kept.orders) / np.maximum(np.bincount(same), 1)
    nothing = np.full(len(place), np.nan)
    return Diary.of(
        kept.who[first],
        kept.day[first],
        values=total,
        told=(kept.day[first] + 1) * DAY + COMPLETE,
        groups=diary.Groups(peers=np.zeros(number, dtype=np.int64), holiday=nothing, eve=nothing),
    )


def matrix(past: Past, hours: Hours) -> dict[str, Floats]:
    """The numeric features of questions by name, in the order of the model's inputs."""
    slots, levels = past.slots, past.levels
    slot = hours.who * 24 + hours.hour
    newest = diary.last_known(slots, slot, asked=hours.asked)
    day = hours.day - slots.first
    same = newest - (newest - day) % 7
    whole = diary.last_known(levels, hours.who, asked=hours.asked)
    found: dict[str, Floats] = {
        "hour": hours.hour.astype(float),
        "weekday": (hours.day + 3) % 7.0,
        "holiday": hours.holiday,
        "horizon": (hours.day * DAY + hours.hour * HOUR - hours.asked) / HOUR,
        "gap": np.where(newest < 0, np.nan, day - newest).astype(float),
    }
    for name, grid, by_week in _slot_grids(slots.values):
        found[name] = read(grid, slot, at=same if by_week else newest)
    for name, grid in _level_grids(levels.values):
        found[name] = read(grid, hours.who, at=whole)
    profile = found["slot_mean_26"] / np.maximum(read(diary.windowed(levels.values, 182), hours.who, at=whole), 1e-3)
    found["level_times_profile"] = found["level_28"] * profile
    found["usual"] = _first_known(found, ("slot_ewma", "hour_mean_28", "level_28", "level_ewma"))
    return found


def _first_known(found: Mapping[str, Floats], names: tuple[str, ...]) -> Floats:
    usual = found[names[0]]
    for name in names[1:]:
        usual = np.where(np.isnan(usual), found[name], usual)
    return usual


def _slot_grids(values: Grid) -> list[tuple[str, Grid, bool]]:
    grids = [(name, diary.ewma(values, 7, weight=weight), True) for name, weight in SLOT_WEIGHTS.items()]
    grids += [(f"slot_mean_{n}", diary.windowed(values, n, step=7), True) for n in (4, 8, LONG)]
    grids += [(f"hour_mean_{n}", diary.windowed(values, n), False) for n in (7, 28)]
    return [("slot_last", diary.carried(values, 7), True), *grids]


def _level_grids(values: Grid) -> list[tuple[str, Grid]]:
    grids = [(name, diary.ewma(values, 1, weight=weight)) for name, weight in LEVEL_WEIGHTS.items()]
    return grids + [(f"level_{n}", diary.windowed(values, n)) for n in (7, 28, 112)]


def columns_of(past: Past, hours: Hours) -> dict[str, list[Value]]:
    """The features of questions as a model takes them; unknown as None."""
    restaurant: dict[str, list[Value]] = {"restaurant": [hours.names[i] for i in hours.who]}
    return restaurant | {name: optional(values) for name, values in matrix(past, hours).items()}


def prepare_calendar(table: Table) -> TrainingRows:
    """The same rows for a model that knows the calendar alone: hour of the day, weekday and month."""
    rows = prepare(table)
    days = np.floor(np.asarray(rows.targets) / DAY).astype("datetime64[D]")
    month = days.astype("datetime64[M]").astype(np.int64) % 12 + 1.0
    columns = {name: rows.columns[name] for name in ("restaurant", "hour", "weekday")}
    columns["month"] = optional(month)
    return TrainingRows(
        columns=columns, truth=rows.truth, keys=rows.keys, at=rows.at, targets=rows.targets, told=rows.told
    )
