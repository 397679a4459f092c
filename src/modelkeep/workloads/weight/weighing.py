"""Weighs the members against each other and finds the interval, on objects that none of the fits has seen."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from modelkeep.workloads.weight.features import DENSITIES
from modelkeep.workloads.weight.fitting import Floats, Mask, Objects, inputs_of, per_object
from modelkeep.workloads.weight.members import NAMES, Fitted, fit

COVER = 0.9
NEAR = 0.2
LEAST = 8
"""With fewer objects than this, weights and interval are those of the next wider trust."""
TRUSTS = ("new", "listed", "few", "known")
WIDER = {"known": "few", "few": "new", "listed": "new"} | {f"{name} both": name for name in TRUSTS}
STEPS = 400
MOST = 4000
"""So many objects are enough to weigh members; more would only take longer."""


class HeldOut(Struct, frozen=True, kw_only=True):
    """What was answered for rows that the fits had not seen.

    ``answers`` are the members', of shape (rows, members), ``typical`` what objects of the material usually weigh.
    """

    rows: NDArray[np.int64]
    trust: NDArray[np.str_]
    answers: Floats
    typical: Floats


class Weighed(Struct, frozen=True, kw_only=True):
    """By trust: the members' weights, the interval's ends (logs beside the answer), and the share within 20 %."""

    weights: dict[str, dict[str, float]]
    offsets: dict[str, tuple[float, float]]
    within: dict[str, float]
    objects: dict[str, int]


def by_object(data: Objects, *, folds: int, seed: int, take: Mask) -> HeldOut:
    """Every object held out once: what members answer for an object that was never weighed."""
    drawn = _drawn(data.groups, folds=folds, seed=seed)
    return together(
        [_held_out(data, seen=take & (drawn != fold), held=take & (drawn == fold)) for fold in range(folds)]
    )


def by_material(data: Objects, *, keep: int, seed: int, take: Mask) -> HeldOut | None:
    """Every material held out once but for ``keep`` of its objects: what members answer for a (nearly) new material.

    None when there are not two materials.
    """
    names = np.unique(data.materials[take])
    if len(names) < 2:
        return None
    folds = min(5, len(names))
    drawn = _drawn(np.searchsorted(names, data.materials), folds=folds, seed=seed)
    kept = _kept(data, keep=keep, seed=seed)
    parts = []
    for fold in range(folds):
        held = take & (drawn == fold) & ~kept
        seen = take & ~held
        if held.any() and seen.any():
            parts += _held_out_new(data, seen=seen, held=held) if not keep else [_held_out(data, seen=seen, held=held)]
    return together(parts) if parts else None


def together(parts: list[HeldOut]) -> HeldOut:
    """Several as one."""
    return HeldOut(
        rows=np.concatenate([part.rows for part in parts]),
        trust=np.concatenate([part.trust for part in parts]),
        answers=np.vstack([part.answers for part in parts]),
        typical=np.concatenate([part.typical for part in parts]),
    )


def weigh(data: Objects, found: HeldOut) -> Weighed:
    """Weights and intervals by trust, from what was held out."""
    weights: dict[str, dict[str, float]] = {}
    offsets: dict[str, tuple[float, float]] = {}
    within: dict[str, float] = {}
    objects: dict[str, int] = {}
    usual = np.full(len(NAMES), 1.0 / len(NAMES))
    rest = data.truth[found.rows] - found.typical  # without a scale, nothing but the material is known
    every = data.groups[found.rows]
    weights["scale"], offsets["scale"] = {"physics": 1.0}, interval(rest, every)
    within["scale"], objects["scale"] = _near(rest, every), len(np.unique(every[found.trust == "scale"]))
    for trust in (*TRUSTS, *(f"{name} both" for name in TRUSTS)):
        mine = found.trust == trust
        groups = data.groups[found.rows[mine]]
        objects[trust] = len(np.unique(groups))
        wider = WIDER.get(trust, "")
        if objects[trust] < LEAST:
            source = wider if wider in weights else ""
            weights[trust] = weights.get(source) or dict(zip(NAMES, usual.tolist(), strict=True))
            if source in offsets:
                offsets[trust], within[trust] = offsets[source], within[source]
            continue
        truth = data.truth[found.rows[mine]]
        share = simplex(found.answers[mine], truth, weight=per_object(groups))
        rest = truth - found.answers[mine] @ share
        weights[trust] = dict(zip(NAMES, share.tolist(), strict=True))
        offsets[trust] = interval(rest, groups)
        within[trust] = _near(rest, groups)
    return Weighed(weights=weights, offsets=offsets, within=within, objects=objects)


def simplex(answers: Floats, truth: Floats, *, weight: Floats) -> Floats:
    """Weights of the members, 0 or more with sum 1, of least mean absolute error.

    Exponentiated gradient (Kivinen and Warmuth 1997) on the error relative to that of equal weights, averaged over its
    steps; with little to tell them apart, the members stay near equal weights.
    """
    share: Floats = np.full(answers.shape[1], 1.0 / answers.shape[1])
    total = np.zeros_like(share)
    weight = weight / weight.sum()
    size = max(float(weight @ np.abs(answers @ share - truth)), 1e-9)
    for step in range(STEPS):
        slope = (weight * np.sign(answers @ share - truth)) @ answers
        share = share * np.exp(-(0.5 / np.sqrt(1.0 + step)) * (slope - slope.mean()) / size)
        share = share / share.sum()
        total = total + share
    return np.asarray(total / STEPS)


def interval(rest: Floats, groups: NDArray[np.int64]) -> tuple[float, float]:
    """The ends of a 90 % interval beside the answer, from the rests of held-out objects, each counting once.

    Split conformal prediction (Vovk et al. 2005) by object: the next object's rest lies within with 90 %, whatever the
    distribution; n objects make it wider by (n + 1) / n.
    """
    count = len(np.unique(groups))
    tail = max(0.0, 1.0 - COVER * (count + 1) / count) / 2
    weight = per_object(groups)
    return _quantile(rest, tail, weight=weight), _quantile(rest, 1.0 - tail, weight=weight)


def answer(found: HeldOut, weighed: Weighed) -> Floats:
    """The ensemble's answer for what was held out."""
    table = np.array([[weighed.weights[str(trust)].get(name, 0.0) for name in NAMES] for trust in found.trust])
    return np.asarray((found.answers * table).sum(axis=1))


def _near(rest: Floats, groups: NDArray[np.int64]) -> float:
    """The share of objects answered within 20 % of their weight."""
    return float(np.average(np.abs(np.expm1(-rest)) <= NEAR, weights=per_object(groups)))


def _quantile(values: Floats, share: float, *, weight: Floats) -> float:
    order = np.argsort(values)
    reached = np.cumsum(weight[order]) / weight.sum()
    place = int(np.searchsorted(reached, share - 1e-12))
    return float(values[order][min(place, len(values) - 1)])


def _held_out(data: Objects, *, seen: Mask, held: Mask) -> HeldOut:
    return _answered(data, fit(data, seen), held=held)


def _held_out_new(data: Objects, *, seen: Mask, held: Mask) -> list[HeldOut]:
    """Materials that were not seen: as they are, and those of the table of densities as if it lacked them, too."""
    fitted = fit(data, seen)
    listed = held & np.isin(data.materials, list(DENSITIES))
    parts = [_answered(data, fitted, held=held)]
    return [*parts, _answered(data, fitted, held=listed, unheard=True)] if listed.any() else parts


def _answered(data: Objects, fitted: Fitted, *, held: Mask, unheard: bool = False) -> HeldOut:
    rows: list[Mapping[str, Any]] = [*inputs_of(data, held, tables=fitted.tables, unheard=unheard)]
    return HeldOut(
        rows=np.flatnonzero(held).astype(np.int64),
        trust=np.array([row["trust"] for row in rows], dtype=np.str_),
        answers=fitted.answers(rows),
        typical=np.array([row["typical"] for row in rows]),
    )


def _drawn(values: NDArray[np.int64], *, folds: int, seed: int) -> NDArray[np.int64]:
    """A fold for every value, the same for equal values."""
    distinct = np.unique(values)
    order = np.random.default_rng(seed).permutation(len(distinct))
    folds_of = np.empty(len(distinct), dtype=np.int64)
    folds_of[order] = np.arange(len(distinct)) % folds
    return np.asarray(folds_of[np.searchsorted(distinct, values)])


def _kept(data: Objects, *, keep: int, seed: int) -> Mask:
    """The rows of ``keep`` objects drawn of every material."""
    found = np.zeros(data.n, dtype=np.bool_)
    draw = np.random.default_rng(seed)
    for name in np.unique(data.materials) if keep else ():
        groups = np.unique(data.groups[data.materials == name])
        if len(groups) > keep:
            found |= np.isin(data.groups, draw.choice(groups, keep, replace=False))
    return found
