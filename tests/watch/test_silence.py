import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from modelkeep.nouns import Policy
from modelkeep.profile import Sums
from modelkeep.watch import coverage, silence

WEEKS = 4 * 168


def traffic(build, hours, *, n=50, labelled=1.0, business=False, **more):
    """Hours of traffic; with ``business`` only from 8 to 18 on five days of seven."""
    found = []
    for hour in hours:
        if business and (hour % 24 not in range(8, 18) or hour // 24 % 7 >= 5):
            continue
        told = round(n * labelled)
        errors = {"model": Sums(n=told, absolute=told)} if told else {}
        found.append(build.slice(hour, n=n, errors=errors, **more))
    return found


def test_steady_traffic_is_not_silent(build, read):
    window = build.window(
        traffic(build, range(167)), before=traffic(build, range(-WEEKS, 0)), end=build.start + 166.9 * 3600
    )
    reading = read(silence(window), "silence")
    assert (reading.level, reading.value) == ("ok", 0.0)


def test_predictions_that_stop_are_silence_and_never_green(build, read):
    window = build.window(traffic(build, range(100)), before=traffic(build, range(-WEEKS, 0)), hours=103)
    reading = read(silence(window), "silence")
    assert (reading.level, reading.value) == ("warning", 3 * 3600.0)
    assert "150 were expected in its full hours" in reading.detail


def test_a_version_that_has_just_taken_over_is_not_silent(build, read):
    before, own = traffic(build, range(-WEEKS, 0)), traffic(build, range(100))
    alone = build.window([], before=before, hours=100)
    assert read(silence(alone), "silence").level == "warning"
    taken_over = replace(alone, others=tuple(own))
    assert (read(silence(taken_over), "silence").level, read(silence(taken_over), "silence").value) == ("ok", 0.0)


def test_the_night_and_the_weekend_are_no_silence(build, read):
    before = traffic(build, range(-WEEKS, 0), business=True)
    week = traffic(build, range(168), business=True)
    for hour, level in ((20, "ok"), (32, "ok"), (130, "ok"), (166, "ok")):
        held = [s for s in week if s.start < build.start + hour * 3600]
        reading = read(silence(build.window(held, before=before, hours=hour)), "silence")
        assert reading.level == level, (hour, reading.detail)
    monday = [s for s in week if s.start < build.start + 33 * 3600 and s.start < build.start + 24 * 3600]
    assert read(silence(build.window(monday, before=before, hours=34)), "silence").level == "warning"


def test_rare_traffic_needs_a_longer_silence(build, read):
    before = traffic(build, range(-WEEKS, 0, 6), n=1)
    held = traffic(build, range(0, 100, 6), n=1)
    assert read(silence(build.window(held, before=before, hours=120)), "silence").level == "ok"
    assert read(silence(build.window(held, before=before, hours=166)), "silence").level == "warning"


def test_with_little_history_the_longest_gap_counts(build, read):
    held = traffic(build, [h for h in range(60) if h % 24 < 12])
    assert read(silence(build.window(held, hours=80)), "silence").level == "ok"
    assert read(silence(build.window(held, hours=110)), "silence").level == "warning"


def test_with_no_history_it_is_unknown(build, read):
    assert read(silence(build.window(traffic(build, range(10)), hours=20)), "silence").level == "unknown"
    assert {r.level for r in silence(build.window())} == {"unknown"}


def test_outcomes_that_stop_while_predictions_go_on(build, read):
    policy = Policy(model="m", horizon=2 * 3600.0)
    before = traffic(build, range(-WEEKS, 0), labelled=0.8)
    going = traffic(build, range(100), labelled=0.8)
    fresh = going + traffic(build, range(100, 103), labelled=0.0)
    assert read(silence(build.window(fresh, before=before, hours=103, policy=policy)), "outcome_silence").level == "ok"
    stopped = going + traffic(build, range(100, 110), labelled=0.0)
    reading = read(silence(build.window(stopped, before=before, hours=110, policy=policy)), "outcome_silence")
    assert reading.level == "warning"
    assert reading.value == 350
    never = silence(build.window(traffic(build, range(100), labelled=0.0), hours=100, policy=policy))
    assert read(never, "outcome_silence").level == "unknown"


def test_coverage_is_the_share_with_an_outcome(build):
    before = traffic(build, range(-WEEKS, 0), labelled=0.8)
    reading, delay = coverage(build.window(traffic(build, range(168), labelled=0.8), before=before))
    assert (reading.level, reading.value) == ("ok", pytest.approx(0.8))
    assert (delay.name, delay.level) == ("label_delay", "unknown")
    fallen, _ = coverage(build.window(traffic(build, range(168), labelled=0.5), before=before))
    assert fallen.level == "warning"
    never, _ = coverage(build.window(traffic(build, range(168), labelled=0.0)))
    assert (never.level, never.value) == ("unknown", None)
    young, _ = coverage(build.window(traffic(build, range(2)), hours=2, policy=Policy(model="m", horizon=86400.0)))
    assert young.level == "unknown"


def values(n, *, age=None, delay=None, seed=0):
    draw = np.random.default_rng(seed)
    return {
        "age": [age] * n if age is not None else draw.normal(40, 10, n).tolist(),
        "town": draw.choice(["a", "b", "c"], n).tolist(),
        "delay": [delay] * n if delay is not None else draw.normal(5, 3, n).tolist(),
    }


def fortnight(build, reference):
    """Hours of the two weeks before the window, in which every column varies."""
    return [build.slice(h, n=20, columns=values(20, seed=h + 9999), reference=reference) for h in range(-336, 0, 4)]


@pytest.mark.parametrize(
    ("amiss", "name", "level"),
    [
        ({}, "frozen_output", "ok"),
        ({"delay": 5.0}, "frozen_output", "warning"),
        ({"age": 40.0}, "frozen_inputs", "warning"),
    ],
)
def test_frozen_columns_are_found(build, read, amiss, name, level):
    reference = build.reference(values(500))
    usual = [build.slice(h, n=20, columns=values(20, seed=h), reference=reference) for h in range(0, 140, 4)]
    today = [build.slice(h, n=20, columns=values(20, seed=h, **amiss), reference=reference) for h in range(145, 168, 4)]
    before = fortnight(build, reference)
    found = silence(build.window([*usual, *today], before=before, reference=reference))
    assert read(found, name).level == level
    if name == "frozen_inputs":
        assert read(found, name).facts["columns"] == "age"


def test_a_column_that_is_constant_every_day_is_not_frozen(build, read):
    reference = build.reference(values(500))
    hours = [
        build.slice(h, n=20, columns=values(20, seed=h, age=float(20 + h // 24)), reference=reference)
        for h in range(0, 168, 4)
    ]
    assert read(silence(build.window(hours, reference=reference)), "frozen_inputs").level == "ok"


def test_a_column_stays_frozen_as_long_as_it_is(build, read):
    reference = build.reference(values(500))
    hours = [
        build.slice(h, n=20, columns=values(20, seed=h, age=40.0 if h >= 72 else None), reference=reference)
        for h in range(0, 168, 4)
    ]
    window = build.window(hours, before=fortnight(build, reference), reference=reference)
    assert read(silence(window), "frozen_inputs").level == "warning"


def test_values_that_share_a_bin_are_not_frozen(build, read):
    reference = build.reference({**values(500), "age": [1.0] * 250 + [2.0] * 250})
    today = [
        build.slice(h, n=20, columns=values(20, seed=h, age=1.5 if h < 156 else 1.50001), reference=reference)
        for h in range(145, 168, 4)
    ]
    window = build.window(today, before=fortnight(build, reference), reference=reference)
    assert read(silence(window), "frozen_inputs").level == "ok"


def test_one_value_all_day_is_no_fault_of_a_column_that_is_hardly_known(build, read):
    reference = build.reference(values(500))
    hours = [
        build.slice(h, n=20, columns=values(20, seed=h, age=40.0 if h >= 144 else None), reference=reference)
        for h in range(0, 168, 4)
    ]
    assert read(silence(build.window(hours, reference=reference)), "frozen_inputs").level == "ok"


def test_values_outside_the_reference_are_not_frozen(build, read):
    reference = build.reference(values(500))
    usual = [build.slice(h, n=20, columns=values(20, seed=h), reference=reference) for h in range(0, 140, 4)]
    far = {**values(20, seed=1), "age": [200.0 + i for i in range(20)], "delay": [99.0 + i for i in range(20)]}
    today = [build.slice(h, n=20, columns=far, reference=reference) for h in range(145, 168, 4)]
    found = silence(build.window([*usual, *today], reference=reference))
    assert read(found, "frozen_inputs").level == "ok"
    assert read(found, "frozen_output").level == "unknown"


def test_a_batch_late_in_each_hour_is_no_silence(build, read):
    window = build.window(traffic(build, range(100)), before=traffic(build, range(-WEEKS, 0)), hours=100.7)
    assert read(silence(window), "silence").level == "ok"


@pytest.mark.parametrize(("horizon", "level"), [(0.0, "ok"), (5000.0, "warning"), (9000.0, "ok")])
def test_labels_that_come_later_than_the_horizon_are_told_of(build, horizon, level):
    window = build.window(traffic(build, range(24)), hours=24, policy=Policy(model="m", horizon=horizon))
    _, delay = coverage(msgspec.structs.replace(window, told=40, delays=(600.0, 7200.0)))
    assert (delay.level, delay.value, delay.n, delay.facts["p95"]) == (level, 600.0, 40, 7200.0)
    assert "half of the newest outcomes came within 10m, 95 % within 2h" in delay.detail
