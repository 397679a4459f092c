"""The formats ``pickle`` and ``joblib``: whatever they hold runs when they are read, so they need explicit trust.

Inspecting looks at bytes only: nothing is unpickled before the version is loaded.
"""

import bz2
import gzip
import io
import lzma
import pickle
import re
import zlib
from pathlib import Path
from typing import IO

import joblib

from modelkeep.errors import BadArtifact
from modelkeep.nouns import Signature
from modelkeep.runtimes.estimators import opened
from modelkeep.runtimes.formats import Inspected, Opened

MAX_UNPACKED = 4 * 2**30
_CHUNK = 1 << 20
_SKLEARN = re.compile(rb"_sklearn_version[^0-9]{1,8}?(\d+\.\d+(?:\.\w+)*)")


def inspect(data: bytes, *, trust: bool) -> Inspected:
    """Check that the file is whole. Raises BadArtifact without trust, for it may run anything."""
    packed = data[:1] != b"\x80"
    kind = "joblib" if packed or b"joblib.numpy_pickle" in data else "pickle"
    if not trust:
        raise BadArtifact(
            f"a {kind} file runs whatever code is in it when it is read",
            remedy="save it with skops.io.dump; or, if you made this very file, register it with explicit trust",
        )
    head, last = _unpacked(data) if packed else (data, data[-1:])
    if last != b".":
        raise BadArtifact(f"the {kind} file is cut off: it does not end as a pickle does", remedy="copy it again")
    version = _SKLEARN.search(head)
    libraries = {"scikit-learn": version.group(1).decode()} if version else {}
    return Inspected(runtime=kind, libraries=libraries)


def open_model(path: Path, signature: Signature, *, coded: bool, runtime: str) -> Opened:
    """Unpickle the estimator: reached only for versions that were registered with explicit trust."""
    if runtime == "joblib":
        return opened(joblib.load(path), signature, coded=coded)
    return opened(pickle.loads(path.read_bytes()), signature, coded=coded)  # noqa: S301 - trusted at registration


def _unpacked(data: bytes) -> tuple[bytes, bytes]:
    """The first megabytes and the last byte of a compressed stream, never holding more than a chunk beside them."""
    head, last, size = b"", b"", 0
    try:
        with _stream(data) as stream:
            while chunk := stream.read(_CHUNK):
                size += len(chunk)
                if size > MAX_UNPACKED:
                    raise BadArtifact(f"the joblib file unpacks to more than {MAX_UNPACKED:,} bytes: a bomb")
                head = head + chunk if len(head) < 64 * _CHUNK else head
                last = chunk[-1:]
    except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
        raise BadArtifact(f"the joblib file is broken: {error}", remedy="copy it again") from error
    return head, last


def _stream(data: bytes) -> IO[bytes] | gzip.GzipFile:
    if data.startswith(b"\x1f\x8b"):
        return gzip.open(io.BytesIO(data))
    if data.startswith(b"BZh"):
        return bz2.open(io.BytesIO(data))
    if data.startswith((b"]\x00\x00", b"\xfd7zXZ\x00")):
        return lzma.open(io.BytesIO(data))
    return io.BufferedReader(_Zlib(data), _CHUNK)


class _Zlib(io.RawIOBase):
    """A zlib stream read in pieces; ``zlib`` has no file of its own."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._rest = data
        self._unpack = zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        while not self._unpack.eof:
            if not self._rest:
                raise EOFError("it ends too early")
            piece = self._unpack.decompress(self._rest[:_CHUNK], len(buffer))
            self._rest = self._unpack.unconsumed_tail + self._rest[_CHUNK:]
            if piece:
                buffer[: len(piece)] = piece
                return len(piece)
        return 0
