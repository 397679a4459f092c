"""A stranger's table as the columns that a recipe takes: renamed, checked for kind and range, every fault counted."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

from msgspec import Struct

from modelkeep.errors import BadInput, Problem
from modelkeep.nouns import Field, Value
from modelkeep.quantities import moment
from modelkeep.runtimes.signatures import missing

REPLAYED = frozenset({"event_time", "entity", "label", "label_time"})
"""A table with all of these is a replay: its recipe knows what they are called on its own side."""
_SHOWN = 5


class Mapped(Struct, frozen=True, kw_only=True):
    """A table under the recipe's names.

    ``unused`` are columns that the recipe does not take; ``dropped`` counts rows that were left out.
    """

    table: dict[str, list[Value]]
    unused: tuple[str, ...] = ()
    dropped: int = 0


def mapped(
    table: Mapping[str, list[Value]], columns: Sequence[Field], *, names: Mapping[str, str], force: bool = False
) -> Mapped:
    """Rename by ``names`` (ours to theirs), then check every column that the recipe names.

    Raises BadInput naming every column that is absent (with the near names that the table has) and every one with
    values of the wrong kind or out of range, with counts and the first rows. With ``force`` rows with such values are
    left out instead.
    """
    renamed = _renamed(table, columns, names=names)
    replay = renamed.keys() >= REPLAYED
    absent = [] if replay else [f for f in columns if f.name not in renamed and not f.nullable]
    if absent:
        raise _lacking(absent, renamed, columns=columns)
    wrong: dict[int, None] = {}
    problems: list[Problem] = []
    for field in columns:
        if field.name in renamed:
            renamed[field.name] = coerced(field, renamed[field.name])
            bad = _faults(field, renamed[field.name])
            wrong |= dict.fromkeys(bad)
            problems += _problem(field, renamed[field.name], bad=bad)
    if problems and not force:
        raise BadInput(
            f"{problems[0]}{f' and {len(problems) - 1} more columns' if len(problems) > 1 else ''}",
            problems=problems,
            remedy="mend the table, --map another column, or leave such rows out with --force",
        )
    if wrong:
        renamed = {n: [v for i, v in enumerate(values) if i not in wrong] for n, values in renamed.items()}
    known = {field.name for field in columns} | (REPLAYED if replay else set())
    return Mapped(table=renamed, unused=tuple(n for n in renamed if n not in known), dropped=len(wrong))


def _renamed(
    table: Mapping[str, list[Value]], columns: Sequence[Field], *, names: Mapping[str, str]
) -> dict[str, list[Value]]:
    ours = {field.name for field in columns} | REPLAYED
    for our, their in names.items():
        if our not in ours and their in ours and our in table:
            raise BadInput(
                f"--map {our}={their} is written the other way round", remedy=f"ours=theirs: --map {their}={our}"
            )
        if our not in ours:
            raise BadInput(
                f"--map {our}={their}: no column {our!r} is wanted", remedy=f"wanted: {', '.join(sorted(ours))}"
            )
        if their not in table:
            raise BadInput(f"--map {our}={their}: the table has no column {their!r}", remedy=_has(table, their))
    taken = set(names.values())
    renamed = {name: values for name, values in table.items() if name not in taken and name not in names}
    return renamed | {our: table[their] for our, their in names.items()}


def _has(table: Iterable[str], near: str) -> str:
    close = get_close_matches(near, list(table), n=3, cutoff=0.6)
    return f"did you mean {', '.join(close)}?" if close else f"it has: {', '.join(table)}"


def _lacking(absent: Sequence[Field], table: Mapping[str, list[Value]], *, columns: Sequence[Field]) -> BadInput:
    free = [name for name in table if name not in {field.name for field in columns}]
    problems = [Problem(field=field.name, expected=field.expected(), got="no such column") for field in absent]
    hints = [f"--map {field.name}={near}" for field in absent for near in _near(field.name, free)]
    said = ", ".join(f"{field.name} ({field.expected()})" for field in absent)
    remedy = f"did you mean {' '.join(hints)}? " if hints else ""
    return BadInput(
        f"the table has no column {said}",
        problems=problems,
        remedy=f"{remedy}Unused columns of the table: {', '.join(free) or 'none'}. Name one with --map ours=theirs",
    )


def _near(name: str, free: Sequence[str]) -> list[str]:
    """The column of the table that looks most like ``name``, as a whole or by one of its words, if any does."""
    plain = {other.lower().replace("-", "_").replace(" ", "_"): other for other in free}
    close = get_close_matches(name, list(plain), n=1, cutoff=0.6)
    if close:
        return [plain[close[0]]]
    words = {word: other for other in plain for word in other.split("_") if len(word) > 3}
    near = [found for word in name.split("_") for found in get_close_matches(word, list(words), n=1, cutoff=0.8)]
    return [plain[words[near[0]]]] if near else []


def coerced(field: Field, values: list[Value]) -> list[Value]:
    """Values in the field's own kind where nothing is lost by it.

    Numbers that name things become texts, 0 and 1 truths, and moments in a field of numbers seconds since 1970.
    """
    if field.kind in {"category", "text"} and any(isinstance(v, int | float) for v in values):
        return [v if v is None or isinstance(v, str) else _name(v) for v in values]
    if field.kind == "boolean" and any(not isinstance(v, bool) for v in values):
        truths: dict[Value, bool] = {0: False, 1: True, "0": False, "1": True, "true": True, "false": False}
        return [truths.get(v.lower() if isinstance(v, str) else v, v) for v in values]
    if field.numeric and any(isinstance(v, str) for v in values):
        return _moments(values)
    return values


def _name(value: float | bool) -> str:  # noqa: FBT001 - a value of a table, whatever its kind
    return str(value).lower() if isinstance(value, bool) else f"{value:.15g}"


def _moments(values: list[Value]) -> list[Value]:
    try:
        return [v if v is None or isinstance(v, int | float) else _moment(v) for v in values]
    except BadInput:
        return values


def _moment(text: str) -> float:
    if "-" not in text[1:]:  # a number written as text is no moment, and is told as what it is
        raise BadInput(f"{text!r} is no moment")
    return moment(text)


def _faults(field: Field, values: list[Value]) -> list[int]:
    """The rows whose value does not fit; NaN counts as nothing."""
    return [i for i, value in enumerate(values) if field.refusal(None if missing(value) else value) is not None]


def _problem(field: Field, values: list[Value], *, bad: list[int]) -> list[Problem]:
    if not bad:
        return []
    shown = ", ".join(f"{values[i]!r} in row {i + 1:,}" for i in bad[:_SHOWN])
    more = f" and {len(bad) - _SHOWN:,} more" if len(bad) > _SHOWN else ""
    got = f"{len(bad):,} of {len(values):,} rows that are not: {shown}{more}"
    return [Problem(field=field.name, expected=field.expected(), got=got)]
