"""Records on disk on their way to the store: a file of frames that survives ``kill -9``, and a count of what was lost.

Frame: length (uint32, little-endian), CRC-32 of the payload (uint32), payload. What has been written is kept by the
operating system when the process is killed; ``sync`` makes it survive a power cut too. A torn last frame is normal
after a power cut and is cut off; damage before the end is put aside in a file of its own, never thrown away.
"""

from __future__ import annotations

import logging
import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from modelkeep.errors import ModelkeepError, StoreUnavailable

_log = logging.getLogger("modelkeep.serving")
_HEAD = struct.Struct("<II")
_MARKS = struct.Struct("<QQ")
_PIECE = 1 << 18
"""Bytes of the file that are in memory at once while it is trimmed."""


class Place(Struct, frozen=True, kw_only=True):
    """Where a payload is in the spool: ``offset`` of its frame and ``length`` of its payload, in bytes."""

    offset: int
    length: int


class Seals(Protocol):
    """Makes bytes unreadable to others, and readable again: ``store.sealing.Sealer`` where the store encrypts."""

    def frame(self, data: bytes) -> bytes:
        """What lies on disk."""

    def unframe(self, data: bytes) -> bytes:
        """The inverse of ``frame``."""


class Plain:
    """Leaves bytes as they are."""

    def frame(self, data: bytes) -> bytes:
        """The same."""
        return data

    def unframe(self, data: bytes) -> bytes:
        """The same."""
        return data


PLAIN = Plain()


class Spool:
    """The file of frames, sealed where the store encrypts. Not thread-safe: its owner serialises.

    >>> import tempfile
    >>> spool = Spool(Path(tempfile.mkdtemp()) / "records.spool", limit=1000)
    >>> place = spool.append(b"one group")
    >>> spool.read(place)
    b'one group'
    >>> [data for _, data in spool.frames()]
    [b'one group']
    """

    def __init__(self, path: Path, *, limit: int, sealer: Seals = PLAIN) -> None:
        self._path = path
        self._sealer = sealer
        self._limit = limit
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._start, self._end = 0, os.fstat(self._file).st_size  # of the file, counted from the first frame ever

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self._end - self._start

    @property
    def room(self) -> float:
        """The share of the bound that is free."""
        return 1.0 - self.size / max(self._limit, 1)

    def append(self, data: bytes) -> Place:
        """Write one frame behind the others.

        Raises StoreUnavailable when the bound would be passed or the disk refuses; the file is then as before.
        """
        data = self._sealer.frame(data)
        frame = _HEAD.pack(len(data), zlib.crc32(data)) + data
        if self.size + len(frame) > self._limit:
            raise StoreUnavailable(
                f"the spool {self._path} has reached its bound of {self._limit} bytes",
                remedy="bring the store back, or raise the bound",
            )
        try:
            written = os.pwrite(self._file, frame, self.size)
            if written < len(frame):  # the disk is nearly full: the second attempt names the reason
                os.pwrite(self._file, frame[written:], self.size + written)
        except OSError as fault:
            self._cut(self.size)
            raise StoreUnavailable(f"the spool {self._path} cannot be written: {fault.strerror}") from fault
        place = Place(offset=self._end, length=len(data))
        self._end += len(frame)
        return place

    def sync(self) -> None:
        """Make everything appended survive a power cut. Raises StoreUnavailable."""
        try:
            os.fsync(self._file)
        except OSError as fault:
            raise StoreUnavailable(f"the spool {self._path} cannot be synced: {fault.strerror}") from fault

    def read(self, place: Place) -> bytes:
        """One payload, checked. Raises ModelkeepError when it is damaged."""
        frame = self.bytes_of(place)
        data = frame[_HEAD.size :]
        if len(data) != place.length or _HEAD.unpack_from(frame) != (place.length, zlib.crc32(data)):
            raise ModelkeepError(f"the spool {self._path} is damaged at byte {place.offset - self._start}")
        return self._sealer.unframe(data)

    def bytes_of(self, place: Place) -> bytes:
        """One frame as it is on disk, damaged or not."""
        return os.pread(self._file, _HEAD.size + place.length, place.offset - self._start)

    def frames(self) -> Iterator[tuple[Place, bytes]]:
        """Every whole frame from the start, at opening; what follows the last whole one is put aside."""
        offset = self._start
        while offset + _HEAD.size <= self._end:
            length, checksum = _HEAD.unpack(os.pread(self._file, _HEAD.size, offset - self._start))
            data = os.pread(self._file, min(length, self.size), offset - self._start + _HEAD.size)
            if len(data) != length or zlib.crc32(data) != checksum:
                break
            yield Place(offset=offset, length=length), self._sealer.unframe(data)
            offset += _HEAD.size + length
        if offset < self._end:
            self._put_aside(offset)

    def clear(self) -> None:
        """Forget every frame; the space goes back to the disk."""
        self._cut(0)
        self._start = self._end

    def dead(self, first: Place) -> float:
        """The share of the file that lies before ``first``."""
        return (first.offset - self._start) / max(self.size, 1)

    def trim(self, first: Place) -> None:
        """Forget the frames before ``first`` by moving the rest into a new file. Raises StoreUnavailable."""
        fresh = self._path.with_suffix(".trimmed")
        try:
            with fresh.open("wb") as rest:
                for offset in range(first.offset - self._start, self.size, _PIECE):
                    rest.write(os.pread(self._file, min(_PIECE, self.size - offset), offset))
            file = os.open(fresh, os.O_RDWR | os.O_CLOEXEC)
            os.fsync(file)
            fresh.replace(self._path)
        except OSError as fault:
            raise StoreUnavailable(f"the spool {self._path} cannot be trimmed: {fault.strerror}") from fault
        os.close(self._file)
        self._file, self._start = file, first.offset

    def close(self) -> None:
        """Let the file go; frames stay in it."""
        os.close(self._file)

    def _cut(self, size: int) -> None:
        try:
            os.ftruncate(self._file, size)
        except OSError:
            _log.warning("spool cannot be shortened", extra={"path": str(self._path)}, exc_info=True)

    def _put_aside(self, offset: int) -> None:
        rest = os.pread(self._file, self._end - offset, offset - self._start)
        aside = self._path.with_suffix(f".damaged-{len(list(self._path.parent.glob('*.damaged-*'))) + 1}")
        _log.warning("the end of the spool is torn or damaged", extra={"path": str(aside), "bytes": len(rest)})
        try:
            aside.write_bytes(rest)
        except OSError:
            _log.exception("it could not be put aside and is cut off", extra={"path": str(aside)})
        self._end = offset
        self._cut(self.size)


class Marks:
    """Two counts in a mapped file that survive ``kill -9``: records taken, and records safe on disk since the start.

    Their difference at the next start is the number of records that were lost in between. After a power cut it is the
    best knowledge there is: the page may not have been written.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as grown:
            grown.write(b"\0" * max(mmap.PAGESIZE - grown.tell(), 0))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        taken, safe = _MARKS.unpack_from(self._map)
        self.gap = max(taken - safe, 0)
        self.note(0, 0)

    def note(self, taken: int, safe: int) -> None:
        """Write both counts (about 0.1 us; no system call)."""
        _MARKS.pack_into(self._map, 0, taken, safe)

    def close(self) -> None:
        """Let the file go."""
        self._map.close()
