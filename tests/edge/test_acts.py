"""Every act over HTTP, on a real server."""

import hashlib
import time

import numpy as np
import pytest
from making_models import BROKEN, TRIPLER
from served_house import served
from waiting import until

from modelkeep.edge import KEY_HEADER
from modelkeep.nouns import Alert, Policy, Reading
from modelkeep.runtimes import packing

SIGNATURE = {
    "inputs": [{"name": "x", "kind": "number", "low": -100, "high": 100}],
    "output": {"name": "y", "kind": "number"},
}


def packed(folder, source):
    file = folder / "model.py"
    file.write_text(source)
    return packing.pack(file, function="predict", use="model")


def send(house, content):
    answer = house.client.put("/v1/files", content=content)
    assert answer.status_code == 201, answer.text
    assert answer.json() == {"digest": hashlib.sha256(content).hexdigest(), "size": len(content)}
    return answer.json()["digest"]


@pytest.mark.row("REG-01")
def test_a_file_is_sent_registered_and_listed(fresh, tmp_path):
    content = packed(tmp_path, "def predict(row):\n    return 2 * row['x']\n")
    body = {"file": send(fresh, content), "trust": True, "signature": SIGNATURE, "metrics": {"mae": 1.5}, "by": "me"}
    answer = fresh.post("/v1/models/doubler/versions", body)
    assert answer.status_code == 201, answer.text
    version = answer.json()
    assert (version["number"], version["size"], version["role"]) == (1, len(content), "candidate")
    assert version["artifact"] == hashlib.sha256(content).hexdigest()
    assert version["created"].endswith("Z")
    listed = fresh.get("/v1/models/doubler/versions").json()["versions"]
    assert listed[0]["metrics"]["mae"] == 1.5
    assert fresh.get("/v1/models/doubler/versions/1").json() == version
    assert list((fresh.folder / "work" / "uploads").iterdir()) == []
    again = fresh.post("/v1/models/doubler/versions", body)
    assert again.status_code == 404  # what was sent has done its work


@pytest.mark.parametrize("key", ["", "guessed"])
def test_nobody_vouches_for_code_by_saying_so(fresh, tmp_path, key):
    headers, content = {KEY_HEADER: key}, packed(tmp_path, "def predict(row):\n    return 1.0\n")
    body = {"file": send(fresh, content), "signature": SIGNATURE}
    refused = fresh.post("/v1/models/doubler/versions", {**body, "trust": True}, headers=headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "not_vouched")
    assert "server.trust" in refused.json()["error"]["remedy"]
    assert fresh.post("/v1/models/doubler/versions", body, headers=headers).status_code == 422, "without code it may"
    trainer = fresh.client.put("/v1/models/doubler/policy", json={"retrain": {"trainer": "os:getcwd"}}, headers=headers)
    assert trainer.status_code == 403
    assert fresh.client.put("/v1/models/doubler/policy", json={"drift": 0.3}, headers=headers).status_code == 200
    send(fresh, content)
    assert fresh.post("/v1/models/doubler/versions", {**body, "trust": True}).status_code == 201, "its owner may"


def test_a_server_may_be_told_to_trust_its_callers(tmp_path):
    with served(tmp_path / "data", server__trust=True) as found:
        file = send(found, packed(tmp_path, "def predict(row):\n    return 1.0\n"))
        body = {"file": file, "signature": SIGNATURE, "trust": True}
        assert found.post("/v1/models/m/versions", body, headers={KEY_HEADER: ""}).status_code == 201


def test_a_sample_gives_signature_and_metrics(fresh, tmp_path):
    sample = b"x,y\n" + b"".join(b"%d,%d\n" % (i, 2 * i + i % 3) for i in range(60))
    file = send(fresh, packed(tmp_path, "def predict(row):\n    return 2 * row['x']\n"))
    body = {"file": file, "trust": True, "sample": send(fresh, sample), "output": "y"}
    version = fresh.post("/v1/models/doubler/versions", body).json()
    assert version["metrics"]["mae"] == pytest.approx(1.0)
    assert [field["name"] for field in version["signature"]["inputs"]] == ["x"]


@pytest.mark.parametrize("content", [b"random bytes", b"\x80\x04cos\nsystem\n(S'true'\ntR.", b"PK\x03\x04broken"])
def test_a_file_that_is_no_model_is_refused_with_the_reason(fresh, content):
    answer = fresh.post("/v1/models/m/versions", {"file": send(fresh, content), "signature": SIGNATURE})
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "bad_artifact"
    assert fresh.get("/v1/models").json() == {"models": []}
    assert fresh.rooms.files.all() == []


def test_uploads_are_bounded_and_named(fresh):
    assert fresh.client.put("/v1/files", content=b"").status_code == 400
    missing = fresh.post("/v1/models/m/versions", {"file": "0" * 64, "signature": SIGNATURE})
    assert missing.status_code == 404
    escape = fresh.post("/v1/models/m/versions", {"file": "../../etc/passwd"})
    assert escape.status_code == 422


def test_verify_finds_a_flipped_byte(fresh):
    version = fresh.keep("doubler")
    assert fresh.post("/v1/models/doubler/versions/1/verify").json()["state"] == "ok"
    path = fresh.rooms.files.path(version.artifact)
    path.chmod(0o644)
    path.write_bytes(b"x" + path.read_bytes()[1:])
    found = fresh.post("/v1/models/doubler/versions/1/verify").json()
    assert found["state"] == "checksum_mismatch"
    assert version.artifact in found["detail"]


@pytest.mark.row("DEP-01", "DEP-17")
def test_a_release_answers_at_once_and_walks(fresh):
    fresh.keep("doubler", policy=Policy(model="doubler", targets={"mae": 5.0}))
    fresh.keep("doubler", TRIPLER, released=False)
    dry = fresh.post("/v1/models/doubler/releases", {"number": 2, "share": "1%", "dry_run": True}).json()
    assert (dry["job"], dry["canary"]) == ("", [0.01])
    assert dry["plan"]
    assert fresh.get("/v1/releases").json() == {"releases": []}
    body = {"number": 2, "share": "50%", "stage": "24h", "by": "me", "why": "newer data"}
    answer = fresh.post("/v1/models/doubler/releases", body)
    assert answer.status_code == 202, answer.text
    job = answer.json()["job"]
    show = f"/v1/releases/{job}"
    found = until(lambda: len(steps(fresh, show)) >= 3 and fresh.get(show).json())
    assert [step["name"] for step in found["job"]["steps"]][:3] == ["validating", "backed_up", "canary"]
    assert all(step["at"].endswith("Z") for step in found["job"]["steps"])
    assert found["why"] == "newer data"
    assert fresh.get("/v1/models/doubler").json()["summary"]["challenger"] == 2
    assert fresh.post("/v1/models/doubler/releases", {"number": 2}).status_code == 409
    assert fresh.get("/v1/backups").json()["backups"][0]["model"] == "doubler"
    events = fresh.get("/v1/timeline", model="doubler").json()["events"]
    assert {"release: canary", "release: backed_up"} <= {event["what"] for event in events}
    assert [event["at"] for event in events] == sorted((event["at"] for event in events), reverse=True)


def steps(house, path):
    answer = house.get(path).json()
    return answer["job"]["steps"] if "job" in answer else []


def test_a_first_release_takes_over(fresh):
    fresh.keep("doubler", released=False)
    assert fresh.ask().status_code == 404
    plan = fresh.post("/v1/models/doubler/releases", {"number": 1}).json()
    assert plan["first"]
    until(lambda: fresh.ask().status_code == 200)
    job = f"/v1/jobs/{plan['job']}"
    until(lambda: fresh.get(job).json()["state"] == "done")
    assert fresh.get(job).json()["result"]["state"] == "promoted"


def test_a_version_below_its_policy_needs_force_and_a_reason(fresh):
    fresh.keep("doubler", policy=Policy(model="doubler", targets={"mae": 0.5}), released=False)
    answer = fresh.post("/v1/models/doubler/releases", {"number": 1})
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "below_policy"
    assert "mae 1 > 0.5" in answer.json()["error"]["message"]
    assert fresh.post("/v1/models/doubler/releases", {"number": 1, "force": True}).status_code == 409
    forced = fresh.post("/v1/models/doubler/releases", {"number": 1, "force": True, "why": "better than nothing"})
    assert forced.status_code == 202


@pytest.mark.row("DEP-11")
def test_a_rollback_is_in_force_at_once(fresh):
    fresh.keep("doubler")
    fresh.keep("doubler", TRIPLER)
    assert fresh.ask(x=2).json()["version"] == 2
    dry = fresh.post("/v1/models/doubler/rollback", {"dry_run": True}).json()
    assert (dry["champion"], dry["done"]) == (1, False)
    assert fresh.ask(x=2).json()["version"] == 2
    start = time.perf_counter()
    did = fresh.post("/v1/models/doubler/rollback", {"why": "wrong", "by": "me"}).json()
    assert time.perf_counter() - start < 1.0
    assert (did["champion"], did["left"], did["done"]) == (1, 2, True)
    answer = fresh.ask(x=2).json()
    assert (answer["version"], answer["prediction"]) == (1, 4.0)
    acts = fresh.get("/v1/acts", subject="doubler").json()
    assert acts["acts"][0]["what"] == "rollback"
    assert acts["broken_at"] is None
    assert fresh.post("/v1/models/doubler/rollback", {"to": 9}).status_code == 404
    assert fresh.post("/v1/models/doubler/rollback", {}).status_code == 409
    history = fresh.get("/v1/rollouts", model="doubler").json()["rollouts"]
    assert [rollout["champion"] for rollout in history] == [1, 2, 1]


@pytest.mark.row("REG-05")
def test_the_list_of_models_says_how_each_is(fresh):
    for name in ("ready", "off", "broken", "new"):
        fresh.keep(name, BROKEN if name == "broken" else TRIPLER, released=name != "new")
    fresh.post("/v1/models/off/disable", {"why": "maintenance"})
    for x in [1] * 5 + [60] * 30:
        fresh.ask(model="broken", x=x)
        fresh.ask(model="ready", x=x)
    found = {model["model"]: model for model in fresh.get("/v1/models").json()["models"]}
    states = {name: model["state"] for name, model in found.items()}
    assert states == {"ready": "ready", "off": "disabled", "broken": "unhealthy", "new": "candidate"}
    assert found["ready"]["average_processing_time_ms"] > 0
    assert found["ready"]["error_rate"] == 0
    assert found["broken"]["error_rate"] > 0.5


@pytest.mark.row("LOG-03")
def test_outcomes_by_id_late_twice_corrected_and_early(fresh):
    fresh.keep("doubler")
    told = fresh.ask(x=20).json()["prediction_id"]
    outcome = {"prediction_id": told, "actual": 42}
    until(lambda: fresh.get(f"/v1/predictions/{told}").status_code == 200)
    assert fresh.post("/v1/outcomes", outcome).json()["outcomes"][0]["state"] == "joined"
    assert fresh.post("/v1/outcomes", outcome).json()["outcomes"][0]["state"] == "repeated"
    corrected = fresh.post("/v1/outcomes", {**outcome, "actual": 43, "at": "2030-01-01T00:00:00Z"}).json()
    assert corrected["outcomes"][0]["state"] == "corrected"
    found = fresh.get(f"/v1/predictions/{told}").json()["outcomes"]
    assert [(o["actual"], o["at"][:4]) for o in found][1] == (43, "2030")
    writer, count = told.split("-")
    early = f"{writer}-{int(count) + 1}"
    assert fresh.post("/v1/outcomes", {"prediction_id": early, "actual": 1}).json()["outcomes"][0]["state"] == "orphan"
    assert fresh.ask(x=1).json()["prediction_id"] == early
    until(lambda: fresh.get(f"/v1/predictions/{early}").json().get("outcomes"))


@pytest.mark.row("LOG-04")
def test_outcomes_by_key_and_time(fresh):
    fresh.keep("doubler")
    ids = {day: fresh.ask(x=1, key="1", **{"for": f"2026-11-{day}"}).json()["prediction_id"] for day in (19, 20, 21)}
    until(lambda: fresh.get(f"/v1/predictions/{ids[21]}").status_code == 200)
    told = fresh.post("/v1/outcomes", {"model": "doubler", "key": "1", "for": "2026-11-20", "actual": 120}).json()
    assert told["outcomes"][0] == {"state": "joined", "predictions": [ids[20]], "revision": 1}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "actual"),
        ({"actual": 3}, "prediction_id"),
        ({"actual": 3, "model": "m", "key": "1"}, "prediction_id"),
        ({"actual": 3, "model": "m", "for": "soon"}, "for"),
        ({"actual": [3], "prediction_id": "1-1"}, "actual"),
        ({"outcomes": [{"actual": 3, "prediction_id": "1-1"}, {"actual": 3}]}, "outcomes[1].prediction_id"),
        ({"outcomes": [], "actual": 3}, "actual"),
        ({"outcomes": [{"actual": 3, "prediction": "1-1"}]}, "outcomes[0].prediction"),
        ({"actul": 3}, "actul"),
    ],
)
def test_a_bad_outcome_is_refused_by_its_field(house, body, field):
    answer = house.post("/v1/outcomes", body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["problems"][0]["field"] == field


@pytest.mark.row("LOG-05", "LOG-06")
def test_accuracy_equals_numpy_and_says_what_is_too_little(fresh):
    fresh.keep("doubler")
    random = np.random.default_rng(7)
    xs, noise = random.uniform(-50, 50, 50), random.normal(0, 3, 50)
    truths = [0.0 if i % 10 == 0 else float(2 * x + e) for i, (x, e) in enumerate(zip(xs, noise, strict=True))]
    rows = [{"features": {"x": float(x)}} for x in xs]
    answers = fresh.post("/v1/models/doubler/predict", {"rows": rows}).json()["predictions"]
    tell = [{"prediction_id": a["prediction_id"], "actual": t} for a, t in zip(answers, truths, strict=True)]
    fresh.post("/v1/outcomes", {"outcomes": tell[:9]})
    path = "/v1/models/doubler/accuracy"
    little = until(lambda: (f := fresh.get(path, window="7d").json())["have"] == 9 and f)
    assert (little["error"], little["need"], little["metrics"]) == ("insufficient_data", 10, {})
    fresh.post("/v1/outcomes", {"outcomes": tell[9:]})
    found = until(lambda: (f := fresh.get(path).json())["have"] == 50 and f, within=5)
    errors = 2 * xs - np.array(truths)
    some = np.array(truths) != 0
    assert found["metrics"]["mae"] == pytest.approx(np.abs(errors).mean(), abs=1e-9)
    assert found["metrics"]["rmse"] == pytest.approx(np.sqrt((errors**2).mean()), abs=1e-9)
    assert found["metrics"]["mape"] == pytest.approx((np.abs(errors[some] / np.array(truths)[some])).mean(), abs=1e-9)
    assert found["metrics"]["r2"] == pytest.approx(
        1 - (errors**2).sum() / ((np.array(truths) - np.mean(truths)) ** 2).sum(), abs=1e-9
    )
    assert (found["n_skipped"], found["sample_size"], found["error"]) == (5, 50, None)
    low, high = found["intervals"]["mae"]
    assert low < found["metrics"]["mae"] < high
    assert fresh.get(path, version=2).json()["error"]["code"] == "not_found"
    assert fresh.get(path, window="soon").status_code == 422
    assert fresh.get(path, start="2026-01-02", end="2026-01-01").status_code == 422
    assert fresh.get("/v1/models/dubler/accuracy").status_code == 404


@pytest.fixture(scope="module")
def alerted(house):
    now = house.rooms.clock.now()
    with house.rooms.store.write() as ledger:
        for name, severity in (("a1", "medium"), ("a2", "critical")):
            ledger.alerts.put(
                Alert(
                    id=name,
                    rule="slow",
                    subject="doubler@1",
                    severity=severity,
                    kind="performanceDegradation",
                    message="it is slow",
                    state="open",
                    opened=now,
                    changed=now,
                    system={"cpu_percent": 12.0},
                    advice=("look at it",),
                    command="modelkeep rollback doubler",
                    readings=(Reading(name="latency_p95", subject="doubler@1", value=2.0, level="warning", at=now),),
                )
            )
    return house


@pytest.mark.row("ALR-01")
def test_an_alert_has_its_six_fields(alerted):
    found = alerted.get("/v1/alerts/a1").json()
    assert found["type"] == "performanceDegradation"
    assert found["severity"] == "medium"
    assert found["message"] == "it is slow"
    assert found["timestamp"].endswith("Z")
    assert found["system_metrics"] == {"cpu_percent": 12.0}
    assert found["recommended_actions"] == ["look at it"]
    assert found["readings"][0]["at"].endswith("Z")


@pytest.mark.row("ALR-03")
def test_severities_are_one_scale(alerted):
    def ids(**query):
        return {alert["id"] for alert in alerted.get("/v1/alerts", **query).json()["alerts"]}

    assert ids() >= {"a1", "a2"}
    assert ids(severity="error") == {"a2"}
    assert ids(severity="high") == {"a2"}
    assert ids(severity="warning") == {"a1", "a2"}
    answer = alerted.get("/v1/alerts", severity="urgent")
    assert answer.status_code == 422
    assert answer.json()["error"]["problems"][0]["field"] == "severity"


@pytest.mark.row("ALR-23")
def test_an_alert_is_acknowledged_and_resolved(alerted):
    assert alerted.post("/v1/alerts/a1/ack", {}).status_code == 422
    found = alerted.post("/v1/alerts/a1/ack", {"who": "ada"}).json()
    assert (found["state"], found["acknowledged_by"]) == ("acknowledged", "ada")
    resolved = alerted.post("/v1/alerts/a1/resolve", {"why": "fixed", "by": "ada"}).json()
    assert resolved["state"] == "resolved"
    assert resolved["resolved"].endswith("Z")
    assert alerted.post("/v1/alerts/a1/ack", {"who": "bob"}).status_code == 409
    assert alerted.post("/v1/alerts/zz/ack", {"who": "bob"}).status_code == 404


@pytest.mark.row("MNT-33")
def test_jobs_are_run_listed_and_remembered(fresh):
    fresh.keep("doubler")
    answer = fresh.post("/v1/tasks/backup/run", {"arguments": {"model": "doubler"}, "by": "me"})
    assert answer.status_code == 202, answer.text
    job = answer.json()["id"]
    found = until(lambda: (f := fresh.get(f"/v1/jobs/{job}").json())["state"] == "done" and f)
    assert found["seconds"] >= 0
    assert found["result"]["backups"][0]["model"] == "doubler"
    assert fresh.get("/v1/tasks/backup/history").json()["jobs"][0]["id"] == job
    tasks = {task["name"]: task for task in fresh.get("/v1/tasks").json()["tasks"]}
    assert tasks["watch"]["next_run"].endswith("Z")
    assert tasks["backup"]["last_state"] == "done"
    assert fresh.post("/v1/tasks/bakup/run", {}).json()["error"]["near"] == ["backup"]
    assert fresh.post(f"/v1/jobs/{job}/cancel", {}).status_code == 409
    assert fresh.get("/v1/jobs", state="nonsense").status_code == 422


@pytest.mark.row("MNT-33")
def test_overlapping_runs_are_prevented(fresh):
    fresh.app.runner.stop()
    assert fresh.post("/v1/tasks/backup/run", {}).status_code == 202
    answer = fresh.post("/v1/tasks/backup/run", {})
    assert answer.status_code == 409
    job = fresh.get("/v1/jobs", task="backup").json()["jobs"][0]["id"]
    assert job in answer.json()["error"]["message"]
    assert fresh.post(f"/v1/jobs/{job}/cancel", {"why": "not now"}).json()["state"] == "cancelled"


def test_policies_change_by_number(fresh):
    fresh.keep("doubler")
    first = fresh.get("/v1/models/doubler/policy").json()
    body = {"targets": {"mae": 3.0}, "horizon": 3600, "why": "agreed"}
    second = fresh.client.put("/v1/models/doubler/policy", json=body).json()
    assert second["policy"]["targets"] == {"mae": 3.0}
    assert second["policy"]["number"] >= first["policy"]["number"]
    third = fresh.client.put("/v1/models/doubler/policy", json={"horizon": 60}).json()
    assert third["policy"]["number"] == second["policy"]["number"] + 1
    assert third["policy"]["targets"] == {"mae": 3.0}
    assert third["in_force"]
    fresh.client.put("/v1/models/doubler/policy", json={"trial": {"shadow": 5, "canary": [0.5]}})
    fourth = fresh.client.put("/v1/models/doubler/policy", json={"trial": {"shadow": 7}}).json()["policy"]
    assert (fourth["trial"]["shadow"], fourth["trial"]["canary"]) == (7.0, [0.5])
    bad = fresh.client.put("/v1/models/doubler/policy", json={"horizon": -1})
    assert bad.json()["error"]["problems"][0]["field"] == "horizon"


def test_readings_come_newest_and_as_a_series(house):
    now = house.rooms.clock.now()
    with house.rooms.store.write() as ledger:
        ledger.readings.add(
            [Reading(name="depth", subject="doubler@1", value=float(i), level="ok", at=now - 60 + i) for i in range(3)]
        )
    newest = house.get("/v1/readings", subject="doubler", name="depth").json()["readings"]
    assert [(r["value"], r["at"][-1]) for r in newest] == [(2.0, "Z")]
    series = house.get("/v1/readings/series", name="depth", subject="doubler@1", window="1h").json()["readings"]
    assert [r["value"] for r in series] == [0.0, 1.0, 2.0]


def test_the_configuration_is_shown_without_secrets(house):
    shown = {s["key"]: s for s in house.get("/v1/config").json()["settings"]}
    assert shown["server.listen"]["source"].startswith("flag")


def test_status_is_one_answer(house):
    house.ask()
    found = house.get("/v1/status").json()
    assert found["serving"] is True
    assert found["at"].endswith("Z")
    assert [model["model"] for model in found["models"]] == ["doubler"]
    assert found["recording"]["cause"] == ""


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/nothing", 404, "no_route"),
        ("/v1/models/none", 404, "not_found"),
        ("/v1/models/doubler/versions/none", 422, "bad_input"),
        ("/v1/models/doubler/versions/0", 422, "bad_input"),
        ("/v1/models/doubler/versions/99", 404, "not_found"),
        ("/v1/jobs?limit=0", 422, "bad_input"),
        ("/v1/jobs?limit=many", 422, "bad_input"),
        ("/v1/jobs?limt=3", 422, "bad_input"),
        ("/v1/jobs?limit=3&limit=4", 422, "bad_input"),
        ("/v1/predictions/none", 404, "not_found"),
    ],
)
def test_what_cannot_be_is_said_in_one_shape(house, path, status, code):
    answer = house.get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.json()["error"]["message"]


def test_an_unknown_field_names_the_nearest(house):
    assert house.get("/v1/jobs?limt=3").json()["error"]["remedy"] == "did you mean 'limit'?"


def test_a_wrong_method_says_so(house):
    answer = house.client.delete("/v1/models")
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "wrong_method")
