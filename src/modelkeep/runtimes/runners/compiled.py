"""Trees answered by machine code: that of the package, or what the extra ``compiled`` makes at the start."""

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelkeep.errors import BadArtifact
from modelkeep.runtimes.runners import kernel, loops
from modelkeep.runtimes.runners.forest import Floats, Forest
from modelkeep.runtimes.runners.walking import WORD, struck

_NODE = np.dtype([("bound", "f8"), ("left", "i4"), ("right", "i4"), ("feature", "i4"), ("missing", "i4")])
_STRIKE = np.dtype([("bound", "f8"), ("mask", "u8"), ("feature", "i4"), ("missing", "i4")])
_FREE = 256
"""From so many rows on other threads may run meanwhile."""


class Compiled:
    """A forest for the compiled loops; with ``code`` for other loops than those of this processor.

    Raises BadArtifact where there are none for this processor, and for trees that split by categories.
    """

    def __init__(self, forest: Forest, *, code: kernel.Code | None = None) -> None:
        if len(forest.sets):
            raise BadArtifact("the compiled runner compares numbers, not categories")
        kind = "short" if forest.short else "single" if forest.single else "double"
        self._kernel = kernel.kernel(kind) if code is None else kernel.functions(code, kind)
        self._forest, self._width = forest, forest.features
        self._nodes = _packed(_NODE, forest, left=forest.left, right=forest.right)
        self._roots = np.ascontiguousarray(forest.roots, dtype=np.int32)
        self._values = np.ascontiguousarray(forest.values)
        self._base = np.ascontiguousarray(forest.base)
        self._span = forest.width if forest.vector else 1
        self._walks = (self._kernel.walk, self._kernel.walk_free)
        self._strikes: tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int32]] | None = None
        if forest.counts.max() <= WORD and not (forest.roots < 0).any():
            order, masks, firsts = struck(forest)
            nodes = _packed(_STRIKE, forest, order=order, mask=masks)
            ends = np.append(firsts, len(nodes)).astype(np.int64)
            self._strikes = (nodes, ends, forest.starts.astype(np.int32))
        self._places = (self._nodes.ctypes.data, self._roots.ctypes.data, len(self._roots))
        self._slots: deque[tuple[Floats, Floats, tuple[int, ...]]] = deque()
        self._tail = (self._values.ctypes.data, self._span, forest.width)

    def one(self, row: Floats) -> Floats:
        """The sums of one row, of shape (outputs,)."""
        try:
            own, out, places = self._slots.pop()
        except IndexError:
            own, out, places = self._slot()
        own[:] = row
        out[:] = self._base
        self._walks[0](*places)
        found: Floats = out.copy()
        self._slots.append((own, out, places))
        return found

    def _slot(self) -> tuple[Floats, Floats, tuple[int, ...]]:
        """Memory of one call, and all that the loop is told."""
        own, out = np.empty(self._width), np.empty(len(self._base))
        return own, out, (*self._places, own.ctypes.data, 1, self._width, *self._tail, out.ctypes.data)

    def many(self, table: Floats) -> Floats:
        """The sums of rows, of shape (rows, outputs)."""
        if self._strikes is not None and len(table) >= loops.LANES:
            return self._by_bits(table)
        rows = np.ascontiguousarray(table, dtype=np.float64)
        found = self._sums(len(rows))
        walk = self._walks[len(rows) >= _FREE]
        walk(*self._places, rows.ctypes.data, len(rows), self._width, *self._tail, found.ctypes.data)
        return found

    def _sums(self, rows: int) -> Floats:
        """Where the sums of some rows begin."""
        found = np.empty((rows, len(self._base)))
        found[:] = self._base
        return found

    def _by_bits(self, table: Floats) -> Floats:
        nodes, ends, starts = self._strikes  # type: ignore[misc]  # asked only where there are some
        n, lanes = len(table), loops.LANES
        whole = -(-n // lanes) * lanes
        turned = np.empty((table.shape[1], whole))  # np.zeros lets other threads run: they would keep a burst waiting
        turned[:, :n] = table.T
        turned[:, n:] = 0.0
        found = self._sums(whole)
        bits = self._kernel.bits_free if n >= _FREE else self._kernel.bits
        head = (nodes.ctypes.data, ends.ctypes.data, len(self._roots), turned.ctypes.data, whole, starts.ctypes.data)
        bits(*head, *self._tail, found.ctypes.data)
        return found[:n]


def _packed(kind: np.dtype[Any], forest: Forest, *, order: Any = slice(None), **more: Any) -> NDArray[Any]:
    found = np.zeros(len(forest.feature), dtype=kind)
    found["bound"], found["feature"] = forest.threshold[order], forest.feature[order]
    found["missing"] = forest.missing[order]
    for name, values in more.items():
        found[name] = values
    return found
