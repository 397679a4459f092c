"""UBJSON (draft 12) as plain objects: only what files of numbers use, every length checked before it is believed."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

DEEPEST = 40
_KINDS = {"i": ">i1", "U": ">u1", "I": ">i2", "l": ">i4", "L": ">i8", "d": ">f4", "D": ">f8"}
_PLAIN = {marker: struct.Struct(">" + code) for marker, code in zip("iUIlLdD", "bBhiqfd", strict=True)}


def decode(data: bytes) -> Any:
    """The one value that ``data`` holds. Raises ValueError where it is cut off, too deep, or of an unknown kind."""
    reader = _Reader(data)
    found = reader.value(reader.marker(), depth=0)
    if reader.at != len(data):
        raise ValueError(f"{len(data) - reader.at} bytes follow its end")
    return found


class _Reader:
    """A place in the bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def _take(self, size: int) -> bytes:
        end = self.at + size
        if size < 0 or end > len(self._data):
            raise ValueError(f"it is cut off at byte {len(self._data)}")
        found = self._data[self.at : end]
        self.at = end
        return found

    def marker(self) -> str:
        """The next kind."""
        return self._take(1).decode("latin-1")

    def _number(self, marker: str) -> Any:
        plain = _PLAIN[marker]
        return plain.unpack(self._take(plain.size))[0]

    def _length(self) -> int:
        marker = self.marker()
        if marker not in "iUIlL":
            raise ValueError(f"a length is of the kind {marker!r}")
        found = int(self._number(marker))
        if not 0 <= found <= len(self._data):
            raise ValueError(f"a length of {found}")
        return found

    def _text(self) -> str:
        return self._take(self._length()).decode("utf-8")

    def value(self, marker: str, *, depth: int) -> Any:
        """A value whose kind was read."""
        if depth > DEEPEST:
            raise ValueError(f"it is nested more than {DEEPEST} deep")
        if marker in _PLAIN:
            return self._number(marker)
        if marker == "S":
            return self._text()
        if marker == "{":
            return self._object(depth)
        if marker == "[":
            return self._array(depth)
        if marker in "TFZ":
            return {"T": True, "F": False, "Z": None}[marker]
        raise ValueError(f"a value of the kind {marker!r}")

    def _object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while self._data[self.at : self.at + 1] != b"}":
            name = self._text()
            if name in found:
                raise ValueError(f"{name!r} stands there twice")
            found[name] = self.value(self.marker(), depth=depth + 1)
        self.at += 1
        return found

    def _array(self, depth: int) -> list[Any]:
        first = self._data[self.at : self.at + 1]
        if first == b"$":
            self.at += 1
            marker = self.marker()
            if marker not in _KINDS or self.marker() != "#":
                raise ValueError(f"an array of the kind {marker!r}")
            count = self._length()
            kind = np.dtype(_KINDS[marker])
            plain: list[Any] = np.frombuffer(self._take(count * kind.itemsize), dtype=kind).tolist()
            return plain
        if first == b"#":
            self.at += 1
            return [self.value(self.marker(), depth=depth + 1) for _ in range(self._length())]
        found = []
        while self._data[self.at : self.at + 1] != b"]":
            found.append(self.value(self.marker(), depth=depth + 1))
        self.at += 1
        return found
