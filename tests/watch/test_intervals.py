import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from modelkeep.profile import Sums
from modelkeep.watch import intervals


def test_t_is_right_to_a_thousandth():
    assert all(abs(intervals.t95(k) - stats.t.ppf(0.975, k)) < 1e-3 for k in range(1, 400))


@given(st.integers(0, 500), st.integers(1, 500))
def test_wilson_holds_the_share_and_agrees_with_scipy(hits, n):
    hits = min(hits, n)
    low, high = intervals.wilson(hits, n)
    other = stats.binomtest(hits, n).proportion_ci(method="wilson")
    assert 0 <= low <= hits / n <= high <= 1
    assert (low, high) == pytest.approx((other.low, other.high), abs=1e-9)


@given(st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=50))
def test_the_mean_is_inside_its_interval(values):
    found = intervals.mean(sum(values), sum(v * v for v in values), n=len(values))
    assert found[0] - 1e-6 <= np.mean(values) <= found[1] + 1e-6


def test_a_mean_of_one_value_has_no_interval():
    assert intervals.mean(3.0, 9.0, n=1) is None


def test_the_jackknife_of_a_mean_is_students_interval():
    values = np.array([1.0, 4.0, 2.0, 8.0, 5.0])
    found = intervals.jackknifed(values.mean(), (values.sum() - values) / 4)
    error = values.std(ddof=1) / math.sqrt(5) * stats.t.ppf(0.975, 4)
    assert found == pytest.approx((4 - error, 4 + error), rel=1e-4)


def test_two_blocks_say_nothing():
    assert intervals.jackknifed(1.0, np.array([1.0, 1.2])) is None
    assert intervals.of_metrics([Sums.of(1.0, 2.0)] * 2, Sums.metrics) == {}


def test_intervals_cover_what_they_promise():
    draws = np.random.default_rng(3).gamma(2.0, 1.0, (400, 12))
    held = [intervals.jackknifed(row.mean(), (row.sum() - row) / 11) for row in draws]
    assert 0.9 < np.mean([low <= 2.0 <= high for low, high in held]) < 0.98
