"""The noun ``Profile``: a mergeable summary of predictions, and the ``Window`` of profiles that a Measure sees.

Everything in a profile is additive, so hours merge into days, processes into fleets, and a sliding window is a sum.
Numeric columns are counted into the reference's quantile bins (120 of them, plus one below and one above its range),
with a count and a sum per bin: enough for PSI, Jensen-Shannon, Kolmogorov-Smirnov and Wasserstein distances without
the rows (see ``docs/watching.md``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import msgspec
import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray

from modelkeep.nouns import Field, Output, Policy, Reading, Role, Signature, Value, Version

Floats: TypeAlias = NDArray[np.float64]

REFERENCES: dict[str, tuple[str, ...]] = {
    "number": ("persistence", "same_period", "ewma", "seasonal"),
    "class": ("persistence", "majority"),
}
"""The automatic baselines, by the kind of output, in the order of ``Prediction.references``; a new one comes last."""

BINS = 120
MAX_CATEGORIES = 100
OTHER = "(other)"
SCORE = "(score)"
"""The column of a profile that holds the scores of the answers, in 120 equal bins from 0 to 1."""
SCORES: Floats = np.linspace(0.0, 1.0, BINS + 1)
LARGEST = 1e140
"""Numbers beyond count as this much wherever they are summed: the squares of larger ones leave the range of a float."""
LATENCY_EDGES: Floats = np.geomspace(1e-5, 100.0, 71)
"""Bounds of the latency histogram in seconds: 10 per decade from 10 us to 100 s."""


_MIDDLES: Floats = np.array([LATENCY_EDGES[0], *np.sqrt(LATENCY_EDGES[1:] * LATENCY_EDGES[:-1]), LATENCY_EDGES[-1]])


def references(signature: Signature) -> tuple[str, ...]:
    """The names of the automatic baselines of a model with this signature."""
    return REFERENCES["class" if signature.classifies else "number"]


CEILINGS = frozenset({"mae", "rmse", "mape"})
"""Metrics of which less is better; of every other one that a policy may target, more is."""


class Label(NamedTuple):
    """One class: how often it was answered and true, answered (``said``), and true."""

    right: int
    said: int
    true: int


class Sums(Struct, frozen=True, kw_only=True):
    """Additive sums over pairs of an answer and its truth; every accuracy metric follows from them.

    For numbers: ``error`` is the sum of answer - truth, ``absolute`` of its size, ``square`` of its square,
    ``relative`` of its size divided by the truth's over the ``relative_n`` pairs whose truth is not zero, ``truth`` and
    ``truth_square`` sums of the truth. For classes: ``confusion`` counts pairs by ``[truth][answer]``.
    """

    n: int = 0
    error: float = 0.0
    absolute: float = 0.0
    square: float = 0.0
    relative: float = 0.0
    relative_n: int = 0
    truth: float = 0.0
    truth_square: float = 0.0
    confusion: dict[str, dict[str, int]] = {}

    @classmethod
    def of(cls, answer: Output, truth: Output) -> Sums:
        """The sums of one pair.

        >>> Sums.of(12.0, 10.0).absolute
        2.0
        """
        if isinstance(answer, bool | str) or isinstance(truth, bool | str):
            return cls(n=1, confusion={_label(truth): {_label(answer): 1}})
        error = float(answer) - float(truth)
        return cls(
            n=1,
            error=error,
            absolute=abs(error),
            square=error * error,
            relative=abs(error / truth) if truth else 0.0,
            relative_n=1 if truth else 0,
            truth=float(truth),
            truth_square=float(truth) ** 2,
        )

    def __add__(self, other: Sums) -> Sums:
        return self._with(other, 1)

    def __sub__(self, other: Sums) -> Sums:
        return self._with(other, -1)

    def _with(self, other: Sums, sign: int) -> Sums:
        confusion = self.confusion
        if other.confusion:
            confusion = {truth: dict(row) for truth, row in confusion.items()}
            for truth, row in other.confusion.items():
                mine = confusion.setdefault(truth, {})
                for answer, count in row.items():
                    mine[answer] = mine.get(answer, 0) + sign * count
        return Sums(
            n=self.n + sign * other.n,
            error=self.error + sign * other.error,
            absolute=self.absolute + sign * other.absolute,
            square=self.square + sign * other.square,
            relative=self.relative + sign * other.relative,
            relative_n=self.relative_n + sign * other.relative_n,
            truth=self.truth + sign * other.truth,
            truth_square=self.truth_square + sign * other.truth_square,
            confusion=confusion,
        )

    @property
    def loss(self) -> float:
        """What is to be small: the sizes of all errors, or the number of wrong classes."""
        if not self.confusion:
            return self.absolute
        return self.n - sum(row.get(truth, 0) for truth, row in self.confusion.items())

    @property
    def chances(self) -> bool:
        """Whether truths are 0 and 1, told by numbers, and no error is above 1: then the answers are chances.

        >>> sum((Sums.of(0.2, 0.0), Sums.of(0.9, 1.0)), Sums()).chances
        True
        """
        whole = 0 < self.truth < self.n and self.truth == self.truth_square
        return whole and 0 < self.square <= self.absolute * (1 + 1e-12)

    def lost(self, *, chances: bool) -> float:
        """The loss that versions are compared by: for chances the squared errors, else ``loss``.

        The size of a chance's error would favour whoever always answers the commoner of the two; its square (Brier
        1950) is least for whoever says what is true.
        """
        return self.square if chances else self.loss

    def labels(self) -> dict[str, Label]:
        """Each class, in sorted order, with its counts."""
        names = sorted({*self.confusion, *(answer for row in self.confusion.values() for answer in row)})
        return {
            name: Label(
                right=self.confusion.get(name, {}).get(name, 0),
                said=sum(row.get(name, 0) for row in self.confusion.values()),
                true=sum(self.confusion.get(name, {}).values()),
            )
            for name in names
        }

    def metrics(self) -> dict[str, float]:
        """Every metric that these sums allow; empty without pairs.

        Numbers: ``mae``, ``rmse``, ``bias`` (answer - truth), ``mape`` (a fraction, over non-zero truths) and ``r2``;
        where every truth is 0 or 1 also ``brier``, the mean squared error of a chance.
        Classes: ``accuracy``, and ``precision``, ``recall``, ``f1``: of the positive class (the last in sorted order)
        when there are two classes, else their unweighted mean.
        """
        if not self.n:
            return {}
        if self.confusion:
            return self._of_classes()
        spread = self.truth_square - self.truth**2 / self.n
        found = {
            "mae": self.absolute / self.n,
            "rmse": math.sqrt(max(self.square, 0.0) / self.n),
            "bias": self.error / self.n,
        }
        if self.chances:
            found["brier"] = self.square / self.n
        if self.relative_n:
            found["mape"] = self.relative / self.relative_n
        if spread > 1e-12 * max(self.truth_square, 1e-300):
            found["r2"] = 1 - self.square / spread
        return found

    def _of_classes(self) -> dict[str, float]:
        labels = list(self.labels().values())
        judged = labels[-1:] if len(labels) == 2 else labels
        precision = [c.right / c.said if c.said else 0.0 for c in judged]
        recall = [c.right / c.true if c.true else 0.0 for c in judged]
        f1 = [2 * p * r / (p + r) if p + r else 0.0 for p, r in zip(precision, recall, strict=True)]
        mean = {"precision": precision, "recall": recall, "f1": f1}
        return {"accuracy": 1 - self.loss / self.n, **{name: sum(of) / len(of) for name, of in mean.items()}}


def together(many: Iterable[Mapping[str, Sums]]) -> dict[str, Sums]:
    """Error sums by name, added up."""
    total: dict[str, Sums] = {}
    for errors in many:
        for name, sums in errors.items():
            total[name] = total[name] + sums if name in total else sums
    return total


def _label(value: Output) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else f"{value:g}"


class Column(Struct, frozen=True, kw_only=True):
    """The profile of one input or of the output.

    ``counts`` and ``sums`` (of the values) have BINS + 2 entries for numbers (below, bins, above) and are empty for
    categories, whose counts are in ``values`` (at most MAX_CATEGORIES names, the rest under OTHER). ``new`` counts
    category values that the reference did not have.
    """

    n: int = 0
    missing: int = 0
    counts: Floats
    sums: Floats
    values: dict[str, int] = {}
    new: int = 0

    def __add__(self, other: Column) -> Column:
        values = dict(self.values)
        for name, count in other.values.items():
            known = name in values or len(values) < MAX_CATEGORIES
            values[name if known else OTHER] = values.get(name if known else OTHER, 0) + count
        return Column(
            n=self.n + other.n,
            missing=self.missing + other.missing,
            counts=self.counts + other.counts,
            sums=self.sums + other.sums,
            values=values,
            new=self.new + other.new,
        )


class Profile(Struct, frozen=True, kw_only=True):
    """An additive summary of predictions of one model, version and role.

    ``latency`` are counts between LATENCY_EDGES (first and last are open); ``errors`` holds ``Sums`` of the model
    (key ``model``) and of each automatic baseline for the labelled predictions; ``edges`` are set only in a reference.
    """

    n: int = 0
    failures: int = 0
    latency: Floats
    columns: dict[str, Column] = {}
    errors: dict[str, Sums] = {}
    edges: dict[str, Floats] = {}

    def __add__(self, other: Profile) -> Profile:
        columns = dict(self.columns)
        for name, column in other.columns.items():
            columns[name] = columns[name] + column if name in columns else column
        return Profile(
            n=self.n + other.n,
            failures=self.failures + other.failures,
            latency=self.latency + other.latency,
            columns=columns,
            errors=together((self.errors, other.errors)),
            edges=self.edges or other.edges,
        )

    @property
    def total_seconds(self) -> float:
        """Seconds that all timed calls took, by the geometric middle of each bucket of the latency histogram."""
        return float((self.latency * _MIDDLES).sum())

    @property
    def mean_seconds(self) -> float | None:
        """Mean seconds of a call, by the latency histogram; None without calls."""
        calls = float(self.latency.sum())
        return self.total_seconds / calls if calls else None

    def seconds(self, quantile: float) -> float | None:
        """The latency in seconds below which ``quantile`` of the calls were, by the upper bound of its bucket."""
        total = self.latency.sum()
        if not total:
            return None
        place = int(np.searchsorted(np.cumsum(self.latency), quantile * total))
        return float(LATENCY_EDGES[min(place, len(LATENCY_EDGES) - 1)])


def empty() -> Profile:
    """The profile of nothing: the zero of ``+``."""
    return Profile(latency=np.zeros(len(LATENCY_EDGES) + 1))


def merged(profiles: Iterable[Profile]) -> Profile:
    """The sum of any number of profiles."""
    total = empty()
    for profile in profiles:
        total = total + profile
    return total


def reference(signature: Signature, columns: Mapping[str, Sequence[Value]]) -> Profile:
    """Profile a reference sample: choose the bin edges from it, then count it into them.

    ``columns`` has one sequence per input name, and may have the output's under ``signature.output.name``.
    """
    fields = [f for f in (*signature.inputs, signature.output) if f.name in columns]
    edges = {f.name: _edges(columns[f.name]) for f in fields if f.numeric and not f.pii}
    found = fold_columns(fields, columns, edges=edges)
    n = max((len(values) for values in columns.values()), default=0)
    return Profile(n=n, latency=np.zeros(len(LATENCY_EDGES) + 1), columns=found, edges=edges)


def fold_columns(
    fields: Iterable[Field], columns: Mapping[str, Sequence[Value]], *, edges: Mapping[str, Floats]
) -> dict[str, Column]:
    """Count columns of values into the reference's ``edges``; a numeric column without edges is only counted."""
    return {f.name: _column(f, columns[f.name], edges=edges.get(f.name)) for f in fields if f.name in columns}


_PLAIN = frozenset({float, int, bool, type(None)})


def _floats(values: Sequence[Value]) -> Floats:
    if set(map(type, values)) <= _PLAIN:  # NumPy reads these by itself, five times as fast; None is NaN to it
        return np.array(values, dtype=np.float64)
    return np.array([math.nan if v is None or isinstance(v, str) else float(v) for v in values])


def _edges(values: Sequence[Value]) -> Floats:
    known = _floats(values)
    known = known[np.isfinite(known)]
    if not known.size:
        return np.zeros(BINS + 1)
    return np.quantile(known, np.linspace(0.0, 1.0, BINS + 1))


def _column(field: Field, values: Sequence[Value], *, edges: Floats | None) -> Column:
    if field.pii:  # how many there are, and none of them: a value that tells who somebody is stands in no summary
        nothing = np.zeros(BINS + 2) if field.numeric else np.zeros(0)
        return Column(n=len(values), missing=sum(v is None for v in values), counts=nothing, sums=nothing)
    if not field.numeric:
        return _category(field, values)
    numbers = _floats(values)
    known = numbers[np.isfinite(numbers)]
    counts: Floats = np.zeros(BINS + 2)
    sums: Floats = np.zeros(BINS + 2)
    if edges is not None and known.size:
        place = np.searchsorted(edges, known, side="right")
        place = np.where(known == edges[-1], BINS, place)
        counts = np.bincount(place, minlength=BINS + 2).astype(np.float64, copy=False)
        sums = np.bincount(place, known.clip(-LARGEST, LARGEST), BINS + 2).astype(np.float64, copy=False)
    return Column(n=len(values), missing=len(values) - known.size, counts=counts, sums=sums)


def _category(field: Field, values: Sequence[Value]) -> Column:
    counts: dict[str, int] = {}
    missing = new = 0
    trained = set(field.categories)
    for value in values:
        if value is None:
            missing += 1
            continue
        name = str(value)
        new += bool(trained) and name not in trained
        name = name if name in counts or len(counts) < MAX_CATEGORIES else OTHER
        counts[name] = counts.get(name, 0) + 1
    nothing = np.zeros(0)
    return Column(n=len(values), missing=missing, counts=nothing, sums=nothing, values=counts, new=new)


class Slice(Struct, frozen=True, kw_only=True):
    """The profile of one hour; ``start`` is a moment on the hour."""

    start: float
    profile: Profile


LIFE = ("n", "loss", "error", "absolute", "square", "truth", "truth_square")
"""What ``Life.sums`` holds of each answerer, in this order; see ``Sums``."""


class Life(Struct, frozen=True, kw_only=True):
    """The error sums of a version hour by hour, as plain numbers: a year is looked at in milliseconds.

    ``hours`` are moments in time order; ``sums`` has the shape (hours, names, len(LIFE)). ``names`` are ``model`` and
    the automatic baselines.
    """

    names: tuple[str, ...] = ("model",)
    hours: Floats = field(default_factory=lambda: np.zeros(0))
    sums: Floats = field(default_factory=lambda: np.zeros((0, 1, len(LIFE))))

    @classmethod
    def of(cls, slices: Iterable[Slice], names: Sequence[str]) -> Life:
        """The life that some hourly profiles tell of; ``names`` are those of the automatic baselines."""
        every = ("model", *names)
        held = [s for s in slices if "model" in s.profile.errors]
        table = [[_numbers(s.profile.errors.get(name, Sums())) for name in every] for s in held]
        sums = np.array(table, dtype=float).reshape(len(held), len(every), len(LIFE))
        return cls(names=every, hours=np.array([s.start for s in held]), sums=sums)


def _numbers(sums: Sums) -> tuple[float, ...]:
    return (sums.n, sums.loss, sums.error, sums.absolute, sums.square, sums.truth, sums.truth_square)


class Window(Struct, frozen=True, kw_only=True):
    """What a Measure sees: one version of a model in one role over a span of time.

    ``slices`` are its hourly profiles in time order (hours without traffic are absent); ``before`` those of the four
    weeks before ``start``, for learning what is normal; ``others`` those of the same span that another version answered
    before this one took over. ``start`` is inclusive, ``end`` exclusive. ``champion`` says
    whether the version is the one that answers now. ``life`` holds the error sums alone of every hour since the version
    took over, 400 days back at most; ``warm`` is the moment from which the automatic baselines are as good as they
    get, ``horizon`` the age in seconds at which the outcomes of an hour are known, and ``fleet`` the number of models
    that share the promise of the policy's ``quiet``. Hours younger than the policy's horizon have no error sums.
    ``told`` is how many outcomes the model has, and ``delays`` in how many seconds half and 95 % of the newest came.
    """

    version: Version
    policy: Policy
    role: Role
    start: float
    end: float
    slices: tuple[Slice, ...]
    before: tuple[Slice, ...] = ()
    others: tuple[Slice, ...] = ()
    reference: Profile | None = None
    champion: bool = True
    life: Life = Life()
    warm: float = 0.0
    horizon: float = 0.0
    fleet: int = 1
    told: int = 0
    delays: tuple[float, float] | None = None

    @property
    def profile(self) -> Profile:
        """All hours of the window as one."""
        return merged(s.profile for s in self.slices)


Measure: TypeAlias = Callable[[Window], Sequence[Reading]]
"""Looks at a window and changes nothing."""


def _pack(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return np.ascontiguousarray(value, dtype="<f8").tobytes()
    raise NotImplementedError(type(value))


def _unpack(kind: Any, value: Any) -> Any:
    if getattr(kind, "__origin__", kind) is np.ndarray:
        return np.frombuffer(value, dtype="<f8")
    raise NotImplementedError(kind)


def encode(profile: Profile) -> bytes:
    """A profile as MessagePack; arrays are little-endian float64."""
    return msgspec.msgpack.encode(profile, enc_hook=_pack)


class _Size(msgspec.Struct):
    n: float


def size(data: bytes) -> float:
    """How many predictions an encoded profile is of; the rest of it is passed over."""
    return _SIZES.decode(data).n


_SIZES = msgspec.msgpack.Decoder(_Size)


def decode(data: bytes) -> Profile:
    """The inverse of ``encode``."""
    return msgspec.msgpack.decode(data, type=Profile, dec_hook=_unpack)
