"""Names, units and sizes: what a row means, whoever wrote it."""

import math

import pytest

from modelkeep import BadInput, Refused, check_no_future
from modelkeep.workloads.weight import RECIPE
from modelkeep.workloads.weight import features as code
from modelkeep.workloads.weight.preparing import prepare
from modelkeep.workloads.weight.scale import Pair, shift_of, wrong_coin
from modelkeep.workloads.weight.simulator import simulate

BOXES = {"x0": 0.0, "y0": 0.0, "x1": 200.0, "y1": 100.0, "cx0": 300.0, "cy0": 0.0, "cx1": 350.0, "cy1": 50.0}


def test_boxes_and_a_coin_are_millimetres():
    size = code.size_of(BOXES | {"reference": "coin_25", "view": "top"})
    assert math.exp(size["long"]) == pytest.approx(100.0)
    assert math.exp(size["short"]) == pytest.approx(50.0)
    assert math.exp(size["volume"]) == pytest.approx(math.pi / 6 * 100 * 50 * 50 / 1000)


def test_a_card_and_a_width_of_ones_own_are_yardsticks_too():
    card = BOXES | {"cx1": 300.0 + 177.8, "cy1": 101.6, "reference": "business_card"}
    assert math.exp(code.size_of(card)["long"]) == pytest.approx(100.0, rel=1e-3)
    assert math.exp(code.size_of(BOXES | {"reference_mm": 50.0})["long"]) == pytest.approx(200.0)


def test_two_views_give_three_lengths():
    second = {f"second_{name}": value for name, value in BOXES.items()} | {"second_view": "side", "second_y1": 40.0}
    size = code.size_of(BOXES | second | {"reference": "coin_25", "view": "top"})
    assert (size["kind"], round(math.exp(size["third"]))) == ("both", 20)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"cx1": 305.0}, "less than 8"),
        ({"cx1": 480.0}, "not round"),
        ({"cx0": 0.0, "cy0": 0.0, "cx1": 100.0, "cy1": 100.0, "x1": 101.0}, "same box"),
        ({"x1": 0.0}, "no area"),
        ({"reference": None}, "not known"),
    ],
)
def test_boxes_that_tell_no_scale_are_no_scale(wrong, said):
    row = BOXES | {"reference": "coin_25"} | wrong
    assert said in code.photo_of(row, "")["fault"]
    assert code.features(row)["trust"] == "scale"


def test_a_sheet_weighs_by_its_thickness():
    sheet = code.size_of({"length_mm": 100.0, "width_mm": 100.0, "shape": "sheet", "material": "steel"})
    assert math.exp(sheet["volume"]) == pytest.approx(100 * 100 * 3.175 * 0.85 / 1000)


def test_units_and_names_of_strangers_are_understood():
    grams = [453.59237, 907.18474, 50.0]
    tables = (
        {"weight_lb": [1.0, 2.0, 50 / 453.59237], "length_in": [1.0, 2, 3], "width_in": [1.0, 1, 1]},
        {"weight": grams, "length_cm": [2.54, 5.08, 7.62], "width_cm": [2.54, 2.54, 2.54]},
        {"carat": [gram / 0.2 for gram in grams], "length": [25.4, 50.8, 76.2], "width": [25.4, 25.4, 25.4]},
        {"label": grams, "length_mm": [25.4, 50.8, 76.2], "width_mm": [25.4, 25.4, 25.4]},
    )
    for table in tables:
        rows = prepare(table | {"species": ["a", "b", "a"]})
        assert rows.truth == pytest.approx(grams)
        assert rows.columns["length_mm"] == pytest.approx([25.4, 50.8, 76.2])
        assert rows.columns["material"] == ["a", "b", "a"]
    mixed = prepare({"weight": [1.0, 1.0], "unit": ["kg", "Pounds"], "length": [9.0, 9.0], "width": [9.0, 9.0]})
    assert mixed.truth == pytest.approx([1000.0, 453.59237])


def test_a_replay_table_is_read_as_photos_with_a_coin_of_25_mm():
    table = {
        "event_time": ["2025-01-02T00:00:00Z", "2025-01-01T00:00:00Z"], "label_time": ["2025-01-03T00:00:00Z"] * 2,
        "entity": ["plum2", "plum1"], "label": [80.0, 90.0], "type": ["plum", "plum"], "view": ["S", "T"],
        "img_w": [800, 800], "img_h": [600, 600], **{name: [value, value] for name, value in BOXES.items()},
    }  # fmt: skip
    rows = prepare(table)
    assert rows.groups == ["plum1", "plum2"]
    assert rows.columns["view"] == ["top", "side"]
    assert rows.columns["reference"] == ["coin_25"] * 2
    assert rows.told[0] - rows.at[0] == 2 * 86400.0


def test_what_cannot_be_trained_on_is_refused_by_name():
    with pytest.raises(BadInput, match="weight_g"):
        prepare({"length_mm": [1.0], "width_mm": [2.0]})
    with pytest.raises(Refused, match="none of 2 rows has a weight and a size"):
        prepare({"weight_g": [1.0, 2.0], "material": ["a", "b"]})
    with pytest.raises(BadInput, match="unit"):
        prepare({"weight": [1.0], "unit": ["stone"], "length": [1.0], "width": [1.0]})


def test_rows_know_nothing_of_the_future():
    assert "are the same" in check_no_future(RECIPE, simulate(200, 1))


def test_all_materials_off_alike_is_the_yardstick_and_one_material_is_not():
    wrong = [Pair(material=name, error=0.5 + 0.02 * i) for i in range(5) for name in ("steel", "zinc", "copper")]
    found = shift_of(wrong)
    assert found is not None
    assert found.factor == pytest.approx(math.exp(0.54), rel=0.02)
    assert found.yardstick == pytest.approx(1.2, rel=0.02)
    one = [Pair(material=name, error=1.5 if name == "zinc" else 0.02) for name in ("steel", "zinc", "copper")] * 5
    assert shift_of(one) is None
    noisy = [Pair(material=name, error=0.4 * (-1) ** i) for i in range(8) for name in ("steel", "zinc", "copper")]
    assert shift_of(noisy) is None
    assert shift_of(wrong[:6]) is None


def test_the_wrong_coin_shrinks_the_coin_and_nothing_else():
    table = simulate(80, 2)
    changed = wrong_coin(table)
    wide = [b - a for a, b in zip(table["cx0"], table["cx1"], strict=True)]
    less = [b - a for a, b in zip(changed["cx0"], changed["cx1"], strict=True)]
    assert less[0] == wide[0]
    assert less[-1] == pytest.approx(wide[-1] * 20.5 / 25)
    assert changed["x0"] == table["x0"]
