"""A fitted scikit-learn model, alone or at the end of a pipeline, as a ``Plan``; None for what is not known."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from msgspec import structs

from modelkeep.errors import BadArtifact
from modelkeep.nouns import Output, Signature
from modelkeep.runtimes.classes import text_of
from modelkeep.runtimes.runners.boosted import forest_of
from modelkeep.runtimes.runners.flattening import flattened
from modelkeep.runtimes.runners.plan import Column, Head, Line, Plan, Step
from modelkeep.runtimes.xgboost_file import Boosted, checked


class _Unknown(Exception):
    """Something in the model that is read by its own library only."""


@dataclass
class _Row:
    """The inputs of a row while the pipeline is read.

    ``columns`` are the numbers as they stand after the steps so far; those that are still a category's word are in
    ``words`` (places of sources), for which ``codes`` collects the known values.
    """

    names: tuple[str, ...]
    words: frozenset[int]
    codes: dict[int, dict[str, float]] = field(default_factory=dict)
    strict: set[int] = field(default_factory=set)
    full: set[int] = field(default_factory=set)

    def code(self, place: int, value: str) -> float:
        """The code of a word, a new one when it is met first."""
        table = self.codes.setdefault(place, {})
        return table.setdefault(value, float(len(table)))


def read(model: Any, signature: Signature, *, names: tuple[str, ...] | None, coded: bool) -> Plan | None:
    """The plan of a fitted estimator; ``names`` are its inputs in its order. None when a part of it is not known."""
    if names is None:
        return None
    kinds = {f.name: f for f in signature.inputs}
    if not coded and any(kinds[name].kind == "text" for name in names):
        return None
    words = frozenset() if coded else frozenset(i for i, name in enumerate(names) if not kinds[name].numeric)
    row = _Row(names, words)
    try:
        return _planned(model, row, signature=signature)
    except (_Unknown, BadArtifact, AttributeError, KeyError, TypeError, ValueError, IndexError):
        return None  # whatever is odd about it, its own library answers it


def _planned(model: Any, row: _Row, *, signature: Signature) -> Plan:
    columns = [Column(source=place) for place in range(len(row.names))]
    for step in _steps(model)[:-1]:
        columns = _through(step, columns, row=row)
    last = _steps(model)[-1]
    before = getattr(last, "_preprocessor", None)
    if before is not None:  # histogram gradient boosting with categories
        columns = _through(before, columns, row=row)
    if any(c.source in row.words and c.equals is None and not c.gap and not c.table for c in columns):
        raise _Unknown
    line, boosted = _line(last), _boosted(last)
    forest = flattened(last) if boosted is None else forest_of(boosted, {})
    if line is None and forest is None:
        raise _Unknown
    if line is not None or (forest is not None and forest.whole):
        row.full |= {c.source for c in columns if c.fill is None and not c.gap and c.equals is None and not c.table}
    labels: tuple[Output, ...] = ()
    if signature.classifies:
        labels = tuple(text_of(value, signature.output) for value in last.classes_)
    elif hasattr(last, "classes_"):
        raise _Unknown
    plain = all(c == Column(source=place) for place, c in enumerate(columns)) and len(columns) == len(row.names)
    return Plan(
        sources=row.names,
        codes={row.names[place]: table for place, table in row.codes.items()},
        strict=tuple(sorted(row.strict)),
        full=tuple(sorted(row.full)),
        columns=() if plain else tuple(columns),
        head=_head(last) if boosted is None else boosted.link,
        line=line,
        forest=forest,
        labels=labels,
        unexplained=f"a {type(model).__name__} does not tell what its inputs contribute",
    )


def arranged(plan: Plan, names: tuple[str, ...]) -> Plan:
    """The same plan for sources in another order, so that a request's numbers need not be moved."""
    if names == plan.sources or set(names) != set(plan.sources):
        return plan
    place = [names.index(name) for name in plan.sources]
    columns = plan.columns
    forest, line = plan.forest, plan.line
    if columns:
        columns = tuple(structs.replace(column, source=place[column.source]) for column in columns)
    elif forest is not None:
        forest = structs.replace(forest, feature=np.array(place, dtype=np.int32)[forest.feature])
    elif line is not None:
        weights = np.empty_like(line.weights)
        weights[place] = line.weights
        line = structs.replace(line, weights=weights)
    return structs.replace(
        plan,
        sources=names,
        columns=columns,
        forest=forest,
        line=line,
        strict=tuple(sorted(place[i] for i in plan.strict)),
        full=tuple(sorted(place[i] for i in plan.full)),
    )


# ------------------------------------------------------------------------------------------------- what comes before


def _steps(model: Any) -> list[Any]:
    if type(model).__name__ == "Pipeline":
        return [step for _, step in model.steps if step not in {None, "passthrough"}]
    return [model]


def _through(step: Any, columns: list[Column], *, row: _Row) -> list[Column]:
    name = type(step).__name__
    if name == "Pipeline":
        for inner in _steps(step):
            columns = _through(inner, columns, row=row)
        return columns
    if name == "ColumnTransformer":
        return _side_by_side(step, columns, row=row)
    if name not in _THROUGH:
        raise _Unknown
    return _THROUGH[name](step, columns, row=row)


def _side_by_side(step: Any, columns: list[Column], *, row: _Row) -> list[Column]:
    found: list[Column] = []
    places = step._transformer_to_input_indices  # noqa: SLF001 - names the columns whatever they were picked by
    for name, inner, _ in step.transformers_:
        picked = [columns[i] for i in places[name]]
        if isinstance(inner, str):
            found += picked if inner == "passthrough" else []
        elif picked:
            found += _through(inner, picked, row=row)
    return found


def _stepped(columns: Sequence[Column], *, numbers: Sequence[tuple[str, Any]]) -> list[Column]:
    """Columns with further steps; a number that is None for all of them is left out."""
    found = []
    for place, column in enumerate(columns):
        more: list[Step] = [(sign, float(values[place])) for sign, values in numbers if values is not None]  # type: ignore[misc]
        found.append(structs.replace(column, steps=(*column.steps, *more)))
    return found


def _standard(step: Any, columns: list[Column], *, row: _Row) -> list[Column]:
    del row
    mean = step.mean_ if step.with_mean else None
    return _stepped(columns, numbers=[("-", mean), ("/", step.scale_ if step.with_std else None)])


def _min_max(step: Any, columns: list[Column], *, row: _Row) -> list[Column]:
    del row
    if step.clip:
        raise _Unknown
    return _stepped(columns, numbers=[("*", step.scale_), ("+", step.min_)])


def _max_abs(step: Any, columns: list[Column], *, row: _Row) -> list[Column]:
    del row
    if getattr(step, "clip", False):
        raise _Unknown
    return _stepped(columns, numbers=[("/", step.scale_)])


def _robust(step: Any, columns: list[Column], *, row: _Row) -> list[Column]:
    del row
    center = step.center_ if step.with_centering else None
    return _stepped(columns, numbers=[("-", center), ("/", step.scale_ if step.with_scaling else None)])


def _imputed(step: Any, columns: list[Column], *, row: _Row) -> list[Column]:
    nan = isinstance(step.missing_values, float) and np.isnan(step.missing_values)
    if not nan or any(c.source in row.words or c.steps for c in columns):
        raise _Unknown
    filled = np.asarray(step.statistics_, dtype=np.float64)
    if np.isnan(filled).any():
        raise _Unknown
    found = [structs.replace(c, fill=float(value)) for c, value in zip(columns, filled, strict=True)]
    if step.add_indicator:
        found += [structs.replace(columns[i], gap=True) for i in step.indicator_.features_]
    return found


def _one_hot(step: Any, columns: list[Column], *, row: _Row) -> list[Column]:
    if getattr(step, "_infrequent_enabled", False) or step.handle_unknown not in {"ignore", "error"}:
        raise _Unknown
    found: list[Column] = []
    for place, (column, categories) in enumerate(zip(columns, step.categories_, strict=True)):
        if step.handle_unknown == "error":
            _only_known(column, categories, row=row)
        made = [_is(column, value, row=row) for value in categories.tolist()]
        dropped = None if step.drop_idx_ is None else step.drop_idx_[place]
        found += [one for i, one in enumerate(made) if i != dropped]
    return found


def _only_known(column: Column, categories: Any, *, row: _Row) -> None:
    """An unseen value is an error, and so is a missing one that training did not have."""
    if column.source not in row.words:
        raise _Unknown
    row.strict.add(column.source)
    if not any(_missing(value) for value in categories.tolist()):
        row.full.add(column.source)


def _is(column: Column, value: Any, *, row: _Row) -> Column:
    if column.steps:
        raise _Unknown
    if _missing(value):
        return structs.replace(column, gap=True)
    if column.source in row.words:
        if not isinstance(value, str):
            raise _Unknown
        return structs.replace(column, equals=row.code(column.source, value))
    return structs.replace(column, equals=float(value))


def _ordinal(step: Any, columns: list[Column], *, row: _Row) -> list[Column]:
    if getattr(step, "_infrequent_enabled", False):
        raise _Unknown
    found = []
    for column, categories in zip(columns, step.categories_, strict=True):
        values = [value for value in categories.tolist() if not _missing(value)]
        if column.source not in row.words or column.steps or len(values) < len(categories):
            found.append(_counted(step, column, values=values, row=row))
            continue
        found.append(_worded(step, column, values=values, row=row))
    return found


def _worded(step: Any, column: Column, *, values: list[Any], row: _Row) -> Column:
    """A word as its place among the categories."""
    codes = [row.code(column.source, str(value)) for value in values]
    table = np.full(int(max(codes, default=-1)) + 1, np.nan)
    for place, code in enumerate(codes):
        table[int(code)] = place
    if step.handle_unknown == "error":
        row.strict.add(column.source)
        row.full.add(column.source)
        return structs.replace(column, table=tuple(table.tolist()))
    row.full.add(column.source)  # a word that is missing is an error, or not, by version: its library decides
    return structs.replace(column, table=tuple(table.tolist()), unseen=float(step.unknown_value))


def _counted(step: Any, column: Column, *, values: list[Any], row: _Row) -> Column:
    """A number that names a category; only whole ones from 0 on, which stand for themselves, are known here."""
    unseen = step.handle_unknown == "use_encoded_value" and np.isnan(step.unknown_value)
    if column.source in row.words or column.steps or not unseen:
        raise _Unknown
    if [float(value) for value in values] != [float(i) for i in range(len(values))]:
        raise _Unknown
    whole = structs.replace(column, table=tuple(float(i) for i in range(len(values))))
    return structs.replace(whole, unseen=float("nan"))


def _same(step: Any, columns: list[Column], *, row: _Row) -> list[Column]:
    """No function at all (columns that pass), or one that only checks numbers, as histogram gradient boosting has."""
    checks = getattr(getattr(step.func, "func", None), "__name__", "") == "check_array"
    if step.func is not None and (not checks or any(c.source in row.words for c in columns)):
        raise _Unknown
    return columns


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value))


_THROUGH: Mapping[str, Callable[..., list[Column]]] = {
    "StandardScaler": _standard,
    "MinMaxScaler": _min_max,
    "MaxAbsScaler": _max_abs,
    "RobustScaler": _robust,
    "SimpleImputer": _imputed,
    "OneHotEncoder": _one_hot,
    "OrdinalEncoder": _ordinal,
    "FunctionTransformer": _same,
}

# ------------------------------------------------------------------------------------------------- what adds up

_LINES = frozenset(
    {
        *("LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "LassoLars", "ElasticNet", "ElasticNetCV"),
        *("BayesianRidge", "ARDRegression", "HuberRegressor", "TheilSenRegressor", "SGDRegressor", "LinearSVR"),
        *("QuantileRegressor", "PoissonRegressor", "GammaRegressor", "TweedieRegressor", "Lars", "LarsCV"),
        *("LogisticRegression", "LogisticRegressionCV"),
    }
)


def _boosted(model: Any) -> Boosted | None:
    """The trees of XGBoost's estimators; None for others."""
    if not type(model).__module__.startswith("xgboost."):
        return None
    if not np.isnan(model.missing) or not (hasattr(model, "get_booster") and hasattr(model, "predict")):
        raise _Unknown  # another number counts as missing
    found = checked(bytes(model.get_booster().save_raw("json")), stopped=True)
    if found.kinds or not found.classifies == hasattr(model, "classes_"):
        raise _Unknown
    return found


def _line(model: Any) -> Line | None:
    if type(model).__name__ not in _LINES:
        return None
    weights = np.atleast_2d(np.asarray(model.coef_, dtype=np.float64))
    begin = np.broadcast_to(np.asarray(model.intercept_, dtype=np.float64).reshape(-1), (len(weights),))
    return Line(weights=np.ascontiguousarray(weights.T), begin=begin.copy())


def _head(model: Any) -> Head:
    """How the sums are read, from the model's own loss or kind."""
    name = type(model).__name__
    if name.startswith("LogisticRegression"):
        return "logit" if len(model.classes_) == 2 else "softmax"
    if name in {"PoissonRegressor", "GammaRegressor"}:
        return "log"
    if name == "TweedieRegressor":
        return "log" if model.link == "log" or (model.link == "auto" and model.power > 0) else "identity"
    if "GradientBoosting" in name:
        link = type(model._loss.link).__name__  # noqa: SLF001 - no public name tells it
        return _LINKS[link]
    return "shares" if hasattr(model, "classes_") else "identity"


_LINKS: Mapping[str, Head] = {
    "IdentityLink": "identity",
    "LogLink": "log",
    "LogitLink": "logit",
    "HalfLogitLink": "logit2",
    "MultinomialLogit": "softmax",
}
