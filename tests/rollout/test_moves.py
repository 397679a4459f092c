import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.errors import BadInput, Conflict, Refused
from modelkeep.nouns import Rollout
from modelkeep.rollout import begin, first, promote, roll_back, widen

MOVES = st.lists(
    st.tuples(
        st.sampled_from(["begin", "shadow", "widen", "promote", "roll_back", "roll_back_to"]),
        st.integers(1, 4),
        st.floats(0.0, 1.2),
    ),
    max_size=12,
)


def apply(rollout, move, history):
    name, number, share = move
    at = rollout.since + 1
    if name in {"begin", "shadow"}:
        mode = "canary" if name == "begin" else "shadow"
        return begin(rollout, number, mode=mode, share=share, trial="job", at=at)
    if name == "widen":
        return widen(rollout, share, at=at)
    if name == "promote":
        return promote(rollout, policy=number, at=at)
    return roll_back(rollout, number if name == "roll_back_to" else None, at=at, history=history)


@given(MOVES)
def test_whatever_is_done_one_champion_answers_and_a_challenger_lives_only_in_a_trial(moves):
    rollout = first("m", 1, policy=1, at=0.0)
    history = [rollout]
    for move in moves:
        try:
            rollout = apply(rollout, move, history)
        except Refused:
            continue
        history.append(rollout)
        assert rollout.champion is not None
        assert rollout.challenger != rollout.champion
        assert (rollout.challenger is None) == (rollout.trial is None) == (rollout.mode is None)
        assert (rollout.share > 0) == (rollout.mode == "canary")
        versions = {rollout.pick(f"key {i}")[0] for i in range(50)}
        assert versions <= {rollout.champion, rollout.challenger}


@pytest.mark.row("DEP-04")
def test_one_percent_of_keys_are_in_the_canary_and_stay_in_it():
    small = begin(first("weight", 1, policy=1, at=0.0), 2, mode="canary", share=0.01, trial="job", at=1.0)
    keys = [f"user {i}" for i in range(10_000)]
    arms = [[small.pick(key) for key in keys] for _ in range(3)]
    assert arms[0] == arms[1] == arms[2]
    share = sum(role == "canary" for _, role in arms[0]) / len(keys)
    assert 0.007 <= share <= 0.013
    wide = widen(small, 0.1, at=2.0)
    assert all(wide.pick(key) == (2, "canary") for key in keys if small.pick(key) == (2, "canary"))
    assert 0.09 <= sum(wide.pick(key)[1] == "canary" for key in keys) / len(keys) <= 0.11


def test_two_trials_draw_different_keys():
    base = first("weight", 1, policy=1, at=0.0)
    second, third = (begin(base, n, mode="canary", share=0.5, trial="job", at=1.0) for n in (2, 3))
    keys = [f"user {i}" for i in range(1000)]
    same = sum((second.pick(key)[1] == "canary") == (third.pick(key)[1] == "canary") for key in keys)
    assert 400 < same < 600


def test_a_rollback_of_a_trial_leaves_the_champion():
    trial = begin(Rollout(model="m", champion=1), 2, mode="canary", share=0.5, trial="job", at=1.0)
    assert roll_back(trial, at=2.0) == Rollout(model="m", champion=1, since=2.0)
    assert roll_back(trial, 1, at=2.0).challenger is None


@pytest.mark.row("DEP-11")
def test_rolling_back_twice_goes_back_twice_with_each_policy():
    history = [first("m", 1, policy=1, at=0.0)]
    for number in (2, 3):
        trial = begin(history[-1], number, mode="shadow", share=0.0, trial="job", at=float(number))
        history += [trial, promote(trial, policy=number, at=number + 0.5)]
    once = roll_back(history[-1], at=10.0, history=history)
    assert (once.champion, once.policy, once.previous) == (2, 2, 1)
    twice = roll_back(once, at=11.0, history=[*history, once])
    assert (twice.champion, twice.policy, twice.previous) == (1, 1, None)
    with pytest.raises(Conflict, match="no version before m@1"):
        roll_back(twice, at=12.0)
    direct = roll_back(history[-1], 1, at=10.0, history=history)
    assert (direct.champion, direct.policy) == (1, 1)


def test_impossible_moves_are_refused_by_name():
    base = Rollout(model="m", champion=1)
    trial = begin(base, 2, mode="canary", share=0.1, trial="job-7", at=1.0)
    with pytest.raises(Conflict, match=r"m@2 is on trial already \(job job-7\)"):
        begin(trial, 3, mode="shadow", share=0.0, trial="other", at=2.0)
    with pytest.raises(Conflict, match="champion already"):
        begin(base, 1, mode="shadow", share=0.0, trial="job", at=2.0)
    with pytest.raises(Conflict, match="is disabled: fire"):
        begin(Rollout(model="m", champion=1, disabled="fire"), 2, mode="shadow", share=0.0, trial="job", at=2.0)
    with pytest.raises(Conflict, match=r"10\.00% already"):
        widen(trial, 0.1, at=2.0)
    with pytest.raises(BadInput, match=r"share 1\.5"):
        widen(trial, 1.5, at=2.0)
    for move in (lambda: widen(base, 0.5, at=1.0), lambda: promote(base, policy=1, at=1.0)):
        with pytest.raises(Conflict, match="no version on trial"):
            move()
