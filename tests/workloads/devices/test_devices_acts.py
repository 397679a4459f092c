"""The acts over HTTP, as the operations guide asks them; and the workload on an installation without devices."""

import httpx
import msgspec
import pytest
from homes import DAY, states
from msgspec import Raw

from modelkeep import App, Conflict, ManualClock, NotFound, Settings, moment, settings
from modelkeep.claims import key_of
from modelkeep.edge import KEY_HEADER
from modelkeep.edge.server import running
from modelkeep.nouns import Job
from modelkeep.workloads.devices import (
    assessing,
    health_acts,
    keeping,
    panel,
    planning,
    playing,
    prediction_acts,
    reading_acts,
    training_acts,
    watching,
)

START = moment("2025-07-01T07:00:00Z")


def at_path(found, path):
    """What ``jq -r`` answers for a path of names."""
    for name in path.strip(".").split("."):
        found = found[name]
    return found


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """A home of 24 devices with 180 days of readings and a model, served."""
    folder = tmp_path_factory.mktemp("homes")
    (folder / "modelkeep.toml").write_text('workloads = ["devices"]\n')
    asked = settings.load(folder=folder, environ={}, flags={"server.listen": [0], "watch.every": 0.0})
    few, playing.DEVICES = playing.DEVICES, 24
    try:
        with App.open(asked, clock=ManualClock(START)) as app:
            playing.play(app, START)
            app.runner.run_due()
            app.rooms.router.refresh()
            with running(app) as url:
                headers = {KEY_HEADER: key_of(folder) or ""}
                with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
                    yield app, client
    finally:
        playing.DEVICES = few


def get(client, path, **query):
    answer = client.get(path, params=query or None)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.row("WK4-02")
def test_the_guides_scripts_find_what_they_ask_for(played):
    _, client = played
    status = get(client, "/api/predictions/models/status")
    accuracy = at_path(status, ".model_metadata.model_performance.accuracy")
    assert 0.7 < accuracy <= 1.0
    assert at_path(status, ".model_metadata.version") == "devices-failure@1"
    assert at_path(status, ".model_metadata.training_date").startswith("2025-07-01T07:00")
    assert set(status) >= {"is_trained", "model_performance", "feature_columns", "model_metadata", "last_updated"}
    compared = get(client, "/api/predictions/models/compare")
    assert compared["comparison_available"] is False
    assert set(compared) >= {
        "current_version", "backup_timestamp", "comparison_available", "version_change", "performance",
        "training_data", "data_source",
    }  # fmt: skip
    told = client.post("/api/predictions/train", json={"force_retrain": False, "days_back": 180})
    assert (told.status_code, told.json()["status"]) == (200, "skipped")
    training = get(client, "/api/predictions/train/status")
    assert set(training) >= {
        "enabled", "schedule", "mode", "running", "next_run_time", "last_training_time", "last_training_status",
        "last_training_error",
    }  # fmt: skip
    assert (training["enabled"], training["schedule"]) == (False, "0 2 * * 0")
    assert status["model_metadata"]["data_source"] == "sample"
    assert status["model_metadata"]["training_data_stats"]["sample_count"] > 100


def test_failures_maintenance_and_one_device(played):
    _, client = played
    found = get(client, "/api/predictions/failures", limit=5)
    assert found["total_predictions"] == 24
    chances = [one["failure_probability"] for one in found["predictions"]]
    assert chances == sorted(chances, reverse=True)
    assert set(found["predictions"][0]) >= {
        "device_id", "failure_probability", "risk_level", "anomaly_score", "is_anomaly", "confidence",
        "recommendations", "model_version", "predicted_at",
    }  # fmt: skip
    high = get(client, "/api/predictions/failures", min_probability=99.9)
    assert high["total_predictions"] <= 1
    name = found["predictions"][0]["device_id"]
    assert get(client, f"/api/predictions/failures/{name}")["failure_probability"] == chances[0]
    assert client.get("/api/predictions/failures/nobody").status_code == 404
    upkeep = get(client, "/api/predictions/maintenance")["recommendations"]
    assert upkeep[0]["device_id"] == name
    asked = client.post(
        "/api/predictions/predict",
        json={"device_id": name, "metrics": {"latency": 4000, "error_rate": 0.5, "battery": "unavailable"}},
    )
    assert asked.status_code == 200
    assert asked.json()["metrics_missing"] == {"battery_level": "missing"}
    assert 0 <= asked.json()["prediction"]["failure_probability"] <= 100
    refused = client.post("/api/predictions/predict", json={"device_id": name, "metrics": {"battery": "unknown"}})
    assert refused.status_code == 422


def test_health_scores_trends_and_summary(played):
    _, client = played
    scores = get(client, "/api/health/scores", limit=3)
    assert (scores["total"], len(scores["scores"])) == (24, 3)
    name = scores["scores"][0]["device_id"]
    one = get(client, f"/api/health/scores/{name}")
    assert set(one) >= {
        "overall_score", "factor_scores", "weights", "trend_adjustment", "health_status", "recommendations",
        "metrics_used",
    }  # fmt: skip
    assert len(get(client, f"/api/health/trends/{name}", days=7)["trend"]) == 7
    assert get(client, "/api/health/comparison", device_ids=f"{name},sim-0001")["worst"] == name
    summary = get(client, "/api/health/summary")
    assert summary["total_devices"] == sum(summary["status_distribution"].values()) == 24
    told = client.post(f"/api/health/calculate/{name}", json={"metrics": {"error_rate": 0.0, "battery": 100}})
    assert told.json()["metrics_used"] == ["error_rate", "battery_level"]
    assert get(client, "/health/live") is not None  # the product's own health stands where it stood


def test_model_health_version_and_service(played):
    _, client = played
    health = get(client, "/api/predictions/models/health")
    assert health["checks"]["model_file"]
    assert health["file_sizes"]["model"] > 1000
    assert "meets_policy" in health["problems"]  # it was trained on simulated devices
    assert get(client, "/api/predictions/models/version")["number"] == 1
    assert get(client, "/api/predictions/health")["status"] == "healthy"


def test_the_schedule_is_turned_on_by_a_query_and_says_when(played):
    app, client = played
    told = client.post("/api/predictions/train/schedule?mode=incremental")
    assert (told.status_code, told.json()["enabled"], told.json()["mode"]) == (200, True, "incremental")
    assert told.json()["next_run_time"].startswith("2025-07-06T02:00")
    client.post("/api/predictions/train/schedule", json={"enabled": False})
    assert keeping.plan(app.rooms).enabled is False


def test_a_training_that_runs_turns_away_another(played):
    app, client = played
    arguments = Raw(msgspec.json.encode({"model": planning.MODEL, "why": "test", "by": "test"}))
    job = Job(
        id="retrain-later", task="retrain", due=START + DAY, created=START, arguments=arguments,
        subject=planning.MODEL, by="test",
    )  # fmt: skip
    with app.rooms.store.write() as ledger:
        ledger.jobs.add(job)  # it waits: one that is due may have ended before anybody asks
    try:
        for path in ("train", "incremental-update"):
            answer = client.post(f"/api/predictions/{path}", json={})
            assert answer.status_code == 409, answer.text
    finally:
        with app.rooms.store.write() as ledger:
            ledger.jobs.cancel(job.id, START)


def test_the_page_says_that_it_is_simulated(played):
    app, _ = played
    found = panel.panel(app)
    assert found.simulated
    assert [table.title for table in found.tables] == ["At risk", "Health, the worst first", "Maintenance", "Model"]
    assert all(table.rows for table in found.tables if table.title != "Maintenance")


def test_failures_answer_what_was_asked_and_time_answers_the_rest(played):
    app, _ = played
    said = assessing.assess(app.rooms)
    name = said[-1].device.device
    assert reading_acts.note(app, reading_acts.Failure(device_id=name, failed_at=START + DAY)).answered == 1
    assert keeping.mature(app.rooms, now=START + 15 * DAY) == 23
    with app.rooms.store.read() as ledger:
        told = {match.key: match.value for match in ledger.records.matches(keeping.MODEL)}
    assert told[name] == 1.0
    assert sum(told.values()) == 1.0


# ---------------------------------------------------------------------------------------- without a model


def test_without_devices_nothing_is_shown_wrong(app):
    assert list(watching.fleet_health(app.rooms)) == []
    assert list(watching.silence(app.rooms)) == []
    assert prediction_acts.list_failures(app, prediction_acts.AskFailures()).total_predictions == 0
    assert health_acts.summarise(app, health_acts.Nothing()).average_score is None
    status = training_acts.show_status(app, training_acts.Nothing())
    assert (status.is_trained, status.model_metadata) == (False, None)
    assert training_acts.show_service(app, training_acts.Nothing()).status == "degraded"
    assert not panel.panel(app).simulated
    with pytest.raises(Conflict, match="no version that answers"):
        training_acts.update(app, training_acts.Update())
    with pytest.raises(NotFound):
        health_acts.show_score(app, health_acts.AskDevice(device_id="lamp"))


def test_a_real_homes_states_are_scored_by_the_rule_that_says_so(app, clock):
    columns = states()
    clock.advance_to(max(clock.now(), moment("2026-02-12T12:00:00Z")))
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    told = reading_acts.take(app, reading_acts.Readings(readings=rows))
    assert (told.rows, told.kept, sum(told.missing.values())) == (219, 140, 79)
    assert len(told.mains_devices) == 7
    found = prediction_acts.list_failures(app, prediction_acts.AskFailures())
    assert {one.model_version for one in found.predictions} == {"rule"}
    assert any(one.failure_probability is None and one.reason for one in found.predictions)
    missing = {reading.name: reading for reading in watching.fleet_health(app.rooms)}["devices_missing"]
    assert missing.level == "warning"
    assert "unavailable" in missing.detail
    assert {reading.value for reading in watching.silence(app.rooms)} == {0.0}
    clock.advance_to(clock.now() + 3 * DAY)
    silent = next(iter(watching.silence(app.rooms)))
    assert (silent.level, silent.value) == ("warning", float(silent.n))


def test_anomalies_of_a_device_are_listed(app, clock):
    now = clock.now()
    rows = [
        {
            "device_id": "a",
            "latency": 100.0 + step % 5 + (900 if step == 380 else 0),
            "timestamp": now - (400 - step) * 600,
        }
        for step in range(400)
    ]
    reading_acts.take(app, reading_acts.Readings(readings=rows))
    found = reading_acts.list_anomalies(app, reading_acts.AskAnomalies(device_id="a"))
    assert [one.value for one in found.anomalies] == [1000.0]
    assert found.spared == {"response_time": 60}


def test_the_weekly_training_is_off_until_it_is_turned_on(tmp_path):
    with App.open(Settings(folder=tmp_path / "data", workloads=("devices",)), clock=ManualClock(START)) as app:
        assert app.schedules["devices_weekly"].when == "0 2 * * 0"
        assert keeping.plan(app.rooms) == keeping.Plan(enabled=False, mode="full")


def test_the_weekly_training_begins_once_it_is_turned_on(played):
    app, _ = played

    class Alone:
        """A run of a task, remembered here."""

        job = planning.retrain(app.rooms, why="test", by="test")
        said: str = ""

        def step(self, name, *, detail="", **_rest):
            self.said = f"{name}: {detail}"

    run = Alone()
    with app.rooms.store.write() as ledger:
        ledger.jobs.cancel(run.job.id, START)
    planning.weekly(app.rooms, run)
    assert run.said == "skipped: the weekly training is turned off"
    keeping.set_plan(app.rooms, keeping.Plan(enabled=True, mode="full"), at=START)
    planning.weekly(app.rooms, run)
    assert run.said.startswith("begun: train-devices-failure-")
    planning.weekly(app.rooms, run)
    assert run.said.endswith(" runs")
    with app.rooms.store.write() as ledger:
        ledger.jobs.cancel(planning.running(app.rooms).id, START)
