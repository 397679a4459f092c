"""The configuration in words: every key with its value (secrets masked) and where it came from."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct, json, structs

from modelkeep.quantities import duration
from modelkeep.settings.known import fields_of
from modelkeep.settings.secrets import Secret
from modelkeep.settings.sections import Settings
from modelkeep.settings.values import written


class Shown(Struct, frozen=True, kw_only=True):
    """One setting as people read it; ``value`` never holds a secret."""

    key: str
    value: str
    source: str


def listing(settings: Settings) -> list[Shown]:
    """Every setting in force with its source.

    >>> [line.value for line in listing(Settings()) if line.key == "watch.every"]
    ['1m']
    """
    return [
        Shown(key=key, value=_text(value, how), source=settings.source(key)) for key, value, how in _each(settings, "")
    ]


def _each(section: Struct, above: str) -> Iterator[tuple[str, Any, str]]:
    for name, kind in fields_of(type(section)).items():
        value, key = getattr(section, name), f"{above}{name}"
        if isinstance(value, Struct) and not isinstance(value, Secret):
            yield from _each(value, f"{key}.")
        elif isinstance(value, dict) and value and all(isinstance(v, Struct) for v in value.values()):
            for part, entry in value.items():
                yield from _each(entry, f"{key}.{part}.")
        else:
            yield key, value, written(kind)


def _text(value: Any, how: str) -> str:
    if value is None or isinstance(value, str | Path | Secret):
        return "" if value is None else str(value)
    if how == "duration":
        return duration(value)
    if how == "size":
        unit = next((u for u in (1024**3, 1024**2, 1024) if value and value % u == 0), 1)
        return f"{value // unit}{ {1024**3: 'GB', 1024**2: 'MB', 1024: 'KB', 1: 'B'}[unit] }"
    return json.encode(structs.asdict(value) if isinstance(value, Struct) else value).decode()
