"""``Loaded.matrix`` answers what ``Loaded.predict`` answers, for every format that offers it."""

import math

import lightgbm
import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LinearRegression, LogisticRegression

from modelkeep.errors import ModelFailed
from modelkeep.nouns import Features, Field, Signature
from modelkeep.runtimes import UNSEEN, Loaded

X = np.random.default_rng(7).normal(size=(200, 3))
INPUTS = tuple(Field(name=name, kind="number", nullable=True) for name in "abc")


def table(loaded: Loaded, rows: list[Features]) -> np.ndarray:
    def number(name: str, value: object) -> object:
        if isinstance(value, str):
            return loaded.codes[name].get(value, UNSEEN)
        return math.nan if value is None else value

    return np.array([[number(name, row.get(name)) for name in loaded.columns] for row in rows], dtype=np.float64)


def rows_of(values: np.ndarray) -> list[Features]:
    return [dict(zip("abc", map(float, row), strict=True)) for row in values]


@pytest.mark.parametrize("classifies", [False, True])
def test_an_estimator_answers_a_matrix_as_it_answers_rows(keeper, classifies):
    kind = "boolean" if classifies else "number"
    model = LogisticRegression().fit(X, X[:, 0] > 0) if classifies else LinearRegression().fit(X, X @ [1.0, -2.0, 3.0])
    signature = Signature(inputs=INPUTS, output=Field(name="y", kind=kind))
    loaded = keeper.load(skops.io.dumps(model), signature)
    rows = rows_of(X[:9])
    assert loaded.columns == ("a", "b", "c")
    assert loaded.matrix(table(loaded, rows)) == loaded.predict(rows)
    with pytest.raises(ModelFailed, match=r"m@1 failed"):
        loaded.matrix(np.full((1, 3), math.nan))


def test_trees_answer_categories_by_their_codes_and_unseen_ones_as_rows_do(keeper):
    kinds = np.random.default_rng(3).integers(0, 3, size=200)
    values = np.column_stack((kinds, X[:, :2]))
    booster = lightgbm.train(
        {"verbose": -1, "min_data_in_leaf": 5, "num_threads": 1},
        lightgbm.Dataset(values, X[:, 0] + kinds, feature_name=["kind", "a", "b"], categorical_feature=["kind"]),
        5,
    )
    kind = Field(name="kind", kind="category", categories=("x", "y", "z"))
    signature = Signature(inputs=(INPUTS[0], kind, INPUTS[1]), output=Field(name="y", kind="number"))
    loaded = keeper.load(booster.model_to_string().encode(), signature, runtime="lightgbm")
    rows: list[Features] = [{"a": 0.3, "kind": word, "b": b} for word in ("x", "z", "new") for b in (1.5, None)]
    assert loaded.columns == ("a", "kind", "b")
    assert loaded.matrix(table(loaded, rows)) == loaded.predict(rows)


def test_feature_code_and_texts_are_asked_with_rows_only(keeper, tmp_path):
    source = tmp_path / "m.py"
    source.write_text("def predict(row):\n    return 1.0\n")
    from modelkeep.runtimes.formats import contents

    data = contents(source)
    loaded = keeper.load(data, Signature(inputs=INPUTS, output=Field(name="y", kind="number")), runtime="python")
    assert loaded.matrix is None
