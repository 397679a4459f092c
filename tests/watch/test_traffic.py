import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelkeep.nouns import Policy
from modelkeep.watch import errors, latency


def test_quantiles_lie_within_one_bucket_of_the_truth(build, read):
    seconds = [0.001 * i for i in range(1, 401)]
    found = latency(build.window([build.slice(167, n=400, seconds=seconds)]))
    for name, truth in (("latency_p50", 0.2), ("latency_p95", 0.38), ("latency_p99", 0.396)):
        reading = read(found, name)
        assert truth <= reading.value <= truth * 1.26
        assert reading.interval[0] <= reading.value <= reading.interval[1]
        assert (reading.level, reading.unit, reading.subject) == ("ok", "s", "m@2")


def test_too_few_calls_are_unknown_and_say_how_many_are_needed(build, read):
    found = latency(build.window([build.slice(167, n=30, seconds=[0.01] * 30)]))
    assert read(found, "latency_p50").level == "ok"
    late = read(found, "latency_p99")
    assert (late.level, late.value) == ("unknown", None)
    assert (late.facts["have"], late.facts["need"]) == (30, 299)
    assert latency(build.window())[0].level == "unknown"


@pytest.mark.parametrize(("seconds", "level"), [(0.1, "ok"), (0.8, "warning"), (3.0, "critical")])
def test_latency_is_judged_by_the_policys_limit(build, read, seconds, level):
    policy = Policy(model="m", limit=1.0)
    found = latency(build.window([build.slice(167, n=300, seconds=[seconds] * 300)], policy=policy))
    assert read(found, "latency_p95").level == level


def test_only_the_newest_hours_count(build, read):
    slow, fast = build.slice(100, n=400, seconds=[9.0] * 400), build.slice(167, n=400, seconds=[0.01] * 400)
    assert read(latency(build.window([slow, fast])), "latency_p99").value < 0.02


@pytest.mark.parametrize(
    ("failures", "n", "level"),
    [
        (0, 100, "ok"),
        (3, 100, "ok"),
        (5, 100, "warning"),
        (1, 10, "ok"),
        (40, 1000, "warning"),
        (200, 1000, "critical"),
        (0, 9, "unknown"),
    ],
)
def test_error_rate_needs_more_than_chance(build, read, failures, n, level):
    reading = read(errors(build.window([build.slice(167, n=n, failures=failures)])), "error_rate")
    assert reading.level == level
    assert reading.n == n


def test_traffic_is_an_hourly_rate(build, read):
    found = errors(build.window([build.slice(167, n=120)], end=build.start + 167.5 * 3600))
    assert read(found, "traffic").value == pytest.approx(240)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(failures=st.integers(0, 2000), n=st.integers(0, 2000))
def test_the_error_rate_is_always_a_share_or_unknown(build, failures, n):
    failures = min(failures, n)
    reading = errors(build.window([build.slice(167, n=n, failures=failures)]))[0]
    assert (reading.value is None) == (n < 10)
    assert reading.value is None or 0 <= reading.interval[0] <= reading.value <= reading.interval[1] <= 1
