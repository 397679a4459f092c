"""Classes as they are answered: text, or true and false."""

import math
from typing import Any

from modelkeep.nouns import Field, Output, Value


def text_of(value: Any, output: Field) -> Output:
    """A library's class label in the form that the signature declares; what is no label stays, to be refused.

    >>> text_of(1, Field(name="churns", kind="category")), text_of(1, Field(name="churns", kind="boolean"))
    ('1', True)
    """
    plain: Output = value.item() if hasattr(value, "item") else value
    if output.kind == "boolean":
        return _TRUTH.get(plain.lower() if isinstance(plain, str) else plain, plain)
    if isinstance(plain, bool):
        return "true" if plain else "false"
    if isinstance(plain, int) or (isinstance(plain, float) and math.isfinite(plain)):
        return f"{plain:g}" if isinstance(plain, float) else str(plain)
    return plain


_TRUTH: dict[Output, Output] = {"true": True, "1": True, 1: True, "false": False, "0": False, 0: False}


def word(value: Value) -> str:
    """A value as the name of a category; nothing is the empty one.

    >>> word(7.0), word(True), word(None)
    ('7', 'true', '')
    """
    if value is None or isinstance(value, str):
        return value or ""
    return ("true" if value else "false") if isinstance(value, bool) else f"{value:g}"


def labels(output: Field, count: int) -> list[Output]:
    """The classes of a model that numbers them 0, 1, ..: the output's categories in order, or the numbers as text."""
    if output.kind == "boolean" and count == 2:
        return [False, True]
    if len(output.categories) == count:
        return list(output.categories)
    return [str(number) for number in range(count)]
