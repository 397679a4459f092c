"""Which models are in memory: before anybody asks, at the first question, at most so many, and gone for good."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from modelkeep.errors import BadArtifact, BadSettings, Unavailable
from modelkeep.nouns import Rollout
from modelkeep.serving.router import Router
from modelkeep.serving.shelf import Keeping


@pytest.fixture
def crowd(house):
    """A house of twelve models ``demand/1`` .. with a router of one's own keeping."""

    def build(count: int = 12, **keeping):
        for number in range(1, count + 1):
            house.add(f"return {number}.0", 1, model=f"demand/{number}")
            house.put(Rollout(model=f"demand/{number}", champion=1), refresh=False)
        house.router = Router(
            house.store, house.files, gateway=house.gateway, clock=house.clock, keeping=Keeping(**keeping)
        )
        house.router.refresh()
        return house

    return build


def here(house) -> set[str]:
    return {held.model for held in house.router.shelf.held()}


def test_nothing_is_loaded_before_it_is_asked_for_and_the_log_says_how_long_it_took(crowd, caplog):
    house = crowd(preload="none")
    assert here(house) == set()
    with caplog.at_level(logging.INFO):
        assert house.predict(1.0, model="demand/7").predictions[0].output == 7.0
    told = [record for record in caplog.records if record.message == "model_loaded"]
    assert [record.model_name for record in told] == ["demand/7"]
    assert told[0].load_ms > 0
    assert (told[0].why, told[0].runner) == ("use", "library")
    assert here(house) == {"demand/7"}
    caplog.clear()
    house.predict(2.0, model="demand/7")
    assert "model_loaded" not in caplog.text


def test_the_most_used_of_the_last_week_are_loaded_at_the_start(crowd, build):
    house = crowd(preload="all")
    house.recorder.start()
    for number in range(1, 13):
        house.predict(*[1.0] * number, model=f"demand/{number}")
    house.clock.advance(86_400.0)
    house.predict(*[1.0] * 30, model="demand/1")
    house.recorder.flush()
    fresh = Router(house.store, house.files, gateway=house.gateway, clock=house.clock, keeping=Keeping(preload="top10"))
    fresh.refresh()
    assert {held.model for held in fresh.shelf.held()} == {"demand/1", *(f"demand/{n}" for n in range(4, 13))}
    assert house.gateway.routes["demand/2"].asleep == {1}
    house.clock.advance(9 * 86_400.0)
    house.predict(1.0, model="demand/3")
    house.recorder.flush()
    last = Router(house.store, house.files, gateway=house.gateway, clock=house.clock, keeping=Keeping(preload="top1"))
    last.refresh()
    assert {held.model for held in last.shelf.held()} == {"demand/3"}


@pytest.mark.row("SRV-07")
def test_the_eleventh_model_takes_the_place_of_the_one_asked_longest_ago(crowd):
    house = crowd(preload="none", limit=10)
    for number in range(1, 11):
        house.clock.advance(1.0)
        house.predict(1.0, model=f"demand/{number}")
    house.clock.advance(1.0)
    house.predict(1.0, model="demand/1")  # asked again: now the second is the oldest
    house.clock.advance(1.0)
    house.predict(1.0, model="demand/11")
    assert here(house) == {f"demand/{number}" for number in (1, *range(3, 12))}
    assert house.predict(1.0, model="demand/2").predictions[0].output == 2.0


def test_what_nobody_asks_for_leaves_memory_and_comes_back(crowd):
    house = crowd(3, preload="all", idle=3600.0)
    house.clock.advance(3000.0)
    house.predict(1.0, model="demand/2")
    house.router.poll()
    assert here(house) == {"demand/1", "demand/2", "demand/3"}
    house.clock.advance(1000.0)
    house.router.poll()
    assert here(house) == {"demand/2"}
    assert set(house.router.shelf.loaded) == {"demand/2@1"}
    assert house.predict(1.0, model="demand/3").predictions[0].output == 3.0


def test_a_changed_rollout_wakes_its_model_and_a_refresh_wakes_no_other(crowd):
    house = crowd(4, preload="none")
    house.add("return 20.0", 2, model="demand/2")
    house.put(Rollout(model="demand/2", champion=2, previous=1))
    assert here(house) == {"demand/2"}
    assert set(house.gateway.routes["demand/2"].loaded) == {1, 2}
    assert house.predict(1.0, model="demand/2").predictions[0].version == 2


def test_a_sleeping_model_that_cannot_be_loaded_says_so_and_is_tried_again(crowd):
    house = crowd(2, preload="none")
    path = house.files.path(house.files.put(b"x"))
    with house.store.read() as ledger:
        artifact = ledger.versions.get("demand/1", 1).artifact
    good = house.files.path(artifact)
    kept = good.read_bytes()
    good.chmod(0o600)
    good.write_bytes(b"spoilt")
    with pytest.raises(Unavailable, match=r"not loaded"):
        house.predict(1.0, model="demand/1")
    assert "demand/1@1" in house.router.failures
    good.write_bytes(kept)
    house.clock.advance(61.0)
    house.router.poll()
    assert house.predict(1.0, model="demand/1").predictions[0].output == 1.0
    assert path.exists()


def test_the_same_file_is_one_model_in_memory(house):
    for number in range(1, 4):
        house.add("return 5.0", 1, model=f"shop/{number}")
        house.put(Rollout(model=f"shop/{number}", champion=1), refresh=False)
    house.router.refresh()
    assert len(house.router.shelf.loaded) == 3
    assert len(house.router.shelf._shared) == 1
    assert house.predict(1.0, model="shop/3").predictions[0].output == 5.0


@pytest.mark.parametrize("written", ["top", "top0", "ten", "TOP10"])
def test_a_preload_that_is_none_is_refused(written):
    with pytest.raises(BadSettings, match="preload"):
        Keeping(preload=written).first()


@pytest.mark.prove
@pytest.mark.timeout(900)
def test_five_hundred_models_of_one_entity_each_stay_below_two_gigabytes():
    script = Path(__file__).parents[2] / "benchmarks" / "serving" / "many_models.py"
    said = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, timeout=900).stdout
    print(said)
    found = [float(mb) for mb in re.findall(r"-> +(\d+) MB ->", said)]
    assert len(found) == 3
    assert max(found) < 2000


def test_a_look_beside_serving_is_taken_where_the_version_would_run(crowd):
    """What holds too much, or takes its process along, does so to nobody else; nothing of it stays."""
    house = crowd(1, isolate=True, preload="none")
    shelf = house.router.shelf
    alone = house.add("return float(__import__('os').getpid())", 2, model="demand/1")
    dies = house.add("return 1.0 if row['x'] else __import__('os')._exit(3)", 3, model="never released")
    with shelf.aside(alone) as loaded:
        assert loaded.predict([{"x": 1.0}]).values != [float(os.getpid())]
        assert not shelf.loaded
    with pytest.raises(BadArtifact, match="exit code 3"), shelf.aside(dies):
        pass
    assert not shelf.ends()
