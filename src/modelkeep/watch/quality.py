"""What comes in, column by column, against the reference that the version was made on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import NormalDist
from typing import TypeAlias

from msgspec import Struct

from modelkeep.nouns import Facts, Field, Reading
from modelkeep.profile import Column, Slice, Window
from modelkeep.watch.folding import NEED, columns, honest, lacking, last_day, unknown
from modelkeep.watch.intervals import Interval, wilson

EFFECT = 0.01
"""The least excess over the reference, in shares, that is worth a word."""
ALPHA = 0.001
"""The chance per model and look that a column of unchanged data gets a warning, at most."""
SHOWN = 5

Counter: TypeAlias = Callable[[Field, Column], float | None]
"""How many values of a column are amiss; None when the column cannot tell."""


class Share(Struct, frozen=True, kw_only=True):
    """The share of one column's values that are amiss, now and in the reference, each with its interval."""

    column: str
    value: float
    interval: Interval
    usual: float
    usual_interval: Interval
    n: int

    @property
    def excess(self) -> float:
        """How much more than in the reference, in shares."""
        return self.value - self.usual

    @property
    def risen(self) -> bool:
        """True when the excess is worth a word and larger than chance explains."""
        return self.excess >= EFFECT and self.interval[0] > self.usual_interval[1]


def quality(window: Window) -> list[Reading]:
    """Readings ``missing``, ``out_of_range``, ``new_categories`` and ``types``: the share of the worst column.

    They stand on the newest 24 h with predictions. Level: warning when a column exceeds its reference by one point
    or more and by more than chance explains (intervals apart, at a level that is shared among all columns, with n
    cut down to what it is worth when hours differ more than independent values would); ok otherwise; unknown below
    ten predictions or without a reference. ``types`` needs no reference. Facts name the worst columns.
    """
    hours = last_day(window.slices)
    n = sum(s.profile.n for s in hours)
    names = (*_AGAINST_REFERENCE, "types")
    if n < NEED:
        return [lacking(window, name, have=n, need=NEED, what="predictions") for name in names]
    held = columns(hours)
    found = [_against_reference(window, name, hours=hours, held=held) for name in _AGAINST_REFERENCE]
    return [*found, _types(window, held, n=n)]


def _missing(_: Field, column: Column) -> float | None:
    return column.missing


def _outside(_: Field, column: Column) -> float | None:
    if column.counts.size and column.counts.sum():
        return float(column.counts[0] + column.counts[-1])
    return None


def _new(field: Field, column: Column) -> float | None:
    return column.new if field.kind == "category" and field.categories else None


_AGAINST_REFERENCE: Mapping[str, Counter] = {
    "missing": _missing,
    "out_of_range": _outside,
    "new_categories": _new,
}
_WORDS = {
    "missing": "missing values",
    "out_of_range": "values outside the range of the reference",
    "new_categories": "categories that the version was not trained on",
    "types": "values of a wrong type",
}


def _against_reference(window: Window, name: str, *, hours: Sequence[Slice], held: Mapping[str, Column]) -> Reading:
    reference = window.reference
    if reference is None:
        detail = f"{_WORDS[name]} cannot be judged: {window.version.name} was registered without a sample"
        return unknown(window, name, detail=detail, facts={"reason": "no reference"})
    z = NormalDist().inv_cdf(1 - ALPHA / max(len(held), 1))
    shares = []
    for field in window.version.signature.inputs:
        before = reference.columns.get(field.name)
        now = held.get(field.name)
        if now is not None and before is not None:
            share = _share(field, _AGAINST_REFERENCE[name], now=now, before=before, hours=hours, z=z)
            if share is not None:
                shares.append(share)
    return _worst(window, name, shares=shares)


def _share(
    field: Field, count: Counter, *, now: Column, before: Column, hours: Sequence[Slice], z: float
) -> Share | None:
    amiss, usual = count(field, now), count(field, before)
    if amiss is None or usual is None or not now.n or not before.n:
        return None
    parts = [s.profile.columns[field.name] for s in hours if field.name in s.profile.columns]
    worth = _worth([(count(field, part) or 0.0, part.n) for part in parts], amiss / now.n)
    return Share(
        column=field.name,
        value=amiss / now.n,
        interval=wilson(amiss / now.n * worth, worth, z=z),
        usual=usual / before.n,
        usual_interval=wilson(usual, before.n, z=z),
        n=now.n,
    )


def _worth(hours: Sequence[tuple[float, int]], share: float) -> float:
    """How many independent values these hours are worth (Kish's design effect, at least 1)."""
    n = sum(count for _, count in hours)
    if len(hours) < 4 or not 0 < share < 1:
        return n
    spread = sum((amiss - share * count) ** 2 for amiss, count in hours) * len(hours) / (len(hours) - 1)
    return n / max(spread / (n * share * (1 - share)), 1.0)


def _worst(window: Window, name: str, *, shares: Sequence[Share]) -> Reading:
    if not shares:
        detail = f"no column of {window.version.name} can have {_WORDS[name]}"
        return Reading(
            name=name, subject=window.version.name, value=0.0, level="ok", at=window.end, detail=detail
        )  # fmt: skip
    ranked = sorted(shares, key=lambda s: (s.risen, s.excess, s.value), reverse=True)
    worst = ranked[0]
    facts: Facts = {"column": worst.column, "usual": worst.usual}
    for share in ranked[:SHOWN]:
        if share.risen:
            facts[f"share of {share.column}"] = share.value
    risen = sum(share.risen for share in shares)
    more = f", and {risen - 1} more columns" if risen > 2 else ", and 1 more column" if risen == 2 else ""
    detail = (
        f"{worst.column}: {worst.value:.1%} {_WORDS[name]} in {worst.n} predictions, "
        f"{worst.usual:.1%} in the reference{more}"
    )
    return honest(
        Reading(
            name=name, subject=window.version.name, value=worst.value, level="warning" if worst.risen else "ok",
            at=window.end, n=worst.n, interval=worst.interval, detail=detail, facts=facts,
        )
    )  # fmt: skip


def _types(window: Window, held: Mapping[str, Column], *, n: int) -> Reading:
    # The gateway refuses wrong types, so what is left to find is what came another way: through feature code, or from
    # predictions that were made elsewhere.
    amiss = {field.name: _mistyped(field, held.get(field.name), n=n) for field in window.version.signature.inputs}
    worst = max(amiss, key=lambda name: amiss[name], default="")
    share = amiss.get(worst, 0.0)
    low, high = wilson(share * n, n)
    facts: Facts = {
        f"share of {name}": value
        for name, value in sorted(amiss.items(), key=lambda item: -item[1])[:SHOWN]
        if value > 0
    }
    detail = (
        f"{worst}: {share:.1%} {_WORDS['types']}, or absent though the signature demands them, in {n} predictions"
        if share
        else f"every column of {n} predictions has the type of the signature"
    )
    return honest(
        Reading(
            name="types", subject=window.version.name, value=share, level="warning" if low > EFFECT else "ok",
            at=window.end, n=n, interval=(low, high), detail=detail, facts={"column": worst, **facts} if share else {},
        )
    )  # fmt: skip


def _mistyped(field: Field, column: Column | None, *, n: int) -> float:
    """The share of a column's values that its signature forbids."""
    if column is None:
        return 0.0 if field.nullable else 1.0
    if bool(column.counts.size) != field.numeric:
        return 1.0
    forbidden = 0 if field.nullable else column.missing
    absent = 0 if field.nullable else max(n - column.n, 0)
    return math.fsum((forbidden, absent)) / n
