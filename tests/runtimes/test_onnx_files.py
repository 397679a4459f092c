"""ONNX graphs are models of their own; one that is cut off or reaches for other files is refused."""

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression

from modelkeep.errors import BadArtifact
from modelkeep.nouns import Field, Signature
from modelkeep.runtimes import inspect

skl2onnx = pytest.importorskip("skl2onnx", reason="skl2onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

X = np.random.default_rng(1).normal(size=(200, 3))
INPUTS = tuple(Field(name=name, kind="number") for name in "abc")
ROWS = [dict(zip("abc", map(float, row), strict=True)) for row in X[:20]]


def graph(model, **more) -> bytes:
    return skl2onnx.to_onnx(model, X[:1].astype(np.float32), **more).SerializeToString()


def test_a_graph_answers_numbers_by_rows_and_by_matrix(keeper):
    model = LinearRegression().fit(X, X @ [1.0, 2.0, -3.0])
    loaded = keeper.load(graph(model), Signature(inputs=INPUTS, output=Field(name="y", kind="number")), runtime="onnx")
    assert loaded.predict(ROWS).values == pytest.approx(model.predict(X[:20]).tolist(), rel=1e-4, abs=1e-5)
    assert loaded.matrix(X[:20].copy()) == loaded.predict(ROWS)


def test_a_graph_answers_classes_with_their_chances(keeper):
    model = RandomForestClassifier(5, random_state=0).fit(X, np.where(X[:, 0] > 0, "yes", "no"))
    signature = Signature(inputs=INPUTS, output=Field(name="y", kind="category", categories=("no", "yes")))
    loaded = keeper.load(graph(model, options={"zipmap": False}), signature, runtime="onnx")
    outputs = loaded.predict(ROWS)
    assert outputs.values == model.predict(X[:20]).tolist()
    assert outputs.scores == pytest.approx(model.predict_proba(X[:20]).max(axis=1).tolist(), rel=1e-5)
    with pytest.raises(BadArtifact, match="zipmap"):
        keeper.load(graph(model), signature, runtime="onnx")


def test_it_is_recognised_and_one_that_is_cut_off_is_not_read(tmp_path):
    data = graph(LinearRegression().fit(X, X[:, 0]))
    path = tmp_path / "model"
    path.write_bytes(data)
    assert inspect(path, trust=False).runtime == "onnx"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(BadArtifact, match="not a whole ONNX file"):
        inspect(path, trust=False)


def test_weights_in_another_file_are_refused(tmp_path):
    onnx = pytest.importorskip("onnx")
    found = skl2onnx.to_onnx(LinearRegression().fit(X, X[:, 0]), X[:1].astype(np.float32))
    tensor = found.graph.initializer.add(name="w", data_type=1, dims=[1])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    path = tmp_path / "model.onnx"
    path.write_bytes(found.SerializeToString())
    with pytest.raises(BadArtifact, match="another file"):
        inspect(path, trust=False)


def test_a_graph_for_other_inputs_is_refused(keeper):
    data = graph(LinearRegression().fit(X, X[:, 0]))
    with pytest.raises(BadArtifact, match="takes 3 inputs, the signature names 2"):
        keeper.load(data, Signature(inputs=INPUTS[:2], output=Field(name="y", kind="number")), runtime="onnx")
