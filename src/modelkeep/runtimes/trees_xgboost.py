"""The format ``xgboost``: a Booster's own file, JSON or UBJSON (``save_model``, of its wrappers, too).

XGBoost itself (the extra ``xgboost``) is needed to register one: its answers are what a runner is held against. What a
runner was found for is served without it. Category inputs are coded in the order that the file carries, else in the
order of the signature's categories; a value that training did not have, and None, are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from modelkeep.errors import BadArtifact, BadFeatures
from modelkeep.nouns import Features, Output, Outputs, Signature
from modelkeep.runtimes import matrix, xgboost_file
from modelkeep.runtimes.classes import labels
from modelkeep.runtimes.formats import Contributions, Inspected, Opened
from modelkeep.runtimes.runners import boosted
from modelkeep.runtimes.runners.plan import Plan
from modelkeep.runtimes.xgboost_file import Boosted

Floats: TypeAlias = NDArray[np.float64]
_NEEDS = "pip install modelkeep[xgboost]"


def inspect(data: bytes, *, trust: bool) -> Inspected:
    """Check the file's structure in Python, so that the library's parser only ever sees a whole, sound file."""
    del trust  # a file of trees holds no code
    found = xgboost_file.checked(data)
    return Inspected(runtime="xgboost", inputs=found.named, classifies=found.classifies)


def open_model(path: Path, signature: Signature, *, coded: bool, runtime: str) -> Opened:
    """Load the trees. Raises BadArtifact when inputs or classes do not fit the signature, or XGBoost is absent."""
    del runtime
    sound = xgboost_file.checked(path.read_bytes())
    trees = _Trees(sound, signature, coded=coded)
    known = labels(signature.output, max(sound.outputs, 2)) if signature.classifies else []
    if known and not sound.classifies:
        raise BadArtifact(f"the objective {sound.objective} answers numbers, the output is a class")
    if not known and sound.link == "softmax":
        raise BadArtifact(f"the model answers {sound.outputs} classes, the output is a number")

    def plan(names: tuple[str, ...]) -> Plan | None:
        codes = {name: dict(table) for name, table in trees.codes.items()}
        return boosted.read(sound, names=trees.order or names, codes=codes, labels=tuple(known))

    read = _classes(known) if known else _numbers
    return Opened(
        answer=lambda rows: read(trees.values(trees.make(rows))),
        explain=trees.explain,
        matrix=None if trees.table is None else _tabled(trees, read),
        codes=trees.codes,
        plan=plan,
    )


def _tabled(trees: _Trees, read: Callable[[Floats], Outputs]) -> Callable[[Floats], Outputs]:
    table = cast("Callable[[Floats], Floats]", trees.table)
    return lambda rows: read(trees.values(table(rows)))


def _numbers(found: Floats) -> Outputs:
    return Outputs(values=[*found.astype(np.float64).tolist()])


def _classes(known: Sequence[Output]) -> Callable[[Floats], Outputs]:
    def chosen(found: Floats) -> Outputs:
        chances = np.column_stack((1.0 - found, found)) if found.ndim == 1 else found
        best = chances.argmax(axis=1)
        return Outputs(values=[known[place] for place in best], scores=chances.max(axis=1).tolist())

    return lambda found: chosen(found.astype(np.float64))


class _Trees:
    """Trees in XGBoost's own library, asked in one thread."""

    def __init__(self, sound: Boosted, signature: Signature, *, coded: bool) -> None:
        try:
            library: Any = import_module("xgboost")
        except ImportError as error:
            raise BadArtifact(f"XGBoost is not installed: {error}", remedy=_NEEDS) from error
        self.order = matrix.columns_of(signature, sound.named, coded=coded)
        if self.order is not None and len(self.order) != sound.features:
            raise BadArtifact(f"the model takes {sound.features} inputs, the signature names {len(self.order)}")
        self.codes = _codes(sound, signature, order=self.order, coded=coded)
        self.make = matrix.numbers(self.order, self.codes)
        self.table = None if coded else matrix.reordered(self.order, signature, codes=self.codes)
        self._library, self._link, self._types = library, sound.link, _types(sound)
        self._dropped = sound.dropped
        try:
            self._booster = library.Booster({"nthread": 1, "verbosity": 0})
            self._booster.load_model(bytearray(sound.text))
            self._booster.set_param({"nthread": 1})
        except library.core.XGBoostError as error:
            raise BadArtifact(f"XGBoost cannot read it: {str(error).splitlines()[0][:300]}") from error

    def values(self, table: Floats) -> Floats:
        """What the library says, of shape (rows,), or (rows, classes) when there are more than two."""
        short = _short(table)
        if self._dropped:  # asked in place, the library takes the base off each tree again, and loses digits by it
            found: Floats = self._booster.predict(self._held(short), validate_features=False)
        else:
            found = self._booster.inplace_predict(short, validate_features=False)
        return found

    def _held(self, table: NDArray[np.float32]) -> Any:
        return self._library.DMatrix(table, feature_types=self._types, enable_categorical=True, nthread=1)

    def explain(self, row: Features) -> Contributions:
        """SHAP values of the trees for one row (Lundberg et al. 2018, as XGBoost computes them)."""
        table = self._held(_short(self.make([row])))
        found = np.asarray(self._booster.predict(table, pred_contribs=True, validate_features=False), dtype=np.float64)
        parts = found.reshape(-1, found.shape[-1])
        best = parts[int(parts.sum(axis=1).argmax())].tolist()
        names = self.order or tuple(row)
        return Contributions(base=best[-1], inputs=dict(zip(names, best[:-1], strict=True)), link=self._link)


def _short(table: Floats) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        found = table.astype(np.float32)
    if np.isinf(found).any():
        raise BadFeatures("a value is too large for the model, which compares in 32 bits")
    return found


def _types(sound: Boosted) -> list[str] | None:
    return ["c" if place in sound.kinds else "q" for place in range(sound.features)] if sound.kinds else None


def _codes(sound: Boosted, signature: Signature, *, order: tuple[str, ...] | None, coded: bool) -> matrix.Codes:
    """The code of each category's values. Raises BadArtifact where file and signature differ in what is a category."""
    if coded or order is None:
        return {}
    codes = matrix.category_codes(signature)
    kinds = {order[place] for place in sound.kinds}
    if kinds != set(codes):
        wrong = ", ".join(sorted(kinds ^ set(codes))[:10])
        raise BadArtifact(
            f"file and signature differ in what is a category: {wrong}",
            remedy="train with enable_categorical and feature_types, or declare the inputs as numbers",
        )
    for place, values in sound.categories.items():
        codes[order[place]] = {value: float(code) for code, value in enumerate(values)}
    return codes
