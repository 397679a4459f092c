"""Joining: calls of one version that wait for a hand are answered in one call of the model, where that pays.

Nobody waits for others to come: a hand that is free takes what stands in line at that moment, so that an idle server
answers as ever. How many rows go together is learned from the version's own calls: a joined call may take half as long
again as one alone, which is many rows of a model that computes them together, and one of a model that takes them one
by one. Each caller gets its own answer; where a joined call fails, its parts are asked again in ever smaller groups.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from time import monotonic, perf_counter
from typing import TypeAlias

from modelkeep.errors import BadFeatures, ModelFailed
from modelkeep.nouns import Features
from modelkeep.runtimes import Loaded
from modelkeep.serving.calling import Got, answers, call

MOST = 64
"""So many rows go together at most."""
LONGER = 0.5
"""A joined call may take so much longer than one row alone, as a share of that."""
WARY = 60.0
"""Seconds in which nothing is joined after a joined call has ended its process or run out of its time."""
AGAIN = 50
"""After so many calls alone it is tried anew whether joining pays."""
HALF = 0.5
"""A call is joined where it is foreseen to end within this share of its time limit."""
_SLOWER, _DEARER, _CHEAPER = 0.05, 0.5, 0.2


class Appetite:
    """How many rows of one version are best asked together; its numbers may be a call behind, which harms nobody."""

    def __init__(self) -> None:
        self._single = self._slope = 0.0
        self._largest = 1
        self._known = False
        self._alone = 0
        self._wary = self._trying = float("-inf")

    @property
    def width(self) -> int:
        """Rows that one call answers in about the time of one row, as far as was seen."""
        if not self._known or not self._single or monotonic() < self._wary:
            return 1
        allowed = MOST if self._slope <= 0.0 else 1 + int(LONGER * self._single / self._slope)
        return max(min(allowed, 2 * self._largest, MOST), 1)

    def rows(self, within: float = float("inf")) -> int:
        """So many may go together in a call that must not take longer than ``within`` seconds by far.

        Sometimes two, to learn from it, by one call at a time.
        """
        width = self.width
        if width > 1:
            return width if (1 + LONGER) * self._single <= within * HALF else 1
        now = monotonic()
        if not self._single or now < self._wary or now < self._trying or 2 * self._single > within * HALF:
            return 1
        self._alone += 1
        if self._known and self._alone % AGAIN:
            return 1
        self._trying = now + 4 * self._single
        return 2

    def note(self, n: int, seconds: float) -> None:
        """A call of ``n`` rows took so long, and was answered.

        One row's time follows the quickest calls, because a busy machine must not make rows look cheap; what a row more
        costs rises sooner than it falls.
        """
        if n == 1:
            faster = not self._single or seconds < self._single
            self._single += (1.0 if faster else _SLOWER) * (seconds - self._single)
        elif self._single:
            more = max((seconds - self._single) / (n - 1), 0.0)
            weight = (_DEARER if more > self._slope else _CHEAPER) if self._known else 1.0
            self._slope += weight * (more - self._slope)
            self._known, self._largest = True, max(self._largest, min(n, MOST))
            self._trying = float("-inf")

    def doubt(self) -> None:
        """A joined call went so wrong that its parts could not all be put right."""
        self._wary = monotonic() + WARY


@dataclass(slots=True, eq=False)
class Asked:
    """Rows of one request for one version, as they wait in line, to be answered ``within`` so many seconds.

    ``lead`` is the Future of the call that they were answered in, ``spent`` the seconds of that call; both are set by
    the thread that answers.
    """

    loaded: Loaded
    rows: Sequence[Features]
    appetite: Appetite
    within: float = float("inf")
    lead: Future[list[Got]] | None = None
    spent: float = field(default=0.0)

    def __call__(self) -> list[Got]:
        """Answer them alone."""
        start = perf_counter()
        found = call(self.loaded, self.rows)
        self.spent = perf_counter() - start
        if not any(got.reason == "failed" for got in found):
            self.appetite.note(len(self.rows), self.spent)
        return found


Waiting: TypeAlias = tuple[Future[list[Got]], Asked]


def together(waiting: Sequence[Waiting]) -> Iterator[tuple[Future[list[Got]], list[Got]]]:
    """Answer the rows of several requests for one version, each request's answers as soon as they are known.

    Never raises for what a model does.
    """
    lead = waiting[0][0]
    for _, asked in waiting:
        asked.lead = lead
    groups = [list(waiting)]
    while groups:
        group = groups.pop()
        if len(group) == 1:
            yield group[0][0], group[0][1]()
            continue
        loaded, appetite = group[0][1].loaded, group[0][1].appetite
        rows = [row for _, asked in group for row in asked.rows]
        start = perf_counter()
        try:
            outputs = loaded.predict(rows)
        except (ModelFailed, BadFeatures) as failure:
            if isinstance(failure, ModelFailed) and failure.ended:
                appetite.doubt()
                groups += [[one] for one in reversed(group)]
            else:
                middle = len(group) // 2
                groups += [group[middle:], group[:middle]]
            continue
        seconds = perf_counter() - start
        appetite.note(len(rows), seconds)
        found = answers(outputs, seconds=seconds, number=loaded.version.number)
        at = 0
        for future, asked in group:
            asked.spent = seconds
            yield future, found[at : at + len(asked.rows)]
            at += len(asked.rows)
