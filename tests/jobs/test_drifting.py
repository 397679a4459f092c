"""The watch: rot pages once, with its cause, and asks for one training; a fault of the input asks for none."""

from dataclasses import replace

import msgspec
import pytest
from test_watching import HOUR, NOW, House

from modelkeep.alerts import rules
from modelkeep.alerts.book import Book
from modelkeep.clock import ManualClock
from modelkeep.jobs import watching
from modelkeep.nouns import Outcome, Prediction, Reading

DAY = 24 * HOUR


class Fleet(House):
    """A model that is asked once a day for each of its entities and told the truth a day later."""

    columns = 1

    def day(self, day, *, entities, errors, baseline=2.0):
        at = NOW - 60 * DAY + day * DAY
        with self.store.write() as ledger:
            rows, told = [], []
            for i, key in enumerate(entities):
                self.seq += 1
                sign = (-1) ** (i + day)
                said = 10.0 + sign * baseline
                rows.append(
                    Prediction(
                        id=f"1-{self.seq}", model="m", version=1, role="champion", features={"c0": 0.0}, output=10.0,
                        at=at, target=at, seconds=0.01, key=key, references=(said, said, said, said),
                    )
                )  # fmt: skip
                error = errors(key) * (1 + 0.1 * ((i * 7 + day * 3) % 5 - 2))
                told.append(Outcome(value=10.0 + sign * error, at=at + HOUR, prediction=f"1-{self.seq}"))
            ledger.records.add(rows, ())
            ledger.records.tell(told, {})

    def live(self, days, **more):
        found = []
        for day in days:
            self.day(day, **more)
            self.clock.advance_to(NOW - 60 * DAY + (day + 0.9) * DAY)
            found.append(self.run())
            self.run(watching.deliver)
        return found


@pytest.fixture
def fleet(tmp_path):
    found = Fleet(tmp_path)
    found.clock = ManualClock(NOW - 60 * DAY)
    book = Book(rules.DEFAULT, {"kept": found.channel}, clock=found.clock)
    found.rooms = replace(found.rooms, clock=found.clock, book=book)
    yield found
    found.store.close()


OLD = [f"old {i}" for i in range(20)]
NEW = [f"new {i}" for i in range(25)]


def pages(fleet):
    return [m for m in fleet.channel.sent if m.severity in {"high", "critical"} and m.event == "open"]


def test_new_entities_that_cost_more_page_once_with_their_cause(fleet):
    fleet.live(range(30), entities=OLD, errors=lambda _: 1.0)
    assert pages(fleet) == []
    fleet.live([30], entities=OLD + NEW, errors=lambda key: 3.0 if key in NEW else 1.0, baseline=6.0)
    assert fleet.alerts(active=True)["novelty"].severity == "info"
    fleet.live(range(31, 36), entities=OLD + NEW, errors=lambda key: 3.0 if key in NEW else 1.0, baseline=6.0)
    assert fleet.readings("m@1")["novelty"].facts["first"] == NOW - 60 * DAY + 30 * DAY
    (page,) = pages(fleet)
    assert page.rule == "skill_fallen"
    assert "new entities (25 of 45 keys" in page.message
    rot = fleet.readings("m@1")["rot"]
    assert rot.facts["since"] == pytest.approx(NOW - 60 * DAY + 30 * DAY, abs=DAY)
    with fleet.store.read() as ledger:
        assert len(ledger.jobs.all(task="retrain")) == 1


def test_rot_that_no_training_mends_is_not_told_every_day(fleet):
    fleet.live(range(30), entities=OLD, errors=lambda _: 1.0)
    fleet.live(range(30, 45), entities=OLD, errors=lambda _: 3.0)
    assert 1 <= len(pages(fleet)) <= 2  # the first, and a reminder after a week
    assert fleet.alerts(active=True)["skill_fallen"].state == "open"


def test_a_harder_world_pages_nobody(fleet):
    fleet.live(range(30), entities=OLD, errors=lambda _: 1.0, baseline=2.0)
    fleet.live(range(30, 45), entities=OLD, errors=lambda _: 3.0, baseline=6.0)
    assert pages(fleet) == []
    assert fleet.alerts()["world_changed"].severity == "info"


def test_a_fault_of_the_input_that_a_probe_knows_is_repaired_not_learned(fleet):
    fleet.live(range(30), entities=OLD, errors=lambda _: 1.0)
    said = Reading(
        name="scale", subject="m", value=1.0, level="warning", at=fleet.clock.now(), detail="the coin is another one",
        facts={"explains": "rot", "cause": "scale: the reference object is another one"},
    )  # fmt: skip
    with fleet.store.write() as ledger:
        ledger.readings.add([said])
    fleet.live(range(30, 36), entities=OLD, errors=lambda _: 3.0)
    (page,) = pages(fleet)
    assert page.rule == "input_at_fault"
    assert "cause: scale: the reference object is another one" in page.message
    with fleet.store.read() as ledger:
        assert ledger.jobs.all(task="retrain") == []


def test_what_is_heavy_is_done_once_an_hour_and_a_restart_changes_nothing(fleet):
    fleet.live(range(40), entities=OLD, errors=lambda _: 1.0)
    before = fleet.readings("m@1")["rot"]
    fleet.clock.advance(60.0)
    fleet.run()
    after = fleet.readings("m@1")["rot"]
    assert msgspec.structs.replace(after, at=before.at) == before
    fleet.clock.advance(2 * HOUR)
    fleet.run()
    assert fleet.readings("m@1")["rot"].value == pytest.approx(before.value)
