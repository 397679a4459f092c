"""``modelkeep check performance``: a line for each floor that is missed, and a finding."""

import pytest
from migrated import ready

from modelkeep import settings
from modelkeep.alerts import rules
from modelkeep.alerts.telling import told
from modelkeep.app import App
from modelkeep.errors import NotFound
from modelkeep.jobs.registering import Registration, register
from modelkeep.nouns import Field, Policy, Reading, Rollout, Signature
from modelkeep.operations import named
from modelkeep.operations.checking import CheckPerformance, check_performance

FLOORS = {"accuracy": 0.7, "precision": 0.5, "recall": 0.5, "f1": 0.6}


@pytest.fixture
def app(tmp_path):
    signature = Signature(
        inputs=(Field(name="x", kind="number"),), output=Field(name="y", kind="category", categories=("no", "yes"))
    )
    ready(tmp_path / "data" / "modelkeep.db")
    with App.open(settings.load(folder=tmp_path / "data", environ={})) as found:
        file = tmp_path / "m.py"
        file.write_text("def predict(row):\n    return 'yes'\n")
        register(found.rooms, Registration(model="failures", path=file, trust=True, signature=signature))
        with found.rooms.store.write() as ledger:
            ledger.versions.add_policy(Policy(model="failures", number=2, targets=FLOORS))
            ledger.rollouts.put(Rollout(model="failures", champion=1, policy=2), None)
        yield found


def measure(app, **values):
    with app.rooms.store.write() as ledger:
        ledger.readings.add(
            [Reading(name=n, subject="failures@1", value=v, level="ok", at=1.0, n=100) for n, v in values.items()]
        )


@pytest.mark.row("QUA-10")
def test_each_floor_that_is_missed_has_a_line_of_its_own(app):
    measure(app, accuracy=0.69, precision=0.4, recall=0.5, f1=0.61)
    found = check_performance(app, CheckPerformance())
    assert found.alerts == (
        "ALERT: Model accuracy (0.69) below threshold (0.7)",
        "ALERT: Model precision (0.40) below threshold (0.5)",
    )
    assert len(found.met) == 2
    finding = named("check_performance").finding(found)
    assert finding.splitlines() == list(found.alerts)


def test_what_was_not_measured_is_unknown_and_what_is_met_is_no_finding(app):
    measure(app, accuracy=0.7, precision=0.5)
    found = check_performance(app, CheckPerformance(model="failures"))
    assert found.alerts == ()
    assert len(found.unknown) == 2
    assert named("check_performance").finding(found) == ""
    with pytest.raises(NotFound):
        check_performance(app, CheckPerformance(model="nothing"))


@pytest.mark.row("QUA-10")
@pytest.mark.parametrize("name", ["accuracy", "precision", "recall", "f1"])
def test_the_alert_says_the_same(name):
    rule = next(rule for rule in rules.DEFAULT if rule.name == f"{name}_below")
    reading = Reading(
        name=name, subject="m@1", value=0.69, level="critical", at=1.0, facts={"target": FLOORS[name]}, n=100
    )
    said = told(rule, reading, opened=1.0, causes=())
    what = "F1" if name == "f1" else name
    assert said == f"ALERT: Model {what} (0.69) below threshold ({FLOORS[name]:g})"
