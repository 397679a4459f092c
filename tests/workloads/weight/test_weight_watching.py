"""The yardstick, the share that calls for the scale, refused photos, and the daily challenger."""

import pytest
from photographing import COIN, OBJECT

from modelkeep import Outcome
from modelkeep.workloads.weight import WORKLOAD, consent, panel, upkeep, watching
from modelkeep.workloads.weight.asking import Ask
from modelkeep.workloads.weight.estimating import estimate
from modelkeep.workloads.weight.playing import play
from modelkeep.workloads.weight.simulator import photos, thing

DAY = 86400.0
SHRUNK = 20.5 / 25.0
METALS = ("steel", "copper", "brass", "zinc")


def ask(app, number, *, coin=1.0, metals=METALS):
    """Ask about a piece, and weigh it; the coin may be smaller than it is said to be."""
    one = thing(21, number, metals=metals)
    row = {k: v for k, v in next(iter(photos(one, 1, seed=number))).items() if v is not None}
    for low, high in (("cx0", "cx1"), ("cy0", "cy1")):
        middle, half = (row[low] + row[high]) / 2, (row[high] - row[low]) / 2 * coin
        row[low], row[high] = middle - half, middle + half
    said = estimate(app, Ask(**row, consent=True))
    app.tell([Outcome(value=one.grams, at=app.rooms.clock.now(), prediction=said.prediction_id)])
    app.rooms.clock.advance(600.0)
    return said


def reading(app, name, probe=watching.yardstick):
    (found,) = [one for one in probe(app.rooms) if one.name == name]
    with app.rooms.store.write() as ledger:
        ledger.readings.add([found])
    return found


def test_a_wrong_coin_is_told_as_the_yardstick_and_estimates_fall_back(app):
    for number in range(14):
        ask(app, number)
    assert reading(app, "weight_scale").level == "ok"
    right = ask(app, 14)
    for number in range(15, 35):
        ask(app, number, coin=SHRUNK)
    found = reading(app, "weight_scale")
    assert (found.level, found.facts["cause"]) == ("critical", "scale")
    assert found.value > 1.4
    assert "as if a coin were 1." in found.detail
    fallen = ask(app, 14, coin=SHRUNK)
    assert fallen.method.startswith("fallback")
    assert fallen.please_weigh
    assert any("yardstick is in doubt" in factor for factor in fallen.factors)
    assert not right.method.startswith("fallback")
    assert upkeep.why_not(app.rooms).startswith("the yardstick is in doubt")
    for number in range(40, 84):
        ask(app, number)
    assert reading(app, "weight_scale").level == "ok"
    assert not ask(app, 15).method.startswith("fallback")


def test_with_few_weighed_photos_the_yardstick_is_unknown(app):
    ask(app, 1)
    found = reading(app, "weight_scale")
    assert (found.level, found.value) == ("unknown", None)
    assert "12 are needed" in found.detail


def test_shares_are_told_from_twenty_on(app):
    boxes = dict(zip(("x0", "y0", "x1", "y1", "cx0", "cy0", "cx1", "cy1"), map(float, (*OBJECT, *COIN)), strict=True))
    assert not list(watching.unsure(app.rooms))
    for number in range(24):
        estimate(app, Ask(**boxes, reference="quarter", material="lead" if number % 3 else "steel"))
        app.rooms.clock.advance(1.0)
    found = reading(app, "weight_please_weigh", watching.unsure)
    assert found.level == "warning"
    assert found.value == pytest.approx(16 / 24, abs=0.35)
    assert "lead" in found.detail
    consent.refusals(app.rooms).append(
        {"at": [app.rooms.clock.now() + i for i in range(30)], "check": ["blur"] * 30, "tier": ["high"] * 30}
    )
    app.rooms.clock.advance(60.0)
    refused = reading(app, "weight_refused_photos", watching.unsure)
    assert (refused.level, refused.value) == ("warning", pytest.approx(30 / 54))
    assert "30 for blur" in refused.detail


def test_a_challenger_is_made_when_objects_were_weighed_and_only_then(app):
    assert "objects were weighed" in upkeep.why_not(app.rooms)
    for number in range(21):
        ask(app, number)
    assert "after a week" in upkeep.why_not(app.rooms)
    app.rooms.clock.advance(7 * DAY)
    assert "where training promised" in upkeep.why_not(app.rooms)
    for number in range(21, 60):
        ask(app, number, coin=1.3 if number % 2 else 0.75)
    assert upkeep.why_not(app.rooms) == ""


def test_five_objects_of_new_materials_are_worth_a_challenger_at_once(app):
    for number in range(5):
        assert upkeep.why_not(app.rooms)
        ask(app, number, metals=("lead",))
    assert upkeep.why_not(app.rooms) == ""
    assert WORKLOAD.tasks["weight_daily"] is upkeep.daily


def test_an_installation_without_weights_costs_nothing_and_shows_nothing_wrong(tmp_path):
    from modelkeep import App, Settings

    with App.open(Settings(folder=tmp_path / "empty", workloads=("weight",))) as empty:
        assert not list(watching.yardstick(empty.rooms))
        assert not list(watching.unsure(empty.rooms))
        page = panel.panel(empty)
        assert all(not table.rows for table in page.tables)
        assert page.simulated is False
        assert not (tmp_path / "empty" / "datasets").exists()


def test_simulated_life_is_asked_and_weighed_through_the_acts(app):
    start = app.rooms.clock.now() // DAY * DAY
    for hour in range(60):
        app.rooms.clock.advance(max(0.0, start + hour * 3600.0 - app.rooms.clock.now()))
        play(app, start + hour * 3600.0)
    with app.rooms.store.read() as ledger:
        asked, weighed, _ = ledger.records.counts("weight")
    assert asked >= 20
    assert weighed >= 10
    assert panel.panel(app).tables[1].rows
