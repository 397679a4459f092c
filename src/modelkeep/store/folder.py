"""Files in a folder, each named by the SHA-256 of its bytes: never half written, never silently changed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from modelkeep.errors import BadArtifact, NotFound, StoreUnavailable
from modelkeep.store import durable

_DIGEST = re.compile(r"[0-9a-f]{64}")


class FolderFiles:
    """``seams.Files`` in ``folder``: ``ab/abcd...`` holds the bytes whose digest is ``abcd...``.

    A file is written beside its place, forced to disk and renamed, so whatever stands under a digest is whole. Folders
    are made with mode 0750, files with 0640.

    >>> import tempfile
    >>> files = FolderFiles(Path(tempfile.mkdtemp()) / "files")
    >>> digest = files.put(b"model")
    >>> files.path(digest).read_bytes(), files.size(digest), files.all() == [digest]
    (b'model', 5, True)
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, source: Path | bytes | BinaryIO, *, digest: str = "") -> str:
        """See ``seams.Files.put``. The bytes are streamed; what is there already is written anew, which repairs it."""
        with self._faults("keep a file in"), durable.beside(self._folder) as part:
            found = durable.write(part, source)
            if digest not in {"", found}:
                raise BadArtifact(
                    f"a file has changed before it was kept: its bytes are {found}, not {digest}",
                    remedy="who writes to it? try again with one that stays as it is",
                )
            place = self._place(found)
            durable.make_folder(place.parent)
            durable.settle(part, place)
        return found

    def take(self, part: Path) -> str:
        """Keep a file that was written into this folder, by renaming it; its digest. Raises OSError."""
        digest = durable.seal(part)
        place = self._place(digest)
        durable.make_folder(place.parent)
        durable.settle(part, place)
        return digest

    def remove(self, digest: str) -> int:
        """See ``seams.Files.remove``."""
        place = self._place(digest)
        with self._faults("remove a file of"):
            try:
                size = place.stat().st_size
                place.unlink()
            except FileNotFoundError:
                return 0
            durable.sync_folder(place.parent)
        return size

    def sweep(self, before: float) -> int:
        """See ``seams.Files.sweep``."""
        freed = 0
        with self._faults("sweep"):
            for part in self._folder.glob(".*.part"):
                try:
                    told = part.stat()
                except FileNotFoundError:
                    continue  # it has just taken its place
                if told.st_mtime < before:
                    part.unlink(missing_ok=True)
                    freed += told.st_size
        return freed

    def path(self, digest: str) -> Path:
        """See ``seams.Files.path``."""
        place = self._existing(digest)
        with self._faults("read a file of"), place.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != digest:
            raise BadArtifact(
                f"the file {place} has changed: its bytes are {found}, not {digest}",
                remedy="put the original file back, or restore it from a backup",
            )
        return place

    def size(self, digest: str) -> int:
        """See ``seams.Files.size``."""
        with self._faults("read a file of"):
            return self._existing(digest).stat().st_size

    def all(self) -> list[str]:
        """See ``seams.Files.all``."""
        with self._faults("list"):
            return sorted(path.name for path in self._folder.glob("??/*") if _DIGEST.fullmatch(path.name))

    def _existing(self, digest: str) -> Path:
        place = self._place(digest) if _DIGEST.fullmatch(digest) else None
        if place is None or not place.is_file():
            raise NotFound("file", digest, known=self.all())
        return place

    def _place(self, digest: str) -> Path:
        return self._folder / digest[:2] / digest

    @contextmanager
    def _faults(self, act: str) -> Iterator[None]:
        try:
            yield
        except OSError as fault:
            cause = fault.strerror or str(fault)
            raise StoreUnavailable(
                f"could not {act} {self._folder}: {cause}", remedy="check its disk, owner and mode; nothing was changed"
            ) from fault
