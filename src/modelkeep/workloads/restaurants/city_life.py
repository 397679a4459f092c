"""One simulated hour of a city's restaurants, as they would send it. Seeded by hour."""

from collections.abc import Mapping

import numpy as np

from modelkeep import Value
from modelkeep.workloads.restaurants.simulator import CLOSES, DAY, FIRST, HOUR, OPENS, PROFILE, STATIONS, City, iso_day

Rows = list[dict[str, Value]]
VISITORS_AN_ORDER = 1.2
MENU = tuple((f"dish-{number}", STATIONS[number % len(STATIONS)]) for number in range(8))
STOCK = {"rice": 0.4, "fish": 0.25, "beer": 0.6}
"""Units used an order."""
GUESTS = 60
CRISIS: Mapping[str, tuple[int, float]] = {}


def about(city: City, at: float) -> Rows:
    """What each restaurant is."""
    return [
        {"restaurant": name, "at": at, "genre": city.genre[i], "area": city.area[i]}
        for i, name in enumerate(city.names)
    ]


def hour(city: City, at: float, *, seed: int, prices: Mapping[str, tuple[float, float]] = CRISIS) -> dict[str, Rows]:
    """What the hour that begins at a moment brings, by kind of data.

    ``prices`` names restaurants with a moment from which on they have so many times the orders (a price change).
    """
    day, clock = int(at // DAY), int(at % DAY // HOUR)
    found: dict[str, Rows] = {"orders": [], "tickets": [], "purchases": [], "movements": [], "stock": []}
    if not OPENS <= clock < CLOSES:
        return found
    mood = np.random.default_rng((seed, day)).normal(0, 0.15, len(city.names))
    draw = np.random.default_rng((seed, day, clock))
    for one, name in enumerate(city.names):
        since, times = prices.get(name, (np.inf, 1.0))
        mean = city.expected(one, day) / VISITORS_AN_ORDER * PROFILE[clock - OPENS] / PROFILE.sum()
        number = int(draw.poisson(mean * np.exp(mood[one]) * (times if at >= since else 1.0)))
        for place in range(number):
            _order(found, name, order=f"{iso_day(day)}-{clock}-{place}", at=at + HOUR * draw.random(), draw=draw)
        if clock == CLOSES - 1 and city.expected(one, day):
            _close(found, name, at=at, draw=draw, visitors=city.expected(one, day))
    return found


def _order(found: dict[str, Rows], name: str, *, order: str, at: float, draw: np.random.Generator) -> None:
    guest, spent = f"guest-{int(draw.integers(0, GUESTS) * draw.random()) + 1}", 0.0
    for item, station in (MENU[i] for i in draw.choice(len(MENU), 1 + int(draw.integers(0, 3)), replace=False)):
        price, queue = 6.0 + int(item.rpartition("-")[2]), int(draw.poisson(2.0))
        minutes = (5 + 1.5 * int(item.rpartition("-")[2])) * (1 + 0.1 * queue) * np.exp(draw.normal(0, 0.2))
        spent += price
        found["orders"].append(
            {
                "restaurant": name, "order": order, "at": at, "item": item, "item_name": item.replace("-", " "),
                "category": station, "quantity": 1, "unit_price": price,
            }
        )  # fmt: skip
        found["tickets"].append(
            {
                "restaurant": name, "ticket": f"{order}-{item}", "station": station, "item": item, "quantity": 1,
                "queue": queue, "assigned": at, "completed": at + 60 * float(minutes),
            }
        )  # fmt: skip
    found["purchases"].append(
        {"restaurant": name, "customer": guest, "purchase": order, "at": at, "amount": round(spent, 2)}
    )


def _close(found: dict[str, Rows], name: str, *, at: float, draw: np.random.Generator, visitors: float) -> None:
    orders = visitors / VISITORS_AN_ORDER
    week = int(at // DAY - FIRST) % 7
    for item, many in STOCK.items():
        used = float(draw.gamma(9.0, many * orders / 9.0))
        found["movements"].append(
            {"restaurant": name, "item": item, "movement": f"{item}-{int(at // DAY)}", "at": at, "used": round(used, 2)}
        )
        full = 9 * many * orders
        found["stock"].append(
            {
                "restaurant": name, "item": item, "at": at, "current_stock": round(full * (1 - week / 8), 2),
                "min_level": round(full * 0.15, 2), "reorder_level": round(full * 0.4, 2),
                "max_level": round(full * 1.5, 2), "lead_days": 2, "unit_cost": 2.5,
            }
        )  # fmt: skip
