"""What stands in tables beside the visits: bookings, the restaurants' own data, and the calendar of holidays."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from modelkeep import BadInput, Value
from modelkeep.workloads.restaurants.columns import Floats, Table, codes, moments, needed, numbers, texts

DAY = 86400.0
_SECONDS = 2**34


def booked_by(bookings: Table, restaurants: Sequence[str], *, days: Floats, asked: Floats) -> Floats:
    """Visitors that had booked for a restaurant and day (number since 1970) when it was asked (moment).

    ``bookings`` has ``restaurant``, ``visit`` and ``booked`` (moments) and ``visitors``. NaN for a restaurant that has
    no booking at all in the table: it may take none.
    """
    booked = moments(needed(bookings, "booked"), "booked")
    visit = np.floor(moments(needed(bookings, "visit"), "visit") / DAY)
    who = texts(needed(bookings, "restaurant"))
    place, names = codes([*who, *restaurants])
    theirs, mine = place[: len(who)], place[len(who) :]
    known = np.bincount(theirs, minlength=len(names)) > 0
    first = int(min(visit.min(initial=0), days.min(initial=0)))
    span = int(max(visit.max(initial=0), days.max(initial=0))) - first + 1
    slots = (theirs * span + visit.astype(np.int64) - first) * _SECONDS
    order = np.argsort(slots + booked.astype(np.int64))
    sums = np.concatenate([[0.0], np.cumsum(numbers(needed(bookings, "visitors"))[order])])
    line = (slots + booked.astype(np.int64))[order]
    start = (mine * span + days.astype(np.int64) - first) * _SECONDS
    until = np.searchsorted(line, start + asked.astype(np.int64), side="right")
    return np.where(known[mine], sums[until] - sums[np.searchsorted(line, start)], np.nan)


def calendar(days: Floats, holidays: Mapping[int, bool]) -> dict[str, Floats]:
    """``holiday``, ``holiday_before`` and ``holiday_after`` of days by a calendar (day number -> holiday); else NaN."""
    shifts = {"holiday": 0, "holiday_before": -1, "holiday_after": 1}
    return {
        name: np.array([float(holidays[int(day) + shift]) if int(day) + shift in holidays else np.nan for day in days])
        for name, shift in shifts.items()
    }


def public_holidays(country: str, *, first: int, last: int) -> dict[int, bool]:
    """The public holidays of a country (ISO code such as JP, or GB-ENG) between two day numbers, from ``holidays``.

    Raises BadInput when the package is not installed or does not know the country.
    """
    try:
        package: Any = import_module("holidays")
    except ImportError:
        raise BadInput(
            f"the holidays of {country!r} need a package", remedy="pip install modelkeep[restaurants]"
        ) from None
    land, _, part = country.partition("-")
    years = range(_year(first), _year(last) + 1)
    try:
        found = package.country_holidays(land, subdiv=part or None, years=years)
    except NotImplementedError as unknown:
        raise BadInput(f"no holidays are known of {country!r}: {unknown}", remedy="give a table of holidays") from None
    free = {int(np.datetime64(day, "D").astype(np.int64)) for day in found}
    return {day: day in free for day in range(first, last + 1)}


def _year(day: int) -> int:
    return int(np.datetime64(day, "D").astype("datetime64[Y]").astype(np.int64)) + 1970


def joined(visits: Table, *, stores: Table | None = None, holidays: Table | None = None) -> dict[str, Sequence[Value]]:
    """Visits with genre, area and the holidays of their date; what a table lacks stays away.

    ``stores`` has ``restaurant``, ``genre`` and ``area``; ``holidays`` has ``date`` and ``holiday`` (1 or 0).
    """
    found: dict[str, Sequence[Value]] = dict(visits)
    if stores is not None:
        about = dict(zip(texts(needed(stores, "restaurant")), range(len(needed(stores, "restaurant"))), strict=True))
        places = [about.get(name) for name in texts(needed(visits, "restaurant"))]
        for name in ("genre", "area"):
            column = needed(stores, name)
            found[name] = [None if place is None else column[place] for place in places]
    if holidays is not None:
        days = np.floor(moments(needed(holidays, "date"), "date") / DAY).astype(np.int64)
        known = dict(zip(days.tolist(), (numbers(needed(holidays, "holiday")) > 0).tolist(), strict=True))
        when = np.floor(moments(needed(visits, "date"), "date") / DAY)
        found |= {name: values.tolist() for name, values in calendar(when, known).items()}
    return found
