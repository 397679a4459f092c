"""Files that are sealed whole: a dataset's segments, where the store encrypts what it keeps.

A sealed file is ``MAGIC`` and blocks, each encrypted (AES-256-GCM) and bound to its place and to whether it is the
last: no block can be changed, left out, or put elsewhere. What DuckDB reads and writes in between is in memory only
(Linux' memfd): no disk ever holds it in the clear.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from modelkeep.errors import BadArtifact, StoreUnavailable
from modelkeep.store.sealing import seal, unseal

MAGIC = b"modelkeep sealed 1\n"
_BLOCK = 1 << 22
_SIZE = 4

Key = Callable[[bool], bytes | None]
"""The key of what is sealed: given True the one to seal with (None = nothing is sealed), else the one that opens."""


def no_key(fresh: bool) -> bytes | None:  # noqa: ARG001, FBT001 - the form of Key
    """Nothing is sealed."""
    return None


def is_sealed(path: Path) -> bool:
    """Whether a file is sealed. Raises FileNotFoundError."""
    with path.open("rb") as stream:
        return stream.read(len(MAGIC)) == MAGIC


class Shown:
    """A file as DuckDB may read it, until ``close``: ``path`` has the file's own name."""

    def __init__(self, path: Path, *, handle: int = -1) -> None:
        self.path = path
        self._handle = handle

    def close(self) -> None:
        """Let go of the memory."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
            self.path.unlink(missing_ok=True)
            with suppress(OSError):
                self.path.parent.rmdir()


class Veil:
    """Seals and opens the files of one folder of datasets; any thread may use it."""

    def __init__(self, key: Key = no_key) -> None:
        self._key = key
        self._links: Path | None = None
        self._known: dict[bool, bytes] = {}

    @property
    def seals(self) -> bool:
        """Whether what is written is sealed."""
        return self._found(fresh=True) is not None

    def show(self, path: Path) -> Shown:
        """A file for reading. Raises FileNotFoundError, BadArtifact, StoreUnavailable when its key is gone."""
        if not is_sealed(path):
            return Shown(path)
        key = self._found(fresh=False)
        if key is None:
            raise StoreUnavailable(f"{path} is sealed and its key is gone", remedy="restore the store from a backup")
        handle = _memory()
        try:
            with path.open("rb") as source, os.fdopen(os.dup(handle), "wb") as target:
                _opened(source, target, key=key)
            if self._links is None:
                self._links = Path(tempfile.mkdtemp(prefix="modelkeep-"))
                weakref.finalize(self, shutil.rmtree, self._links, ignore_errors=True)
            # A name of its own in a folder of its own: DuckDB tells files apart by it, and it points into memory.
            link = Path(tempfile.mkdtemp(dir=self._links)) / path.name
            link.symlink_to(_place(handle))
        except BaseException:
            os.close(handle)
            raise
        return Shown(link, handle=handle)

    @contextmanager
    def writing(self, part: Path) -> Iterator[Path]:
        """Where to write what shall be in ``part``, which is sealed when this ends."""
        key = self._found(fresh=True)
        if key is None:
            yield part
            return
        handle = _memory()
        try:
            yield _place(handle)
            with _place(handle).open("rb") as source:
                _sealed(source, part, key=key)
        finally:
            os.close(handle)

    def shut(self, source: Path, part: Path) -> None:
        """Seal a file that lies in the clear into ``part``."""
        key = self._found(fresh=True)
        assert key is not None  # noqa: S101 - asked for only where this seals
        with source.open("rb") as stream:
            _sealed(stream, part, key=key)

    def _found(self, *, fresh: bool) -> bytes | None:
        if fresh not in self._known:
            key = self._key(fresh)
            if key is None:
                return None
            self._known[fresh] = key
        return self._known[fresh]


def _sealed(source: BinaryIO, part: Path, *, key: bytes) -> None:
    block, number = source.read(_BLOCK), 0
    with part.open("xb") as target:
        target.write(MAGIC)
        while True:
            following = source.read(_BLOCK)
            shut = seal(key, block, bound=_bound(number, last=not following))
            target.write(len(shut).to_bytes(_SIZE, "big") + shut)
            if not following:
                return
            block, number = following, number + 1


def _opened(source: BinaryIO, target: BinaryIO, *, key: bytes) -> None:
    source.read(len(MAGIC))
    number, size = 0, source.read(_SIZE)
    while size:
        shut, following = source.read(int.from_bytes(size, "big")), source.read(_SIZE)
        if not shut:
            raise BadArtifact(f"{source.name} ends in the middle", remedy="put the original file back from a copy")
        target.write(unseal(key, shut, bound=_bound(number, last=not following)))
        number, size = number + 1, following


def _bound(number: int, *, last: bool) -> bytes:
    return b"%d %d" % (number, last)


def _memory() -> int:
    try:
        return os.memfd_create("modelkeep", os.MFD_CLOEXEC)
    except (AttributeError, OSError) as cause:
        raise StoreUnavailable(
            f"sealed datasets need memory files of Linux: {cause}",
            remedy="run on Linux, or set privacy.encrypt = false",
        ) from None


def _place(handle: int) -> Path:
    return Path(f"/proc/self/fd/{handle}")
