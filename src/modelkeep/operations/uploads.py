"""Files on their way in: sent, not yet registered. What is refused or forgotten does not stay."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from modelkeep.errors import NotFound, StoreUnavailable
from modelkeep.quantities import DAY

if TYPE_CHECKING:
    from modelkeep.app import App

MOST = 2 * 1024**3
"""The largest file that can be sent, in bytes."""
FORGOTTEN = DAY
"""So long, in seconds, a file that was sent waits to be registered."""
_DIGEST = re.compile(r"[0-9a-f]{64}")

Digest = Annotated[str, Meta(description="SHA-256 of an uploaded file, in hex", pattern=r"^[0-9a-f]{64}$")]


class Incoming:
    """A file that is being received; ``done`` answers its digest and leaves it for one day."""

    def __init__(self, app: App) -> None:
        self._folder = _folder(app)
        self._hash = hashlib.sha256()
        self.size = 0
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            _forget(self._folder, app.rooms.clock.now() - FORGOTTEN)
            handle, name = tempfile.mkstemp(dir=self._folder, prefix="part-")
        except OSError as cause:
            raise _full(cause) from None
        self._path = Path(name)
        self._file = os.fdopen(handle, "wb")

    def write(self, piece: bytes) -> None:
        """Take the next bytes. Raises StoreUnavailable when the disk does not."""
        self.size += len(piece)
        self._hash.update(piece)
        try:
            self._file.write(piece)
        except OSError as cause:
            raise _full(cause) from None

    def done(self) -> str:
        """The file is whole: its digest."""
        digest = self._hash.hexdigest()
        try:
            self._file.close()
            self._path.rename(self._folder / digest)
        except OSError as cause:
            raise _full(cause) from None
        return digest

    def drop(self) -> None:
        """It is not wanted after all; nothing happens to one that is done."""
        self._file.close()
        self._path.unlink(missing_ok=True)


def received(app: App, digest: str) -> Path:
    """Where an uploaded file is. Raises NotFound for a digest that nobody sent within a day."""
    path = _folder(app) / digest
    if not _DIGEST.fullmatch(digest) or not path.is_file():
        raise NotFound("uploaded file", digest, known=[])
    return path


def forget(app: App, digest: str) -> None:
    """An uploaded file has done its work."""
    if _DIGEST.fullmatch(digest):
        (_folder(app) / digest).unlink(missing_ok=True)


def _folder(app: App) -> Path:
    return app.rooms.folder / "work" / "uploads"


def _forget(folder: Path, before: float) -> None:
    for path in folder.iterdir():
        if path.stat().st_mtime < before:
            path.unlink(missing_ok=True)


def _full(cause: OSError) -> StoreUnavailable:
    return StoreUnavailable(f"the file cannot be received: {cause}", remedy="free space on the disk of the data folder")
