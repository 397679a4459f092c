"""What the drift signals read from the store is what was told to it."""

import pytest
from making import HOUR, prediction, told
from migrated import ready

from modelkeep.profile import Life, Slice
from modelkeep.store.sqlite import SqliteStore

NAMES = ("persistence", "same_period", "ewma", "seasonal")


@pytest.fixture
def store(tmp_path):
    found = SqliteStore(ready(tmp_path / "m.db"))
    yield found
    found.close()


def test_a_life_is_the_sum_of_its_slices(store):
    with store.write() as ledger:
        rows = [prediction(n, at=n * 900.0, target=n * 900.0, references=(1.0, None, 2.5, 4.0)) for n in range(1, 20)]
        rows.append(prediction(40, at=900.0, target=900.0, role="canary", references=(1.0, 1.0, 1.0)))
        ledger.records.add(rows, ())
        ledger.records.tell([told(n, n + 0.5) for n in (*range(1, 18), 40)], {})
    with store.read() as ledger:
        life = ledger.records.life("demand", 1, roles=("champion",), names=NAMES, start=0.0, end=1e9)
        slices = ledger.records.slices("demand", 1, role="champion", start=0.0, end=1e9)
        both = ledger.records.life("demand", 1, roles=("champion", "canary"), names=NAMES, start=0.0, end=1e9)
    same = Life.of([Slice(start=s.start, profile=s.profile) for s in slices], NAMES)
    assert (life.hours == same.hours).all()
    assert life.sums == pytest.approx(same.sums)
    assert both.sums[0, 0, 0] == life.sums[0, 0, 0] + 1
    assert both.sums[0, 1, 0] == life.sums[0, 1, 0] + 1  # three answers of old are the first three baselines


def test_when_outcomes_come_and_when_the_first_came(store):
    with store.write() as ledger:
        assert ledger.records.first("demand") is None
        assert ledger.records.lag("demand") == 0.0
        ledger.records.add([prediction(n, at=n * HOUR, target=n * HOUR) for n in range(1, 11)], ())
        ledger.records.tell([told(n, 1.0, at=n * HOUR + 100.0 * n) for n in range(1, 11)], {})
        assert ledger.records.first("demand") == (HOUR, {"model": 1.0})
        assert ledger.records.lag("demand", share=0.5) == pytest.approx(550.0)
        assert ledger.records.lag("demand", share=1.0) == pytest.approx(1000.0)


def test_newcomers_are_keys_that_nobody_asked_about(store):
    with store.write() as ledger:
        old = [prediction(n, at=float(n), target=float(n), key=f"k{n % 5}") for n in range(1, 301)]
        new = [prediction(300 + n, at=1e6 + n, target=1e6 + n, key=f"k{n % 8}") for n in range(1, 17)]
        ledger.records.add(old, ())
        assert ledger.records.newcomers("demand", start=1e6) == ({}, 0, 0)
        ledger.records.add(new, ())
        fresh, keys, asked = ledger.records.newcomers("demand", start=1e6)
        assert (sorted(fresh), keys, asked) == (["k5", "k6", "k7"], 8, 6)
        assert fresh["k5"] == 1e6 + 5
        assert ledger.records.first_targets("demand", ["k1", "k5", "none"]) == {"k1": 1.0, "k5": 1e6 + 5}


def test_keys_that_never_come_back_are_not_news(store):
    with store.write() as ledger:
        ledger.records.add([prediction(n, at=float(n), target=float(n), key=f"photo {n}") for n in range(1, 301)], ())
        ledger.records.add([prediction(n, at=1e6 + n, target=1e6 + n, key=f"photo {n}") for n in range(301, 331)], ())
        assert ledger.records.newcomers("demand", start=1e6) == ({}, 0, 0)
