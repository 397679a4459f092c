"""The generic recipe: columns by name, no leak from the future, an honest test, baselines in words."""

import random

import numpy as np
import pytest

from modelkeep import BadInput, Refused, TrainingRows, check_no_future, iso, moment
from modelkeep.workloads.any import HISTORY, TABLE, growing
from modelkeep.workloads.any.columns import roles, truths
from modelkeep.workloads.any.preparing import prepare, prepare_with_history
from modelkeep.workloads.any.simulator import simulate
from modelkeep.workloads.any.splitting import parts
from modelkeep.workloads.any.training import interval, train

START = moment("2025-01-01")
DAY = 86400.0


def table(n=600, *, late=DAY, seed=1, label=lambda x, draw: 3.0 * x + draw.gauss(0, 1)):
    draw = random.Random(seed)
    xs = [draw.uniform(0, 10) for _ in range(n)]
    return {
        "event_time": [iso(START + i * DAY / 4) for i in range(n)],
        "entity": [f"e{i % 7}" for i in range(n)],
        "label": [label(x, draw) for x in xs],
        "label_time": [iso(START + i * DAY / 4 + late) for i in range(n)],
        "x": xs,
        "kind": [draw.choice(["a", "b"]) for _ in range(n)],
    }


def test_columns_are_known_by_their_names():
    found = roles({"ds": [], "unique_id": [], "y": [], "price": [], "target_date": []})
    assert (found.time, found.key, found.label, found.about) == ("ds", "unique_id", "y", "target_date")
    assert found.inputs == ("price",)
    with pytest.raises(BadInput, match="no column is the label"):
        roles({"a": [], "b": []})


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0, 1, 1], [False, True, True]),
        ([0.0, 1.0], [False, True]),
        ([True, False], [True, False]),
        (["up", "down"], ["up", "down"]),
        ([3, 1, 2], ["3", "1", "2"]),
        (list(range(12)), [float(i) for i in range(12)]),
        ([2.5, 3], [2.5, 3.0]),
    ],
)
def test_labels_are_classes_or_numbers(labels, expected):
    assert truths(labels) == expected


@pytest.mark.parametrize("recipe", [TABLE, HISTORY], ids=lambda recipe: recipe.model)
def test_no_row_knows_the_future(recipe):
    assert check_no_future(recipe, table(200))


def test_history_holds_what_was_told_and_nothing_later():
    rows = prepare_with_history(table(120, late=3 * DAY))
    for i in range(len(rows.at)):
        known = [j for j in range(len(rows.at)) if rows.keys[j] == rows.keys[i] and rows.told[j] < rows.at[i]]
        expected = rows.truth[known[-1]] if known else None
        if expected is not None:
            assert rows.columns["history_last"][i] == expected


def test_a_column_of_dates_becomes_hour_weekday_and_the_time_until_it():
    found = prepare(table(60) | {"opens": [iso(START + i * DAY / 4 + 7200.0) for i in range(60)]})
    assert {"opens_hour", "opens_weekday", "opens_ahead"} <= set(found.columns)
    assert set(found.columns["opens_ahead"]) == {7200.0}


def test_nothing_is_fitted_whose_label_came_after_the_test_began():
    rows = prepare(table(400, late=20 * DAY))
    split = parts(rows)
    at, told = np.array(rows.at), np.array(rows.told)
    assert split.by == "time"
    assert told[split.fit].max() <= at[split.stop].min()
    assert max(told[split.fit].max(), told[split.stop].max()) <= at[split.test].min()


def test_rows_without_moments_are_parted_by_entity():
    rows = prepare(
        {"entity": [f"e{i % 40}" for i in range(400)], "label": [float(i) for i in range(400)], "x": [1.0] * 400}
    )
    split = parts(rows)
    assert split.by == "group"
    keys = np.array(rows.keys)
    assert not set(keys[split.test]) & set(keys[split.fit])


def test_numbers_come_with_an_interval_and_beat_the_baselines():
    trained = train(prepare(table()))
    assert trained.runtime == "ensemble"
    assert trained.split == "time"
    assert trained.metrics["mae"] < 1.3
    assert trained.metrics["skill"] > 1.0
    assert {"persistence", "ewma"} <= set(trained.rivals)
    assert "better than" in trained.note


def test_an_interval_holds_nine_of_ten_truths_that_it_has_not_seen():
    draw = np.random.default_rng(3)
    held = []
    for _ in range(200):
        low, high = interval(draw.normal(0, 1, 60))
        fresh = draw.normal(0, 1, 60)
        held.append(((fresh >= low) & (fresh <= high)).mean())
    assert 0.88 <= np.mean(held) <= 0.96


def test_below_a_baseline_is_said_in_these_words():
    """Each entity always has the same label, and no input tells it: the last label is right, a model is not."""
    rows = table(400, label=lambda _, __: 0.0)
    rows["label"] = [float(key[1:]) ** 2 + 0.1 * (i % 3) for i, key in enumerate(rows["entity"])]
    trained = train(prepare(rows))
    assert "below baseline" in trained.note


@pytest.mark.parametrize(("labels", "runtime"), [([0, 1], "lightgbm"), (["a", "b", "c"], "lightgbm")])
def test_classes_are_answered_as_they_were_labelled(labels, runtime):
    rows = table(500, label=lambda x, _: labels[min(int(x / 10 * len(labels)), len(labels) - 1)])
    trained = train(prepare(rows))
    assert trained.runtime == runtime
    assert trained.metrics["accuracy"] > 0.9
    assert trained.signature.classifies


def test_the_same_rows_give_the_same_file():
    rows = prepare(table(200))
    assert train(rows).path.read_bytes() == train(rows).path.read_bytes()


def test_old_rows_fade_where_the_world_has_turned(monkeypatch):
    turned = table(800)
    turned["label"] = [3.0 * x if i < 500 else 60.0 - 3.0 * x for i, x in enumerate(turned["x"])]
    trained = train(prepare(turned))
    assert "counts half" in trained.note
    monkeypatch.setattr(growing, "MEMORIES", ())
    assert trained.metrics["mae"] < 0.8 * train(prepare(turned)).metrics["mae"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: {**t, "label": [1.0] * 600}, "nothing to learn"),
        (lambda t: {name: values[:20] for name, values in t.items()}, "too few"),
        (
            lambda t: {name: values for name, values in t.items() if name not in {"x", "kind"}} | {"c": ["same"] * 600},
            "no column",
        ),
    ],
)
def test_what_cannot_be_learned_is_refused_with_its_reason(change, said):
    with pytest.raises(Refused, match=said):
        train(prepare(change(table())))


def test_rows_of_a_retraining_have_the_inputs_of_the_first():
    rows = prepare(table())
    first = train(rows)
    names = [field.name for field in first.signature.inputs]
    again = train(
        TrainingRows(columns={name: rows.columns[name] for name in names}, truth=rows.truth, keys=rows.keys, at=rows.at)
    )
    assert [field.name for field in again.signature.inputs] == names


def test_simulated_households_are_learned_and_say_that_they_are_simulated():
    table = simulate(2000, 1)
    assert table == simulate(2000, 1) != simulate(2000, 2)
    assert all(key.startswith("SIM-") for key in table["entity"])
    assert min(table["label"]) >= 0
    trained = train(prepare(table))
    assert trained.metrics["skill"] > 0.1
