"""The ensemble on simulated scrap: better than its rivals, honest about what it does not know."""

import math

import numpy as np
import pytest
from msgspec import structs

from modelkeep import Refused, TrainingRows, read_ensemble
from modelkeep.runtimes import ensemble, pack_features, packing
from modelkeep.workloads.weight.preparing import prepare
from modelkeep.workloads.weight.scale import wrong_coin
from modelkeep.workloads.weight.simulator import simulate
from modelkeep.workloads.weight.training import paired, train
from modelkeep.workloads.weight.weighing import interval, simplex


def opened(trained):
    model = ensemble.open_model(trained.path, trained.signature, coded=True, runtime="ensemble")
    code = packing.transform(pack_features(trained.code))
    return lambda rows: model.answer(code(rows))


@pytest.mark.row("WK0-01")
def test_four_members_beat_physics_and_the_usual_weight_on_objects_held_out(trained):
    assert trained.split == "group"
    assert set(trained.rivals) == {"usual weight of the material", "physics"}
    assert all(trained.metrics["mape"] < rival["mape"] for rival in trained.rivals.values())
    found = read_ensemble(trained.path.read_bytes())
    assert [member.name for member in found.members] == ["physics", "balanced", "ridge", "trees", "paired"]
    assert sum(found.weights_by["known"].values()) == pytest.approx(1.0)
    assert found.link == "log"


def test_an_unknown_material_and_an_unknown_scale_widen_the_interval(trained):
    fresh = simulate(60, 77)
    at = next(i for i, metal in enumerate(fresh["material"]) if metal == "steel")
    names = [field.name for field in trained.signature.inputs]
    row = {name: fresh.get(name, [None] * 60)[at] for name in names}
    ask = opened(trained)
    out = ask([row, row | {"material": "unobtainium"}, row | {"cx1": row["cx0"] + 1}])
    known, new, scale = (math.log(high / low) for low, high in out.intervals)
    assert new > known
    assert scale > known
    assert all(low <= value <= high for value, (low, high) in zip(out.values, out.intervals, strict=True))


def test_intervals_cover_new_objects(trained):
    fresh = simulate(400, 78)
    keep = [i for i, metal in enumerate(fresh["material"]) if metal != "lead"]
    names = [field.name for field in trained.signature.inputs]
    rows = [{name: fresh[name][i] if name in fresh else None for name in names} for i in keep]
    out = opened(trained)(rows)
    objects = [fresh["object_id"][i] for i in keep]
    inside = {}
    for name, grams, (low, high) in zip(objects, (fresh["weight_g"][i] for i in keep), out.intervals, strict=True):
        inside.setdefault(name, []).append(low <= grams <= high)
    cover = np.mean([np.mean(each) for each in inside.values()])
    assert 0.8 <= cover <= 0.99


def test_the_object_held_out_is_never_seen(scrap):
    rows = prepare(scrap)
    table = [dict(zip(rows.columns, values, strict=True)) for values in zip(*rows.columns.values(), strict=True)]
    more, truth, groups = paired(table, np.array(rows.truth), groups=rows.groups)
    assert len(more) > len(table)
    weights = dict(zip(rows.groups, rows.truth, strict=True))
    assert all(weights[group] == weight for group, weight in zip(groups, truth, strict=True))


def test_weighed_objects_of_a_new_material_make_the_next_version_better(scrap, trained):
    table = simulate(520, 5)
    table["material"] = ["alloy 7" if metal == "lead" else metal for metal in table["material"]]  # in no table
    fresh = [i for i, metal in enumerate(table["material"]) if metal == "alloy 7"]
    objects = list(dict.fromkeys(table["object_id"][i] for i in fresh))
    learn = [i for i in fresh if table["object_id"][i] in objects[:8]]
    later = [i for i in fresh if table["object_id"][i] in objects[8:]]
    more = {name: [*values, *(table[name][i] for i in learn)] for name, values in scrap.items()}
    names = [field.name for field in trained.signature.inputs]
    rows = [{name: table[name][i] if name in table else None for name in names} for i in later]
    truth = np.array([table["weight_g"][i] for i in later])
    models = (opened(trained), opened(train(prepare(more))))
    before, after = (np.mean(np.abs(np.array(model(rows).values) / truth - 1)) for model in models)
    assert after < 0.8 * before


def test_a_wrong_coin_is_no_lesson():
    rows = prepare(wrong_coin(simulate(240, 9)))
    with pytest.raises(Refused, match=r"all \d materials .* too heavy .* coin"):
        train(rows)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: structs.replace(rows, groups=["one"] * len(rows.groups)), "show 1 objects"),
        (lambda rows: structs.replace(rows, truth=[5.0] * len(rows.truth)), "all 4[0-9] weights are 5 g"),
        (lambda rows: structs.replace(rows, truth=[0.0, *rows.truth[1:]]), "not above 0"),
    ],
)
def test_what_teaches_nothing_is_refused(change, said):
    rows: TrainingRows = prepare(simulate(40, 4))
    with pytest.raises(Refused, match=said):
        train(change(rows))


def test_weights_go_to_the_member_that_is_right():
    draw = np.random.default_rng(1)
    truth = draw.normal(size=400)
    answers = np.column_stack((truth + draw.normal(0, 0.05, 400), truth + draw.normal(0, 1.0, 400)))
    assert simplex(answers, truth, weight=np.ones(400))[0] > 0.85


def test_the_interval_counts_objects_not_photos():
    rest = np.concatenate((np.zeros(900), np.linspace(-1, 1, 40)))
    groups = np.concatenate((np.zeros(900, dtype=np.int64), np.arange(1, 41)))
    low, high = interval(rest, groups)
    assert low < -0.8
    assert high > 0.8
