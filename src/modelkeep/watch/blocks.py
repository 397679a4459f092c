"""The error of a model and of its automatic baselines, block by block of its life: what the drift signals stand on.

A block is a day (UTC) of predictions, because hours of one day err together, or as many days as it takes to have five
labels.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from modelkeep.profile import LIFE, Floats, Window, references
from modelkeep.quantities import DAY, HOUR

LEAST = 5
"""Labels of a block, at least."""
LEARN = 28 * DAY
"""From so long at the beginning what is usual is learned; what is learned stays, so that a slow decay adds up."""
LONGEST = 84 * DAY
"""Where the blocks are noisy it is learned from up to so long."""
_N = LIFE.index("n")


class Losses(Struct, frozen=True, kw_only=True):
    """One answerer's mean loss in each block, with the relative variance of that mean and how many pairs it has."""

    mean: Floats
    spread: Floats
    n: Floats


class Blocks(Struct, frozen=True, kw_only=True):
    """Blocks in time order: where each starts and ends (moments), and its sums as in ``Life``."""

    names: tuple[str, ...]
    starts: Floats
    ends: Floats
    sums: Floats

    def __len__(self) -> int:
        return len(self.starts)

    def part(self, first: int, last: int | None = None) -> Blocks:
        """The blocks from place ``first`` up to, not including, ``last``."""
        cut = slice(first, last)
        return Blocks(names=self.names, starts=self.starts[cut], ends=self.ends[cut], sums=self.sums[cut])

    def of(self, what: str, name: str = "model") -> Floats:
        """One of ``LIFE`` of one answerer, block by block."""
        found: Floats = self.sums[:, self.names.index(name), LIFE.index(what)]
        return found

    @property
    def n(self) -> int:
        """The pairs of the model in all blocks."""
        return int(self.of("n").sum())

    @property
    def length(self) -> float:
        """How long a block is in the middle, in seconds; a day without two of them."""
        return float(np.median(np.diff(self.starts))) if len(self) > 1 else DAY

    @property
    def chances(self) -> bool:
        """Whether every truth is 0 or 1, told by numbers: then the answers are chances."""
        truth, n = self.of("truth").sum(), self.of("n").sum()
        return bool(0 < truth <= n and truth == self.of("truth_square").sum() and self.of("square").sum() > 0)

    def error(self, name: str = "model") -> float:
        """The mean loss over all blocks; not a number without pairs."""
        n = self.of("n", name).sum()
        return float(self.of(self._loss, name).sum() / n) if n else float("nan")

    @property
    def _loss(self) -> str:
        return "square" if self.chances else "loss"

    def losses(self, name: str = "model") -> Losses:
        """The loss of ``name`` in each block; where it answered nothing, not a number.

        The loss is the size of the error, for classes whether it is wrong, and where every truth is 0 or 1 the squared
        error (Brier): the size of the error would there favour whoever always answers the commoner one. To each block
        half an error of the usual kind is added, with the pairs that it takes, so that a block without any has a
        finite logarithm and a day without a rare event says little.
        """
        n, lost = self.of("n", name), self.of(self._loss, name)
        first = max(int(np.searchsorted(self.ends, self.ends[0] + LEARN)), 1) if len(self) else 0
        pairs = max(float(n[:first].sum()), 1.0)
        usual = float(lost[:first].sum()) / pairs
        # A loss of at most 1 is at least its square: an upper bound where the squares are not kept.
        bounded = self.chances or not self.of("square", name).any()
        squares = float((lost if bounded else self.of("square", name))[:first].sum()) / pairs
        variance = max(squares / usual**2 - 1, 0.0) if usual > 0 else 0.0
        with np.errstate(divide="ignore", invalid="ignore"):
            half = (1 + variance) / 2
            mean: Floats = np.where(n > 0, (lost + half * usual) / (n + half), np.nan)
            return Losses(mean=mean, spread=variance / n, n=n)


def blocks(window: Window, *, length: float = DAY, least: int = LEAST) -> Blocks:
    """The blocks of the version's life whose outcomes are due.

    Hours are gathered until they fill ``length`` and have ``least`` labels. A block that has not ended yet would be
    judged by its first hours: it is left out.
    """
    life, due = window.life, window.end - window.horizon
    ripe = (life.hours + HOUR <= due) & (life.sums[:, 0, _N] > 0)
    hours, sums = life.hours[ripe], life.sums[ripe]
    starts, ends, kept = [], [], []
    cells, first = np.unique(hours // length, return_index=True)
    parts = np.add.reduceat(sums, first, axis=0) if len(first) else sums
    held: Floats | None = None
    start = 0.0
    for place, cell in enumerate(cells.tolist()):
        if held is None:
            held, start = parts[place], float(hours[first[place]])
        else:
            held = held + parts[place]
        end = (cell + 1) * length
        if held[0, _N] >= least and end <= due:
            starts.append(start)
            ends.append(end)
            kept.append(held)
            held = None
    shape = (len(kept), len(life.names), len(LIFE))
    return Blocks(
        names=life.names, starts=np.array(starts), ends=np.array(ends), sums=np.array(kept, dtype=float).reshape(shape)
    )


def best(held: Blocks, window: Window) -> str | None:
    """The automatic baseline that errs least over the first weeks, of those that answered half of the pairs."""
    held = held.part(0, max(int(np.searchsorted(held.ends, held.ends[0] + LEARN)), 1)) if len(held) else held
    known = [name for name in references(window.version.signature) if name in held.names]
    means = {name: held.error(name) for name in known if held.of("n", name).sum() >= held.n / 2 > 0}
    return min(means, key=lambda name: means[name], default=None)
