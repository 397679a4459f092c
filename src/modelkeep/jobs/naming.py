"""Names of models: which there may be, so that every route and every command that names a model leads to it."""

from __future__ import annotations

import re

from modelkeep.errors import BadInput

_NAME = re.compile(r"[A-Za-z0-9](?:[\w.-]|/(?=[A-Za-z0-9]))*", re.ASCII)
LONGEST = 200
WHOLE = frozenset({"loaded", "unload"})
"""Routes that stand where a model's name does: ``/v1/models/loaded``."""
BEHIND = frozenset(
    {
        "accuracy", "disable", "emergency", "enable", "explain", "external", "fallback", "infer", "performance",
        "policy", "predict", "predictions", "ready", "releases", "reviews", "rollback", "score", "versions",
    }
)  # fmt: skip
"""Words that stand behind a model's name in routes: ``/v1/models/{model}/accuracy``."""


def check(name: str) -> None:
    """Raise BadInput for what is no name of a model, and for one that a route of the product's own would hide.

    >>> check("shops/north.v2"); check("accuracy")
    >>> check("north/accuracy")
    Traceback (most recent call last):
    ...
    modelkeep.errors.BadInput: 'north/accuracy' cannot name a model: 'accuracy' behind a / is a route of the product
    """
    if not _NAME.fullmatch(name) or len(name) > LONGEST:
        raise BadInput(f"{name[:80]!r} is no name for a model", remedy="use letters, digits, . _ - and / between them")
    if name in WHOLE:
        raise BadInput(f"a model cannot be named {name!r}: that is a route of the product", remedy="name it otherwise")
    word = next((part for part in name.split("/")[1:] if part in BEHIND), None)
    if word is not None:
        said = f"{name[:80]!r} cannot name a model: {word!r} behind a / is a route of the product"
        raise BadInput(said, remedy=f"write it otherwise, such as {name[:80].replace('/' + word, '-' + word)!r}")
