"""Which formats of model files there are, how a file is recognised, and what inspecting one tells.

A format is recognised by content, never by name. Each format's module imports its library at the top; the module itself
is imported when a file of that format is first met, because an idle server stays under 150 MB and the command line
starts in a quarter of a second: scikit-learn and LightGBM alone are 150 MB and several seconds.
"""

import importlib
import io
import zipfile
from array import array
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias, cast

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from modelkeep.errors import BadArtifact
from modelkeep.nouns import EXTERNAL, Features, Outputs, Signature
from modelkeep.runtimes import archives, packing
from modelkeep.runtimes.runners.plan import Plan

MAX_BYTES = 2 * 2**30
"""The largest model file that is taken in, in bytes."""

Matrix: TypeAlias = NDArray[np.float64]
"""Rows as numbers, of shape (rows, inputs)."""

Numbers: TypeAlias = "array[float]"
"""The same without NumPy: doubles (``array("d")``), row behind row."""

UNSEEN = -1.0
"""The code of a category's value that training did not have."""

Answer: TypeAlias = Callable[[Sequence[Features]], Outputs]
"""Prepared rows in, outputs out."""


class Contributions(Struct, frozen=True, kw_only=True):
    """What each input of one row added to the answer, in the space of ``link``: with ``base`` they sum to it.

    ``link`` is ``identity`` (the output's own unit), ``log``, ``log1p``, ``logit``, or ``softmax`` (of the class that
    is answered). ``members`` are an ensemble's members' own answers.
    """

    base: float
    inputs: dict[str, float]
    link: str = "identity"
    members: dict[str, float] = {}


class Opened(Struct, frozen=True, kw_only=True, weakref=True):
    """A model opened by its format. ``explain`` takes one prepared row; without it ``unexplained`` says why.

    ``matrix`` answers the signature's inputs as numbers, categories coded by ``codes`` (see ``Loaded.matrix``); None
    where the model must see rows. ``flat`` gives the values alone, of so many rows as ``Numbers``, where that is all
    there is to say.
    ``plan`` reads the model as data, for a runner that needs no library; it gets the names of the prepared inputs, for
    a model that names none, and answers None when it is not that simple. ``runner`` is who answers.
    All callables raise whatever the library raises.
    """

    answer: Answer
    explain: Callable[[Features], Contributions] | None = None
    unexplained: str = ""
    matrix: Callable[[Matrix], Outputs] | None = None
    flat: Callable[[Numbers, int], list[Any]] | None = None
    codes: Mapping[str, Mapping[str, float]] = {}
    runner: str = "library"
    plan: Callable[[tuple[str, ...]], Plan | None] | None = None


class Inspected(Struct, frozen=True, kw_only=True):
    """What looking at a model file told, without running any of it.

    ``libraries`` are the versions that the file itself names; ``inputs`` the names of its inputs and ``classifies``
    whether it answers classes, both only as far as the file says so.
    """

    runtime: str
    libraries: dict[str, str] = {}
    inputs: tuple[str, ...] = ()
    classifies: bool | None = None


class Format(Protocol):
    """What the module of a format offers."""

    def inspect(self, data: bytes, *, trust: bool) -> Inspected:
        """Look at a file of this format, running none of it. Raises BadArtifact with the reason."""

    def open_model(self, path: Path, signature: Signature, *, coded: bool, runtime: str) -> Opened:
        """Load a file of ``runtime`` whose digest was verified; ``coded`` says that feature code prepares the rows."""


_MODULES: dict[str, str] = {
    "skops": "modelkeep.runtimes.sklearn_skops",
    "skops-trusted": "modelkeep.runtimes.sklearn_skops",
    "lightgbm": "modelkeep.runtimes.trees_lightgbm",
    "xgboost": "modelkeep.runtimes.trees_xgboost",
    "python": "modelkeep.runtimes.python_code",
    "pickle": "modelkeep.runtimes.pickled",
    "joblib": "modelkeep.runtimes.pickled",
    "ensemble": "modelkeep.runtimes.ensemble",
    "onnx": "modelkeep.runtimes.onnx_files",
}
RUNTIMES = tuple(_MODULES)
"""The names of the formats, as in ``Version.runtime``."""

_ARCHIVES = {"python": packing.MANIFEST, "ensemble": "ensemble.json", "skops": "schema.json"}
"""The member by which an archive of each format is known."""
_ONNX = {0x12, 0x1A, 0x22, 0x3A, 0x42}
"""After its version, a model of ONNX tells who made it, its domain or its graph: the tags of these fields."""
_ZLIB = (b"x\x01", b"x\x5e", b"x\x9c", b"x\xda")
_PACKERS = (*_ZLIB, b"\x1f\x8b", b"BZh", b"]\x00\x00", b"\xfd7zXZ\x00")  # zlib, gzip, bz2, lzma, xz: joblib's


def format_of(runtime: str) -> Format:
    """The module of a format, imported at its first use.

    Raises BadArtifact for a name that is none of RUNTIMES, and when its library cannot be imported here.
    """
    if runtime == EXTERNAL:
        raise BadArtifact("it predicts elsewhere: there is nothing to run here", remedy="ask the service that runs it")
    if runtime not in _MODULES:
        raise BadArtifact(f"unknown runtime {runtime!r}", remedy=f"one of: {', '.join(RUNTIMES)}")
    try:
        return cast("Format", importlib.import_module(_MODULES[runtime]))
    except (ImportError, OSError) as broken:  # OSError: a library of the system that it needs, such as libgomp
        raise BadArtifact(
            f"the library of {runtime} files cannot be imported here: {broken}",
            remedy="install it again; what it needs of the system must be there, too (libgomp1, say)",
        ) from broken


def module_of(runtime: str) -> str:
    """The name of a format's module, empty when there is none."""
    return _MODULES.get(runtime, "")


def inspect(path: Path, *, trust: bool, runtime: str | None = None, name: str = "") -> Inspected:
    """Recognise a model file and look at it; none of its code runs.

    ``path`` is a model file, or ``file.py:function`` for plain Python. ``trust`` says that whoever registers it vouches
    for the code in it: needed for Python, pickle, joblib and skops files with types beyond the known ones. ``runtime``
    refuses any other format than that one. Raises BadArtifact naming the file (``name`` where people call it so), what
    is wrong and the remedy.
    """
    name = name or called(path)
    data = contents(path)
    try:
        found = format_of(recognise(data)).inspect(data, trust=trust)
    except BadArtifact as error:
        raise BadArtifact(f"{name}: {error.message}", remedy=error.remedy) from error
    if runtime not in {None, found.runtime}:
        raise BadArtifact(f"{name} is a {found.runtime} file, not {runtime}", remedy="leave the runtime out")
    return found


def called(path: Path) -> str:
    """A file's name for people; one that was sent is kept under its digest, which tells nobody anything."""
    return "the file" if len(path.name) == 64 and "." not in path.name else path.name


def recognise(data: bytes) -> str:
    """The name of the format of these bytes, from their content. Raises BadArtifact when it is none that is known."""
    if data.startswith(archives.MAGIC):
        return _recognise_zip(data)
    return recognise_head(data, size=len(data))


def recognise_head(data: bytes, *, size: int) -> str:
    """The name of the format of a file of ``size`` bytes that is no archive, as far as its first ones tell.

    A joblib file that is not packed may be taken for a pickle, when it does not say so yet.
    """
    if not data:
        raise BadArtifact("the file is empty", remedy="save the model again")
    if data.startswith(b"tree\n") and b"version=v" in data[:200]:
        return "lightgbm"
    if data[:1] == b"{" and b"learner" in data[:200]:
        return "xgboost"
    if data[:1] == b"\x80" and data[1:2] in {b"\x02", b"\x03", b"\x04", b"\x05"}:
        return "joblib" if b"joblib.numpy_pickle" in data else "pickle"
    if any(data.startswith(magic) for magic in _PACKERS):
        return "joblib"
    if data[0] == 0x08 and len(data) > 16 and 3 <= data[1] <= 40 and data[2] in _ONNX:
        return "onnx"
    raise BadArtifact(
        f"{size:,} bytes of no known model format",
        remedy="save it with skops.io.dump, a Booster's save_model, joblib.dump, pack_ensemble, or give a .py file",
    )


def _recognise_zip(data: bytes) -> str:
    if not zipfile.is_zipfile(io.BytesIO(data)):
        raise BadArtifact("the archive has no table of contents: it is cut off", remedy="copy the file again")
    names = archives.members(data)
    if found := kind_of_archive(names):
        return found
    raise BadArtifact(f"an archive, but of no known model format (it holds {sorted(names)[:5]})")


def kind_of_archive(names: Collection[str]) -> str:
    """The name of the format of an archive with these members; empty when it is none that is known."""
    return next((kind for kind, member in _ARCHIVES.items() if member in names), "")


def contents(path: Path) -> bytes:
    """The bytes to keep of a model file, or of ``file.py:function`` packed. Raises BadArtifact naming the file."""
    file, function = packing.split_entry(path, default="predict")
    if file.suffix == ".py" and file.is_file():
        return packing.pack(file, function=function, use="model")
    regular(path)
    return path.read_bytes()


def regular(path: Path) -> None:
    """Raise BadArtifact, naming the file, unless it is one and not too large to be taken in."""
    if not path.is_file():
        raise BadArtifact(f"no file {str(path)!r}", remedy="check the path; it must be a regular file")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise BadArtifact(f"{path.name} has {size:,} bytes, at most {MAX_BYTES:,} are taken in")
