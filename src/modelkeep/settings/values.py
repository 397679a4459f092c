"""One value of the configuration: how it is written, its type and its range."""

import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin
from urllib.parse import urlsplit

from msgspec import Meta, Struct, ValidationError, convert

from modelkeep.errors import BadInput, BadSettings
from modelkeep.quantities import seconds, share
from modelkeep.settings.secrets import Secret

_SCHEMES = frozenset({"http", "https", "redis", "rediss", "postgresql", "postgres"})
_SIZES = {"": 1, "B": 1, "KB": 1024, "MB": 1024**2, "GB": 1024**3}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|KB|MB|GB)?", re.IGNORECASE)


class Given(Struct, frozen=True, kw_only=True):
    """A value as somebody wrote it, where, and whether it is plain text (environment, flags) to be read as its type.

    ``base`` is the folder that relative paths are relative to.
    """

    value: Any
    source: str
    text: bool = False
    base: Path | None = None


def bare(kind: Any) -> Any:
    """The type under its annotations and without ``None``: ``Secret`` for ``Address | None``."""
    if get_origin(kind) is Annotated:
        return bare(get_args(kind)[0])
    options = [option for option in get_args(kind) if option is not type(None)] if _optional(kind) else []
    return bare(options[0]) if len(options) == 1 else kind


def written(kind: Any) -> str:
    """How a value is written beyond its type: ``duration``, ``share``, ``size``, ``address``, or ``""``."""
    if get_origin(kind) is Annotated:
        extra = [m.extra["written"] for m in get_args(kind)[1:] if isinstance(m, Meta) and m.extra]
        return str(extra[0]) if extra else written(get_args(kind)[0])
    return next(filter(None, map(written, get_args(kind))), "") if _optional(kind) else ""


def value(kind: Any, given: Given, *, key: str) -> Any:
    """The checked value of ``key``. Raises BadSettings naming key, value, source and what is expected."""
    secret = bare(kind) is Secret
    try:
        if secret:
            return _secret(given, key=key, address=written(kind) == "address")
        return convert(_read(kind, given), kind, strict=not given.text)
    except ValidationError as wrong:
        options = f" (one of {', '.join(map(str, get_args(kind)))})" if get_origin(kind) is Literal else ""
        reason = str(wrong).replace("`", "").replace("Expected", "expected").replace("Invalid", "invalid") + options
    except BadInput as wrong:
        problem = wrong.problems[0]
        reason = f"expected {problem.expected}"
    shown = "a secret written out" if secret else repr(given.value)
    raise BadSettings(f"{key} = {shown} ({given.source}): {reason}")


def _optional(kind: Any) -> bool:
    return type(None) in get_args(kind)


def _read(kind: Any, given: Given) -> Any:
    raw = given.value
    if get_origin(bare(kind)) is tuple and not isinstance(raw, dict):
        items = [part.strip() for part in raw.split(",")] if isinstance(raw, str) else raw
        item = get_args(bare(kind))[0]
        return [_scalar(item, part) for part in items] if isinstance(items, list) else [_scalar(item, items)]
    return _scalar(kind, raw)


def _scalar(kind: Any, raw: Any) -> Any:
    how = written(kind)
    if how and isinstance(raw, bool):
        raise ValidationError(f"expected a {how}, got a boolean")
    if not isinstance(raw, str):
        if isinstance(raw, float) and not math.isfinite(raw):
            raise ValidationError("Expected a finite number")
        return raw
    return {"duration": _duration, "share": share, "size": _size}.get(how, str)(raw)


def _duration(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return seconds(text)


def _size(text: str) -> int:
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValidationError("expected a size such as 16MB")
    return round(float(match[1]) * _SIZES[(match[2] or "").upper()])


def _secret(given: Given, *, key: str, address: bool) -> Secret:
    raw = given.value
    if not isinstance(raw, str):
        raise ValidationError('expected "env:NAME" or "file:/path"')
    if raw.startswith("file:"):
        return Secret(reference=f"file:{(given.base or Path.cwd()) / raw[5:]}", key=key)
    if re.fullmatch(r"env:\w+", raw):
        return Secret(reference=raw, key=key)
    if address:
        parts = urlsplit(raw)
        if parts.scheme in _SCHEMES and (parts.hostname or parts.scheme.startswith("postgres")):  # a socket has no host
            return Secret(reference=raw, key=key)
        raise ValidationError('expected a URL, "env:NAME" or "file:/path"')
    raise ValidationError('expected "env:NAME" or "file:/path"; a secret does not stand in a file or a command line')
