"""Rot, a harder world and a shifted level are told apart, soon enough, and seldom without reason."""

import msgspec
import numpy as np
import pytest

from modelkeep.nouns import Policy
from modelkeep.profile import LIFE, Life
from modelkeep.watch.blocks import blocks
from modelkeep.watch.drift import drift
from modelkeep.watch.sequential import first_fall, wealth
from modelkeep.watch.standing import learned

HOUR, DAY = 3600.0, 86400.0
NAMES = ("model", "persistence", "same_period", "ewma", "seasonal")


def life(days, *, ours, theirs, bias=None, n=100, per_day=24, seed=0, own=0.1, common=0.0):
    """Each day's mean errors of model and baseline, spread over its hours."""
    draw = np.random.default_rng(seed)
    hours, rows = [], []
    for day in range(days):
        shared, mine = draw.normal(0, common), draw.normal(0, own)
        for hour in np.linspace(0, 23, per_day).astype(int):
            k = n / per_day
            row = np.zeros((len(NAMES), len(LIFE)))
            for place, level in ((0, ours(day) * np.exp(shared + mine)), (3, theirs(day) * np.exp(shared))):
                lost = k * level * draw.lognormal(0, 0.2)
                signed = 0.0 if bias is None else bias(day) * k
                row[place] = k, lost, signed, lost, 2 * lost * level, 10 * k, 101 * k
            hours.append(day * DAY + hour * HOUR)
            rows.append(row)
    return Life(names=NAMES, hours=np.array(hours), sums=np.array(rows))


def seen(build, held, *, day, policy=None, **metrics):
    cut = int(np.searchsorted(held.hours, day * DAY))
    part = Life(names=held.names, hours=held.hours[:cut], sums=held.sums[:cut])
    window = build.window(version=build.version(**metrics), policy=policy, end=day * DAY)
    return msgspec.structs.replace(window, start=(day - 7) * DAY, life=part)


def found(build, read, held, *, day, name="rot", **more):
    return read(drift(seen(build, held, day=day, **more)), name)


def first_day(build, read, held, *, name="rot", days, **more):
    for day in days:
        if found(build, read, held, day=day, name=name, **more).level in {"warning", "critical"}:
            return day
    return None


def step(before, after, *, at):
    return lambda day: after if day >= at else before


def test_a_model_that_errs_more_beside_its_baseline_has_rotted(build, read):
    held = life(90, ours=step(7.0, 10.0, at=60), theirs=lambda _: 10.0)
    assert first_day(build, read, held, days=range(10, 60, 5)) is None
    day = first_day(build, read, held, days=range(60, 80))
    assert day is not None
    assert day <= 66
    reading = found(build, read, held, day=75)
    assert (reading.facts["baseline"], reading.facts["promise"]) == (
        "ewma",
        "at most one false alarm in 90d over all models",
    )
    assert reading.facts["since"] == pytest.approx(60 * DAY, abs=2 * DAY)
    assert reading.value == pytest.approx(np.log(10 / 7), abs=0.1)
    assert reading.interval[0] < reading.value < reading.interval[1]
    assert "the error grew by" in reading.detail


def test_a_harder_world_is_a_notice_and_no_rot(build, read):
    held = life(90, ours=step(7.0, 14.0, at=60), theirs=step(10.0, 20.0, at=60))
    for day in range(60, 90, 3):
        assert found(build, read, held, day=day).level == "ok"
    world = found(build, read, held, day=80, name="world")
    assert world.level == "warning"
    assert world.value == pytest.approx(1.0, abs=0.2)


def test_a_shift_to_one_side_is_told_with_its_correction(build, read):
    held = life(60, ours=lambda _: 7.0, theirs=lambda _: 10.0, bias=step(0.0, -4.0, at=40))
    assert found(build, read, held, day=39, name="level_shift").level == "ok"
    reading = found(build, read, held, day=58, name="level_shift")
    assert reading.level == "warning"
    assert reading.facts["correction"] == pytest.approx(4.0, rel=0.2)
    assert "too low" in reading.detail
    assert found(build, read, held, day=58).level == "ok"


def test_one_wild_day_alarms_nobody(build, read):
    held = life(70, ours=lambda day: 40.0 if day == 50 else 7.0, theirs=lambda _: 10.0)
    assert first_day(build, read, held, days=range(48, 60)) is None


def test_an_alarm_lasts_until_a_week_is_normal_again(build, read):
    held = life(110, ours=lambda day: 12.0 if 50 <= day < 70 else 7.0, theirs=lambda _: 10.0)
    assert found(build, read, held, day=69).level == "critical"
    assert found(build, read, held, day=72).level == "critical"
    assert found(build, read, held, day=85).level == "ok"


def test_quiet_years_have_few_false_alarms(build, read):
    alarms = 0
    for seed in range(12):
        held = life(200, ours=lambda _: 7.0, theirs=lambda _: 10.0, per_day=1, seed=seed, common=0.4, own=0.2)
        alarms += first_day(build, read, held, days=range(15, 200, 10)) is not None
    assert alarms <= 12 * 200 / 90


def test_the_promise_is_the_users(build, read):
    held = life(90, ours=step(7.0, 8.6, at=60), theirs=lambda _: 10.0)
    eager = first_day(build, read, held, days=range(60, 90), policy=Policy(model="m", quiet=7 * DAY))
    calm = first_day(build, read, held, days=range(60, 90), policy=Policy(model="m", quiet=3650 * DAY))
    assert eager is not None
    assert calm is None or calm > eager


def test_a_young_machine_is_watched_by_the_hour(build, read):
    held = life(3, ours=step(5.0, 20.0, at=1), theirs=lambda _: 10.0, n=24 * 40)
    begun = seen(build, held, day=1, skill=0.7)
    assert read(drift(begun), "rot").level == "ok"
    hours = [
        hour
        for hour in range(1, 24)
        if read(drift(msgspec.structs.replace(seen(build, held, day=2, skill=0.7), end=DAY + hour * HOUR)), "rot").level
        == "critical"
    ]
    assert hours
    assert hours[0] <= 8  # 8 x 40 = 320 rows


def test_few_labels_are_looked_at_five_by_five(build, read):
    held = life(70, ours=step(5.0, 14.0, at=60), theirs=lambda _: 30.0, n=18, per_day=6)
    day = first_day(build, read, held, days=[60, 60.5, 61, 61.5, 62])
    assert day is not None
    assert day <= 61.5


def test_outcomes_that_are_not_due_are_not_judged(build, read):
    held = life(70, ours=step(7.0, 14.0, at=60), theirs=lambda _: 10.0)
    window = msgspec.structs.replace(seen(build, held, day=68), horizon=14 * DAY)
    assert read(drift(window), "rot").level == "ok"
    assert len(blocks(window)) == 54


def test_too_little_is_unknown(build):
    steady = {"ours": lambda _: 1.0, "theirs": lambda _: 1.0, "n": 30}
    for days in (0, 1, 2):
        assert {r.level for r in drift(seen(build, life(4, **steady), day=days))} == {"unknown"}
    assert learned(np.zeros(3), np.zeros(3)) is None


def test_a_cold_baseline_is_left_aside(build, read):
    # In its first weeks the baseline learns the season and errs more: what looks like rot afterwards is none.
    held = life(90, ours=lambda _: 7.0, theirs=step(14.0, 10.0, at=28))
    cold = msgspec.structs.replace(seen(build, held, day=85), warm=28 * DAY)
    assert read(drift(cold), "rot").level == "ok"
    assert read(drift(seen(build, held, day=85)), "rot").level != "ok"


def test_the_mean_time_to_a_false_alarm_is_at_least_the_threshold():
    draw = np.random.default_rng(0)
    waits = []
    for _ in range(300):
        fall = first_fall(draw.standard_t(5, 800) / np.sqrt(5 / 3), threshold=100.0)
        waits.append(800 if fall is None else fall.at + 1)
    assert np.mean(waits) >= 100


def test_a_block_counts_for_no_more_than_its_bound():
    assert wealth([1e9])[0] == wealth([2.5])[0]
    assert wealth([np.nan, 1.0])[1] == wealth([1.0])[0]
    assert np.isfinite(wealth([9.0] * 5000)).all()
