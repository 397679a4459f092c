"""Models in memory over the doors: loaded by use, bounded, unloaded so that the process really shrinks."""

import json
import time

import numpy as np
import psutil
import pytest
import skops.io
from msgspec import structs
from served_house import served
from sklearn.ensemble import RandomForestRegressor
from threadpoolctl import threadpool_info

from modelkeep.jobs.registering import Registration, register
from modelkeep.nouns import Field, Rollout, Signature

MB = 2**20
X = np.random.default_rng(4).normal(size=(6000, 4))


def models(house) -> set[str]:
    return {one["model"] for one in house.get("/v1/models/loaded").json()["models"]}


def logged(house, message: str) -> list[dict]:
    lines = (house.folder / "logs" / "modelkeep.log").read_text().splitlines()
    return [line for line in map(json.loads, lines) if line["message"] == message]


@pytest.mark.row("SRV-06")
def test_a_server_starts_with_the_ten_most_used_and_loads_others_when_they_are_asked(tmp_path):
    with served(tmp_path / "data") as house:
        for number in range(1, 13):
            house.keep(f"demand/{number}")
        for number in range(3, 13):
            for _ in range(2):
                assert house.ask(f"demand/{number}").status_code == 200
    with served(tmp_path / "data", loading__preload="top10") as house:
        assert models(house) == {f"demand/{number}" for number in range(3, 13)}
        assert house.get("/v1/models/loaded").json()["asleep"] == ["demand/1", "demand/2"]
        assert house.ask("demand/1").json()["prediction"] == 2.0
        assert "demand/1" in models(house)
        told = logged(house, "model_loaded")[-1]
        assert told["model_name"] == "demand/1"
        assert told["load_ms"] > 0


@pytest.mark.row("SRV-07")
def test_of_eleven_models_ten_stay_and_the_gauge_says_so(tmp_path):
    with served(tmp_path / "data", loading__preload="none", loading__limit=10) as house:
        for number in range(1, 12):
            house.keep(f"demand/{number}")
            assert house.ask(f"demand/{number}").status_code == 200
        assert models(house) == {f"demand/{number}" for number in range(2, 12)}
        assert 'ml_active_models{model_type="demand"} 10.0' in house.get("/metrics").text


@pytest.fixture
def forests(tmp_path):
    """A server with three forests of some tens of MB each, answered by their runner."""
    model = RandomForestRegressor(40, random_state=0, n_jobs=1).fit(X, X[:, 0] + X[:, 1] * X[:, 2])
    inputs = tuple(Field(name=name, kind="number", low=-9, high=9) for name in "abcd")
    signature = Signature(inputs=inputs, output=Field(name="y", kind="number"))
    path = tmp_path / "forest.skops"
    path.write_bytes(skops.io.dumps(model))
    with served(tmp_path / "data") as house:
        first = register(house.rooms, Registration(model="demand/1", path=path, signature=signature))
        for name in ("demand/1", "demand/2", "demand/3"):
            # In a unit of its own, or they would be one model in memory.
            own = structs.replace(signature, output=Field(name="y", kind="number", unit=name))
            with house.rooms.store.write() as ledger:
                if name != "demand/1":
                    ledger.versions.add(structs.replace(first, model=name, signature=own))
                ledger.rollouts.put(Rollout(model=name, champion=1), None)
        house.rooms.router.refresh()
        yield house


@pytest.mark.row("SRV-07", "PER-05")
def test_unloading_gives_memory_back_to_the_system(forests):
    row = {"features": dict.fromkeys("abcd", 0.5)}
    answers = [forests.post(f"/v1/models/demand/{n}/predict", row).json()["prediction"] for n in (1, 2, 3)]
    assert 'ml_active_models{model_type="demand"} 3.0' in forests.get("/metrics").text
    before = psutil.Process().memory_info().rss
    done = forests.post("/v1/models/unload", {"model": "demand/1"}).json()
    freed = (before - psutil.Process().memory_info().rss) / MB
    print(f"one forest of 40 trees: {done['freed_mb']} MB freed")
    assert done["models"] == ["demand/1"]
    assert done["freed_mb"] > 5
    assert freed > 5
    assert 'ml_active_models{model_type="demand"} 2.0' in forests.get("/metrics").text
    assert forests.post("/v1/models/unload", {"idle": "1h", "dry_run": True}).json()["models"] == []
    both = forests.post("/v1/models/unload", {"idle": "0s"}).json()
    assert both["models"] == ["demand/2", "demand/3"]
    assert both["freed_mb"] > 10
    again = [forests.post(f"/v1/models/demand/{n}/predict", row).json()["prediction"] for n in (1, 2, 3)]
    assert again == answers


def test_what_to_unload_must_be_said_and_known(fresh):
    fresh.keep("demand/1")
    assert fresh.post("/v1/models/unload", {}).status_code == 422
    missing = fresh.post("/v1/models/unload", {"model": "demand/2"})
    assert missing.status_code == 404
    assert "demand/1" in missing.text


@pytest.mark.row("TUN-05")
def test_libraries_use_no_more_threads_than_they_were_given(tmp_path):
    with served(tmp_path / "data", loading__threads=2):
        assert {pool["num_threads"] for pool in threadpool_info()} <= {1, 2}
    with served(tmp_path / "other", loading__threads=1) as house:
        house.keep("demand/1")
        assert {pool["num_threads"] for pool in threadpool_info()} == {1}


@pytest.mark.row("TUN-06")
def test_memory_returns_after_a_large_batch(tmp_path):
    with served(tmp_path / "data", loading__collect=True) as house:
        house.keep("demand/1")
        rows = [{"features": {"x": float(i % 100), "plan": "gold"}} for i in range(10_000)]
        house.post("/v1/models/demand/1/predict", {"rows": rows})  # what is set up once is not left behind
        house.rooms.gateway.collector._run()
        before = psutil.Process().memory_info().rss
        for _ in range(3):
            assert house.post("/v1/models/demand/1/predict", {"rows": rows}).status_code == 200
        end = time.monotonic() + 20
        while (after := psutil.Process().memory_info().rss) > 1.1 * before and time.monotonic() < end:
            time.sleep(0.1)
        print(f"before {before / MB:.0f} MB, after {after / MB:.0f} MB")
        assert after <= 1.1 * before
