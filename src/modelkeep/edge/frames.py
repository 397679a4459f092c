"""Tables as MLflow's clients send them, as rows of features."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from modelkeep.edge.tensors import MOST_ROWS
from modelkeep.errors import BadInput
from modelkeep.nouns import Signature, Value


class Split(Struct, frozen=True, kw_only=True):
    """A table by its columns' names and its rows."""

    data: list[list[Value]]
    columns: list[str] | UnsetType = UNSET
    index: list[Value] | UnsetType = UNSET


class Frames(Struct, frozen=True, kw_only=True):
    """One table in one of four forms; ``params`` go with all of its rows (``key`` is ours)."""

    dataframe_split: Split | UnsetType = UNSET
    dataframe_records: list[dict[str, Value]] | UnsetType = UNSET
    instances: list[Any] | UnsetType = UNSET
    inputs: list[Any] | dict[str, Any] | UnsetType = UNSET
    params: dict[str, Any] = {}


def rows_in(given: Frames, signature: Signature) -> list[dict[str, Value]]:
    """The rows of a table; without names its columns are the signature's inputs in their order. Raises BadInput.

    >>> from modelkeep.nouns import Field
    >>> takes = Signature(inputs=(Field(name="x", kind="number"),), output=Field(name="y", kind="number"))
    >>> rows_in(Frames(instances=[[1.0], [2.0]]), takes), rows_in(Frames(inputs={"x": [1.0, 2.0]}), takes)
    ([{'x': 1.0}, {'x': 2.0}], [{'x': 1.0}, {'x': 2.0}])
    """
    names = [field.name for field in signature.inputs]
    forms = [
        name for name in ("dataframe_split", "dataframe_records", "instances", "inputs")
        if getattr(given, name) is not UNSET
    ]  # fmt: skip
    if len(forms) != 1:
        raise BadInput.of(
            "body", expected="one of dataframe_split, dataframe_records, instances, inputs", got=" and ".join(forms)
        )
    if given.dataframe_split is not UNSET:
        split = given.dataframe_split
        rows = _listed(split.data, names if split.columns is UNSET else split.columns, field="dataframe_split.data")
    elif given.dataframe_records is not UNSET:
        rows = given.dataframe_records
    else:
        rows = _loose(getattr(given, forms[0]), names, field=forms[0])
    if not 1 <= len(rows) <= MOST_ROWS:
        raise BadInput.of(forms[0], expected=f"1 to {MOST_ROWS} rows", got=str(len(rows)))
    return rows


def _loose(table: Any, names: list[str], *, field: str) -> list[dict[str, Value]]:
    """Rows as objects, as lists, as single values, or one list a column."""
    if isinstance(table, dict):
        columns = {name: values if isinstance(values, list) else [values] for name, values in table.items()}
        sizes = {len(values) for values in columns.values()}
        if len(sizes) != 1:
            raise BadInput.of(field, expected="columns of one length", got=f"lengths {sorted(sizes)}")
        flat = [[_single(value, field) for value in values] for values in columns.values()]
        return [dict(zip(columns, row, strict=True)) for row in zip(*flat, strict=True)]
    if all(isinstance(row, dict) for row in table):
        return [{name: _single(value, field) for name, value in row.items()} for row in table]
    return _listed([row if isinstance(row, list) else [row] for row in table], names, field=field)


def _listed(rows: list[Any], names: list[str], *, field: str) -> list[dict[str, Value]]:
    wrong = next((row for row in rows if len(row) != len(names)), None)
    if wrong is not None:
        raise BadInput.of(field, expected=f"{len(names)} values a row: {', '.join(names)[:200]}", got=str(len(wrong)))
    return [dict(zip(names, [_single(value, field) for value in row], strict=True)) for row in rows]


def _single(value: Any, field: str) -> Value:
    """A value, also when it stands alone in a list."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, list | dict):
        raise BadInput.of(field, expected="numbers, texts, booleans or null", got="an object or a deeper list")
    found: Value = value
    return found
