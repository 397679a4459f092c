"""What can be set: the sections, their fields, and the variables that set them."""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, get_args, get_origin

from msgspec import Struct, structs

from modelkeep.errors import BadSettings
from modelkeep.settings.secrets import Secret
from modelkeep.settings.sections import OWNED, POLICY, SHORT, Settings

PREFIX = "MODELKEEP_"
Key = tuple[str, ...]


def variables() -> dict[str, str]:
    """Every environment variable that sets something, with the dotted key that it sets."""
    found = {PREFIX + "_".join(path).upper(): ".".join(path) for path, kind in leaves(Settings) if not named(kind)}
    short = ((name, SHORT[kind]) for name, kind in fields_of(Settings).items() if is_section(kind) and kind in SHORT)
    return found | {f"{PREFIX}{name.upper()}": f"{name}.{leaf}" for name, leaf in short}


def fields_of(kind: type[Struct]) -> dict[str, Any]:
    """The settable fields of a section with their types."""
    hidden = OWNED.get(kind, frozenset()) | ({"sources", "file"} if kind is Settings else set())
    return {f.name: POLICY.get((kind, f.name), f.type) for f in structs.fields(kind) if f.name not in hidden}


def leaves(kind: type[Struct], above: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Every single setting below a section, with its type."""
    for name, field in fields_of(kind).items():
        if is_section(field):
            yield from leaves(field, (*above, name))
        else:
            yield (*above, name), field


def is_section(kind: Any) -> bool:
    """True for a type with settings of its own."""
    return isinstance(kind, type) and issubclass(kind, Struct) and kind is not Secret


def named(kind: Any) -> Any:
    """The section type of a table of named sections (``[models.NAME]``), or None."""
    if get_origin(kind) is dict and is_section(get_args(kind)[1]):
        return get_args(kind)[1]
    return None


def unknown(name: str, known: list[str], *, source: str) -> BadSettings:
    """The error for a name that sets nothing, with the likeliest one that does."""
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}" if near else f"known: {', '.join(sorted(known))}"
    return BadSettings(f"{source}: {name} is unknown, {hint}")
