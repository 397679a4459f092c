"""The format ``onnx``: a graph that holds data and known operators, answered by ONNX Runtime (the extra ``onnx``).

It takes the inputs as one float matrix in the signature's order, or each by its name; it answers a number a row, or a
class with a matrix of chances. The file's structure is walked before the library sees it, and a graph that refers to
other files is refused.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from modelkeep.errors import BadArtifact
from modelkeep.nouns import Features, Outputs, Signature
from modelkeep.runtimes import matrix
from modelkeep.runtimes.classes import text_of
from modelkeep.runtimes.formats import Inspected, Opened

Floats: TypeAlias = NDArray[np.float64]

_INSIDE: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
"""What messages of each kind hold, by the numbers of their fields (onnx.proto, Apache-2.0)."""
_EXTERNAL, _LOCATION = 13, 14
_DEEPEST = 40
_NEEDS = "pip install modelkeep[onnx]"


def inspect(data: bytes, *, trust: bool) -> Inspected:
    """Walk the whole file: every message must end where it says, and no tensor may lie in another file."""
    del trust  # a graph holds no code
    try:
        _walk(data, kind="model", depth=0)
    except (IndexError, ValueError) as error:
        raise BadArtifact(
            f"not a whole ONNX file: {error}", remedy="copy the file again, or export it again"
        ) from error
    return Inspected(runtime="onnx")


def _walk(data: bytes, *, kind: str, depth: int) -> None:
    if depth > _DEEPEST:
        raise ValueError(f"it is nested more than {_DEEPEST} deep")
    inside = _INSIDE[kind]
    for number, value in _fields(data):
        if kind == "tensor" and (number == _EXTERNAL or (number == _LOCATION and value == 1)):
            raise BadArtifact("the graph's weights lie in another file", remedy="save it as one file")
        below = inside.get(number)
        if below is not None:
            if isinstance(value, int):
                raise ValueError(f"field {number} of a {kind} is a number")
            _walk(value, kind=below, depth=depth + 1)


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """The fields of a message of Protocol Buffers. Raises ValueError or IndexError where it is cut off."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
        elif wire in {1, 2, 5}:
            size = 8 if wire == 1 else 4
            if wire == 2:
                size, at = _varint(data, at)
            if at + size > len(data):
                raise ValueError("a field is longer than the file")
            yield number, data[at : at + size]
            at += size
        else:
            raise ValueError(f"a field has the unknown kind {wire}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("a number is too long")


def open_model(path: Path, signature: Signature, *, coded: bool, runtime: str) -> Opened:
    """Load the graph.

    Raises BadArtifact when ONNX Runtime is missing, or when inputs or outputs do not fit the signature.
    """
    del runtime
    try:
        ort = import_module("onnxruntime")
    except ImportError as error:
        raise BadArtifact(f"ONNX Runtime is not installed: {error}", remedy=_NEEDS) from error
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # a row costs less than waking a thread
    options.log_severity_level = 3
    session = ort.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    named = tuple(one.name for one in session.get_inputs())
    ask, make, table = _asked(session, named, signature=signature, coded=coded)
    read = _read(session, signature)
    reason = "an ONNX graph does not tell what its inputs contribute"
    return Opened(
        answer=lambda rows: read(ask(make(rows))),
        matrix=None if table is None else lambda rows: read(ask(table(rows))),
        unexplained=reason,
    )


def _asked(
    session: Any, named: tuple[str, ...], *, signature: Signature, coded: bool
) -> tuple[Callable[[Any], list[Any]], Callable[[Sequence[Features]], Any], Callable[[Floats], Floats] | None]:
    """What runs the graph, and what turns rows, or a matrix of the signature's inputs, into what it takes."""
    inputs = session.get_inputs()
    if len(inputs) == 1 and named[0] not in {field.name for field in signature.inputs}:
        kind = _kind(inputs[0])
        columns = None if coded else tuple(field.name for field in signature.inputs)
        _check_width(inputs[0], columns)
        make = matrix.numbers(columns, {})
        if any(not field.numeric for field in signature.inputs) and not coded:
            raise BadArtifact("the graph takes one matrix of numbers, and the signature has categories")
        table = None if coded else matrix.reordered(columns, signature)
        name = named[0]
        return lambda found: session.run(None, {name: found.astype(kind)}), make, table
    order = matrix.columns_of(signature, named, coded=coded) or named
    kinds = [_kind(one) for one in inputs]

    def several(rows: Sequence[Features]) -> dict[str, Any]:
        columns = ([row.get(name) for row in rows] for name in order)
        return {name: _column(values, kind) for name, values, kind in zip(named, columns, kinds, strict=True)}

    return lambda found: session.run(None, found), several, None


def _column(values: list[Any], kind: Any) -> NDArray[Any]:
    if kind is object:
        return np.array(["" if value is None else str(value) for value in values], dtype=object).reshape(-1, 1)
    return np.array(values, dtype=np.float64).astype(kind).reshape(-1, 1)


def _kind(found: Any) -> Any:
    known = {
        "tensor(float)": np.float32,
        "tensor(double)": np.float64,
        "tensor(int64)": np.int64,
        "tensor(bool)": np.bool_,
        "tensor(string)": object,
    }
    if found.type not in known:
        raise BadArtifact(f"the graph's input {found.name!r} is a {found.type}, which rows of values cannot fill")
    return known[found.type]


def _check_width(found: Any, columns: tuple[str, ...] | None) -> None:
    width = found.shape[-1] if len(found.shape) == 2 else None
    if columns is not None and isinstance(width, int) and width != len(columns):
        raise BadArtifact(f"the graph takes {width} inputs, the signature names {len(columns)}")


def _read(session: Any, signature: Signature) -> Callable[[list[Any]], Outputs]:
    """What reads the graph's outputs: a number a row, or classes with their chances."""
    outputs = session.get_outputs()
    if any(not one.type.startswith("tensor") for one in outputs):
        raise BadArtifact(
            "the graph answers dictionaries of chances", remedy='export it with options={"zipmap": False}'
        )
    if not signature.classifies:
        return lambda found: Outputs(values=[*np.asarray(found[-1], dtype=np.float64).reshape(-1).tolist()])
    output = signature.output
    if len(outputs) == 1:
        return lambda found: Outputs(values=[text_of(value, output) for value in found[0].reshape(-1).tolist()])

    def classes(found: list[Any]) -> Outputs:
        chosen = [text_of(value, output) for value in found[0].reshape(-1).tolist()]
        chances = np.asarray(found[1], dtype=np.float64)
        if chances.ndim == 1:
            chances = np.column_stack((1.0 - chances, chances))
        return Outputs(values=chosen, scores=np.clip(chances.max(axis=1), 0.0, 1.0).tolist())

    return classes
