"""What is known of the restaurants now, and the questions about days and hours to come.

Orders an hour, visitors a day, the calendar and the bookings are read from the datasets; a question's features are made
by the very code that made those of the training.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np

from modelkeep import Rooms, Value
from modelkeep.workloads.restaurants import daily, diary, hourly, keeping, sides
from modelkeep.workloads.restaurants.columns import Floats
from modelkeep.workloads.restaurants.keeping import EVERYONE

DAY, HOUR = 86400.0, 3600.0
SPAN = 800
"""Days of the past that are looked at."""
KINDS = ("orders", "visits", "reservations", "about", "calendar")
OPEN_SHARE = 0.02
"""An hour with less than this share of the orders of the last eight weeks is taken for closed."""
RECENT = 56
SURE, WEEKDAYS = 4, 8
"""So many of a weekday must have been seen before their being closed means a day off; so many are looked at."""


@dataclass(frozen=True, kw_only=True)
class About:
    """What is known of one restaurant: genre, area, the holidays and closed days (day numbers)."""

    genre: str
    area: str
    holidays: Mapping[int, bool]
    closed: frozenset[int]


@dataclass(frozen=True, kw_only=True)
class Now:
    """All that was told by now: days and hours of every restaurant, and what each is."""

    today: int
    at: float
    days: daily.Days
    hours: hourly.Hours
    about: Mapping[str, About]
    bookings: Mapping[str, Sequence[Value]]


_KEPT: dict[str, tuple[object, Now]] = {}
_LOCK = Lock()


def now_of(rooms: Rooms) -> Now:
    """What is known now; read again when a row came in or the hour is over."""
    at = rooms.clock.now()
    mark = (keeping.revision(rooms, *KINDS), at // HOUR)
    with _LOCK:
        kept = _KEPT.get(str(rooms.folder))
    if kept is not None and kept[0] == mark:
        return kept[1]
    found = _read(rooms, at)
    with _LOCK:
        _KEPT[str(rooms.folder)] = (mark, found)
    return found


def _read(rooms: Rooms, at: float) -> Now:
    today = int(at // DAY)
    start, end = (today - SPAN) * DAY, (at // HOUR) * HOUR
    orders = keeping.dataset(rooms, "orders").sql(
        'SELECT restaurant, floor(moment / 3600) * 3600 AS hour, count(DISTINCT "order") AS orders FROM data '
        "WHERE moment >= ? AND moment < ? GROUP BY ALL ORDER BY ALL",
        [start, end],
    )
    visits = keeping.dataset(rooms, "visits").sql(
        "SELECT restaurant, floor(moment / 86400), sum(visitors) FROM data WHERE moment >= ? "
        "AND moment < ? GROUP BY ALL ORDER BY ALL",
        [start, today * DAY],
    )
    counted: dict[tuple[str, int], float] = {}
    for name, hour, number in orders:
        if hour < today * DAY:
            place = (name, int(hour // DAY))
            counted[place] = counted.get(place, 0.0) + number
    counted |= {(name, int(day)): float(number) for name, day, number in visits}
    about = _about(rooms, keeping.known(rooms), today=today)
    return Now(
        today=today,
        at=at,
        days=_days(counted, about),
        hours=_hours(orders, about, end=end),
        about=about,
        bookings=keeping.dataset(rooms, "reservations").read(),
    )


def _about(rooms: Rooms, names: Sequence[str], *, today: int) -> dict[str, About]:
    said = keeping.dataset(rooms, "about").latest(by=("restaurant",))
    known = {
        row[0]: row[1:] for row in zip(said["restaurant"], said["genre"], said["area"], said["country"], strict=True)
    }
    marked: dict[str, dict[int, tuple[float | None, float | None]]] = {}
    calendar = keeping.dataset(rooms, "calendar").read()
    for name, at, holiday, closed in zip(
        *(calendar[n] for n in ("restaurant", "moment", "holiday", "closed")), strict=True
    ):
        marked.setdefault(str(name), {})[int(float(at or 0) // DAY)] = (holiday, closed)
    first, last = today - SPAN, today + 400
    lands = {
        str(row[2]): sides.public_holidays(str(row[2]), first=first, last=last) for row in known.values() if row[2]
    }
    found = {}
    for name in sorted({*names, *map(str, known)}):
        genre, area, country = known.get(name, ("", "", ""))
        days = dict(lands.get(str(country or ""), {}))
        both = {**marked.get(EVERYONE, {}), **marked.get(name, {})}
        if any(holiday is not None for holiday, _ in both.values()):
            days = dict.fromkeys(range(first, last), False) | days
        days |= {day: holiday > 0 for day, (holiday, _) in both.items() if holiday is not None}
        closed = frozenset(day for day, (_, shut) in both.items() if shut)
        found[name] = About(genre=str(genre or ""), area=str(area or ""), holidays=days, closed=closed)
    return found


def _days(counted: Mapping[tuple[str, int], float], about: Mapping[str, About]) -> daily.Days:
    names = sorted(about)
    place = {name: i for i, name in enumerate(names)}
    rows = sorted(counted)
    who = np.array([place[name] for name, _ in rows], dtype=np.int64)
    day = np.array([number for _, number in rows], dtype=np.int64)
    return daily.Days(
        names=names,
        who=who,
        day=day,
        visitors=np.array([counted[row] for row in rows]),
        asked=day * DAY,
        told=(day + 1) * DAY,
        extra=_extra([name for name, _ in rows], day, about=about),
    )


def _extra(names: Sequence[str], day: diary.Whole, *, about: Mapping[str, About]) -> dict[str, list[str] | Floats]:
    found: dict[str, list[str] | Floats] = {
        "genre": [about[name].genre for name in names],
        "area": [about[name].area for name in names],
        "reserved": np.full(len(names), np.nan),
    }
    for column, shift in (("holiday", 0), ("holiday_before", -1), ("holiday_after", 1)):
        found[column] = np.array(
            [_flag(about[name].holidays, int(one) + shift) for name, one in zip(names, day, strict=True)], dtype=float
        )
    return found


def _flag(holidays: Mapping[int, bool], day: int) -> float:
    return float(holidays[day]) if day in holidays else float("nan")


def _hours(orders: Sequence[tuple[str, float, int]], about: Mapping[str, About], *, end: float) -> hourly.Hours:
    """Orders of every opening hour from a restaurant's first to now; opening hours without an order count as 0."""
    names = sorted(about)
    found: list[tuple[int, float, float]] = []
    by_name: dict[str, dict[float, float]] = {}
    for name, hour, number in orders:
        by_name.setdefault(name, {})[float(hour)] = float(number)
    for place, name in enumerate(names):
        mine = by_name.get(name, {})
        if mine:
            opened = opening(mine, end=end)
            worked = {hour // DAY for hour in mine}
            hours = np.arange(min(mine), end, HOUR)
            found += [
                (place, float(hour), mine.get(float(hour), 0.0))
                for hour in hours
                if hour in mine or (int(hour % DAY // HOUR) in opened and hour // DAY in worked)
            ]
    who = np.array([row[0] for row in found], dtype=np.int64)
    start = np.array([row[1] for row in found], dtype=float)
    day = np.floor(start / DAY).astype(np.int64)
    return hourly.Hours(
        names=names,
        who=who,
        day=day,
        hour=(start % DAY // HOUR).astype(np.int64),
        orders=np.array([row[2] for row in found], dtype=float),
        asked=start,
        told=start + HOUR,
        holiday=np.array([_flag(about[names[w]].holidays, int(d)) for w, d in zip(who, day, strict=True)], dtype=float),
    )


def opening(orders: Mapping[float, float], *, end: float) -> frozenset[int]:
    """The hours of the day (UTC) that had a noticeable share of the orders of the last eight weeks."""
    recent = {hour: n for hour, n in orders.items() if hour >= end - RECENT * DAY} or dict(orders)
    total = sum(recent.values())
    by_hour: dict[int, float] = {}
    for hour, number in recent.items():
        by_hour[int(hour % DAY // HOUR)] = by_hour.get(int(hour % DAY // HOUR), 0.0) + number
    return frozenset(hour for hour, number in by_hour.items() if number >= OPEN_SHARE * total)


# ------------------------------------------------------------------------------------------------- questions


def day_rows(now: Now, restaurant: str, *, days: Sequence[int]) -> list[dict[str, Value]]:
    """The features of a restaurant's days to come, one row a day, as the model of daily demand takes them."""
    target = np.array(days, dtype=np.int64)
    past, names = now.days, now.days.names
    asked = np.full(len(days), now.at)
    question = daily.Days(
        names=names,
        who=np.full(len(days), names.index(restaurant), dtype=np.int64),
        day=target,
        visitors=np.full(len(days), np.nan),
        asked=asked,
        told=np.full(len(days), np.inf),
        extra=_extra([restaurant] * len(days), target, about=now.about),
    )
    if now.bookings["restaurant"]:
        question.extra["reserved"] = sides.booked_by(
            now.bookings, [restaurant] * len(days), days=target.astype(float), asked=asked
        )
    if not len(past.day):
        past = question  # nobody has a past: the calendar of the question is all that there is
    open_days = past.at(np.flatnonzero(past.visitors > 0))
    columns = daily.columns_of(_diary(now, open_days), question)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


_DIARIES: dict[int, tuple[Now, diary.Diary]] = {}


def _diary(now: Now, days: daily.Days) -> diary.Diary:
    kept = _DIARIES.get(0)
    if kept is None or kept[0] is not now:
        kept = (now, daily.diary_of(days))
        _DIARIES[0] = kept
    return kept[1]


def hour_rows(now: Now, restaurant: str, *, hours: Sequence[float]) -> list[dict[str, Value]]:
    """The features of a restaurant's hours to come (moments), as the model of hourly orders takes them."""
    start = np.array(hours, dtype=float)
    day = np.floor(start / DAY).astype(np.int64)
    names = now.hours.names
    question = hourly.Hours(
        names=names,
        who=np.full(len(hours), names.index(restaurant), dtype=np.int64),
        day=day,
        hour=(start % DAY // HOUR).astype(np.int64),
        orders=np.full(len(hours), np.nan),
        asked=np.full(len(hours), now.at),
        told=np.full(len(hours), np.inf),
        holiday=np.array([_flag(now.about[restaurant].holidays, int(one)) for one in day], dtype=float),
    )
    columns = hourly.columns_of(hourly.Past.of(now.hours if len(now.hours.day) else question), question)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def history(now: Now, restaurant: str) -> tuple[int, int]:
    """How many days with orders or visitors a restaurant has, and how many with hourly orders."""
    place = now.days.names.index(restaurant)
    days = int(((now.days.who == place) & (now.days.visitors > 0)).sum())
    hours = now.hours.day[now.hours.who == place]
    return days, len(np.unique(hours))


def off(now: Now, restaurant: str, *, day: int) -> str:
    """Why a restaurant is closed on a day, in words, or an empty text.

    It is, when the calendar says so, or when of the last eight of this weekday (four at least) at most one was open.
    """
    if day in now.about[restaurant].closed:
        return "closed: the calendar says so"
    place = now.days.names.index(restaurant)
    mine = set(now.days.day[(now.days.who == place) & (now.days.visitors > 0)].tolist())
    last = now.today - 1 - (now.today - 1 - day) % 7
    same = [one for one in range(last, last - 7 * WEEKDAYS, -7) if mine and one >= min(mine)]
    opened = sum(one in mine for one in same)
    if len(same) >= SURE and max(mine) >= now.today - 7 and opened <= len(same) // WEEKDAYS:
        return f"closed: {len(same) - opened} of the last {len(same)} of this weekday were"
    return ""


def open_hours(now: Now, restaurant: str) -> frozenset[int]:
    """The hours (UTC) in which a restaurant takes orders; all of the fleet's when it has no past."""
    place = now.hours.names.index(restaurant)
    mine = now.hours.who == place
    chosen = mine if mine.any() else np.ones(len(now.hours.who), dtype=np.bool_)
    start = now.hours.day[chosen] * DAY + now.hours.hour[chosen] * HOUR
    totals: dict[float, float] = {}
    for hour, number in zip(start.tolist(), now.hours.orders[chosen].tolist(), strict=True):
        totals[hour] = totals.get(hour, 0.0) + number
    return opening(totals, end=now.at)


def profile(now: Now, restaurant: str, *, weekday: int) -> dict[int, float]:
    """The share of each opening hour in a weekday's orders of the last eight weeks; empty without hourly orders."""
    place = now.hours.names.index(restaurant)
    hours = now.hours
    recent = (hours.who == place) & (hours.day >= now.today - RECENT)
    same = recent & ((hours.day + 3) % 7 == weekday)
    chosen = same if hours.orders[same].sum() > 0 else recent
    total = float(hours.orders[chosen].sum())
    if not total:
        return {}
    shares = np.bincount(hours.hour[chosen], hours.orders[chosen], 24) / total
    return {hour: float(shares[hour]) for hour in np.flatnonzero(shares).tolist()}
