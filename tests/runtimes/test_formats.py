"""Each format answers as its library does, and its library is imported only when it is needed."""

import math
import pickle
import subprocess
import sys

import joblib
import lightgbm
import numpy as np
import pytest
import skops.io
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestRegressor
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import LinearSVC

from modelkeep.errors import BadArtifact, ModelFailed
from modelkeep.nouns import Field, Lineage, Outputs, Signature
from modelkeep.runtimes import inspect, pack_features
from modelkeep.runtimes.formats import contents
from modelkeep.runtimes.signatures import rows_of

RNG = np.random.default_rng(7)
COLUMNS = {
    "age": RNG.normal(40, 10, 200).tolist(),
    "visits": RNG.integers(0, 20, 200).tolist(),
    "city": RNG.choice(["Bern", "Genf", "Ulm"], 200).tolist(),
}
NUMBERS = {name: COLUMNS[name] for name in ("age", "visits")}
MATRIX = np.column_stack([NUMBERS["age"], NUMBERS["visits"]])
CITY = np.array([["Bern", "Genf", "Ulm"].index(city) for city in COLUMNS["city"]])
SPEND = MATRIX[:, 0] * 2 + MATRIX[:, 1] + 50 * CITY
CHURNS = MATRIX[:, 1] > 9
QUIET = {"verbosity": -1, "seed": 1, "num_leaves": 7}
ROWS = rows_of(COLUMNS, list(COLUMNS))
PLAIN = rows_of(NUMBERS, list(NUMBERS))


@pytest.mark.row("SRV-01")
def test_skops_regression_answers_as_scikit_learn(keeper, signature_of):
    model = RandomForestRegressor(5, random_state=1, n_jobs=2).fit(MATRIX, SPEND)
    loaded = keeper.load(skops.io.dumps(model), signature_of(NUMBERS, SPEND))
    assert loaded.predict(PLAIN).values == pytest.approx(model.predict(MATRIX).tolist())
    assert loaded.predict(PLAIN[:1]) == loaded.predict(PLAIN[:1])
    assert 0 < loaded.seconds < 0.5


def test_skops_classes_come_as_the_signature_declares_them(keeper, signature_of, tmp_path):
    model = LogisticRegression().fit(MATRIX, CHURNS.astype(int))
    (tmp_path / "m").write_bytes(skops.io.dumps(model))
    found = inspect(tmp_path / "m", trust=False)
    assert found.classifies is True
    assert set(found.libraries) == {"skops", "scikit-learn"}
    signature = signature_of(NUMBERS, CHURNS.astype(int), classifies=found.classifies)
    assert signature.output == Field(name="y", kind="category", categories=("0", "1"))
    outputs = keeper.load(contents(tmp_path / "m"), signature).predict(PLAIN)
    assert outputs.values == [str(v) for v in model.predict(MATRIX)]
    assert outputs.scores == pytest.approx(model.predict_proba(MATRIX).max(axis=1).tolist())
    boolean = keeper.load(contents(tmp_path / "m"), signature_of(NUMBERS, CHURNS))
    assert boolean.predict(PLAIN).values == model.predict(MATRIX).astype(bool).tolist()


def test_a_pipeline_on_texts_and_numbers_gets_an_object_matrix(keeper, signature_of):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(COLUMNS)
    encode = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["city"]), remainder="passthrough")
    model = make_pipeline(encode, Ridge()).fit(frame, SPEND)
    loaded = keeper.load(skops.io.dumps(model), signature_of(COLUMNS, SPEND))
    assert loaded.predict(ROWS).values == pytest.approx(model.predict(frame).tolist())


def test_one_column_picked_by_itself_reaches_a_vectorizer_as_texts(keeper):
    """By its name or by its place: as a list of values, as it did when it was fitted."""
    pandas = pytest.importorskip("pandas")
    rows = [{"said": text, "age": age} for text, age in [("good good", 1.0), ("bad", 2.0), ("good bad bad", 3.0)] * 5]
    table = pandas.DataFrame(rows)
    signature = Signature(
        inputs=(Field(name="said", kind="text"), Field(name="age", kind="number")),
        output=Field(name="y", kind="number"),
    )
    for given, said, age in ((table, "said", ["age"]), (table.to_numpy(dtype=object), 0, [1])):
        columns = make_column_transformer((CountVectorizer(), said), ("passthrough", age))
        model = make_pipeline(columns, Ridge()).fit(given, np.arange(15.0))
        expected = model.predict(given[:3]).tolist()
        loaded = keeper.load(skops.io.dumps(model), signature)
        assert loaded.predict(rows[:3]).values == pytest.approx(expected)


def test_columns_are_matched_by_the_names_in_the_file(keeper, signature_of):
    pandas = pytest.importorskip("pandas")
    model = Ridge().fit(pandas.DataFrame(NUMBERS)[["visits", "age"]], SPEND)
    loaded = keeper.load(skops.io.dumps(model), signature_of(NUMBERS, SPEND))
    expected = model.predict(pandas.DataFrame(NUMBERS)[["visits", "age"]]).tolist()
    assert loaded.predict(PLAIN).values == pytest.approx(expected)
    with pytest.raises(BadArtifact, match="extra city"):
        keeper.load(skops.io.dumps(model), signature_of(COLUMNS, SPEND))


def test_classes_without_probabilities_have_no_score(keeper, signature_of):
    names = np.where(CHURNS, "goes", "stays")
    loaded = keeper.load(skops.io.dumps(LinearSVC().fit(MATRIX, names)), signature_of(NUMBERS, names))
    assert set(loaded.predict(PLAIN).values) == {"goes", "stays"}
    assert loaded.predict(PLAIN).scores is None


def test_histogram_boosting_is_trusted_by_name(keeper, signature_of, tmp_path):
    (tmp_path / "m").write_bytes(skops.io.dumps(HistGradientBoostingClassifier(max_iter=3).fit(MATRIX, CHURNS)))
    assert inspect(tmp_path / "m", trust=False).runtime == "skops"


@pytest.mark.row("SRV-01")
def test_lightgbm_codes_categories_in_the_signatures_order(keeper, signature_of):
    data = lightgbm.Dataset(np.column_stack([MATRIX, CITY]), SPEND, categorical_feature=[2], free_raw_data=False)
    booster = lightgbm.train(QUIET, data, 20)
    loaded = keeper.load(booster.model_to_string().encode(), signature_of(COLUMNS, SPEND), runtime="lightgbm")
    assert loaded.predict(ROWS).values == pytest.approx(booster.predict(data.get_data()).tolist())
    unseen = [{**ROWS[0], "city": "Oslo"}, {**ROWS[0], "city": None}]
    nowhere = booster.predict(np.array([[*MATRIX[0], math.nan]])).tolist()
    assert loaded.predict(unseen).values == pytest.approx(nowhere * 2)


def test_lightgbm_uses_the_categories_that_its_file_carries(keeper, signature_of):
    pandas = pytest.importorskip("pandas")
    order = ["Ulm", "Bern", "Genf"]
    frame = pandas.DataFrame(COLUMNS).assign(city=pandas.Categorical(COLUMNS["city"], categories=order))
    booster = lightgbm.train(QUIET, lightgbm.Dataset(frame, SPEND), 20)
    loaded = keeper.load(booster.model_to_string().encode(), signature_of(COLUMNS, SPEND), runtime="lightgbm")
    assert loaded.predict(ROWS).values == pytest.approx(booster.predict(frame).tolist())


def test_lightgbm_binary_and_multiclass(keeper, signature_of):
    binary = lightgbm.train(QUIET | {"objective": "binary"}, lightgbm.Dataset(MATRIX, CHURNS), 20)
    loaded = keeper.load(binary.model_to_string().encode(), signature_of(NUMBERS, CHURNS), runtime="lightgbm")
    assert loaded.predict(PLAIN).values == (binary.predict(MATRIX) >= 0.5).tolist()
    several = lightgbm.train(QUIET | {"objective": "multiclass", "num_class": 3}, lightgbm.Dataset(MATRIX, CITY), 5)
    loaded = keeper.load(several.model_to_string().encode(), signature_of(NUMBERS, COLUMNS["city"]), runtime="lightgbm")
    chances = several.predict(MATRIX)
    expected = [["Bern", "Genf", "Ulm"][place] for place in chances.argmax(axis=1)]
    assert loaded.predict(PLAIN).values == expected
    assert loaded.predict(PLAIN).scores == pytest.approx(chances.max(axis=1).tolist())


@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3), ("bz2", 3), ("lzma", 3), ("xz", 3)])
def test_joblib_in_each_packing(keeper, signature_of, tmp_path, compress):
    model = Ridge().fit(MATRIX, SPEND)
    joblib.dump(model, tmp_path / "m", compress=compress)
    found = inspect(tmp_path / "m", trust=True)
    assert (found.runtime, "scikit-learn" in found.libraries) == ("joblib", True)
    loaded = keeper.load(contents(tmp_path / "m"), signature_of(NUMBERS, SPEND), runtime="joblib")
    assert loaded.predict(PLAIN).values == pytest.approx(model.predict(MATRIX).tolist())


def test_pickle_with_trust(keeper, signature_of, tmp_path):
    model = Ridge().fit(MATRIX, SPEND)
    (tmp_path / "m").write_bytes(pickle.dumps(model))
    found = inspect(tmp_path / "m", trust=True)
    loaded = keeper.load(contents(tmp_path / "m"), signature_of(NUMBERS, SPEND), runtime=found.runtime)
    assert loaded.predict(PLAIN).values == pytest.approx(model.predict(MATRIX).tolist())


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def predict(row):\n    return row['age']", Outputs(values=[1.5, 2.5])),
        ("def predict(rows):\n    return [row['age'] for row in rows]", Outputs(values=[1.5, 2.5])),
        (
            "import numpy\ndef predict(rows):\n    return numpy.array([r['age'] for r in rows])",
            Outputs(values=[1.5, 2.5]),
        ),
    ],
)
def test_a_python_function_row_by_row_or_in_batches(keeper, tmp_path, source, expected):
    (tmp_path / "rule.py").write_text(source)
    assert inspect(tmp_path / "rule.py", trust=True).runtime == "python"
    assert contents(tmp_path / "rule.py") == contents(tmp_path / "rule.py:predict")
    signature = Signature(inputs=(Field(name="age", kind="number"),), output=Field(name="y", kind="number"))
    loaded = keeper.load(contents(tmp_path / "rule.py"), signature, runtime="python")
    assert loaded.predict([{"age": 1.5}, {"age": 2.5}]) == expected


def test_a_python_function_may_answer_a_class_with_its_probability(keeper, tmp_path):
    (tmp_path / "rule.py").write_text("def judge(row):\n    return ('goes' if row['age'] > 2 else 'stays', 0.75)")
    assert inspect(tmp_path / "rule.py:judge", trust=True).runtime == "python"
    signature = Signature(inputs=(Field(name="age", kind="number"),), output=Field(name="y", kind="category"))
    outputs = keeper.load(contents(tmp_path / "rule.py:judge"), signature, runtime="python").predict(
        [{"age": 1}, {"age": 3}]
    )
    assert outputs == Outputs(values=["stays", "goes"], scores=[0.75, 0.75])


@pytest.mark.parametrize(
    "source",
    [
        "def features(row):\n    return {'double': row['age'] * 2, 'visits': row['visits']}",
        "def features(rows):\n    return [{'double': row['age'] * 2, 'visits': row['visits']} for row in rows]",
    ],
)
def test_feature_code_runs_before_the_model(keeper, signature_of, tmp_path, source):
    (tmp_path / "features.py").write_text(source)
    model = Ridge().fit(MATRIX * [2, 1], SPEND)
    code = keeper.put(pack_features(tmp_path / "features.py"))
    loaded = keeper.load(skops.io.dumps(model), signature_of(NUMBERS, SPEND), features=code)
    assert loaded.predict(PLAIN).values == pytest.approx(model.predict(MATRIX * [2, 1]).tolist())


def test_packing_the_same_source_twice_gives_the_same_bytes(tmp_path):
    (tmp_path / "features.py").write_text("def features(row):\n    return row\n")
    first = pack_features(tmp_path / "features.py")
    (tmp_path / "features.py").touch()
    assert pack_features(tmp_path / "features.py:features") == first


@pytest.mark.parametrize("answer", ["float('nan')", "float('inf')", "'many'", "None", "True", "[1.0]", "1 / 0"])
def test_what_is_no_finite_number_is_a_failure_of_the_model(keeper, tmp_path, answer):
    (tmp_path / "rule.py").write_text(f"def predict(row):\n    return {answer}")
    signature = Signature(inputs=(Field(name="age", kind="number"),), output=Field(name="y", kind="number"))
    loaded = keeper.load(contents(tmp_path / "rule.py"), signature, runtime="python")
    assert math.isnan(loaded.seconds)
    with pytest.raises(ModelFailed, match="m@1 failed"):
        loaded.predict([{"age": 1.0}])


@pytest.mark.parametrize("source", ["return [1.0]", "return []", "raise SystemExit", "return 5"])
def test_a_wrong_number_of_answers_is_a_failure_of_the_model(keeper, tmp_path, source):
    (tmp_path / "rule.py").write_text(f"def predict(rows):\n    {source}")
    signature = Signature(inputs=(Field(name="age", kind="number"),), output=Field(name="y", kind="number"))
    loaded = keeper.load(contents(tmp_path / "rule.py"), signature, runtime="python")
    with pytest.raises(ModelFailed):
        loaded.predict([{"age": 1.0}, {"age": 2.0}])


@pytest.mark.parametrize("answer", ["1.5", "('goes', 2.0)", "('goes', float('nan'))", "None"])
def test_what_is_no_class_is_a_failure_of_the_model(keeper, tmp_path, answer):
    (tmp_path / "rule.py").write_text(f"def predict(row):\n    return {answer}")
    signature = Signature(inputs=(Field(name="age", kind="number"),), output=Field(name="y", kind="boolean"))
    loaded = keeper.load(contents(tmp_path / "rule.py"), signature, runtime="python")
    with pytest.raises(ModelFailed):
        loaded.predict([{"age": 1.0}])


def test_a_failure_names_both_library_versions_when_they_differ(keeper, signature_of):
    lineage = Lineage(libraries={"scikit-learn": "0.1.2"})
    loaded = keeper.load(skops.io.dumps(Ridge().fit(MATRIX, SPEND)), signature_of(NUMBERS, SPEND), lineage=lineage)
    with pytest.raises(ModelFailed, match=r"trained with 0\.1\.2, installed is"):
        loaded.predict([{"age": "old", "visits": 1}])
    with pytest.raises(BadArtifact, match=r"trained with 0\.1\.2, installed is"):
        keeper.load(b"PK broken", signature_of(NUMBERS, SPEND), lineage=lineage)


def test_the_number_of_inputs_is_checked_at_loading(keeper, signature_of):
    with pytest.raises(BadArtifact, match="takes 2 inputs, the signature names 1"):
        keeper.load(skops.io.dumps(Ridge().fit(MATRIX, SPEND)), signature_of({"age": COLUMNS["age"]}, SPEND))


def test_no_heavy_library_is_imported_before_a_model_needs_it():
    script = (
        "import sys, modelkeep.runtimes, modelkeep.runtimes.training\n"
        "heavy = {'sklearn', 'lightgbm', 'skops', 'duckdb', 'pandas', 'joblib', 'scipy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
