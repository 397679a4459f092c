"""What can be learned from a stranger's rows: the signature, and the matrix that LightGBM sees."""

import math
from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from modelkeep import Field, Output, Refused, Signature, TrainingRows, Value

Floats = NDArray[np.float64]
MOST_CATEGORIES = 100


class Shape(Struct, frozen=True, kw_only=True):
    """What is learned: the signature, the matrix of the inputs, and the truth as numbers (classes by their place).

    ``ages`` are the seconds between each row and the newest one; None when the rows have no moments.
    """

    signature: Signature
    matrix: Floats
    truth: Floats
    classes: tuple[Output, ...] = ()
    ages: Floats | None = None

    @property
    def categories(self) -> list[int]:
        """Places of the inputs that are categories."""
        return [i for i, field in enumerate(self.signature.inputs) if field.kind == "category"]


def shaped(rows: TrainingRows) -> Shape:
    """What can be learned from rows. Raises Refused when the label never varies or no input does."""
    distinct = sorted(set(rows.truth), key=str)
    if len(distinct) < 2:
        raise Refused(f"the label is {distinct[0]!r} in all {len(rows.truth)} rows: there is nothing to learn")
    fields = [field for name, values in rows.columns.items() if (field := _input(name, values))]
    if not fields:
        raise Refused(
            "no column can be an input: each is constant, or holds texts of more than 100 different values",
            remedy="give the columns that the answer depends on",
        )
    classes: tuple[Output, ...] = () if isinstance(distinct[0], float) else tuple(distinct)
    place = {value: float(i) for i, value in enumerate(classes)}
    return Shape(
        signature=Signature(inputs=tuple(fields), output=_output(classes)),
        matrix=np.column_stack([_codes(field, rows.columns[field.name]) for field in fields]),
        truth=np.array([place[value] if classes else float(value) for value in rows.truth]),
        classes=classes,
        ages=max(rows.at) - np.asarray(rows.at) if max(rows.at) > min(rows.at) and not rows.groups else None,
    )


def _output(classes: Sequence[Output]) -> Field:
    if not classes:
        return Field(name="label", kind="number")
    if isinstance(classes[0], bool):
        return Field(name="label", kind="boolean")
    return Field(name="label", kind="category", categories=tuple(str(value) for value in classes))


def _input(name: str, values: Sequence[Value]) -> Field | None:
    """A column as an input without bounds (what is out of range is watched, not refused); None when it is useless."""
    distinct = {value for value in values if value is not None}
    if len(distinct) < 2:
        return None
    if all(isinstance(value, bool) for value in distinct):
        return Field(name=name, kind="boolean", nullable=True)
    if any(isinstance(value, str | bool) for value in distinct):
        if len(distinct) > MOST_CATEGORIES or not all(isinstance(value, str) for value in distinct):
            return None
        return Field(name=name, kind="category", categories=tuple(sorted(map(str, distinct))), nullable=True)
    return Field(name=name, kind="number", nullable=True)


def _codes(field: Field, values: Sequence[Value]) -> Floats:
    if field.kind != "category":
        return np.array([math.nan if value is None else float(value) for value in values])
    place = {name: float(code) for code, name in enumerate(field.categories)}
    return np.array([place.get(str(value), math.nan) for value in values])
