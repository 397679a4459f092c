"""What the gateway knows of a model at one moment: immutable, and replaced whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from msgspec import Struct

from modelkeep.nouns import Features, Field, Policy, Rollout, Signature
from modelkeep.runtimes import Loaded

FAST = 0.002
"""A version whose single row takes less runs in the event loop: handing it to a thread would cost more."""
FAST_BATCH = 0.005
"""The same bound in seconds for a whole batch."""

Fits: TypeAlias = Callable[[Features], bool]
_Spec: TypeAlias = tuple[str, tuple[type, ...], float | None, float, bool]
_MISSING = object()
_QUICK = 2.0**62
"""Numbers beyond are left to the thorough check: integers of more than 64 bits cannot be recorded."""
_TYPES: dict[str, tuple[type, ...]] = {
    "number": (float, int),
    "integer": (int,),
    "boolean": (bool,),
    "category": (str,),
    "text": (str,),
}


class Route(Struct, frozen=True, kw_only=True):
    """How one model is answered: its rollout, its policy and its loaded versions by number.

    ``signature`` is the champion's, the contract with callers; ``fits`` is its quick check. ``absent`` says why a
    version that the rollout names is not loaded; ``asleep`` are those that are loaded at the first question.
    ``guarded`` says that only those may be recorded who consent.
    """

    rollout: Rollout
    policy: Policy
    signature: Signature
    fits: Fits
    loaded: Mapping[int, Loaded] = {}
    absent: Mapping[int, str] = {}
    asleep: frozenset[int] = frozenset()
    guarded: bool = False

    @property
    def lighter(self) -> int | None:
        """The version that answers while the champion is overloaded: the policy's, else the fallback; None = none."""
        number = self.policy.lighter or self.rollout.fallback
        return number if number in self.loaded and number != self.rollout.champion else None


Routes: TypeAlias = Mapping[str, Route]


def fitting(signature: Signature) -> Fits:
    """A quick check of one row against a signature, in a single call.

    True means that ``signature.problems`` would find nothing; False that it must look: it alone decides and names.

    >>> x, y = Field(name="x", kind="number", low=0.0), Field(name="y", kind="number")
    >>> fits = fitting(Signature(inputs=(x,), output=y))
    >>> fits({"x": 1}), fits({"x": -1}), fits({"x": float("nan")}), fits({}), fits({"x": 1, "z": 2})
    (True, False, False, False, False)
    """
    specs = tuple(_spec(field) for field in signature.inputs)

    def fits(features: Features) -> bool:
        present = 0
        for name, types, low, high, nullable in specs:
            value = features.get(name, _MISSING)
            if type(value) in types:
                if low is not None and not low <= value <= high:  # type: ignore[operator]  # numbers have a low
                    return False
            elif not nullable or (value is not None and value is not _MISSING):
                return False
            present += value is not _MISSING
        return present == len(features)

    return fits


def _spec(field: Field) -> _Spec:
    if field.kind not in {"number", "integer"}:
        return field.name, _TYPES[field.kind], None, 0.0, field.nullable
    low = -_QUICK if field.low is None else max(field.low, -_QUICK)
    high = _QUICK if field.high is None else min(field.high, _QUICK)
    return field.name, _TYPES[field.kind], low, high, field.nullable
