"""How a record becomes a row and back: ids, values, and what is packed beside the columns."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import msgspec
from msgspec import Struct
from sqlalchemy import ColumnElement, Select, select

from modelkeep.errors import BadInput
from modelkeep.given import GIVEN
from modelkeep.nouns import Block, Match, Output, Prediction, Role, Value
from modelkeep.store.tables import matches, predictions

_LARGEST = 2**63 - 1
_LONGEST, _SHORT = 39, 19


class _Rest(Struct, frozen=True, kw_only=True, array_like=True):
    """What of a prediction is never searched for."""

    features: dict[str, Value]
    seconds: float
    subject: str | None
    score: float | None
    interval: tuple[float, float] | None
    error: str | None
    stand_in: int | None
    request: str
    given: str = ""
    flag: str = ""


class Asked(NamedTuple):
    """What joining needs of a prediction: the first columns of its row."""

    writer: int
    seq: int
    of_writer: int | None
    of_seq: int | None
    model: str
    version: int
    role: str
    key: str
    at: float
    target: float
    output: str
    refs: bytes | None

    @property
    def id(self) -> tuple[int, int]:
        """The two integers of its id."""
        return self.writer, self.seq

    @property
    def of(self) -> tuple[int, int] | None:
        """The two integers of the id of the prediction that it shadows."""
        return None if self.of_writer is None or self.of_seq is None else (self.of_writer, self.of_seq)


ASKED: list[ColumnElement[Any]] = [predictions.c[name] for name in Asked._fields]
PREDICTIONS: Select[Any] = select(*ASKED, predictions.c.body, predictions.c.number, predictions.c.subject)
"""The columns that ``prediction`` reads."""
MATCHES: Select[Any] = select(*matches.columns)
"""The columns that ``match`` reads."""


def _plain(value: Any) -> Any:
    """A NumPy scalar as Python's own number, for callers in the same process."""
    if hasattr(value, "item"):
        return value.item()
    raise NotImplementedError(type(value))


_json = msgspec.json.Encoder(enc_hook=_plain)
_msgpack = msgspec.msgpack.Encoder(enc_hook=_plain)
_rest = msgspec.msgpack.Decoder(_Rest)
NOTHING = _msgpack.encode(
    _Rest(
        features={},
        seconds=float("nan"),
        subject=None,
        score=None,
        interval=None,
        error=None,
        stand_in=None,
        request="",
    )
)
"""A body that says nothing: what is left where the key of a sealed one is destroyed."""
_value = msgspec.json.Decoder(Output | None)
_values = msgspec.json.Decoder(list[Output])
_refs = msgspec.msgpack.Decoder(tuple[Output | None, ...])
_all_refs = msgspec.msgpack.Decoder(list[tuple[Output | None, ...]])
UNKNOWN = "null"
"""What ``value_text`` says of an answer or a truth that there is not."""


def ids(text: str) -> tuple[int, int] | None:
    """The two integers of ``writer-seq``, or None when it is no such id.

    >>> ids("12-345"), ids("x")
    ((12, 345), None)
    """
    first, _, second = text.partition("-")
    if not (text.isascii() and first.isdecimal() and second.isdecimal() and len(text) <= _LONGEST):
        return None
    writer, seq = int(first), int(second)
    return (writer, seq) if writer <= _LARGEST and seq <= _LARGEST else None


def known_ids(text: str, *, field: str) -> tuple[int, int]:
    """The two integers of ``writer-seq``. Raises BadInput naming ``field``."""
    found = ids(text)
    if found is None:
        raise BadInput.of(field, expected="a prediction id such as 12-345", got=repr(text[:80]))
    return found


def name(writer: int, seq: int) -> str:
    """The id that ``ids`` takes apart."""
    return f"{writer}-{seq}"


def apart_given(pairs: Collection[tuple[int, int]]) -> tuple[Collection[tuple[int, int]], list[tuple[int, int]]]:
    """The ids that were counted here, which lie close together, and those that were given, which lie anywhere."""
    if not pairs or max(pairs)[0] < GIVEN:  # as nearly always: one look, and nothing is copied
        return pairs, []
    return [pair for pair in pairs if pair[0] < GIVEN], [pair for pair in pairs if pair[0] >= GIVEN]


def spans(pairs: Iterable[tuple[int, int]]) -> dict[int, tuple[int, int]]:
    """The lowest and highest seq of each writer.

    >>> spans([(2, 7), (1, 3), (2, 5)])
    {1: (3, 3), 2: (5, 7)}
    """
    some = pairs if isinstance(pairs, Collection) else list(pairs)
    if not some:
        return {}
    low, high = min(some), max(some)
    if low[0] == high[0]:  # one writer, as in nearly every group: nothing to be told apart
        return {low[0]: (low[1], high[1])}
    found: dict[int, list[int]] = {}
    for writer, seq in sorted(some):
        found.setdefault(writer, []).append(seq)
    return {writer: (numbers[0], numbers[-1]) for writer, numbers in found.items()}


def value_text(value: Output | None) -> str:
    """An output or an outcome as JSON: its type comes back."""
    return _json.encode(value).decode()


def value_of(text: str) -> Output | None:
    """The inverse of ``value_text``."""
    return cast("Output | None", _value.decode(text))


def values_of(texts: Sequence[str]) -> list[Output]:
    """``value_of`` of many that are known, in a tenth of the time."""
    return _values.decode(f"[{','.join(texts)}]")


def pack_refs(references: Sequence[Output | None]) -> bytes | None:
    """The automatic baselines' answers, numbers or classes, as MessagePack (None where unknown)."""
    return _msgpack.encode(references) if references else None


def unpack_refs(refs: bytes | None) -> tuple[Output | None, ...]:
    """The inverse of ``pack_refs``."""
    return _refs.decode(refs) if refs else ()


def all_refs(many: Sequence[bytes]) -> list[tuple[Output | None, ...]]:
    """``unpack_refs`` of many: put behind each other they are one list, but for its head."""
    return _all_refs.decode(b"\xdd" + len(many).to_bytes(4) + b"".join(many))


def prediction_row(p: Prediction, *, hidden: bool = False) -> tuple[Any, ...]:
    """The row of a prediction: every column of ``tables.predictions`` but its number.

    ``hidden`` puts the person into the body, which is going to be sealed, and leaves the column empty.
    """
    of = known_ids(p.of, field="of") if p.of is not None else (None, None)
    # what ``_Rest`` is packed as, in its order: making one of them first would take as long as packing it
    rest = (
        p.features,
        p.seconds,
        p.subject if hidden else None,
        p.score,
        p.interval,
        p.error,
        p.stand_in,
        p.request,
        p.given,
        p.flag,
    )
    head = (*known_ids(p.id, field="id"), *of, p.model, p.version, p.role, p.key, p.at, p.target)
    return (*head, value_text(p.output), pack_refs(p.references), _msgpack.encode(rest), None if hidden else p.subject)


def prediction_rows(found: Iterable[Prediction]) -> list[tuple[Any, ...]]:
    """``prediction_row`` of many, in three quarters of the time: ids of one writer are read together."""
    made: list[tuple[Any, ...]] = []
    last: str | None = None
    writer = 0
    json, pack = _json.encode, _msgpack.encode
    for p in found:
        first, _, second = p.id.partition("-")
        if first == last and second.isdecimal() and second.isascii() and len(second) < _SHORT:
            seq = int(second)
        else:
            writer, seq = known_ids(p.id, field="id")
            last = first
        of = known_ids(p.of, field="of") if p.of is not None else (None, None)
        rest = (p.features, p.seconds, None, p.score, p.interval, p.error, p.stand_in, p.request, p.given, p.flag)
        refs = pack(p.references) if p.references else None
        made.append(
            (writer, seq, *of, p.model, p.version, p.role, p.key, p.at, p.target, json(p.output).decode(), refs,
             pack(rest), p.subject)
        )  # fmt: skip
    return made


def block_rows(blocks: Iterable[Block]) -> list[tuple[Any, ...]]:
    """``prediction_row`` of the rows of blocks, in a third of the time: no record is made of each of them first."""
    made: list[tuple[Any, ...]] = []
    json, pack = _json.encode, _msgpack.encode
    packed: dict[tuple[Output | None, ...] | None, bytes | None] = {None: None}
    for block in blocks:
        writer, model, version, role, at, seconds = (
            block.writer, block.model, block.version, block.role, block.at, block.seconds,
        )  # fmt: skip
        nothing = itertools.repeat(None)
        columns = zip(
            block.features,
            block.outputs,
            block.keys,
            block.requests,
            block.scores or nothing,
            block.intervals or nothing,
            block.references or nothing,
            strict=False,  # what is nowhere is repeated without an end
        )
        for seq, (features, output, key, request, score, interval, told) in enumerate(columns, block.first):
            refs = packed.get(told, b"")
            if refs == b"":
                refs = packed[told] = pack_refs(told or ())
            body = pack((features, seconds, None, score, interval, None, None, request, "", ""))
            text = json(output).decode()
            made.append((writer, seq, None, None, model, version, role, key, at, at, text, refs, body, None))
    return made


def prediction(row: Sequence[Any]) -> Prediction:
    """A prediction from its row as ``PREDICTIONS`` reads it."""
    asked = Asked._make(row[: len(ASKED)])
    rest = _rest.decode(row[len(ASKED)])
    return Prediction(
        id=name(asked.writer, asked.seq),
        model=asked.model,
        version=asked.version,
        role=cast("Role", asked.role),
        features=rest.features,
        output=value_of(asked.output),
        at=asked.at,
        target=asked.target,
        seconds=rest.seconds,
        key=asked.key,
        subject=row[len(ASKED) + 2] if rest.subject is None else rest.subject,
        score=rest.score,
        interval=rest.interval,
        error=rest.error,
        stand_in=rest.stand_in,
        of=None if asked.of is None else name(*asked.of),
        request=rest.request,
        given=rest.given,
        flag=rest.flag,
        references=unpack_refs(asked.refs),
    )


def apart(body: bytes) -> dict[str, Any] | None:
    """What is packed in a row's body, as columns of its own; None when only a person's key opens it."""
    try:
        rest = _rest.decode(body)
    except msgspec.MsgspecError:
        return None
    low, high = rest.interval or (None, None)
    features = _json.encode(rest.features).decode()
    return {**msgspec.structs.asdict(rest), "features": features, "low": low, "high": high}


def all_apart(bodies: Sequence[bytes]) -> dict[str, list[Any]]:
    """``apart`` of many bodies that can be read, as columns: nothing is made of one row alone."""
    every = list(map(_rest.decode, bodies))
    found = {name: [getattr(rest, name) for rest in every] for name in _Rest.__struct_fields__[1:]}
    encode = _json.encode
    found["features"] = [encode(rest.features).decode() for rest in every]
    ranges = found.pop("interval")
    for place, name in enumerate(("low", "high")):
        found[name] = [None if one is None else one[place] for one in ranges]
    return found


def together(parts: Mapping[str, Any]) -> bytes:
    """The inverse of ``apart``. What an older release did not keep has its default."""
    known = {name: parts[name] for name in _Rest.__struct_fields__ if parts.get(name) is not None}
    known["features"] = msgspec.json.decode(parts["features"] or "{}", type=dict[str, Value])
    known["interval"] = None if parts["low"] is None else (parts["low"], parts["high"])
    for name in ("subject", "score", "error", "stand_in"):
        known[name] = parts.get(name)
    return _msgpack.encode(_Rest(**known))


def match(row: Any) -> Match:
    """A match from its row as ``MATCHES`` reads it."""
    number, *rest = row[:13]
    asked = Asked._make(rest)
    _, value, told, revision = row[13:17]
    return Match(
        number=number,
        prediction=name(asked.writer, asked.seq),
        of=None if asked.of is None else name(*asked.of),
        model=asked.model,
        version=asked.version,
        role=cast("Role", asked.role),
        key=asked.key,
        at=asked.at,
        target=asked.target,
        output=value_of(asked.output),
        value=cast("Output", value_of(value)),
        told=told,
        revision=revision,
        references=unpack_refs(asked.refs),
    )
