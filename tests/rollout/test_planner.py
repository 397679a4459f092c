from modelkeep.nouns import Guards
from modelkeep.rollout.planner import Traffic, forecast

DAY = 86400.0


def test_a_busy_canary_is_forecast_as_the_simulations_found_it():
    plan = forecast(Guards(), Traffic(calls=6000, labels=2500), share=0.01, stage=DAY, last=14 * DAY)
    assert plan.harm["2"] is None, "two points are the limit itself"
    assert 4 * 3600 < plan.harm["5"] < 9 * 3600
    assert 1 * 3600 < plan.harm["10"] < 3 * 3600
    assert plan.proposal == ""
    assert plan.lines()[0] == "with 2 pts more errors: not rolled back"


def test_a_canary_that_cannot_decide_is_answered_with_one_that_can():
    plan = forecast(Guards(), Traffic(calls=120, labels=50), share=0.01, stage=DAY, last=14 * DAY)
    assert plan.proposal.startswith("1% cannot decide in 14d; a canary of ")
    shadow = forecast(Guards(), Traffic(calls=4, labels=3), share=0.01, stage=DAY, last=14 * DAY)
    assert "shadow of all traffic" in shadow.proposal
    never = forecast(Guards(), Traffic(calls=0.1), share=0.01, stage=DAY, last=14 * DAY)
    assert "expect an inconclusive verdict" in never.proposal


def test_more_traffic_never_takes_longer():
    times = [forecast(Guards(), Traffic(calls=c), share=0.1, stage=0.0, last=DAY).good for c in (10, 100, 1000)]
    assert times == sorted(times, reverse=True)
