"""What the newest predictions were about, in memory: an outcome that is told of one needs no look into the store."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from operator import itemgetter
from typing import NamedTuple, TypeAlias

from modelkeep.nouns import Block, Prediction

About: TypeAlias = tuple[str, str, float]
"""A prediction's model, key and target."""
MOST = 20_000
"""Of so many predictions at least, and of twice as many at most, it is known."""


class _Rows(NamedTuple):
    """The rows of a block: their ids are ``first`` and so on."""

    first: int
    model: str
    at: float
    keys: list[str]


class Recent:
    """The newest predictions; belongs to one thread.

    >>> recent = Recent()
    >>> block = Block(
    ...     writer=3, first=8, model="m", version=1, role="champion", at=5.0, seconds=0.1, features=[{"x": 1}] * 2,
    ...     outputs=[2.0, 3.0], keys=["a", "b"], requests=["", ""],
    ... )
    >>> recent.note((), [block])
    >>> recent.about("3-9"), recent.about("3-10")
    (('m', 'b', 5.0), None)
    """

    def __init__(self) -> None:
        self._n = 0
        self._newer: dict[str, About] = {}
        self._older: dict[str, About] = {}
        self._blocks: dict[str, list[_Rows]] = {}
        self._before: dict[str, list[_Rows]] = {}

    def note(self, predictions: Iterable[Prediction], blocks: Iterable[Block]) -> None:
        """Know some more; the oldest are forgotten."""
        some = {p.id: (p.model, p.key, p.target) for p in predictions}
        self._newer |= some
        self._n += len(some)
        for block in blocks:
            mine = self._blocks.setdefault(str(block.writer), [])
            in_order = not mine or mine[-1].first <= block.first
            mine.append(_Rows(block.first, block.model, block.at, block.keys))
            if not in_order:
                mine.sort(key=_first)
            self._n += block.size
        if self._n > MOST:  # two generations: to take the oldest out one by one costs ever more
            self._older, self._newer, self._before, self._blocks = self._newer, {}, self._blocks, {}
            self._n = 0

    def about(self, prediction: str) -> About | None:
        """What one of them was about; None when it is not known."""
        found = self._newer.get(prediction) or self._older.get(prediction)
        writer, _, seq = prediction.partition("-")
        if found is not None or not (seq.isascii() and seq.isdecimal()):
            return found
        number = int(seq)
        for blocks in (self._blocks.get(writer, ()), self._before.get(writer, ())):
            place = bisect_right(blocks, number, key=_first) - 1
            if place >= 0 and number - blocks[place].first < len(blocks[place].keys):
                first, model, at, keys = blocks[place]
                return model, keys[number - first], at
        return None


_first = itemgetter(0)
