"""Tells the models what really happened, from the orders, tickets and purchases that came in.

The task ``restaurants_outcomes`` takes up every recorded prediction of this workload, and once its truth is known from
what the restaurants sent, tells it. A day without any order is a closed day and no outcome; nor are its hours.
"""

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from modelkeep import Dataset, Done, Field, Outcome, Output, Rooms, Run
from modelkeep.workloads.restaurants import keeping
from modelkeep.workloads.restaurants.recipes import CHURN, DEMAND, HOURLY, PREP, VALUE

HOUR, DAY = 3600.0, 86400.0
LATE = 3 * HOUR
"""After the end of a day until its count is taken for whole."""
AWAY, WORTH = 90 * DAY, 180 * DAY
FORGET = 30 * DAY
"""For so long after it was due an outcome is waited for."""
MANY = 5000
SOURCE = "restaurants"
DUE: Mapping[str, float] = {DEMAND: DAY + LATE, HOURLY: HOUR, PREP: HOUR, CHURN: AWAY, VALUE: WORTH}
"""Seconds after the target of a prediction at which its truth is known."""
COLUMNS = (
    Field(name="model", kind="text"),
    Field(name="place", kind="number"),
    Field(name="prediction", kind="text"),
    Field(name="key", kind="text"),
    Field(name="target", kind="number", unit="s"),
    Field(name="told", kind="number"),
)
Asked = tuple[str, str, float, float]
"""Id of a prediction, its key, its target, and its place."""


class Told(Struct, frozen=True, kw_only=True):
    """How many predictions were taken up, and of how many the truth was told."""

    taken_up: int
    told: int


def outcomes(rooms: Rooms, run: Run) -> Done:
    """The task: tell what became of every prediction whose truth is known by now."""
    del run
    return Done(result=tell_outcomes(rooms))


def tell_outcomes(rooms: Rooms) -> Told:
    """The same, at once."""
    now, data = rooms.clock.now(), remembered(rooms)
    taken, told = 0, 0
    for model, after in DUE.items():
        taken += _take_up(rooms, data, model=model)
        waiting: list[Asked] = data.sql(
            'SELECT prediction, "key", target, place FROM data WHERE model = ? AND told = 0 AND target <= ? '
            "AND target > ? ORDER BY target",
            [model, now - after, now - after - FORGET],
        )
        told += _tell(rooms, data, model=model, waiting=waiting)
    if data.revision:
        data.erase(before=now - WORTH - 2 * FORGET)
    return Told(taken_up=taken, told=told)


def remembered(rooms: Rooms) -> Dataset:
    """Every question whose truth is waited for, one row each."""
    return rooms.datasets.open("restaurants.asked", columns=COLUMNS, time="target", key=("prediction",))


def _take_up(rooms: Rooms, data: Dataset, *, model: str) -> int:
    """Remember the predictions that were recorded since the last look; shadows aside."""
    last = data.sql("SELECT max(place) FROM data WHERE model = ?", [model])
    after, taken = int(last[0][0] or 0) if last else 0, 0
    while True:
        with rooms.store.read() as ledger:
            found = ledger.records.predictions(model, after=after, limit=MANY)
        if not found:
            return taken
        after = found[-1][0]
        kept = [(place, one) for place, one in found if one.of is None and one.key]
        data.append(
            {
                "model": [model] * len(kept),
                "place": [place for place, _ in kept],
                "prediction": [one.id for _, one in kept],
                "key": [one.key for _, one in kept],
                "target": [one.target for _, one in kept],
                "told": [0] * len(kept),
            }
        )
        taken += len(kept)


def _tell(rooms: Rooms, data: Dataset, *, model: str, waiting: Sequence[Asked]) -> int:
    truths = _TRUTHS[model](rooms, waiting)
    known = [(asked, truths[asked[0]]) for asked in waiting if asked[0] in truths]
    if not known:
        return 0
    now = rooms.clock.now()
    rooms.client.tell([Outcome(value=value, at=now, prediction=asked[0], source=SOURCE) for asked, value in known])
    data.append(
        {
            "model": [model] * len(known),
            "place": [asked[3] for asked, _ in known],
            "prediction": [asked[0] for asked, _ in known],
            "key": [asked[1] for asked, _ in known],
            "target": [asked[2] for asked, _ in known],
            "told": [1] * len(known),
        }
    )
    return len(known)


# ------------------------------------------------------------------------------------------------ the truths


def _days(rooms: Rooms, waiting: Sequence[Asked]) -> dict[str, Output]:
    """Visitors of a day where a restaurant counts them, else its orders."""
    start, end = _span(waiting, DAY)
    orders = keeping.dataset(rooms, "orders").sql(
        'SELECT restaurant, floor(moment / 86400), count(DISTINCT "order") FROM data '
        "WHERE moment >= ? AND moment < ? GROUP BY ALL",
        [start, end],
    )
    visits = keeping.dataset(rooms, "visits").sql(
        "SELECT restaurant, floor(moment / 86400), sum(visitors) FROM data "
        "WHERE moment >= ? AND moment < ? GROUP BY ALL",
        [start, end],
    )
    known = {(name, int(day)): float(many) for name, day, many in (*orders, *visits)}
    found = {asked[0]: known.get((asked[1], int(asked[2] // DAY)), 0.0) for asked in waiting}
    return {name: value for name, value in found.items() if value > 0}


def _hours(rooms: Rooms, waiting: Sequence[Asked]) -> dict[str, Output]:
    start, end = _span(waiting, DAY)
    rows = keeping.dataset(rooms, "orders").sql(
        'SELECT restaurant, floor(moment / 3600), count(DISTINCT "order") FROM data '
        "WHERE moment >= ? AND moment < ? GROUP BY ALL",
        [start - DAY, end],
    )
    known = {(name, int(hour)): float(many) for name, hour, many in rows}
    worked = {(name, hour // 24) for name, hour in known}
    return {
        asked[0]: known.get((asked[1], int(asked[2] // HOUR)), 0.0)
        for asked in waiting
        if (asked[1], int(asked[2] // DAY)) in worked
    }


def _tickets(rooms: Rooms, waiting: Sequence[Asked]) -> dict[str, Output]:
    start, end = _span(waiting, DAY)
    rows = keeping.dataset(rooms, "tickets").sql(
        "SELECT restaurant || '/' || ticket, (completed - assigned) / 60 FROM data WHERE assigned >= ? AND "
        "assigned < ? AND completed > assigned",
        [start - DAY, end],
    )
    known = {key: float(minutes) for key, minutes in rows}
    return {asked[0]: known[asked[1]] for asked in waiting if asked[1] in known}


def _stayed_away(rooms: Rooms, waiting: Sequence[Asked]) -> dict[str, Output]:
    return {name: not spent for name, spent in _spent(rooms, waiting, after=AWAY).items()}


def _worth(rooms: Rooms, waiting: Sequence[Asked]) -> dict[str, Output]:
    return {name: max(0.0, sum(spent)) for name, spent in _spent(rooms, waiting, after=WORTH).items()}


def _spent(rooms: Rooms, waiting: Sequence[Asked], *, after: float) -> dict[str, list[float]]:
    """What each customer bought in the time after the target."""
    start, end = _span(waiting, after)
    rows = keeping.dataset(rooms, "purchases").sql(
        "SELECT restaurant || '/' || customer, moment, amount FROM data WHERE moment >= ? AND moment < ?", [start, end]
    )
    bought: dict[str, list[tuple[float, float]]] = {}
    for key, at, amount in rows:
        bought.setdefault(key, []).append((float(at), float(amount)))
    return {
        asked[0]: [amount for at, amount in bought.get(asked[1], []) if asked[2] <= at < asked[2] + after]
        for asked in waiting
    }


def _span(waiting: Sequence[Asked], after: float) -> tuple[float, float]:
    targets = [asked[2] for asked in waiting]
    return min(targets, default=0.0), max(targets, default=0.0) + after


_TRUTHS: Mapping[str, Callable[[Rooms, Sequence[Asked]], dict[str, Output]]] = {
    DEMAND: _days,
    HOURLY: _hours,
    PREP: _tickets,
    CHURN: _stayed_away,
    VALUE: _worth,
}
