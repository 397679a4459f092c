"""Models: what a version takes and answers, what it was worth when it was made, and where it comes from."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

from msgspec import Struct

from modelkeep.errors import BadFeatures, Problem

Value: TypeAlias = float | int | str | bool | None
Features: TypeAlias = Mapping[str, Value]
Output: TypeAlias = float | int | str | bool
Kind = Literal["number", "integer", "boolean", "category", "text"]
EXTERNAL = "external"
"""The runtime of a version that predicts elsewhere."""
_LARGEST = sys.float_info.max


class Field(Struct, frozen=True, kw_only=True):
    """One input or the output of a model.

    ``low`` and ``high`` are inclusive bounds in ``unit``; ``categories`` are the values that the model was trained on
    (others are accepted and counted as new: quality, not refusal). ``nullable`` admits None. ``pii`` says that its
    values tell who somebody is: they stand in no log, no page and no error.
    """

    name: str
    kind: Kind
    unit: str = ""
    low: float | None = None
    high: float | None = None
    categories: tuple[str, ...] = ()
    nullable: bool = False
    pii: bool = False

    def expected(self) -> str:
        """What this field takes, in words.

        >>> Field(name="hour", kind="integer", low=0, high=23).expected()
        'integer 0..23'
        """
        bounds = "" if self.low is None and self.high is None else f" {_bound(self.low)}..{_bound(self.high)}"
        return f"{self.kind}{bounds}{f' {self.unit}' if self.unit else ''}{' or null' if self.nullable else ''}"

    def refusal(self, value: Value) -> str | None:
        """What is wrong with ``value`` (as "got" text), or None when it fits."""
        if value is None:
            return None if self.nullable else "null"
        if self.kind in {"category", "text"}:
            fits = isinstance(value, str)
        elif self.kind == "boolean":
            fits = isinstance(value, bool)
        else:
            fits = isinstance(value, int | float) and not isinstance(value, bool) and self._holds(value)
        return None if fits else unseen(value) if self.pii else _got(value)

    @property
    def numeric(self) -> bool:
        """True when its values are numbers, or true and false counted as 1 and 0."""
        return self.kind in {"number", "integer", "boolean"}

    def _holds(self, value: float) -> bool:
        # Not isfinite(): a whole number may be too large to become a float.
        if not -_LARGEST <= value <= _LARGEST or (self.kind == "integer" and value != int(value)):
            return False
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            return False  # it could not be recorded as it is
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)


class Signature(Struct, frozen=True, kw_only=True):
    """What a model takes and answers: named inputs in the model's own order, and one output."""

    inputs: tuple[Field, ...]
    output: Field

    @property
    def classifies(self) -> bool:
        """True when the output is a class, False when it is a number."""
        return self.output.kind not in {"number", "integer"}

    @property
    def chances(self) -> bool:
        """True when the output is the probability that something is so, and its truth is told as 0 or 1."""
        return self.output.kind == "number" and self.output.unit == "probability"

    @property
    def personal(self) -> frozenset[str]:
        """The names of the inputs that tell who somebody is."""
        return frozenset(field.name for field in self.inputs if field.pii)

    def problems(self, features: Features, row: int | None = None) -> list[Problem]:
        """Everything that is wrong with one row: missing, extra, wrong type, NaN, out of range. Empty when it fits."""
        found, present = [], 0
        for field in self.inputs:
            if field.name in features:
                present += 1
                got = field.refusal(features[field.name])
            else:
                got = None if field.nullable else "nothing"
            if got is not None:
                value = features.get(field.name)
                got = unseen(value) if isinstance(value, str) and self.personal else got  # it may be in the wrong field
                found.append(Problem(field=field.name, expected=field.expected(), got=got, row=row))
        if len(features) > present:
            known = {field.name for field in self.inputs}
            shown = unseen if self.personal else _got  # a misspelt name must not show whose it is
            found += [
                Problem(field=name, expected="no such field", got=shown(value), row=row)
                for name, value in features.items()
                if name not in known
            ]
        return found

    def check(self, rows: Sequence[Features]) -> None:
        """Raise BadFeatures naming each field of each row that does not fit (the first 100)."""
        single = len(rows) == 1
        problems = [p for i, row in enumerate(rows) for p in self.problems(row, None if single else i)]
        if problems:
            more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
            raise BadFeatures(f"{problems[0]}{more}", problems=problems[:100])


def _bound(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def unseen(value: Value) -> str:
    """A value of a field that is ``pii``, in an error: its type alone."""
    return "null" if value is None else f"another {type(value).__name__}"


def _got(value: Value) -> str:
    if isinstance(value, int) and value.bit_length() > 1024:
        return f"a whole number of {value.bit_length()} bits"  # Python refuses to write out the longest ones
    return f"{type(value).__name__} {str(value)[:80]!r}" if isinstance(value, str) else f"{value!r}"


class Baseline(Struct, frozen=True, kw_only=True):
    """What a version was worth when it was made: the yardstick of its life in production.

    ``metrics`` are those of held-out data (``mae``, ``rmse``, ``accuracy``, ``f1``, ``skill``, ...); ``reference`` is
    the digest of the file in ``Files`` with the encoded ``profile.Profile`` of that data, whose bins every later
    profile of the version shares. ``rivals`` are the metrics of simple baselines by name, on the same held-out data.
    """

    metrics: dict[str, float] = {}
    reference: str | None = None
    rivals: dict[str, dict[str, float]] = {}


class Lineage(Struct, frozen=True, kw_only=True):
    """Where a version comes from: data window (moments), rows, source, code, libraries with their versions.

    ``seconds`` is how long its training took. ``split`` says by what data was held out (``time``, ``group``).
    ``data_source`` is ``database`` (what this installation recorded), ``file`` (given by its owner) or ``sample`` (a
    simulator: not real); ``groups`` counts the different entities. ``history`` is the digest of the file with the rows
    that it was trained on, kept where the policy says so.
    """

    start: float | None = None
    end: float | None = None
    rows: int | None = None
    source: str = ""
    code: str = ""
    seconds: float | None = None
    libraries: dict[str, str] = {}
    split: str = ""
    data_source: Literal["", "database", "file", "sample"] = ""
    groups: int | None = None
    history: str | None = None


class Runner(Struct, frozen=True, kw_only=True):
    """What answers a version in place of the library that made it, because it does so faster and alike.

    ``name`` is ``linear``, or of trees ``compiled``, ``native`` or ``flattened``; ``plan`` the digest of the file in
    ``Files`` that it works on. On ``rows`` rows its answers were at most ``difference`` (relative) from the library's,
    and of the same class. ``one`` and ``hundred`` are its seconds for so many rows when the version was registered,
    ``library_one`` and ``library_hundred`` those of the library in the same minute.
    """

    name: str
    rows: int
    difference: float
    one: float
    hundred: float
    library_one: float
    library_hundred: float
    plan: str = ""


class Version(Struct, frozen=True, kw_only=True):
    """One registered model file with all that is needed to run and to judge it. Never changes.

    ``artifact`` and ``features`` are SHA-256 digests of files in ``Files``; ``features`` is the packed feature code
    that turns a request into the model's inputs, or None. ``below`` names the policy floors that it missed: such a
    version stays a candidate and is not released without force.
    """

    model: str
    number: int
    artifact: str
    size: int
    runtime: str
    signature: Signature
    created: float
    features: str | None = None
    baseline: Baseline = Baseline()
    lineage: Lineage = Lineage()
    below: tuple[str, ...] = ()
    note: str = ""
    runner: Runner | None = None

    @property
    def name(self) -> str:
        """``model@number``."""
        return f"{self.model}@{self.number}"

    @property
    def external(self) -> bool:
        """True when it runs elsewhere: its file here says what it takes and answers, and cannot be run."""
        return self.runtime == EXTERNAL


class Outputs(Struct, frozen=True, kw_only=True):
    """What a model answers for a batch, column-wise; all columns have one entry per row.

    ``scores`` are probabilities in [0, 1] of the answered class; ``intervals`` are (low, high) in the output's unit.
    ``members`` are the answers of an ensemble's members by name: shown with the answer, never recorded. ``weights`` are
    theirs in each row; weighed in the space of ``link`` they give the answer. ``degraded`` says of each row which
    members were left out of it, and why; None when none was.
    """

    values: list[Output]
    scores: list[float] | None = None
    intervals: list[tuple[float, float]] | None = None
    members: dict[str, list[float]] | None = None
    weights: dict[str, list[float]] | None = None
    link: str = "identity"
    degraded: list[str] | None = None


Predict: TypeAlias = Callable[[Sequence[Features]], Outputs]
"""A loaded version, wherever it runs: a batch of rows in, one output a row. Raises ModelFailed."""
