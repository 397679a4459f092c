"""Daily visitors of many restaurants: from a table of days to rows that a model can learn from, and back to questions.

The table has ``restaurant``, ``date``, ``visitors`` (0 = closed), and where known ``asked`` and ``told`` (moments),
``reserved`` (visitors booked for that date when asked), ``genre``, ``area``, ``holiday``, ``holiday_before`` and
``holiday_after`` (1 when that day, the day before or the day after is one). Without ``asked`` every row is asked 1 to 7
days ahead at 06:00 UTC, without ``told`` it is told at 03:00 of the day after. Several rows of a restaurant and date
without ``asked`` are parts of the day (orders, tills) and are added up.
"""

import zlib
from collections.abc import Sequence
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

DAY = 86400.0
ASKED_AT, TOLD_AT = 21600.0, 97200.0
"""Seconds after midnight UTC at which forecasts are asked, and after a day's start at which its count is told."""
HORIZONS = 7
CATEGORIES = ("restaurant", "genre", "area")
CALENDAR = ("weekday", "holiday", "holiday_before", "holiday_after")
EXTRA = ("genre", "area", "holiday", "holiday_before", "holiday_after", "reserved")
OUTPUT = Field(name="visitors", kind="number", unit="visitors/day", low=0.0)


@dataclass(frozen=True, kw_only=True)
class Days:
    """Days of restaurants, one entry each: who, which day (number since 1970), how many, when told, what is known."""

    names: list[str]
    who: diary.Whole
    day: diary.Whole
    visitors: Floats
    asked: Floats
    told: Floats
    extra: dict[str, list[str] | Floats]

    def at(self, places: diary.Whole) -> "Days":
        """Some of them."""
        extra: dict[str, list[str] | Floats] = {
            name: [column[i] for i in places] if isinstance(column, list) else column[places]
            for name, column in self.extra.items()
        }
        return Days(
            names=self.names,
            who=self.who[places],
            day=self.day[places],
            visitors=self.visitors[places],
            asked=self.asked[places],
            told=self.told[places],
            extra=extra,
        )


def prepare(table: Table) -> TrainingRows:
    """Rows to learn the daily demand from, by the moment at which each was asked.

    Features are in log1p(visitors), days or shares, from days told by then alone. Closed days (no or 0 visitors) give
    no row. Raises BadInput for a column that is missing or unreadable.

    >>> days = {"restaurant": ["a"] * 9, "date": [f"2024-01-0{d}" for d in range(1, 10)], "visitors": [10] * 9}
    >>> prepare(days).columns["weekday_last"][-1]
    2.3978953361511230
    """
    days = read_days(table)
    days = days.at(np.flatnonzero(days.visitors > 0))
    days = days.at(np.lexsort((days.who, days.day, days.asked)))
    past = diary_of(days)
    return TrainingRows(
        columns=columns_of(past, days),
        truth=[*days.visitors.tolist()],
        keys=[days.names[i] for i in days.who],
        at=days.asked.tolist(),
        targets=(days.day * DAY).tolist(),
        told=days.told.tolist(),
    )


def read_days(table: Table) -> Days:
    """The days of a table, as they stand there; rows without a date are left out. Raises BadInput."""
    when = moments(needed(table, "date"), "date")
    known = named(table, "restaurant")
    who, names = codes(texts(table[known]) if known else ["restaurant"] * len(when))
    day = np.floor(np.nan_to_num(when) / DAY).astype(np.int64)
    asked_as, told_as = named(table, "asked"), named(table, "told")
    asked = moments(table[asked_as], "asked") if asked_as else _asked(names, who, day=day)
    told = moments(table[told_as], "told") if told_as else day * DAY + TOLD_AT
    found = Days(
        names=names,
        who=who,
        day=day,
        visitors=np.maximum(numbers(needed(table, "visitors")), 0.0),
        asked=np.where(np.isnan(asked), _asked(names, who, day=day), asked),
        told=np.where(np.isnan(told), np.inf, told),
        extra=extras(table, len(when)),
    )
    found = found.at(np.flatnonzero(np.isfinite(when)))
    return found if asked_as else _added_up(found)


def extras(table: Table, size: int) -> dict[str, list[str] | Floats]:
    """The optional columns of a table; unknown where it lacks them."""
    found: dict[str, list[str] | Floats] = {}
    for name in EXTRA:
        known = named(table, name)
        if name in CATEGORIES:
            found[name] = texts(table[known]) if known else [""] * size
        else:
            found[name] = numbers(table[known]) if known else np.full(size, np.nan)
    return found


def _asked(names: Sequence[str], who: diary.Whole, *, day: diary.Whole) -> Floats:
    """A moment 1 to 7 days before each day, spread evenly; it does not hang on what else the table holds."""
    shift = np.array([zlib.crc32(name.encode()) % HORIZONS for name in names], dtype=np.int64)
    # 5 and 7 have no common divisor: each weekday is asked about from every distance.
    ahead = 1 + (shift[who] + day // 7 * 5 + day) % HORIZONS
    return (day - ahead) * DAY + ASKED_AT


def _added_up(days: Days) -> Days:
    """One entry a restaurant and day: visitors are added, of the rest the last stands."""
    place = days.who * (int(days.day.max(initial=0)) + 1) + days.day
    _, last, same = np.unique(place[::-1], return_index=True, return_inverse=True)
    if len(last) == len(place):
        return days
    total = np.bincount(same, weights=np.nan_to_num(days.visitors[::-1]))
    one = days.at(len(place) - 1 - last)
    return Days(**{**one.__dict__, "visitors": total})


def diary_of(days: Days) -> diary.Diary:
    """The past of the restaurants; peers are those of the same genre and area."""
    described: dict[int, tuple[str | float, str | float]] = {}
    for one, genre, area in zip(days.who.tolist(), days.extra["genre"], days.extra["area"], strict=True):
        described.setdefault(one, (genre, area))
    groups, _ = codes(["\t".join(map(str, described.get(one, ("", "")))) for one in range(len(days.names))])
    return diary.Diary.of(
        days.who,
        days.day,
        values=np.log1p(np.where(days.visitors > 0, days.visitors, np.nan)),
        told=days.told,
        groups=diary.Groups(
            peers=groups, holiday=np.asarray(days.extra["holiday"]), eve=np.asarray(days.extra["holiday_after"])
        ),
    )


def matrix(past: diary.Diary, days: Days) -> dict[str, Floats]:
    """The numeric features of questions by name, in the order of the model's inputs."""
    found = dict(diary.looked_up(past, days.who, asked=days.asked, target=days.day))
    usual = found["weekday_ewma"]
    for other in ("level_112", "peers_weekday_4", "peers_level_28", "all_weekday_4"):
        usual = np.where(np.isnan(usual), found[other], usual)
    found["usual"] = usual
    found["weekday"] = (days.day + 3) % 7.0
    for name in CALENDAR[1:]:
        found[name] = np.asarray(days.extra[name])
    found["reserved"] = np.log1p(np.asarray(days.extra["reserved"]))
    return found


def columns_of(past: diary.Diary, days: Days) -> dict[str, list[Value]]:
    """The features of questions as a model takes them: categories first, unknown as None."""
    named_by: dict[str, list[Value]] = {
        "restaurant": [days.names[i] for i in days.who],
        "genre": [value or None for value in days.extra["genre"]],
        "area": [value or None for value in days.extra["area"]],
    }
    return named_by | {name: optional(values) for name, values in matrix(past, days).items()}
