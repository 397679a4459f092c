"""The budgets of latency and rate, on a real gradient-boosted model over real HTTP."""

import time

import lightgbm
import numpy as np
import pytest

from modelkeep.jobs.registering import Registration, register
from modelkeep.nouns import Field, Rollout, Signature

INPUTS = tuple(Field(name=f"x{i}", kind="number") for i in range(10))


@pytest.fixture(scope="module")
def trees(house):
    """A LightGBM model of 200 trees, released."""
    random = np.random.default_rng(3)
    x = random.normal(size=(2000, 10))
    booster = lightgbm.train(
        {"objective": "regression", "verbose": -1, "num_threads": 1}, lightgbm.Dataset(x, x[:, 0] * 2), 200
    )
    path = house.folder / "trees.txt"
    booster.save_model(str(path))
    signature = Signature(inputs=INPUTS, output=Field(name="y", kind="number"))
    register(house.rooms, Registration(model="trees", path=path, signature=signature, metrics={"mae": 1.0}))
    with house.rooms.store.write() as ledger:
        ledger.rollouts.put(Rollout(model="trees", champion=1), None)
    house.rooms.router.refresh()
    return house


def asked(house, n, pause=0.0):
    """``n`` requests, one each ``pause`` seconds: whole and model times in seconds."""
    body = {"features": {field.name: 0.5 for field in INPUTS}, "key": "a"}
    whole, inside, due = [], [], time.perf_counter()
    for _ in range(n):
        time.sleep(max(due - time.perf_counter(), 0))
        due += pause
        start = time.perf_counter()
        answer = house.post("/v1/models/trees/predict", body)
        whole.append(time.perf_counter() - start)
        assert answer.status_code == 200
        inside.append(answer.json()["latency_ms"] / 1000)
    return np.quantile(whole, (0.5, 0.95, 0.99)), np.quantile(inside, (0.5, 0.95, 0.99))


@pytest.mark.row("SRV-02", "SRV-03")
def test_a_thousand_requests_take_far_less_than_a_minute(trees):
    start = time.perf_counter()
    whole, inside = asked(trees, 1000)
    assert time.perf_counter() - start < 60
    print(f"whole p50/p95/p99 {whole * 1000} ms, model {inside * 1000} ms, {time.perf_counter() - start:.1f} s")
    assert inside[1] < 0.010
    assert whole[1] < 0.200
    text = trees.get("/metrics").text
    assert 'model_prediction_duration_seconds_count{model_name="trees"}' in text


@pytest.mark.prove
@pytest.mark.row("SRV-03")
def test_twenty_a_second_for_a_minute(trees):
    whole, _ = asked(trees, 1200, pause=0.05)
    print(f"p50/p95/p99 of 1200 requests at 20/s: {whole * 1000} ms")
    assert whole[1] < 0.200
