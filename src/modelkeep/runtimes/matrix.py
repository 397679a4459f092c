"""Rows of a request as the matrix that a library takes."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from modelkeep.errors import BadArtifact
from modelkeep.nouns import Features, Signature
from modelkeep.runtimes.formats import UNSEEN

Matrix: TypeAlias = NDArray[np.float64]
Objects: TypeAlias = NDArray[np.object_]
Codes: TypeAlias = Mapping[str, Mapping[str, float]]
"""For each category column the code of each of its values; another value and None become NaN."""


def columns_of(signature: Signature, named: Sequence[str], *, coded: bool) -> tuple[str, ...] | None:
    """The inputs in the model's own order, from the names in its file (``named``, empty when it has none).

    None means: the keys of what the feature code returns, in their order. Raises BadArtifact when file and signature
    disagree.
    """
    if coded:
        return tuple(named) or None
    inputs = tuple(field.name for field in signature.inputs)
    if not named:
        return inputs
    spelled = {name.replace(" ", "_"): name for name in inputs}
    if set(named) == set(spelled) != set(inputs):
        return tuple(spelled[name] for name in named)  # LightGBM writes names without their blanks
    if set(named) != set(inputs):
        missing = ", ".join(sorted(set(named) - set(inputs))[:10]) or "none"
        extra = ", ".join(sorted(set(inputs) - set(named))[:10]) or "none"
        raise BadArtifact(f"the model's inputs and the signature differ: missing {missing}; extra {extra}")
    return tuple(named)


def category_codes(signature: Signature) -> dict[str, dict[str, float]]:
    """Codes by the order of each field's ``categories``: the first is 0."""
    return {
        field.name: {value: float(code) for code, value in enumerate(field.categories)}
        for field in signature.inputs
        if field.kind == "category"
    }


def numbers(columns: tuple[str, ...] | None, codes: Codes) -> Callable[[Sequence[Features]], Matrix]:
    """What turns rows into a float64 matrix of shape (rows, columns); None and unseen categories become NaN."""
    if columns is None:
        return lambda rows: _matrix(rows, tuple(rows[0]), codes=codes, strict=True)
    if not codes:
        plain = columns  # the common case is kept to one expression: it runs for every single request
        return lambda rows: np.array([[row.get(name) for name in plain] for row in rows], dtype=np.float64)
    known = columns
    return lambda rows: _matrix(rows, known, codes=codes, strict=False)


def coded(columns: tuple[str, ...], codes: Codes) -> Callable[[Sequence[Features]], Matrix]:
    """What turns rows into a float64 matrix of the columns: None becomes NaN, a category its code, else UNSEEN."""
    if not codes:
        return numbers(columns, codes)
    tables = [codes.get(name) for name in columns]
    pairs = list(zip(columns, tables, strict=True))

    def number(value: Any, table: Mapping[str, float] | None) -> Any:
        return value if table is None or value is None else table.get(value, UNSEEN)

    return lambda rows: np.array(
        [[number(row.get(name), table) for name, table in pairs] for row in rows], dtype=np.float64
    )


def reordered(
    columns: tuple[str, ...] | None, signature: Signature, *, codes: Codes | None = None
) -> Callable[[Matrix], Matrix] | None:
    """What turns the signature's inputs as numbers into the model's own matrix; None when it needs more than numbers.

    ``columns`` are the model's inputs in its order, None when feature code names them. ``codes`` are the categories
    that it takes as numbers; UNSEEN ones become NaN.
    """
    coded = codes or {}
    known = {field.name: place for place, field in enumerate(signature.inputs) if field.numeric or field.name in coded}
    if columns is None or not all(name in known for name in columns):
        return None
    places = [known[name] for name in columns]
    kinds = [place for place, name in enumerate(columns) if name in coded]
    if kinds:
        return lambda table: _unseen(table[:, places], kinds)
    if places == list(range(len(signature.inputs))):
        return lambda table: table
    return lambda table: np.ascontiguousarray(table[:, places])


def _unseen(table: Matrix, kinds: list[int]) -> Matrix:
    inside = table[:, kinds]
    table[:, kinds] = np.where(inside == UNSEEN, math.nan, inside)
    return np.ascontiguousarray(table)


def _matrix(rows: Sequence[Features], columns: tuple[str, ...], *, codes: Codes, strict: bool) -> Matrix:
    coders = [(name, codes.get(name)) for name in columns]
    found = np.empty((len(rows), len(coders)))
    for i, row in enumerate(rows):
        for j, (name, coder) in enumerate(coders):
            value = row[name] if strict else row.get(name)
            if coder is not None and (value is None or isinstance(value, str)):
                value = coder.get(value, math.nan) if value is not None else None
            found[i, j] = math.nan if value is None else value
    return found


def objects(columns: tuple[str, ...] | None, numeric: frozenset[str]) -> Callable[[Sequence[Features]], Objects]:
    """What turns rows into an object matrix; None becomes NaN in the ``numeric`` columns and stays None elsewhere."""

    def matrix(rows: Sequence[Features]) -> Objects:
        names = tuple(rows[0]) if columns is None else columns
        found = np.empty((len(rows), len(names)), dtype=object)
        for i, row in enumerate(rows):
            for j, name in enumerate(names):
                value = row.get(name)
                found[i, j] = math.nan if value is None and name in numeric else value
        return found

    return matrix
