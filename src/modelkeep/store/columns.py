"""Columns of raw values on their way into a dataset: of one length, each value of its column's kind."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from modelkeep.errors import BadInput, Problem
from modelkeep.nouns import Field, Kind, Value
from modelkeep.quantities import moment

MOST = 20
"""So many problems are named."""
_KINDS: Mapping[Kind, frozenset[type]] = {
    "number": frozenset({float, int}),
    "integer": frozenset({int}),
    "boolean": frozenset({bool}),
    "category": frozenset({str}),
    "text": frozenset({str}),
}


def checked(
    columns: Mapping[str, Sequence[Value]], fields: Sequence[Field], *, time: str, key: Sequence[str]
) -> dict[str, list[Value]]:
    """Every declared column, of one length, as it is kept. Raises BadInput naming each column and row that is wrong."""
    known = [field.name for field in fields]
    strange = next((name for name in columns if name not in known), None)
    if strange is not None:
        raise BadInput.of(strange, expected=f"one of the columns {', '.join(known)}", got="another")
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise BadInput(f"columns of different lengths: {', '.join(f'{n} {size}' for n, size in lengths.items())}")
    rows = next(iter(lengths.values()), 0)
    found: dict[str, list[Value]] = {}
    problems: list[Problem] = []
    for field in fields:
        if field.name not in columns and not field.nullable and rows:
            raise BadInput.of(field.name, expected=f"a column: {field.expected()}", got="nothing")
        given = columns.get(field.name, [None] * rows)
        if field.name == time:
            found[field.name] = _moments(field, given, problems=problems)
        else:
            firm = field.name in key or not field.nullable
            found[field.name] = _values(field, given, problems=problems, firm=firm)
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise BadInput(f"{problems[0]}{more}", problems=problems[:MOST])
    return found


def _values(field: Field, given: Sequence[Value], *, problems: list[Problem], firm: bool) -> list[Value]:
    """The values of one column; NaN is None."""
    kinds = _KINDS[field.kind]
    values: list[Value] = list(given)
    if float in kinds and float in set(map(type, values)):
        values = [None if value != value else value for value in values]  # noqa: PLR0124 - only NaN is not itself
    if set(map(type, values)) <= (kinds if firm else kinds | {type(None)}) and _bounded(values, field.kind):
        return values
    for row, value in enumerate(values):
        fits = not firm if value is None else type(value) in kinds and _bounded([value], field.kind)
        if not fits:
            problems.append(
                Problem(field=field.name, expected=_expected(field, firm=firm), got=repr(value)[:80], row=row)
            )
    return values


def _bounded(values: Sequence[Value], kind: Kind) -> bool:
    """Whether numbers can be kept: finite, and whole ones within 64 bits."""
    if kind == "number":
        return all(math.isfinite(value) for value in values if value is not None)  # type: ignore[arg-type]
    if kind == "integer":
        return all(-(2**63) <= value < 2**63 for value in values if value is not None)  # type: ignore[operator]
    return True


def _moments(field: Field, given: Sequence[Value], *, problems: list[Problem]) -> list[Value]:
    found: list[Value] = []
    for row, value in enumerate(given):
        try:
            found.append(_moment(value, field.name))
        except BadInput as wrong:
            problems.append(
                Problem(field=field.name, expected=wrong.problems[0].expected, got=repr(value)[:80], row=row)
            )
            found.append(0.0)
    return found


def _moment(value: Value, name: str) -> float:
    if type(value) is float and math.isfinite(value):
        return value
    if isinstance(value, bool) or value is None:
        raise BadInput.of(name, expected="a moment: seconds since 1970 or an ISO-8601 text", got=repr(value))
    return moment(str(value), name)


def _expected(field: Field, *, firm: bool) -> str:
    return f"{field.kind}{'' if firm else ' or null'}"
