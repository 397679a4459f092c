"""Why a version answered what it did: what each of its model's inputs added."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from msgspec import Struct

from modelkeep.errors import Refused
from modelkeep.nouns import Features, Output, Outputs, Value, Version
from modelkeep.runtimes.formats import Contributions

Explain: TypeAlias = Callable[[Features], "Explanation"]
"""One row of a request, explained. Raises Refused for a runtime that cannot, ModelFailed for whatever goes wrong."""


class Contribution(Struct, frozen=True, kw_only=True):
    """One input of the model: its value, and what it added to the base."""

    input: str
    value: Value
    contribution: float


class Explanation(Struct, frozen=True, kw_only=True):
    """One answer taken apart: ``base`` and all contributions sum to ``total``, the answer in the space of ``link``.

    With the link ``identity`` they are in ``unit``, the output's own; with ``log`` and ``log1p`` they are differences
    of logarithms, with ``logit`` of log-odds (of the second class), with ``softmax`` scores of the answered class.
    ``contributions`` come largest first. Where feature code prepares a request, they are told of what it made of it.
    ``members`` are the own answers of an ensemble's members. An answer that was cut at a floor or a ceiling differs
    from ``total``.
    """

    model: str
    version: int
    answer: Output
    score: float | None
    interval: tuple[float, float] | None
    base: float
    total: float
    contributions: tuple[Contribution, ...]
    link: str
    unit: str
    members: dict[str, float] = {}


def explanation(version: Version, row: Features, *, outputs: Outputs, found: Contributions) -> Explanation:
    """The contributions to the answer to one prepared row, in order of their size."""
    parts = [
        Contribution(input=name, value=row.get(name), contribution=value)
        for name, value in sorted(found.inputs.items(), key=lambda part: -abs(part[1]))
    ]
    return Explanation(
        model=version.model,
        version=version.number,
        answer=outputs.values[0],
        score=outputs.scores[0] if outputs.scores else None,
        interval=outputs.intervals[0] if outputs.intervals else None,
        base=found.base,
        total=found.base + sum(found.inputs.values()),
        contributions=tuple(parts),
        link=found.link,
        unit=version.signature.output.unit if found.link == "identity" else "",
        members=found.members,
    )


def refused(version: Version, reason: str) -> Refused:
    """The refusal of a runtime that cannot tell what its inputs contribute."""
    return Refused(
        f"{version.name} cannot be explained: {reason}",
        remedy="register trees as LightGBM's own text, or an ensemble of linear members and trees",
    )


def singly(prepare: Callable[[Sequence[Features]], Sequence[Features]] | None, row: Features) -> Features:
    """One row as the model gets it."""
    return row if prepare is None else prepare([row])[0]
