"""The guide's own requests, over HTTP and on the command line."""

import json

import httpx
import pytest
from drills import as_csv, hundred_sessions

from modelkeep import settings
from modelkeep.app import App
from modelkeep.claims import key_of
from modelkeep.edge import KEY_HEADER, cli
from modelkeep.edge.server import running
from modelkeep.workloads.drilling import simulator


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drills")
    (folder / "modelkeep.toml").write_text('workloads = ["drilling"]\n')
    asked = settings.load(folder=folder, environ={}, flags={"server.listen": [0], "watch.every": 0.0})
    with App.open(asked) as app, running(app) as url:
        headers = {KEY_HEADER: key_of(folder) or ""}
        with httpx.Client(base_url=url, headers=headers, timeout=30) as client:
            yield app, client


def get(client, path):
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.row("WK1-02", "WK1-06", "ALR-22")
def test_the_guides_requests_answer_with_the_guides_keys(house):
    _, client = house
    file = as_csv([row for some in hundred_sessions() for row in some])
    told = client.post("/api/v1/telemetry", files={"file": ("telemetry.csv", file, "text/csv")})
    assert (told.status_code, told.json()["rows"]) == (200, 2000)
    raw = client.post(
        "/api/v1/telemetry", content=simulator.telemetry_csv(), headers={"content-type": "application/octet-stream"}
    )
    assert raw.json()["rows"] >= 3900
    assert len(get(client, "/api/v1/sessions")["sessions"]) > 100
    assert set(get(client, "/api/v1/sessions?device_id=d1")["sessions"][0]) >= {
        "session_id", "device_id", "start", "end", "duration_min", "tagged",
    }  # fmt: skip
    assert set(get(client, "/api/v1/insights")) == {
        "total_drilling_time_hours", "total_sessions", "average_session_length_min", "tagged_sessions_percentage",
        "operating_states_distribution", "low_battery_alerts", "session_locations", "anomalies",
        "total_operational_time_hours", "total_timespan_hours",
    }  # fmt: skip
    odd = get(client, "/api/v1/anomalies")
    assert {"short_sessions", "missing_telemetry", "missing_gps", "low_battery"} <= set(odd)
    assert set(get(client, "/api/v1/battery/trends")["battery_trends"][0]) == {
        "timestamp", "device_id", "battery_level", "session_id",
    }  # fmt: skip
    assert get(client, "/api/v1/sessions/timeline?device_id=d1")["timeline"]
    assert get(client, "/api/v1/devices")["total"] == 4
    assert get(client, "/api/v1/health")["status"] == "healthy"
    health = get(client, "/api/ml/health")
    assert health["services"] == dict.fromkeys(
        ("feature_engineering", "health_scoring", "predictive_alerts", "model_manager"), "ready"
    )
    scores = get(client, "/api/ml/health-scores?device_id=device_001&include_debug=true")
    assert scores["total_devices"] == 1
    assert scores["health_scores"][0]["debug"]["raw_features"]["rows"] > 100
    assert set(scores["health_scores"][0]["explanatory_factors"][0]) >= {"feature", "value", "importance", "impact"}
    assert len(get(client, "/api/ml/alerts?limit=5")["data"]) <= 5
    assert client.post("/api/ml/alerts/generate").json()["devices"] == 4
    assert get(client, "/api/ml/alerts/statistics")["suppression_rules_active"] == 0
    assert get(client, "/api/ml/model-status")["is_trained"] is False
    refused = client.post("/api/ml/train", json={"force_retrain": True})
    assert refused.status_code in {400, 409, 422}, refused.text
    assert "needs 10" in refused.text


@pytest.mark.row("RPT-12")
def test_the_page_shows_scores_alerts_and_the_model(house):
    _, client = house
    page = client.get("/workloads/drilling", headers={"accept": "text/html"})
    assert page.status_code == 200
    for title in ("Health scores", "Alerts", "Remaining-life model", "Newest sessions"):
        assert title in page.text


def test_a_file_is_taken_in_and_scored_on_the_command_line(house, tmp_path, capsys):
    app, _ = house
    path = tmp_path / "t.csv"
    path.write_bytes(as_csv(hundred_sessions()[0]))
    assert cli.main(["drilling", "ingest", str(path), "--json", "-C", str(app.rooms.folder)]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 20
    assert cli.main(["drilling", "health-scores", "--device-id", "d1", "--json", "-C", str(app.rooms.folder)]) == 0
    assert json.loads(capsys.readouterr().out)["health_scores"][0]["health_score"] > 0
