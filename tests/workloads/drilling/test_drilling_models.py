"""Remaining life, rate and anomalies on simulated machines, under names of a stranger."""

import numpy as np
import pytest
from msgspec import structs

from modelkeep import BadInput, Refused, TrainingRows
from modelkeep.nouns import Rollout
from modelkeep.runtimes.ensemble import open_model
from modelkeep.workloads.drilling import (
    anomaly,
    channels,
    health_acts,
    life,
    playing,
    rate,
    sessions,
    simulator,
    telemetry,
    telemetry_acts,
    wear,
)
from modelkeep.workloads.drilling import (
    lives as own,
)
from modelkeep.workloads.drilling.limits import Limits


def part(rows, places):
    lists = ("truth", "keys", "at", "told", "groups")
    columns = {name: [values[i] for i in places] for name, values in rows.columns.items()}
    some = {name: [getattr(rows, name)[i] for i in places] for name in lists if getattr(rows, name)}
    return structs.replace(rows, columns=columns, **some)


def answered(made, rows):
    asked = [dict(zip(rows.columns, values, strict=True)) for values in zip(*rows.columns.values(), strict=True)]
    return open_model(made.path, made.signature, coded=False, runtime="ensemble").answer(asked)


@pytest.fixture(scope="module")
def lives():
    table = simulator.lives(6000, 1)
    return {"machine_id": table.pop("unit"), **table}


@pytest.fixture(scope="module")
def trained(lives):
    rows = life.prepare(lives)
    return rows, life.train(rows)


def test_remaining_life_beats_the_mean_life_and_a_straight_line_on_machines_held_out(trained):
    _, made = trained
    assert made.metrics["rmse"] < min(rival["rmse"] for rival in made.rivals.values())
    assert set(made.rivals) == {"mean life", "straight line"}
    assert made.metrics["coverage"] > 0.75
    assert made.split == "group"


def test_answers_have_an_interval_and_stay_within_0_and_125(trained):
    rows, made = trained
    said = answered(made, part(rows, range(0, 2000, 50)))
    assert all(0 <= low <= value <= high <= 125 for value, (low, high) in zip(said.values, said.intervals, strict=True))


def test_no_row_of_life_knows_the_future(lives):
    whole, moment = life.prepare(lives), 100
    cut = {
        name: [v for v, t in zip(values, lives["cycle"], strict=True) if t <= moment] for name, values in lives.items()
    }
    early = life.prepare(cut)
    known = [i for i, at in enumerate(whole.at) if at <= moment]
    assert part(whole, known).columns == early.columns


def test_lives_follow_from_failures_alone_and_from_moments():
    table = {
        "asset": ["a"] * 4 + ["b"] * 3,
        "timestamp": [f"2026-01-01T0{hour}:00:00Z" for hour in (0, 1, 2, 3, 0, 1, 2)],
        "amps": [1.0, 2.0, None, 4.0, 1.0, 1.0, 1.0],
        "note": ["x"] * 7,
        "failed": [False, False, False, True, False, False, False],
    }
    rows = life.prepare(table)
    assert sorted(rows.truth) == [0.0, 1.0, 2.0, 3.0]
    assert set(rows.keys) == {"a"}
    assert all(name == "age" or name.startswith("amps_") for name in rows.columns)
    assert set(rows.told) == {max(rows.at)}


def test_three_machines_cannot_train(lives):
    rows = life.prepare(lives)
    few = part(rows, [i for i, key in enumerate(rows.keys) if key in {"m001", "m002", "m003"}])
    with pytest.raises(Refused, match="3 machines ran to failure; remaining life needs 10"):
        life.train(few)


def test_machines_that_are_counted_from_1_in_each_set_are_told_apart():
    table = {"unit": [1, 1, 1, 1], "cycle": [1, 2, 1, 2], "set": ["a", "a", "b", "b"], "x": [1.0, 2.0, 3.0, 4.0]}
    assert channels.read(table).keys == ("a/1", "a/1", "b/1", "b/1")
    assert channels.read({**table, "cycle": [1, 2, 3, 4]}).keys == ("1", "1", "1", "1")


def test_a_table_without_channels_is_refused_with_what_it_has():
    with pytest.raises(BadInput, match="no column with the moment"):
        channels.read({"x": [1.0]})
    with pytest.raises(BadInput, match="no numeric channel"):
        channels.read({"time": [1.0], "name": ["a"]})


def test_rate_follows_a_change_of_rock_after_retraining_and_beats_the_mean():
    rows = rate.prepare(simulator.rates(3000, 1))
    frozen = rate.train(part(rows, range(1300)))
    after = range(2000, 2200)
    fresh = rate.train(part(rows, range(600, 2000)))
    truth = np.array([rows.truth[i] for i in after])
    old, new = (np.abs(np.array(answered(made, part(rows, after)).values) - truth).mean() for made in (frozen, fresh))
    assert new < old / 2
    assert fresh.metrics["mae"] < fresh.rivals["mean"]["mae"]
    assert fresh.split == "time"


def test_rate_never_sees_its_own_target_nor_the_future():
    table = simulator.rates(1200, 2)
    rows = rate.prepare(table)
    assert "rop" not in rows.columns
    cut = rate.prepare({name: values[:500] for name, values in table.items()})
    assert part(rows, range(500)).columns == cut.columns
    assert rows.told[0] == pytest.approx(rows.at[0] + 6 * 3600)


def test_shallow_or_narrow_rows_are_refused():
    rows = rate.prepare(simulator.rates(1500, 3))
    with pytest.raises(Refused, match="900 rows; 1000 are needed"):
        rate.train(part(rows, range(900)))
    flat = structs.replace(rows, truth=[10.0] * len(rows.truth))
    with pytest.raises(Refused, match="nothing to learn from"):
        rate.train(flat)
    moved = {name: [v + 1e6 * (i >= 1200) for i, v in enumerate(values)] for name, values in rows.columns.items()}
    with pytest.raises(Refused, match="outside the range of the training rows"):
        rate.train(structs.replace(rows, columns=moved))


def test_an_anomaly_names_its_channels_and_a_healthy_machine_has_none():
    rng = np.random.default_rng(1)
    values = {f"s{i}": rng.normal(10, 1, 1200) for i in range(6)}
    quiet = {"time": list(range(1200)), **{name: v.tolist() for name, v in values.items()}}
    (calm,) = anomaly.score(quiet)
    assert calm.alarm.mean() < 0.01
    for name in ("s1", "s2", "s4"):
        values[name][900:] += 6
    (found,) = anomaly.score({"time": list(range(1200)), **{name: v.tolist() for name, v in values.items()}})
    assert found.alarm[920:].all()
    assert set(max(found.anomalies, key=lambda one: one.rows).channels) == {"s1", "s2", "s4"}


def test_work_in_another_state_is_no_anomaly():
    rng = np.random.default_rng(2)
    state = [i // 50 % 2 for i in range(1200)]
    table = {
        "time": list(range(1200)),
        **{n: (rng.normal(5, 0.5, 1200) + 10 * np.array(state)).tolist() for n in "abc"},
    }
    (found,) = anomaly.score(table, state=state)
    assert found.alarm.mean() < 0.02


def test_wear_is_far_from_the_healthy_start_days_before_the_failure_and_healthy_drills_are_not():
    for fails in (None, simulator.START + 15 * 86400.0):
        rows = simulator.device("d", start=simulator.START, days=20, seed=5, fails=fails)
        of = sessions.track({name: [row[name] for row in rows] for name in telemetry.NAMES}, "d")
        found = wear.anomalies(of, sessions.sessions(of, Limits()), limits=Limits())
        if fails is None:
            assert not found
        else:
            assert 24 < (fails - found[0].start) / 3600 < 240
            assert {"battery_sag", "current_spread"} <= set(found[0].channels)


def test_training_rows_are_typed(trained):
    assert isinstance(trained[0], TrainingRows)
    assert trained[1].sample["remaining_life"]


@pytest.mark.prove
def test_a_fleet_learns_from_its_own_failures_is_asked_and_is_told_what_happened(app, clock):
    for number in range(12):
        fails = simulator.START + (14 + number) * 86400.0
        rows = simulator.device(f"d{number}", start=simulator.START, days=30, seed=number, fails=fails)
        telemetry_acts.ingest(app, telemetry_acts.Ingest(file=playing.as_csv(rows), name="simulated"))
        health_acts.failed(app, health_acts.Failed(device_id=f"d{number}", at=str(fails)))
    said = health_acts.train_model(app, health_acts.TrainModel(force_retrain=True))
    assert said.status == "success", said.message
    with app.rooms.store.write() as ledger:
        ledger.rollouts.put(
            Rollout(model="drilling-life", champion=1, since=clock.now()), ledger.rollouts.get("drilling-life")
        )
    app.rooms.router.refresh()
    assert health_acts.model_status(app, health_acts.Nothing()).performance_metrics.rmse > 0
    fails = simulator.START + 29 * 86400.0
    rows = simulator.device("new", start=simulator.START, days=30, seed=99, fails=fails)
    telemetry_acts.ingest(app, telemetry_acts.Ingest(file=playing.as_csv(rows), name="simulated"))
    (seen,) = health_acts.health_scores(app, health_acts.ListScores(device_id="new")).health_scores
    assert 0 <= seen.remaining_life_hours < 60
    assert seen.remaining_life_interval[0] <= seen.remaining_life_hours <= seen.remaining_life_interval[1]
    assert own.settle(app, "new", at=fails) == 1
