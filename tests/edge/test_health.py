import itertools
import json
import os
import threading
import time

import httpx
import pytest
from served_house import served

from modelkeep import settings
from modelkeep.app import App
from modelkeep.edge import health
from modelkeep.edge.health import Component, measure, worst
from modelkeep.edge.server import Server
from modelkeep.errors import BadSettings


@pytest.mark.row("SRV-13")
@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready", "/api/ml/health"])
def test_a_healthy_server_says_so_fast(house, path):
    house.get(path)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        answer = house.get(path)
        times.append(time.perf_counter() - start)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/json"
    assert min(times) < 0.05


def test_the_services_are_those_that_the_outside_world_knows(tmp_path):
    with served(tmp_path / "data", workloads=[]) as alone:  # a workload that has this route answers it instead
        found = alone.get("/api/ml/health").json()
    assert set(found) == {"status", "ml_enabled", "services", "last_updated"}
    assert found["status"] == "healthy"
    assert len(found["services"]) == 4
    assert set(found["services"].values()) == {"ready"}
    assert found["last_updated"].endswith("Z")


@pytest.mark.row("SRV-13")
def test_an_unreadable_model_store_is_not_ready_and_says_why(fresh):
    fresh.keep("doubler")
    (fresh.folder / "files").rename(fresh.folder / "gone")
    answer = fresh.get("/health/ready")
    assert answer.status_code == 503
    assert "files" in answer.json()["causes"][0]
    assert fresh.get("/health").status_code == 200
    assert fresh.ask().status_code == 200
    (fresh.folder / "gone").rename(fresh.folder / "files")
    assert fresh.get("/health/ready").status_code == 200


@pytest.mark.row("HEA-02")
def test_full_health_has_the_keys_that_the_outside_world_knows(house):
    answer = house.get("/health/full")
    assert answer.status_code in {200, 503}
    found = answer.json()
    assert set(found) == {"timestamp", "overall_status", "components"}
    assert set(found["components"]) == {"system", "database", "redis", "mlflow", "api"}
    assert all(component["status"] for component in found["components"].values())
    assert found["components"]["redis"]["status"] == "not_configured"
    assert found["components"]["database"]["connection"] == "active"
    assert abs(found["timestamp"] - time.time()) < 60


@pytest.mark.row("HEA-03")
@pytest.mark.parametrize("two", list(itertools.product(["healthy", "warning", "critical", "not_configured"], repeat=2)))
def test_the_worst_component_decides(two):
    order = ["healthy", "warning", "critical"]
    expected = max((status for status in two if status != "not_configured"), key=order.index, default="healthy")
    assert worst({str(i): Component(status=status) for i, status in enumerate(two)}) == expected


@pytest.mark.row("HEA-09")
@pytest.mark.parametrize("broken", ["system", "database", "redis", "mlflow", "api"])
def test_a_failing_probe_is_itself_critical(house, broken):
    def fail():
        raise RuntimeError("the probe broke")

    looks = {name: (lambda: Component(status="healthy")) for name in health.probes(house.app)} | {broken: fail}
    found = measure(house.app, looks)
    assert found.overall_status == "critical"
    assert found.components[broken].error == "RuntimeError: the probe broke"


@pytest.mark.row("HEA-09")
def test_a_broken_store_is_critical_and_still_json(fresh):
    fresh.rooms.store.close()
    answer = fresh.get("/health/full")
    assert answer.status_code == 503
    found = answer.json()
    assert found["overall_status"] == "critical"
    assert found["components"]["database"]["status"] == "critical"
    assert found["components"]["database"]["error"]


@pytest.fixture
def guarded(tmp_path, monkeypatch):
    monkeypatch.setenv("THE_TOKEN", "correct horse")
    with served(tmp_path, server__token="env:THE_TOKEN") as found:
        found.keep("doubler")
        yield found


def test_a_token_guards_everything_but_liveness(guarded):
    for path in ("/v1/models", "/metrics", "/", "/openapi.json", "/v1/nothing", "/health/ready"):
        answer = guarded.get(path)
        assert answer.status_code == 401, path
        assert "Bearer" in answer.headers["www-authenticate"]
    assert guarded.ask().status_code == 401
    assert guarded.get("/health").status_code == 200
    assert guarded.get("/health/live").status_code == 200
    wrong = httpx.get(f"{guarded.url}/v1/models", headers={"authorization": "Bearer correct horsf"})
    assert wrong.status_code == 401
    guarded.client.headers["authorization"] = "Bearer correct horse"
    assert guarded.get("/v1/models").status_code == 200
    assert guarded.ask().status_code == 200
    del guarded.client.headers["authorization"]
    basic = httpx.get(f"{guarded.url}/v1/models", auth=("anyone", "correct horse"))
    assert basic.status_code == 200


def test_the_token_is_nowhere_in_the_log(guarded):
    guarded.client.headers["authorization"] = "Bearer correct horse"
    guarded.get("/v1/models")
    guarded.get("/v1/config")
    assert "correct horse" not in (guarded.folder / "logs" / "modelkeep.log").read_text()


def test_a_fault_inside_is_an_answer_with_its_name_in_the_log(fresh, monkeypatch):
    fresh.keep("doubler")
    monkeypatch.setattr(type(fresh.rooms.gateway), "health", lambda *_: 1 / 0)
    answer = fresh.get("/v1/models")
    assert answer.status_code == 500
    error = answer.json()["error"]
    assert error["code"] == "internal_error"
    assert "division" not in answer.text
    until = time.perf_counter() + 5
    while "ZeroDivisionError" not in (log := (fresh.folder / "logs" / "modelkeep.log").read_text()):
        assert time.perf_counter() < until
    assert error["request_id"] in log


def test_the_data_folder_says_where_its_server_is(tmp_path):
    with served(tmp_path) as found:
        mark = json.loads((found.folder / "server.json").read_bytes())
        assert mark == {"url": found.url, "pid": os.getpid()}
        assert (found.folder / "server.key").stat().st_mode & 0o777 == 0o600, "the owner's alone"
    assert not (found.folder / "server.json").exists()
    assert not (found.folder / "server.key").exists()


def test_several_ports_answer_the_same(tmp_path):
    server = Server(App.open(settings.load(folder=tmp_path, environ={}, flags={"server.listen": [0, 0]})))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        for port in server.ports:
            assert httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
        assert len(set(server.ports)) == 2
    finally:
        server.stop()
        thread.join()


def test_a_taken_port_is_refused_with_the_remedy(house):
    port = int(house.url.rpartition(":")[2])
    found = settings.load(folder=house.folder, environ={}, flags={"server.listen": [port]})
    app = App.open(found)
    with pytest.raises(BadSettings, match=f"cannot listen on 127.0.0.1:{port}"):
        Server(app)
    app.stop()
