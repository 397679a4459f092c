import pytest
from msgspec import to_builtins

from modelkeep import BadInput, NotFound
from modelkeep.workloads.restaurants import ingesting, simulator, telling
from modelkeep.workloads.restaurants.answering import refusal

METADATA = {"model_version", "prediction_time_ms", "cached", "generated_at"}


@pytest.mark.row("WK2-02")
def test_demand_by_the_hour_has_the_envelope_and_the_keys_of_the_guide(town):
    answer = town.ask("demand", restaurant_id="restaurant-1", hours_ahead=24)
    assert answer["success"] is True
    assert set(answer["metadata"]) == METADATA
    assert answer["metadata"]["model_version"] == "restaurants-hourly@1"
    predictions = answer["data"]["predictions"]
    assert len(predictions) == 24
    closed = [one for one in predictions if one["hour"] < simulator.OPENS]
    assert closed
    assert all(one["predicted_orders"] == 0 and "closed" in one["note"] for one in closed)
    opened = [one for one in predictions if one.get("prediction_id")]
    for one in opened:
        assert {"timestamp", "hour", "predicted_orders", "confidence"} <= set(one)
        assert 0 <= one["lower"] <= one["predicted_orders"] <= one["upper"]
        assert one["confidence"] not in (0.85, None)  # as measured, no constant


def test_demand_by_the_day_is_shared_out_over_the_hours(town):
    answer = town.ask("demand", restaurant_id="restaurant-2", hours_ahead=168, forecast_type="daily")
    assert answer["metadata"]["model_version"] == "restaurants-demand@1"
    days = answer["data"]["predictions"]
    assert [one["date"] for one in days] == sorted(one["date"] for one in days)
    assert len(days) == 7
    for one in days:
        shares = [hour["predicted_orders"] for hour in one.get("hourly_breakdown", [])]
        assert not shares or sum(shares) == pytest.approx(one["predicted_orders"], rel=0.05)
    assert {one["day_of_week"] for one in days} >= {"Monday", "Sunday"}


def test_the_same_question_is_answered_from_what_was_kept_and_a_new_row_asks_anew(town):
    first = town.ask("peak_hours", restaurant_id="restaurant-3", days_ahead=2)
    again = town.ask("peak_hours", restaurant_id="restaurant-3", days_ahead=2)
    assert (first["metadata"]["cached"], again["metadata"]["cached"]) == (False, True)
    assert first["data"] == again["data"]
    assert all(len(day["peak_hours"]) <= 3 for day in first["data"]["analysis"])
    ingesting.ingest(
        town.app.rooms, "calendar", rows=[{"restaurant": "restaurant-3", "date": "2030-01-01", "closed": 1}]
    )
    assert town.ask("peak_hours", restaurant_id="restaurant-3", days_ahead=2)["metadata"]["cached"] is False


def test_a_day_off_is_zero_and_says_why(town, city):
    rests = next(i for i in range(4) if city.rests[i])
    days = town.ask("demand", restaurant_id=city.names[rests], hours_ahead=168, forecast_type="daily")["data"][
        "predictions"
    ]
    shut = [one for one in days if one["predicted_orders"] == 0]
    assert len(shut) == 1
    assert "of this weekday were" in shut[0]["note"]


def test_an_unknown_restaurant_is_not_found_with_near_names_in_the_envelope(town):
    with pytest.raises(NotFound) as error:
        town.ask("demand", restaurant_id="restaurant-9")
    said = to_builtins(refusal(error.value, town.clock.now()))
    assert said["success"] is False
    assert set(said) == {"success", "error", "message", "timestamp"}
    assert "restaurant-1" in said["message"]


def test_a_new_restaurant_gets_a_prior_with_a_wider_interval(town, city):
    ingesting.ingest(
        town.app.rooms, "about", rows=[{"restaurant_id": 77, "genre": city.genre[0], "area": city.area[0]}]
    )
    new = town.ask("demand", restaurant_id=77, hours_ahead=48, forecast_type="daily")["data"]
    old = town.ask("demand", restaurant_id="restaurant-1", hours_ahead=48, forecast_type="daily")["data"]
    assert new["basis"].startswith("prior")
    assert old["basis"] == "own history"
    assert {one["note"] for one in new["predictions"]} == {"prior"}
    width = [(one["upper"] + 1) / (one["lower"] + 1) for one in new["predictions"]]
    others = [(one["upper"] + 1) / (one["lower"] + 1) for one in old["predictions"] if one["predicted_orders"]]
    assert max(width) > max(others)


def test_items_and_categories_are_quantiles_of_the_same_weekday(town):
    item = town.ask("item_demand", restaurant_id="restaurant-1", item_id="dish-1", hours_ahead=48)
    assert item["data"]["item_name"] == "dish 1"
    day = item["data"]["predictions"][0]
    assert day["lower"] <= day["prepare"] <= day["upper"]
    assert day["n"] >= 4
    category = town.ask("category_demand", restaurant_id="restaurant-1", category_name="grill", hours_ahead=24)
    assert category["data"]["predictions"][0]["predicted_quantity"] >= 0
    with pytest.raises(NotFound, match="dish-"):
        town.ask("item_demand", restaurant_id="restaurant-1", item_id="dish-one")


def test_preparation_times_of_one_item_and_of_several(town):
    one = town.ask("prep_time", restaurant_id="restaurant-1", station_id="grill", menu_item_id="dish-4", queue=2)[
        "data"
    ]
    assert one["lower"] <= one["predicted"] <= one["upper"]
    assert one["predicted"] == pytest.approx(11 * 1.2, rel=0.25)  # what the simulator would need
    orders = [{"station_id": "grill", "menu_item_id": "dish-4"}, {"station_id": "grill", "menu_item_id": "dish-0"},
              {"station_id": "fry", "menu_item_id": "dish-1"}]  # fmt: skip
    from msgspec import convert

    from modelkeep.workloads.restaurants import kitchen_acts

    batch = kitchen_acts.batch_prep_time(
        town.app, convert({"restaurant_id": "restaurant-1", "orders": orders}, kitchen_acts.AskBatch)
    ).data
    grill = sum(p.predicted for p in batch.item_predictions if p.station_id == "grill")
    assert batch.estimated_total_time_minutes == pytest.approx(grill, abs=0.02)


def test_no_station_is_a_bottleneck_until_one_becomes_slower(town):
    calm = town.ask("bottlenecks", restaurant_id="restaurant-1")["data"]
    assert calm["bottlenecks"] in ([], ())
    assert len(calm["stations"]) == 4
    assert {one["bottleneck"] for one in calm["stations"]} <= {False, None}
    performance = town.ask("station_performance", restaurant_id="restaurant-1")["data"]["stations"]
    assert all(one["min"] <= one["median"] <= one["max"] and one["n"] for one in performance)


def test_customers_have_calibrated_chances_segments_and_values(town):
    everyone = town.ask("customers", restaurant_id="restaurant-1")["data"]["customers"]
    assert len(everyone) > 20
    who = everyone[0]["customer_id"]
    churn = town.ask("churn", restaurant_id="restaurant-1", customer_id=who)["data"]
    assert 0 <= churn["churn_probability"] <= 1
    assert churn["will_churn"] is (churn["churn_probability"] >= 0.5)
    value = town.ask("ltv", restaurant_id="restaurant-1", customer_id=who)["data"]
    assert value["lower"] <= value["predicted_ltv"] <= value["upper"]
    assert value["horizon_days"] == 180
    assert {one["ltv_segment"] for one in everyone} == {"low", "medium", "high"}
    risky = town.ask("at_risk", restaurant_id="restaurant-1", threshold=0.5)["data"]["customers"]
    assert all(one["churn_probability"] >= 0.5 for one in risky)
    best = town.ask("high_value", restaurant_id="restaurant-1", ltv_percentile=90)["data"]["customers"]
    assert len(best) <= len(everyone) * 0.2


def test_stock_acts_agree_with_each_other(town):
    plans = town.ask("inventory_batch", restaurant_id="restaurant-1")["data"]["recommendations"]
    assert {one["item_id"] for one in plans} == {"rice", "fish", "beer"}
    one = town.ask("inventory_recommendations", restaurant_id="restaurant-1", item_id="rice")["data"]
    assert one == next(plan for plan in plans if plan["item_id"] == "rice")
    status = town.ask("inventory_status", restaurant_id="restaurant-1")["data"]
    assert sum(status["summary"].values()) == 3
    to_order = town.ask("inventory_reorders", restaurant_id="restaurant-1")["data"]["items_to_reorder"]
    assert {row["item_id"] for row in to_order} == {p["item_id"] for p in plans if p["recommended_order_qty"]}
    tighter = town.ask("inventory_optimize", restaurant_id="restaurant-1", item_id="rice", service_level=0.99)["data"]
    assert tighter["safety_stock"] > one["safety_stock"]
    for act in ("inventory_waste", "inventory_costs"):
        assert town.ask(act, restaurant_id="restaurant-1")["success"]
    with pytest.raises(BadInput, match="a share between 0 and 1"):
        town.ask("inventory_optimize", restaurant_id="restaurant-1", item_id="rice", service_level=95)


def test_models_and_health_tell_the_truth(town):
    info = town.ask("model_info", model_type="demand", restaurant_id=1)["data"]
    assert info["version"] == "restaurants-demand@1"
    assert "rmsle" in info["metrics"]
    assert [one["serving"] for one in town.ask("model_versions", model_type="churn")["data"]["versions"]] == [True]
    health = town.ask("health")["data"]
    assert health["status"] == "healthy", health
    assert {part["name"] for part in health["parts"]} >= {"store", "data", "jobs", "demand", "kitchen"}
    assert town.ask("index")["data"]["models"]["restaurants-prep"] == "restaurants-prep@1"


def test_outcomes_are_told_from_the_orders_that_come_in(town, city):
    from modelkeep.workloads.restaurants import city_life

    town.app.rooms.recorder.flush() if hasattr(town.app.rooms.recorder, "flush") else None
    day = int(town.clock.now() // simulator.DAY)
    told = town.ask("demand", restaurant_id="restaurant-4", hours_ahead=12)["data"]["predictions"]
    asked = [one["prediction_id"] for one in told if one.get("prediction_id")]
    assert asked
    for hour in range(day * 24, day * 24 + 24):
        for kind, rows in city_life.hour(city, hour * 3600.0, seed=11).items():
            if rows:
                ingesting.ingest(town.app.rooms, kind, rows=rows)
    town.clock.advance(86400.0)
    assert telling.tell_outcomes(town.app.rooms).told >= len(asked)
    assert telling.tell_outcomes(town.app.rooms).told == 0
    with town.app.rooms.store.read() as ledger:
        assert ledger.records.outcomes(asked[0])


def test_simulated_life_sends_and_asks_and_the_page_shows_it(town):
    from modelkeep.workloads.restaurants import WORKLOAD, playing, watching

    for hour in (3, 6):
        playing.play(town.app, town.clock.now() // 86400 * 86400 + 86400 + hour * 3600)
    page = WORKLOAD.panel(town.app)
    assert [table.title for table in page.tables] == [
        "Models", "Restaurants, last 28 days", "Bottlenecks", "Stock that runs out",
    ]  # fmt: skip
    assert len(page.tables[0].rows) == 5
    readings = list(watching.probe(town.app.rooms))
    assert {"restaurant_silence", "station_slowed", "stock_short"} <= {reading.name for reading in readings}
