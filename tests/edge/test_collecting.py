"""Collection: what waits while the store is away, switching it off, and the alerts of the daily and the weekly look."""

import json
import time

import msgspec
import pytest
from served_house import served
from waiting import until

from modelkeep.nouns import Reading

SIGNATURE = {
    "inputs": [{"name": "x", "kind": "number"}, {"name": "note", "kind": "text"}],
    "output": {"name": "y", "kind": "number"},
}


def stats(house):
    return house.get("/v1/collection/stats").json()


def alerts(house):
    return {a["rule"]: a for a in house.get("/v1/alerts", active=True).json()["alerts"]}


def ran(house, task):
    job = house.post(f"/v1/tasks/{task}/run", {}).json()["id"]
    done = until(lambda: (j := house.get(f"/v1/jobs/{job}").json())["state"] in {"done", "failed"} and j)
    assert done["state"] == "done", done
    return done["result"]


@pytest.mark.row("LOG-12")
def test_records_queue_while_the_store_is_away_and_are_drained_by_force(tmp_path):
    with served(tmp_path / "data", recorder__batch=7, watch__every=0) as house:
        house.keep("doubler")
        assert stats(house)["batch"] == 7
        database = house.folder / "modelkeep.db"
        database.rename(database.with_suffix(".away"))
        for n in range(100):
            assert house.ask(x=n).status_code == 200
        assert until(lambda: stats(house)["pending"] == 100)
        away = stats(house)
        assert (away["stored"], away["bytes"], away["oldest"]) == (None, None, None)
        assert "gone" in away["cause"]
        stuck = house.post("/v1/collection/flush", {"within": "100ms"}).json()
        assert (stuck["pending"], stuck["flushed"]) == (100, 0)
        database.with_suffix(".away").rename(database)
        forced = house.post("/v1/collection/flush").json()
        assert (forced["pending"], forced["cause"]) == (0, "")
        assert (stats(house)["pending"], stats(house)["stored"]) == (0, 100)


@pytest.mark.row("LOG-13")
def test_the_statistics_of_collection(tmp_path):
    with served(tmp_path / "data", watch__every=0) as house:
        empty = stats(house)
        assert (empty["enabled"], empty["pending"], empty["stored"], empty["oldest"]) == (True, 0, 0, None)
        house.keep("doubler")
        before = house.rooms.clock.now()
        for n in range(10):
            house.ask(x=n)
        house.rooms.recorder.flush()
        found = stats(house)
        assert (found["stored"], found["exact"], found["fields"]) == (10, True, ["plan", "x"])
        assert 500 < found["bytes"] < 5000
        assert found["oldest"] >= time.strftime("%Y-%m-%dT%H:%M", time.gmtime(before))


@pytest.mark.row("ALR-28", "MNT-05")
def test_collection_that_is_off_while_records_wait_is_one_alert_with_its_actions(tmp_path):
    with served(tmp_path / "data", watch__every=0, store__busy=0.2) as house:
        house.keep("doubler")
        database = house.folder / "modelkeep.db"
        database.rename(database.with_suffix(".away"))
        for n in range(3):
            assert house.ask(x=n).status_code == 200
        until(lambda: stats(house)["pending"] == 3)
        off = {"why": "consent was withdrawn", "by": "ann"}
        assert house.post("/v1/collection/off", off).json() == {"enabled": False, "pending": 3, "remembered": False}
        database.with_suffix(".away").rename(database)
        assert house.ask(x=5).status_code == 200, "models go on answering"
        refused = house.post("/v1/outcomes", {"prediction_id": "1-1", "actual": 1.0})
        assert (refused.status_code, "modelkeep collection on" in refused.text) == (409, True)
        found = ran(house, "verify_collection")
        assert (found["status"], found["enabled"], found["pending"], len(found["opened"])) == ("warning", False, 3, 1)
        open_now = alerts(house)
        assert list(open_now) == ["data_collection"]
        told = open_now["data_collection"]
        assert (told["severity"], told["type"]) == ("warning", "dataCollectionIssue")
        assert told["message"].startswith("Data collection disabled but pending records exist")
        assert told["recommended_actions"] == ["Check user consent status", "Force upload pending data"]
        assert ran(house, "verify_collection")["opened"] == [], "it is opened once"
        assert house.post("/v1/collection/flush").json() == {"flushed": 3, "pending": 0, "cause": ""}
        assert (stats(house)["enabled"], stats(house)["stored"]) == (False, 3)
        assert house.post("/v1/collection/on").json()["enabled"]
        assert ran(house, "verify_collection")["status"] == "ok"
        (act, *_) = house.get("/v1/acts", subject="server").json()["acts"]
        assert act["what"] == "collection_on"


def test_what_was_switched_off_stays_off_after_a_restart(tmp_path):
    with served(tmp_path / "data") as house:
        house.keep("doubler")
        off = house.post("/v1/collection/off", {"why": "consent was withdrawn", "by": "ann"}).json()
        assert off == {"enabled": False, "pending": 0, "remembered": True}
        (act, *_) = house.get("/v1/acts", subject="server").json()["acts"]
        assert (act["what"], act["why"], act["who"]) == ("collection_off", "consent was withdrawn", "ann")
    with served(tmp_path / "data") as house:
        assert stats(house)["enabled"] is False
        house.ask(x=1)
        house.post("/v1/collection/on")
        house.ask(x=2)
        house.rooms.recorder.flush()
        assert stats(house)["stored"] == 1


def record(n, size):
    return {
        "id": f"u{n}",
        "prediction": 1.0,
        "features": {"x": 1.0, "note": "n" * size},
        "subject": "user42",
        "at": 1_700_000_000,
    }


@pytest.mark.row("ALR-29", "MNT-19")
@pytest.mark.parametrize("beyond", [0, 1])
def test_a_person_whose_export_is_too_large_is_told_of(tmp_path, beyond):
    limit = 1024 * 1024
    with served(tmp_path / "data", watch__every=0) as house:
        house.post("/v1/models/m/external", {"signature": SIGNATURE})

        house.post("/v1/predictions", {"model": "m", **record(1, 1_000_000)})
        house.rooms.recorder.flush()
        with house.rooms.store.read() as ledger:
            (hit,) = ledger.records.latest("m")
        first = len(msgspec.json.encode(hit))
        house.post("/v1/predictions", {"model": "m", **record(2, 100)})
        house.rooms.recorder.flush()
        with house.rooms.store.read() as ledger:
            second = len(msgspec.json.encode(ledger.records.latest("m")[0]))
        rest = limit - first - second + beyond
        base = len(msgspec.json.encode(msgspec.structs.replace(hit, features={"x": 1.0, "note": ""})))
        house.post("/v1/predictions", {"model": "m", **record(3, rest - base)})
        house.post("/v1/predictions", {"model": "m", **record(4, 10), "id": "other", "subject": "user7"})
        house.rooms.recorder.flush()
        found = ran(house, "audit_collection")
        assert abs(found["largest"] - limit - beyond) <= 2, "ids differ by a digit"
        assert (found["people"], len(found["by_person"]), found["records"]) == (2, 2, 4)
        assert found["by_field"]["features.note"] > 1_000_000
        assert "user42" not in json.dumps(found), "people stand under pseudonyms"
        assert ("collection_size" in alerts(house)) == (found["largest"] > limit)


@pytest.mark.row("ALR-29")
def test_the_limit_of_an_export_is_exact(tmp_path):
    with served(tmp_path / "data", watch__every=0) as house:
        for size, opens in ((1_048_576, 0), (1_048_577, 1)):
            reading = Reading(
                name="collection_size", subject="server", value=float(size), level="ok", at=house.rooms.clock.now(), n=1
            )
            with house.rooms.store.write() as ledger:
                found = house.rooms.book.evaluate(ledger, [reading])
            assert len(found) == opens
        (told,) = alerts(house).values()
        assert told["recommended_actions"] == ["Review data retention policy", "Clean old data"]
        assert told["message"].startswith("Data collection size exceeds recommended limit")
