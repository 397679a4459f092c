import math

import numpy as np
import pytest

from modelkeep.profile import Sums
from modelkeep.watch import skill
from modelkeep.watch.skill import best_baseline, log_ratio


def days(build, *, ours, theirs, count=7, seed=0, wobble=0.1):
    """Some days with 40 pairs each: the model's mean error, and that of each baseline."""
    draw = np.random.default_rng(seed)
    found = []
    for day in range(count):
        level = draw.normal(1.0, wobble)
        errors = {
            name: Sums(n=40, absolute=40 * mean * level * draw.normal(1, 0.02), square=40 * (mean * level) ** 2 * 1.5)
            for name, mean in {"model": ours, **theirs}.items()
        }
        found.append(build.slice(day * 24 + 12, n=40, errors=errors))
    return found


def test_a_good_model_is_better_than_the_best_baseline(build):
    window = build.window(days(build, ours=8.0, theirs={"persistence": 12.0, "ewma": 10.0, "same_period": 14.0}))
    (reading,) = skill(window)
    assert reading.level == "ok"
    assert reading.value == pytest.approx(math.log(10 / 8), abs=0.05)
    assert reading.interval[0] > 0
    assert reading.facts["baseline"] == "ewma"


def test_below_baseline_is_said_in_words(build):
    (reading,) = skill(build.window(days(build, ours=12.0, theirs={"persistence": 15.0, "ewma": 10.0})))
    assert reading.level == "critical"
    assert "below baseline 'ewma'" in reading.detail
    assert "min" in reading.detail
    assert reading.interval[1] < 0


def test_a_raw_error_that_rises_with_the_baseline_is_no_loss_of_skill(build):
    calm = skill(build.window(days(build, ours=8.0, theirs={"ewma": 10.0})))[0]
    storm = skill(build.window(days(build, ours=24.0, theirs={"ewma": 30.0}, wobble=0.3)))[0]
    assert storm.value == pytest.approx(calm.value, abs=0.05)
    assert storm.level == "ok"


@pytest.mark.parametrize(("reference", "level"), [(0.6, "warning"), (0.25, "ok"), (None, "ok")])
def test_a_fall_against_the_reference_is_a_warning(build, reference, level):
    metrics = {} if reference is None else {"skill": reference}
    window = build.window(days(build, ours=8.0, theirs={"ewma": 10.0}), version=build.version(**metrics))
    (reading,) = skill(window)
    assert reading.level == level
    assert reading.facts["reference"] == reference


def test_too_little_is_unknown(build):
    for slices in (
        [],
        days(build, ours=8.0, theirs={"ewma": 10.0}, count=2),
        days(build, ours=8.0, theirs={}),
        days(build, ours=0.0, theirs={"ewma": 10.0}),
    ):
        (reading,) = skill(build.window(slices))
        assert (reading.level, reading.value) == ("unknown", None)
        assert reading.detail


def test_equal_models_are_called_worse_in_few_of_many_weeks(build):
    found = [
        skill(build.window(days(build, ours=10.0, theirs={"ewma": 10.0}, seed=seed)))[0].level for seed in range(300)
    ]
    assert found.count("critical") <= 0.05 * len(found)


def test_skill_is_the_logarithm_of_the_ratio_of_mean_errors():
    errors = {"model": Sums.of(2.0, 1.0), "ewma": Sums.of(3.0, 1.0), "persistence": Sums.of(9.0, 1.0)}
    assert best_baseline(errors) == "ewma"
    assert log_ratio(errors["model"], errors["ewma"]) == pytest.approx(math.log(2))


def test_skill_of_classes_compares_shares_of_wrong_answers():
    model = sum([Sums.of("yes", "yes")] * 90 + [Sums.of("no", "yes")] * 10, Sums())
    rival = sum([Sums.of("yes", "yes")] * 10 + [Sums.of("no", "yes")] * 90, Sums())
    assert log_ratio(model, rival) == pytest.approx(math.log(9))


@pytest.mark.parametrize("empty", [Sums(), Sums.of(1.0, 1.0)])
def test_whoever_never_errs_has_no_ratio(empty):
    assert math.isnan(log_ratio(empty, Sums.of(2.0, 1.0)))
    assert math.isnan(log_ratio(Sums.of(2.0, 1.0), empty))
    assert best_baseline({"model": Sums.of(1.0, 2.0)}) is None
