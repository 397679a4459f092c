"""What workloads keep of people beside predictions is shown to them, and goes with them."""

import pytest
from migrated import ready

from modelkeep import settings
from modelkeep.app import App
from modelkeep.nouns import EXTERNAL, Field, Prediction, Signature, Version
from modelkeep.operations.complying import evidence
from modelkeep.operations.erasing import ErasePerson, ExportPerson, erase_person, export_person
from modelkeep.workloads.devices import keeping as devices
from modelkeep.workloads.restaurants import keeping as restaurants
from modelkeep.workloads.restaurants import telling
from modelkeep.workloads.restaurants.recipes import CHURN

ANNA, PLACE = "customer-anna-31", "bistro"


@pytest.fixture
def app(tmp_path):
    ready(tmp_path / "data" / "modelkeep.db")
    with App.open(settings.load(folder=tmp_path / "data", environ={})) as app:
        yield app


def bought(app, customer, where=PLACE):
    row = {"restaurant": [where], "customer": [customer], "purchase": ["p1"], "moment": [1e9], "amount": [12.5]}
    restaurants.dataset(app.rooms, "purchases").append(row)


def predicted(app, model, key):
    signature = Signature(inputs=(Field(name="x", kind="number"),), output=Field(name="y", kind="number"))
    with app.rooms.store.write() as ledger:
        if model not in ledger.versions.models():
            ledger.versions.add(
                Version(model=model, number=1, artifact="", size=0, runtime=EXTERNAL, signature=signature, created=1.0)
            )
    (one,) = app.rooms.recorder.new_ids(1)
    app.rooms.recorder.take(
        [
            Prediction(
                id=one, model=model, version=1, role="champion", features={"x": 1.0}, output=1.0, at=1e9, target=1e9,
                seconds=0.1, key=key,
            )
        ]
    )  # fmt: skip
    app.rooms.recorder.flush()
    return one


def recorded(app, one):
    with app.rooms.store.read() as ledger:
        return ledger.records.prediction(one) is not None


def holding(app, text):
    return [p.name for p in app.rooms.folder.rglob("*") if p.is_file() and text.encode() in p.read_bytes()]


@pytest.mark.row("PRV-06", "PRV-07")
def test_a_customers_purchases_and_predictions_are_shown_and_go(app):
    for who in (ANNA, "customer-bert-32"):
        bought(app, who)
    mine = predicted(app, CHURN, f"{PLACE}/{ANNA}")
    other = predicted(app, CHURN, f"{PLACE}/customer-bert-32")
    telling.remembered(app.rooms).append(
        {
            "model": [CHURN, CHURN], "place": [1, 2], "prediction": [mine, other], "target": [1e9, 1e9],
            "key": [f"{PLACE}/{ANNA}", f"{PLACE}/customer-bert-32"], "told": [0, 0],
        }
    )  # fmt: skip
    held = export_person(app, ExportPerson(subject=ANNA))
    assert [row["amount"] for row in held.rows["restaurants.purchases"]] == [12.5]
    assert [row["prediction"] for row in held.rows["restaurants.asked"]] == [mine]
    assert [one.prediction_id for one in held.predictions] == [mine]
    gone = erase_person(app, ErasePerson(subject=ANNA))
    assert (gone.state, gone.remains) == ("done", {})
    places = ("restaurants.purchases", "restaurants.asked", "predictions")
    assert [gone.counts[place] for place in places] == [1, 1, 1]
    assert holding(app, ANNA) == []
    assert (recorded(app, mine), recorded(app, other)) == (False, True)
    assert restaurants.dataset(app.rooms, "purchases").read()["customer"] == ["customer-bert-32"]


def test_a_bare_number_is_many_people_and_one_with_its_restaurant_is_one(app):
    for where in ("1", "2"):
        bought(app, "17", where)
    assert export_person(app, ExportPerson(subject="17")).rows == {}
    assert len(export_person(app, ExportPerson(subject="1/17")).rows["restaurants.purchases"]) == 1
    erase_person(app, ErasePerson(subject="1/17"))
    assert restaurants.dataset(app.rooms, "purchases").read()["restaurant"] == ["2"]


@pytest.mark.row("PRV-06", "PRV-07")
def test_what_a_device_of_a_home_said_is_shown_and_goes(app):
    mine, other = "anna-bedroom-sensor", "berts-heater"
    for device in (mine, other):
        row = {"at": [1e9], "device_id": [device], "metric": ["battery"], "value": [50.0], "why": [None]}
        devices.dataset(app.rooms, "readings").append(row)
    devices.fail(app.rooms, mine, at=1e9 + 5)
    asked = predicted(app, devices.MODEL, mine)
    held = export_person(app, ExportPerson(subject=mine))
    assert {place: len(rows) for place, rows in held.rows.items()} == {"devices.readings": 1, "devices.failures": 1}
    assert [one.prediction_id for one in held.predictions] == [asked]
    gone = erase_person(app, ErasePerson(subject=mine))
    assert (gone.counts["devices.readings"], gone.counts["devices.failures"], gone.remains) == (1, 1, {})
    assert holding(app, mine) == []
    assert devices.dataset(app.rooms, "readings").read()["device_id"] == [other]


@pytest.mark.row("PRV-01")
def test_the_check_plants_and_erases_somebody_in_every_workload(app):
    rights = next(one for one in evidence(app) if one.question == "userRightsImplemented")
    assert rights.fine, rights.detail
