"""Other tools' registries: real MLflow databases and folders, with everything that is wrong in real ones."""

import json
from pathlib import Path

import lightgbm
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from modelkeep.errors import BadArtifact, BadInput, NotFound
from modelkeep.nouns import Version
from modelkeep.runtimes import inspect, load
from modelkeep.runtimes.registries import chosen, opened


def _version(folder: Path, name: str, **metadata: object) -> Path:
    place = folder / name
    place.mkdir(parents=True)
    (place / "metadata.json").write_text(json.dumps({"version": name, **metadata}))
    return place


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder as restaurant systems keep it: two versions of one model, pointers that disagree, NaN as a metric."""
    model = tmp_path / "demand" / "restaurant_7"
    old = _version(model, "20260224_155633", metrics={"mae": 3.5, "r2": 0.8}, trained_at="2026-02-24")
    booster = lightgbm.train(
        {"verbosity": -1, "num_threads": 1, "min_data_in_leaf": 1},
        lightgbm.Dataset(np.arange(40.0).reshape(-1, 1), np.arange(40.0)),
        num_boost_round=2,
    )
    booster.save_model(str(old / "model.txt"))
    _version(model, "20260224_163057", metrics={"mae": 3.0, "r2": float("nan")})
    (model / "latest.json").write_text(
        json.dumps(
            {"latest_version": "20260224_163057", "latest_path": "models\\demand\\restaurant_7\\20260224_163057"}
        )
    )
    (model / "latest").symlink_to("gone/20260224_155633")
    return tmp_path


def test_a_folder_says_what_can_be_taken_over_and_what_not(tree: Path) -> None:
    old, new = opened(str(tree)).entries()
    assert (old.name, old.version, old.newest) == ("demand/restaurant_7", "20260224_155633", False)
    assert (old.absent, old.problems, old.metrics) == ("", (), {"mae": 3.5, "r2": 0.8})
    assert new.newest
    assert "no model file" in new.absent
    assert new.problems == ("metric 'r2' is nan",)
    said = " ".join(new.remarks)
    assert "another system" in said
    assert "leads nowhere" in said
    assert "disagree: latest.json names 20260224_163057, latest names 20260224_155633" in said


def test_a_version_of_a_folder_is_fetched_and_recognised(tree: Path, tmp_path: Path) -> None:
    registry = opened(str(tree))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    fetched = registry.fetch(chosen(registry.entries(), "demand/restaurant_7", version="20260224_155633"), scratch)
    assert inspect(fetched.path, trust=False).runtime == "lightgbm"
    with pytest.raises(BadArtifact, match="no model file"):
        registry.fetch(chosen(registry.entries(), "demand/restaurant_7"), scratch)


def test_a_link_kept_as_text_is_read(tree: Path) -> None:
    link = tree / "demand" / "restaurant_7" / "latest"
    link.unlink()
    link.write_text("models/demand/restaurant_7/20260224_155633")
    assert "disagree" in " ".join(opened(str(tree)).entries()[1].remarks)


def test_a_broken_metadata_file_is_named(tree: Path) -> None:
    (tree / "demand" / "restaurant_7" / "20260224_155633" / "metadata.json").write_text("{")
    assert "metadata.json cannot be read" in opened(str(tree)).entries()[0].problems[0]


def test_unknown_names_and_places_are_refused_by_name(tree: Path) -> None:
    entries = opened(str(tree)).entries()
    with pytest.raises(NotFound, match="demand/restaurant_8"):
        chosen(entries, "demand/restaurant_8")
    with pytest.raises(NotFound, match="@5"):
        chosen(entries, "demand/restaurant_7", version="5")
    with pytest.raises(BadInput, match="no registry"):
        opened(str(tree / "nothing here"))


@pytest.fixture(scope="module")
def mlruns(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real MLflow registry in a SQLite file: a scikit-learn pipeline, a LightGBM booster, a version without files."""
    pytest.importorskip("mlflow", reason="mlflow-skinny is not installed")
    import mlflow.lightgbm
    import mlflow.sklearn
    from mlflow.models import infer_signature

    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder}/mlruns.db"
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    experiment = mlflow.create_experiment("e", artifact_location=str(folder / "artifacts"))
    rows = load_breast_cancer(as_frame=True)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(rows.data, rows.target)
    with mlflow.start_run(experiment_id=experiment):
        mlflow.log_metric("accuracy", 0.98)
        described = infer_signature(rows.data, model.predict(rows.data))
        mlflow.sklearn.log_model(model, name="model", registered_model_name="cancer", signature=described)
    booster = lightgbm.train({"objective": "binary", "verbosity": -1}, lightgbm.Dataset(rows.data, rows.target), 5)
    with mlflow.start_run(experiment_id=experiment):
        mlflow.log_metric("auc", float("nan"))
        described = infer_signature(rows.data, booster.predict(rows.data))
        mlflow.lightgbm.log_model(booster, name="model", registered_model_name="trees", signature=described)
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    client.create_registered_model("ghost")
    client.create_model_version("ghost", source=str(folder / "gone"))
    return folder / "mlruns.db"


@pytest.mark.prove
@pytest.mark.row("REG-15")
@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_a_version_of_mlflow_answers_here_as_it_does_there(mlruns: Path, tmp_path: Path) -> None:
    import mlflow.sklearn

    before = mlruns.read_bytes()
    registry = opened(str(mlruns))
    found = {entry.name: entry for entry in registry.entries()}
    assert found["cancer"].metrics == {"accuracy": 0.98}
    assert (found["cancer"].absent, found["cancer"].problems) == ("", ())
    assert found["trees"].problems == ("metric 'auc' is nan",)
    assert "files are gone" in found["ghost"].absent
    rows = load_breast_cancer(as_frame=True)
    asked = [dict(row) for _, row in rows.data.head(50).iterrows()]
    for name in ("cancer", "trees"):
        place = tmp_path / name
        place.mkdir()
        fetched = registry.fetch(found[name], place)
        looked = inspect(fetched.path, trust=False)
        assert fetched.signature is not None
        version = Version(
            model=name, number=1, artifact="a", size=1, runtime=looked.runtime, signature=fetched.signature, created=0.0
        )
        answers = load(version, lambda _, path=fetched.path: path).predict(asked)
        if name == "trees":
            booster = lightgbm.Booster(model_file=str(fetched.path))
            np.testing.assert_allclose(answers.scores, _chosen(booster.predict(rows.data.head(50))), rtol=1e-9)
        else:
            theirs = mlflow.sklearn.load_model(str(fetched.path.parent))
            assert answers.values == [str(value) for value in theirs.predict(rows.data.head(50))]
    with pytest.raises(BadArtifact, match="files are gone"):
        registry.fetch(found["ghost"], tmp_path)
    assert mlruns.read_bytes() == before, "a registry that is read must stay as it was"


def _chosen(chances: np.ndarray) -> np.ndarray:
    return np.maximum(chances, 1 - chances)
