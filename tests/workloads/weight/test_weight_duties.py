"""The guide's duties on this workload: each by the command or route that docs/workloads/weight.md names for it."""

import importlib
import json
import re
import time
from pathlib import Path

import pytest

from modelkeep.edge import cli
from modelkeep.workloads.weight.simulator import photos, thing

PAGE = Path(__file__).parents[3] / "docs" / "workloads" / "weight.md"
DUTIES = (
    "SystemHealthMonitor", "AlertSystem", "ModelTroubleshooting", "PerformanceAnalyzer", "ComplianceChecker",
    "DailyMaintenance", "WeeklyMaintenance", "ModelDeploymentManager", "EmergencyResponse", "OverloadResponse",
    "PerformanceTuner", "AutomatedReporting",
)  # fmt: skip


@pytest.fixture
def run(house, capsys):
    app, _ = house

    def ask(*words, code=0):
        assert cli.main([*words, "--json", "-C", str(app.rooms.folder)]) == code
        return json.loads(capsys.readouterr().out)

    return ask


def ended(client, job):
    end = time.monotonic() + 30
    while True:
        found = client.get(f"/v1/jobs/{job}").json()
        if found["state"] in {"done", "failed"}:
            return found
        assert time.monotonic() < end
        time.sleep(0.02)


def test_every_duty_of_the_guide_is_told_and_its_modules_are_there():
    rows = [line for line in PAGE.read_text().splitlines() if re.match(r"\| \w", line)]
    lines = {line.split("|")[1].split()[0]: line for line in rows}
    assert set(DUTIES) <= set(lines)
    for duty in DUTIES:
        for module in re.findall(r"`(modelkeep\.[a-z_.]+)`", lines[duty]):
            assert importlib.import_module(module)


def test_health_says_how_models_performance_and_collection_are(house, run):
    _, client = house
    health = client.get("/health").json()
    assert health["status"] in {"healthy", "degraded", "warning", "critical", "ok"}
    assert run("status")["models"]
    assert run("weight", "statistics")["required_fields"] == ["timestamp", "model_version", "estimated_weight"]


def test_a_model_is_diagnosed_by_file_size_checksum_errors_and_speed(house, run):
    app, _ = house
    assert run("verify", "weight@1")
    found = run("models")["models"]
    assert [one["model"] for one in found] == ["weight"]
    with app.rooms.store.read() as ledger:
        version = ledger.versions.get("weight", 1)
    app.rooms.files.path(version.artifact).chmod(0o600)
    app.rooms.files.path(version.artifact).write_bytes(b"broken")
    run("verify", "weight@1", code=1)


def test_daily_upkeep_is_a_job_with_a_result(house):
    _, client = house
    job = client.post("/v1/tasks/weight_daily/run", json={}).json()["id"]
    found = ended(client, job)
    assert found["state"] == "done"
    assert "objects were weighed" in found["steps"][0]["detail"]
    watched = ended(client, client.post("/v1/tasks/watch/run", json={}).json()["id"])
    assert watched["state"] == "done"


def test_a_failed_model_is_disabled_answers_by_its_fallback_and_is_restored(house, run):
    _, client = house
    row = {k: v for k, v in next(iter(photos(thing(3, 1, metals=("steel",)), 1, seed=1))).items() if v is not None}
    assert client.post("/api/weight/estimate", json=row).json()["model_version"] == "weight@1"
    run("disable", "weight", "--why", "it answers nonsense")
    fallen = client.post("/api/weight/estimate", json=row).json()
    assert (fallen["model_version"], fallen["please_weigh"]) == ("heuristic", True)
    run("enable", "weight")
    assert client.post("/api/weight/estimate", json=row).json()["model_version"] == "weight@1"
    acts = [one["what"] for one in client.get("/v1/acts").json()["acts"]]
    assert {"disable", "enable"} <= set(acts)
    assert client.get("/v1/alerts").status_code == 200
