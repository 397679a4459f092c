import asyncio
import threading

import pytest
from housing import CLASS, NOW, until

from modelkeep.errors import BadFeatures, BadInput, ModelFailed, NotFound, Overloaded, TimedOut, Unavailable
from modelkeep.nouns import Rollout

CHAMPION = "return row['x'] * 2"
FAILS = "raise RuntimeError('no luck')"
SLOW = "time.sleep(0.003); return row['x'] * 2"
HANGS = "time.sleep(0.003); threading.Event().wait(60 if row['x'] < 0 else 0); return row['x'] * 3"


@pytest.mark.row("SRV-01")
def test_a_request_gets_the_champions_answer_and_it_is_recorded(house):
    house.add(CHAMPION)
    house.put(Rollout(model="m", champion=1))
    first, second = house.predict(4.0, keys=["a"]), house.predict(4.0, keys=["a"])
    (prediction,) = first.predictions
    assert (prediction.output, prediction.version, prediction.role) == (8.0, 1, "champion")
    assert second.predictions[0].output == 8.0
    assert second.predictions[0].id != prediction.id
    assert first.fallback is None
    house.flush()
    kept = house.recorded(prediction.id)
    assert (kept.features, kept.output, kept.key, kept.at) == ({"x": 4.0}, 8.0, "a", NOW)


@pytest.mark.row("SRV-01")
def test_an_unknown_model_is_refused_naming_those_that_exist(house):
    house.add(CHAMPION)
    house.put(Rollout(model="m", champion=1))
    with pytest.raises(NotFound, match="known: m"):
        house.predict(1.0, model="mm")


@pytest.mark.row("SRV-15")
def test_the_request_id_is_in_the_record(house):
    house.add(CHAMPION)
    house.put(Rollout(model="m", champion=1))
    (prediction,) = house.predict(1.0, request="abc").predictions
    house.flush()
    assert house.recorded(prediction.id).request == "abc"


@pytest.mark.parametrize(
    ("row", "field", "expected", "got"),
    [
        ({}, "x", "number -1000..1000", "nothing"),
        ({"x": "7"}, "x", "number -1000..1000", "str '7'"),
        ({"x": True}, "x", "number -1000..1000", "True"),
        ({"x": float("nan")}, "x", "number -1000..1000", "nan"),
        ({"x": float("inf")}, "x", "number -1000..1000", "inf"),
        ({"x": 1001.0}, "x", "number -1000..1000", "1001.0"),
        ({"x": None}, "x", "number -1000..1000", "null"),
        ({"x": 10**400}, "x", "number -1000..1000", "a whole number of 1329 bits"),
        ({"x": 1.0, "z": 2}, "z", "no such field", "2"),
    ],
)
def test_bad_features_are_named_and_nothing_is_recorded(house, row, field, expected, got):
    house.add(CHAMPION)
    house.put(Rollout(model="m", champion=1))
    with pytest.raises(BadFeatures) as refused:
        house.predict(1.0, row)
    (problem,) = refused.value.problems
    assert (problem.row, problem.field, problem.expected, problem.got) == (1, field, expected, got)
    with pytest.raises(BadFeatures):
        house.predict(row)
    house.recorder.close()
    with house.store.read() as ledger:
        assert ledger.records.counts("m")[0] == 0


def test_an_empty_batch_is_refused(house):
    house.add(CHAMPION)
    house.put(Rollout(model="m", champion=1))
    with pytest.raises(BadInput, match="at least one"):
        house.predict()


@pytest.mark.row("SRV-04")
def test_a_batch_is_answered_in_order_by_one_call(house):
    house.add("return [r['x'] + 1000 * (len(rows) == 1000) for r in rows]", batch=True)
    house.put(Rollout(model="m", champion=1))
    answer = house.predict(*[i / 2 for i in range(1000)], keys=[f"k{i}" for i in range(1000)])
    assert [p.output for p in answer.predictions] == [1000 + i / 2 for i in range(1000)]
    assert len({p.id for p in answer.predictions}) == 1000
    assert [p.key for p in answer.predictions[:2]] == ["k0", "k1"]


def test_a_row_that_breaks_the_model_harms_no_other_row(house):
    house.add("return [1 / r['x'] for r in rows]", batch=True)
    house.put(Rollout(model="m", champion=1))
    house.tell("", 7.0)
    xs = [1.0, 2.0, 0.0, 4.0, 0.0, 5.0]
    answer = house.predict(*xs)
    assert [p.output for p in answer.predictions] == [1.0, 0.5, 7.0, 0.25, 7.0, 0.2]
    assert [p.stand_in for p in answer.predictions] == [None, None, 0, None, 0, None]
    assert answer.predictions[2].error.startswith("failed: m@1 failed: ZeroDivisionError")


def test_a_canary_that_raises_is_answered_by_the_champion(house):
    house.add(CHAMPION)
    house.add(FAILS, 2)
    house.put(Rollout(model="m", champion=1, challenger=2, mode="canary", share=1.0))
    answer = house.predict(3.0)
    (prediction,) = answer.predictions
    assert (prediction.version, prediction.role, prediction.output, prediction.stand_in) == (2, "canary", 6.0, 1)
    assert "no luck" in prediction.error
    assert answer.fallback is None
    assert house.gateway.counters.errors["m", 2, "failed"] == 1
    house.flush()
    assert house.recorded(prediction.id).stand_in == 1


def test_in_a_batch_only_the_canarys_rows_are_answered_by_it(house):
    house.add("return [1.0 for r in rows]", batch=True)
    house.add("return [2.0 for r in rows]", 2, batch=True)
    house.put(Rollout(model="m", champion=1, challenger=2, mode="canary", share=0.5))
    keys = [f"k{i}" for i in range(200)]
    answer = house.predict(*[1.0] * 200, keys=keys)
    rollout = house.gateway.routes["m"].rollout
    assert [p.output for p in answer.predictions] == [float(rollout.pick(key)[0]) for key in keys]
    assert {p.role for p in answer.predictions} == {"champion", "canary"}


@pytest.mark.row("DEP-04")
def test_a_canary_is_a_stable_share_of_keys(house):
    house.add("return [1.0 for r in rows]", batch=True)
    house.add("return [2.0 for r in rows]", 2, batch=True)
    house.put(Rollout(model="m", champion=1, challenger=2, mode="canary", share=0.01))
    keys = [f"user {i}" for i in range(10_000)]
    rounds = [house.predict(*[1.0] * 10_000, keys=keys, request=f"r{i}").predictions for i in range(3)]
    drawn = [{p.key for p in answered if p.version == 2} for answered in rounds]
    assert 70 <= len(drawn[0]) <= 130
    assert drawn[0] == drawn[1] == drawn[2]


@pytest.mark.row("SRV-09")
def test_a_champion_that_raises_is_answered_by_the_fallback_version(house):
    house.add(FAILS)
    house.add("return 5.0", 2)
    house.put(Rollout(model="m", champion=1, fallback=2))
    answer = house.predict(1.0)
    (prediction,) = answer.predictions
    assert (answer.fallback, prediction.output, prediction.stand_in, prediction.version) == ("failed", 5.0, 2, 1)
    assert house.gateway.counters.fallbacks["m", "failed"] == 1


@pytest.mark.row("SRV-09")
def test_without_a_fallback_version_the_automatic_baseline_of_the_key_answers(house):
    house.add(FAILS)
    house.put(Rollout(model="m", champion=1))
    house.tell("stop", 10.0, 20.0)
    house.tell("other", 100.0)
    (prediction,) = house.predict(1.0, keys=["stop"]).predictions
    assert (prediction.output, prediction.stand_in) == (11.0, 0)
    house.flush()
    assert house.recorded(prediction.id).references == (20.0, None, 11.0, 11.0)


@pytest.mark.row("SRV-09")
def test_a_disabled_model_is_answered_by_its_heuristic_and_counted(house):
    house.add(CHAMPION)
    house.put(Rollout(model="m", champion=1, disabled="bad sensor"))
    house.tell("", 9.0)
    answer = house.predict(1.0)
    assert (answer.fallback, answer.why, answer.predictions[0].output) == ("disabled", "bad sensor", 9.0)
    assert answer.predictions[0].role == "fallback"
    assert house.gateway.counters.fallbacks == {("m", "disabled"): 1}
    assert house.gateway.health("m").state == "disabled"


def test_a_class_models_baseline_is_the_most_frequent_class(house):
    house.add(FAILS, signature=CLASS)
    house.put(Rollout(model="m", champion=1))
    house.tell("k", "yes", "yes", "no")
    (prediction,) = house.predict(1.0, keys=["k"]).predictions
    assert (prediction.output, prediction.stand_in) == ("yes", 0)
    house.flush()
    assert house.recorded(prediction.id).references == ("no", "yes")


def test_when_nobody_can_answer_the_error_says_why_and_the_failure_is_recorded(house):
    house.add(FAILS)
    house.put(Rollout(model="m", champion=1))
    with pytest.raises(ModelFailed, match="no luck"):
        house.predict(1.0)
    house.put(Rollout(model="m", champion=1, disabled="by hand"))
    with pytest.raises(Unavailable, match="disabled: by hand"):
        house.predict(1.0)
    house.flush()
    with house.store.read() as ledger:
        newest, first = ledger.records.latest("m")
    assert (first.output, first.stand_in, first.role) == (None, None, "champion")
    assert (newest.error, newest.role) == ("disabled: by hand", "fallback")


def test_an_answer_that_its_signature_forbids_is_a_failure(house):
    house.add("return float('nan') if row['x'] > 0 else 0.0")
    house.put(Rollout(model="m", champion=1))
    house.tell("", 4.0)
    answer = house.predict(1.0)
    assert (answer.fallback, answer.predictions[0].output) == ("failed", 4.0)


def test_a_champion_that_is_too_slow_is_answered_by_another_within_the_limit(house):
    house.policy(limit=0.05)
    house.add(HANGS)
    house.add("return 5.0", 2)
    house.put(Rollout(model="m", champion=1, fallback=2))
    answer = house.predict(-1.0)
    assert (answer.fallback, answer.predictions[0].output) == ("timeout", 5.0)
    assert "longer than 0.05 s" in answer.why


def test_a_model_that_hangs_is_refused_at_once_when_its_lane_is_full_and_slows_nobody(house):
    house.policy(limit=0.02)
    house.add(HANGS)
    house.add("return 1.0", model="other")
    house.put(Rollout(model="m", champion=1))
    house.put(Rollout(model="other", champion=1))

    async def flood():
        asks = [house.gateway.predict(house.ask(-1.0)) for _ in range(300)]
        found = asyncio.gather(*asks, return_exceptions=True)
        other = await house.gateway.predict(house.ask(1.0, model="other"))
        return other, await found

    other, found = asyncio.run(flood())
    assert other.predictions[0].output == 1.0
    assert {type(fault) for fault in found} == {TimedOut, Overloaded}
    assert sum(isinstance(fault, TimedOut) for fault in found) < 20


@pytest.mark.row("SRV-14")
def test_open_requests_are_counted_at_every_moment(house):
    house.add("time.sleep(0.003); threading.Event().wait(0.05 if row['x'] else 0); return 0.0")
    house.put(Rollout(model="m", champion=1))

    async def five():
        asks = [asyncio.ensure_future(house.gateway.predict(house.ask(1.0))) for _ in range(5)]
        await asyncio.sleep(0)
        held = house.gateway.counters.open
        await asyncio.gather(*asks)
        return held

    assert asyncio.run(five()) == 5
    assert house.gateway.counters.open == 0


def test_a_slow_model_does_not_hold_the_event_loop(house):
    house.add("time.sleep(0.003); threading.Event().wait(0.2 if row['x'] else 0); return 0.0")
    house.put(Rollout(model="m", champion=1))

    async def both():
        slow = asyncio.ensure_future(house.gateway.predict(house.ask(1.0)))
        turns = 0
        while not slow.done():
            await asyncio.sleep(0.001)
            turns += 1
        return turns

    assert asyncio.run(both()) > 10


def test_a_shadow_runs_after_the_answer_and_is_recorded_beside_it(house):
    house.add(CHAMPION)
    house.add("return row['x'] * 7", 2)
    house.put(Rollout(model="m", champion=1, challenger=2, mode="shadow"))

    async def ask():
        answer = await house.gateway.predict(house.ask(2.0, 3.0, keys=["a", "b"], request="q"))
        return answer, house.gateway.counters.predictions["m", 2, "shadow"]

    answer, ran_before_the_answer = asyncio.run(ask())
    assert ran_before_the_answer == 0
    assert [p.output for p in answer.predictions] == [4.0, 6.0]
    until(lambda: house.gateway.counters.predictions["m", 2, "shadow"] == 2)
    house.flush()
    with house.store.read() as ledger:
        shadows = [p for p in ledger.records.latest("m") if p.role == "shadow"]
    assert {(s.of, s.output, s.version, s.key, s.request) for s in shadows} == {
        (answer.predictions[0].id, 14.0, 2, "a", "q"),
        (answer.predictions[1].id, 21.0, 2, "b", "q"),
    }


def test_a_shadow_that_lags_is_dropped_and_counted_and_its_failures_are_recorded(house):
    house.add(CHAMPION)
    house.add("threading.Event().wait(60 if row['x'] == 9 else 0); return 1 / row['x']", 2)
    house.put(Rollout(model="m", champion=1, challenger=2, mode="shadow"))
    house.predict(0.0)
    until(lambda: house.gateway.counters.predictions["m", 2, "shadow"] == 1)
    for _ in range(300):
        assert house.predict(9.0).predictions[0].output == 18.0
    assert house.gateway.counters.shadows_dropped["m"] == 300 - 257
    house.flush()
    with house.store.read() as ledger:
        (shadow,) = [p for p in ledger.records.latest("m", limit=1000) if p.role == "shadow"]
    assert (shadow.output, shadow.stand_in) == (None, None)
    assert "ZeroDivisionError" in shadow.error


@pytest.mark.row("REG-03", "DEP-12")
def test_a_promotion_under_load_fails_no_request_and_leaves_no_old_answer_behind(house):
    house.add("return 1.0")
    house.add("return 2.0", 2)
    house.put(Rollout(model="m", champion=1))
    switched = threading.Event()

    def promote():
        house.put(Rollout(model="m", champion=2, previous=1))
        switched.set()

    async def load():
        found, worker = [], threading.Thread(target=promote)
        while len(found) < 100_000:
            if len(found) == 200:
                worker.start()
            after = switched.is_set()
            (prediction,) = (await house.gateway.predict(house.ask(1.0))).predictions
            found.append((after, prediction.version, prediction.output, prediction.error))
            if after and sum(late for late, *_ in found[-200:]) == 200:
                break
            await asyncio.sleep(0)
        worker.join()
        return found

    found = asyncio.run(load())
    assert {version for _, version, _, _ in found} == {1, 2}
    assert all(output == version and error is None for _, version, output, error in found)
    assert {version for after, version, _, _ in found if after} == {2}
    house.flush()
    with house.store.read() as ledger:
        assert ledger.records.counts("m")[0] == len(found)


def test_the_state_of_a_model_is_known(house):
    assert house.gateway.health("m").state == "loading"
    house.policy(limit=0.006)
    house.add("return 1 / row['x']")
    house.add(SLOW, model="slow")
    house.put(Rollout(model="m", champion=1))
    house.put(Rollout(model="slow", champion=1))
    house.predict(1.0)
    health = house.gateway.health("m")
    assert (health.state, health.error_rate) == ("ready", 0.0)
    assert 0 < health.average_seconds < 0.1
    house.tell("", 1.0)
    for _ in range(30):
        house.predict(0.0)
    assert house.gateway.health("m").state == "unhealthy"
