"""What plain requests ask: bodies decoded by a type that is made from a model's signature.

What comes out fits the signature. Whatever else a body says, or whatever is wrong with it, is no plain question: then
the answer is None, and the ordinary road looks at it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, NotRequired, Protocol, TypedDict, cast

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, defstruct

from modelkeep.edge import tensors
from modelkeep.edge.tensors import Infer
from modelkeep.errors import BadInput
from modelkeep.nouns import Field, Signature, Value
from modelkeep.nouns.blocks import Row, Rows
from modelkeep.operations.predictions import MOST_ROWS, Key
from modelkeep.serving.routes import fitting

_QUICK = 2**62
WRONG = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_KINDS: dict[str, Any] = {"category": str, "text": str, "boolean": bool}
_infer = msgspec.json.Decoder(Infer).decode


class Single(Struct, kw_only=True):
    """One row by itself, as its body says it."""

    features: Any
    key: str = ""


class Question(Struct, eq=False):
    """Rows with their keys; ``infer`` is the request in tensors that they came in."""

    rows: Rows
    keys: list[str]
    infer: Infer | None = None


class Reader(Protocol):
    """Reads the bodies of one route for one signature."""

    def __call__(self, body: bytes, parted: int = -1, /) -> Question | Single | None:
        """What a body asks, when it is plain; ``parted`` is the length of its JSON where bytes follow (-1: none do)."""


def predictions(signature: Signature) -> Reader:
    """Reads bodies of ``/predict``: one row with perhaps a key, or several."""
    decode: Callable[[bytes], Any] = msgspec.json.Decoder(body_of(signature)).decode
    packed = _packs(signature)
    width, colons = len(signature.inputs), sum(field.name.count(":") for field in signature.inputs)

    def read(body: bytes, _: int = -1) -> Question | Single | None:
        try:
            asked = decode(body)
        except WRONG:
            return None
        features, key = asked.features, asked.key
        if features is UNSET or asked.rows is not UNSET:
            if asked.rows is UNSET or features is not UNSET:
                return None
            return _packed(body, asked, width=width, colons=colons) if packed else _several(body, asked)
        if packed:
            more, said = body.count(b":") - width - 1 - (key != ""), colons
        else:
            more, said = body.count(b":") - len(features) - 1 - (key != ""), _colons(features)
        if more and (b"\\" in body or more != said + key.count(":")):
            return None  # a name too many, unknown or written twice
        found: Single = asked
        return found

    return read


def inferences(signature: Signature) -> Reader:
    """Reads bodies of ``/infer``: JSON, perhaps with the bytes of tensors behind it."""
    fits = fitting(signature)

    def read(body: bytes, parted: int = -1) -> Question | None:
        binary = b""
        if parted >= 0:
            body, binary = body[:parted], body[parted:]
        try:
            asked = _infer(body)
            if asked.parameters.keys() & {"subject", "for"}:
                return None
            rows, keys = tensors.rows_of(asked, signature, binary=binary)
        except (*WRONG, BadInput):
            return None
        return Question(rows, keys, asked) if all(map(fits, rows)) else None

    return read


def body_of(signature: Signature) -> type[Struct]:
    """What a plain body looks like for a signature: a type that lets through only what fits it.

    Values keep the type that they were written in (``1`` stays a whole number). Names that the signature lacks are
    passed over; whoever decodes must count.
    """
    features = _row(signature) if _packs(signature) else _dictionary(signature)
    row = defstruct(
        "Row", [("features", features), ("key", Key, "")], forbid_unknown_fields=True, kw_only=True, gc=False
    )
    rows = Annotated[list[row], Meta(min_length=1, max_length=MOST_ROWS)] | UnsetType  # type: ignore[valid-type]
    return defstruct(
        "Body",
        [("features", features | UnsetType, UNSET), ("key", Key, ""), ("rows", rows, UNSET)],
        bases=(Single,),
        forbid_unknown_fields=True,
        kw_only=True,
        gc=False,
    )


def _packs(signature: Signature) -> bool:
    """Whether all is said of a row by numbers in the order of the signature."""
    return all(field.numeric and not field.nullable for field in signature.inputs)


def _row(signature: Signature) -> Any:
    names = {f"c{place}": field.name for place, field in enumerate(signature.inputs)}
    fields = [(name, _value(field)) for name, field in zip(names, signature.inputs, strict=True)]
    return defstruct("Features", fields, bases=(Row,), rename=names, gc=False)


def _dictionary(signature: Signature) -> Any:
    inputs = {field.name: _value(field) for field in signature.inputs}
    return cast("Any", TypedDict)("Features", inputs)


def _packed(body: bytes, asked: Any, *, width: int, colons: int) -> Question | None:
    """``_several`` of rows that name every input and nothing else; ``colons`` stand in the names of them."""
    rows = [row.features for row in asked.rows]
    keys = [row.key for row in asked.rows]
    unkeyed, n = keys.count(""), len(rows)
    more = body.count(b":") - (width + 2) * n + unkeyed - 1 - (asked.key != "")
    if more:
        said = colons * n + sum(key.count(":") for key in keys) + asked.key.count(":")
        if b"\\" in body or more != said:
            return None
    if unkeyed and asked.key:
        keys = [key or asked.key for key in keys]
    return Question(rows, keys)


def _several(body: bytes, asked: Any) -> Question | None:
    rows = [row.features for row in asked.rows]
    keys = [row.key for row in asked.rows]
    unkeyed = keys.count("")
    known = sum(map(len, rows)) + 2 * len(rows) - unkeyed + 1 + (asked.key != "")
    more = body.count(b":") - known
    if more:
        colons = sum(_colons(row.features) + row.key.count(":") for row in asked.rows) + asked.key.count(":")
        if b"\\" in body or more != colons:
            return None
    if unkeyed and asked.key:
        keys = [key or asked.key for key in keys]
    return Question(rows, keys)


def _value(field: Field) -> Any:
    kind = _KINDS.get(field.kind)
    if kind is None:
        low = -_QUICK if field.low is None else max(field.low, -_QUICK)
        high = _QUICK if field.high is None else min(field.high, _QUICK)
        kind = Annotated[int, Meta(ge=math.ceil(low), le=math.floor(high))]
        if field.kind == "number":
            kind = kind | Annotated[float, Meta(ge=float(low), le=float(high))]
    return NotRequired[kind | None] if field.nullable else kind


def _colons(features: dict[str, Value]) -> int:
    """How many colons stand in what features say, not in how they say it."""
    names = sum(name.count(":") for name in features)
    return names + sum(value.count(":") for value in features.values() if isinstance(value, str))
