"""XGBoost's own files: answered as the library answers, in 32 bits, with and without it; broken ones are refused."""

import json
import math
import random

import numpy as np
import pytest
from sklearn import pipeline, preprocessing

from modelkeep.errors import BadArtifact, BadFeatures
from modelkeep.nouns import Field, Signature
from modelkeep.runtimes import running, trees_xgboost, ubjson, xgboost_file
from modelkeep.runtimes.estimators import opened
from modelkeep.runtimes.formats import Opened, inspect
from modelkeep.runtimes.runners import choosing, opening, plan, reading

xgboost = pytest.importorskip("xgboost", reason="the extra xgboost is not installed")

NAMES = ("a", "b", "c", "d", "kind")
KINDS = tuple("uvwxyz")
DRAW = np.random.default_rng(5)
X = DRAW.normal(size=(700, 5))
X[:, 2] = np.round(X[:, 2])  # parted at 0
X[DRAW.random(X.shape) < 0.08] = math.nan
X[:, 4] = DRAW.integers(0, 6, len(X))
X[:40, 4] = math.nan
KNOWN = np.nan_to_num(X)
Y = KNOWN[:, 0] * 2 + np.sin(3 * KNOWN[:, 1]) + 2 * (KNOWN[:, 4] == 2) + DRAW.normal(size=len(X)) * 0.1
THREE = np.digitize(Y, [-1, 1])
SMALL = {"n_estimators": 12, "max_depth": 4, "n_jobs": 1}
BY_KIND = {"enable_categorical": True, "feature_types": ["q"] * 4 + ["c"]}
NUMBERS = X[:, :4]


def model_of(kind: str) -> tuple[object, int]:  # noqa: PLR0911 - a table of them would be longer
    """A fitted model, and how many classes it answers (0: numbers)."""
    regressor, classifier = xgboost.XGBRegressor, xgboost.XGBClassifier
    if kind == "pruned":  # it leaves nodes behind that nothing leads to
        return regressor(**SMALL, gamma=3.0, tree_method="exact").fit(NUMBERS, Y), 0
    if kind in {"plain", "stopped"}:
        more = {"early_stopping_rounds": 2, "learning_rate": 0.9} if kind == "stopped" else {}
        watched = {"eval_set": [(NUMBERS[500:], Y[500:])], "verbose": False} if more else {}
        return regressor(**SMALL | {"n_estimators": 40}, **more).fit(NUMBERS[:500], Y[:500], **watched), 0
    if kind in {"kinds", "sets"}:
        return regressor(**SMALL, **BY_KIND, max_cat_to_onehot=1 if kind == "sets" else 8).fit(X, Y), 0
    if kind == "two":
        return classifier(**SMALL).fit(NUMBERS, Y > 0), 2
    if kind in {"three", "forest", "dart of three"}:
        more = {"booster": "dart", "rate_drop": 0.3, "one_drop": 1} if kind.startswith("dart") else {}
        made = xgboost.XGBRFClassifier if kind == "forest" else classifier
        return made(**SMALL, **more).fit(NUMBERS, THREE), 3
    if kind == "dart":
        return regressor(**SMALL, booster="dart", rate_drop=0.3, one_drop=1).fit(NUMBERS, Y), 0
    truth = 1 / (1 + np.exp(-Y)) if kind == "reg:logistic" else np.abs(Y) + 0.01
    return regressor(**SMALL, objective=kind).fit(NUMBERS, truth), 0


def file_of(model: object, tmp_path, *, ending: str = "json") -> bytes:
    model.save_model(tmp_path / f"m.{ending}")
    return (tmp_path / f"m.{ending}").read_bytes()


def signature_of(classes: int, *, width: int = 4) -> Signature:
    inputs = tuple(
        Field(name=n, kind="category" if n == "kind" else "number", nullable=True, categories=KINDS * (n == "kind"))
        for n in NAMES[:width]
    )
    return Signature(inputs=inputs, output=Field(name="y", kind="category" if classes else "number"))


def rows_of(x: np.ndarray) -> list[dict]:
    return [
        {n: None if math.isnan(v) else KINDS[int(v)] if n == "kind" else v for n, v in zip(NAMES, row, strict=False)}
        for row in x.tolist()
    ]


def loaded(data: bytes, signature: Signature, tmp_path) -> Opened:
    (tmp_path / "artifact").write_bytes(data)
    return trees_xgboost.open_model(tmp_path / "artifact", signature, coded=False, runtime="xgboost")


def held(library: Opened, signature: Signature, rows: list[dict], *, least: int) -> None:
    """At least so many runners agree with the library on a thousand rows."""
    found = library.plan(())
    assert found is not None
    found = plan.decode(plan.encode(reading.arranged(found, tuple(f.name for f in signature.inputs))))
    proof = choosing.proof(found, rows, signature=signature, coded=False)
    assert proof.size >= 1000
    expected = {name: choosing._answers(library.answer, part) for name, part in choosing._groups(proof)}
    agreed = 0
    for make in opening.engines(found).values():
        try:
            ask, _ = opening.asked(found, make())
        except BadArtifact:
            continue
        off = choosing._difference(ask, proof, expected=expected)
        assert off is not None
        assert off <= 1e-6
        agreed += 1
    assert agreed >= least


@pytest.mark.parametrize(
    "kind",
    [
        *("plain", "pruned", "stopped", "kinds", "sets", "two", "three", "forest", "dart", "dart of three"),
        *("count:poisson", "reg:gamma", "reg:tweedie", "reg:logistic", "reg:absoluteerror"),
    ],
)
def test_every_kind_of_file_answers_as_xgboost_and_so_do_its_runners(kind, tmp_path):
    model, classes = model_of(kind)
    x = X if kind in {"kinds", "sets"} else NUMBERS
    signature = signature_of(classes, width=x.shape[1])
    library = loaded(file_of(model, tmp_path), signature, tmp_path)
    got = library.answer(rows_of(x))
    if classes:
        assert [int(value) for value in got.values] == model.predict(x).tolist()
        assert got.scores == pytest.approx(model.predict_proba(x).max(axis=1), rel=1e-6)
    else:
        assert got.values == pytest.approx(model.predict(x).tolist(), rel=1e-6, abs=1e-6 * kind.startswith("dart"))
    held(library, signature, rows_of(x), least=1)


@pytest.mark.parametrize("kind", ["sets", "dart of three", "pruned"])
def test_both_ways_of_writing_a_file_tell_the_same(kind, tmp_path):
    model, _ = model_of(kind)
    one, other = (xgboost_file.checked(file_of(model, tmp_path, ending=ending)) for ending in ("json", "ubj"))
    assert other.base == pytest.approx(one.base, rel=1e-7)
    for mine, theirs in zip(one.trees, other.trees, strict=True):
        assert mine.left_children == theirs.left_children
        assert mine.categories == theirs.categories
        assert np.array_equal(np.float32(mine.split_conditions), np.float32(theirs.split_conditions))


def test_a_plan_is_served_without_the_library_and_registering_finds_it(keeper, tmp_path):
    model, _ = model_of("plain")
    data, signature = file_of(model, tmp_path), signature_of(0)
    slow = keeper.load(data, signature, runtime="xgboost")
    chosen = running.choose(slow.version, keeper.folder.joinpath, rows=rows_of(NUMBERS))
    assert chosen is not None
    quick = keeper.load(data, signature, runtime="xgboost", runner=running.kept(chosen, keeper.put(chosen.data)))
    assert quick.runner == chosen.runner.name
    assert quick.predict(rows_of(NUMBERS)) == slow.predict(rows_of(NUMBERS))  # to the last of 32 bits
    told = quick.explain(rows_of(NUMBERS)[0])
    assert told.total == pytest.approx(slow.predict(rows_of(NUMBERS)[:1]).values[0], rel=1e-5)
    for ask in (slow.predict, quick.predict):
        with pytest.raises(Exception, match="too large"):
            ask([dict.fromkeys("abcd", 1e39)])


def test_a_wrapped_estimator_in_a_pipeline_gets_a_runner_too():
    signature = signature_of(2)
    scaled = pipeline.make_pipeline(preprocessing.RobustScaler(), xgboost.XGBClassifier(**SMALL))
    library = opened(scaled.fit(NUMBERS, Y > 0), signature, coded=False)
    held(library, signature, rows_of(NUMBERS), least=1)
    odd = xgboost.XGBRegressor(**SMALL, missing=-1.0).fit(KNOWN, Y)  # another number is missing for it
    assert opened(odd, signature_of(0, width=4), coded=True).plan(NAMES[:4]) is None


def test_the_names_of_categories_in_the_file_count(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": X[:, 0], "kind": pandas.Categorical.from_codes(KNOWN[:, 4].astype(int), KINDS)})
    model = xgboost.XGBRegressor(**SMALL, enable_categorical=True).fit(frame, Y)
    kind = Field(name="kind", kind="category", categories=KINDS[::-1])  # in another order than in the file
    signature = Signature(inputs=(Field(name="a", kind="number", nullable=True), kind), output=signature_of(0).output)
    library = loaded(file_of(model, tmp_path), signature, tmp_path)
    rows = [
        {"a": None if math.isnan(a) else a, "kind": k} for a, k in zip(X[:, 0].tolist(), frame["kind"], strict=True)
    ]
    assert library.answer(rows).values == pytest.approx(model.predict(frame).tolist(), rel=1e-6)


def test_what_is_not_served_is_refused_by_name(tmp_path):
    line = xgboost.XGBRegressor(n_estimators=2, booster="gblinear").fit(KNOWN, Y)
    with pytest.raises(BadArtifact, match="gblinear"):
        xgboost_file.checked(file_of(line, tmp_path))
    pairs = xgboost.XGBRegressor(**SMALL).fit(NUMBERS, np.column_stack([Y, Y]))
    with pytest.raises(BadArtifact, match="several targets"):
        xgboost_file.checked(file_of(pairs, tmp_path))
    hinge = xgboost.XGBRegressor(**SMALL, objective="binary:hinge").fit(NUMBERS, Y > 0)
    with pytest.raises(BadArtifact, match="binary:hinge"):
        xgboost_file.checked(file_of(hinge, tmp_path))
    with pytest.raises(BadArtifact, match="takes 4 inputs"):
        loaded(file_of(model_of("plain")[0], tmp_path), signature_of(0, width=3), tmp_path)


@pytest.mark.parametrize(
    "harm",
    [
        {"left_children": [-5]},
        {"left_children": [10**6]},
        {"left_children": [0]},
        {"split_indices": [4]},
        {"split_conditions": [1e300]},
        {"default_left": []},
        {"categories_nodes": [0], "categories_segments": [0], "categories_sizes": [9]},
    ],
    ids=str,
)
def test_a_tree_that_is_none_never_reaches_the_library(harm, tmp_path):
    whole = json.loads(file_of(model_of("plain")[0], tmp_path))
    tree = whole["learner"]["gradient_booster"]["model"]["trees"][0]
    for name, values in harm.items():
        tree[name] = values + tree[name][len(values) :] if values else values
    with pytest.raises(BadArtifact, match="not a whole XGBoost file"):
        xgboost_file.checked(json.dumps(whole).encode())


@pytest.mark.parametrize("ending", ["json", "ubj"])
def test_changed_bytes_are_refused_or_answer(ending, tmp_path):
    data, signature = file_of(model_of("plain")[0], tmp_path, ending=ending), signature_of(0)
    draw = random.Random(ending)
    for _ in range(30):
        broken = bytearray(data)
        if draw.random() < 0.3:
            del broken[draw.randrange(len(data)) :]
        else:
            broken[draw.randrange(len(data))] = draw.randrange(256)
        try:
            loaded(bytes(broken), signature, tmp_path).answer(rows_of(NUMBERS[:3]))
        except (BadArtifact, BadFeatures):
            continue
    (tmp_path / "m").write_bytes(data)
    assert inspect(tmp_path / "m", trust=False).runtime == "xgboost"


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 100,
        b"{",
        b"[$dL",
        b"[$d#L" + b"\x7f" * 8,
        b"[#i\x05i\x01",
        b"SL" + b"\xff" * 8,
        b"?",
        b"i\x01i\x01",
        b"[$S#i\x01",
    ],
)
def test_what_is_no_ubjson_is_told(data):
    with pytest.raises(ValueError, match=r"cut off|kind|length|bytes follow|nested"):
        ubjson.decode(data)
