"""From what happened to rounds: harms, blocks of traffic, entities and pairs.

Harm is a number in [0, 1]. Its four parts here are, in order: the call failed; it was slower than each of three
thresholds that were frozen before the trial.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

from msgspec import Struct

from modelkeep.rollout.betting import Round

Harms: TypeAlias = tuple[float, ...]
LATENCY_FACTORS: Final = ((0.5, 1.25), (0.95, 1.25), (0.99, 2.0))
"""Quantiles of the champion's own service time, and how much slower than each counts as slow."""
CAP: Final = 0.99
"""The quantile of the champion's errors at which errors are capped. Lower caps hide a worse tail: at 0.95 a version at
its limit is promoted in 3 % of the trials of ``benchmarks/decisions``, not 1 %, and MAE x 1.10 is caught later."""
MANY_ENTITIES: Final = 200
"""With fewer entities than this in the canary and several requests of each, the entity is the unit of a round."""


class Yardstick(Struct, frozen=True, kw_only=True):
    """What harm is measured with, frozen before the trial from the champion alone.

    ``latency`` are three thresholds in seconds. ``cap`` is the error in the output's unit above which one error is no
    worse than another, and ``usual`` the champion's mean error; both None for classes, and for numbers without labels.
    ``classes`` says that the loss is 0 (right) or 1 (wrong).
    """

    classes: bool
    latency: tuple[float, ...] = ()
    cap: float | None = None
    usual: float | None = None

    def harms(self, seconds: float, *, failed: bool) -> Harms:
        """The harms of one call that took ``seconds``; without thresholds only whether it failed."""
        return (float(failed), *(float(seconds > threshold) for threshold in self.latency))


def yardstick(
    seconds: Sequence[float], errors: Sequence[float], *, classes: bool, grain: float, cap: float | None = None
) -> Yardstick:
    """Measure a champion before a trial.

    ``seconds`` are its newest service times (fewer than 30 give no thresholds), ``errors`` the sizes of its newest
    errors in the output's unit (fewer than 30 give no cap; not used for classes). A threshold is never closer than
    ``grain`` seconds to the quantile that it is made from. The cap is the ``CAP`` quantile of the errors,
    unless ``cap`` is given: of a loss that cannot exceed it, and whose rare large values are the ones that count.

    >>> yardstick([0.1] * 100, [], classes=True, grain=0.002).latency
    (0.125, 0.125, 0.2)
    """
    latency: tuple[float, ...] = ()
    if len(seconds) >= 30:
        marks = [(_quantile(seconds, q), factor) for q, factor in LATENCY_FACTORS]
        latency = tuple(max(mark * factor, mark + grain) for mark, factor in marks)
    if classes or len(errors) < 30 or not max(errors) > 0:
        return Yardstick(classes=classes, latency=latency)
    cap = cap or _quantile(errors, CAP) or max(errors)
    return Yardstick(classes=False, latency=latency, cap=cap, usual=sum(min(e, cap) for e in errors) / len(errors))


def _quantile(values: Sequence[float], q: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(q * len(ordered)), len(ordered) - 1)]


# ------------------------------------------------------------------------------------------ what happened


class Served(Struct, frozen=True, kw_only=True, tag=True):
    """One call in a canary: which arm it was *assigned* to, and its harms, whoever answered in the end.

    ``stop`` says why the trial must end at once (a crash, NaN, an answer outside the signature).
    """

    candidate: bool
    harms: Harms
    at: float
    entity: str = ""
    stop: str = ""


class Compared(Struct, frozen=True, kw_only=True, tag=True):
    """One input that both versions ran on: harms of each, and whether their answers differ (None = cannot be said)."""

    control: Harms
    candidate: Harms
    at: float
    differ: float | None = None
    stop: str = ""


class Graded(Struct, frozen=True, kw_only=True, tag=True):
    """One answer whose truth is known and which the other version did not give: its signed error, or 1 for wrong."""

    candidate: bool
    error: float
    at: float


class GradedPair(Struct, frozen=True, kw_only=True, tag=True):
    """Both versions' answers to one input, truth known: their signed errors (answer - truth), or 1 for wrong."""

    control: float
    candidate: float
    at: float


Event: TypeAlias = Served | Compared | Graded | GradedPair


# --------------------------------------------------------------------------------------------------- blocks


class Arm(Struct, frozen=True, kw_only=True):
    """Harms of one arm in the open block, or of one entity: how many, and their sums."""

    n: int = 0
    sums: Harms = ()

    def plus(self, harms: Harms) -> "Arm":
        """One more observation."""
        sums = tuple(a + b for a, b in zip(self.sums, harms, strict=True)) if self.n else harms
        return Arm(n=self.n + 1, sums=sums)

    @property
    def means(self) -> Harms:
        """Mean harms; empty without observations."""
        return tuple(s / self.n for s in self.sums)


class Block(Struct, frozen=True, kw_only=True):
    """A block of traffic that is still open: it closes with the first observation by which both arms have one.

    The rounds that come out compare arms within the same short time, so neither a base rate that moves for both nor a
    share that changes can look like a difference between versions.
    """

    control: Arm = Arm()
    candidate: Arm = Arm()

    def plus(self, harms: Harms, *, candidate: bool) -> "Block":
        """The block with one more observation."""
        if candidate:
            return Block(control=self.control, candidate=self.candidate.plus(harms))
        return Block(control=self.control.plus(harms), candidate=self.candidate)

    @property
    def closed(self) -> bool:
        """Whether it holds an observation of each arm."""
        return self.control.n > 0 and self.candidate.n > 0

    def rounds(self) -> tuple[Round, ...]:
        """One round per part of the harms."""
        old, new = self.control, self.candidate
        return tuple(
            Round(control=a, candidate=b, z=b - a, controls=old.n, candidates=new.n)
            for a, b in zip(old.means, new.means, strict=True)
        )
