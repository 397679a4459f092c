"""The past of many series on a calendar, and what was known of it at a moment.

One row a series (a restaurant), one column a day. Everything that is read off it for a question looks backwards from
the last day whose value had been told when the question was asked; so the features of a row never change when more is
told later. A value that was told after that of a later day of the same series is no part of the past (it came too late
to be used in order); it still is an outcome to learn from.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modelkeep.workloads.restaurants.columns import Floats

DAY = 86400.0
PEERS_KNOWN = 3
"""Days after its own start by which a day must have been told to count among the peers' means."""
WEEKS = (2, 4, 8, 26)
LEVELS = (7, 14, 28, 56, 112)
FAST, SLOW = 0.25, 0.1
"""Weights of the newest value in the exponentially weighted means of the same weekday."""
DRAWN = 3.0
"""So many days of no effect are thought to stand before the first holiday seen."""

Whole = NDArray[np.int64]
Grid = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Groups:
    """``peers`` [series], and for each entry whether its day is a holiday or the eve of one (NaN = not known)."""

    peers: Whole
    holiday: Floats
    eve: Floats


@dataclass(frozen=True, kw_only=True)
class Diary:
    """``values`` [series, day] in log1p units, NaN where closed or unknown; ``first`` is the day number of column 0.

    ``known`` [series, day]: the moment at which a value was told (inf where there is none), not falling along a row.
    ``peers`` [series]: the group that a series belongs to; ``soon`` [series, day]: the values told in time for peers.
    ``holiday`` and ``eve`` [series, day]: a day with a value that is a holiday, or the day before one.
    """

    values: Grid
    known: Floats
    soon: Grid
    peers: Whole
    holiday: NDArray[np.bool_]
    eve: NDArray[np.bool_]
    first: int

    @classmethod
    def of(cls, series: Whole, days: Whole, *, values: Floats, told: Floats, groups: "Groups") -> "Diary":
        """From one entry a value: its series, its day number, the value (log1p units) and when it was told.

        Of two entries for the same series and day the later one counts.
        """
        peers = groups.peers
        first = int(days.min()) if len(days) else 0
        width = int(days.max()) - first + 1 if len(days) else 1
        grid = np.full((len(peers), width), np.nan, dtype=np.float32)
        known = np.full(grid.shape, np.inf)
        grid[series, days - first] = values
        known[series, days - first] = np.where(np.isnan(values), np.inf, told)
        # Later days of the same series that were told earlier make a value late.
        after = np.minimum.accumulate(known[:, ::-1], axis=1)[:, ::-1]
        soon = np.where(known <= (np.arange(first, first + width) + PEERS_KNOWN) * DAY, grid, np.float32(np.nan))
        late = known > after
        holiday, eve = np.zeros(grid.shape, dtype=np.bool_), np.zeros(grid.shape, dtype=np.bool_)
        holiday[series, days - first] = groups.holiday > 0  # NaN is no holiday
        eve[series, days - first] = groups.eve > 0
        return cls(
            values=np.where(late, np.float32(np.nan), grid),
            known=np.where(late, np.inf, known),
            soon=soon,
            peers=peers,
            holiday=holiday,
            eve=eve,
            first=first,
        )


def last_known(diary: Diary, series: Whole, *, asked: Floats) -> Whole:
    """For each question the column of the newest value told by then, -1 when there is none."""
    found = np.full(len(series), -1, dtype=np.int64)
    order = np.argsort(series, kind="stable")
    bounds = np.searchsorted(series[order], np.arange(len(diary.peers) + 1))
    for one in np.unique(series):
        mine = order[bounds[one] : bounds[one + 1]]
        open_days = np.flatnonzero(np.isfinite(diary.known[one]))
        place = np.searchsorted(diary.known[one, open_days], asked[mine], side="right") - 1
        found[mine] = np.where(place >= 0, open_days[place], -1) if len(open_days) else -1
    return found


def looked_up(diary: Diary, series: Whole, *, asked: Floats, target: Whole) -> Iterator[tuple[str, Floats]]:
    """The features of each question (series, moment asked, day number that it is about), by name.

    All are in log1p units, days or shares; NaN where nothing is known.
    """
    newest = last_known(diary, series, asked=asked)
    day = target - diary.first
    same = newest - (newest - day) % 7
    yield "gap", np.where(newest < 0, np.nan, day - newest).astype(float)
    yield "horizon", target.astype(np.float64) - np.floor(asked / DAY)
    for name, grid, by_week in as_of(diary):
        yield name, read(grid, series, at=same if by_week else newest)
    first = read(_first_open(diary.values), series, at=newest)
    yield "age", np.where(newest < 0, np.nan, newest - first)
    yield from _peers(diary, series, asked=asked, day=day)


def read(grid: Grid, series: Whole, *, at: Whole) -> Floats:
    """What a grid holds for each series at a column; NaN before the first."""
    found = grid[series, np.maximum(at, 0)].astype(np.float64)
    found[at < 0] = np.nan
    return found


def as_of(diary: Diary) -> Iterator[tuple[str, Grid, bool]]:
    """Each feature's value as of every day, and whether it is read at the target's weekday."""
    values, opened = diary.values, np.isfinite(diary.values).astype(np.float32)
    yield "weekday_last", carried(values, 7), True
    for weeks in WEEKS:
        yield f"weekday_mean_{weeks}", windowed(values, weeks, step=7), True
    yield "weekday_median_8", _median(values), True
    yield "weekday_ewma", ewma(values, 7), True
    yield "weekday_ewma_slow", ewma(values, 7, weight=SLOW), True
    yield "weekday_ewma_plain", ewma(np.where(diary.holiday, np.float32(np.nan), values), 7), True
    yield "weekday_spread_8", _spread(values, 8, step=7), True
    yield "weekday_open_8", windowed(opened, 8, step=7), True
    for days in LEVELS:
        yield f"level_{days}", windowed(values, days), False
    yield "level_ewma", ewma(values, 1, weight=0.2), False
    yield "level_ewma_slow", ewma(values, 1, weight=0.05), False
    yield "level_spread_28", _spread(values, 28, step=1), False
    yield "open_28", windowed(opened, 28), False
    weekend = (np.arange(diary.first, diary.first + values.shape[1]) + 3) % 7 >= 5
    free = np.where(diary.holiday | weekend, values, np.float32(np.nan))
    yield "free_days_28", windowed(free, 28), False
    yield "holiday_effect", _effect(values, diary.holiday), False
    yield "eve_effect", _effect(values, diary.eve & ~diary.holiday), False


def windowed(grid: Grid, count: int, *, step: int = 1) -> Grid:
    """The mean of the known ones among the last ``count`` values, ``step`` days apart, up to each day; else NaN."""
    known = np.isfinite(grid)
    total = _run(np.where(known, grid, 0).astype(np.float64), step)
    number = _run(known.astype(np.float64), step)
    back = count * step
    for sums in (total, number):
        if back < sums.shape[1]:
            sums[:, back:] -= sums[:, :-back].copy()
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(number > 0, total / number, np.nan).astype(np.float32)


def _run(grid: Floats, step: int) -> Floats:
    """Running sums along each row over days ``step`` apart."""
    found = np.empty_like(grid)
    for start in range(min(step, grid.shape[1])):
        found[:, start::step] = np.cumsum(grid[:, start::step], axis=1)
    return found


def _spread(grid: Grid, count: int, *, step: int) -> Grid:
    """Standard deviation of the last ``count`` values; NaN below two."""
    wide = grid.astype(np.float64)
    mean = windowed(grid, count, step=step).astype(np.float64)
    square = windowed((wide**2).astype(np.float32), count, step=step)
    share = windowed(np.isfinite(grid).astype(np.float32), count, step=step)
    found = np.sqrt(np.maximum(square - mean**2, 0.0))
    return np.where(share * count < 1.5, np.nan, found).astype(np.float32)


def ewma(grid: Grid, step: int, *, weight: float = FAST) -> Grid:
    """Exponentially weighted mean over days ``step`` apart, carried over unknown days. NaN before the first."""
    found = grid.copy()
    for day in range(step, grid.shape[1]):
        before, now = found[:, day - step], grid[:, day]
        both = before + np.float32(weight) * (now - before)
        found[:, day] = np.where(np.isnan(now), before, np.where(np.isnan(before), now, both))
    return found


def carried(grid: Grid, step: int) -> Grid:
    """The newest known value among the days ``step`` apart."""
    return ewma(grid, step, weight=1.0)


def _median(grid: Grid) -> Grid:
    """Median of the known ones among the last eight same weekdays."""
    rows, days = grid.shape
    padded = np.concatenate([np.full((rows, 49), np.inf, dtype=np.float32), np.where(np.isnan(grid), np.inf, grid)], 1)
    stack = np.sort(np.stack([padded[:, 49 - 7 * back : 49 - 7 * back + days] for back in range(8)]), axis=0)
    number = np.isfinite(stack).sum(axis=0)
    low = np.take_along_axis(stack, np.maximum((number - 1) // 2, 0)[None], axis=0)[0]
    high = np.take_along_axis(stack, np.minimum(number // 2, 7)[None], axis=0)[0]
    return np.where(number > 0, (low + high) / 2, np.nan).astype(np.float32)


def _effect(grid: Grid, days: NDArray[np.bool_]) -> Grid:
    """By how much such days differed from what their weekday let expect, drawn to 0 where there were few."""
    before = np.full_like(grid, np.nan)
    before[:, 7:] = ewma(grid, 7)[:, :-7] if grid.shape[1] > 7 else before[:, 7:]
    off = np.where(days, grid - before, np.nan)
    known = np.isfinite(off)
    total = np.cumsum(np.where(known, off, 0.0), axis=1)
    return (total / (np.cumsum(known, axis=1) + DRAWN)).astype(np.float32)


def _first_open(grid: Grid) -> Grid:
    """The column of the first known value of each series, on every day."""
    known = np.isfinite(grid)
    first = np.where(known.any(axis=1), known.argmax(axis=1), grid.shape[1]).astype(np.float32)
    return np.broadcast_to(first[:, None], grid.shape)


def _peers(diary: Diary, series: Whole, *, asked: Floats, day: Whole) -> Iterator[tuple[str, Floats]]:
    """What the others of its group and all others do: the level that a new one can be expected to have."""
    at = np.floor(asked / DAY).astype(np.int64) - diary.first - PEERS_KNOWN
    # After the last day of the calendar nothing more is known: the means stand still there.
    at = np.minimum(at, diary.values.shape[1] - 1)
    same = at - (at - day) % 7
    grouped = others_mean(diary.soon, diary.peers)
    everyone = others_mean(diary.soon, np.zeros(len(diary.peers), dtype=np.int64))
    yield "peers_weekday_4", read(windowed(grouped, 4, step=7), series, at=same)
    yield "peers_level_28", read(windowed(grouped, 28), series, at=at)
    yield "all_weekday_4", read(windowed(everyone, 4, step=7), series, at=same)
    yield "all_level_7", read(windowed(everyone, 7), series, at=at)
    yield "all_level_28", read(windowed(everyone, 28), series, at=at)


def others_mean(grid: Grid, groups: Whole) -> Grid:
    """For each series the mean over the other known members of its group, by day.

    Without itself: what a group says of a member is then as good for one that is new.
    """
    count = int(groups.max(initial=0)) + 1
    known = np.isfinite(grid)
    own = np.where(known, grid, 0).astype(np.float64)
    total, number = np.zeros((count, grid.shape[1])), np.zeros((count, grid.shape[1]))
    np.add.at(total, groups, own)
    np.add.at(number, groups, known)
    with np.errstate(invalid="ignore", divide="ignore"):
        rest = number[groups] - known
        return np.where(rest > 0, (total[groups] - own) / rest, np.nan).astype(np.float32)
