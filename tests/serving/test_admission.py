"""The pure core of admission: rates, the limit, the state. Moments are numbers that the tests choose."""

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelkeep.errors import Overloaded
from modelkeep.nouns import Field, Signature, Version
from modelkeep.runtimes import Loaded
from modelkeep.serving.admission.admitting import Admission
from modelkeep.serving.admission.gates import Gate
from modelkeep.serving.admission.gradient import Limit
from modelkeep.serving.admission.pressure import Pressure
from modelkeep.serving.admission.rates import Buckets, Rate

VERSION = Version(
    model="m", number=1, artifact="", size=1, runtime="python", created=0.0,
    signature=Signature(inputs=(), output=Field(name="y", kind="number")),
)  # fmt: skip
LOADED = Loaded(version=VERSION, predict=lambda rows: None, seconds=math.nan, explain=lambda row: None)


@given(
    rate=st.floats(0.1, 1000),
    burst=st.integers(1, 50),
    gaps=st.lists(st.floats(0, 3), min_size=1, max_size=200),
)
def test_a_bucket_never_lets_in_more_than_its_rate_and_burst(rate, burst, gaps):
    buckets, at, taken = Buckets(), 0.0, []
    for gap in gaps:
        at += gap
        left = buckets.take("a", Rate(rate=rate, burst=burst), at=at)
        assert 0 <= left.left <= left.limit == burst
        if left.wait == 0:
            taken.append(at)
    for i, first in enumerate(taken):
        for j in range(i, len(taken)):
            assert j - i + 1 <= burst + (taken[j] - first) * rate + 1e-6 * len(taken)


@given(rate=st.floats(0.1, 100), burst=st.integers(1, 20), asks=st.integers(1, 60))
def test_who_waits_as_told_is_let_in(rate, burst, asks):
    buckets, at, one = Buckets(), 0.0, Rate(rate=rate, burst=burst)
    for _ in range(asks):
        left = buckets.take("a", one, at=at)
        if left.wait:
            at += left.wait * (1 + 1e-6)
            assert buckets.take("a", one, at=at).wait == 0


def test_callers_have_buckets_of_their_own_and_are_forgotten_when_there_are_too_many():
    buckets, one = Buckets(most=3), Rate(rate=1.0, burst=1)
    assert [buckets.take(c, one, at=0.0).wait for c in "abc"] == [0, 0, 0]
    assert buckets.take("a", one, at=0.0).wait == pytest.approx(1.0)
    buckets.take("d", one, at=0.0)
    assert len(buckets) == 3


def served(limit, *, hands, own, seconds, demand):
    """A version with ``hands`` under a ``demand`` of calls that always fill the limit; answers a second."""
    done, at, free, line = 0, 0.0, [0.0] * hands, []
    arrival = 0.0
    while arrival < seconds:
        at, arrival = arrival, arrival + 1 / demand
        while line and line[0][1] <= at:
            came, ended = line.pop(0)
            limit.note(whole=ended - came, own=own, open_=len(line) + 1)
            done += 1
        if len(line) < limit.value:
            start = max(min(free), at)
            free[free.index(min(free))] = start + own
            line.append((at, start + own))
            line.sort(key=lambda call: call[1])
    return done / seconds


@pytest.mark.parametrize(("hands", "own"), [(1, 0.005), (4, 0.02), (8, 0.3)])
def test_the_limit_settles_where_no_hand_is_idle_and_the_line_is_short(hands, own):
    limit = Limit(hands=hands, most=260)
    capacity = hands / own
    rate = served(limit, hands=hands, own=own, seconds=300 * own, demand=5 * capacity)
    assert rate >= 0.95 * capacity
    assert hands < limit.value <= 5 * hands


def test_the_limit_follows_a_model_that_becomes_slower_and_faster_again():
    limit = Limit(hands=4, most=260)
    served(limit, hands=4, own=0.01, seconds=5, demand=2000)
    settled = limit.value
    served(limit, hands=4, own=0.1, seconds=20, demand=200)
    assert limit.own == pytest.approx(0.1, rel=0.01)
    served(limit, hands=4, own=0.01, seconds=5, demand=2000)
    assert abs(limit.value - settled) <= 3


@given(calls=st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1), st.integers(0, 500)), max_size=200))
def test_the_limit_stays_within_its_bounds_whatever_it_sees(calls):
    limit = Limit(hands=3, most=50)
    for whole, share, open_ in calls:
        limit.note(whole=whole, own=whole * share, open_=open_)
        assert 3 <= limit.value <= 50


def run(pressure, load, *, end, capacity=100.0, start=0.0):
    """Ask ``load(t)`` times a second; what is beyond the capacity is refused. The states at each change."""
    seen, at, room = [], start, 0.0
    last = pressure.look(at)
    while at < end:
        rate = load(at)
        step = 1 / rate if rate else 0.05
        at += step
        room = min(room + capacity * step, 5.0)
        if rate:
            refused = room < 1
            pressure.arrived(at, refused=refused)
            if not refused:
                room -= 1
                pressure.answered(at)
        state = pressure.look(at)
        if state != last:
            seen.append((state, at))
            last = state
    return seen


@pytest.mark.row("EMG-15")
def test_an_overload_begins_soon_and_ends_within_ten_seconds_after_it():
    pressure = Pressure(calm=3.0, settle=4.0)
    seen = run(pressure, lambda t: 500 if 10 <= t < 310 else 50, end=330)
    assert [state for state, _ in seen] == ["shedding", "recovering", "normal"]
    begun, recovering, normal = (at for _, at in seen)
    assert 10 <= begun < 11
    assert 313 <= recovering < 315
    assert 317 <= normal < 320
    assert pressure.capacity == pytest.approx(100, rel=0.1)


@pytest.mark.row("EMG-15")
@pytest.mark.parametrize("period", [0.4, 1.0, 2.0, 4.0, 12.0, 30.0])
def test_a_square_wave_does_not_make_it_flap(period):
    """Five times the capacity half of the time, for ten minutes."""
    seen = run(Pressure(calm=3.0, settle=4.0), lambda t: 500 if t % period < period / 2 else 20, end=600)
    assert len([1 for state, _ in seen if state == "shedding"]) <= 6
    gaps = [b - a for (_, a), (_, b) in pairwise(seen)]
    assert all(gap >= 2.9 for gap in gaps[:-1] if gap)


def test_refusals_of_one_moment_are_no_overload():
    pressure = Pressure()
    for i in range(10):
        pressure.arrived(1.0 + i / 1000, refused=i > 3)
    assert [pressure.look(t) for t in (1.1, 1.5, 2.0)] == ["normal"] * 3


@settings(max_examples=50)
@given(
    load=st.lists(st.tuples(st.floats(0.05, 8.0), st.sampled_from([0, 10, 80, 95, 150, 600])), min_size=1, max_size=12)
)
def test_states_follow_each_other_in_order_only(load):
    pressure, at, states = Pressure(calm=1.0, settle=1.0), 0.0, []
    for seconds, rate in load:
        states += [state for state, _ in run(pressure, lambda _, rate=rate: rate, start=at, end=at + seconds)]
        at += seconds
    allowed = {("normal", "shedding"), ("shedding", "recovering"), ("recovering", "normal"), ("recovering", "shedding")}
    assert all(pair in allowed for pair in zip(["normal", *states], states, strict=False))
    assert pressure.look(at + 200) == "normal"


def gate(hands=4):
    return Gate("m", 1, limit=Limit(hands=hands, most=100), pressure=Pressure(calm=3.0, settle=4.0))


def fill(one, priority, at=0.0):
    while True:
        one.enter(priority, at=at)


@pytest.mark.row("EMG-12")
def test_the_less_urgent_is_turned_away_first():
    one = gate()
    entered = {}
    for priority in ("batch", "normal", "critical"):
        with pytest.raises(Overloaded) as refused:
            fill(one, priority)
        assert refused.value.wait >= 1
        entered[priority] = one.open
    assert entered == {"batch": 8, "normal": 8 + 13, "critical": 8 + 13 + 32}
    assert dict(one.shed) == {"batch": 1, "normal": 1, "critical": 1}


def test_in_recovery_a_growing_share_is_served_in_full_again():
    one = gate()
    for i in range(100):
        one.pressure.arrived(i / 100, refused=True)
    assert all(one.lowers("normal", at=1.0) for _ in range(10))
    assert not one.lowers("critical", at=1.0)
    one.pressure.look(4.5)
    assert one.pressure.state == "recovering"
    shares = [sum(not one.lowers("normal", at=4.0 + age) for _ in range(100)) for age in (1.0, 2.0, 3.0)]
    assert shares[0] < shares[1] < shares[2] < 100
    one.pressure.look(9.0)
    assert not one.lowers("normal", at=9.0)


def test_a_burst_may_wait_a_little_and_what_lasts_may_not():
    one = Gate("m", 1, limit=Limit(hands=1, most=2000, own=0.001), pressure=Pressure())
    with pytest.raises(Overloaded):
        fill(one, "normal", at=0.0)
    assert 390 <= one.open <= 401
    for _ in range(300):
        one.leave("normal", at=0.9, whole=0.5, own=0.001)
    with pytest.raises(Overloaded):
        fill(one, "normal", at=2.0)
    assert 80 <= one.open <= 102


def test_a_change_of_state_is_told_once():
    told, clock = [], [0.0]
    admission = Admission(told=told.append, now=lambda: clock[0])
    one = admission.gate(LOADED, hands=1, most=10)
    for i in range(200):
        clock[0] = i / 100
        one.pressure.arrived(clock[0], refused=True)
        admission.look()
    assert admission.state == "shedding"
    assert admission.strained
    for clock[0] in (5.0, 5.5, 20.0, 30.0):
        admission.look()
    assert [(c.was, c.now.state) for c in told] == [
        ("normal", "shedding"), ("shedding", "recovering"), ("recovering", "normal"),
    ]  # fmt: skip
    assert not admission.strained
