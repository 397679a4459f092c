"""Tensors of the Open Inference Protocol: a request's as rows of features, and answers as a response's.

A request brings one tensor for each feature, of shape [rows] or [rows, 1], or a single one of shape [rows, features]
whose columns are the signature's inputs in their order. Data are JSON, flat or nested, or bytes behind the JSON
(the extension for binary tensor data: little-endian, row by row; texts are preceded by their length in 4 bytes).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, Struct, UnsetType

from modelkeep.errors import BadInput
from modelkeep.nouns import Block, Field, Kind, Output, Prediction, Signature, Value

MOST_ROWS = 10_000
NUMBERS = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1", "INT16": "<i2",
    "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
"""The types of numbers as NumPy writes them."""
TYPES: dict[Kind, str] = {
    "number": "FP64", "integer": "INT64", "boolean": "BOOL", "category": "BYTES", "text": "BYTES",
}  # fmt: skip
SCORE, PREDICTION_ID, KEY = "score", "prediction_id", "key"
_LENGTH = struct.Struct("<I")
Parameters = dict[str, bool | int | float | str]


class Tensor(Struct, kw_only=True):
    """A tensor of a request; ``parameters.binary_data_size`` says how many bytes behind the JSON are its data."""

    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters = {}
    data: list[Any] | UnsetType = UNSET


class Wanted(Struct, kw_only=True):
    """An output that the caller asks for; ``parameters.binary_data`` says that it shall come as bytes."""

    name: str
    parameters: Parameters = {}


class Infer(Struct, kw_only=True):
    """A request for inference. Of its ``parameters`` ``key``, ``subject`` and ``for`` are ours."""

    inputs: list[Tensor]
    id: str = ""
    parameters: Parameters = {}
    outputs: list[Wanted] | UnsetType = UNSET


class Described(Struct, frozen=True, kw_only=True):
    """A tensor of a model, in its metadata."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class Given(Struct, frozen=True, kw_only=True):
    """A tensor of a response."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Sequence[Any] | UnsetType = UNSET
    parameters: Parameters | UnsetType = UNSET


class Inferred(Struct, frozen=True, kw_only=True):
    """A response."""

    model_name: str
    model_version: str
    outputs: list[Given]
    id: str | UnsetType = UNSET
    parameters: Parameters | UnsetType = UNSET


def inputs_of(signature: Signature) -> tuple[Described, ...]:
    """What a model takes: one tensor a feature, any number of rows."""
    return tuple(Described(name=f.name, datatype=TYPES[f.kind], shape=(-1,)) for f in signature.inputs)


def outputs_of(signature: Signature) -> tuple[Described, ...]:
    """What a model answers: its output, for a class its score, and the ids under which outcomes are told."""
    out = signature.output
    score = (Described(name=SCORE, datatype="FP64", shape=(-1,)),) if signature.classifies else ()
    ids = Described(name=PREDICTION_ID, datatype="BYTES", shape=(-1,))
    return (Described(name=out.name, datatype=TYPES[out.kind], shape=(-1,)), *score, ids)


# ------------------------------------------------------------------------------------------------- requests


def rows_of(asked: Infer, signature: Signature, *, binary: bytes = b"") -> tuple[list[dict[str, Value]], list[str]]:
    """The rows that a request is about, and the key of each. Raises BadInput naming the tensor.

    Whether the values fit is for the signature to say. NaN in a nullable feature means that it is missing.
    """
    if not asked.inputs:
        raise BadInput.of("inputs", expected="a tensor for each feature, or one of shape [rows, features]", got="none")
    columns = _columns(asked.inputs, signature, binary=binary)
    sizes = {name: len(values) for name, values in columns.items()}
    rows = next(iter(sizes.values()))
    other = next((name for name, size in sizes.items() if size != rows), None)
    if other is not None:
        raise BadInput.of(f"inputs.{other}.shape", expected=f"{rows} rows like the others", got=str(sizes[other]))
    if not 1 <= rows <= MOST_ROWS:
        raise BadInput.of("inputs", expected=f"1 to {MOST_ROWS} rows", got=str(rows))
    keys = [str(asked.parameters.get(KEY, ""))] * rows
    if KEY in columns and all(field.name != KEY for field in signature.inputs):
        keys = [str(value) for value in columns.pop(KEY)]
    names = list(columns)
    return [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)], keys


def _columns(tensors: Sequence[Tensor], signature: Signature, *, binary: bytes) -> dict[str, list[Value]]:
    known, place, found = {field.name: field for field in signature.inputs}, 0, {}
    for tensor in tensors:
        size = tensor.parameters.get("binary_data_size")
        if size is None:
            values = _flat(tensor)
        else:
            if not isinstance(size, int) or not 0 <= size <= len(binary) - place:
                raise _bad(tensor, "parameters.binary_data_size", "the bytes that are there", repr(size))
            values = _unpacked(tensor, binary[place : place + size])
            place += size
        wide = len(tensor.shape) == 2 and tensor.shape[1] != 1
        if not wide and not (len(tensors) == 1 and len(known) == 1):
            found[tensor.name] = _plain(values, known.get(tensor.name))
            continue
        if len(tensors) > 1 or (wide and tensor.shape[1] != len(known)):
            raise _bad(tensor, "shape", f"[rows], or alone [rows, {len(known)}]", str(tensor.shape))
        for column, field in enumerate(signature.inputs):
            found[field.name] = _plain(values[column :: len(known)], field)
    if place < len(binary):
        raise BadInput.of("inputs", expected=f"{place} bytes of binary data", got=str(len(binary)))
    return found


def _plain(values: list[Value], field: Field | None) -> list[Value]:
    if field is None or not field.nullable:
        return values
    return [None if isinstance(value, float) and math.isnan(value) else value for value in values]


def _count(tensor: Tensor) -> int:
    if not 1 <= len(tensor.shape) <= 2 or min(tensor.shape) < 0:
        raise _bad(tensor, "shape", "[rows] or [rows, features]", str(tensor.shape)[:80])
    return math.prod(tensor.shape)


def _flat(tensor: Tensor) -> list[Value]:
    """The values of a tensor whose data are JSON."""
    if tensor.data is UNSET:
        raise _bad(tensor, "data", "a list", "nothing")
    values = tensor.data
    if values and isinstance(values[0], list):
        if not all(isinstance(row, list) for row in values):
            raise _bad(tensor, "data", "lists of one length", "lists and values")
        values = [value for row in values for value in row]
    if len(values) != _count(tensor):
        raise _bad(tensor, "data", f"{_count(tensor)} values for its shape {tensor.shape}", str(len(values)))
    if tensor.datatype != "BYTES" and tensor.datatype not in NUMBERS:
        raise _bad(tensor, "datatype", f"BYTES or one of {', '.join(NUMBERS)}", repr(tensor.datatype))
    if any(isinstance(value, list | dict) for value in values):
        raise _bad(tensor, "data", "numbers, texts, booleans or null", "an object or a deeper list")
    return values


def _unpacked(tensor: Tensor, data: bytes) -> list[Value]:
    """The values of a tensor whose data are bytes."""
    if tensor.datatype == "BYTES":
        return list(_texts(tensor, data))
    kind = NUMBERS.get(tensor.datatype)
    if kind is None:
        raise _bad(tensor, "datatype", f"BYTES or one of {', '.join(NUMBERS)}", repr(tensor.datatype))
    wanted = _count(tensor) * np.dtype(kind).itemsize
    if len(data) != wanted:
        raise _bad(tensor, "parameters.binary_data_size", f"{wanted} for its shape {tensor.shape}", str(len(data)))
    values: list[Value] = np.frombuffer(data, dtype=kind).tolist()
    return values


def _texts(tensor: Tensor, data: bytes) -> list[str]:
    found, place = [], 0
    while place < len(data):
        size = _LENGTH.unpack_from(data, place)[0] if place + 4 <= len(data) else len(data)
        text = data[place + 4 : place + 4 + size]
        place += 4 + size
        if place > len(data):
            raise _bad(tensor, "data", "texts preceded by their length", "a length that is too large")
        try:
            found.append(text.decode())
        except UnicodeDecodeError:
            raise _bad(tensor, "data", "texts in UTF-8", repr(text[:40])) from None
    if len(found) != _count(tensor):
        raise _bad(tensor, "data", f"{_count(tensor)} texts for its shape {tensor.shape}", str(len(found)))
    return found


def _bad(tensor: Tensor, part: str, expected: str, got: str) -> BadInput:  # noqa: PLR0917 - read as a sentence
    return BadInput.of(f"inputs.{tensor.name}.{part}", expected=expected, got=got)


# ------------------------------------------------------------------------------------------------- responses


class Columns(Struct, frozen=True, kw_only=True):
    """Answers, column by column."""

    model: str
    versions: tuple[int, ...]
    outputs: Sequence[Output | None]
    ids: list[str]
    scores: Sequence[float | None] | None = None

    @property
    def version(self) -> str:
        """The version that answered; several with commas between."""
        return ",".join(map(str, self.versions))

    @classmethod
    def of(cls, block: Block, *, start: int, end: int) -> Columns:
        """Those of some rows of a block."""
        return cls(
            model=block.model,
            versions=(block.version,),
            outputs=block.outputs[start:end],
            ids=[f"{block.writer}-{seq}" for seq in range(block.first + start, block.first + end)],
            scores=None if block.scores is None else block.scores[start:end],
        )

    @classmethod
    def told(cls, predictions: Sequence[Prediction]) -> Columns:
        """Those of some predictions."""
        scores = [p.score for p in predictions]
        return cls(
            model=predictions[0].model,
            versions=tuple(sorted({p.version for p in predictions})),
            outputs=[p.output for p in predictions],
            ids=[p.id for p in predictions],
            scores=None if all(score is None for score in scores) else scores,
        )


class Chosen(Struct, frozen=True, kw_only=True):
    """An output that goes into a response: its values, and whether they were asked for as bytes (None: not said)."""

    name: str
    kind: str
    values: Sequence[Any]
    binary: bool | None

    @property
    def shape(self) -> tuple[int, ...]:
        """One value a row."""
        return (len(self.values),)


def chosen(asked: Infer, found: Columns, *, signature: Signature) -> list[Chosen]:
    """The outputs that were asked for, else all. Raises BadInput for one that there is not."""
    columns: dict[str, tuple[str, Sequence[Any]]] = {
        signature.output.name: (TYPES[signature.output.kind], found.outputs)
    }
    if found.scores is not None:
        columns.setdefault(SCORE, ("FP64", found.scores))
    columns.setdefault(PREDICTION_ID, ("BYTES", found.ids))
    said = asked.parameters.get("binary_data_output")
    everything = None if said is None else bool(said)
    outputs = []
    for one in [Wanted(name=name) for name in columns] if asked.outputs is UNSET else asked.outputs:
        if one.name not in columns:
            raise BadInput.of("outputs", expected=f"some of {', '.join(columns)}", got=repr(one.name)[:80])
        kind, values = columns[one.name]
        own = one.parameters.get("binary_data")
        outputs.append(Chosen(name=one.name, kind=kind, values=values, binary=everything if own is None else bool(own)))
    return outputs


def response(asked: Infer, found: Columns, *, signature: Signature, parameters: Parameters) -> tuple[bytes, int]:
    """The body of a response, and the length of its JSON where bytes follow (0 where none do). Raises BadInput."""
    outputs, behind = [], []
    for one in chosen(asked, found, signature=signature):
        if one.binary:
            data = packed(one.kind, one.values)
            behind.append(data)
            more: Parameters = {"binary_data_size": len(data)}
            outputs.append(Given(name=one.name, datatype=one.kind, shape=one.shape, parameters=more))
        else:
            outputs.append(Given(name=one.name, datatype=one.kind, shape=one.shape, data=one.values))
    content = msgspec.json.encode(
        Inferred(
            model_name=found.model,
            model_version=found.version,
            outputs=outputs,
            id=asked.id or UNSET,
            parameters=parameters or UNSET,
        )
    )
    return content + b"".join(behind), len(content) if behind else 0


def packed(kind: str, values: Sequence[Any]) -> bytes:
    """Values as bytes.

    >>> packed("BYTES", ["ab"]).hex(), packed("INT64", [1]).hex()
    ('020000006162', '0100000000000000')
    """
    if kind == "BYTES":
        texts = [str(value).encode() for value in values]
        return b"".join(_LENGTH.pack(len(text)) + text for text in texts)
    filled = [math.nan if value is None else value for value in values] if kind == "FP64" else values
    return np.array(filled, dtype=NUMBERS[kind]).tobytes()
