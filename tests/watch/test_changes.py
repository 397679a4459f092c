import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.watch.changes import compared, t_point
from modelkeep.watch.intervals import t95

BLOCKS = st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 1000)), max_size=12)


@pytest.mark.parametrize("freedom", [1, 2, 3, 6, 12, 30, 200])
def test_the_points_of_t_are_those_of_the_tables(freedom):
    assert t_point(freedom, 0.025) == pytest.approx(t95(freedom), rel=1e-3)


@pytest.mark.parametrize(("freedom", "tail", "point"), [(6, 0.0005, 5.959), (12, 0.001, 3.930), (30, 0.0005, 3.646)])
def test_far_tails_too(freedom, tail, point):
    assert t_point(freedom, tail) == pytest.approx(point, rel=1e-3)


@given(BLOCKS, BLOCKS)
def test_what_is_known_is_finite_and_the_interval_holds_the_difference(now, before):
    found = compared(now, before)
    assert (found.now is None) == (sum(n for _, n in now) == 0)
    if found.interval is not None:
        low, high = found.interval
        assert low <= found.difference <= high
        assert math.isfinite(low)
        assert math.isfinite(high)
    assert not (found.supported and found.difference == 0)


def test_blocks_without_anything_say_nothing():
    assert compared([], [(1, 2)]).difference is None
    assert compared([(1, 2)] * 2, [(1, 2)] * 9).interval is None
    assert compared([(0, 5)] * 7, [(0, 5)] * 7).interval == (0, 0)


def test_nothing_changed_is_said_to_have_changed_no_oftener_than_promised():
    draw = np.random.default_rng(7)
    wrong = 0
    for _ in range(1500):
        level = draw.normal(5, 1, 14)  # days err together
        counts = draw.poisson(50, 14) + 1
        blocks = [(float(draw.gamma(2, mean / 2, n).sum()), n) for mean, n in zip(abs(level), counts, strict=True)]
        wrong += compared(blocks[:7], blocks[7:]).supported
    assert wrong / 1500 < 0.065


def test_what_doubled_is_found():
    draw = np.random.default_rng(8)
    now = [(float(draw.gamma(2, 5, 100).sum()), 100) for _ in range(7)]
    before = [(float(draw.gamma(2, 2.5, 100).sum()), 100) for _ in range(7)]
    found = compared(now, before, error=0.001)
    assert found.supported
    assert found.interval[0] < 5 < found.interval[1]
