import pytest

from modelkeep import BadInput, NotFound
from modelkeep.workloads.restaurants import simulator
from modelkeep.workloads.restaurants.answering import refusal


def test_demand_by_the_hour_has_the_envelope_and_the_keys_of_the_guide(town):
    answer = town.ask("demand", restaurant_id="restaurant-1", hours_ahead=24)
    assert answer["success"] is True
    assert set(answer["metadata"]) == {"model_version", "prediction_time_ms", "cached", "generated_at"}
    assert answer["metadata"]["model_version"] == "restaurants-hourly@1"
    predictions = answer["data"]["predictions"]
    assert len(predictions) == 24
    assert {"timestamp", "hour", "predicted_orders", "confidence", "lower", "upper"} <= set(predictions[6])
    closed = [one for one in predictions if one["hour"] < simulator.OPENS]
    assert all(one["predicted_orders"] == 0 and "closed" in one["note"] for one in closed)
