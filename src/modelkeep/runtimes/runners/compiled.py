"""Trees answered by machine code: that of the package, or what the extra ``compiled`` makes at the start."""

from array import array
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelkeep.errors import BadArtifact
from modelkeep.runtimes.formats import Numbers
from modelkeep.runtimes.runners import kernel
from modelkeep.runtimes.runners.forest import Floats, Forest
from modelkeep.runtimes.runners.loops import LANES
from modelkeep.runtimes.runners.walking import WORD, struck

_NODE = np.dtype([("bound", "f8"), ("left", "i4"), ("right", "i4"), ("feature", "i4"), ("missing", "i4")])
_STRIKE = np.dtype([("bound", "f8"), ("mask", "u8"), ("feature", "i4"), ("missing", "i4")])
_FREE = 256
"""From so many rows on other threads may run meanwhile."""


_KEPT = 128
"""The memory of a call with so many rows at most is used again: making it, and telling where it is, takes longer than
what many a call does in it."""


@dataclass(slots=True)
class _Slot:
    """Memory of one call: its rows (or, for the loops that strike bits out, its columns), its sums, what is told.

    ``line`` is the sums again, one behind the other.
    """

    rows: Floats
    sums: Floats
    line: Floats
    told: tuple[Any, ...]


_NONE: deque[_Slot] = deque()
"""Where no memory is kept."""


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
        self._start = array("d", self._base.tolist())
        self._span = forest.width if forest.vector else 1
        self._strikes: tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int32]] | None = None
        if forest.counts.max() <= WORD and not (forest.roots < 0).any():
            order, masks, firsts = struck(forest)
            nodes = _packed(_STRIKE, forest, order=order, mask=masks)
            ends = np.append(firsts, len(nodes)).astype(np.int64)
            self._strikes = (nodes, ends, forest.starts.astype(np.int32))
        self._ends = (self._values.ctypes.data, self._span, forest.width)
        whole = (self._nodes.ctypes.data, self._roots.ctypes.data, len(self._roots), 0, 0, self._width, *self._ends, 0)
        told = kernel.arguments("walk", whole)
        self._places, self._tail = told[:3], told[5:9]
        """What ``walk`` is told of the forest: before the rows, and behind their number."""
        self._slots: dict[int, deque[_Slot]] = {n: deque() for n in (*range(LANES), *range(LANES, _KEPT + 1, LANES))}

    def one(self, row: Floats) -> Floats:
        """The sums of one row, of shape (outputs,)."""
        slots = self._slots[1]
        try:
            slot = slots.pop()
        except IndexError:
            slot = self._slot(1)
        slot.rows[0] = row
        slot.sums[:] = self._base
        self._kernel.walk(*slot.told)
        found: Floats = slot.sums[0].copy()
        slots.append(slot)
        return found

    def many(self, table: Floats) -> Floats:
        """The sums of rows, of shape (rows, outputs)."""
        n = len(table)
        by_bits = self._strikes is not None and n >= LANES // 2  # half of the lanes empty, it is still the quicker
        size = -(-n // LANES) * LANES if by_bits else n
        slots = self._slots.get(size, _NONE)
        try:
            slot = slots.pop()
        except IndexError:
            slot = self._slot(size)
        if by_bits:
            slot.rows[:, :n] = table.T
        else:
            slot.rows[:] = table
        slot.sums[:] = self._base
        free = n >= _FREE
        if by_bits:
            loop = self._kernel.bits_free if free else self._kernel.bits
        else:
            loop = self._kernel.walk_free if free else self._kernel.walk
        loop(*slot.told)
        if slots is _NONE:
            return slot.sums[:n]
        found: Floats = slot.sums[:n].copy()
        slots.append(slot)
        return found

    def flat(self, numbers: Numbers, n: int) -> list[Any]:
        """The sums of rows behind each other, one a row: for forests with one output, of numbers as they are."""
        found: list[Any]
        if n < LANES // 2:
            sums = self._start * n
            rows, out = numbers.buffer_info()[0], sums.buffer_info()[0]
            self._kernel.walk(*self._places, rows, n, *self._tail, out)
            return sums.tolist()
        table = np.frombuffer(numbers).reshape(n, -1)
        slots = self._slots.get(-(-n // LANES) * LANES)
        if slots is None or self._strikes is None:
            found = self.many(table).reshape(-1).tolist()
            return found
        try:
            slot = slots.pop()
        except IndexError:
            slot = self._slot(-(-n // LANES) * LANES)
        slot.rows[:, :n] = table.T
        slot.line.fill(self._start[0])
        self._kernel.bits(*slot.told)
        found = slot.line[:n].tolist()
        slots.append(slot)
        return found

    def _slot(self, size: int) -> _Slot:
        """Memory of a call with so many rows; those of the lanes that a call does not fill are of no account."""
        sums = np.empty((size, len(self._base)))
        if self._strikes is None or size < LANES:
            rows = np.empty((size, self._width))
            walked = (*self._places, rows.ctypes.data, size, *self._tail, sums.ctypes.data)
            return _Slot(rows, sums, sums.reshape(-1), kernel.arguments("walk", walked))
        nodes, ends, starts = self._strikes
        rows = np.empty((self._width, size))
        rows[:, 1 - LANES :] = 0.0
        head = (nodes.ctypes.data, ends.ctypes.data, len(self._roots), rows.ctypes.data, size, starts.ctypes.data)
        struck = (*head, *self._ends, sums.ctypes.data, rows.size)
        return _Slot(rows, sums, sums.reshape(-1), kernel.arguments("bits", struck))


def _packed(kind: np.dtype[Any], forest: Forest, *, order: Any = slice(None), **more: Any) -> NDArray[Any]:
    found = np.zeros(len(forest.feature), dtype=kind)
    found["bound"], found["feature"] = forest.threshold[order], forest.feature[order]
    found["missing"] = forest.missing[order]
    for name, values in more.items():
        found[name] = values
    return found
