"""A model file is taken in: one copy of what is to be kept of it, made piece by piece, is looked at, tried and stored.

The file itself may be changed or removed meanwhile: nobody looks at it again. No more than a piece is in memory.
"""

import hashlib
import os
import secrets
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct

from modelkeep.errors import BadArtifact, StoreUnavailable
from modelkeep.runtimes import archives, packing
from modelkeep.runtimes.formats import MAX_BYTES, called, kind_of_archive, module_of, recognise_head, regular

_PIECE = 1 << 20
_HEAD = 4096


class Taken(Struct, frozen=True, kw_only=True):
    """A model file as it would be kept: ``path`` has its ``size`` bytes, whose SHA-256 is ``digest``, also its name.

    ``name`` is what people call the file that it was made of.
    """

    path: Path
    digest: str
    size: int
    name: str


def take(path: Path, folder: Path, *, ours: bool = False) -> Taken:
    """Put into ``folder`` what is to be kept of a model file, or of ``file.py:function`` packed.

    ``ours`` says that nobody writes to the file any more, as to one that was sent: a second name will do. Raises
    BadArtifact naming the file, and StoreUnavailable when the disk does not take the copy.
    """
    file, function = packing.split_entry(path, default="predict")
    if file.suffix == ".py" and file.is_file():
        data = packing.pack(file, function=function, use="model")
        place = folder / hashlib.sha256(data).hexdigest()
        place.write_bytes(data)
        return Taken(path=place, digest=place.name, size=len(data), name=called(path))
    regular(path)
    part = folder / f".{secrets.token_hex(8)}.part"
    digest = _linked(path, part) if ours else ""
    digest = digest or _copied(path, part)
    place = part.replace(folder / digest)
    return Taken(path=place, digest=digest, size=place.stat().st_size, name=called(path))


def module_for(taken: Taken) -> str:
    """The module of a file's format, told from its first bytes and an archive's table of contents; empty if unsure.

    Raises BadArtifact for a file that is plainly of no known format; to look at it tells the rest.
    """
    with taken.path.open("rb") as stream:
        head = stream.read(_HEAD)
    if head.startswith(archives.MAGIC):
        return module_of(kind_of_archive(archives.listed(taken.path)))
    try:
        return module_of(recognise_head(head, size=taken.size))
    except BadArtifact as error:
        raise BadArtifact(f"{taken.name}: {error.message}", remedy=error.remedy) from error


def _linked(path: Path, part: Path) -> str:
    """A second name of the file, and its digest; empty where files have one name only."""
    try:
        os.link(path.resolve(), part)
        with part.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:  # another disk, or one that has no links; to copy it tells whatever else is wrong
        part.unlink(missing_ok=True)
        return ""


def _copied(path: Path, part: Path) -> str:
    try:
        source = path.open("rb")
    except OSError as cause:
        raise BadArtifact(f"{path.name} cannot be read: {cause.strerror}", remedy="check its owner and mode") from cause
    with source:
        try:
            with part.open("xb") as target:
                return _pumped(source, target, name=path.name)
        except OSError as cause:
            raise StoreUnavailable(
                f"{path.name} cannot be copied into the data folder: {cause.strerror}",
                remedy="free space on its disk; nothing was changed",
            ) from cause


def _pumped(source: BinaryIO, target: BinaryIO, *, name: str) -> str:
    digest, size = hashlib.sha256(), 0
    while piece := source.read(_PIECE):
        size += len(piece)
        if size > MAX_BYTES:
            raise BadArtifact(f"{name} grows while it is read, and at most {MAX_BYTES:,} bytes are taken in")
        digest.update(piece)
        target.write(piece)
    return digest.hexdigest()
