"""Answers with their outcomes, one by one: which of them are new to the model, and which make up an excess of error."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from msgspec import Struct

from modelkeep.nouns import Facts, Field, Match, Prediction, Value
from modelkeep.profile import OTHER, Profile, Sums, Window
from modelkeep.quantities import DAY, HOUR
from modelkeep.watch.sequential import first_fall
from modelkeep.watch.standing import STREAMS

SHOWN = 3
WORTH = 0.1
"""A segment is a cause when its share of the excess is at least so much above its share of the rows before."""
LEAST = 5
"""Cases a segment, or a block, needs."""
NEW = "new entities"
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class Case(Struct, frozen=True, kw_only=True):
    """One answer and its outcome: what it lost, how large the truth is, and the segments that it lies in.

    ``new`` says that the model never learned of something in it: its entity, or the value of a category.
    """

    at: float
    key: str
    loss: float
    size: float
    segments: tuple[str, ...]
    new: bool


def cases(window: Window, pairs: Iterable[tuple[Prediction, Match]], *, newcomers: Iterable[str] = ()) -> list[Case]:
    """The answered pairs of the window's version as cases; ``newcomers`` are the keys that are new to it."""
    strangers = frozenset(newcomers)
    named = _named(window.version.signature.inputs, window.reference)
    found = []
    for p, match in pairs:
        if p.version != window.version.number or match.output is None:
            continue
        lost = Sums.of(match.output, match.value)
        truth = match.value
        size = abs(float(truth)) if isinstance(truth, int | float) and not isinstance(truth, bool) else 1.0
        parts, new = _segments(p, named)
        if p.key in strangers:
            parts, new = [NEW, *(part for part in parts if part != NEW)], True
        found.append(Case(at=p.at, key=p.key, loss=lost.loss, size=size, segments=tuple(parts), new=new))
    return found


def known_values(field: Field, reference: Profile | None) -> frozenset[str]:
    """The categories that a version was trained on; empty when nobody knows them all."""
    if field.categories:
        return frozenset(field.categories)
    column = None if reference is None else reference.columns.get(field.name)
    held = column.values if column is not None else {}
    return frozenset() if OTHER in held else frozenset(held)


Naming: TypeAlias = Callable[[Value], tuple[tuple[str, ...], bool]]
"""The segments that a value lies in, and whether the model never learned of it."""


def _segments(p: Prediction, named: Sequence[tuple[str, Naming]]) -> tuple[list[str], bool]:
    found, new = [], False
    for name, naming in named:
        value = p.features.get(name)
        if value is None:
            found.append(f"{name} missing")
            continue
        segments, unseen = naming(value)
        # An input that is the entity itself: what is unseen there is a new entity.
        found += [NEW] if unseen and value == p.key else segments
        new = new or unseen
    hour = int(p.target // HOUR) % 24 // 6 * 6
    found.append(f"{hour:02d}-{hour + 6:02d} h UTC")
    found.append(_DAYS[int(p.target // DAY + 3) % 7])
    if p.key:
        found.append(f"entity {p.key!r}")
    return found, new


def _named(fields: Sequence[Field], reference: Profile | None) -> list[tuple[str, Naming]]:
    """How the values of each input are named; made once for all cases."""
    found = []
    for field in fields:
        if field.kind == "category":
            found.append((field.name, _category(field.name, known_values(field, reference))))
        elif field.numeric and reference is not None and field.name in reference.edges:
            found.append((field.name, _range(field.name, reference.edges[field.name].tolist())))
        else:
            found.append((field.name, lambda _: ((), False)))
    return found


def _category(name: str, known: frozenset[str]) -> Naming:
    def naming(value: Value) -> tuple[tuple[str, ...], bool]:
        if known and str(value) not in known:
            return (f"unknown {name} {value!r}", f"unknown {name}"), True
        return (f"{name} {value!r}",), False

    return naming


def _range(name: str, edges: list[float]) -> Naming:
    cut = len(edges) // 4
    cuts = edges[cut::cut][:3]
    bounds = [(edges[quarter * cut], edges[min((quarter + 1) * cut, len(edges) - 1)]) for quarter in range(4)]
    quarters = [(f"{name} {low:.4g} to {high:.4g}",) for low, high in bounds]
    below, above = (
        (f"{name} below {edges[0]:.4g}, its range in training",),
        (f"{name} above {edges[-1]:.4g}, its range in training",),
    )

    def naming(value: Value) -> tuple[tuple[str, ...], bool]:
        number = float(value)  # type: ignore[arg-type]  # a numeric field holds numbers
        if number < edges[0]:
            return below, False
        if number > edges[-1]:
            return above, False
        return quarters[min(bisect_right(cuts, number), 3)], False

    return naming


class Cause(Struct, frozen=True, kw_only=True):
    """A segment with its share of the excess error (it may exceed 1), and how many of the cases lie in it."""

    segment: str
    share: float
    n: int
    keys: int


def causes(now: Sequence[Case], before: Sequence[Case]) -> list[Cause]:
    """What makes up the excess of the error of ``now`` over that of ``before``, the largest first, at most SHOWN.

    A segment counts by how much its share of the excess exceeds its share of the cases before: what concerns everybody
    alike is no cause, what is new is one whole. What the model never learned of comes before what else is odd about the
    same cases. Of two segments with the same cases the first named stays.
    """
    if len(now) < LEAST or len(before) < LEAST:
        return []
    usual = sum(c.loss for c in before) / len(before)
    excess = sum(c.loss - usual for c in now)
    if excess <= 0:
        return []
    earlier = _gathered(before)
    found = []
    for segment, (loss, n, keys) in _gathered(now).items():
        lost, count, _ = earlier.get(segment, (0.0, 0, frozenset()))
        level = lost / count if count >= LEAST else usual
        share = (loss - n * level) / excess
        gain = share - count / len(before)
        if n >= LEAST and gain >= WORTH and share >= WORTH:
            found.append((gain, Cause(segment=segment, share=share, n=n, keys=len(keys)), keys))
    most = max((gain for gain, _, _ in found), default=0.0)
    found.sort(key=lambda item: (not (_fresh(item[1]) and item[0] >= most / 2), -round(item[0], 2), -item[1].n))
    kept: list[Cause] = []
    for _, cause, _ in found:
        if not any(abs(cause.share - other.share) < 0.01 and cause.n == other.n for other in kept):
            kept.append(cause)
    return kept[:SHOWN]


def _fresh(cause: Cause) -> bool:
    """Whether it is something that the model never learned of: then what is odd about it follows from that."""
    return cause.segment == NEW or cause.segment.startswith("unknown ")


def _gathered(held: Sequence[Case]) -> Mapping[str, tuple[float, int, frozenset[str]]]:
    loss: defaultdict[str, float] = defaultdict(float)
    n: defaultdict[str, int] = defaultdict(int)
    keys: defaultdict[str, set[str]] = defaultdict(set)
    for case in held:
        for segment in case.segments:
            loss[segment] += case.loss
            n[segment] += 1
            keys[segment].add(case.key)
    return {segment: (loss[segment], n[segment], frozenset(keys[segment])) for segment in n}


def told(found: Sequence[Cause], *, keys: int) -> Facts:
    """The causes as facts ``cause``, ``cause 2``, ``cause 3``; ``keys`` is how many entities there are in all."""
    facts: Facts = {}
    for place, cause in enumerate(found, 1):
        who = f"{cause.keys} of {keys} keys, " if cause.segment == NEW else f"n = {cause.n}, "
        name = "cause" if place == 1 else f"cause {place}"
        facts[name] = f"{cause.segment} ({who}{cause.share:.0%} of the excess error)"
    return facts


class Strain(Struct, frozen=True, kw_only=True):
    """What is new costs so much: log(error of all / error of what is known) since ``since``, over ``n`` new cases."""

    value: float
    since: float
    n: int


def strain(held: Sequence[Case], window: Window) -> Strain | None:
    """Whether what the model never learned raises its error for certain; None when it does not.

    Known cases of the same days are the yardstick, so that a hard day for everybody says nothing. The rise must
    exceed the policy's ``drift``, as it is and beside the size of the truth; it is certain by the sequential test that
    watches the skill too.
    """
    values, starts, spread = [], [], []
    known = [c for c in held if not c.new]
    usual = _mean(known)
    if len(known) < LEAST or not usual[0] > 0:
        return None
    for block in _by_block(held):
        new = [c for c in block if c.new]
        if not new:
            continue
        old = [c for c in block if not c.new]
        level = _mean(old) if len(old) >= LEAST else usual
        every = _mean(block)
        x = min(_log(every[0], level[0]), _log(every[1], level[1]))
        values.append(-x)
        starts.append(block[0].at)
        losses = np.array([c.loss for c in block])
        spread.append(losses.var() / max(losses.mean(), 1e-12) ** 2 / len(block) if len(block) > 1 else 1.0)
    if not values:
        return None
    tolerance = math.log1p(window.policy.drift) / 2
    z = (-tolerance - np.array(values)) / np.sqrt(np.array(spread) + 0.1**2)
    length = float(np.median(np.diff(starts))) if len(starts) > 1 else DAY
    limit = STREAMS * max(window.fleet, 1) * window.policy.quiet / max(length, HOUR)
    fall = first_fall(z, threshold=limit)
    if fall is None:
        return None
    since = starts[fall.since]
    return Strain(value=-float(np.mean(values[fall.since :])), since=since, n=sum(c.new for c in held if c.at >= since))


def _by_block(held: Sequence[Case]) -> list[list[Case]]:
    """Days of cases, or parts of them with LEAST new ones where new ones are few."""
    days = len({c.at // DAY for c in held if c.new})
    few = sum(c.new for c in held) < 24 * days
    found: list[list[Case]] = [[]]
    for case in held:
        last = found[-1]
        if last and ((few and sum(c.new for c in last) >= LEAST) or (not few and case.at // DAY != last[0].at // DAY)):
            found.append([])
        found[-1].append(case)
    return found


def _mean(held: Sequence[Case]) -> tuple[float, float]:
    """The mean loss, and the loss beside the size of the truth."""
    size = sum(c.size for c in held)
    loss = sum(c.loss for c in held)
    return (loss / len(held), loss / size) if held and size > 0 else (math.nan, math.nan)


def _log(one: float, other: float) -> float:
    return math.log(one / other) if one > 0 and other > 0 else 0.0
