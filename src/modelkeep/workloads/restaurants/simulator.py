"""Honest simulators of restaurants: seeded, plausible, and labelled as simulated wherever they show.

A restaurant's day is its size x its week x the season x holidays, with log-normal noise that lasts some days. Hours
follow two peaks, tickets queue at stations, customers buy at their own pace and leave for good (a Pareto/NBD process:
Schmittlein, Morrison, Colombo, "Counting your customers", 1987).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from modelkeep import Value

DAY, HOUR = 86400.0, 3600.0
FIRST = 19358
"""Day number of 2023-01-01, when the simulated world begins."""
OPENS, CLOSES = 11, 22
GENRES = ("Cafe", "Italian", "Izakaya", "Ramen", "Steak")
AREAS = ("Harbour", "Hill", "Station")
STATIONS = ("grill", "fry", "cold", "dessert")
PROFILE = np.array([0.5, 1.4, 1.2, 0.6, 0.4, 0.5, 0.9, 1.7, 2.0, 1.4, 0.4])
"""Share of each opening hour from 11 to 21, two peaks."""
HOLIDAYS = ("01-01", "02-11", "03-21", "04-29", "05-03", "05-04", "05-05", "08-11", "09-23", "11-03", "12-24", "12-31")

Table = dict[str, list[Value]]
Floats = NDArray[np.float64]


def is_holiday(day: int) -> bool:
    """Whether a day (number since 1970) is a holiday of the simulated world: the same dates every year."""
    return str(np.datetime64(day, "D"))[5:] in HOLIDAYS


def iso_day(day: int) -> str:
    """A day number as ISO-8601."""
    return str(np.datetime64(day, "D"))


class City:
    """``n`` restaurants with their sizes, weeks and tastes, the same for the same seed."""

    def __init__(self, n: int, seed: int) -> None:
        draw = np.random.default_rng(seed)
        self.names = [f"restaurant-{i + 1}" for i in range(n)]
        self.genre = [GENRES[i] for i in draw.integers(0, len(GENRES), n)]
        self.area = [AREAS[i] for i in draw.integers(0, len(AREAS), n)]
        by_genre = np.array([GENRES.index(name) for name in self.genre])
        self.size = np.exp(draw.normal(3.0, 0.5, n) + 0.15 * by_genre)
        week = np.array([[0.8, 0.85, 0.9, 1.0, 1.4, 1.5, 1.2], [1.0, 1.0, 1.05, 1.1, 1.2, 0.9, 0.7]])
        self.week = week[by_genre % 2] * np.exp(draw.normal(0, 0.08, (n, 7)))
        self.closed = draw.integers(0, 7, n)  # a fixed day off for two in three
        self.rests = draw.random(n) < 0.66
        self.season = draw.uniform(0.0, 0.25, n)
        self.feast = draw.normal(0.25, 0.2, n)
        self.trend = draw.normal(0.0, 0.1, n)

    def expected(self, one: int, day: int) -> float:
        """Mean visitors of a restaurant on a day; 0 on its day off."""
        weekday = (day + 3) % 7
        if self.rests[one] and weekday == self.closed[one] and not is_holiday(day):
            return 0.0
        season = 1 + self.season[one] * np.cos(2 * np.pi * (day - FIRST - 180) / 365.25)
        feast = np.exp(self.feast[one]) if is_holiday(day) else 1.0
        return float(
            self.size[one] * self.week[one, weekday] * season * feast * np.exp(self.trend[one] * (day - FIRST) / 365)
        )


def days(rows: int, seed: int) -> Table:
    """Daily visitors of restaurants over about 400 days (56 at least), with bookings made a week before."""
    length = min(400, max(84, rows // 3))
    number = max(3, round(rows / length * 1.2))
    return city_days(City(number, seed), seed, days=length, rows=rows)


def city_days(city: City, seed: int, *, days: int, rows: int = 10**9) -> Table:
    """The same of a given city from its first day on; closed days have no row."""
    draw = np.random.default_rng(seed + 1)
    found: Table = {name: [] for name in ("restaurant", "date", "visitors", "reserved", "genre", "area")}
    calendar: Table = {name: [] for name in ("holiday", "holiday_before", "holiday_after")}
    lasting = np.zeros(len(city.names))
    for day in range(FIRST, FIRST + days):
        lasting = 0.6 * lasting + draw.normal(0, 0.12, len(lasting))
        for one, name in enumerate(city.names):
            mean = city.expected(one, day) * np.exp(lasting[one] + draw.normal(0, 0.22))
            came = int(draw.poisson(mean))
            booked = int(draw.binomial(came, 0.12))
            if came and len(found["date"]) < rows:
                values: tuple[Value, ...] = (name, iso_day(day), came, booked, city.genre[one], city.area[one])
                for column, value in zip(found.values(), values, strict=True):
                    column.append(value)
                for column, shift in zip(calendar.values(), (0, -1, 1), strict=True):
                    column.append(int(is_holiday(day + shift)))
    return found | calendar


def hours(rows: int, seed: int) -> Table:
    """Orders of every opening hour, 11 to 21 UTC, of two or more restaurants; hours without an order are there, too."""
    a_day = CLOSES - OPENS
    length = min(300, max(60, rows // a_day // 2))
    city = City(max(1, round(rows / a_day / length)), seed)
    draw = np.random.default_rng(seed + 2)
    found: Table = {name: [] for name in ("restaurant", "hour", "orders", "holiday")}
    for day in range(FIRST, FIRST + length):
        for one, name in enumerate(city.names):
            for hour in range(OPENS, CLOSES):
                mean = city.expected(one, day) / 2.2 * PROFILE[hour - OPENS] / PROFILE.sum()
                values: tuple[Value, ...] = (
                    name,
                    f"{iso_day(day)}T{hour:02d}:00:00",
                    int(draw.poisson(mean)),
                    int(is_holiday(day)),
                )
                for column, value in zip(found.values(), values, strict=True):
                    column.append(value)
    return found


def tickets(rows: int, seed: int) -> Table:
    """Kitchen tickets at four stations of three restaurants: base time of the item, the queue, the hour, and noise."""
    draw = np.random.default_rng(seed + 3)
    items = [f"{station} {number}" for station in STATIONS for number in range(1, 6)]
    base = dict(zip(items, np.exp(draw.normal(2.2, 0.4, len(items))), strict=True))
    found: Table = {
        name: [] for name in ("assigned", "completed", "restaurant", "station", "item", "quantity", "queue", "minutes")
    }
    at = FIRST * DAY
    for _ in range(rows):
        at += draw.exponential(400.0)
        hour = int(at % DAY // HOUR)
        if not OPENS <= hour < CLOSES:
            at = (at // DAY + (hour >= CLOSES)) * DAY + OPENS * HOUR
            hour = OPENS
        item = str(draw.choice(items))
        queue, many = int(draw.poisson(2.5 * PROFILE[hour - OPENS])), int(draw.integers(1, 4))
        minutes = base[item] * (1 + 0.12 * queue) * (1 + 0.15 * (many - 1)) * np.exp(draw.normal(0, 0.2))
        values: Sequence[Value] = (
            at, at + 60 * minutes, f"restaurant-{1 + int(draw.integers(0, 3))}", item.partition(" ")[0], item, many,
            queue, round(float(min(minutes, 115.0)), 2),
        )  # fmt: skip
        for column, value in zip(found.values(), values, strict=True):
            column.append(value)
    return found


def purchases(rows: int, seed: int) -> Table:
    """Purchases of customers over 500 days: each at a pace of its own, until it leaves for good."""
    draw = np.random.default_rng(seed + 4)
    found: Table = {name: [] for name in ("customer", "date", "amount", "qty")}
    number = 0
    while len(found["date"]) < rows:
        number += 1
        day, leaves = float(draw.uniform(0, 200)), draw.exponential(260.0)
        end, pace, spends = min(500.0, day + leaves), draw.gamma(1.2, 1 / 30.0) + 0.002, np.exp(draw.normal(3.2, 0.4))
        while day < end:
            quantity = int(1 + draw.poisson(0.8))
            values: Sequence[Value] = (
                f"guest-{number}", iso_day(FIRST + int(day)), round(float(spends * draw.gamma(4, 0.25)), 2), quantity,
            )  # fmt: skip
            for column, value in zip(found.values(), values, strict=True):
                column.append(value)
            day += max(1.0, draw.exponential(1 / pace))
    return found
