"""Sums of floats that lose nothing: what was added can be taken away again, to the last bit.

A correction takes the old pair's error from an hour's sum and adds the new one's. With plain floats one mistyped
outcome (1e12 for 12) would leave its rounding in the sum for good. So each sum is kept as a short list of floats that
do not overlap (Shewchuk 1997, as in ``math.fsum``), whose exact total it is: usually one or two of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from modelkeep.nouns import Output
from modelkeep.profile import LARGEST, Floats, Sums

_FIELDS = 6  # error, absolute, square, relative, truth, truth_square

_Packed = tuple[int, int, list[list[float]], dict[str, dict[str, int]]]
_decoder = msgspec.msgpack.Decoder(dict[str, _Packed])


class _Model(msgspec.Struct, frozen=True):
    """What is decoded where the baselines do not matter: the rest is passed over."""

    model: _Packed | None = None


class _Count(msgspec.Struct, frozen=True):
    """The same where only the number of pairs does."""

    model: tuple[int, msgspec.Raw, msgspec.Raw, msgspec.Raw] | None = None


_model = msgspec.msgpack.Decoder(_Model)
_count = msgspec.msgpack.Decoder(_Count)


def grow(parts: list[float], x: float) -> None:
    """Add ``x`` to an exact sum in place.

    >>> parts: list[float] = []
    >>> for x in (1e100, 1.0, -1e100): grow(parts, x)
    >>> parts
    [1.0]
    """
    count = 0
    for part in list(parts):
        large, small = (x, part) if abs(x) >= abs(part) else (part, x)
        x = large + small
        rest = small - (x - large)
        if rest:
            parts[count] = rest
            count += 1
    parts[count:] = [x] if x else []


class Exact:
    """``profile.Sums`` that never round: pairs are added, and taken away with ``sign`` -1."""

    __slots__ = ("confusion", "n", "parts", "relative_n")

    def __init__(self) -> None:
        self.n = 0
        self.relative_n = 0
        self.parts: list[list[float]] = [[] for _ in range(_FIELDS)]
        self.confusion: dict[str, dict[str, int]] = {}

    def pair(self, answer: Output, truth: Output, *, sign: int = 1) -> None:
        """Add one pair, or take it away."""
        sums = Sums.of(_within(answer), _within(truth))
        self.n += sign * sums.n
        self.relative_n += sign * sums.relative_n
        if sums.confusion:
            self._count(sums.confusion, sign)
            return
        relative = min(sums.relative, LARGEST**2)
        values = (sums.error, sums.absolute, sums.square, relative, sums.truth, sums.truth_square)
        for parts, value in zip(self.parts, values, strict=True):
            grow(parts, sign * value)

    def numbers(self, answers: Floats, truths: Floats) -> None:
        """Add many pairs of numbers at once; each column is rounded once."""
        answers, truths = answers.clip(-LARGEST, LARGEST), truths.clip(-LARGEST, LARGEST)
        errors = answers - truths
        some = truths != 0
        relative = abs(errors[some] / truths[some]).clip(0, LARGEST**2)
        self.n += len(errors)
        self.relative_n += int(some.sum())
        columns = (errors, abs(errors), errors * errors, relative, truths, truths * truths)
        for parts, column in zip(self.parts, columns, strict=True):
            grow(parts, math.fsum(column.tolist()))

    def merge(self, other: Exact) -> None:
        """Add all pairs of ``other``."""
        self.n += other.n
        self.relative_n += other.relative_n
        self._count(other.confusion, 1)
        for mine, theirs in zip(self.parts, other.parts, strict=True):
            for value in theirs:
                grow(mine, value)

    def sums(self) -> Sums:
        """The totals, each rounded once."""
        total = Totals()
        total.exact({"model": self})
        return total.sums()["model"]

    def _count(self, confusion: dict[str, dict[str, int]], sign: int) -> None:
        for truth, row in confusion.items():
            mine = self.confusion.setdefault(truth, {})
            for answer, count in row.items():
                mine[answer] = mine.get(answer, 0) + sign * count
                if not mine[answer]:
                    del mine[answer]
            if not mine:
                del self.confusion[truth]


def pack(sums: dict[str, Exact]) -> bytes:
    """The exact sums of some names as MessagePack."""
    return msgspec.msgpack.encode({name: (s.n, s.relative_n, s.parts, s.confusion) for name, s in sums.items()})


def unpack(data: bytes) -> dict[str, Exact]:
    """The inverse of ``pack``."""
    found = {}
    for name, (n, relative_n, parts, confusion) in _decoder.decode(data).items():
        exact = found[name] = Exact()
        exact.n, exact.relative_n, exact.parts, exact.confusion = n, relative_n, parts, confusion
    return found


class Totals:
    """What very many hours come to by answerer, each total rounded once: as their merger, in a tenth of the time.

    The hours' floats are put together in flat lists and their own objects go at once: the garbage collector, which
    would else take three quarters of the time, sees nothing of them. ``model`` is always there.
    """

    __slots__ = ("_by_name",)

    def __init__(self) -> None:
        self._by_name = {"model": _Total()}

    def every(self, data: bytes) -> None:
        """Add what was packed of one hour."""
        for name, packed in _decoder.decode(data).items():
            self._of(name).add(packed)

    def model(self, data: bytes) -> None:
        """Add the model's own part of an hour alone: the others are passed over, a quarter of the time."""
        packed = _model.decode(data).model
        if packed is not None:
            self._by_name["model"].add(packed)

    def exact(self, found: Mapping[str, Exact]) -> None:
        """Add exact sums by name."""
        for name, one in found.items():
            self._of(name).add((one.n, one.relative_n, one.parts, one.confusion))

    def sums(self) -> dict[str, Sums]:
        """The totals by name."""
        return {name: total.sums() for name, total in self._by_name.items()}

    def _of(self, name: str) -> _Total:
        total = self._by_name.get(name)
        if total is None:
            total = self._by_name[name] = _Total()
        return total


class _Total:
    __slots__ = ("columns", "counts")

    def __init__(self) -> None:
        self.counts = Exact()
        self.columns: tuple[list[float], ...] = tuple([] for _ in range(_FIELDS))

    def add(self, packed: _Packed) -> None:
        n, relative_n, parts, confusion = packed
        self.counts.n += n
        self.counts.relative_n += relative_n
        if confusion:
            self.counts._count(confusion, 1)  # noqa: SLF001 - of the same module
        for column, some in zip(self.columns, parts, strict=True):
            column.extend(some)

    def sums(self) -> Sums:
        error, absolute, square, relative, truth, truth_square = map(math.fsum, self.columns)
        return Sums(
            n=self.counts.n,
            error=error,
            absolute=absolute,
            square=square,
            relative=relative,
            relative_n=self.counts.relative_n,
            truth=truth,
            truth_square=truth_square,
            confusion=self.counts.confusion,
        )


def count(data: bytes) -> int:
    """How many pairs of the model's own were packed."""
    packed = _count.decode(data).model
    return 0 if packed is None else packed[0]


def plain(data: bytes) -> dict[str, tuple[float, ...]]:
    """The totals as ``profile.LIFE`` names them, by answerer: for looking at very many hours, not for corrections."""
    found: dict[str, tuple[float, ...]] = {}
    for name, (n, _, parts, confusion) in _decoder.decode(data).items():
        error, absolute, square, _, truth, truth_square = map(sum, parts)
        wrong = n - sum(row.get(true, 0) for true, row in confusion.items()) if confusion else absolute
        found[name] = (float(n), float(wrong), error, absolute, square, truth, truth_square)
    return found


def _within(value: Output) -> Output:
    if isinstance(value, bool | str):
        return value
    return max(-LARGEST, min(float(value), LARGEST))
