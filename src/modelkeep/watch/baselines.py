"""Automatic baselines: what someone who knows no model would answer, for every model and key.

For numbers ``persistence`` (the newest outcome), ``same_period`` (the outcome of the same hour of the week, else of the
same hour of the day; hours are UTC), ``ewma`` (exponentially weighted mean, weight 0.1 for the newest) and ``seasonal``
(the exponentially weighted mean of the same hour of the week, else of the same hour of the day, else of everything;
weight 0.2: about the last nine weeks). For classes
``persistence`` and ``majority`` (the most frequent of recent outcomes; an outcome's weight falls by 1 % with each
later one). A model that does not beat them is *below baseline*; simple answers win more often than people expect
(Makridakis et al., "The M4 competition", 2020), so they are always kept beside it.

Everything here is a pure function of what was told, in the order of telling: no clock, no store.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import msgspec

from modelkeep.nouns import Output
from modelkeep.profile import REFERENCES, Sums
from modelkeep.quantities import DAY, HOUR, WEEK

ALPHA = 0.1
SEASON = 0.2
DECAY = 0.99
MAX_LABELS = 100
EVERYONE = ""
"""The key of the model-wide state, which answers for keys that are new and for predictions without a key."""

Answers: TypeAlias = tuple[Output | None, ...]


@dataclass(slots=True)
class _Numbers:
    """What is remembered of one key's numbers.

    ``hours`` holds the outcome by hour of the week (0..167) and by hour of the day (168..191), ``means`` their
    exponentially weighted means.
    """

    last: float
    newest: float
    ewma: float
    hours: dict[int, float] = field(default_factory=dict)
    means: dict[int, float] = field(default_factory=dict)

    @classmethod
    def first(cls, value: float, target: float) -> _Numbers:
        memory = cls(last=value, newest=target, ewma=value)
        memory.learn(value, target)
        return memory

    def learn(self, value: float, target: float) -> None:
        self.ewma += ALPHA * (value - self.ewma)
        for hour in _hours(target):
            known = self.means.get(hour, value)
            self.means[hour] = known + SEASON * (value - known)
        self.place(value, target)

    def place(self, value: float, target: float) -> None:
        """Note the value under its moment; a late one never replaces one of a newer week, day or moment."""
        week, day = _hours(target)
        if week not in self.hours or target > self.newest - WEEK + HOUR:
            self.hours[week] = value
        if day not in self.hours or target > self.newest - DAY + HOUR:
            self.hours[day] = value
        if target >= self.newest:
            self.last, self.newest = value, target

    def answers(self, target: float) -> Answers:
        week, day = _hours(target)
        season = self.means.get(week, self.means.get(day, self.ewma))
        return self.last, self.hours.get(week, self.hours.get(day)), self.ewma, season

    @property
    def size(self) -> int:
        return 1 + len(self.hours) + len(self.means)


@dataclass(slots=True)
class _Classes:
    """What is remembered of one key's classes: the newest, and the decayed count of each of MAX_LABELS labels."""

    last: Output
    newest: float
    labels: list[Output] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    @classmethod
    def first(cls, value: Output, target: float) -> _Classes:
        return cls(last=value, newest=target, labels=[value], weights=[1.0])

    def learn(self, value: Output, target: float) -> None:
        self.weights = [weight * DECAY for weight in self.weights]
        if value not in self.labels:
            if len(self.labels) >= MAX_LABELS:
                rarest = self.weights.index(min(self.weights))
                del self.labels[rarest], self.weights[rarest]
            self.labels.append(value)
            self.weights.append(0.0)
        self.weights[self.labels.index(value)] += 1.0
        self.place(value, target)

    def place(self, value: Output, target: float) -> None:
        if target >= self.newest:
            self.last, self.newest = value, target

    def answers(self, target: float) -> Answers:  # noqa: ARG002 - numbers need it
        return self.last, self.labels[self.weights.index(max(self.weights))]

    @property
    def size(self) -> int:
        return 1 + len(self.labels)


def _hours(target: float) -> tuple[int, int]:
    hour = int(target // HOUR)
    return (hour + 72) % 168, 168 + hour % 24  # 1970-01-01 was a Thursday; weeks start on Monday


class Baselines:
    """The automatic baselines of one model.

    At most ``keys`` keys and ``places`` remembered values are kept; the key that learned longest ago goes first. What
    was learned since the last ``settle`` can be written (``changed``) or undone (``undo``), so that memory and store
    never part when a transaction fails. ``answer`` may be called from any thread while one thread learns.

    >>> known = Baselines(classifies=False)
    >>> known.answer("stop 1", 0.0)
    (None, None, None, None)
    >>> known.learn("stop 1", 10.0, target=0.0)
    >>> known.learn("stop 1", 20.0, target=3600.0)
    >>> known.answer("stop 1", 7 * 86400.0)
    (20.0, 10.0, 11.0, 10.0)
    """

    def __init__(self, *, classifies: bool, keys: int = 100_000, places: int = 1_000_000) -> None:
        self.names = REFERENCES["class" if classifies else "number"]
        self._classifies = classifies
        self._kind: type[_Numbers | _Classes] = _Classes if classifies else _Numbers
        self._nothing: Answers = (None,) * len(self.names)
        self._stand_in = self.names.index("majority" if classifies else "ewma")
        self._most_keys, self._most_places, self._places = keys, places, 0
        self._states: OrderedDict[str, _Numbers | _Classes] = OrderedDict()
        self._before: dict[str, bytes | None] = {}

    def restore(self, states: Mapping[str, bytes]) -> None:
        """Take up the states that ``changed`` gave earlier."""
        for key, data in states.items():
            self._put(key, self._decoded(data))
        self._shrink()

    def touched(self, key: str) -> bool:
        """Whether something was learned of a key since the last ``settle``."""
        return key in self._before

    def refresh(self, states: Mapping[str, bytes]) -> None:
        """Take over what other processes have learned of some keys."""
        for key, data in states.items():
            old = self._states.pop(key, None)
            self._places -= old.size if old else 0
            self._put(key, self._decoded(data))
        self._shrink()

    def answer(self, key: str, target: float) -> Answers:
        """Each baseline's answer for ``key`` about the moment ``target``, in the order of ``names``; None = unknown."""
        state = self._states.get(key) or self._states.get(EVERYONE)
        return self._nothing if state is None else state.answers(target)

    def later(self, key: str, at: float) -> bool:
        """Whether what answers for ``key`` has learned of a moment after ``at``."""
        state = self._states.get(key) or self._states.get(EVERYONE)
        return state is not None and state.newest > at

    def estimate(self, key: str, target: float) -> Output | None:
        """The one answer that stands in for a model: ``ewma`` or ``majority``."""
        return self.answer(key, target)[self._stand_in]

    def learn(self, key: str, value: Output | None, *, target: float) -> None:
        """Learn an outcome that was told for the first time. What is no fitting finite value is not learned."""
        fitting = self._fitting(value)
        if fitting is not None:
            for name in {key, EVERYONE}:
                self._touch(name)
                state = self._states.get(name)
                if state is None:
                    self._put(name, self._kind.first(fitting, target))
                else:
                    self._places -= state.size
                    state.learn(fitting, target)
                    self._put(name, state)
            self._shrink()

    def correct(self, key: str, value: Output | None, *, target: float) -> None:
        """Take over a corrected outcome where it is remembered by itself; means and counts stay as they are."""
        fitting = self._fitting(value)
        if fitting is not None:
            for name in {key, EVERYONE} & self._states.keys():
                self._touch(name)
                state = self._states[name]
                self._places -= state.size
                state.place(fitting, target)
                self._put(name, state)

    def changed(self) -> dict[str, bytes]:
        """The states of the keys that were touched since the last ``settle``, to be written."""
        return {key: msgspec.msgpack.encode(self._states[key]) for key in self._before if key in self._states}

    def settle(self) -> None:
        """What was learned is written: it can no longer be undone."""
        self._before.clear()

    def undo(self) -> None:
        """What was learned since the last ``settle`` could not be written: forget it."""
        for key, data in self._before.items():
            state = self._states.pop(key, None)
            self._places -= state.size if state else 0
            if data is not None:
                self._put(key, self._decoded(data))
        self._before.clear()

    def _fitting(self, value: Output | None) -> Any:
        """The value as it is learned, a plain float or the class itself, or None when there is nothing to learn."""
        if self._classifies or value is None:
            return value
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return float(value) if number else None

    def _decoded(self, data: bytes) -> _Numbers | _Classes:
        return msgspec.msgpack.decode(data, type=self._kind)

    def _touch(self, key: str) -> None:
        if key not in self._before:
            state = self._states.get(key)
            self._before[key] = None if state is None else msgspec.msgpack.encode(state)

    def _put(self, key: str, state: _Numbers | _Classes) -> None:
        self._states[key] = state
        self._states.move_to_end(key)
        self._places += state.size

    def _shrink(self) -> None:
        while len(self._states) > max(self._most_keys, 1) or self._places > self._most_places:
            oldest = next((key for key in self._states if key != EVERYONE), None)
            if oldest is None:
                return
            self._places -= self._states.pop(oldest).size


# ------------------------------------------------------------------------------------------------ before a release


def backtest(
    times: Sequence[float],
    *,
    targets: Sequence[float],
    keys: Sequence[str],
    truths: Sequence[Output],
    told: Sequence[float],
    classifies: bool = False,
) -> dict[str, list[Output | None]]:
    """What every baseline would have answered over a historical sample, knowing only what was known at each moment.

    One entry per row everywhere: asked at ``times``, about ``targets``, for ``keys``, with the true value ``truths``
    known from ``told`` on. An outcome told at the very moment of a question is not known yet.

    >>> asked = [0.0, 10.0, 20.0]
    >>> backtest(asked, targets=asked, keys=["a"] * 3, truths=[1.0, 3.0, 5.0], told=[5, 15, 25])["persistence"]
    [None, 1.0, 3.0]
    """
    known = Baselines(classifies=classifies)
    answers: list[Answers] = [()] * len(times)
    events = [(at, 0, i) for i, at in enumerate(times)] + [(at, 1, i) for i, at in enumerate(told)]
    for _, outcome, i in sorted(events):
        if outcome:
            known.learn(keys[i], truths[i], target=targets[i])
        else:
            answers[i] = known.answer(keys[i], targets[i])
    return {name: [answer[place] for answer in answers] for place, name in enumerate(known.names)}


def scored(truths: Sequence[Output], answers: Mapping[str, Sequence[Output | None]]) -> dict[str, Sums]:
    """Error sums of every answerer over the same rows: those that all of them know.

    An answerer that knows fewer than half of the rows is left out instead.

    >>> scored([1.0, 2.0], {"model": [1.5, 2.0], "ewma": [None, 4.0]})["model"].n
    1
    """
    judged = {
        name: values
        for name, values in answers.items()
        if 2 * sum(value is not None for value in values) >= len(truths)
    }
    found = dict.fromkeys(judged, Sums())
    for row, truth in enumerate(truths):
        said = {name: values[row] for name, values in judged.items()}
        if None not in said.values():
            for name, answer in said.items():
                found[name] = found[name] + Sums.of(answer, truth)  # type: ignore[arg-type]  # not None
    return found
