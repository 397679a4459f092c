"""Members of an ensemble are answered by runners: the whole tells the same, members, weights and intervals too."""

import math
import subprocess
import sys

import lightgbm
import msgspec
import numpy as np
import pytest
import skops.io
from msgspec import structs
from sklearn import compose, ensemble, linear_model, pipeline, preprocessing

from modelkeep.errors import ModelFailed
from modelkeep.nouns import Field, Outputs, Signature
from modelkeep.runtimes import Ensemble, Linear, Member, linear_bytes, pack_ensemble, running
from modelkeep.runtimes.runners import choosing, plan

DRAW = np.random.default_rng(4)
NAMES = ("a", "b", "c")
X = np.round(DRAW.normal(size=(240, 3)) * 2, 2)
PLACES = np.array(["here", "there"])[DRAW.integers(0, 2, len(X))]
TRUTH = np.exp(0.4 * X[:, 0] - 0.2 * X[:, 1] + 0.2 * (PLACES == "here") + 0.1 * DRAW.normal(size=len(X)))
CHURNS = np.greater(TRUTH, np.median(TRUTH))
ROWS = [{**dict(zip(NAMES, x, strict=True)), "place": p} for x, p in zip(X.tolist(), PLACES.tolist(), strict=True)]
INPUTS = (
    *(Field(name=name, kind="number", nullable=name == "a") for name in NAMES),
    Field(name="place", kind="category", categories=("here", "there")),
)
NUMBER = Signature(inputs=INPUTS, output=Field(name="y", kind="number"))
CLASS = Signature(inputs=INPUTS, output=Field(name="y", kind="boolean"))


def trees(name, truth, objective="regression", **more):
    params = {"objective": objective, "verbosity": -1, "num_threads": 1, "num_leaves": 7, **more}
    booster = lightgbm.train(params, lightgbm.Dataset(X, truth), 12)
    return Member(name=name, runtime="lightgbm", data=booster.model_to_string().encode(), columns=NAMES)


def fitted(name, model, truth, **more):
    data = skops.io.dumps(model.fit(np.nan_to_num(X), truth))
    return Member(name=name, runtime="skops", data=data, columns=NAMES, **more)


def by_place(name, model, truth):
    """A member that takes the category, and fails on one that it does not know."""
    table = np.column_stack([X[:, 1].astype(object), PLACES])
    coder = compose.ColumnTransformer([("k", preprocessing.OneHotEncoder(), [1])], remainder="passthrough")
    whole = pipeline.make_pipeline(coder, model).fit(table, truth)
    return Member(name=name, runtime="skops", data=skops.io.dumps(whole), columns=("b", "place"))


LINE = Linear(intercept=0.1, coefficients={"a": 0.4, "b": -0.2}, categories={"place": {"here": 0.2}}, means={"a": 0.0})
LINEAR = Member(name="line", runtime="linear", data=linear_bytes(LINE))
LOGS = np.log(TRUTH)
WHOLES = {
    "numbers": (
        Ensemble(
            members=(trees("t", LOGS), LINEAR, by_place("r", linear_model.Ridge(), LOGS)),
            weights={"t": 0.5, "line": 0.3, "r": 0.2},
            link="log", by="place", weights_by={"there": {"t": 1.0}}, low=-0.2, high=0.3,
        ),
        NUMBER,
    ),
    "other links": (
        Ensemble(members=(trees("t", TRUTH, "poisson"), LINEAR), weights={"t": 0.5, "line": 0.5}, link="log1p"),
        NUMBER,
    ),
    "quantiles": (
        Ensemble(
            members=(trees("m", TRUTH), trees("l", TRUTH, "quantile", alpha=0.1), trees("h", TRUTH, "quantile")),
            weights={"m": 1.0}, low_member="l", high_member="h", widen=0.1, floor=0.0,
        ),
        NUMBER,
    ),
    "classes": (
        Ensemble(
            members=(
                trees("t", CHURNS, "binary"),
                fitted("hist", ensemble.HistGradientBoostingClassifier(max_iter=5, max_depth=3), CHURNS),
                by_place("line", linear_model.LogisticRegression(), CHURNS),
            ),
            weights={"t": 0.4, "hist": 0.3, "line": 0.3},
            link="logit",
        ),
        CLASS,
    ),
    "ranks": (
        Ensemble(
            members=(
                fitted(
                    "hist", ensemble.HistGradientBoostingRegressor(max_iter=5), TRUTH, ranks=(0.1, 0.5, 0.9, 1.5, 3.0)
                ),
                fitted("odd", linear_model.HuberRegressor(), LOGS, ranks=(-1.0, 0.0, 1.0)),
            ),
            weights={"hist": 0.5, "odd": 0.5},
        ),
        CLASS,
    ),
}  # fmt: skip


CHOSEN = {}
"""Choosing times every runner: once is enough."""


def told(outputs: Outputs) -> list[object]:
    return [outputs.values, outputs.scores, outputs.intervals, *(outputs.members or {}).values(), outputs.weights]


@pytest.fixture
def both(keeper, tmp_path):
    """An ensemble by its libraries, and by the runner that was found for it."""

    def load(kind):
        whole, signature = WHOLES[kind]
        data = pack_ensemble(whole, tmp_path / "whole.zip").read_bytes()
        slow = keeper.load(data, signature, runtime="ensemble")
        if kind not in CHOSEN:
            CHOSEN[kind] = running.choose(slow.version, keeper.folder.joinpath, rows=ROWS)
        chosen = CHOSEN[kind]
        assert chosen is not None
        runner = running.kept(chosen, keeper.put(chosen.data))
        return slow, keeper.load(data, signature, runtime="ensemble", runner=runner)

    return load


@pytest.mark.parametrize("kind", WHOLES)
def test_an_ensemble_answers_by_runners_what_its_libraries_answer(kind, both):
    slow, quick = both(kind)
    assert quick.runner == quick.version.runner.name != "library"
    assert quick.version.runner.rows >= 1000
    wanted, got = slow.predict(ROWS), quick.predict(ROWS)
    for one, other in zip(told(wanted), told(got), strict=True):
        if isinstance(one, dict) or one is None or isinstance(one[0], bool):
            assert other == one
        else:
            assert np.array(other) == pytest.approx(np.array(one), rel=1e-9)
    gap = [{**ROWS[0], "a": None}]  # the lightgbm members take it, the line fills it
    if kind in {"numbers", "other links"}:
        assert quick.predict(gap).values == pytest.approx(slow.predict(gap).values, rel=1e-9)


def test_a_member_that_fails_on_a_row_leaves_it_to_the_others_in_both(both):
    slow, quick = both("numbers")
    strange = [{**ROWS[0], "place": "nowhere"}]  # the encoder was told to know all places
    wanted, got = slow.predict(strange), quick.predict(strange)
    assert got.values == pytest.approx(wanted.values, rel=1e-9)
    assert got.weights == wanted.weights
    assert "member 'r'" in wanted.degraded[0]
    assert "member 'r'" in got.degraded[0]
    assert math.isnan(got.members["r"][0])


def test_it_is_explained_as_before(both):
    slow, quick = both("quantiles")
    assert quick.explain(ROWS[0]) == slow.explain(ROWS[0])


def test_a_member_that_answers_otherwise_is_noticed(keeper, tmp_path):
    whole, signature = WHOLES["numbers"]
    data = pack_ensemble(whole, tmp_path / "whole.zip").read_bytes()
    loaded = keeper.load(data, signature, runtime="ensemble")
    library = running._by_library(loaded.version, keeper.folder / loaded.version.artifact)
    found = library.plan(tuple(ROWS[0]))
    first = found.members[0]
    moved = structs.replace(first.plan.forest, threshold=np.nextafter(first.plan.forest.threshold, np.inf))
    wrong = structs.replace(first, plan=structs.replace(first.plan, forest=moved))
    found = plan.decode(plan.encode(structs.replace(found, members=(wrong, *found.members[1:]))))
    proof = choosing.proof(found, ROWS, signature=signature, coded=False)
    makes = {"flattened": lambda: running._together(found, "flattened", version=loaded.version, artifact=lambda: data)}
    assert choosing.choose(makes, library.answer, proof=proof) is None


def test_too_few_members_fail_in_both(both):
    slow, quick = both("ranks")
    for loaded in (slow, quick):  # one takes no gap: half is left; none takes a word
        assert "member 'odd'" in loaded.predict([{**ROWS[0], "a": None}]).degraded[0]
        with pytest.raises(ModelFailed):
            loaded.predict([{**ROWS[0], "a": "much"}])


def test_an_ensemble_with_a_runner_needs_no_library(both, keeper):
    _, quick = both("classes")
    names = {"hist", "t", "line"}
    assert set(quick.predict(ROWS[:1]).members) == names
    code = (
        "import sys, msgspec, pathlib; from modelkeep.nouns import Version; from modelkeep.runtimes import load\n"
        "version = msgspec.json.decode(sys.argv[1], type=Version)\n"
        "load(version, pathlib.Path(sys.argv[2]).joinpath).predict(msgspec.json.decode(sys.argv[3]))\n"
        "print(sorted({'sklearn', 'lightgbm', 'skops'} & set(sys.modules)))"
    )
    words = [msgspec.json.encode(quick.version).decode(), str(keeper.folder), msgspec.json.encode(ROWS[:1]).decode()]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
