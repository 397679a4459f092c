"""Ask the records anything: lists by every field, accuracy day by day, labels that are not due, reviews, feedback."""

import json

import numpy as np
import pytest
from served_house import SIGNATURE, served
from waiting import until

from modelkeep.nouns import Policy
from modelkeep.quantities import DAY, iso

NUMBER = {"inputs": [{"name": "x", "kind": "number"}], "output": {"name": "y", "kind": "number"}}
CLASS = {
    "inputs": [{"name": "x", "kind": "number"}],
    "output": {"name": "fails", "kind": "category", "categories": ["no", "yes"]},
}


@pytest.fixture
def house(tmp_path):
    with served(tmp_path / "data", watch__every=0) as found:
        yield found


def send(house, model, records):
    content = "".join(json.dumps(record) + "\n" for record in records)
    answer = house.client.post(
        "/v1/predictions", content=content, params={"model": model}, headers={"content-type": "application/x-ndjson"}
    )
    assert answer.json()["refused"] == 0, answer.text
    assert house.rooms.recorder.flush() == 0


def tell(house, model, outcomes):
    content = "".join(json.dumps({"prediction_id": n, "actual": value}) + "\n" for n, value in outcomes)
    answer = house.client.post(
        "/v1/outcomes", content=content, params={"model": model}, headers={"content-type": "application/x-ndjson"}
    )
    assert answer.json()["refused"] == 0, answer.text


def listed(house, model, **query):
    found, after = [], ""
    while True:
        page = house.get(f"/v1/models/{model}/predictions", **query, **({"after": after} if after else {})).json()
        found += page["predictions"]
        after = page["next"]
        if not after:
            return found


@pytest.mark.row("LOG-14")
def test_thirty_days_are_thirty_points_with_n_and_interval(house):
    now = house.rooms.clock.now()
    house.post("/v1/models/m/external", {"signature": NUMBER})
    draw = np.random.default_rng(1)
    midnight = now // DAY * DAY
    records, outcomes, days = [], [], {}
    for day in range(40):
        for n in range(0 if day == 5 else 12):
            at = midnight - day * DAY + (n + 0.5) * DAY / 24
            if at > now:
                continue
            error = float(draw.normal())
            records.append({"id": f"{day} {n}", "prediction": 10.0 + error, "at": at})
            outcomes.append((f"{day} {n}", 10.0))
            days.setdefault(day, []).append(error)
    send(house, "m", records)
    tell(house, "m", outcomes)
    found = house.get("/v1/models/m/accuracy", bucket="day", days=30).json()
    assert len(found["points"]) == 30
    assert found["points"][-1]["start"] == iso(midnight).replace(".000", "")
    for day, point in zip(range(29, -1, -1), found["points"], strict=True):
        errors = np.array(days.get(day, []))
        assert point["n"] == len(errors)
        if len(errors) >= 2:
            assert point["metrics"]["mae"] == pytest.approx(np.abs(errors).mean(), rel=1e-9)
            low, high = point["intervals"]["mae"]
            assert low <= point["metrics"]["mae"] <= high
        else:
            assert point["metrics"] == {}
    assert found["have"] == sum(point["n"] for point in found["points"])
    hours = house.get("/v1/models/m/accuracy", bucket="hour", start=midnight - DAY, end=midnight).json()
    assert (len(hours["points"]), sum(p["n"] for p in hours["points"])) == (24, 12)
    assert house.get("/v1/models/m/accuracy", bucket="hour", days=1000).status_code == 422


def test_a_forecast_is_scored_by_how_far_ahead_it_looked(house):
    """A day ahead this model errs by 1, two days ahead by 2, three by 4."""
    now = house.rooms.clock.now()
    house.post("/v1/models/m/external", {"signature": NUMBER})
    wrong = {1: 1.0, 2: 2.0, 3: 4.0}
    asked = [(d, n, now - 6 * DAY + 3600 * n) for d in wrong for n in range(20)]
    send(
        house,
        "m",
        [{"id": f"{d} {n}", "prediction": 10.0 + wrong[d], "at": at, "for": at + d * DAY} for d, n, at in asked],
    )
    tell(house, "m", [(f"{d} {n}", 10.0) for d, n, _ in asked])
    path = "/v1/models/m/accuracy"
    found = house.get(path, leads="0s,1d,2d,3d,30d", bucket="day", lead="2d..").json()
    assert [(one["least"] / DAY, one["n"], one["metrics"].get("mae")) for one in found["by_lead"]] == [
        (0, 0, None), (1, 0, None), (2, 20, 2.0), (3, 20, 4.0)
    ]  # fmt: skip
    assert (found["have"], found["metrics"]["mae"]) == (40, 3.0)
    assert sum(point["n"] for point in found["points"]) == 40
    assert house.get(path, lead="1d..2d").json()["metrics"]["mae"] == 1.0
    assert house.get(path, lead="..3d", key="nobody").json()["have"] == 0
    for asked_so in ({"lead": "2d"}, {"lead": "3d..1d"}, {"leads": "1d"}, {"leads": "2d,1d"}, {"lead": "soon.."}):
        assert house.get(path, **asked_so).status_code == 422


def test_labels_that_are_not_due_are_scored_nowhere(house):
    """A customer who has not left yet may still leave: who left is known at once, who stays after the horizon."""
    now = house.rooms.clock.now()
    house.keep("m")
    with house.rooms.store.write() as ledger:
        from modelkeep.jobs.changing import adopt

        adopt(ledger, Policy(model="m", horizon=10 * DAY, window=30 * DAY), who="t", why="", at=now)
    house.rooms.router.refresh()
    assert SIGNATURE.output.name == "y"
    old = [{"id": f"old {n}", "prediction": 5.0, "at": now - 12 * DAY + n} for n in range(20)]
    young = [{"id": f"young {n}", "prediction": 5.0, "at": now - 2 * DAY + n} for n in range(30)]
    send(house, "m", [*old, *young])
    tell(house, "m", [(f"old {n}", 6.0) for n in range(20)] + [(f"young {n}", 0.0) for n in range(30)])
    found = house.get("/v1/models/m/accuracy", window="30d").json()
    assert (found["have"], found["immature"], found["metrics"]["mae"]) == (20, 30, 1.0)
    whole = house.get("/v1/models/m/accuracy", window="30d", immature=True).json()
    assert (whole["have"], whole["immature"]) == (50, 0)
    points = house.get("/v1/models/m/accuracy", bucket="day", days=14).json()["points"]
    assert sum(point["n"] for point in points) == 20
    assert [point["mature"] for point in points] == [True] * 3 + [False] * 11
    house.post("/v1/tasks/watch/run", {})

    readings = until(lambda: (r := house.get("/v1/readings").json()["readings"]) and {x["name"]: x for x in r})
    assert (readings["mae"]["n"], readings["mae"]["value"]) == (20, 1.0)
    assert (readings["coverage"]["n"], readings["coverage"]["value"]) == (20, 1.0)
    assert readings["label_delay"]["level"] == "warning", "half of the outcomes took 12 days, the horizon is 10"
    asked = house.rooms.clock.now()
    with house.rooms.store.read() as ledger:
        mature = ledger.records.labelled("m", start=0, end=asked - 10 * DAY, limit=100)
    assert len(mature) == 20, "what a training is given"


def test_predictions_are_found_by_everything_that_is_recorded(house):
    now = house.rooms.clock.now()
    for _ in range(2):
        house.post("/v1/models/m/external", {"signature": NUMBER})
    records = [
        {
            "id": f"r{n}", "prediction": float(n), "at": now - 1000 + n, "key": f"k{n % 5}", "version": 1 + (n >= 60),
            "subject": f"person {n % 2}", **({"error": "too slow", "prediction": None} if n % 10 == 9 else {}),
            **({"role": "canary"} if n % 4 == 0 else {}),
        }
        for n in range(100)
    ]  # fmt: skip
    send(house, "m", [*records, {"id": "ahead", "prediction": 1.0, "at": now + 500}])
    tell(house, "m", [(f"r{n}", n + n / 10) for n in range(0, 100, 2)])

    def names(**query):
        return [p["given_id"] for p in listed(house, "m", **query)]

    assert names(limit=7) == ["ahead", *(f"r{n}" for n in range(99, -1, -1))], "page by page, those asked last first"
    assert names(version=2) == ["ahead", *(f"r{n}" for n in range(99, 59, -1))], "what a bad version answered"
    assert names(version=1, role="canary", limit=3) == [f"r{n}" for n in range(59, -1, -1) if n % 4 == 0]
    assert names(key="k3", since=now - 950, until=now - 920) == [f"r{n}" for n in range(79, 49, -1) if n % 5 == 3]
    assert names(failed=True) == [f"r{n}" for n in range(99, 0, -10)]
    assert names(low=20, high=22) == ["r22", "r21", "r20"]
    assert names(min_error=9.0) == ["r98", "r96", "r94", "r92", "r90"]
    assert names(max_error=0.3) == ["r2", "r0"]
    assert names(subject="person 1", limit=4)[:2] == ["r99", "r97"]
    assert names(flagged=True) == ["ahead"]
    shown = listed(house, "m", min_error=9.0)[0]
    assert (shown["truth"], shown["off_by"], shown["key"]) == (107.8, pytest.approx(9.8), "k3")
    assert house.get("/v1/models/m/predictions", version=9).status_code == 404
    assert house.get("/v1/models/m/predictions", after="x").status_code == 422
    assert house.get("/v1/models/m/predictions", since="yesterday").status_code == 422
    assert house.get("/v1/predictions/r5", model="m").json()["given_id"] == "r5"
    assert house.get("/v1/predictions/r5").status_code == 404


@pytest.mark.row("LOG-10")
def test_a_review_draws_of_every_kind_and_marks_by_whom(house):
    now = house.rooms.clock.now()
    house.post("/v1/models/failure/external", {"signature": CLASS})
    records = [
        {"id": f"r{n}", "prediction": "yes" if n % 50 == 0 else "no", "at": now - n, "features": {"x": n}}
        for n in range(400)
    ]
    records += [{"id": "broken", "prediction": None, "error": "no answer", "at": now - 7}]
    send(house, "failure", records)
    tell(house, "failure", [(f"r{n}", "no") for n in range(0, 400, 2)])
    shown = house.post("/v1/models/failure/reviews", {"sample": 50, "dry_run": True, "seed": 3}).json()
    assert (len(shown["predictions"]), shown["marked"]) == (50, 0)
    found = house.post("/v1/models/failure/reviews", {"sample": 50, "by": "ann", "note": "monthly", "seed": 3}).json()
    assert [p["given_id"] for p in found["predictions"]] == [p["given_id"] for p in shown["predictions"]]
    assert (found["marked"], found["by"]) == (50, "ann")
    assert found["strata"] == {
        "version 1, failed": "1 of 1", "version 1, no outcome yet": "20 of 200", "version 1, right": "21 of 192",
        "version 1, wrong": "8 of 8",
    } or found["strata"]["version 1, wrong"] == "8 of 8", found["strata"]  # fmt: skip
    one = found["predictions"][0]
    assert one["features"] is not None
    kept = house.get(f"/v1/predictions/{one['prediction_id']}").json()
    assert [(r["by"], r["note"]) for r in kept["reviews"]] == [("ann", "monthly")]
    again = house.post("/v1/models/failure/reviews", {"sample": 1000, "by": "bob"}).json()
    assert len(again["predictions"]) == 351, "what was reviewed is not drawn again"
    assert house.post("/v1/models/failure/reviews", {"sample": 5}).status_code == 422, "somebody reviews"


@pytest.mark.row("LOG-11")
def test_feedback_is_counted_shown_and_the_worst_come_first(house):
    house.keep("doubler")
    ids = [house.ask(x=n).json()["prediction_id"] for n in range(15)]
    house.rooms.recorder.flush()
    for n, id_ in enumerate(ids):
        told = {"prediction_id": id_, "rating": 1 + n % 5, "comment": f"say {n}", "id": f"f{n}", "by": "ann"}
        assert house.post("/v1/feedback", told).json() == {
            "id": f"f{n}",
            "prediction_id": id_,
            "new": True,
            "known": True,
        }
    assert house.post("/v1/feedback", {"prediction_id": ids[0], "rating": 5, "id": "f0"}).json()["new"] is False
    found = house.get("/v1/feedback", model="doubler").json()
    assert (found["count"], found["mean"], found["ratings"]) == (15, 3.0, {str(r): 3 for r in range(1, 6)})
    assert len(found["worst"]) == 10
    assert [f["rating"] for f in found["worst"]] == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4]
    shown = house.get(f"/v1/predictions/{ids[0]}").json()["feedback"]
    assert [(f["rating"], f["comment"], f["model"]) for f in shown] == [(1, "say 0", "doubler")]
    with house.rooms.store.write() as ledger:
        assert ledger.said.forget([ids[0]]) == (1, 0)
    assert house.get("/v1/feedback").json()["count"] == 14
    early = house.post("/v1/feedback", {"model": "doubler", "prediction_id": "to come", "rating": 3}).json()
    assert early["known"] is False
    for bad in ({"rating": 0}, {"rating": 6}, {"rating": "good"}, {"prediction_id": "x", "rating": 1}):
        assert house.post("/v1/feedback", {"prediction_id": ids[0], **bad}).status_code == 422
    assert house.get("/v1/feedback", model="dubler").status_code == 404


def test_an_outcome_that_no_answer_could_be_is_refused_with_what_is_allowed(house):
    house.post("/v1/models/failure/external", {"signature": CLASS})
    house.post("/v1/models/m/external", {"signature": NUMBER})
    send(house, "failure", [{"id": "a", "prediction": "no"}])
    id_ = listed(house, "failure")[0]["prediction_id"]
    for about in ({"prediction_id": id_}, {"prediction_id": "a", "model": "failure"}, {"model": "failure", "for": 5.0}):
        refused = house.post("/v1/outcomes", {**about, "actual": "maybe"})
        assert refused.status_code == 422
        assert refused.json()["error"]["problems"][0]["expected"] == "one of no, yes, or null"
    many = house.post("/v1/outcomes", {"outcomes": [{"model": "m", "for": 1, "actual": v} for v in (1, "high", True)]})
    assert [p["field"] for p in many.json()["error"]["problems"]] == ["outcomes[1].actual", "outcomes[2].actual"]
    nan = house.client.post("/v1/outcomes", content='{"model": "m", "for": 1, "actual": NaN}')
    assert nan.json()["error"]["problems"][0] == {
        "field": "actual",
        "expected": "a finite number",
        "got": "nan",
        "row": None,
    }
    assert house.post("/v1/outcomes", {"prediction_id": "a", "model": "failure", "actual": "yes"}).status_code == 200


@pytest.mark.row("LOG-03")
def test_years_late_corrected_withdrawn_and_before_its_prediction(house):
    now = house.rooms.clock.now()
    house.post("/v1/models/m/external", {"signature": NUMBER})
    first = house.post(
        "/v1/outcomes", {"model": "m", "prediction_id": "late", "actual": 7.0, "at": now - 3 * 365 * DAY}
    )
    assert first.json()["outcomes"][0]["state"] == "orphan"
    send(house, "m", [{"id": "late", "prediction": 5.0, "at": now - 5 * 365 * DAY}])
    span = {"start": now - 6 * 365 * DAY, "end": now}

    def sums():
        with house.rooms.store.read() as ledger:
            found = ledger.records.sums("m", **span)["model"]
        return found.n, found.absolute

    def told(value, **more):
        return house.post("/v1/outcomes", {"model": "m", "prediction_id": "late", "actual": value, **more}).json()[
            "outcomes"
        ][0]["state"]

    assert sums() == (1, 2.0)
    assert (told(6.0), sums()) == ("corrected", (1, 1.0))
    assert (told(6.0), sums()) == ("repeated", (1, 1.0))
    assert (told(9.0, at=now - 4 * 365 * DAY), sums()) == ("outdated", (1, 1.0))
    assert (told(None), sums()) == ("withdrawn", (0, 0.0))
    assert (told(5.5), sums()) == ("joined", (1, 0.5))
    shown = house.get("/v1/predictions/late", model="m").json()["outcomes"]
    assert [o["actual"] for o in shown] == [9.0, 7.0, 6.0, None, 5.5], "every revision with its time"
