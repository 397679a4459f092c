"""A model as data: how a row becomes numbers, what is added up, and how the sum is read. Kept as a file beside it."""

from __future__ import annotations

import zlib
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np
from msgspec import Struct

from modelkeep.errors import BadArtifact
from modelkeep.nouns import Output
from modelkeep.runtimes.runners.forest import Floats, Forest

Step: TypeAlias = tuple[Literal["-", "/", "*", "+"], float]
Head: TypeAlias = Literal["identity", "log", "logit", "logit2", "softmax", "shares"]
_MAGIC = b"modelkeep plan 1\n"


class Column(Struct, frozen=True, kw_only=True):
    """One number that the model takes, made of the source at place ``source``.

    In this order: a missing value becomes ``fill``; with ``gap`` the number is 1 where the source is missing, else 0;
    with ``equals`` it is 1 where the source is that, else 0; with ``table`` the source is a place in it (another one,
    or a missing one, is ``unseen``); then ``steps`` are applied one after the other.
    """

    source: int
    fill: float | None = None
    gap: bool = False
    equals: float | None = None
    table: tuple[float, ...] = ()
    unseen: float | None = None
    steps: tuple[Step, ...] = ()


class Line(Struct, frozen=True, kw_only=True):
    """Straight lines: ``weights`` of shape (columns, outputs), and where they begin (outputs)."""

    weights: np.ndarray
    begin: np.ndarray


class Share(Struct, frozen=True, kw_only=True):
    """A member of an ensemble: what answers one number a row, and whether that is to be carried into link space.

    Without a ``plan`` the member is answered from its own bytes: ``data`` where they are few, else its artifact's.
    """

    name: str
    plan: Plan | None = None
    carried: bool = False
    data: bytes = b""


class Plan(Struct, frozen=True, kw_only=True):
    """What answers a row.

    ``sources`` are the inputs by name, in order; ``codes`` the values of those that are categories; ``strict`` are the
    places of sources whose unseen values are an error, ``full`` of those that must not be missing. ``columns`` are the
    numbers that ``line`` or ``forest`` takes (empty: the sources themselves). ``head`` turns sums into answers:
    ``logit`` and ``logit2`` (of half the log-odds) into the chance of the second of two ``labels``, ``softmax`` into
    the chances of all, ``shares`` are chances already; ``labels`` are empty for numbers. ``unexplained`` says why
    nobody can tell what the inputs contribute, empty when the library can. An ensemble has ``members`` in place of
    line or forest, and ``whole`` says how they answer as one (its file's own JSON).
    """

    sources: tuple[str, ...]
    head: Head
    codes: dict[str, dict[str, float]] = {}
    strict: tuple[int, ...] = ()
    full: tuple[int, ...] = ()
    columns: tuple[Column, ...] = ()
    line: Line | None = None
    forest: Forest | None = None
    labels: tuple[Output, ...] = ()
    unexplained: str = ""
    members: tuple[Share, ...] = ()
    whole: bytes = b""


def encode(plan: Plan) -> bytes:
    """A plan as the bytes of a file; the same plan always gives the same bytes."""
    packed = msgspec.msgpack.Encoder(enc_hook=_packed, order="deterministic").encode(plan)
    return _MAGIC + zlib.compress(packed, level=3)


def decode(data: bytes) -> Plan:
    """The plan of a file whose digest was verified. Raises BadArtifact when it is none."""
    if not data.startswith(_MAGIC):
        raise BadArtifact("the file holds no plan of a runner: it does not begin as one does")
    try:
        return msgspec.msgpack.Decoder(Plan, dec_hook=_unpacked).decode(zlib.decompress(data[len(_MAGIC) :]))
    except (ValueError, TypeError, zlib.error, msgspec.DecodeError) as error:
        raise BadArtifact(f"the plan of a runner is broken: {error}") from error


def _packed(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, np.ascontiguousarray(value).tobytes())
    return value.item()


def _unpacked(kind: type, value: Any) -> Any:
    del kind
    name, shape, data = value
    return np.frombuffer(data, dtype=name).reshape(shape).copy()


def made(columns: tuple[Column, ...], table: Floats) -> Floats:
    """The numbers that a model takes, of shape (rows, columns)."""
    found = np.empty((len(table), len(columns)))
    for place, column in enumerate(columns):
        found[:, place] = _made(column, table[:, column.source])
    return found


def _made(column: Column, values: Floats) -> Floats:
    found = values
    if column.fill is not None:
        found = np.where(np.isnan(found), column.fill, found)
    if column.gap:
        found = np.isnan(found).astype(np.float64)
    elif column.equals is not None:
        found = (found == column.equals).astype(np.float64)
    elif column.table:
        known = (found >= 0) & (found < len(column.table)) & (found == np.floor(found))
        places = np.where(known, found, 0).astype(np.intp)
        found = np.where(known, np.array(column.table)[places], np.nan if column.unseen is None else column.unseen)
    for sign, number in column.steps:
        if sign == "-":
            found = found - number
        elif sign == "/":
            found = found / number
        elif sign == "*":
            found = found * number
        else:
            found = found + number
    return found
