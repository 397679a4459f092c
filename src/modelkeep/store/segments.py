"""A dataset's files: numbered Parquet segments that are whole or not there, added to and merged by any process.

``00000003-00000007-DIGEST.parquet`` holds what was appended third to seventh, and its name holds the SHA-256 of its
bytes. Numbers are given under a lock of the system, so they have no gap: a file that is missing, foreign or changed is
refused by its name, never passed over. A merged file takes the place of those whose numbers it covers, the moment it is
there; what a killed process left of them is then no longer read, and goes with the next merge.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from msgspec import Struct

from modelkeep.errors import BadArtifact, StoreUnavailable
from modelkeep.store import durable
from modelkeep.store.veiling import Veil, is_sealed

DECLARED = "dataset.json"
_NAME = re.compile(r"(\d{8})-(\d{8})-([0-9a-f]{64})\.parquet")
_OURS = re.compile(r"dataset\.json|\.lock|\.merging|\.[0-9a-f]{16}\.part")


class Segment(Struct, frozen=True, kw_only=True):
    """One file: what was appended as number ``start`` to ``end``; ``size`` in bytes."""

    path: Path
    start: int
    end: int
    digest: str
    size: int


class Segments:
    """The segments in ``folder``, which is made when the first one lands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._sound: set[Path] = set()

    def live(self) -> tuple[Segment, ...]:
        """The segments that hold the data, in the order of appending; none when there is no folder.

        Raises BadArtifact naming a file that is foreign, or the number that is missing.
        """
        found = self._listed()
        if _gap(found) is not None:
            with self.lock():  # somebody merges: nobody does while we look
                found = self._listed()
        gap = _gap(found)
        if gap is not None:
            raise BadArtifact(
                f"{self.folder} lacks segment {gap:08d}",
                remedy="put the file back from a copy, or move the folder away to begin anew",
            )
        return found

    def sound(self, segments: Sequence[Segment]) -> None:
        """Compare each segment with the digest in its name, once in this process. Raises BadArtifact naming it."""
        for segment in segments:
            if segment.path in self._sound:
                continue
            with segment.path.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
            if found != segment.digest:
                raise BadArtifact(
                    f"the segment {segment.path} has changed: its bytes are {found}",
                    remedy="put the original file back from a copy",
                )
            self._sound.add(segment.path)

    def land(self, part: Path) -> int:
        """Let a written file become the newest segment; its number."""
        digest = durable.seal(part)
        with self.lock():
            number = max((segment.end for segment in self._listed()), default=0) + 1
            self._settle(part, number, end=number, digest=digest)
        return number

    def replace(self, part: Path, covered: Sequence[Segment], *, anew: bool = False) -> bool:
        """Let a merged file take the place of ``covered``; ``anew`` gives it a number of its own: contents changed.

        False, and nothing was changed, when a covered file is gone (somebody erased from it), or when something was
        appended that a file with a new number would cover unseen.
        """
        digest = durable.seal(part)
        start, end = covered[0].start, covered[-1].end
        with self.lock():
            if not all(segment.path.exists() for segment in covered):
                return False
            if anew:
                if max(segment.end for segment in self._listed()) != end:
                    return False
                end += 1
            self._settle(part, start, end=end, digest=digest)
            for segment in self._all():
                if start <= segment.start and segment.end <= end and (segment.start, segment.end) != (start, end):
                    segment.path.unlink(missing_ok=True)
            durable.sync_folder(self.folder)
        return True

    def clear(self) -> list[Segment]:
        """The files that lie in the clear, also those that are not read any more."""
        found = []
        for segment in self._all():
            with suppress(FileNotFoundError):  # merged away since it was listed
                if not is_sealed(segment.path):
                    found.append(segment)
        return found

    def shut(self, veil: Veil) -> int:
        """Seal the files that lie in the clear; how many. One at a time, so a killed process goes on with the rest."""
        gone = 0
        with faults(self.folder, "seal"):
            for segment in self.clear():
                with self.lock(), durable.beside(self.folder) as part:
                    there = {one.path for one in self._all()}
                    if segment.path not in there:
                        continue
                    if not any(self._covers(one, segment) for one in self._all()):
                        veil.shut(segment.path, part)
                        self._settle(part, segment.start, end=segment.end, digest=durable.seal(part))
                    segment.path.unlink(missing_ok=True)
                    durable.sync_folder(self.folder)
                gone += 1
        return gone

    @staticmethod
    def _covers(one: Segment, other: Segment) -> bool:
        """Whether a sealed file holds everything that another does."""
        return one.path != other.path and one.start <= other.start and other.end <= one.end and is_sealed(one.path)

    @contextmanager
    def lock(self, name: str = ".lock") -> Iterator[None]:
        """Be alone, among all threads and processes, for as long as it takes."""
        handle = self._handle(name)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    @contextmanager
    def merging(self) -> Iterator[bool]:
        """Whether this caller is the only one that merges; it does not wait for another."""
        handle = self._handle(".merging")
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(handle)

    def _handle(self, name: str) -> int:
        durable.make_folder(self.folder)
        return os.open(self.folder / name, os.O_RDWR | os.O_CREAT, 0o640)

    def _settle(self, part: Path, start: int, *, end: int, digest: str) -> None:
        place = self.folder / f"{start:08d}-{end:08d}-{digest}.parquet"
        durable.settle(part, place)
        self._sound.add(place)

    def _listed(self) -> tuple[Segment, ...]:
        """Those that no other covers, in order."""
        found: list[Segment] = []
        for segment in sorted(self._all(), key=lambda s: (s.start, -s.end)):
            if not found or segment.end > found[-1].end:
                found.append(segment)
        return tuple(found)

    def _all(self) -> list[Segment]:
        found: list[Segment] = []
        if not self.folder.is_dir():
            return found
        with os.scandir(self.folder) as entries:
            for entry in entries:
                named = _NAME.fullmatch(entry.name)
                if named:
                    found.append(_segment(entry, named))
                elif not _OURS.fullmatch(entry.name):
                    raise BadArtifact(f"{entry.path} is no segment of this dataset", remedy="move it out of the folder")
        return found


def _segment(entry: os.DirEntry[str], named: re.Match[str]) -> Segment:
    try:
        size = entry.stat().st_size
    except FileNotFoundError:  # merged away since it was listed; what covers it is listed next time
        size = 0
    return Segment(path=Path(entry.path), start=int(named[1]), end=int(named[2]), digest=named[3], size=size)


def _gap(segments: Sequence[Segment]) -> int | None:
    """The first number that is missing."""
    expected = 1
    for segment in segments:
        if segment.start != expected:
            return expected
        expected = segment.end + 1
    return None


@contextmanager
def faults(folder: Path, act: str) -> Iterator[None]:
    """Turn the disk's refusals into the store's. Raises StoreUnavailable."""
    try:
        yield
    except OSError as fault:
        raise StoreUnavailable(
            f"could not {act} {folder}: {fault.strerror or fault}", remedy="check its disk, owner and mode"
        ) from fault
