"""Classes as they are answered: text, or true and false."""

from typing import Any

from modelkeep.nouns import Field, Output


def text_of(value: Any, output: Field) -> Output:
    """A library's class label in the form that the signature declares.

    >>> text_of(1, Field(name="churns", kind="category")), text_of(1, Field(name="churns", kind="boolean"))
    ('1', True)
    """
    plain = value.item() if hasattr(value, "item") else value
    if output.kind == "boolean":
        return _truth(plain)
    if isinstance(plain, bool):
        return "true" if plain else "false"
    if isinstance(plain, float):
        return f"{plain:g}"
    return str(plain)


def _truth(plain: Any) -> Output:
    if isinstance(plain, str):
        # Any other word stays a word, which the check of the outputs refuses.
        return {"true": True, "1": True, "false": False, "0": False}.get(plain.lower(), plain)
    return bool(plain)


def labels(output: Field, count: int) -> list[Output]:
    """The classes of a model that numbers them 0, 1, ..: the output's categories in order, or the numbers as text."""
    if output.kind == "boolean" and count == 2:
        return [False, True]
    if len(output.categories) == count:
        return list(output.categories)
    return [str(number) for number in range(count)]
