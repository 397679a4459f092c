"""Two processes record into one store: what one is told, the baselines of both know."""

from housing import NOW, House

from modelkeep.nouns import Outcome
from modelkeep.serving import keeper
from modelkeep.watch.baselines import EVERYONE


def test_baselines_learn_from_the_outcomes_of_both(tmp_path, monkeypatch):
    monkeypatch.setattr(keeper, "LOOK", 0.0)
    shared = _made(tmp_path / "shared")
    one, two = House(shared, spool=tmp_path / "one"), House(shared, spool=tmp_path / "two")
    alone = House(_made(tmp_path / "alone"))
    for house in (one, alone):
        house.add("return 1.0")
    for house in (one, two, alone):
        house.recorder.attend("m")
    for n, (house, key, value) in enumerate([(one, "k", 5.0), (two, "j", 7.0), (two, "k", 6.0), (one, "j", 9.0)]):
        for each in (house, alone):
            each.recorder.tell([_outcome(key, value, hour=n)]).result(10)
    with one.store.read() as ledger, alone.store.read() as expected:
        assert ledger.records.memory("m") == expected.records.memory("m"), "no state was written over by an older one"
        assert EVERYONE in ledger.records.memory("m")
    two.recorder.tell([_outcome("x", 1.0, hour=9)]).result(10)
    for key in ("k", "j"):
        assert two.recorder.estimate("m", key, target=NOW) == alone.recorder.estimate("m", key, target=NOW)
    for house in (one, two, alone):
        house.close()


def test_collection_that_one_switches_is_switched_in_both_and_what_is_said_last_holds(tmp_path):
    shared = _made(tmp_path / "shared")
    one, two = House(shared, spool=tmp_path / "one"), House(shared, spool=tmp_path / "two")
    for house in (one, two):
        house.recorder.start()
        house.router.beside = house.recorder.look
    for on, (here, there) in ((False, (one, two)), (True, (two, one)), (False, (two, one)), (True, (two, one))):
        assert here.recorder.switch(on=on)
        assert there.recorder.enabled is not on
        there.router.poll()
        here.router.poll()
        assert [house.recorder.enabled for house in (one, two)] == [on, on]
    with one.store.write():  # what is said while the store takes nothing is newer than what the store says
        assert not two.recorder.switch(on=False)
        two.router.poll()
        assert not two.recorder.enabled
    two.router.poll()  # it is told as soon as that can be
    one.router.poll()
    assert not one.recorder.enabled
    for house in (one, two):
        house.close()


def test_baselines_that_nobody_knows_are_not_looked_for_with_every_record(tmp_path):
    house = House(tmp_path)
    for _ in range(50):
        assert house.recorder._keeper._attended("nobody") is None
    assert [one.calls for one in house.store.slowest(100) if "FROM versions" in one.statement] == [1]
    house.close()


def _made(folder):
    folder.mkdir()
    return folder


def _outcome(key, value, *, hour):
    return Outcome(value=value, at=NOW, model="m", key=key, target=NOW - 3600.0 * (20 - hour))
