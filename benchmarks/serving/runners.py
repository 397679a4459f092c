"""What one row and a hundred cost in every runner that can answer a model, beside the library that made it.

python benchmarks/serving/runners.py [--json FILE]

All runners of one model are timed in turn, again and again, in one process pinned to one core; the median counts.
Runners get a matrix, as the hot path hands it over; so does the library. ONNX Runtime is timed where onnxruntime and
skl2onnx are installed: it is what the runners were chosen instead of.
"""

import argparse
import itertools
import json
import os
import statistics
import time
import warnings
from pathlib import Path

import lightgbm
import numpy as np
from sklearn import ensemble, linear_model, pipeline, preprocessing

from modelkeep.errors import ModelkeepError
from modelkeep.nouns import Field, Signature
from modelkeep.runtimes.estimators import opened
from modelkeep.runtimes.lightgbm_text import checked
from modelkeep.runtimes.runners import grown, opening

NAMES = tuple("abcdefgh")
DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(5000, 8))
Y = X[:, 0] * 2 + np.sin(X[:, 1] * 3) + X[:, 2] * X[:, 3] + DRAW.normal(size=5000) * 0.1
KIND = Y > 0
LABELS = KIND.astype(int)
ROUNDS = 400
MODELS = {
    "histogram boosting, 100 x 31 leaves": (ensemble.HistGradientBoostingRegressor(), Y),
    "random forest, 100 trees, full depth": (ensemble.RandomForestRegressor(100, n_jobs=1, random_state=0), Y),
    "random forest of classes, depth 8": (ensemble.RandomForestClassifier(100, max_depth=8, n_jobs=1), LABELS),
    "gradient boosting, 100 x 8 leaves": (ensemble.GradientBoostingRegressor(), Y),
    "scaled logistic regression": (
        pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression()),
        LABELS,
    ),
    "LightGBM, 100 x 31 leaves": (None, Y),
}
try:
    import xgboost
except ImportError:
    print("XGBoost is not installed: it is left out")
else:
    MODELS["XGBoost, 100 trees of depth 5"] = (xgboost.XGBRegressor(n_estimators=100, max_depth=5, n_jobs=1), Y)
    MODELS["XGBoost, 100 trees, two classes"] = (xgboost.XGBClassifier(n_estimators=100, max_depth=5, n_jobs=1), LABELS)


def timed(calls: dict[str, object], tables: list[np.ndarray]) -> dict[str, float]:
    """Median microseconds of each call, all of them taking turns on the same tables."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for table in itertools.islice(itertools.cycle(tables), ROUNDS):
        for name, call in calls.items():
            if sum(taken[name]) > 3.0:
                continue
            start = time.perf_counter()
            call(table)
            taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) * 1e6 for name, times in taken.items()}


def by_onnx(model: object, *, classes: bool) -> object | None:
    """ONNX Runtime's answer to a matrix, None where it is not installed or the model does not convert."""
    try:
        import onnxruntime
        from skl2onnx import to_onnx

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        more = {"options": {id(model): {"zipmap": False}}} if classes else {}
        data = to_onnx(model, X[:1].astype(np.float32), **more).SerializeToString()
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - whatever the converter does not know
        print(f"    (no ONNX: {type(error).__name__}: {str(error)[:80]})")
        return None
    name = session.get_inputs()[0].name
    return lambda table: session.run(None, {name: table.astype(np.float32)})


def measured(model: object, truth: np.ndarray) -> dict[str, list[float]]:
    """Microseconds for one row and for a hundred, by who answers."""
    inputs = tuple(Field(name=one, kind="number") for one in NAMES)
    classes = truth is LABELS
    signature = Signature(inputs=inputs, output=Field(name="y", kind="category" if classes else "number"))
    if model is None:
        booster = lightgbm.train({"verbose": -1, "num_threads": 1}, lightgbm.Dataset(X, truth), 100)
        found = grown.read(checked(booster.model_to_string().encode()), names=NAMES, codes={}, labels=())
        calls = {"library": lambda table: booster.predict(table, num_threads=1)}
    else:
        library = opened(model.fit(X, truth), signature, coded=False)
        found = library.plan(NAMES)
        calls = {"library": library.matrix}
        onnx = by_onnx(model, classes=classes)
        if onnx is not None:
            calls["onnx (float32)"] = onnx
    for runner, make in opening.engines(found).items():
        try:
            calls[runner] = opening.asked(found, make())[1]
        except ModelkeepError as error:
            print(f"    (no {runner}: {error})")
    ones = [X[i : i + 1].copy() for i in range(200)]
    hundreds = [X[i : i + 100].copy() for i in range(0, 2000, 100)]
    one, hundred = timed(calls, ones), timed(calls, hundreds)
    return {who: [one[who], hundred[who]] for who in calls}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json")
    parser.add_argument("--only", default="", help="models whose name begins so")
    given = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    warnings.simplefilter("ignore")
    found = {}
    print(
        f"{'us for one row / for a hundred':44}{'1 row':>10}{'100 rows':>10}{'x library, 1':>14}{'x library, 100':>16}"
    )
    for name, (model, truth) in MODELS.items():
        if not name.startswith(given.only):
            continue
        found[name] = measured(model, truth)
        print(name)
        theirs = found[name]["library"]
        for who, (one, hundred) in found[name].items():
            print(f"    {who:40}{one:10.1f}{hundred:10.1f}{theirs[0] / one:14.1f}{theirs[1] / hundred:16.1f}")
    if given.json:
        Path(given.json).write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
