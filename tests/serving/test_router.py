import pytest
from housing import NOW
from waiting import until

from modelkeep.errors import StoreUnavailable, TimedOut, Unavailable
from modelkeep.nouns import Rollout
from modelkeep.serving.router import AGAIN


def spoil(house, version):
    """Change one byte of the artifact on disk; answers how to put it right."""
    path = house.files.path(version.artifact)
    path.chmod(0o600)
    good = path.read_bytes()
    path.write_bytes(good[:50] + bytes([good[50] ^ 1]) + good[51:])
    return lambda: path.write_bytes(good)


def test_a_changed_artifact_is_not_loaded_and_the_last_good_version_serves(house):
    house.add("return 1.0")
    second = house.add("return 2.0", 2)
    house.put(Rollout(model="m", champion=1))
    spoil(house, second)
    house.put(Rollout(model="m", champion=2, previous=1))
    assert house.predict(1.0).predictions[0].version == 1
    assert set(house.router.failures) == {"m@2"}
    assert second.artifact[:12] in house.router.failures["m@2"]


def test_a_challenger_that_cannot_be_loaded_begins_no_trial(house):
    house.add("return 1.0")
    second = house.add("return 2.0", 2)
    spoil(house, second)
    house.put(Rollout(model="m", champion=1, challenger=2, mode="canary", share=1.0))
    (prediction,) = house.predict(1.0).predictions
    assert (prediction.version, prediction.role, prediction.error) == (1, "champion", None)
    assert "m@2" in house.router.failures


def test_a_champion_that_was_never_loaded_is_answered_by_its_fallback_and_says_why(house):
    first = house.add("return 1.0")
    house.add("return 5.0", 2)
    house.add("return 7.0", model="n")
    spoil(house, first)
    house.put(Rollout(model="n", champion=1))
    house.put(Rollout(model="m", champion=1, fallback=2))
    answer = house.predict(1.0)
    (prediction,) = answer.predictions
    assert (answer.fallback, prediction.output, prediction.role) == ("not_loaded", 5.0, "fallback")
    assert first.artifact[:12] in answer.why
    assert house.gateway.health("m").state == "unhealthy"
    assert house.predict(1.0, model="n").fallback is None


def test_a_version_that_loads_again_serves_again_without_a_restart(house):
    first = house.add("return 1.0")
    repair = spoil(house, first)
    house.put(Rollout(model="m", champion=1))
    with pytest.raises(Unavailable, match="not loaded"):
        house.predict(1.0)
    assert not house.router.poll()
    repair()
    house.clock.advance(AGAIN)
    assert house.router.poll()
    assert house.predict(1.0).predictions[0].version == 1
    assert not house.router.failures


def test_a_change_by_another_process_arrives(build):
    house, other = build(), build(spool=None)
    house.add("return 1.0")
    house.add("return 2.0", 2)
    other.put(Rollout(model="m", champion=1), refresh=False)
    assert house.router.poll()
    assert not house.router.poll()
    assert house.predict(1.0).predictions[0].version == 1
    house.router.start()
    other.put(Rollout(model="m", champion=2, previous=1), refresh=False)
    until(lambda: house.predict(1.0).predictions[0].version == 2, within=1.0)


def test_a_rollback_loads_nothing(house):
    first = house.add("return 1.0")
    house.add("return 2.0", 2)
    house.put(Rollout(model="m", champion=1))
    house.put(Rollout(model="m", champion=2, previous=1))
    spoil(house, first)
    house.put(Rollout(model="m", champion=1, previous=2))
    assert house.predict(1.0).predictions[0].version == 1
    assert not house.router.failures


def test_versions_that_nobody_names_are_let_go(house):
    for number in range(1, 5):
        house.add(f"time.sleep(0.003); return {number}.0", number)
    for number in range(1, 5):
        house.put(Rollout(model="m", champion=number, previous=number - 1 or None))
        assert house.predict(1.0).predictions[0].output == number
    assert set(house.gateway.routes["m"].loaded) == {3, 4}
    assert set(house.router.shelf.loaded) == {"m@3", "m@4"}
    assert set(house.gateway._lines._lanes) == {("m", 3), ("m", 4)}


def test_a_store_that_is_away_leaves_the_table_as_it_is(house):
    house.add("return 1.0")
    house.put(Rollout(model="m", champion=1))
    house.recorder.start()
    house.store.close()
    assert not house.router.poll()
    with pytest.raises(StoreUnavailable):
        house.router.refresh()
    assert house.predict(1.0).predictions[0].output == 1.0


def test_the_rollouts_policy_is_the_one_in_force(house):
    house.add("time.sleep(0.003); threading.Event().wait(row['x']); return 1.0")
    house.policy(number=1, limit=0.02)
    house.policy(number=2, limit=5.0)
    house.put(Rollout(model="m", champion=1, policy=1))
    with pytest.raises(TimedOut, match=r"longer than 0\.02 s"):
        house.predict(0.1)
    house.put(Rollout(model="m", champion=1, policy=2, since=NOW))
    assert house.predict(0.1).predictions[0].output == 1.0
