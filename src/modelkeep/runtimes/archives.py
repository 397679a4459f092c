"""Zip archives from strangers: looked at member by member before anything reads them.

Sizes are bounded by what the archive declares, and ``zipfile`` never yields more than that, so a bomb cannot unfold.
"""

import io
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from modelkeep.errors import BadArtifact

MAGIC = b"PK\x03\x04"
MAX_MEMBERS = 200_000
MAX_UNPACKED = 4 * 2**30
"""Bytes that all members together may unpack to."""
LONGEST_TABLE = 4 * 2**20
"""Bytes of a table of contents that are read where the archive is only glanced at."""
BOMB_FROM = 256 * 2**20
BOMB_RATIO = 100
"""Above BOMB_FROM unpacked bytes, an archive that shrank more than BOMB_RATIO-fold is taken for a bomb."""


def members(data: bytes) -> dict[str, zipfile.ZipInfo]:
    """The members of a zip archive by name, each of them safe to read and intact (CRC).

    Raises BadArtifact for an archive that is broken, encrypted, too large when unpacked, or that has a member whose
    name leaves the archive (``../``, absolute, a drive), is a link, or occurs twice.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            found = _checked(archive.infolist(), packed=len(data))
            broken = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, ValueError) as error:
        raise BadArtifact(f"the archive is broken: {error}", remedy="copy the file again; it may be cut off") from error
    if broken is not None:
        raise BadArtifact(f"the archive's member {broken!r} is damaged", remedy="copy the file again")
    return found


def listed(path: Path) -> set[str]:
    """The names in an archive's table of contents, of which no member is read; none when it is broken or very long."""
    try:
        with _Glanced(path) as file, zipfile.ZipFile(file) as archive:
            return set(archive.namelist())
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError):
        return set()


class _Glanced(io.FileIO):
    """A file of which no long piece is read at once: a table of contents says itself how long it is."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            size = LONGEST_TABLE
        if size > LONGEST_TABLE:
            raise OSError("a longer piece than anybody should read")
        return super().read(size) or b""


def read(data: bytes, name: str, *, limit: int) -> bytes:
    """One member of an archive that ``members`` has passed. Raises BadArtifact when missing or above ``limit``."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        try:
            info = archive.getinfo(name)
        except KeyError:
            raise BadArtifact(f"the archive has no member {name!r}") from None
        if info.file_size > limit:
            raise BadArtifact(f"the archive's member {name!r} has {info.file_size:,} bytes, at most {limit:,} fit")
        return archive.read(info)


def _checked(infos: list[zipfile.ZipInfo], *, packed: int) -> dict[str, zipfile.ZipInfo]:
    if len(infos) > MAX_MEMBERS:
        raise BadArtifact(f"the archive has {len(infos):,} members, at most {MAX_MEMBERS:,} are read")
    unpacked = sum(info.file_size for info in infos)
    if unpacked > MAX_UNPACKED or (unpacked > BOMB_FROM and unpacked > BOMB_RATIO * packed):
        raise BadArtifact(
            f"the archive of {packed:,} bytes would unpack to {unpacked:,} bytes: a zip bomb",
            remedy=f"at most {MAX_UNPACKED:,} bytes and, above {BOMB_FROM:,}, {BOMB_RATIO}-fold are unpacked",
        )
    found: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        _check_member(info)
        if info.filename in found:
            raise BadArtifact(f"the archive has the member {info.filename!r} twice")
        found[info.filename] = info
    return found


def _check_member(info: zipfile.ZipInfo) -> None:
    name = info.orig_filename
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or parts[0] == "/" or ".." in parts or "\0" in name or ":" in parts[0]:
        raise BadArtifact(f"the archive's member {name!r} points outside the archive")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise BadArtifact(f"the archive's member {name!r} is a symbolic link")
    if info.flag_bits & 0x1:
        raise BadArtifact(f"the archive's member {name!r} is encrypted", remedy="register it without a password")
