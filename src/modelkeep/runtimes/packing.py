"""Python code as an artifact: one source file packed as a zip whose bytes depend on nothing but the source.

Two uses: feature code (``def features(row: dict) -> dict``) and a whole model (``def predict(row: dict)``). A function
whose first parameter is named ``rows`` is the batch form: it takes a list of rows and returns a list. Packing compiles
the source but runs none of it; running it needs explicit trust at registration.
"""

import ast
import hashlib
import io
import sys
import types
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from modelkeep.errors import BadArtifact, ModelFailed
from modelkeep.nouns import Features
from modelkeep.runtimes import archives

MANIFEST = "modelkeep.json"
MAX_SOURCE = 4 * 2**20
_EPOCH = (1980, 1, 1, 0, 0, 0)

Transform: TypeAlias = Callable[[Sequence[Features]], list[Features]]
"""Feature code as it runs: rows of a request in, rows of the model's inputs out."""


class Packed(Struct, frozen=True, kw_only=True):
    """The manifest of packed code: which function of which file, and whether it takes one row or a batch."""

    file: str
    function: str
    batch: bool
    use: str


def split_entry(path: Path, *, default: str) -> tuple[Path, str]:
    """``file.py:function`` as file and function; without a colon the function is ``default``.

    >>> split_entry(Path("model.py:answer"), default="predict")[1]
    'answer'
    """
    head, colon, function = str(path).rpartition(":")
    if colon and head.endswith(".py") and function.isidentifier():
        return Path(head), function
    return path, default


def pack_features(path: Path) -> bytes:
    """Pack feature code, ``file.py`` or ``file.py:function`` (default ``features``).

    The function takes a row as the caller sent it and returns the row that the model takes, in the model's own order
    when the model file does not name its inputs. Raises BadArtifact when the file is missing, is not Python, or has no
    such function.
    """
    file, function = split_entry(path, default="features")
    return pack(file, function=function, use="features")


def pack(file: Path, *, function: str, use: str) -> bytes:
    """Pack one source file; the same source and function always give the same bytes. Raises BadArtifact."""
    source = _source(file)
    manifest = Packed(
        file=file.name, function=function, batch=_takes_batch(source, function=function, file=file.name), use=use
    )
    return zipped({MANIFEST: msgspec.json.encode(manifest), file.name: source})


def manifest(data: bytes) -> Packed:
    """What packed code says about itself, checked against its source. Raises BadArtifact."""
    names = set(archives.members(data))
    try:
        packed = msgspec.json.decode(archives.read(data, MANIFEST, limit=10_000), type=Packed)
    except msgspec.DecodeError as error:
        raise BadArtifact(f"the packed code's {MANIFEST} is broken: {error}") from error
    if names != {MANIFEST, packed.file}:
        raise BadArtifact(f"packed code holds {MANIFEST} and one source file, this one {sorted(names)[:5]}")
    batch = _takes_batch(archives.read(data, packed.file, limit=MAX_SOURCE), function=packed.function, file=packed.file)
    if batch != packed.batch:
        raise BadArtifact(f"the packed code's {MANIFEST} does not fit its source {packed.file}")
    return packed


def function_of(data: bytes) -> tuple[Packed, Callable[..., Any]]:
    """Run packed code's file as a module of its own and return its function. Only for code that was trusted."""
    packed = manifest(data)
    source = archives.read(data, packed.file, limit=MAX_SOURCE)
    # Registered under its digest so that dataclasses and pickling find it, and two versions never meet.
    name = f"modelkeep_code_{hashlib.sha256(data).hexdigest()[:16]}"
    module = sys.modules.get(name)
    if module is None:
        module = types.ModuleType(name)
        module.__file__ = f"{name}/{packed.file}"
        sys.modules[name] = module
        try:
            exec(compile(source, module.__file__, "exec"), module.__dict__)  # noqa: S102 - trusted at registration
        except BaseException:
            del sys.modules[name]
            raise
    function: Callable[..., Any] = getattr(module, packed.function)
    return packed, function


def transform(data: bytes) -> Transform:
    """Feature code ready to run. What the code raises comes through; a wrong answer raises ModelFailed."""
    packed, function = function_of(data)

    def each(rows: Sequence[Features]) -> list[Features]:
        found = [function(row) for row in rows]
        if not all(isinstance(row, dict) for row in found):
            raise ModelFailed(f"feature code {packed.file}:{packed.function} must return a dict for each row")
        return found

    def batch(rows: Sequence[Features]) -> list[Features]:
        found = list(function(list(rows)))
        if len(found) != len(rows) or not all(isinstance(row, dict) for row in found):
            raise ModelFailed(f"feature code {packed.file}:{packed.function} must return one dict for each row")
        return found

    return batch if packed.batch else each


def _source(file: Path) -> bytes:
    if not file.is_file():
        raise BadArtifact(f"no file {str(file)!r}", remedy="give a Python file, or file.py:function")
    if file.stat().st_size > MAX_SOURCE:
        raise BadArtifact(f"{file.name} has {file.stat().st_size:,} bytes, at most {MAX_SOURCE:,} fit")
    return file.read_bytes()


def _takes_batch(source: bytes, *, function: str, file: str) -> bool:
    try:
        tree = ast.parse(source, filename=file)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise BadArtifact(f"{file} is not Python: {error}") from error
    found = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    if function not in found:
        raise BadArtifact(f"{file} has no function {function!r}", remedy=f"it has: {', '.join(found) or 'none'}")
    taken = found[function].args
    names = [argument.arg for argument in (*taken.posonlyargs, *taken.args)]
    if not names:
        raise BadArtifact(f"{file}:{function} takes no argument", remedy="it must take `row` (a dict) or `rows`")
    return names[0] == "rows"


def zipped(files: dict[str, bytes]) -> bytes:
    """Files by their names as a zip archive whose bytes depend on nothing but them."""
    # Stored, not compressed: the bytes must not depend on the zlib of the machine.
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in sorted(files.items()):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.external_attr = 0o644 << 16
            info.create_system = 3
            archive.writestr(info, data)
    return buffer.getvalue()
