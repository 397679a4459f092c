import pytest

from modelkeep import moment
from modelkeep.workloads.restaurants import stations, stock, watching


def test_order_quantities_and_reorder_points_are_those_of_the_formulas():
    used = [4.0, 6.0] * 20
    item = stock.Item(item="rice", name="rice", stock=20.0, counted=0.0, min_level=2.0, max_level=500.0, lead_days=4)
    plan = stock.plan(item, used, now=0.0, service=0.95)
    assert plan.daily_consumption_rate == 5.0
    assert plan.safety_stock == pytest.approx(1.6449 * 1.0127 * 2, abs=0.01)
    assert plan.reorder_point == pytest.approx(20 + plan.safety_stock, abs=0.02)
    assert plan.economic_order_qty == pytest.approx((2 * 1825 * 50 / 0.5) ** 0.5, abs=0.01)
    assert (plan.action, plan.urgency, plan.status) == ("reorder", "high", "low")
    assert plan.days_until_stockout == 4.0


@pytest.mark.parametrize(
    ("in_stock", "action", "urgency"),
    [
        (1.0, "emergency_reorder", "critical"),
        (20.0, "reorder", "high"),
        (60.0, "hold", "low"),
        (600.0, "reduce_orders", "medium"),
    ],
)
def test_what_to_do_follows_the_stock(in_stock, action, urgency):
    item = stock.Item(item="x", name="x", stock=in_stock, counted=0.0, min_level=2.0, max_level=500.0, lead_days=4)
    plan = stock.plan(item, [4.0, 6.0] * 20, now=0.0, service=0.95)
    assert (plan.action, plan.urgency) == (action, urgency)
    if action == "emergency_reorder":
        assert plan.recommended_order_qty == pytest.approx(1.5 * plan.economic_order_qty, abs=0.02)


def test_with_29_days_of_use_nothing_is_said_but_why():
    item = stock.Item(item="x", name="x", stock=5.0, counted=0.0)
    plan = stock.plan(item, [1.0] * 29, now=0.0, service=0.95)
    assert plan.action == "unknown"
    assert plan.reorder_point is None
    assert "29 days of use, 30 are needed" in plan.reason
    assert stock.plan(item, [1.0] * 30, now=0.0, service=0.95).action != "unknown"


def test_waste_is_what_expires_before_it_is_used():
    now = moment("2024-01-01")
    item = stock.Item(item="x", name="x", stock=50.0, counted=0.0, expiry=now + 4 * 86400)
    plan = stock.plan(item, [5.0, 5.0] * 20, now=now, service=0.95)
    assert plan.waste_risk == 30.0
    assert "expires in 4.0 days" in plan.waste_reason


def test_only_a_station_that_became_slower_is_a_bottleneck():
    day = 86400.0
    steady = [10.0, 12.0, 9.0, 11.0] * 80
    at = tuple(day * 63 * i / len(steady) for i in range(len(steady)))
    calm = stations.Times(station="grill", name="grill", at=at, minutes=tuple(steady))
    assert stations.slowed(calm, now=63 * day).bottleneck is False
    slow = tuple(m * (1.5 if when > 56 * day else 1) for m, when in zip(steady, at, strict=True))
    found = stations.slowed(stations.Times(station="grill", name="grill", at=at, minutes=slow), now=63 * day)
    assert found.bottleneck is True
    assert found.ratio == pytest.approx(1.5, rel=0.05)
    few = stations.slowed(stations.Times(station="g", name="g", at=at[:30], minutes=slow[:30]), now=63 * day)
    assert few.bottleneck is None
    assert "20 of each are needed" in few.reason


def test_of_two_hundred_restaurants_without_drift_none_is_named_and_one_with_it_is():
    import random

    draw = random.Random(4)
    named = 0
    for one in range(200):
        days = {day: draw.gauss(-0.6 if one == 77 and day >= 56 else 0.03, 0.25) for day in range(70)}
        found = watching.left(watching.Course(days=days, misses=days), today=70, others=200)
        named += found.sure
        if one == 77:
            assert found.sure
    assert named == 1


def test_a_pause_longer_than_ever_is_silence():
    assert watching.longest([1, 2, 3, 6, 7]) == 2
    assert watching.longest([4]) == 0
