"""Files that are whole or not there: written beside their place, forced to disk, then renamed."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

_BLOCK = 1 << 20


@contextmanager
def beside(folder: Path) -> Iterator[Path]:
    """The path of a file that does not exist yet, in a folder that is made when missing; gone when it was not renamed.

    Raises OSError.
    """
    make_folder(folder)
    part = folder / f".{secrets.token_hex(8)}.part"
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def write(part: Path, source: Path | bytes | BinaryIO) -> str:
    """Copy to a new file, in blocks, and force it to disk; the SHA-256 of what was written. Raises OSError."""
    digest = hashlib.sha256()
    with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640), "wb") as target:
        if isinstance(source, Path):
            with source.open("rb") as stream:
                _pump(stream, target, note=digest.update)
        else:
            _pump(BytesIO(source) if isinstance(source, bytes) else source, target, note=digest.update)
        target.flush()
        os.fsync(target.fileno())
    return digest.hexdigest()


def seal(part: Path) -> str:
    """Force a file that a library wrote to disk, readable by its owner and group; its SHA-256. Raises OSError."""
    part.chmod(0o640)
    with part.open("rb") as stream:
        os.fsync(stream.fileno())
        return hashlib.file_digest(stream, "sha256").hexdigest()


def settle(part: Path, place: Path) -> None:
    """Let a written file take its place, and force that to disk too. Raises OSError."""
    part.replace(place)
    sync_folder(place.parent)


def make_folder(folder: Path) -> None:
    """Make a folder (mode 0750) unless it is there, and force that to disk. Raises OSError."""
    if not folder.is_dir():
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Force the names in a folder to disk. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def digest_of(file: BinaryIO) -> str:
    """The SHA-256 of what is left of a file."""
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type] # it reads, and is asked no more


def _pump(stream: BinaryIO, target: BinaryIO, *, note: Callable[[bytes], None]) -> None:
    while block := stream.read(_BLOCK):
        note(block)
        target.write(block)
