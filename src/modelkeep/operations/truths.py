"""What an outcome may say: whether its value is one that the model could have answered, and what it would do."""

from __future__ import annotations

import contextlib
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from modelkeep.errors import BadInput, StoreUnavailable
from modelkeep.nouns import Field, Outcome, Output
from modelkeep.quantities import duration
from modelkeep.store.seams import Told, Whereabouts

if TYPE_CHECKING:
    from modelkeep.app import App
    from modelkeep.store.seams import Ledger

OURS = re.compile(r"\d{1,19}-\d{1,19}")
"""The form of the ids that are given here."""


def refusal(field: Field, value: Output | None) -> str | None:
    """What the output takes, when ``value`` is no truth of it; None when it is one.

    A class that the model never answered is a truth of its own, unless there are two classes only.

    >>> refusal(Field(name="left", kind="category", categories=("no", "yes")), "maybe")
    'one of no, yes, or null'
    """
    if value is None:
        return None
    if field.kind == "boolean":
        return None if isinstance(value, bool) else "true, false or null"
    if field.kind in {"category", "text"}:
        closed = len(field.categories) == 2
        if isinstance(value, str) and not (closed and value not in field.categories):
            return None
        known = ", ".join(field.categories[:20])
        return f"one of {known}, or null" if known else "a text or null"
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return f"a finite number{f' ({field.unit})' if field.unit else ''} or null"
    return None


class Fitting:
    """Checks values against the outputs of the models that they are about, as the store stands."""

    def __init__(self, app: App, outcomes: Sequence[Outcome]) -> None:
        """Raises nothing: while the store is away nothing can be checked, and outcomes are held unseen."""
        self._outputs: dict[str, Field] = {}
        self._about: Mapping[str, Whereabouts] = {}
        try:
            with app.rooms.store.read() as ledger:
                self._about = ledger.records.whereabouts(o.prediction for o in outcomes if o.prediction is not None)
                named = {about.model for about in self._about.values()} | {o.model for o in outcomes if o.model}
                models = named & set(ledger.versions.models())
                self._outputs = {model: _output(ledger, model) for model in models}
        except StoreUnavailable:
            return

    def refused(self, outcome: Outcome, *, field: str) -> BadInput | None:
        """The refusal of an outcome whose value is none of its model; None when it fits, or nobody can tell."""
        known = self._about.get(outcome.prediction or "")
        output = self._outputs.get(known.model if known else outcome.model or "")
        expected = refusal(output, outcome.value) if output is not None else None
        if expected is None:
            return None
        return BadInput.of(field, expected=expected, got=repr(outcome.value)[:80])


def _output(ledger: Ledger, model: str) -> Field:
    rollout = ledger.rollouts.get(model)
    versions = ledger.versions.all(model)
    chosen = next((v for v in versions if rollout and v.number == rollout.champion), versions[-1])
    return chosen.signature.output


class Foreseen(Struct, frozen=True, kw_only=True):
    """What would become of outcomes, and why of those that meet no prediction; ``ambiguous`` ones meet several."""

    told: tuple[Told, ...] = ()
    reasons: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    ambiguous: int = 0


class _Undone(Exception):
    """Ends a transaction that must leave nothing behind."""


def foresee(app: App, outcomes: Sequence[Outcome]) -> Foreseen:
    """What telling these outcomes would do; nothing is kept. Raises StoreUnavailable, BadInput."""
    found = Foreseen()
    with contextlib.suppress(_Undone), app.rooms.store.write() as ledger:
        tolerance = {model: _tolerance(ledger, model) for model in {o.model for o in outcomes if o.model}}
        told = ledger.records.tell(outcomes, tolerance)
        said = [_why(ledger, o, told=t, tolerance=tolerance) for o, t in zip(outcomes, told, strict=True)]
        found = Foreseen(
            told=tuple(told),
            reasons=tuple(reason for reason, _ in said),
            details=tuple(detail for _, detail in said),
            ambiguous=_ambiguous(ledger, told),
        )
        raise _Undone  # what was told is undone with the transaction
    return found


def _tolerance(ledger: Ledger, model: str) -> float:
    rollout = ledger.rollouts.get(model)
    return ledger.versions.policy(model, rollout.policy if rollout else None).tolerance


def _why(ledger: Ledger, outcome: Outcome, *, told: Told, tolerance: Mapping[str, float]) -> tuple[str, str]:
    """Why an outcome meets no prediction: in general, and in detail."""
    if told.state != "orphan":
        return "", ""
    if outcome.prediction is not None:
        return "no prediction of this id", f"no prediction {outcome.prediction} is kept (yet)"
    model, target = outcome.model or "", outcome.target or 0.0
    nearest = ledger.records.nearest(model, outcome.key, target=target)
    if nearest is None:
        return "no prediction of this key", f"{model} was never asked about {outcome.key!r}"
    within = tolerance.get(model, 0.0) if outcome.tolerance is None else outcome.tolerance
    off = abs(nearest - target)
    return (
        "nearest prediction too far off",
        f"the nearest prediction of {outcome.key!r} is off by {duration(off)} (tolerance {duration(within)})",
    )


def _ambiguous(ledger: Ledger, told: Sequence[Told]) -> int:
    """How many of these outcomes stand for more than one answer (shadows aside)."""
    several = [one.predictions for one in told if len(one.predictions) > 1]
    known = ledger.records.whereabouts(id_ for ids in several for id_ in ids)
    answered = (sum(id_ in known and known[id_].role != "shadow" for id_ in ids) for ids in several)
    return sum(count > 1 for count in answered)


def counted(texts: Sequence[str]) -> dict[str, int]:
    """How often each text occurs, empty ones aside."""
    return dict(Counter(filter(None, texts)))
