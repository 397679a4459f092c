"""What the workload keeps about people: its customers. Shown and taken away with everything else held of a person.

A customer is named as its predictions are, ``RESTAURANT/CUSTOMER``. A bare id means the customer of that id in every
restaurant, but a bare number does not: numbers are given out by each restaurant for itself.
"""

from collections.abc import Sequence

from modelkeep import Dataset, Personal, Rooms, Value
from modelkeep.workloads.restaurants import keeping, telling
from modelkeep.workloads.restaurants.recipes import CHURN, VALUE

PURCHASES, ASKED = "restaurants.purchases", "restaurants.asked"
Who = tuple[str, str]


def customers(rooms: Rooms, subject: str) -> list[Who]:
    """The customers (restaurant, id) that a name means, of those of whom anything is kept."""
    found = {(str(restaurant), str(name)) for restaurant, name in _purchases(rooms).sql(_BOUGHT, [subject, subject])}
    for (key,) in telling.remembered(rooms).sql(_KEYS, [CHURN, VALUE, subject, subject]):
        restaurant, _, name = str(key).partition("/")
        found.add((restaurant, name))
    return sorted(one for one in found if not subject.isdigit() or f"{one[0]}/{one[1]}" == subject)


_BOUGHT = "SELECT DISTINCT restaurant, customer FROM data WHERE customer = ? OR restaurant || '/' || customer = ?"
_KEYS = 'SELECT DISTINCT "key" FROM data WHERE model IN (?, ?) AND ("key" = ? OR ends_with("key", \'/\' || ?))'


def _purchases(rooms: Rooms) -> Dataset:
    return keeping.dataset(rooms, "purchases")


def _keys(rooms: Rooms, subject: str) -> Sequence[Who]:
    return [(model, f"{where}/{name}") for where, name in customers(rooms, subject) for model in (CHURN, VALUE)]


def _held(rooms: Rooms, subject: str) -> dict[str, list[dict[str, Value]]]:
    found: dict[str, list[dict[str, Value]]] = {}
    for where, name in customers(rooms, subject):
        bought = _purchases(rooms).read(where={"restaurant": where, "customer": name})
        asked = telling.remembered(rooms).read(where={"model": (CHURN, VALUE), "key": f"{where}/{name}"})
        for place, table in ((PURCHASES, bought), (ASKED, asked)):
            rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
            if rows:
                found.setdefault(place, []).extend(rows)
    return found


def _erase(rooms: Rooms, subject: str) -> dict[str, int]:
    gone = {PURCHASES: 0, ASKED: 0}
    for where, name in customers(rooms, subject):
        gone[ASKED] += telling.remembered(rooms).erase(where={"model": (CHURN, VALUE), "key": f"{where}/{name}"})
        gone[PURCHASES] += _purchases(rooms).erase(where={"restaurant": where, "customer": name})
    return gone


def _plant(rooms: Rooms, subject: str) -> None:
    row: dict[str, list[Value]] = {
        "restaurant": ["a-sandbox"],
        "customer": [subject],
        "purchase": ["1"],
        "moment": [1.0],
        "amount": [1.0],
    }
    _purchases(rooms).append(row)


PERSONAL = Personal(held=_held, erase=_erase, keys=_keys, plant=_plant)
