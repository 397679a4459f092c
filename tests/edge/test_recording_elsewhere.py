"""Services that predict elsewhere send their records, and get everything but the serving."""

import json

import httpx
import pytest
from served_house import served

NOW = 1_700_000_000.0
SIGNATURE = {
    "inputs": [{"name": "x", "kind": "number", "low": -100, "high": 100}],
    "output": {"name": "y", "kind": "number"},
}


@pytest.fixture
def elsewhere(tmp_path):
    """A server that knows the model ``price``, which is served elsewhere."""
    with served(tmp_path / "data") as found:
        assert found.post("/v1/models/price/external", {"signature": SIGNATURE, "by": "ann"}).status_code == 201
        yield found


def kept(house, model="price"):
    """How many predictions of a model the store holds, once nothing waits any more."""
    assert house.rooms.recorder.flush() == 0
    return house.get(f"/v1/models/{model}").json()["summary"]["predictions"]


def made(n, **more):
    return {"id": f"order {n}", "features": {"x": float(n)}, "prediction": 2.0 * n, "key": f"k{n % 3}", **more}


def lines(house, records, **query):
    content = "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records)
    return house.client.post(
        "/v1/predictions", content=content, params=query, headers={"content-type": "application/x-ndjson"}
    )


def test_a_model_that_is_served_elsewhere_is_known_and_refuses_to_predict(elsewhere):
    (model,) = elsewhere.get("/v1/models").json()["models"]
    assert (model["model"], model["state"], model["champion"]) == ("price", "elsewhere", 1)
    refused = elsewhere.ask("price")
    assert refused.status_code == 409
    assert "served elsewhere" in refused.json()["error"]["message"]
    assert "POST /v1/predictions" in refused.json()["error"]["remedy"]
    assert elsewhere.post("/v1/models/price/versions/1/verify").json()["state"] == "ok"
    again = elsewhere.post("/v1/models/price/external", {"signature": SIGNATURE})
    assert (again.json()["number"], again.json()["role"]) == (2, "champion")
    elsewhere.keep("doubler")
    served_here = elsewhere.post("/v1/models/doubler/external", {"signature": SIGNATURE})
    assert served_here.status_code == 409


def test_one_record_and_many_are_kept_once_however_often_they_are_sent(elsewhere):
    one = elsewhere.post("/v1/predictions", {"model": "price", **made(1, latency_ms=12.5)})
    assert one.status_code == 200, one.text
    assert (one.json()["received"], one.json()["kept"]) == (1, 1)
    (id_,) = one.json()["prediction_ids"]
    assert kept(elsewhere) == 1
    shown = elsewhere.get(f"/v1/predictions/{id_}").json()
    assert (shown["prediction"], shown["features"], shown["key"]) == (2.0, {"x": 1.0}, "k1")
    assert shown["latency_ms"] == 12.5
    many = {"model": "price", "predictions": [made(n) for n in range(3)]}
    answer = elsewhere.post("/v1/predictions", many).json()
    assert (answer["kept"], answer["repeated"]) == (2, 1)
    bare = elsewhere.client.post("/v1/predictions", json=[{"model": "price", **made(n)} for n in range(4)])
    assert (bare.json()["kept"], bare.json()["repeated"]) == (1, 3)
    assert kept(elsewhere) == 4
    nameless = elsewhere.post("/v1/predictions", {"model": "price", "prediction": 1.0, "features": {"x": 1}})
    assert nameless.json()["kept"] == 1


def test_what_cannot_be_a_record_is_refused_by_name(elsewhere):
    def refusal(body):
        answer = elsewhere.client.post("/v1/predictions", content=body if isinstance(body, str) else json.dumps(body))
        assert answer.status_code in {404, 422}, answer.text
        return answer.json()["error"]

    assert refusal({"model": "pice", **made(1)})["near"] == ["price"]
    assert refusal({"model": "price", **made(1), "version": 7})["code"] == "not_found"
    for field, bad in (
        ("prediction", "high"), ("prediction", None), ("features.x", [1]), ("latency_ms", -1), ("id", "12-345"),
        ("interval", [2, 1]), ("at", "2500-01-01"), ("at", 1_700_000_000_000), ("score", 2),
    ):  # fmt: skip
        record = {"model": "price", **made(1)}
        name = field.partition(".")[2]
        record["features" if name else field] = {name: bad} if name else bad
        assert field.partition(".")[0] in refusal(record)["problems"][0]["field"], field
    nan = '{"model": "price", "prediction": 1.0, "features": {"x": NaN}}'
    assert refusal(nan)["problems"][0]["field"] == "features.x"
    endless = '{"model": "price", "predictions": [{"prediction": Infinity}]}'
    assert refusal(endless)["problems"][0]["field"] == "predictions[0].prediction"
    huge = {"model": "price", **made(1), "features": {"x": 2**70}}
    assert "64 bits" in refusal(huge)["message"]
    rows = refusal({"model": "price", "predictions": [made(1), made(2, prediction="x"), made(3, id="1-2")]})
    assert [p["row"] for p in rows["problems"]] == [1, 2]
    assert kept(elsewhere) == 0


def test_bad_lines_of_a_stream_are_named_and_the_rest_is_kept(elsewhere):
    records = [made(n) for n in range(5000)]
    records[17] = "{broken"
    records[18] = '{"prediction": NaN, "features": {"x": 1}}'
    records[4999] = {**made(4999), "model": "nobody"}
    answer = lines(elsewhere, [*records, "", made(5001)], model="price")
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["received"], told["kept"], told["refused"]) == (5001, 4998, 3)
    assert [p["line"] for p in told["problems"]] == [18, 19, 5000]
    assert "prediction" in told["problems"][1]["message"]
    assert told["problems"][2]["code"] == "not_found"
    again = lines(elsewhere, [made(n) for n in range(100)], model="price", dry_run=True).json()
    assert (again["kept"], again["repeated"]) == (2, 98)
    assert kept(elsewhere) == 4998


def test_a_clock_that_is_ahead_is_flagged_and_kept(elsewhere):
    now = elsewhere.rooms.clock.now()
    answer = elsewhere.post("/v1/predictions", {"model": "price", **made(1, at=now + 7200)}).json()
    assert (answer["kept"], answer["flagged"], kept(elsewhere)) == (1, 1, 1)
    shown = elsewhere.get(f"/v1/predictions/{answer['prediction_ids'][0]}").json()
    assert "in the future" in shown["flag"]
    assert elsewhere.post("/v1/predictions", {"model": "price", **made(2, at=now + 30)}).json()["flagged"] == 0


@pytest.mark.row("LOG-03", "LOG-04")
def test_records_from_elsewhere_meet_their_outcomes_by_their_own_name_and_by_time(elsewhere):
    early = elsewhere.post("/v1/outcomes", {"model": "price", "prediction_id": "order 3", "actual": 5.0}).json()
    assert early["outcomes"][0]["state"] == "orphan"
    records = [made(n, at=NOW + 60.0 * n, **{"for": NOW + 3600.0 * n}) for n in range(12)]
    assert lines(elsewhere, records, model="price").json()["kept"] == 12
    outcomes = [{"model": "price", "prediction_id": f"order {n}", "actual": 2.0 * n + 1} for n in range(6)]
    told = elsewhere.post("/v1/outcomes", {"outcomes": outcomes}).json()["outcomes"]
    assert [t["state"] for t in told] == ["joined", "joined", "joined", "corrected", "joined", "joined"]
    by_time = [
        {"model": "price", "key": f"k{n % 3}", "for": NOW + 3600.0 * n, "actual": 2.0 * n + 1} for n in range(6, 12)
    ]
    told = elsewhere.post("/v1/outcomes", {"outcomes": by_time}).json()["outcomes"]
    assert {t["state"] for t in told} == {"joined"}
    found = elsewhere.get("/v1/models/price/accuracy", start=NOW, end=NOW + 3600).json()
    assert (found["have"], found["metrics"]["mae"]) == (12, 1.0)


def test_the_token_and_the_store_guard_records_too(tmp_path, monkeypatch):
    monkeypatch.setenv("T", "word")
    with served(tmp_path / "data") as found:
        found.post("/v1/models/price/external", {"signature": SIGNATURE})
        found.rooms.store.close()
        away = found.post("/v1/predictions", {"model": "price", **made(1)})
        assert away.status_code == 503
        assert isinstance(found.client, httpx.Client)
