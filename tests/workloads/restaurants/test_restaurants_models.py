import os
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

from modelkeep import Refused, TrainingRows, check_no_future, moment, read_table
from modelkeep.workloads.restaurants import (
    columns,
    customers,
    daily,
    demand,
    diary,
    fitting,
    hourly,
    hourly_training,
    kitchen,
    kitchen_training,
    sides,
    simulator,
)  # fmt: skip
from modelkeep.workloads.restaurants.recipes import RECIPES


def parts(rows, at):
    """Rows whose outcome was told by a moment, and those asked from then on."""
    learn = [i for i in range(len(rows.at)) if rows.told[i] <= at]
    judge = [i for i in range(len(rows.at)) if rows.at[i] >= at]
    return (some(rows, learn), some(rows, judge))


def some(rows, places):
    lists = {name: [getattr(rows, name)[i] for i in places] for name in ("truth", "keys", "at", "targets", "told")}
    return TrainingRows(columns=fitting.taken(rows.columns, places), **lists)


def answers(trained, rows):
    from modelkeep import Version
    from modelkeep.runtimes import load

    version = Version(model="m", number=1, artifact=trained.path.name, size=1, runtime=trained.runtime,
                      signature=trained.signature, created=0.0)  # fmt: skip
    predict = load(version, trained.path.parent.joinpath).predict
    return predict([dict(zip(rows.columns, row, strict=True)) for row in zip(*rows.columns.values(), strict=True)])


@pytest.mark.row("WK2-01")
def test_fifty_restaurants_beat_the_seasonal_naive_on_a_month_held_out():
    table = simulator.city_days(simulator.City(50, 3), 3, days=200)
    rows = daily.prepare(table)
    learn, judge = parts(rows, max(rows.at) - 30 * 86400)
    trained = demand.train(learn)
    found = answers(trained, judge)
    truth = np.array(judge.truth)
    naive = np.expm1(np.array(judge.columns["weekday_last"], dtype=float))
    known = np.isfinite(naive)
    ours = fitting.rmsle(np.array(found.values)[known], truth[known])
    assert ours < 0.85 * fitting.rmsle(naive[known], truth[known])
    low, high = np.array(found.intervals).T
    assert 0.72 <= np.mean((low <= truth) & (truth <= high)) <= 0.92


@pytest.mark.parametrize("recipe", [r for r in RECIPES if r.simulate], ids=lambda recipe: recipe.model)
def test_no_recipe_knows_the_future(recipe):
    made = getattr(simulator, recipe.simulate.partition(":")[2])(1500, 2)
    assert "are the same" in check_no_future(recipe, made)


def test_a_restaurant_is_served_by_a_blend_that_was_no_worse_than_its_own_simple_forecast():
    draw = np.random.default_rng(0)
    real = draw.normal(3, 0.3, 600)
    keys = [f"r{i % 10}" for i in range(600)]
    said, usual = real + draw.normal(0, 0.5, 600), real + draw.normal(0, 0.4, 600)
    blends = demand.gate(said, usual, real=real, keys=keys)
    assert blends
    for name, share in blends.items():
        mine = [i for i, key in enumerate(keys) if key == name]
        blend = share * said[mine] + (1 - share) * usual[mine]
        assert np.mean((blend - real[mine]) ** 2) <= np.mean((usual[mine] - real[mine]) ** 2)


def test_a_new_restaurant_is_forecast_from_those_of_its_genre_and_area():
    table = simulator.days(2500, 1)
    trained = demand.train(daily.prepare(table))
    rows = daily.prepare(table)
    last = some(rows, [len(rows.at) - 1])
    cold = {
        n: [v[0] if n in {*demand.WITHOUT_PAST, *demand.PRIORS, "genre", "area"} else None]
        for n, v in last.columns.items()
    }
    cold["restaurant"] = ["nobody knows it"]
    cold["usual"] = last.columns["peers_weekday_4"]
    known, new = answers(trained, last), answers(trained, structs.replace(last, columns=cold))
    wide = lambda found: np.log1p(found.intervals[0][1]) - np.log1p(found.intervals[0][0])  # noqa: E731
    assert wide(new) > wide(known)
    assert 1 < new.values[0] < 200


def test_hours_beat_the_same_hour_of_last_week():
    trained = hourly_training.train(hourly.prepare(simulator.hours(4000, 2)))
    assert trained.metrics["poisson_deviance"] < trained.rivals["same_hour_last_week"]["poisson_deviance"]
    assert trained.split == "time"


def test_a_replay_table_is_prepared_under_its_own_names():
    days = [f"2024-01-{day:02d}" for day in range(1, 29)]
    table = {
        "event_time": [float(moment(day)) - 7 * 86400 + 21600 for day in days],
        "entity": ["7"] * 28,
        "label": list(range(10, 38)),
        "label_time": [float(moment(day)) + 97200 for day in days],
        "target_date": days,
    }
    rows = daily.prepare(table)
    assert rows.columns["horizon"] == [7.0] * 28
    assert rows.columns["weekday_last"][0] is None
    assert rows.columns["weekday_last"][-1] == pytest.approx(np.log1p(23), abs=1e-5)  # of the week before last


def test_orders_of_a_day_are_added_up_and_a_day_without_any_is_closed():
    rows = daily.prepare({"restaurant": [1, 1, 1], "date": ["2024-01-01"] * 2 + ["2024-01-02"], "amount": [5, 7, 0]})
    assert rows.truth == [12.0]


def test_bookings_count_from_when_they_were_made():
    bookings = {"restaurant": ["a", "a"], "visit": ["2024-01-10T19:00", "2024-01-10T20:00"],
                "booked": ["2024-01-01", "2024-01-09"], "visitors": [4, 2]}  # fmt: skip
    day = moment("2024-01-10") / 86400
    found = sides.booked_by(
        bookings,
        ["a", "a", "b"],
        days=np.array([day] * 3),
        asked=np.array([moment(f"2024-01-{d:02d}") for d in (5, 10, 5)]),
    )
    assert found.tolist()[:2] == [4.0, 6.0]
    assert np.isnan(found[2])


def test_riders_never_stand_on_both_sides_and_four_are_too_few():
    table = simulator.tickets(1200, 1)
    untimed = {"minutes": table["minutes"], "rider": [f"rider {i % 9}" for i in range(1200)],
               "item": table["item"], "queue": table["queue"]}  # fmt: skip
    rows = kitchen.prepare(untimed)
    split = kitchen_training.by_group(rows.groups)
    assert not {rows.groups[i] for i in split.learn} & {rows.groups[i] for i in split.judge}
    assert kitchen_training.train(rows).split == "group"
    few = kitchen.prepare({**untimed, "rider": [f"rider {i % 4}" for i in range(1200)]})
    with pytest.raises(Refused, match="4 riders or stations; 5 are needed"):
        kitchen_training.train(few)


def test_churn_has_no_label_in_its_recency():
    table = simulator.purchases(3000, 1)
    rows = customers.prepare_churn(table)
    away = np.array(rows.columns["recency_days"], dtype=float) > 60
    assert 0.1 < np.mean(away != np.array(rows.truth)) < 0.6  # the guide's label would be the feature itself
    with pytest.raises(Refused, match="days; 210 are needed"):
        customers.prepare_churn({"customer": ["a", "a"], "date": ["2024-01-01", "2024-02-01"], "amount": [1, 2]})


def test_a_late_value_is_no_past_but_an_outcome():
    days = np.arange(5)
    told = np.array([1.0, 2.0, 9.0, 4.0, 5.0]) * 86400
    groups = diary.Groups(peers=np.zeros(1, dtype=np.int64), holiday=np.zeros(5), eve=np.zeros(5))
    past = diary.Diary.of(np.zeros(5, dtype=np.int64), days, values=np.arange(5.0), told=told, groups=groups)
    assert np.isnan(past.values[0]).tolist() == [False, False, True, False, False]


def test_texts_and_moments_of_strange_tables():
    assert columns.texts([7, 7.0, "7 ", None]) == ["7", "7", "7", ""]
    assert columns.moments([0, "1970-01-02"], "date").tolist() == [0.0, 86400.0]


@pytest.mark.prove
def test_recruit_is_prepared_in_twenty_seconds():
    data = Path(os.environ.get("PUBLIC_DATA", Path(__file__).parents[4] / "shared" / "data"))
    file = data / "replay" / "w2_recruit_h7.parquet"
    if not file.exists():
        pytest.skip(f"{file.name} is not here")
    import time

    table = read_table(file)
    began = time.process_time()
    assert len(daily.prepare(table).truth) == 252_108
    assert time.process_time() - began < 20


def test_public_holidays_of_a_country_come_from_its_calendar():
    pytest.importorskip("holidays")
    from modelkeep import BadInput

    day = int(moment("2017-03-20") // 86400)
    found = sides.public_holidays("JP", first=day - 1, last=day + 1)
    assert found == {day - 1: False, day: True, day + 1: False}
    with pytest.raises(BadInput, match="ZZ"):
        sides.public_holidays("ZZ", first=day, last=day)
