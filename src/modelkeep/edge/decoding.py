"""From bytes to a request struct, and from a decoder's complaint to the field that is wrong."""

from __future__ import annotations

import json
import math
import re
import types
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Struct

from modelkeep.edge.refusals import Turned
from modelkeep.errors import BadInput, Problem
from modelkeep.nouns import Signature

T = TypeVar("T", bound=Struct)

_COMPLAINT = re.compile(r"^(?P<what>.*?)(?: - at `(?P<place>[^`]*)`)?$", re.DOTALL)
_WANTED = re.compile(r"^Expected (?P<expected>.*?)(?:, got (?P<got>.*))?$", re.DOTALL)
_NAMED = re.compile(r"`(?P<name>[^`]*)`")


def problem(complaint: msgspec.ValidationError) -> Problem:
    """The field, what it takes and what it got, out of msgspec's sentence."""
    match = _COMPLAINT.match(str(complaint))
    what, place = (match["what"], match["place"] or "$") if match else (str(complaint), "$")
    where = place.removeprefix("$").removeprefix(".")
    wanted = _WANTED.match(what)
    if wanted:
        return Problem(
            field=where or "body",
            expected=wanted["expected"].replace("`", ""),
            got=(wanted["got"] or "another").replace("`", ""),
        )
    named = _NAMED.search(what)
    name = ".".join(part for part in (where, named["name"] if named else "") if part)
    if "unknown field" in what:
        return Problem(field=name, expected="no such field", got="a value")
    return Problem(field=name or "body", expected="a value", got="nothing" if "missing" in what else what)


def refused(complaint: msgspec.ValidationError) -> BadInput:
    """The refusal that names the field."""
    found = problem(complaint)
    return BadInput(str(found), problems=(found,))


def unreadable(cause: Exception) -> Turned:
    """The refusal of a body that is not JSON."""
    return Turned(
        400, code="unreadable", message=f"the body is not JSON: {cause}", remedy="send a JSON object in UTF-8"
    )


def loads(body: bytes) -> Any:
    """JSON as plain values. Raises Turned; nesting too deep for the parser is unreadable too."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
        raise unreadable(cause) from None


def loads_loosely(body: bytes) -> Any:
    """The same, also reading NaN and Infinity, which JSON lacks and Python writes, so that their field can be named."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as cause:
        raise unreadable(cause) from None


def endless(value: Any, place: str = "") -> list[Problem]:
    """Where in plain values a NaN or an infinity stands (the first 100 places)."""
    parts: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        parts = [(f"{place}.{name}" if place else str(name), part) for name, part in value.items()]
    elif isinstance(value, list):
        parts = [(f"{place}[{number}]", part) for number, part in enumerate(value)]
    elif isinstance(value, float) and not math.isfinite(value):
        return [Problem(field=place or "body", expected="a finite number", got=str(value))]
    return [problem for name, part in parts for problem in endless(part, name)][:100]


def once(body: bytes) -> None:
    """Raise BadInput when an object of a body names a field twice: which of the two was meant is not ours to guess."""
    try:
        json.loads(body, object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as cause:
        raise unreadable(cause) from None


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise BadInput.of(name, expected="one value", got="several")
            seen.add(name)
    return found


def build(kind: type[T], values: Mapping[str, Any], *, strict: bool = True) -> T:
    """A request from plain values. Raises BadInput naming the field, with the nearest name for an unknown one."""
    known = [f.encode_name for f in msgspec.structs.fields(kind)]
    unknown = [name for name in values if name not in known]
    if unknown:
        near = get_close_matches(unknown[0], known, n=1)
        problems = [Problem(field=name, expected="no such field", got=_shown(values[name])) for name in unknown[:100]]
        remedy = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known) or 'none'}"
        raise BadInput(str(problems[0]), problems=problems, remedy=remedy)
    try:
        return msgspec.convert(values, type=kind, strict=strict)
    except msgspec.ValidationError as complaint:
        raise refused(complaint) from None


def spread(kind: type[Struct], texts: Mapping[str, Any]) -> dict[str, Any]:
    """Texts of a query or a form, with those for a field of several parts taken apart: JSON, or a list with commas.

    >>> class Asked(Struct):
    ...     names: tuple[str, ...]
    >>> spread(Asked, {"names": "a,b"}), spread(Asked, {"names": '["a"]'})
    ({'names': ['a', 'b']}, {'names': ['a']})

    Raises BadInput for JSON that cannot be read.
    """
    found = dict(texts)
    for field in msgspec.structs.fields(kind):
        text = found.get(field.encode_name)
        several, parts = _made_of(field.type)
        if not isinstance(text, str) or not (several or parts):
            continue
        if text[:1] in "[{":
            try:
                found[field.encode_name] = msgspec.json.decode(text)
            except msgspec.DecodeError as cause:
                raise BadInput.of(field.encode_name, expected="JSON", got=str(cause)) from None
        elif several:
            found[field.encode_name] = [part.strip() for part in text.split(",")]
    return found


def _made_of(kind: Any) -> tuple[bool, bool]:
    """Whether a value of this type is a list, and whether it is an object."""
    origin, options = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _made_of(options[0])
    if origin in {Union, types.UnionType}:
        found = [_made_of(option) for option in options]
        return any(several for several, _ in found), any(parts for _, parts in found)
    bare = origin or kind
    return bare in {tuple, list, set, frozenset}, bare is dict or (isinstance(bare, type) and issubclass(bare, Struct))


def misfits(rows: list[Any], signature: Signature | None) -> list[Problem]:
    """The feature values that no model takes (objects, lists, NaN), named one by one."""
    known = {} if signature is None else {f.name: f.expected() for f in signature.inputs}
    found = []
    for place, features in enumerate(rows):
        row = None if len(rows) == 1 else place
        if not isinstance(features, dict):
            found.append(
                Problem(field="features", expected="an object of inputs by name", got=_shown(features), row=row)
            )
            continue
        found += [
            Problem(field=name, expected=known.get(name, "number, text, boolean or null"), got=_shown(value), row=row)
            for name, value in features.items()
            if isinstance(value, dict | list) or (isinstance(value, float) and not math.isfinite(value))
        ]
    return found[:100]


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    return repr(value)[:80]
