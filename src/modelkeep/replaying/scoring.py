"""How good everybody was: the answers that were given, version 1 left alone, and the automatic baselines."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from modelkeep.nouns import Output
from modelkeep.profile import Sums
from modelkeep.quantities import DAY
from modelkeep.replaying.report import Month, Scores
from modelkeep.replaying.tape import Tape
from modelkeep.watch.baselines import backtest

Floats = NDArray[np.float64]
PARTS = ((180 * DAY, 28 * DAY), (30 * DAY, 7 * DAY), (0.0, DAY))
"""From how long a replay on its parts are how long."""
LOOK = 56 * DAY
LEAST, CLEAR = 30, 3.0
COMPLETE = 0.5
"""A baseline that knows fewer of the rows is not compared."""
KEPT, FROZEN = "kept", "frozen"


class Ledgerbook:
    """The answers to the rows of a tape, by who gave them; None where there is none."""

    def __init__(self, tape: Tape, *, classifies: bool, unit: str) -> None:
        self.tape, self.classifies = tape, classifies
        self.unit = "wrong" if classifies else unit
        self.kept: list[Output | None] = [None] * len(tape.at)
        self.frozen: list[Output | None] = [None] * len(tape.at)

    def finish(self, *, end: float) -> Answers:
        """Everybody's errors over the rows that were answered and whose truth was told by ``end``."""
        tape = self.tape
        places = [i for i, answer in enumerate(self.kept) if answer is not None and tape.told[i] <= end]
        return Answers(self, places)


class Answers:
    """Errors of everybody over the same rows, by the moment at which they were asked."""

    def __init__(self, book: Ledgerbook, places: Sequence[int]) -> None:
        tape = book.tape
        self._book, self._places = book, places
        self._chances = not book.classifies and set(tape.rows.truth) == {0.0, 1.0}
        self.at = np.array([tape.at[i] for i in places])
        rows = tape.rows
        simple = backtest(
            tape.at, targets=tape.targets, keys=rows.keys, truths=rows.truth, told=tape.told, classifies=book.classifies
        )
        said: dict[str, Sequence[Output | None]] = {KEPT: book.kept, FROZEN: book.frozen, **simple}
        found = {name: self._errors(values) for name, values in said.items()}
        self.errors = {
            name: errors
            for name, errors in found.items()
            if name in {KEPT, FROZEN} or (len(errors) and np.isfinite(errors).mean() >= COMPLETE)
        }
        self._said = said

    def _errors(self, values: Sequence[Output | None]) -> Floats:
        truth = self._book.tape.rows.truth
        found = np.array([_error(values[i], truth[i]) for i in self._places], dtype=np.float64)
        return found**2 if self._chances else found  # of a chance the square, as versions are judged (Brier)

    @property
    def known(self) -> NDArray[np.bool_]:
        """Rows that everybody answered."""
        table = np.column_stack(list(self.errors.values())) if len(self.at) else np.zeros((0, 1))
        return np.asarray(np.isfinite(table).all(axis=1), dtype=np.bool_)

    def mean(self, start: float, end: float, *, who: str = KEPT) -> float | None:
        """The mean error of the rows asked in ``start <= at < end``; None without any."""
        mine = self.errors[who][(self.at >= start) & (self.at < end)]
        mine = mine[np.isfinite(mine)]
        return float(mine.mean()) if mine.size else None

    def onset(self, detected: float) -> float | None:
        """Since when the error of what was answered is most likely higher, looking back 8 weeks from its detection.

        The moment after which the mean error lies above that before it by most standard errors; None with fewer than
        30 labelled rows on either side, or when no moment stands out by three.
        """
        mine = self.errors[KEPT]
        inside = (self.at >= detected - LOOK) & (self.at < detected) & np.isfinite(mine)
        at, errors = self.at[inside], mine[inside]
        n = len(errors)
        if n < 2 * LEAST or errors.std() == 0:
            return None
        sums, left = np.cumsum(errors), np.arange(1, n)
        gap = (sums[-1] - sums[:-1]) / (n - left) - sums[:-1] / left
        score = gap / (errors.std() * np.sqrt(1 / left + 1 / (n - left)))
        score[: LEAST - 1], score[n - LEAST :] = -math.inf, -math.inf
        best = int(score.argmax())
        return float(at[best + 1]) if score[best] >= CLEAR else None

    def scores(self) -> Scores | None:
        """The summary; None without a labelled row."""
        known = self.known
        if not known.any():
            return None
        means = {name: float(errors[known].mean()) for name, errors in self.errors.items()}
        metrics = {name: self._metrics(name, known) for name in self.errors}
        return Scores(
            n=int(known.sum()),
            unit="squared error of a chance" if self._chances else self._book.unit,
            kept=means.pop(KEPT),
            frozen=means.pop(FROZEN),
            baselines=means,
            at_once=self._at_once(known),
            metrics=metrics,
        )

    def _metrics(self, name: str, known: NDArray[np.bool_]) -> dict[str, float]:
        truth, said = self._book.tape.rows.truth, self._said[name]
        places = [place for place, fits in zip(self._places, known, strict=True) if fits]
        pairs = [(answer, truth[i]) for i in places if (answer := said[i]) is not None]
        if self._book.classifies:
            return _finite(_confused(pairs).metrics())
        return _finite(_measured(np.array(pairs, dtype=np.float64)))

    def _at_once(self, known: NDArray[np.bool_]) -> float | None:
        """The error of the entity's last label, had it been known at once."""
        tape, newest = self._book.tape, dict[str, Output]()
        last: list[Output | None] = []
        for key, truth in zip(tape.rows.keys, tape.rows.truth, strict=True):
            last.append(newest.get(key))
            newest[key] = truth
        errors = self._errors(last)[known]
        errors = errors[np.isfinite(errors)]
        return float(errors.mean()) if errors.size else None

    def months(self, start: float, end: float) -> tuple[Month, ...]:
        """The mean errors in parts of 28 days, of a week or of a day, by the length of the replay."""
        part = next(length for least, length in PARTS if end - start >= least)
        rivals = {name: self.errors[name] for name in self.errors if name not in {KEPT, FROZEN}}
        best = min(rivals, key=lambda name: float(np.nanmean(rivals[name])), default=None)
        found = []
        for edge in np.arange(start, end, part):
            inside = (self.at >= edge) & (self.at < edge + part)
            if inside.any():
                found.append(
                    Month(
                        start=float(edge),
                        n=int(inside.sum()),
                        kept=float(np.nanmean(self.errors[KEPT][inside])),
                        frozen=float(np.nanmean(self.errors[FROZEN][inside])),
                        best=None if best is None else self.mean(edge, edge + part, who=best),
                    )
                )
        return tuple(found)


def _error(answer: Output | None, truth: Output) -> float:
    if answer is None:
        return math.nan
    if isinstance(answer, str | bool) or isinstance(truth, str | bool):
        return float(answer != truth)
    return abs(float(answer) - float(truth))


def _confused(pairs: Sequence[tuple[Output, Output]]) -> Sums:
    confusion: dict[str, dict[str, int]] = {}
    for (answer, truth), count in Counter(pairs).items():
        for label, row in Sums.of(answer, truth).confusion.items():
            mine = confusion.setdefault(label, {})
            for said, one in row.items():
                mine[said] = mine.get(said, 0) + one * count
    return Sums(n=len(pairs), confusion=confusion)


def _measured(table: Floats) -> dict[str, float]:
    """Metrics of pairs of numbers; ``rmsle`` where they are amounts: where no truth is negative."""
    answers, truths = table[:, 0], table[:, 1]
    errors = answers - truths
    found = {
        "mae": float(np.abs(errors).mean()),
        "rmse": float(np.sqrt((errors**2).mean())),
        "bias": float(errors.mean()),
    }
    some = truths != 0
    if some.any():
        found["mape"] = float(np.abs(errors[some] / truths[some]).mean())
    if truths.std() > 0:
        found["r2"] = float(1 - (errors**2).mean() / truths.var())
    if (truths >= 0).all():
        found["rmsle"] = float(np.sqrt(((np.log1p(answers.clip(0.0)) - np.log1p(truths)) ** 2).mean()))
    return found


def _finite(found: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in found.items() if math.isfinite(value)}
