"""What this workload watches beyond its models: single restaurants that drift, fall silent, slow down or run out.

A limit for each restaurant is noise ("7-day MAE 1.2 times the training's" flags 27 % of weeks without drift): here each
is compared with its own past, and the chance of a false word is that of all of them together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from math import exp, expm1, log1p, sqrt
from pathlib import Path
from statistics import NormalDist, fmean, variance

from msgspec import Struct

from modelkeep import Reading, Rooms
from modelkeep.workloads.restaurants import inventory_acts, keeping, stations, stock
from modelkeep.workloads.restaurants.recipes import DEMAND

DAY = 86400.0
RECENT, EARLIER = (7, 14), 70
LEAST, LEAST_EARLIER = 5, 14
SHIFT = 0.15
"""A lasting difference of 15 % from the forecasts is worth a word."""
FALSE = 0.01
"""Chance of a false word about any restaurant at one look; a look that shares no day with the last comes in 14 days."""
MANY = 20_000
SILENT = 2.0
"""Days without an order, beyond the longest pause of the last weeks, that are silence."""
PAUSES = 56


class Course(Struct, frozen=True, kw_only=True):
    """By how much a restaurant's days were above their forecasts (log), and the errors in visitors, by target day."""

    days: dict[int, float]
    misses: dict[int, float]


_KEPT: dict[tuple[str, str], tuple[object, tuple[Reading, ...]]] = {}


def probe(rooms: Rooms) -> Iterable[Reading]:
    """Every reading of this workload; see docs/workloads/restaurants.md."""
    now = rooms.clock.now()
    yield from _once(rooms, "drift", mark=_drift_mark(rooms), make=lambda: drift(rooms))
    day = now // DAY
    mark = (day, *keeping.revision(rooms, "orders", "visits"))
    yield from _once(rooms, "silence", mark=mark, make=lambda: silence(rooms))
    yield from _once(rooms, "stations", mark=(day, *keeping.revision(rooms, "tickets")), make=lambda: slowed(rooms))
    yield from _once(
        rooms, "stock", mark=(day, *keeping.revision(rooms, "stock", "movements")), make=lambda: short(rooms)
    )


def _once(rooms: Rooms, name: str, *, mark: object, make: Callable[[], Iterable[Reading]]) -> tuple[Reading, ...]:
    """The readings of a part, computed anew only when something came in or the day changed."""
    place = (str(rooms.folder), name)
    kept = _KEPT.get(place)
    if kept is None or kept[0] != mark:
        kept = (mark, tuple(make()))
        _KEPT[place] = kept
    return kept[1]


# -------------------------------------------------------------------------------------------------- drift


def _drift_mark(rooms: Rooms) -> object:
    with rooms.store.read() as ledger:
        rollout = ledger.rollouts.get(DEMAND)
        return None if rollout is None else (rollout.champion, ledger.records.counts(DEMAND)[1])


def drift(rooms: Rooms) -> Iterable[Reading]:
    """Reading ``restaurant_drift`` of each restaurant with enough days: how far its visitors left their forecasts.

    The last 7 and the last 14 days are compared with those before, day by day, of the version that serves (a new one is
    compared with no error at all). Level warning when the difference is at least 15 % and by chance would be seen about
    any restaurant at one look of a hundred. Facts: ``training_mae``, ``recent_mae``, ``degradation_pct``.
    """
    now = rooms.clock.now()
    with rooms.store.read() as ledger:
        rollout = ledger.rollouts.get(DEMAND)
        if rollout is None:
            return
        version = ledger.versions.get(DEMAND, rollout.champion)
        courses: dict[str, Course] = {}
        after = 0
        while found := ledger.records.matches(
            DEMAND, after=after, since=now - (max(RECENT) + EARLIER) * DAY, limit=MANY
        ):
            after = found[-1].number
            for one in found:
                if one.version == version.number and one.role != "shadow" and isinstance(one.output, int | float):
                    _note(courses, one.key, day=int(one.target // DAY), said=float(one.output), real=float(one.value))
    usual = version.baseline.metrics.get("mae")
    for name, course in sorted(courses.items()):
        found_here = left(course, today=int(now // DAY), others=len(courses))
        if found_here is not None:
            yield _drifted(name, course, shift=found_here, usual=usual, now=now)


def _note(courses: dict[str, Course], name: str, *, day: int, said: float, real: float) -> None:
    """The newest forecast of a day is the one that counts."""
    course = courses.setdefault(name, Course(days={}, misses={}))
    course.days[day] = log1p(max(real, 0.0)) - log1p(max(said, 0.0))
    course.misses[day] = abs(real - said)


class Shift(Struct, frozen=True, kw_only=True):
    """By how much the recent days differ (log), whether that is sure, and how many days it stands on."""

    by: float
    sure: bool
    n: int
    reach: float
    recent: int


def left(course: Course, *, today: int, others: int) -> Shift | None:
    """Whether a restaurant has left its forecasts; None with fewer than 5 recent days.

    >>> calm = {day: 0.02 * (-1) ** day for day in range(60)}
    >>> left(Course(days=calm, misses=calm), today=60, others=5).sure
    False
    >>> gone = calm | {day: -0.4 + 0.02 * (-1) ** day for day in range(46, 60)}
    >>> left(Course(days=gone, misses=gone), today=60, others=5).sure
    True
    """
    chance = FALSE / max(others, 1) / len(RECENT)
    found = [_compared(course, today=today, recent=recent, chance=chance) for recent in RECENT]
    known = [one for one in found if one is not None]
    return max(known, key=lambda one: (one.sure, abs(one.by) / max(one.reach, 1e-9)), default=None)


def _compared(course: Course, *, today: int, recent: int, chance: float) -> Shift | None:
    late = [value for day, value in course.days.items() if today - recent <= day < today]
    early = [value for day, value in course.days.items() if day < today - max(RECENT)]
    if len(late) < LEAST:
        return None
    known = len(early) >= LEAST_EARLIER
    by = fmean(late) - (fmean(early) if known else 0.0)
    # The spread of days is taken from both stretches together: two weeks alone tell it too badly.
    df = len(late) - 1 + (len(early) - 1 if known else 0)
    squares = variance(late) * (len(late) - 1) + (variance(early) * (len(early) - 1) if known else 0.0)
    spread = squares / df * (1 / len(late) + (1 / len(early) if known else 0.0))
    reach = sqrt(spread) * _student(1 - chance / 2, df)
    return Shift(by=by, sure=abs(by) >= SHIFT and abs(by) > reach, n=len(late), reach=reach, recent=recent)


def _student(share: float, df: int) -> float:
    """A quantile of Student's t from the normal's (Wallace, 1959, turned round)."""
    z = NormalDist().inv_cdf(share) * (8 * df + 3) / (8 * df + 1)
    return sqrt(df * expm1(z * z / df))


def _drifted(name: str, course: Course, *, shift: Shift, usual: float | None, now: float) -> Reading:
    today = int(now // DAY)
    late = [value for day, value in course.misses.items() if today - shift.recent <= day < today]
    early = [value for day, value in course.misses.items() if day < today - max(RECENT)]
    training = fmean(early) if len(early) >= LEAST_EARLIER else usual
    recent = fmean(late)
    way = "more" if shift.by > 0 else "fewer"
    detail = f"restaurant {name} has {abs(exp(shift.by) - 1):.0%} {way} visitors than forecast over {shift.n} days"
    return Reading(
        name="restaurant_drift",
        subject=f"restaurants/{name}",
        value=shift.by,
        level="warning" if shift.sure else "ok",
        at=now,
        n=shift.n,
        interval=(shift.by - shift.reach, shift.by + shift.reach),
        unit="log ratio",
        detail=detail if shift.sure else f"{detail}, which chance explains",
        facts={
            "restaurant": name,
            "training_mae": training if training is not None else 0.0,
            "recent_mae": recent,
            "degradation_pct": 100 * (recent / training - 1) if training else 0.0,
        },
    )


# -------------------------------------------------------------------------------------------------- silence


def silence(rooms: Rooms) -> Iterable[Reading]:
    """Reading ``restaurant_silence``: days since a restaurant last sent orders or visits.

    Warning when that is two days more than its longest pause of the last eight weeks; ok else.
    """
    now = rooms.clock.now()
    days: dict[str, set[int]] = {}
    for kind in ("orders", "visits"):
        rows = keeping.dataset(rooms, kind).sql(
            "SELECT DISTINCT restaurant, CAST(floor(moment / 86400) AS BIGINT) FROM data WHERE moment >= ?",
            [now - PAUSES * DAY],
        )
        for name, day in rows:
            days.setdefault(str(name), set()).add(int(day))
    for name, worked in sorted(days.items()):
        pause = longest(sorted(worked))
        quiet = now / DAY - max(worked) - 1
        late = quiet > pause + SILENT
        detail = f"restaurant {name} has sent nothing for {max(quiet, 0.0):.1f} days, its longest pause was {pause}"
        yield Reading(
            name="restaurant_silence", subject=f"restaurants/{name}", value=max(quiet, 0.0),
            level="warning" if late else "ok", at=now, n=len(worked), unit="d", detail=detail,
        )  # fmt: skip


def longest(days: Sequence[int]) -> int:
    """The longest pause between days, in days without anything.

    >>> longest([1, 2, 5])
    2
    """
    return max((after - before - 1 for before, after in pairwise(days)), default=0)


# ------------------------------------------------------------------------------------------ kitchen and stock


def slowed(rooms: Rooms) -> Iterable[Reading]:
    """Reading ``station_slowed``: how much slower a station's last 7 days are than its 56 before (a ratio)."""
    now = rooms.clock.now()
    for (name,) in keeping.dataset(rooms, "tickets").sql("SELECT DISTINCT restaurant FROM data ORDER BY ALL"):
        for times in stations.times(rooms, name):
            found = stations.slowed(times, now=now)
            if found.bottleneck is not None:
                yield Reading(
                    name="station_slowed", subject=f"restaurants/{name}/{found.station_id}", value=found.ratio,
                    level="warning" if found.bottleneck else "ok", at=now, n=found.n, interval=found.interval,
                    unit="ratio", detail=f"station {found.station_name} of {name}: {found.reason}",
                )  # fmt: skip


def short(rooms: Rooms) -> Iterable[Reading]:
    """Reading ``stock_short``: how many items of a restaurant will run out before a delivery can come."""
    now = rooms.clock.now()
    for (name,) in keeping.dataset(rooms, "stock").sql("SELECT DISTINCT restaurant FROM data ORDER BY ALL"):
        plans = [
            stock.plan(item, inventory_acts.used_of(rooms, name, item=item.item), now=now, service=0.95)
            for item in inventory_acts.items_of(rooms, name)
        ]
        known = [one for one in plans if one.status != "unknown"]
        out = [one for one in known if one.status == "critical"]
        if known:
            names = ", ".join(one.item_name for one in out[:5])
            yield Reading(
                name="stock_short", subject=f"restaurants/{name}", value=float(len(out)),
                level="warning" if out else "ok", at=now, n=len(known), unit="items",
                detail=f"{len(out)} of {len(known)} items of {name} run out before a delivery: {names or 'none'}",
            )  # fmt: skip


def rules() -> str:
    """The rules of this workload as TOML."""
    return Path(__file__).with_name("rules.toml").read_text(encoding="utf-8")
