"""The format ``python``: a plain callable, packed from ``file.py:function`` (default ``predict``).

The callable takes a row (a dict), or a list of rows when its first parameter is named ``rows``, and returns a value
each: a number, a class, or a pair of a class and its probability. It is code, so it needs explicit trust.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modelkeep.errors import BadArtifact
from modelkeep.nouns import Features, Outputs, Signature
from modelkeep.runtimes import packing
from modelkeep.runtimes.classes import text_of
from modelkeep.runtimes.formats import Inspected, Opened


def inspect(data: bytes, *, trust: bool) -> Inspected:
    """Check the packed source; it is compiled, not run. Raises BadArtifact."""
    packed = packing.manifest(data)
    if not trust:
        raise BadArtifact(
            f"{packed.file}:{packed.function} is Python code, and code runs with the server's rights",
            remedy="read it, then register it with explicit trust",
        )
    return Inspected(runtime="python")


def open_model(path: Path, signature: Signature, *, coded: bool, runtime: str) -> Opened:
    """Run the packed module and return what its function answers."""
    del coded, runtime  # a callable takes rows as they come
    packed, function = packing.function_of(path.read_bytes())
    output = signature.output

    def answer(rows: Sequence[Features]) -> Outputs:
        found: list[Any] = list(function(list(rows)) if packed.batch else map(function, rows))
        scores = None
        if found and all(isinstance(value, tuple) and len(value) == 2 for value in found):
            scores = [float(score) for _, score in found]
            found = [value for value, _ in found]
        values = [text_of(value, output) for value in found] if signature.classifies else [_plain(v) for v in found]
        return Outputs(values=values, scores=scores)

    return Opened(answer=answer, unexplained="a Python function does not tell what its inputs contribute")


def _plain(value: Any) -> Any:
    # NumPy's scalars become Python's; whatever else it is stays, and is refused by the check of the outputs.
    return value.item() if hasattr(value, "item") and getattr(value, "size", 1) == 1 else value
