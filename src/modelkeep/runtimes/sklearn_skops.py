"""The format ``skops``: scikit-learn stored without pickle, every type in it trusted by name.

``skops`` holds only types that skops or TRUSTED knows; ``skops-trusted`` holds others, for which whoever registered it
vouched.
"""

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import skops.io

from modelkeep.errors import BadArtifact
from modelkeep.nouns import Signature
from modelkeep.runtimes import archives
from modelkeep.runtimes.estimators import opened
from modelkeep.runtimes.formats import Inspected, Opened

TRUSTED = frozenset(
    {
        "numpy.dtype",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.ensemble._gb_losses.LeastSquaresError",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.metrics._dist_metrics.EuclideanDistance64",
        "sklearn.metrics._dist_metrics.ManhattanDistance64",
        "sklearn.metrics._dist_metrics.MinkowskiDistance64",
        "sklearn.neighbors._ball_tree.BallTree",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.tree._tree.Tree",
        "sklearn.utils._bunch.Bunch",
    }
)
"""Types beyond skops' own list that hold data only: scikit-learn's compiled trees and the like. Read one by one."""

MAX_SCHEMA = 512 * 2**20


def inspect(data: bytes, *, trust: bool) -> Inspected:
    """List the types with skops, constructing none of them. Raises BadArtifact naming each unknown type."""
    try:
        unknown = set(skops.io.get_untrusted_types(data=data)) - TRUSTED
        schema = json.loads(archives.read(data, "schema.json", limit=MAX_SCHEMA))
    except (ValueError, TypeError, KeyError, AttributeError, EOFError, OSError, RecursionError, zlib.error) as error:
        raise BadArtifact(f"not a readable skops file: {error}", remedy="save it again with skops.io.dump") from error
    if unknown and not trust:
        raise BadArtifact(
            f"the skops file holds types that are not known to be safe: {', '.join(sorted(unknown)[:20])}",
            remedy="look at what they are, then register it with explicit trust",
        )
    return Inspected(
        runtime="skops-trusted" if unknown else "skops",
        libraries=_libraries(schema),
        classifies=_classifies(schema),
    )


def open_model(path: Path, signature: Signature, *, coded: bool, runtime: str) -> Opened:
    """Construct the estimator. A file of runtime ``skops`` fails on any type beyond the known ones."""
    trusted = set(TRUSTED)
    if runtime == "skops-trusted":
        trusted |= set(skops.io.get_untrusted_types(file=path))
    return opened(skops.io.load(path, trusted=sorted(trusted)), signature, coded=coded)


def known_model(data: bytes) -> Any:
    """The estimator of a file that holds known types only; any other type fails."""
    return skops.io.loads(data, trusted=sorted(TRUSTED))


def _libraries(schema: dict[str, Any]) -> dict[str, str]:
    found = {"skops": str(schema.get("_skops_version", ""))}
    for node in _nodes(schema):
        version = node.get("_sklearn_version")
        if isinstance(version, dict) and isinstance(version.get("content"), str):
            found["scikit-learn"] = version["content"].strip('"')
            break
    return {name: version for name, version in found.items() if version}


def _classifies(schema: dict[str, Any]) -> bool | None:
    """Whether the model, or the last step of its pipeline, is a classifier, by the fitted ``classes_`` of it."""
    names = [str(node.get("__class__", "")) for node in _nodes(schema)]
    if any(name.endswith(("Classifier", "SVC", "NB")) or name.startswith("LogisticRegression") for name in names):
        return True
    return False if any(name.endswith(("Regressor", "SVR")) or name in _LINEAR for name in names) else None


_LINEAR = frozenset({"LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "ElasticNet", "ElasticNetCV"})


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
