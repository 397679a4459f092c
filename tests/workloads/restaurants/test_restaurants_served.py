"""The guide's requests over HTTP, refusals in its envelope, and files of data."""

import httpx
import pytest

from modelkeep import App, settings
from modelkeep.claims import key_of
from modelkeep.edge import KEY_HEADER
from modelkeep.edge.server import running

ORDERS = """order_id,restaurant_id,created_at,item_id,quantity
1,7,2024-03-01T12:00:00,soup,1
2,7,2024-03-01T13:00:00,soup,2
,7,2024-03-01T13:00:00,soup,2
3,7,yesterday,soup,2
"""


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    (folder / "modelkeep.toml").write_text('workloads = ["restaurants"]\n')
    asked = settings.load(folder=folder, environ={}, flags={"server.listen": [0], "watch.every": 0.0})
    with App.open(asked) as app, running(app) as url:
        headers = {KEY_HEADER: key_of(folder) or ""}
        with httpx.Client(base_url=url, headers=headers, timeout=30) as found:
            yield found


def test_a_file_of_orders_is_taken_in_and_its_bad_rows_are_named(client):
    told = client.post("/api/data/orders", files={"file": ("orders.csv", ORDERS, "text/csv")}, data={"format": "csv"})
    assert told.status_code == 200, told.text
    found = told.json()["data"]
    assert (found["received"], found["taken"], found["bad"]) == (4, 2, 2)
    assert [row["row"] for row in found["bad_rows"]] == [2, 3]
    assert "order is missing" in found["bad_rows"][0]["reason"]
    again = client.post("/api/data/orders", json={"kind": "orders", "rows": [
        {"order_id": 1, "restaurant_id": 7, "created_at": "2024-03-01T12:00:00", "item_id": "soup", "quantity": 3}
    ]})  # fmt: skip
    assert again.json()["data"]["known"] == 1


def test_refusals_have_the_envelope_and_the_right_status(client):
    unknown = client.post("/api/predictions/demand", json={"restaurant_id": 8})
    assert unknown.status_code == 404
    assert set(unknown.json()) == {"success", "error", "message", "timestamp"}
    assert unknown.json()["success"] is False
    assert "'8'" in unknown.json()["message"]
    missing = client.post("/api/predictions/demand", json={"restaurant_id": 7})
    assert missing.status_code == 404
    assert "restaurants-hourly" in missing.json()["message"]
    wrong = client.post("/api/predictions/demand", json={"restaurant_id": 7, "hours_ahead": 999})
    assert wrong.status_code in {400, 422}


def test_without_models_the_service_is_degraded_and_never_healthy(client):
    assert client.get("/api/health").json()["data"]["status"] == "degraded"
    assert client.get("/api/status").status_code == 200
    index = client.get("/api/").json()["data"]
    assert set(index["models"].values()) == {None}
    assert client.get("/api/model/info?model_type=demand&restaurant_id=1").status_code == 404
    assert client.post("/api/model/versions", json={"model_type": "churn"}).json()["data"]["versions"] == []


def test_get_takes_its_fields_from_the_query(client):
    stations = client.get("/api/predictions/kitchen/bottlenecks?restaurant_id=7").json()
    assert stations["data"]["bottlenecks"] == []
    client.post("/api/data/stock", json={"kind": "stock", "rows": [
        {"restaurant_id": 7, "item_id": "rice", "at": "2024-03-01", "current_stock": 4}
    ]})  # fmt: skip
    plan = client.get("/api/predictions/inventory/recommendations?restaurant_id=7&item_id=rice").json()["data"]
    assert plan["action"] == "unknown"
    assert plan["reorder_point"] is None
    assert "30 are needed" in plan["reason"]
    page = client.get("/workloads/restaurants")
    assert page.status_code == 200
