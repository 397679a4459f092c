"""A file becomes a version only when it is whole, trusted and worth something; whatever is refused leaves nothing."""

import csv
import pickle
from collections.abc import Callable
from pathlib import Path

import lightgbm
import msgspec
import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge

from modelkeep import profile
from modelkeep.errors import BadArtifact, BadFeatures, BadInput, Conflict
from modelkeep.jobs.registering import Registration, below, register
from modelkeep.jobs.rooms import Rooms
from modelkeep.nouns import Field, Lineage, Policy, Signature
from modelkeep.runtimes import formulas, load

RNG = np.random.default_rng(11)
SIZE = 240
AGE, VISITS = RNG.normal(40, 10, SIZE), RNG.integers(0, 20, SIZE)
MATRIX = np.column_stack([AGE, VISITS])
SPEND = 2 * AGE + VISITS + RNG.normal(0, 3, SIZE)
CHURNS = (VISITS + RNG.normal(0, 4, SIZE)) > 9
COLUMNS = {"age": AGE.tolist(), "visits": VISITS.tolist(), "spend": SPEND.tolist()}
SIGNATURE = Signature(
    inputs=(Field(name="age", kind="number"), Field(name="visits", kind="integer")),
    output=Field(name="spend", kind="number"),
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.skops"
    skops.io.dump(Ridge().fit(MATRIX, SPEND), path)
    return path


@pytest.fixture
def asked(model: Path) -> Callable[..., Registration]:
    """A registration with everything that is needed, and what a test changes."""

    def ask(**changes: object) -> Registration:
        plain = {"model": "spend", "path": model, "columns": COLUMNS, "output": "spend", "by": "ada", "why": "first"}
        return Registration(**(plain | changes))

    return ask


def kept(rooms: Rooms) -> tuple[int, int, int]:
    with rooms.store.read() as ledger:
        return len(ledger.versions.all()), len(ledger.acts.all()), len(rooms.files.all())


@pytest.mark.row("REG-01")
def test_a_version_is_kept_with_its_metrics_profile_and_act(rooms, asked):
    version = register(rooms, asked(lineage=Lineage(source="crm", seconds=1.5), note="ridge", units={"age": "years"}))
    assert (version.name, version.runtime, version.created, version.note) == (
        "spend@1",
        "skops",
        rooms.clock.now(),
        "ridge",
    )
    assert version.size == len(rooms.files.path(version.artifact).read_bytes())
    assert version.baseline.metrics.keys() == {"mae", "rmse", "bias", "mape", "r2"}
    assert version.baseline.metrics["mae"] == pytest.approx(
        np.abs(Ridge().fit(MATRIX, SPEND).predict(MATRIX) - SPEND).mean()
    )
    assert version.lineage.libraries.keys() == {"skops", "scikit-learn"}
    assert version.signature.inputs[0].unit == "years"
    reference = profile.decode(rooms.files.path(version.baseline.reference).read_bytes())
    assert reference.columns["age"].n == SIZE
    with rooms.store.read() as ledger:
        assert ledger.versions.all("spend") == [version]
        act = ledger.acts.all()[0]
    assert (act.who, act.what, act.subject, act.why) == ("ada", "register", "spend@1", "first")
    assert msgspec.json.decode(act.after)["artifact"] == version.artifact
    assert load(version, rooms.files.path).predict([{"age": 40.0, "visits": 3}]).values == pytest.approx([83], abs=3)
    assert not any((rooms.folder / "work").iterdir())


def test_a_sample_file_with_entity_and_time_gives_the_skill(rooms, asked, tmp_path):
    path = tmp_path / "sample.csv"
    hours = [f"2024-01-{1 + i // 24:02d}T{i % 24:02d}:00:00" for i in range(SIZE)]
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([*COLUMNS, "shop", "when"])
        writer.writerows(zip(*COLUMNS.values(), ["a", "b"] * (SIZE // 2), hours, strict=True))
    version = register(rooms, asked(columns=None, sample=path, key="shop", time="when"))
    assert [field.name for field in version.signature.inputs] == ["age", "visits"]
    assert version.baseline.metrics["skill"] > 0.5


def test_given_metrics_win_and_a_signature_needs_no_sample(rooms, asked):
    version = register(rooms, asked(columns=None, signature=SIGNATURE, metrics={"mae": 12.1}))
    assert version.baseline.metrics == {"mae": 12.1}
    assert version.baseline.reference is None


@pytest.mark.row("REG-11")
def test_floors_that_are_missed_are_named_and_kept_with_the_version(rooms, asked, tmp_path):
    path = tmp_path / "classes.skops"
    skops.io.dump(LogisticRegression().fit(MATRIX, CHURNS), path)
    columns = {"age": AGE.tolist(), "visits": VISITS.tolist(), "churns": CHURNS.tolist()}
    policy = Policy(model="churn", targets={"recall": 0.5, "accuracy": 0.1, "skill": 0.0})
    with rooms.store.write() as ledger:
        ledger.versions.add_policy(policy)
    version = register(
        rooms, asked(model="churn", path=path, columns=columns, output="churns", metrics={"recall": 0.4})
    )
    assert version.below == ("recall 0.40 < 0.50", "skill unknown, needs >= 0")
    (tmp_path / "more.skops").write_bytes(skops.io.dumps(LogisticRegression(C=2.0).fit(MATRIX, CHURNS)))
    later = register(
        rooms,
        asked(model="churn", path=tmp_path / "more.skops", columns=columns, output="churns"),
    )
    assert later.below == ("skill unknown, needs >= 0",)


def test_below_speaks_with_as_many_digits_as_it_takes():
    policy = Policy(model="m", targets={"mae": 10, "f1": 0.6, "r2": 0.5})
    assert below({"mae": 12.1, "f1": 0.599, "r2": 0.7}, policy) == ("mae 12.1 > 10", "f1 0.599000 < 0.600000")
    assert below({"mae": float("nan"), "f1": 0.6, "r2": 0.5}, policy) == ("mae unknown, needs <= 10",)


def test_the_same_file_again_is_a_conflict_naming_the_version(rooms, asked):
    register(rooms, asked())
    with pytest.raises(Conflict, match="registered as spend@1"):
        register(rooms, asked())
    assert register(rooms, asked(model="other")).name == "other@1"


@pytest.mark.row("DEP-02")
@pytest.mark.parametrize("data", [np.random.default_rng(1).bytes(1024), b"", pickle.dumps(Ridge()), b"PK\x03\x04cut"])
def test_a_refused_file_leaves_nothing_behind(rooms, asked, tmp_path, data):
    (tmp_path / "m").write_bytes(data)
    with pytest.raises(BadArtifact):
        register(rooms, asked(path=tmp_path / "m"))
    assert kept(rooms) == (0, 0, 0)


@pytest.mark.parametrize(
    "source",
    ["def predict(row):\n    raise OSError('no')", "def predict(row):\n    return float('nan')", "raise OSError('no')"],
)
def test_a_model_that_cannot_answer_leaves_nothing_behind(rooms, asked, tmp_path, source):
    (tmp_path / "rule.py").write_text(source + "\ndef predict2(row): return 1\n")
    entry = tmp_path / ("rule.py:predict2" if source.startswith("raise") else "rule.py")
    with pytest.raises(BadArtifact, match=r"spend@1"):
        register(rooms, asked(path=entry, trust=True))
    assert kept(rooms) == (0, 0, 0)


def test_what_a_sample_says_against_a_model_is_refused_unless_forced(rooms, asked, tmp_path):
    (tmp_path / "constant.py").write_text("def predict(row):\n    return 1.5")
    constant = {"path": tmp_path / "constant.py", "trust": True}
    with pytest.raises(BadArtifact, match=r"answers 1\.5 to each of 240 different rows"):
        register(rooms, asked(**constant))
    assert register(rooms, asked(**constant, force=True)).name == "spend@1"
    with pytest.raises(BadArtifact, match="all 3 rows of the sample are the same"):
        register(rooms, asked(columns={"age": [40.0] * 3, "visits": [3] * 3, "spend": [80.0, 81.0, 82.0]}))
    (tmp_path / "leaky").write_bytes(skops.io.dumps(LinearRegression().fit(np.column_stack([MATRIX, SPEND]), SPEND)))
    leaky = {"age": AGE.tolist(), "visits": VISITS.tolist(), "cents": (SPEND * 100).tolist(), "spend": SPEND.tolist()}
    with pytest.raises(BadArtifact, match="input 'cents' is a straight line of the output 'spend'"):
        register(rooms, asked(path=tmp_path / "leaky", columns=leaky))


@pytest.mark.parametrize(
    ("values", "truth", "said"),
    [
        ([*"abcdefghijkl"], [*"abcdefghijkl"], "equals"),
        ([1, 0] * 6, [True, False] * 6, "equals"),
        ([-3.0 * i + 1 for i in range(12)], [float(i) for i in range(12)], "is a straight line of"),
        ([float(i * i) for i in range(12)], [float(i) for i in range(12)], ""),
        ([1.0, 2.0], [1.0, 2.0], ""),
        ([None] * 12, [float(i) for i in range(12)], ""),
    ],
)
def test_leaks(values, truth, said):
    assert formulas.leak(values, truth) == said


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"columns": None}, BadInput, "what the model takes is not known"),
        ({"output": ""}, BadInput, "one of: age, visits, spend"),
        ({"model": "../x"}, BadInput, "is no name for a model"),
        ({"model": "a@1"}, BadInput, "is no name for a model"),
        ({"metrics": {"mae": float("nan")}}, BadInput, "metric 'mae' is nan"),
        ({"signature": SIGNATURE, "columns": {"age": [1.0]}}, BadInput, "no column 'visits'"),
        ({"signature": SIGNATURE, "columns": COLUMNS | {"age": ["old"] * SIZE}}, BadFeatures, "age: expected number"),
        ({"time": "when"}, BadInput, "no column 'when'"),
        ({"sample": Path("nowhere.csv")}, BadInput, "no file"),
        ({"runtime": "lightgbm"}, BadArtifact, "is a skops file"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(rooms, asked, changes, kind, said):
    with pytest.raises(kind, match=said):
        register(rooms, asked(**changes))
    assert kept(rooms) == (0, 0, 0)


def test_feature_code_is_packed_and_needs_trust(rooms, asked, tmp_path):
    (tmp_path / "f.py").write_text("def features(row):\n    return {'age': row['age'], 'visits': row['visits']}")
    with pytest.raises(BadArtifact, match="feature code is Python"):
        register(rooms, asked(features=tmp_path / "f.py"))
    version = register(rooms, asked(features=tmp_path / "f.py", trust=True))
    assert rooms.files.path(version.features).read_bytes().startswith(b"PK")
    assert register(rooms, asked()).number == 2  # the same model without the code is another version


@pytest.mark.row("REG-04")
def test_a_flipped_byte_on_disk_is_refused_at_loading(rooms, asked):
    version = register(rooms, asked())
    path = rooms.files.path(version.artifact)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o640)
    path.write_bytes(bytes(data))
    with pytest.raises(BadArtifact, match=version.artifact):
        load(version, rooms.files.path)


def test_a_lightgbm_classifier_by_numbers_becomes_one_by_words(rooms, asked, tmp_path):
    booster = lightgbm.train(
        {"objective": "binary", "verbosity": -1, "num_leaves": 5}, lightgbm.Dataset(MATRIX, CHURNS), 10
    )
    booster.save_model(str(tmp_path / "b.txt"))
    columns = {"age": AGE.tolist(), "visits": VISITS.tolist(), "churns": CHURNS.astype(int).tolist()}
    version = register(rooms, asked(path=tmp_path / "b.txt", columns=columns, output="churns"))
    assert version.signature.output.categories == ("0", "1")
    assert version.baseline.metrics["accuracy"] > 0.7


def test_a_file_that_names_its_inputs_leaves_other_columns_of_the_sample_alone(rooms, asked, tmp_path):
    data = lightgbm.Dataset(MATRIX, SPEND, feature_name=["age", "visits"])
    lightgbm.train({"verbosity": -1, "num_leaves": 5}, data, 10).save_model(str(tmp_path / "b.txt"))
    columns = {"customer": [f"c{i}" for i in range(SIZE)], **COLUMNS}
    version = register(rooms, asked(path=tmp_path / "b.txt", columns=columns))
    assert [field.name for field in version.signature.inputs] == ["age", "visits"]


def test_what_else_is_written_shares_the_fate_of_the_version(rooms, asked):
    def fails(ledger: object, version: object) -> None:
        raise Conflict("overtaken")

    with pytest.raises(Conflict, match="overtaken"):
        register(rooms, asked(), also=fails)
    assert kept(rooms)[:2] == (0, 0)


def test_a_model_whose_answers_are_never_true_is_refused(rooms, asked, tmp_path):
    """It was trained on yes and no; the sample says true and false, or stay and leave."""
    path = tmp_path / "words.skops"
    skops.io.dump(LogisticRegression().fit(MATRIX, np.where(CHURNS, "yes", "no")), path)
    columns = {"age": AGE.tolist(), "visits": VISITS.tolist()}
    with pytest.raises(BadArtifact, match=r"answered '(yes|no)' where true or false is due"):
        register(rooms, asked(path=path, output="left", columns=columns | {"left": CHURNS.tolist()}))
    words = ["leave" if left else "stay" for left in CHURNS]
    with pytest.raises(BadArtifact, match="it answers 'no', 'yes', but 'left' holds 'leave', 'stay' in the sample"):
        register(rooms, asked(path=path, output="left", columns=columns | {"left": words}))
    assert kept(rooms) == (0, 0, 0)
    known = ["yes" if left else "no" for left in CHURNS]
    assert (
        register(rooms, asked(path=path, output="left", columns=columns | {"left": known})).baseline.metrics["f1"] > 0.5
    )


def held_out(n: int, *, answer: str) -> dict[str, object]:
    """A model file's source and a sample whose truth is noisy but for ``perfect``."""
    generator = np.random.default_rng(4)
    x = generator.normal(size=n)
    truth = x * x + (0.0 if answer == "perfect" else generator.normal(size=n))
    return {"x": x.tolist(), "y": truth.tolist()}


def file_of(tmp_path: Path, body: str) -> Path:
    path = tmp_path / "model.py"
    path.write_text(f"def predict(row):\n    return {body}\n")
    return path


@pytest.mark.parametrize(("n", "said"), [(40, "so few rows prove nothing"), (150, "no real outcome is foreseen")])
def test_a_perfect_score_is_refused_and_force_is_remembered(rooms: Rooms, tmp_path: Path, n: int, said: str) -> None:
    asked = Registration(
        model="m", path=file_of(tmp_path, "row['x'] * row['x']"), trust=True, output="y",
        columns=held_out(n, answer="perfect"),
    )  # fmt: skip
    with pytest.raises(BadArtifact, match=f"every one of its {n} answers is exactly right: {said}"):
        register(rooms, asked)
    forced = register(rooms, msgspec.structs.replace(asked, force=True))
    assert forced.below[0].startswith(f"registered by force: every one of its {n} answers")


def test_a_version_worse_than_the_mean_or_a_named_baseline_stays_below(rooms: Rooms, tmp_path: Path) -> None:
    asked = Registration(
        model="m", path=file_of(tmp_path, "row['x'] - 9"), trust=True, output="y", columns=held_out(60, answer="noisy")
    )
    worse = register(rooms, asked)
    assert worse.below[0].startswith("r2 -")
    assert worse.below[0].endswith("< 0: worse than always answering the mean")
    beaten = register(
        rooms,
        msgspec.structs.replace(
            asked, path=file_of(tmp_path, "row['x'] ** 2 + 0"), metrics={"mae": 3.0}, rivals={"ewma": {"mae": 2.5}}
        ),
    )
    assert beaten.below == ("below baseline ewma: mae 3, baseline 2.5",)
    assert beaten.baseline.rivals == {"ewma": {"mae": 2.5}}
    with pytest.raises(BadInput, match="metric 'mae' is inf"):
        register(rooms, msgspec.structs.replace(asked, rivals={"ewma": {"mae": float("inf")}}))
