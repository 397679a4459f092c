"""Calling a version: each row gets an answer or a reason, and a row that breaks the model harms no other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Literal, TypeAlias

from msgspec import Struct

from modelkeep.errors import BadFeatures, ModelFailed, ModelkeepError, TimedOut, Unavailable
from modelkeep.nouns import Features, Output, Outputs
from modelkeep.runtimes import Loaded

Reason: TypeAlias = Literal["", "failed", "timeout", "disabled", "not_loaded", "degraded"]
CALLS = 64
"""So many calls are spent on finding the rows of a batch that break a model; the others count as broken."""


class Members(Struct, frozen=True):
    """The members that weighed in on a row (name, weight, own answer), and the space in which they add up."""

    parts: tuple[tuple[str, float, float], ...]
    link: str


@dataclass(slots=True)
class Got:
    """What became of one row.

    ``seconds`` is the version's time for it (its share of a batch). ``reason`` and ``why`` say why the version did not
    answer; then ``stand_in`` is who did (0 = the automatic baseline, None = nobody). ``degraded`` is an answer of the
    version itself that some ``members`` are missing in: it stands in for itself.
    """

    seconds: float = 0.0
    value: Output | None = None
    score: float | None = None
    interval: tuple[float, float] | None = None
    reason: Reason = ""
    why: str = ""
    stand_in: int | None = None
    cached: bool = False
    members: Members | None = None

    @property
    def error(self) -> str | None:
        """The reason in words that begin with its code, or None."""
        return f"{self.reason}: {self.why}" if self.reason else None


def call(loaded: Loaded, rows: Sequence[Features]) -> list[Got]:
    """Ask a version for every row. Never raises for what a model does.

    When a batch fails it is halved until the rows that break the model are alone: the others are answered.
    """
    found: list[Got] = [Got() for _ in rows]
    parts, calls = [(0, len(rows))], 0
    while parts:
        first, end = parts.pop()
        calls += 1
        start = perf_counter()
        try:
            outputs = loaded.predict(rows[first:end])
        except (ModelFailed, BadFeatures) as failure:
            ended = isinstance(failure, ModelFailed) and failure.ended
            if end - first > 1 and calls < CALLS and not ended:
                middle = (first + end) // 2
                parts += [(middle, end), (first, middle)]
            else:
                share = (perf_counter() - start) / (end - first)
                found[first:end] = [Got(seconds=share, reason="failed", why=str(failure)) for _ in range(first, end)]
        else:
            found[first:end] = answers(outputs, seconds=perf_counter() - start, number=loaded.version.number)
    return found


def answers(outputs: Outputs, *, seconds: float, number: int) -> list[Got]:
    """The rows of the answer of the version ``number``; ``seconds`` is the time of the whole call."""
    values, scores, intervals = outputs.values, outputs.scores, outputs.intervals
    share = seconds / max(len(values), 1)
    found = [
        Got(
            seconds=share,
            value=value,
            score=None if scores is None else scores[i],
            interval=None if intervals is None else intervals[i],
        )
        for i, value in enumerate(values)
    ]
    if outputs.weights is not None:
        _joined(found, outputs, number=number)
    return found


def _joined(found: list[Got], outputs: Outputs, *, number: int) -> None:
    """Tell of each row which members it was answered by, and which are lacking."""
    for i, got in enumerate(found):
        got.members = membership(outputs, i)
        if outputs.degraded is not None and outputs.degraded[i]:
            got.reason, got.why, got.stand_in = "degraded", outputs.degraded[i], number


def membership(outputs: Outputs, row: int) -> Members:
    """The members of an ensemble that weighed in on a row of its answer."""
    own, weights = outputs.members or {}, outputs.weights or {}
    parts = tuple((name, weight[row], own[name][row]) for name, weight in weights.items() if weight[row])
    return Members(parts, outputs.link)


def unasked(n: int, *, reason: Reason, why: str, seconds: float = 0.0) -> list[Got]:
    """Rows that a version did not answer, all for the same reason."""
    return [Got(seconds=seconds / max(n, 1), reason=reason, why=why) for _ in range(n)]


def nobody(model: str, got: Got) -> ModelkeepError:
    """The error for a row that neither the version nor anybody in its place could answer."""
    remedy = "no fallback version is set, and the automatic baseline knows no outcome yet"
    if got.reason == "timeout":
        return TimedOut(got.why, remedy=remedy)
    if got.reason == "failed":
        return ModelFailed(got.why, remedy=remedy)
    return Unavailable(f"model {model!r} is {got.reason.replace('_', ' ')}: {got.why}", remedy=remedy)
