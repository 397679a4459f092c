import math
import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelkeep.nouns import Guards
from modelkeep.rollout.betting import BETS, Account, Round, bet, rounds_needed
from modelkeep.rollout.judge import JudgeState, fold, next_stage_of, promote_wealth, rollback_wealth, start
from modelkeep.rollout.rounds import Block, Compared, Graded, GradedPair, Served, Yardstick, yardstick
from modelkeep.rollout.verdict import Occasion, certifiers, verdict

DAY = 86400.0
CLASSES = Yardstick(classes=True, latency=(0.1, 0.2, 0.4))
NUMBERS = Yardstick(classes=False, latency=(0.1, 0.2, 0.4), cap=10.0, usual=2.0)
LATE = Occasion(now=DAY, earliest=DAY, last=14 * DAY)


def judged(yard=CLASSES, **guards):
    return start(Guards(**guards), yard, at=0.0, longest=DAY)


def calls(n, *, errors=(0.0, 0.0), slow=(0.0, 0.0), seed=1, at=0.0, step=60.0, controls=3):
    draw = random.Random(seed)
    for i in range(n):
        for candidate in [False] * controls + [True]:
            harms = (
                float(draw.random() < errors[candidate]),
                *(float(draw.random() < slow[candidate]) for _ in range(3)),
            )
            yield Served(candidate=candidate, harms=harms, at=at + i * step, entity=f"e{i % 40}")


def pairs(n, *, old, new, at=0.0, step=60.0):
    return [GradedPair(control=old(i), candidate=new(i), at=at + i * step) for i in range(n)]


event = st.one_of(
    st.builds(
        Served,
        candidate=st.booleans(),
        harms=st.tuples(*[st.sampled_from([0.0, 1.0])] * 4),
        at=st.floats(0, 2 * DAY),
        entity=st.sampled_from("abcd"),
    ),
    st.builds(
        Compared,
        control=st.tuples(*[st.sampled_from([0.0, 1.0])] * 4),
        candidate=st.tuples(*[st.sampled_from([0.0, 1.0])] * 4),
        at=st.floats(0, 2 * DAY),
        differ=st.one_of(st.none(), st.floats(0, 1)),
    ),
    st.builds(Graded, candidate=st.booleans(), error=st.floats(-50, 50), at=st.floats(0, 2 * DAY)),
    st.builds(GradedPair, control=st.floats(-50, 50), candidate=st.floats(-50, 50), at=st.floats(0, 2 * DAY)),
)


@settings(max_examples=60)
@given(st.lists(event, max_size=60), st.integers(0, 60), st.sampled_from([CLASSES, NUMBERS]), st.sampled_from([0, 2]))
def test_the_state_is_the_same_however_often_it_is_looked_at_and_kept_as_json(events, cut, yard, requests):
    if yard is CLASSES:
        events = [e for e in events if not isinstance(e, Graded | GradedPair)]
    begun = next_stage_of(judged(yard), at=0.0, requests=requests)
    once = fold(begun, events)
    kept = msgspec.json.decode(msgspec.json.encode(fold(begun, events[:cut])), type=JudgeState)
    assert fold(kept, events[cut:]) == once
    for account in once.accounts.values():
        assert math.isfinite(account.against)
        assert account.against >= 0
        assert math.isfinite(account.favour)
    said = verdict(once, LATE)
    assert msgspec.json.encode(said)
    assert (said.decision == "roll_back") == (once.fired is not None)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=300))
def test_no_sequence_of_rounds_can_bankrupt_or_overflow_an_account(values):
    account = Account(limit=0.02)
    for value in values * 4:
        account = bet(account, Round(control=0.0, candidate=0.0, z=value), hour=0, hours=24)
    assert all(math.isfinite(money) for money in (*account.rollback, *account.promote))


def test_the_expected_wealth_at_the_limit_does_not_grow():
    for z, chance in (((1.0, -1.0), 0.51), ((1.0, 0.0), 0.02)):
        low = sum(b > 0 for b in BETS) and Account(limit=0.02)
        after = [bet(low, Round(control=0.0, candidate=0.0, z=v), hour=0, hours=24) for v in z]
        assert chance * after[0].against + (1 - chance) * after[1].against == pytest.approx(1.0)
        assert chance * after[0].favour + (1 - chance) * after[1].favour == pytest.approx(1.0)


def test_a_block_closes_with_the_first_observation_of_the_other_arm():
    block = Block()
    for candidate in (False, False, True):
        assert not block.closed
        block = block.plus((1.0 if candidate else 0.5,), candidate=candidate)
    assert block.closed
    (played,) = block.rounds()
    assert (played.control, played.candidate, played.z, played.controls) == (0.5, 1.0, 0.5, 2)


def test_nothing_known_is_held_with_what_is_missing():
    said = verdict(judged(), LATE)
    assert said.decision == "hold"
    assert "error_rate: no calls of the candidate yet" in said.reasons
    assert verdict(judged(), Occasion(now=15 * DAY, earliest=DAY, last=14 * DAY)).decision == "inconclusive"


@pytest.mark.row("DEP-06")
def test_more_errors_roll_back_and_fewer_never_do():
    worse = fold(judged(), calls(600, errors=(0.01, 0.2)))
    said = verdict(worse, Occasion(now=worse.fired, earliest=DAY, last=14 * DAY))
    assert said.decision == "roll_back"
    assert said.reasons[0].startswith("error_rate +")
    assert said.rollback >= said.bound == 20
    better = fold(judged(), calls(600, errors=(0.2, 0.01)))
    assert better.fired is None
    assert rollback_wealth(better) < 1


def test_a_good_version_is_promoted_when_every_guard_has_certified_in_this_stage():
    agreeing = [Compared(control=(), candidate=(), at=0.0, differ=0.0) for _ in range(300)]
    good = fold(judged(), [*calls(1400, errors=(0.01, 0.01), slow=(0.01, 0.01)), *agreeing])
    assert certifiers(good)[-1] == "disagreement"
    said = verdict(good, LATE)
    assert said.decision == "promote", said.reasons
    assert verdict(good, Occasion(now=DAY - 1, earliest=DAY, last=14 * DAY)).decision == "hold"
    blocked = verdict(good, Occasion(now=DAY, earliest=DAY, last=14 * DAY, incidents=("fire",)))
    assert blocked.decision == "hold"
    assert blocked.reasons == ("critical incident open: fire",)
    fresh = next_stage_of(good, at=DAY)
    assert verdict(fresh, LATE).decision == "hold"
    assert promote_wealth(fresh, "disagreement") >= 100, "pairs prove the same whatever the share"
    assert promote_wealth(fresh, "error_rate") == pytest.approx(1.0)


def test_disagreement_certifies_only_while_no_answer_has_been_labelled():
    state = fold(judged(), [Compared(control=(), candidate=(), at=0.0, differ=0.0) for _ in range(300)])
    assert certifiers(state)[-1] == "disagreement"
    one = fold(state, [GradedPair(control=0.0, candidate=0.0, at=1.0)])
    assert certifiers(one)[-1] == "loss"
    assert verdict(one, LATE).decision == "hold"


def test_slow_answers_roll_back_and_all_three_latencies_must_certify():
    slow = fold(judged(), calls(600, slow=(0.05, 0.6)))
    assert slow.fired is not None
    assert any(reason.startswith("latency_p9") for reason in verdict(slow, LATE).reasons)
    assert {"latency_p50", "latency_p95", "latency_p99"} <= set(certifiers(slow))


@pytest.mark.parametrize(("new", "falls"), [(1.0, False), (0.9, False), (1.3, True)])
def test_a_regression_is_judged_by_the_ratio_of_its_errors(new, falls):
    draw = random.Random(3)
    errors = [draw.gauss(0, 3) for _ in range(900)]
    state = fold(judged(NUMBERS), pairs(900, old=lambda i: errors[i], new=lambda i: new * errors[i]))
    assert (state.fired is not None) == falls
    if falls:
        reason = verdict(state, LATE).reasons[0]
        assert reason.startswith("mean_error +2")
        assert reason.endswith("% > 5.0 %")
    else:
        assert state.accounts["loss"].favour >= 100


def test_a_shifted_answer_is_noticed_and_does_not_roll_back():
    draw = random.Random(4)
    errors = [draw.gauss(0, 2) for _ in range(1500)]
    state = fold(judged(NUMBERS), pairs(1500, old=lambda i: -errors[i] - 0.3, new=lambda i: -errors[i] + 0.3))
    said = verdict(state, LATE)
    assert said.decision != "roll_back"
    assert "higher than the champion's on average" in said.notices[0]


def test_a_hard_stop_needs_no_evidence():
    state = fold(judged(), [Served(candidate=True, harms=(1.0, 0.0, 0.0, 0.0), at=0.0, stop="it answered NaN")])
    said = verdict(state, Occasion(now=1.0, earliest=DAY, last=14 * DAY))
    assert (said.decision, said.reasons) == ("roll_back", ("it answered NaN",))


def test_an_entity_counts_once():
    state = next_stage_of(judged(), at=0.0, requests=5)
    bad = [Served(candidate=True, harms=(1.0, 0.0, 0.0, 0.0), at=float(i), entity="one") for i in range(500)]
    good = [Served(candidate=False, harms=(0.0,) * 4, at=float(i), entity=f"e{i % 50}") for i in range(500)]
    after = fold(state, [event for both in zip(good, bad, strict=True) for event in both])
    assert after.accounts["error_rate"].rounds == 1
    assert after.fired is None


@pytest.mark.row("DEP-07")
def test_evidence_has_both_arms_their_difference_an_interval_and_a_method():
    state = fold(judged(), calls(300, errors=(0.02, 0.03)))
    found = next(e for e in verdict(state, LATE).evidence if e.metric == "error_rate")
    assert found.difference == pytest.approx(found.canary - found.baseline)
    assert found.interval[0] < found.difference < found.interval[1]
    assert (found.n, found.controls, found.rounds) == (300, 900, 300)
    assert "betting" in found.method
    assert "needs about" in found.missing
    assert "at today's rate" in found.missing


@pytest.mark.row("DEP-07")
def test_the_interval_covers_the_truth():
    covered = 0
    for seed in range(200):
        state = fold(judged(), calls(150, errors=(0.05, 0.06), seed=seed, controls=1))
        if state.fired is None:
            low, high = next(e for e in verdict(state, LATE).evidence if e.metric == "error_rate").interval
            covered += low <= 0.01 <= high
    assert covered >= 0.93 * 200


def test_a_forecast_of_rounds_is_near_the_truth():
    need = rounds_needed(Account(limit=0.02), mean=0.0, variance=0.0, goal=100, against=False)
    account, rounds = Account(limit=0.02), 0
    while account.favour < 100:
        account, rounds = bet(account, Round(control=0.0, candidate=0.0, z=0.0), hour=0, hours=24), rounds + 1
    assert need == rounds
    assert rounds_needed(Account(limit=0.02), mean=0.02, variance=0.02, goal=50, against=True) is None


def test_a_yardstick_needs_thirty_and_ignores_differences_below_the_grain():
    assert yardstick([0.1] * 29, [], classes=True, grain=0.002).latency == ()
    assert yardstick([0.0001] * 100, [], classes=True, grain=0.002).latency == pytest.approx((0.0021,) * 3)
    measured = yardstick([], [1.0] * 99 + [50.0], classes=False, grain=0.002)
    assert measured.cap == 50.0
    assert yardstick([], [0.0] * 50, classes=False, grain=0.002).cap is None
