from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelkeep.errors import BadInput
from modelkeep.jobs.schedule import Schedule
from modelkeep.quantities import iso, moment

BERLIN = ZoneInfo("Europe/Berlin")


def local(*parts: int, fold: int = 0) -> float:
    return datetime(*parts, tzinfo=BERLIN, fold=fold).timestamp()  # type: ignore[misc, arg-type]


def slots(schedule: Schedule, start: float, end: float) -> list[float]:
    found = []
    while (start := schedule.after(start)) <= end:
        found.append(start)
    return found


@pytest.mark.row("MNT-01")
@pytest.mark.parametrize(
    ("when", "at", "following"),
    [
        ("0 2 * * 0", "2026-11-21T11:00:00Z", "2026-11-22T02:00:00.000Z"),
        ("0 2 1 * *", "2026-11-21T11:00:00Z", "2026-12-01T02:00:00.000Z"),
        ("*/15 * * * *", "2026-11-21T11:00:00Z", "2026-11-21T11:15:00.000Z"),
        ("every 60s", "2026-11-21T11:00:00Z", "2026-11-21T11:01:00.000Z"),
        ("every 1h30m", "1970-01-01T01:29:59Z", "1970-01-01T01:30:00.000Z"),
    ],
)
def test_the_next_slot_is_strictly_later(when, at, following):
    assert iso(Schedule(task="t", when=when).after(moment(at))) == following


def test_the_newest_slot_includes_the_moment_itself():
    weekly = Schedule(task="t", when="0 2 * * 0")
    assert iso(weekly.newest(moment("2026-11-22T02:00:00Z"))) == "2026-11-22T02:00:00.000Z"
    assert iso(weekly.newest(moment("2026-11-22T01:59:59.9Z"))) == "2026-11-15T02:00:00.000Z"


@pytest.mark.parametrize("when", ["30 2 * * *", "0 3 * * *", "15,45 2 * * *"])
def test_daylight_saving_never_fires_a_slot_twice_nor_loses_a_day(when):
    schedule = Schedule(task="t", when=when, zone="Europe/Berlin")
    found = slots(schedule, local(2026, 1, 1), local(2026, 12, 31))
    assert len(found) == len(set(found))
    days = [datetime.fromtimestamp(at, BERLIN).date() for at in found]
    assert len(set(days)) == 364
    twice = [day for day in set(days) if days.count(day) != when.count(",") + 1]
    assert [str(day) for day in twice] in ([], ["2026-03-29"])  # both times of the gap fire as one, when it ends


def test_a_time_that_does_not_exist_fires_when_the_gap_ends_and_one_that_exists_twice_fires_once():
    schedule = Schedule(task="t", when="30 2 * * *", zone="Europe/Berlin")
    assert iso(schedule.after(local(2026, 3, 28, 12))) == "2026-03-29T01:00:00.000Z"
    first = schedule.after(local(2026, 10, 24, 12))
    assert iso(first) == "2026-10-25T00:30:00.000Z"
    assert iso(schedule.after(first)) == "2026-10-26T01:30:00.000Z"
    # Asked within the repeated hour, the slot that has passed is neither next nor forgotten.
    within = local(2026, 10, 25, 2, 10, fold=1)
    assert iso(schedule.after(within)) == "2026-10-26T01:30:00.000Z"
    assert schedule.newest(within) == first


def test_every_quarter_of_an_hour_goes_on_through_the_repeated_hour():
    schedule = Schedule(task="t", when="*/15 * * * *", zone="Europe/Berlin")
    start = local(2026, 10, 25, 1)
    assert [at - start for at in slots(schedule, start, start + 4 * 3600)] == [900.0 * n for n in range(1, 17)]


@settings(max_examples=150, deadline=None)
@given(
    now=st.integers(1_767_225_600, 1_830_000_000).map(float),
    when=st.sampled_from(
        ["30 2 * * *", "0 2 * * 0", "15,45 2 * * *", "*/7 * * * *", "every 90s", "0 0 1 * *", "5 1-4 * * *"]
    ),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
)
def test_newest_and_next_agree(now, when, zone):
    schedule = Schedule(task="t", when=when, zone=zone)
    newest, following = schedule.newest(now), schedule.after(now)
    assert newest <= now < following
    assert schedule.after(newest) == following
    assert schedule.newest(following) == following
    assert schedule.job("n", slot=newest, now=now).id == f"n-{iso(newest)}"


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (Schedule(task="t", when="61 * * * *"), "Bad minute"),
        (Schedule(task="t", when="whenever"), "cron expression"),
        (Schedule(task="t", when="every moon"), "duration"),
        (Schedule(task="t", when="every 0s"), "every 0s"),
        (Schedule(task="t", when="0 0 30 2 *"), "day-of-month"),
        (Schedule(task="t", when="0 0 * * *", zone="Mars/Olympus"), "IANA"),
    ],
)
def test_what_cannot_be_a_schedule_is_refused_with_the_reason(schedule, text):
    with pytest.raises(BadInput, match=text):
        schedule.check("schedules.x")
