"""Services beside the product: real Redis and MLflow servers, watched while they live and when they are stopped."""

import os
import re
import socket
import subprocess
import time
from contextlib import contextmanager

import pytest
from served_house import served

from modelkeep import settings
from modelkeep.errors import BadSettings
from modelkeep.jobs import services


def _free():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def _process(*command, cwd, ready):
    """A server process that answers, ended at the end however it went."""
    with (cwd / "said.txt").open("wb") as said:
        # Without its job executors MLflow starts in half the time, and on half the processes.
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        process = subprocess.Popen(command, cwd=cwd, stdout=said, stderr=said, start_new_session=True, env=environment)
    try:
        end = time.monotonic() + 200
        while not ready():
            assert process.poll() is None, (cwd / "said.txt").read_text()
            assert time.monotonic() < end, f"{command[0]} did not answer: {(cwd / 'said.txt').read_text()[-2000:]}"
            time.sleep(0.1)  # another program's start, which no clock of ours moves
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(20)


@contextmanager
def _redis(program, folder, *, password=""):
    port = _free()
    folder.mkdir()
    command = [program("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    command += ["--requirepass", password] if password else []
    url = f"redis://{f':{password}@' if password else ''}127.0.0.1:{port}/0"
    with _process(*command, cwd=folder, ready=lambda: services.redis(url).level != "critical") as process:
        yield url, process


@contextmanager
def _mlflow(program, folder):
    port = _free()
    folder.mkdir()
    url = f"http://127.0.0.1:{port}"
    store = f"sqlite:///{folder}/mlflow.db"
    command = [program("mlflow"), "server", "--host", "127.0.0.1", "--port", str(port), "--backend-store-uri", store]
    with _process(*command, "--workers", "1", cwd=folder, ready=lambda: services.mlflow(url).level != "critical") as it:
        yield url, it


@pytest.mark.row("WK3-01")
def test_each_part_of_the_stack_that_stops_is_critical_and_serving_goes_on(program, tmp_path):
    with _redis(program, tmp_path / "redis") as (url, redis), served(tmp_path / "data", services__redis=url) as house:
        _stopped(house, redis, "redis")


@pytest.mark.prove
@pytest.mark.row("WK3-01")
@pytest.mark.timeout(300)  # MLflow's server takes up to a minute to answer
def test_the_whole_stack_is_healthy_until_mlflow_stops(program, tmp_path):
    with (
        _redis(program, tmp_path / "redis") as (redis_url, _),
        _mlflow(program, tmp_path / "m") as (url, mlflow),
        served(tmp_path / "data", services__redis=redis_url, services__mlflow=url) as house,
    ):
        found = house.get("/health/full").json()["components"]
        assert {name: part["status"] for name, part in found.items() if name != "system"} == {
            "database": "healthy", "redis": "healthy", "mlflow": "healthy", "api": "healthy"
        }  # fmt: skip
        assert found["mlflow"]["status_code"] == 200
        _stopped(house, mlflow, "mlflow")


def _stopped(house, process, name):
    house.keep("doubler")
    before = house.get("/health/full").json()["components"][name]
    assert (before["status"], before["connection"]) == ("healthy", "active")
    process.terminate()
    process.wait(20)
    answer = house.get("/health/full")
    assert answer.status_code == 503
    part = answer.json()["components"][name]
    assert part["status"] == "critical"
    assert "connect" in part["error"].lower()
    assert house.ask().status_code == 200, "serving must not need it"


def test_a_service_that_is_away_is_a_reading_and_an_alert_within_one_pass(tmp_path):
    with served(tmp_path / "data", services__mlflow=f"http://127.0.0.1:{_free()}", watch__every="1s") as house:
        end = time.monotonic() + 30
        while not (alerts := house.get("/v1/alerts").json()["alerts"]) and time.monotonic() < end:
            time.sleep(0.1)
    told = next(alert for alert in alerts if alert["rule"] == "service_away")
    assert told["subject"] == "mlflow"
    assert told["severity"] == "critical"
    assert "mlflow is away" in told["message"]


def test_a_password_is_used_and_never_told(program, tmp_path):
    with _redis(program, tmp_path / "redis", password="s3cret-word") as (url, _):
        assert services.redis(url).level in {"ok", "warning"}
        wrong = services.redis(url.replace("s3cret-word", "wrong-word"))
        assert wrong.level == "critical"
        assert "wrong-word" not in wrong.error


def test_an_answer_that_is_no_health_is_critical(house):
    """Our own server has no such route: whatever answers otherwise than 200 is not healthy."""
    found = services.mlflow(f"{house.url}/nothing")
    assert (found.level, found.code) == ("critical", 404)


def test_an_address_of_another_kind_is_refused(tmp_path):
    (tmp_path / "modelkeep.toml").write_text('[services]\nredis = "ftp://127.0.0.1"\n')
    with pytest.raises(BadSettings, match=re.escape("services.redis")):
        settings.load(folder=tmp_path, environ={})


def test_the_doors_tell_how_they_fare(tmp_path):
    with served(tmp_path / "data", watch__every="1s") as house:
        house.keep("doubler")
        end, seen = time.monotonic() + 30, {}
        while time.monotonic() < end:
            for _ in range(30):
                house.ask()
            readings = house.get("/v1/readings").json()["readings"]
            seen |= {r["name"]: r for r in readings if r["name"].startswith("api_") and r["value"] is not None}
            if len(seen) == 3:
                break
    assert set(seen) == {"api_latency_p95", "api_error_rate", "api_requests_per_minute"}
    assert seen["api_error_rate"]["value"] == 0
    assert 0 < seen["api_latency_p95"]["value"] < 30
    assert seen["api_requests_per_minute"]["value"] > 0
