import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.watch import baselines
from modelkeep.watch.baselines import DAY, HOUR, Baselines

MONDAY = 4 * DAY  # 1970-01-05
values = st.floats(min_value=-1e6, max_value=1e6)
told = st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), values, st.integers(0, 2000)), max_size=60)


def test_nothing_is_known_before_the_first_outcome():
    assert Baselines(classifies=False).answer("k", 0.0) == (None,) * 4
    assert Baselines(classifies=True).answer("k", 0.0) == (None, None)


def test_numbers_by_definition():
    known = Baselines(classifies=False)
    for hour in range(24 * 8):
        known.learn("k", float(hour), target=MONDAY + hour * HOUR)
    ewma = 0.0
    for hour in range(1, 24 * 8):
        ewma += 0.1 * (hour - ewma)
    answer = known.answer("k", MONDAY + 7 * DAY + 24 * HOUR)  # Tuesday, 0 h: last told a week before
    assert answer == (191.0, 24.0, pytest.approx(ewma), 24.0)


def test_without_the_hour_of_the_week_the_hour_of_the_day_answers():
    known = Baselines(classifies=False)
    known.learn("k", 5.0, target=MONDAY + 8 * HOUR)
    known.learn("k", 6.0, target=MONDAY + DAY + 8 * HOUR)
    known.learn("k", 9.0, target=MONDAY + DAY + 9 * HOUR)
    assert known.answer("k", MONDAY + 3 * DAY + 8 * HOUR)[1] == 6.0
    assert known.answer("k", MONDAY + 7 * DAY + 8 * HOUR)[1] == 5.0
    assert known.answer("k", MONDAY + 3 * DAY + 7 * HOUR)[1] is None


def test_late_outcomes_never_replace_newer_ones():
    known = Baselines(classifies=False)
    known.learn("k", 2.0, target=MONDAY + 21 * DAY)
    known.learn("k", 1.0, target=MONDAY + 14 * DAY)
    known.learn("k", 3.0, target=MONDAY + 21 * DAY - 5 * HOUR)
    assert known.answer("k", MONDAY + 28 * DAY)[:2] == (2.0, 2.0)
    assert known.answer("k", MONDAY + 28 * DAY - 5 * HOUR)[1] == 3.0


def test_the_seasonal_mean_is_that_of_the_same_hour_of_the_week():
    known = Baselines(classifies=False)
    for week in range(3):
        known.learn("k", 10.0 + week, target=MONDAY + week * 7 * DAY)
        known.learn("k", 100.0, target=MONDAY + (week * 7 + 1) * DAY)
    mean = 10.0
    for value in (11.0, 12.0):
        mean += 0.2 * (value - mean)
    assert known.answer("k", MONDAY + 21 * DAY)[3] == pytest.approx(mean)
    assert known.answer("k", MONDAY + 22 * DAY)[3] == pytest.approx(100.0)
    assert known.answer("k", MONDAY + 21 * DAY + HOUR)[3] == known.answer("k", MONDAY)[2]  # an hour that it never saw
    assert known.estimate("k", MONDAY) == known.answer("k", MONDAY)[2]


def test_a_new_key_is_answered_from_all_keys():
    known = Baselines(classifies=False)
    known.learn("a", 1.0, target=0.0)
    known.learn("b", 3.0, target=1.0)
    assert known.answer("new", 0.0) == (3.0, 3.0, pytest.approx(1.2), pytest.approx(1.4))
    assert known.answer("a", 0.0) == (1.0, 1.0, 1.0, 1.0)


def test_classes_answer_the_newest_and_the_most_frequent_lately():
    known = Baselines(classifies=True)
    for i in range(300):
        known.learn("k", "no", target=float(i))
    for i in range(60):
        known.learn("k", "yes", target=300.0 + i)
    assert known.answer("k", 0.0) == ("yes", "no")
    for i in range(30):
        known.learn("k", "yes", target=400.0 + i)
    assert known.answer("k", 0.0) == ("yes", "yes")
    assert known.estimate("k", 0.0) == "yes"


def test_classes_stay_what_they_are_through_the_store():
    known = Baselines(classifies=True)
    known.learn("k", True, target=0.0)
    known.learn("j", "true", target=0.0)
    again = Baselines(classifies=True)
    again.restore(known.changed())
    assert again.answer("k", 0.0) == (True, True)
    assert again.answer("j", 0.0) == ("true", "true")


def test_labels_are_bounded():
    known = Baselines(classifies=True)
    for i in range(1000):
        known.learn("k", f"label {i}", target=float(i))
    assert len(known.changed()["k"]) < 5000
    assert known.answer("k", 0.0)[0] == "label 999"


@pytest.mark.parametrize("value", [None, True, "7", math.nan, math.inf])
def test_what_is_no_finite_number_is_not_learned(value):
    known = Baselines(classifies=False)
    known.learn("k", value, target=0.0)
    known.correct("k", value, target=0.0)
    assert known.answer("k", 0.0) == (None,) * 4


def test_a_correction_replaces_what_is_remembered_by_itself():
    known = Baselines(classifies=False)
    known.learn("k", 1.0, target=0.0)
    known.learn("k", 2.0, target=HOUR)
    known.correct("k", 4.0, target=HOUR)
    assert known.answer("k", HOUR) == (4.0, 4.0, pytest.approx(1.1), 2.0)
    known.correct("unknown", 9.0, target=0.0)
    assert known.answer("unknown", HOUR)[0] == 4.0


@given(before=told, after=told)
def test_undoing_and_restoring_give_the_same_answers(before, after):
    known = Baselines(classifies=False)
    for key, value, hour in before:
        known.learn(key, value, target=hour * HOUR)
    kept = known.changed()
    known.settle()
    asked = [(key, hour * HOUR) for key in ("a", "b", "c", "new") for hour in (0, 7, 100, 1000)]
    answers = [known.answer(*ask) for ask in asked]
    for key, value, hour in after:
        known.learn(key, value, target=hour * HOUR)
    known.undo()
    assert [known.answer(*ask) for ask in asked] == answers
    restored = Baselines(classifies=False)
    restored.restore(kept)
    assert [restored.answer(*ask) for ask in asked] == answers


def test_memory_is_bounded_by_keys_and_by_places():
    known = Baselines(classifies=False, keys=10, places=400)
    for i in range(100):
        known.learn(f"k{i}", float(i), target=i * HOUR)
    assert known.answer("k99", 0.0)[0] == 99.0
    assert known.answer("k1", 0.0)[0] == 99.0  # forgotten: all keys answer
    assert len(known._states) == 10
    for hour in range(168):
        known.learn("busy", 1.0, target=hour * HOUR)
    assert known._places <= 400 or set(known._states) == {""}


@given(told)
def test_the_count_of_places_is_right(history):
    known = Baselines(classifies=False, keys=3)
    for key, value, hour in history:
        known.learn(key, value, target=hour * HOUR)
    assert known._places == sum(state.size for state in known._states.values())


def test_a_backtest_knows_only_what_was_told_by_then():
    rng = random.Random(1)
    times = sorted(rng.uniform(0, 30 * DAY) for _ in range(300))
    keys = [rng.choice("abc") for _ in times]
    truths = [rng.gauss(0, 1) for _ in times]
    known_from = [at + rng.expovariate(1 / DAY) for at in times]
    found = baselines.backtest(times, targets=times, keys=keys, truths=truths, told=known_from)
    for i, at in enumerate(times):
        mine = [j for j in range(300) if keys[j] == keys[i] and known_from[j] < at]
        anyone = [j for j in range(300) if known_from[j] < at]
        newest = max(mine or anyone, key=lambda j: times[j], default=None)
        assert found["persistence"][i] == (None if newest is None else truths[newest])


def test_every_answerer_is_scored_on_the_same_rows():
    found = baselines.scored(
        [1.0, 2.0, 3.0],
        {"model": [1.0, 2.5, 3.0], "ewma": [None, 2.0, 5.0], "same_period": [None, None, 1.0]},
    )
    assert {name: (sums.n, sums.loss) for name, sums in found.items()} == {"model": (2, 0.5), "ewma": (2, 2.0)}


def test_learning_and_answering_are_quick():
    known = Baselines(classifies=False)
    import time

    taken = []
    for i in range(5000):
        start = time.perf_counter()
        known.learn(f"k{i % 500}", float(i), target=i * 60.0)
        known.answer(f"k{i % 500}", i * 60.0)
        taken.append(time.perf_counter() - start)
    assert statistics.median(taken) < 200e-6
