"""Rules as data: the built-in ones, and a TOML file of the user's own beside them.

A file holds ``[[rule]]`` tables. A rule with the name of a built-in one changes it: what it does not say stays as it
was. Every field is described in ``docs/alerts.md``.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from string import Formatter
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from modelkeep.alerts.conditions import parsed, severity
from modelkeep.errors import BadInput, Problem
from modelkeep.nouns import Rule
from modelkeep.quantities import seconds

PLACES = frozenset({"subject", "model", "version", "value", "detail"})
"""What may stand in braces in ``summary``, ``advice`` and ``command``."""
DURATIONS = frozenset({"holds", "cooldown", "keep", "escalate_after"})
LISTS = frozenset({"actions", "advice", "channels", "escalate_to"})
TEMPLATES = frozenset({"summary", "advice", "command"})
COUNTS = frozenset({"cap"})
ACTIONS = ("retrain", "roll_back")
FIELDS = (*Rule.__struct_fields__, "disabled")
_HABITS = {"for": "holds", "expr": "condition", "labels": "severity", "annotations": "summary", "alert": "name"}

Checked: TypeAlias = str | float | int | bool | tuple[str, ...]


class _Place(Struct, frozen=True, kw_only=True):
    """Where one ``[[rule]]`` table stands in its file."""

    source: str
    start: int
    lines: tuple[str, ...]

    def of(self, key: str) -> str:
        """``file:line`` of a key, or of the table when it lacks the key."""
        form = re.compile(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=")
        for offset, line in enumerate(self.lines):
            if form.match(line):
                return f"{self.source}:{self.start + offset}"
        return f"{self.source}:{self.start}"

    def refused(self, key: str, *, expected: str, got: str, remedy: str = "") -> BadInput:
        problem = Problem(field=key, expected=expected, got=got)
        return BadInput(f"{self.of(key)}: {problem}", problems=(problem,), remedy=remedy)


def load(path: Path | None = None, *, known: tuple[Rule, ...] | None = None) -> tuple[Rule, ...]:
    """The rules that are ``known`` (the built-in ones), changed and followed by those of the TOML file at ``path``.

    Raises BadInput naming file, line, key, what is expected and what stands there; and for a file that cannot be read.
    """
    known = DEFAULT if known is None else known
    if path is None:
        return known
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"the rules {path} cannot be read: {error}", remedy="name a readable TOML file") from None
    return parse(text, source=str(path), known=known)


def parse(text: str, *, source: str, known: tuple[Rule, ...] = ()) -> tuple[Rule, ...]:
    r"""Rules from TOML text; those that are ``known`` already are changed or kept.

    >>> [rule.name for rule in parse('[[rule]]\nname="a"\nreading="mae"\ncondition="value > 3"', source="mine")]
    ['a']

    Raises BadInput as ``load`` does.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{source}: not TOML: {error}", remedy="see docs/alerts.md for the form of a rule") from None
    stranger = next((key for key in table if key != "rule"), None)
    if stranger is not None or not isinstance(table.get("rule", []), list):
        raise BadInput(f"{source}: expected [[rule]] tables only, got {stranger or 'rule'!r}", remedy="write [[rule]]")
    entries = table.get("rule", [])
    places = _places(text, source, count=len(entries))
    rules = {rule.name: rule for rule in known}
    fresh: set[str] = set()
    for place, entry in zip(places, entries, strict=True):
        name = entry.get("name")
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]{0,99}", name):
            raise place.refused("name", expected="a name of letters, digits, _ . -", got=repr(name))
        if name in fresh:
            raise place.refused("name", expected="each name once", got=repr(name))
        fresh.add(name)
        rule = _rule(entry, place, base=rules.pop(name, None))
        if rule is not None:
            rules[name] = rule
    return tuple(rules.values())


def _places(text: str, source: str, *, count: int) -> list[_Place]:
    lines = text.splitlines()
    starts = [i for i, line in enumerate(lines) if re.match(r"\s*\[\[\s*rule\s*\]\]", line)]
    if len(starts) != count:  # written another way, as `rule = [{...}]`: the lines cannot be told apart
        return [_Place(source=source, start=1, lines=tuple(lines))] * count
    ends = [*starts, len(lines)][1:]
    return [
        _Place(source=source, start=start + 1, lines=tuple(lines[start:end]))
        for start, end in zip(starts, ends, strict=True)
    ]


def _rule(entry: Mapping[str, Any], place: _Place, *, base: Rule | None) -> Rule | None:
    for key in entry:
        if key not in FIELDS:
            near = [_HABITS[key]] if key in _HABITS else get_close_matches(key, FIELDS, n=1, cutoff=0.5)
            remedy = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(FIELDS)}"
            raise place.refused(key, expected="no such key", got=repr(entry[key]), remedy=remedy)
    found = {key: _checked(key, value, place=place) for key, value in entry.items()}
    if found.pop("disabled", False):
        return None
    if base is None:
        for key in ("reading", "condition"):
            if key not in found:
                raise place.refused(key, expected=f"a {key} for rule {entry['name']!r}", got="nothing")
    before = {} if base is None else msgspec.structs.asdict(base)
    return Rule(**{**before, **found})


def _checked(key: str, value: object, *, place: _Place) -> Checked:
    if key in LISTS:
        checked: Checked = _texts(key, value, place=place)
    elif key in DURATIONS:
        checked = _duration(key, value, place=place)
    elif key in COUNTS:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 1000:
            raise place.refused(key, expected="a whole number from 0 to 1000", got=repr(value))
        checked = value
    elif key == "disabled":
        if not isinstance(value, bool):
            raise place.refused(key, expected="true or false", got=repr(value))
        checked = value
    elif isinstance(value, str):
        checked = value
    else:
        raise place.refused(key, expected="text in quotes", got=repr(value))
    _parts(key, checked, place=place)
    return checked


def _parts(key: str, value: Checked, *, place: _Place) -> None:
    """Refuse what has the right type but does not mean anything."""
    if isinstance(value, str) and key in _MEANINGS:
        try:
            _MEANINGS[key](value)
        except BadInput as error:
            problem = error.problems[0]
            raise place.refused(key, expected=problem.expected, got=problem.got) from None
    if key == "actions" and isinstance(value, tuple):
        for action in value:
            if action not in ACTIONS:
                raise place.refused(key, expected=f"any of {', '.join(ACTIONS)}", got=repr(action))
    if key in TEMPLATES:
        for text in value if isinstance(value, tuple) else (str(value),):
            _template(key, text, place=place)
    if key == "text":
        _template(key, str(value), place=place, facts=True)


def _template(key: str, text: str, *, place: _Place, facts: bool = False) -> None:
    try:
        names = {name for _, name, _, _ in Formatter().parse(text) if name is not None}
    except ValueError as error:
        raise place.refused(key, expected="text with {places}", got=f"{text!r} ({error})") from None
    if facts:
        odd = min((name for name in names if not name.isidentifier()), default=None)
        if odd is not None:
            raise place.refused(key, expected="names of places or facts in braces", got=f"{{{odd}}}")
        return
    stranger = min(names - PLACES, default=None)
    if stranger is not None:
        expected = ", ".join(f"{{{name}}}" for name in sorted(PLACES))
        raise place.refused(key, expected=f"only {expected} in braces", got=f"{{{stranger}}}")


def _texts(key: str, value: object, *, place: _Place) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise place.refused(key, expected="a list of texts", got=repr(value))
    return tuple(value)


def _duration(key: str, value: object, *, place: _Place) -> float:
    if isinstance(value, str):
        try:
            return seconds(value, key)
        except BadInput as error:
            raise place.refused(key, expected=error.problems[0].expected, got=repr(value)) from None
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 10**9:
        return float(value)
    raise place.refused(key, expected="a duration such as 30s, 24h or 1h30m", got=repr(value))


_MEANINGS: Mapping[str, Callable[[str], object]] = {"condition": parsed, "severity": severity}

DEFAULT = parse(
    files("modelkeep.alerts").joinpath("default_rules.toml").read_text(encoding="utf-8"), source="default_rules.toml"
)
"""The built-in rules."""
