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
