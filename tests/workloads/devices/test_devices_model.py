"""The failure model: honest features and labels, a ranking under a budget, a file without code."""

import time
from itertools import pairwise

import lightgbm
import numpy as np
import pytest
from homes import DAY, homes, prepared
from sklearn.ensemble import IsolationForest

from modelkeep import BadInput, Refused, TrainingRows, Version
from modelkeep.jobs.recipes import check_no_future
from modelkeep.profile import Sums
from modelkeep.rollout.rounds import yardstick
from modelkeep.runtimes import lightgbm_text, load
from modelkeep.workloads.devices import WORKLOAD, features, isolation, labels, ranking, training
from modelkeep.workloads.devices.budget import alarms, average_precision, judged
from modelkeep.workloads.devices.fleet import fleet_of

RECIPE = WORKLOAD.recipes[0]


@pytest.fixture(scope="module")
def trained():
    return training.train(prepared(100, 1))


@pytest.mark.row("WK4-01")
def test_a_simulated_fleet_is_learned_within_the_guides_floors_on_later_days(trained):
    found = trained
    worth = found.metrics
    assert found.split == "time"
    assert worth["accuracy"] > 0.7
    assert worth["precision"] > 0.5
    assert worth["recall"] > 0.5
    assert worth["f1"] > 0.6
    assert worth["brier"] < 0.8 * worth["brier_rate"]
    assert worth["average_precision"] > max(rival["average_precision"] for rival in found.rivals.values())


def test_the_packed_file_answers_as_it_was_fitted_and_fast(trained):
    found = trained
    version = Version(
        model="m", number=1, artifact="failure.zip", size=1, runtime="ensemble", signature=found.signature, created=0.0
    )
    predict = load(version, lambda _: found.path).predict
    names = [field.name for field in found.signature.inputs]
    rows = [dict(zip(names, row, strict=True)) for row in zip(*(found.sample[n] for n in names), strict=True)][:300]
    answers = predict(rows).values
    assert all(0 <= answer <= 1 for answer in answers)
    truth = np.array(found.sample["failure"][:300])
    whole = Sums()
    for answer, true in zip(answers, truth.tolist(), strict=True):
        whole = whole + Sums.of(answer, true)
    assert whole.chances
    took = []
    for row in rows[:100]:
        began = time.thread_time()  # what it costs, whatever else the machine does
        predict([row])
        took.append(time.thread_time() - began)
    assert sorted(took)[94] < 0.01


def test_features_know_no_future():
    assert "are the same" in check_no_future(RECIPE, homes())


def test_age_and_calendar_are_no_features():
    names = prepared().columns
    assert not [name for name in names if name.startswith(("uptime", "age", "day", "month", "week", "timestamp"))]
    assert "error_rate_change_7d" in names


def test_changes_are_against_the_devices_own_past():
    table = {
        "device_id": ["a"] * 20 + ["b"] * 20,
        "timestamp": [DAY * day for day in range(20)] * 2,
        "errors_a_day": [float(day) for day in range(20)] + [100.0] * 20,
    }
    fleet = fleet_of(table)
    found = features.features(fleet)
    assert np.isnan(found["errors_a_day_change_1d"][[0, 20]]).all()
    assert found["errors_a_day_change_7d"][10] == pytest.approx(np.log1p(10) - np.log1p(3))
    assert found["errors_a_day_from_usual"][4] == pytest.approx(np.log1p(4) - (np.log1p(1) + np.log1p(2)) / 2)
    assert not found["errors_a_day_from_usual"][21:].any()


def test_labels_wait_for_their_horizon():
    table = {
        "device_id": ["a"] * 40,
        "timestamp": [DAY * day for day in range(40)],
        "rssi": [-60.0 - day for day in range(40)],
        "failure": [float(day == 20) for day in range(40)],
    }
    rows = training.prepare(table)
    told = dict(zip(rows.at, rows.truth, strict=True))
    assert max(rows.at) == 25 * DAY
    assert [day for day in range(26) if told[day * DAY]] == list(range(6, 21))
    assert rows.told[rows.at.index(10 * DAY)] == 20 * DAY
    assert rows.told[rows.at.index(0.0)] == labels.HORIZON


def test_replayed_tables_keep_their_own_labels():
    table = {
        "event_time": [DAY * day for day in range(30)] * 2,
        "entity": ["a"] * 30 + ["b"] * 30,
        "label": [0.0] * 59 + [1.0],
        "label_time": [DAY * (day + 15) for day in range(30)] * 2,
        "attribute1": [float(day) for day in range(60)],
    }
    rows = training.prepare(table)
    assert (len(rows.truth), sum(rows.truth), rows.told[0]) == (60, 1, 15 * DAY)
    assert set(features.metrics_of(rows.columns)) == {"attribute1"}


def test_too_few_failures_and_missing_columns_are_refused_in_words():
    rows = prepared(20, 5)
    few = TrainingRows(columns=rows.columns, truth=[0.0] * len(rows.truth), keys=rows.keys, at=rows.at, told=rows.told)
    with pytest.raises(Refused, match="0 of 20 devices failed"):
        training.train(few)
    with pytest.raises(BadInput, match="which devices failed"):
        training.prepare({"device_id": ["a", "b"], "timestamp": [0.0, 1.0], "rssi": [-1.0, -2.0]})
    with pytest.raises(BadInput, match="no column for the device"):
        training.prepare({"timestamp": [0.0], "rssi": [-1.0]})


def test_an_isolation_forest_in_a_tree_file_ranks_exactly_as_its_own():
    draw = np.random.default_rng(0)
    columns = {f"x{suffix}": draw.normal(size=600) for suffix in ("", "_change_1d", "_change_7d", "_change_14d")}
    columns["x"] = np.round(np.exp(columns["x"] * 3))
    columns["x_change_7d"][::5] = np.nan
    data = isolation.isolation_forest(columns, seed=4)
    booster = lightgbm.Booster(model_str=lightgbm_text.checked(data).text)
    ours = booster.predict(np.column_stack(list(columns.values())), num_threads=1)
    matrix = np.column_stack([features.logged(columns["x"]), *(columns[n] for n in list(columns)[1:])])
    matrix = np.where(np.isnan(matrix), np.nanmedian(matrix, axis=0), matrix)
    forest = IsolationForest(n_estimators=isolation.TREES, max_samples=isolation.ROWS_A_TREE, random_state=4)
    theirs = np.log2(-forest.fit(matrix).score_samples(matrix)) * isolation.path_length(isolation.ROWS_A_TREE)
    assert np.abs(theirs - ours).max() < 1e-6


def test_the_budget_is_counted_by_day():
    at = np.repeat([0.0, DAY], [250, 50])
    scores = np.arange(300.0)
    chosen = alarms(scores, at)
    assert np.flatnonzero(chosen).tolist() == [247, 248, 249, 299]
    truth = np.zeros(300)
    truth[[249, 10]] = 1
    found = judged(scores, truth, at=at, devices=[f"d{i}" for i in range(300)])
    assert (found.caught, found.failures, found.alarms, found.precision) == (1, 2, 4, 0.25)
    assert average_precision(np.array([3.0, 2.0, 1.0]), np.array([1.0, 0.0, 1.0])) == pytest.approx(5 / 6)


def test_probabilities_rise_with_the_score_and_keep_its_order():
    draw = np.random.default_rng(1)
    score = draw.random(5000)
    truth = (draw.random(5000) < 0.2 * score**20).astype(float)
    table = ranking.calibration(score, truth)
    places, chances = zip(*table, strict=True)
    assert all(a < b for a, b in pairwise(places))
    assert all(a < b for a, b in pairwise(chances))
    assert np.interp(score, places, chances).mean() == pytest.approx(truth.mean(), rel=0.2)


def test_versions_that_answer_chances_are_compared_by_squared_errors():
    # By size of error, saying "never" (0) beats saying the true rate of a rare event; by its square it does not.
    truths = [1.0] + [0.0] * 99
    rate, never = (sum((Sums.of(p, t) for t in truths), Sums()) for p in (0.01, 0.0))
    assert rate.absolute > never.absolute
    assert rate.lost(chances=True) < never.lost(chances=True)
    assert (rate.chances, rate.metrics()["brier"]) == (True, pytest.approx(0.0099))
    rare = [0.0001] * 990 + [0.9] * 5
    assert yardstick([], rare, classes=False, grain=0.002, cap=1.0).cap == 1.0
    assert yardstick([], rare, classes=False, grain=0.002).cap == 0.0001  # would hide what counts
    assert RECIPE.policy.targets == {"lift": 2.0}
