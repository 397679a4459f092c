"""The routes of ``any`` on a real server: a team's own model from a public data set, asked in their own words."""

import time

import httpx
import pytest
import skops.io
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from modelkeep import App, ManualClock, settings
from modelkeep.claims import key_of
from modelkeep.edge import KEY_HEADER
from modelkeep.edge.server import running
from modelkeep.jobs.registering import Registration, register
from modelkeep.nouns import Rollout
from modelkeep.workloads.any import WORKLOAD
from modelkeep.workloads.any.kpis import kpis

START = 1_700_000_000.0
TRAINED = 400


@pytest.fixture(scope="module")
def cancer(tmp_path_factory):
    """A server with one model: breast cancer (scikit-learn's bundled set), trained on 400 rows, sampled on the rest."""
    folder = tmp_path_factory.mktemp("any")
    rows = load_breast_cancer()
    names = [str(name).replace(" ", "_") for name in rows.feature_names]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(
        rows.data[:TRAINED], rows.target[:TRAINED] == 1
    )
    file = folder / "cancer.skops"
    skops.io.dump(model, file)
    held = {name: rows.data[TRAINED:, i].tolist() for i, name in enumerate(names)}
    held["benign"] = [bool(truth == 1) for truth in rows.target[TRAINED:]]
    found = settings.load(folder=folder / "data", environ={}, flags={"server.listen": [0], "watch.every": "0s"})
    clock = ManualClock(START)
    app = App.open(found, clock=clock)
    with running(app) as url, httpx.Client(base_url=url, headers={KEY_HEADER: key_of(app.rooms.folder)}) as client:
        register(app.rooms, Registration(model="cancer", path=file, columns=held, output="benign"))
        with app.rooms.store.write() as ledger:
            ledger.rollouts.put(Rollout(model="cancer", champion=1, since=START), None)
        app.rooms.router.refresh()
        yield app, client, held


@pytest.mark.row("WK3-02")
def test_a_public_classifier_shows_its_accuracy_per_version(cancer):
    app, client, held = cancer
    (model,) = client.get("/models").json()["models"]
    assert (model["name"], model["version"], model["status"], model["feature_count"]) == ("cancer", "1", "serving", 30)
    assert model["metrics"]["accuracy"] > 0.9
    assert 'model_training_accuracy{model_name="cancer",version="1"} 0.9' in client.get("/metrics").text
    rows = [{name: values[i] for name, values in held.items() if name != "benign"} for i in range(100)]
    ids = client.post("/predict/batch", json={"model_name": "cancer", "data": rows}).json()["prediction_ids"]
    told = [{"prediction_id": one, "actual": truth} for one, truth in zip(ids, held["benign"], strict=False)]
    assert client.post("/v1/outcomes", json={"outcomes": told}).is_success
    app.rooms.clock.advance(3600.0)
    job = client.post("/v1/tasks/watch/run", json={}).json()["id"]
    end = time.monotonic() + 30
    while client.get(f"/v1/jobs/{job}").json()["state"] not in {"done", "failed"}:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert 'model_accuracy{model_name="cancer",version="1"} 0.9' in client.get("/metrics").text


def test_one_row_and_many_are_answered_in_the_same_form(cancer):
    _, client, held = cancer
    rows = [{name: values[i] for name, values in held.items() if name != "benign"} for i in range(100)]
    one = client.post("/predict", json={"model_name": "cancer", "data": rows[:1], "entity_ids": ["p-1"]}).json()
    many = client.post("/predict/batch", json={"model_name": "cancer", "data": rows}).json()
    assert many["predictions"][0] == one["predictions"][0]
    assert len(many["predictions"]) == len(set(many["prediction_ids"])) == 100
    assert sum(said == truth for said, truth in zip(many["predictions"], held["benign"], strict=False)) > 90
    assert all(0.5 <= chance <= 1 for chance in many["probabilities"])
    assert many["model_info"] == {"name": "cancer", "version": 1, "role": "champion", "fallback": False}
    assert client.post("/v1/outcomes", json={"prediction_id": one["prediction_ids"][0], "actual": True}).is_success


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"model_name": "cancr"}, 404, "cancer"),
        ({"model_version": "7"}, 409, "version 1"),
        ({"model_version": "newest"}, 422, "model_version"),
        ({"data": []}, 422, "data"),
        ({"data": [{"mean_radius": 1.0}]}, 422, "mean_texture"),
        ({"entity_ids": ["a", "b"]}, 422, "entity_ids"),
    ],
)
def test_what_cannot_be_answered_is_refused_by_name(cancer, change, status, said):
    _, client, held = cancer
    row = {name: values[0] for name, values in held.items() if name != "benign"}
    answer = client.post("/predict", json={"model_name": "cancer", "data": [row], **change})
    assert answer.status_code == status, answer.text
    assert said in answer.text


def test_a_kpi_is_told_from_records_or_said_to_be_unknown(cancer):
    _, client, _ = cancer
    found = {kpi["name"]: kpi for kpi in client.get("/api/kpis").json()["kpis"]}
    assert len(found) == 12
    for kpi in found.values():
        assert (kpi["value"] is None) == kpi["detail"].startswith("unknown")
        assert kpi["value"] is not None or kpi["met"] is None
    assert found["cost per prediction"]["value"] is None
    assert kpis.__doc__
    assert found["accuracy"]["met"] is True


def test_the_page_shows_models_and_kpis(cancer):
    app, _, _ = cancer
    shown = WORKLOAD.panel(app)
    models, told = shown.tables
    assert models.rows[0].cells[0] == "cancer"
    assert len(told.rows) == 12
