import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.nouns import Policy
from modelkeep.profile import Sums
from modelkeep.watch import performance
from modelkeep.watch.performance import accuracy


def total(answers, truths):
    return sum((Sums.of(a, t) for a, t in zip(answers, truths, strict=True)), Sums())


@pytest.mark.row("LOG-05")
def test_metrics_equal_numpys():
    draw = np.random.default_rng(1)
    truth, answer = draw.normal(50, 20, 50), draw.normal(52, 20, 50)
    truth[7] = 0.0
    found = accuracy(total(answer.tolist(), truth.tolist()))
    error, some = answer - truth, truth != 0
    assert found.metrics["mae"] == pytest.approx(np.abs(error).mean(), abs=1e-9)
    assert found.metrics["rmse"] == pytest.approx(np.sqrt((error**2).mean()), abs=1e-9)
    assert found.metrics["mape"] == pytest.approx(np.abs(error[some] / truth[some]).mean(), abs=1e-9)
    assert (found.n, found.skipped) == (50, 1)
    half = 2.0096 * np.abs(error).std(ddof=1) / math.sqrt(50)
    assert found.intervals["mae"] == pytest.approx((np.abs(error).mean() - half, np.abs(error).mean() + half), rel=1e-3)


@pytest.mark.row("LOG-06")
def test_nine_pairs_are_too_few_and_ten_are_enough():
    nine = accuracy(total([1.0] * 9, [2.0] * 9))
    assert (nine.error, nine.n, nine.need, nine.metrics) == ("insufficient_data", 9, 10, {})
    assert accuracy(total([1.0] * 10, [2.0] * 10)).metrics["mae"] == 1.0


@pytest.mark.row("DRF-01")
@pytest.mark.parametrize(
    ("recent", "drift", "level", "degradation"),
    [
        (12.1, True, "warning", 21.0),
        (11.9, False, "ok", 19.0),
        (12.0, False, "ok", 20.0),
        (16.0, True, "critical", 60.0),
    ],
)
def test_error_drift_is_the_rise_over_training(build, read, recent, drift, level, degradation):
    hours = [build.slice(h, n=10, errors={"model": total([recent] * 10, [0.0] * 10)}) for h in range(100)]
    reading = read(performance(build.window(hours, version=build.version(mae=10.0))), "error_drift")
    assert reading.level == level
    assert reading.facts["drift_detected"] is drift
    assert reading.facts["degradation_pct"] == pytest.approx(degradation)
    assert (reading.facts["training_mae"], reading.facts["threshold_pct"]) == (10.0, 20.0)
    assert reading.facts["recent_mae"] == pytest.approx(recent)


@pytest.mark.row("DRF-01")
@pytest.mark.parametrize("metrics", [{}, {"mae": 0.0}, {"mae": math.nan}])
def test_without_a_training_error_drift_is_unknown_with_the_reason(build, read, metrics):
    hours = [build.slice(0, n=20, errors={"model": total([1.0] * 20, [0.0] * 20)})]
    reading = read(performance(build.window(hours, version=build.version(**metrics))), "error_drift")
    assert (reading.level, reading.value, reading.facts["drift_detected"]) == ("unknown", None, None)
    assert "training error" in reading.facts["reason"]


@pytest.mark.row("DRF-02")
def test_drift_on_nine_pairs_is_unknown(build, read):
    hours = [build.slice(0, n=9, errors={"model": total([99.0] * 9, [0.0] * 9)})]
    reading = read(performance(build.window(hours, version=build.version(mae=1.0))), "error_drift")
    assert reading.level == "unknown"
    assert reading.facts["reason"] == "insufficient_data"
    assert (reading.facts["have"], reading.facts["need"]) == (9, 10)


@pytest.mark.row("DRF-02")
@pytest.mark.parametrize(("days", "level"), [(2, "unknown"), (3, "warning")])
def test_one_stormy_day_is_no_drift(build, read, days, level):
    hours = [build.slice(24 * d, n=50, errors={"model": total([13.0] * 50, [0.0] * 50)}) for d in range(days)]
    reading = read(performance(build.window(hours, version=build.version(mae=10.0))), "error_drift")
    assert reading.level == level
    assert reading.facts["recent_mae"] == pytest.approx(13.0)
    assert level == "warning" or (reading.facts["have"], reading.facts["need"]) == (2, 3)


def test_a_zero_truth_does_not_break_mape(build, read):
    hours = [build.slice(0, n=20, errors={"model": total([1.0] * 20, [0.0] * 20)})]
    reading = read(performance(build.window(hours)), "mape")
    assert (reading.level, reading.value) == ("unknown", None)
    mixed = [build.slice(0, n=20, errors={"model": total([1.0] * 20, [0.0] * 10 + [2.0] * 10)})]
    reading = read(performance(build.window(mixed)), "mape")
    assert (reading.value, reading.n, reading.facts["n_skipped"]) == (0.5, 10, 10)


def test_every_metric_of_a_week_has_an_interval(build, read):
    draw = np.random.default_rng(2)
    hours = []
    for hour in range(0, 168, 2):
        truth = draw.normal(20, 5, 8)
        hours.append(
            build.slice(hour, n=8, errors={"model": total((truth + draw.normal(1, 2, 8)).tolist(), truth.tolist())})
        )
    found = performance(build.window(hours))
    for name in ("mae", "rmse", "mape", "bias", "r2"):
        reading = read(found, name)
        assert reading.interval[0] < reading.value < reading.interval[1], name
        assert reading.n == 672
        assert str(672) in reading.detail


def test_classes_have_their_four_metrics(build, read):
    pairs = [("yes", "yes")] * 30 + [("yes", "no")] * 10 + [("no", "yes")] * 20 + [("no", "no")] * 40
    hours = [
        build.slice(24 * d, n=len(day), errors={"model": total(*zip(*day, strict=True))})
        for d, day in enumerate((pairs[::3], pairs[1::3], pairs[2::3]))
    ]
    version = build.version(signature=build.classes, accuracy=0.9)
    found = performance(
        build.window(hours, version=version, policy=Policy(model="m", targets={"accuracy": 0.9, "recall": 0.65}))
    )
    assert {r.name: round(r.value, 3) for r in found[:4]} == {
        "accuracy": 0.7,
        "precision": 0.75,
        "recall": 0.6,
        "f1": 0.667,
    }
    assert read(found, "accuracy").level == "critical"
    assert read(found, "recall").level == "warning"
    assert read(found, "precision").interval == pytest.approx((0.598, 0.858), abs=0.001)
    drift = read(found, "error_drift")
    assert (drift.value, drift.level) == (pytest.approx(200.0), "critical")


@pytest.mark.parametrize(("target", "level"), [(5.0, "ok"), (1.9, "critical"), (None, "ok")])
def test_a_ceiling_of_the_policy_is_a_limit_in_production_too(build, read, target, level):
    hours = [build.slice(h, n=20, errors={"model": total([2.0, 2.1] * 10, [0.0] * 20)}) for h in range(5)]
    policy = Policy(model="m", targets={} if target is None else {"mae": target})
    assert read(performance(build.window(hours, policy=policy)), "mae").level == level


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=10, max_size=40))
def test_no_metric_is_ever_nan(pairs):
    found = accuracy(total(*zip(*pairs, strict=True)))
    assert all(math.isfinite(v) for v in found.metrics.values())
    assert all(low <= found.metrics[name] + 1e-6 * abs(low) + 1e-9 for name, (low, _) in found.intervals.items())


def test_nan_never_becomes_ok(build):
    poison = Sums(n=20, error=math.nan, absolute=math.nan, square=math.nan)
    found = performance(build.window([build.slice(0, n=20, errors={"model": poison})], version=build.version(mae=1.0)))
    assert {r.level for r in found} == {"unknown"}
    assert {r.value for r in found} == {None}
