"""Reading the configuration: every value keeps where it came from, and whatever is wrong says so."""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, structs

from modelkeep.errors import BadInput, BadSettings
from modelkeep.nouns import Policy
from modelkeep.settings.known import PREFIX, Key, fields_of, is_section, leaves, named, unknown, variables
from modelkeep.settings.secrets import Secret
from modelkeep.settings.sections import SHORT, Settings
from modelkeep.settings.values import Given, bare, value

FILE = "modelkeep.toml"
ASIDE = frozenset({"MODELKEEP_CONFIG", "MODELKEEP_DATA_MIRROR", "MODELKEEP_FAILPOINT"})
"""Variables of ours that are no settings: which file to read, and where a test wants the process to end."""

Layer = dict[Key, Given]


def load(
    *,
    folder: Path | None = None,
    file: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    flags: Mapping[str, str | float | list[int] | None] | None = None,
) -> Settings:
    """Read the configuration: defaults < ``modelkeep.toml`` < environment < flags.

    The file is ``file``, else ``$MODELKEEP_CONFIG``, else ``modelkeep.toml`` in the data folder when a flag or the
    environment names the folder, else in the working directory, else in ``modelkeep-data``; no file is fine unless one
    was named. ``folder`` names the data folder before any other; ``flags`` are dotted keys (``server.listen``), None
    means not given.

    >>> load(environ={"MODELKEEP_WATCH_EVERY": "5m"}, flags={"server.listen": 8081}).watch.every
    300.0

    Raises BadSettings naming the key, the value, where it came from and what is expected.
    """
    given = {key: flag for key, flag in (flags or {}).items() if flag is not None}
    if folder is not None:
        given["folder"] = str(folder)
    above = _variables(environ) | _flags(given)
    place = above.get(("folder",))
    named = file or (Path(environ["MODELKEEP_CONFIG"]) if environ.get("MODELKEEP_CONFIG") else None)
    path = named or _find(Path(str(place.value)) if place else None)
    if named is not None and not named.is_file():
        raise BadSettings(f"there is no configuration file {named}", remedy="write it, or leave out its name")
    layer = (_file(path) if path else {}) | above
    _refuse_unknown(environ, layer)
    settings = _assemble(layer, path)
    settings.check()
    return settings


def _find(folder: Path | None) -> Path | None:
    places = [folder / FILE] if folder else [Path(FILE), Path("modelkeep-data") / FILE]
    return next((place for place in places if place.is_file()), None)


# -------------------------------------------------------------------------------------------------- layers


def _file(path: Path) -> Layer:
    try:
        text = path.read_text(encoding="utf-8")
        tree = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as cause:
        raise BadSettings(f"cannot read {path}: {cause}") from None
    lines = _lines(text)
    found: Layer = {}
    _walk(tree, Settings, above=(), place=_Place(path=path, lines=lines, found=found))
    return found


class _Place(Struct, frozen=True, kw_only=True):
    """The file being read, and what was found in it."""

    path: Path
    lines: dict[Key, int]
    found: Layer

    def of(self, key: Key) -> str:
        line = self.lines.get(key)
        return f"{self.path.name}, line {line}" if line else self.path.name


def _walk(tree: dict[str, Any], kind: type[Struct], *, above: Key, place: _Place) -> None:
    fields = fields_of(kind)
    for name, raw in tree.items():
        key, field = (*above, name), fields.get(name)
        if field is None:
            prefix = ".".join(above)
            raise unknown(".".join(key), [f"{prefix}.{n}" if prefix else n for n in fields], source=place.of(key))
        entry = named(field)
        if entry is None and not is_section(field):
            place.found[key] = Given(value=raw, source=place.of(key), base=place.path.absolute().parent)
            continue
        if isinstance(raw, str) and field in SHORT:
            place.found[*key, SHORT[field]] = Given(value=raw, source=place.of(key), base=place.path.absolute().parent)
            continue
        if not isinstance(raw, dict):
            raise BadSettings(f"{place.of(key)}: {'.'.join(key)} is a section, write [{'.'.join(key)}]")
        for part, sub in raw.items() if entry else ():
            if not isinstance(sub, dict):
                raise BadSettings(f"{place.of((*key, part))}: write a section [{name}.NAME], not {name}.{part} = ...")
            _walk(sub, entry, above=(*key, part), place=place)
        if not entry:
            _walk(raw, field, above=key, place=place)


_HEADER = re.compile(r"^\s*\[\s*([^\[\]]+?)\s*\]")
_KEY = re.compile(r"""^\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[\w-]+|"[^"]*"|'[^']*'""")


def _lines(text: str) -> dict[Key, int]:
    """In which line each key is written; good enough for messages (a key inside a multi-line string fools it)."""
    found: dict[Key, int] = {}
    table: Key = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            table = tuple(part.strip("\"'") for part in _PART.findall(header[1]))
            found.setdefault(table, number)
        elif key := _KEY.match(line):
            found.setdefault((*table, *(part.strip("\"'") for part in _PART.findall(key[1]))), number)
    return found


def _variables(environ: Mapping[str, str]) -> Layer:
    keys, settable = variables(), dict(leaves(Settings))
    layer: Layer = {}
    for variable, key in keys.items():
        if (text := environ.get(variable)) is None:
            continue
        path = tuple(key.split("."))
        kind = settable[path]
        # A secret's own variable holds the secret itself; from here on only the variable's name is passed around.
        literal = bare(kind) is Secret and not text.startswith(("env:", "file:"))
        layer[path] = Given(value=f"env:{variable}" if literal else text, source=f"environment {variable}", text=True)
    return layer


def _refuse_unknown(environ: Mapping[str, str], layer: Layer) -> None:
    """Refuse variables with our prefix that set nothing, unless a secret refers to them."""
    known = variables()
    used = {str(given.value).removeprefix("env:") for given in layer.values() if str(given.value).startswith("env:")}
    for variable in environ:
        if variable.startswith(PREFIX) and variable not in known and variable not in ASIDE | used:
            raise unknown(variable, [*known, *ASIDE], source="environment")


def _flags(flags: Mapping[str, str | float | list[int]]) -> Layer:
    settable = dict(leaves(Settings))
    layer: Layer = {}
    for key, raw in flags.items():
        path = tuple(key.split("."))
        if path not in settable:
            raise unknown(key, [".".join(leaf) for leaf in settable], source="flag")
        layer[path] = Given(value=raw, source=f"flag {key}", text=isinstance(raw, str))
    return layer


# ------------------------------------------------------------------------------------------------ assembly


def _assemble(layer: Layer, file: Path | None) -> Settings:
    relative = layer.get(("folder",))
    folder = Path(str(relative.value)) if relative else Path("modelkeep-data")
    if relative is None and file is not None and file.absolute().parent.name == folder.name:
        folder = file.parent
    elif relative is not None and relative.base is not None:
        folder = relative.base / folder
    rest = {path: given for path, given in layer.items() if path != ("folder",)}
    built: Settings = _build(Settings, rest, above=())
    sources = {".".join(path): given.source for path, given in layer.items()}
    return structs.replace(built, folder=folder.absolute(), sources=sources, file=file)


def _build(kind: type[Struct], layer: Layer, *, above: Key) -> Any:
    """One section from the leaves below ``above``; what is not given keeps its default."""
    values: dict[str, Any] = {}
    for name, field in fields_of(kind).items():
        path = (*above, name)
        below = {leaf: given for leaf, given in layer.items() if leaf[: len(path)] == path}
        if not below:
            continue
        if entry := named(field):
            names = sorted({leaf[len(path)] for leaf in below})
            values[name] = {part: _build(entry, below, above=(*path, part)) for part in names}
        elif is_section(field):
            values[name] = _build(field, below, above=path)
        else:
            values[name] = value(field, below[path], key=".".join(path))
    if kind is Policy:
        values["model"] = above[-1]
    missing = [f.name for f in structs.fields(kind) if f.required and f.name not in values]
    if missing:
        where = next(iter(layer.values())).source
        raise BadSettings(f"{'.'.join(above)} ({where}) lacks {', '.join(missing)}", remedy="add it to the section")
    built = kind(**values)
    check = getattr(built, "check", None)
    if kind is not Settings and check is not None:
        try:
            check(".".join(above))
        except BadInput as wrong:
            raise BadSettings(f"{next(iter(layer.values())).source}: {wrong}") from None
    return built
