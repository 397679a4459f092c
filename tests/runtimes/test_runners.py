"""Every runner answers as the library that made the model: random models, random rows, and what is hard about them."""

import hashlib
import math
import types
from array import array

import lightgbm
import msgspec
import numpy as np
import pytest
import skops.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs
from sklearn import compose, ensemble, impute, linear_model, pipeline, preprocessing, tree

from modelkeep.errors import BadArtifact
from modelkeep.nouns import Features, Field, Outputs, Signature
from modelkeep.runtimes import running
from modelkeep.runtimes.estimators import opened
from modelkeep.runtimes.runners import choosing, kernel, loops, opening, plan, reading, walking
from modelkeep.runtimes.runners.compiled import Compiled

TREES = {
    "hist": lambda seed: ensemble.HistGradientBoostingRegressor(max_iter=5, random_state=seed),
    "hist poisson": lambda seed: ensemble.HistGradientBoostingRegressor(loss="poisson", max_iter=4, random_state=seed),
    "hist classes": lambda seed: ensemble.HistGradientBoostingClassifier(max_iter=3, random_state=seed),
    "forest": lambda seed: ensemble.RandomForestRegressor(6, random_state=seed),
    "forest classes": lambda seed: ensemble.RandomForestClassifier(6, max_depth=5, random_state=seed),
    "extra": lambda seed: ensemble.ExtraTreesRegressor(4, max_depth=6, random_state=seed),
    "extra classes": lambda seed: ensemble.ExtraTreesClassifier(5, random_state=seed),
    "staged": lambda seed: ensemble.GradientBoostingRegressor(n_estimators=6, random_state=seed),
    "staged classes": lambda seed: ensemble.GradientBoostingClassifier(n_estimators=4, random_state=seed),
    "staged exponential": lambda seed: ensemble.GradientBoostingClassifier(
        loss="exponential", n_estimators=4, random_state=seed
    ),
    "tree": lambda seed: tree.DecisionTreeRegressor(max_depth=4, random_state=seed),
    "tree classes": lambda seed: tree.DecisionTreeClassifier(random_state=seed),
}
LINES = {
    "line": linear_model.LinearRegression,
    "ridge": linear_model.Ridge,
    "counts": linear_model.PoissonRegressor,
    "spread": lambda: linear_model.TweedieRegressor(power=1.5),
    "logistic": linear_model.LogisticRegression,
}
NAMES = ("a", "b", "c", "d")
FEW = settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))


def world(seed: int, *, classes: int, gaps: bool) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    x = np.round(draw.normal(size=(150, 4)) * 3, draw.integers(0, 4))  # few digits: many values lie at a threshold
    x[:, 2] = np.sign(x[:, 2]) * (1 + seed % 3)  # parted at 0
    truth = x[:, 0] * 2 + np.sin(x[:, 1]) * x[:, 2] + draw.normal(size=150)
    if gaps:
        x[draw.random(x.shape) < 0.1] = math.nan
    if classes:
        edges = np.quantile(truth, np.linspace(0, 1, classes + 1)[1:-1])
        return x, np.array(["no", "yes", "maybe"])[np.digitize(truth, edges)]
    return x, truth - truth.min()


def signature_of(classes: int, *, gaps: bool) -> Signature:
    inputs = tuple(Field(name=name, kind="number", nullable=gaps) for name in NAMES)
    return Signature(inputs=inputs, output=Field(name="y", kind="category" if classes else "number"))


def rows_of(x: np.ndarray) -> list[Features]:
    return [{n: None if math.isnan(v) else v for n, v in zip(NAMES, row.tolist(), strict=True)} for row in x]


def held(model: object, signature: Signature, rows: list[Features], *, runners: int) -> None:
    """Every runner of the model's plan, out of its file, agrees with the library on a thousand rows."""
    library = opened(model, signature, coded=False)
    found = library.plan(())
    assert found is not None
    found = plan.decode(plan.encode(reading.arranged(found, tuple(f.name for f in signature.inputs))))
    proof = choosing.proof(found, rows, signature=signature, coded=False)
    assert proof.size >= 1000
    expected = {name: choosing._answers(library.answer, part) for name, part in choosing._groups(proof)}
    makes = opening.engines(found)
    assert len(makes) >= runners
    for name, make in makes.items():
        try:
            ask, _ = opening.asked(found, make())
        except BadArtifact:  # the compiled loops compare numbers only, and may not be there
            assert name == "compiled"
            continue
        off = choosing._difference(ask, proof, expected=expected)
        assert off is not None, name
        assert off < 1e-9


@pytest.mark.parametrize("kind", TREES)
@FEW
@given(seed=st.integers(0, 10_000))
def test_trees_answer_alike_in_every_runner(kind, seed):
    classes = 0 if "class" not in kind and "exponential" not in kind else 2 + (seed % 2) * ("exp" not in kind)
    gaps = "staged" not in kind and seed % 3 > 0
    x, truth = world(seed, classes=classes, gaps=gaps)
    model = TREES[kind](seed).fit(x, truth)
    held(model, signature_of(classes, gaps=gaps), rows_of(x), runners=2)


@pytest.mark.parametrize("kind", LINES)
@FEW
@given(seed=st.integers(0, 10_000))
def test_straight_lines_with_scaled_inputs_answer_alike(kind, seed):
    classes = 2 + seed % 2 if kind == "logistic" else 0
    x, truth = world(seed, classes=classes, gaps=bool(seed % 2))
    steps = [impute.SimpleImputer(add_indicator=bool(seed % 4 > 1))] if seed % 2 else []
    scaler = [
        preprocessing.StandardScaler,
        preprocessing.MinMaxScaler,
        preprocessing.RobustScaler,
        preprocessing.MaxAbsScaler,
    ][seed % 4]
    model = pipeline.make_pipeline(*steps, scaler(), LINES[kind]()).fit(x, truth)
    held(model, signature_of(classes, gaps=bool(seed % 2)), rows_of(x), runners=1)


@pytest.mark.parametrize("last", ["line", "forest"])
@pytest.mark.parametrize("unknown", ["ignore", "error"])
@FEW
@given(seed=st.integers(0, 10_000))
def test_pipelines_with_categories_answer_alike_also_for_unseen_ones(last, unknown, seed):
    x, truth = world(seed, classes=0, gaps=False)
    draw = np.random.default_rng(seed)
    kinds = np.array(["red", "green", "blue"])[draw.integers(0, 3, len(x))]
    table = np.column_stack((kinds.astype(object), x[:, 0].astype(object), x[:, 1].astype(object)))
    final = linear_model.Ridge() if last == "line" else ensemble.RandomForestRegressor(4, random_state=0)
    model = pipeline.make_pipeline(
        compose.ColumnTransformer(
            [
                ("kinds", preprocessing.OneHotEncoder(handle_unknown=unknown, drop="first" if seed % 2 else None), [0]),
                ("numbers", preprocessing.StandardScaler(), [1]),
            ],
            remainder="passthrough",
        ),
        final,
    ).fit(table, truth)
    signature = Signature(
        inputs=(
            Field(name="kind", kind="category", categories=("blue", "green", "red")),
            Field(name="a", kind="number", low=-30, high=30),
            Field(name="b", kind="number"),
        ),
        output=Field(name="y", kind="number"),
    )
    rows = [dict(zip(("kind", "a", "b"), row, strict=True)) for row in table.tolist()]
    held(model, signature, rows, runners=1 if last == "line" else 2)


@FEW
@given(seed=st.integers(0, 10_000))
def test_categories_of_histogram_boosting_answer_alike(seed):
    x, truth = world(seed, classes=2, gaps=True)
    x[:, 3] = np.random.default_rng(seed).integers(0, 9, len(x))
    x[:: 2 + seed % 5, 3] = math.nan
    model = ensemble.HistGradientBoostingClassifier(max_iter=5, categorical_features=[3]).fit(
        x, (truth == "yes") ^ (x[:, 3] > 4)
    )
    signature = Signature(
        inputs=tuple(Field(name=n, kind="number", nullable=True, low=-40, high=90) for n in NAMES),
        output=Field(name="y", kind="boolean"),
    )
    held(model, signature, rows_of(x), runners=2)


@pytest.mark.parametrize("objective", ["regression", "poisson", "binary", "multiclass"])
@FEW
@given(seed=st.integers(0, 10_000))
def test_lightgbm_answers_alike_with_gaps_and_categories(tmp_path, objective, seed):
    from modelkeep.runtimes import trees_lightgbm

    x, truth = world(seed, classes=0, gaps=bool(seed % 2))
    x[:, 3] = np.random.default_rng(seed).integers(0, 40, len(x))
    truth = truth + 3 * (x[:, 3] % 3)
    if objective in {"binary", "multiclass"}:
        truth = np.digitize(truth, np.quantile(truth, [0.5] if objective == "binary" else [0.3, 0.7]))
    params = {"objective": objective, "verbose": -1, "min_data_in_leaf": 4, "num_threads": 1, "min_data_per_group": 3}
    if objective == "multiclass":
        params["num_class"] = 3
    booster = lightgbm.train(params, lightgbm.Dataset(x, truth, feature_name=list(NAMES), categorical_feature=["d"]), 4)
    path = tmp_path / f"{objective}.txt"
    path.write_text(booster.model_to_string())
    known = tuple(str(i) for i in range(40))
    signature = Signature(
        inputs=(
            Field(name="d", kind="category", categories=known),  # in another order than in the file
            *(Field(name=name, kind="number", nullable=True) for name in NAMES[:3]),
        ),
        output=Field(name="y", kind="category" if objective in {"binary", "multiclass"} else "number"),
    )
    library = trees_lightgbm.open_model(path, signature, coded=False, runtime="lightgbm")
    found = library.plan(())
    assert found is not None
    found = reading.arranged(found, ("d", *NAMES[:3]))
    rows = [row | {"d": str(int(row["d"]))} for row in rows_of(x)]
    proof = choosing.proof(found, rows, signature=signature, coded=False)
    expected = {name: choosing._answers(library.answer, part) for name, part in choosing._groups(proof)}
    for name in ("native", "flattened"):  # the compiled loops compare no categories
        off = choosing._difference(opening.asked(found, opening.engines(found)[name]())[0], proof, expected=expected)
        assert off is not None
        assert off < 1e-9


def test_a_runner_that_answers_otherwise_is_not_kept(keeper):
    """A plan whose tree was changed by one threshold is noticed by the rows at that threshold."""
    x, truth = world(1, classes=0, gaps=False)
    signature = signature_of(0, gaps=False)
    library = opened(tree.DecisionTreeRegressor(max_depth=3).fit(x, truth), signature, coded=False)
    found = library.plan(())
    right = choosing.proof(found, rows_of(x), signature=signature, coded=False)
    threshold = found.forest.threshold
    threshold[0] = np.nextafter(np.float32(threshold[0]), np.float32(np.inf))
    assert choosing.choose(choosing.ways(found), library.answer, proof=right) is None


@pytest.mark.parametrize("first", ["quick", "slow"])
def test_a_machine_that_is_slow_for_a_while_does_not_choose_the_slower_runner(first, monkeypatch):
    """What makes the machine half as fast for .1 s is borne by all who are timed, whoever comes first."""
    now = [0.0]
    monkeypatch.setattr(choosing, "time", types.SimpleNamespace(perf_counter=lambda: now[0]))

    def taking(seconds):
        def answer(rows):
            now[0] += seconds * len(rows) * (2.0 if now[0] < 0.1 else 1.0)
            return Outputs(values=[1.0] * len(rows))

        return answer

    runners = {"quick": lambda: taking(2e-6), "slow": lambda: taking(3e-6)}
    proof = choosing.Proof(usual=[{"x": 1.0}] * 100, odd={})
    names = [first, *(name for name in runners if name != first)]
    chosen = choosing.choose({name: runners[name] for name in names}, taking(1e-4), proof=proof)
    assert chosen.name == "quick"


def test_the_plan_serves_without_the_library_and_a_lost_plan_costs_speed_only(keeper, caplog):
    x, truth = world(3, classes=0, gaps=False)
    model = ensemble.RandomForestRegressor(20, random_state=1).fit(x, truth)
    signature = signature_of(0, gaps=False)
    slow = keeper.load(skops.io.dumps(model), signature)
    chosen = running.choose(slow.version, keeper.folder.joinpath, rows=rows_of(x))
    assert chosen.runner.name in {"compiled", "native", "flattened"}
    assert chosen.runner.one < chosen.runner.library_one / 5
    digest = keeper.put(chosen.data)
    quick = keeper.load(skops.io.dumps(model), signature, runner=running.kept(chosen, digest))
    assert quick.predict(rows_of(x)) == slow.predict(rows_of(x))
    assert quick.matrix(x[:3].copy()) == slow.predict(rows_of(x[:3]))
    assert quick.flat(array("d", x[:3].reshape(-1).tolist()), 3) == slow.predict(rows_of(x[:3]))
    assert slow.flat(array("d", x[:3].reshape(-1).tolist()), 3) == slow.predict(rows_of(x[:3]))
    (keeper.folder / digest).write_bytes(b"no plan")
    again = keeper.load(skops.io.dumps(model), signature, runner=running.kept(chosen, digest))
    assert again.predict(rows_of(x)) == slow.predict(rows_of(x))
    assert "its library answers" in caplog.text


def levels() -> list[str]:
    flags = kernel._flags()
    return [level for level in kernel.LEVELS if kernel.LEVELS[level] <= flags]


@pytest.mark.skipif(kernel.shipped() is None, reason="no machine code comes along for this system")
@pytest.mark.parametrize("level", levels())
@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("gaps", [False, True])
def test_the_machine_code_of_every_level_answers_as_numpy_does(level, short, gaps):
    x, truth = world(11, classes=0, gaps=True)
    found = opened(
        ensemble.HistGradientBoostingRegressor(max_iter=7, max_leaf_nodes=9).fit(x, truth),
        signature_of(0, gaps=True),
        coded=False,
    ).plan(NAMES)
    if not gaps:
        x = np.nan_to_num(x, nan=-1.5)
        x[::3, 1] = found.forest.threshold[: len(x[::3])].max()  # exactly at a bound
    forest = found.forest
    if short:
        values, base = forest.values.astype(np.float32).astype(float), forest.base.astype(np.float32).astype(float)
        x = x.astype(np.float32).astype(float)
        forest = structs.replace(forest, values=values, base=base, short=True, single=True)
    asked = Compiled(forest, code=kernel.mapped(kernel.CODE / f"{level}.bin"))
    wanted = walking.walked(forest)(x)
    assert np.array_equal(asked.many(x), wanted)
    for n in range(1, 41):  # rows by eight, by sixteen, and what is left
        assert np.array_equal(asked.many(x[-n:]), wanted[-n:])
        assert asked.flat(array("d", x[-n:].reshape(-1).tolist()), n) == wanted[-n:].reshape(-1).tolist()
    assert asked.flat(array("d", x.reshape(-1).tolist()), len(x)) == wanted.reshape(-1).tolist()
    assert np.array_equal(np.array([asked.one(row) for row in x[:20]]), wanted[:20])


def test_the_machine_code_was_made_of_these_loops():
    wanted = hashlib.sha256(loops.text().encode()).hexdigest()
    for level in kernel.LEVELS:
        data = (kernel.CODE / f"{level}.bin").read_bytes()
        size = int.from_bytes(data[-4:], "little")
        tail = msgspec.json.decode(data[-4 - size : -4], type=kernel.Tail)
        assert tail.source == wanted, "run tools/machine_code.py"
        assert set(tail.places) == {f"walk_{kind}" for kind in loops.WALKS} | {f"bits_{kind}" for kind in loops.BITS}


def test_llvm_makes_the_same_loops_where_none_come_along():
    pytest.importorskip("llvmlite", reason="the extra compiled is not installed")
    x, truth = world(2, classes=0, gaps=False)
    forest = opened(
        ensemble.RandomForestRegressor(5, random_state=1).fit(x, truth), signature_of(0, gaps=False), coded=False
    ).plan(NAMES)
    asked = Compiled(forest.forest, code=kernel.fresh())
    short = x.astype(np.float32).astype(float)
    assert np.array_equal(asked.many(short), walking.walked(structs.replace(forest.forest, divisor=1.0))(short))


def test_a_place_from_which_nothing_may_be_run_takes_no_code(tmp_path):
    assert kernel.mapped(tmp_path / "gone.bin") is None
    (tmp_path / "empty.bin").write_bytes(b"")
    assert kernel.mapped(tmp_path / "empty.bin") is None
    assert kernel.level_of(frozenset()) is None
