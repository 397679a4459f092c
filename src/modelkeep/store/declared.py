"""What a dataset was declared to hold, on disk beside its segments, and what goes together with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec import MsgspecError, Struct, json, structs

from modelkeep.errors import BadArtifact, BadInput, Conflict
from modelkeep.nouns import Field
from modelkeep.store.duck import type_of
from modelkeep.store.segments import DECLARED


class Declared(Struct, frozen=True, kw_only=True):
    """What a dataset holds: its columns, the one with the moment, and those that name a row (none: all rows stay)."""

    columns: tuple[Field, ...]
    time: str
    key: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(field.name for field in self.columns)


def declared(columns: Sequence[Field], *, time: str, key: tuple[str, ...]) -> Declared:
    """The declaration, with the column of the moment in front when it was left out. Raises BadInput."""
    names = [field.name for field in columns]
    fields = tuple(columns) if time in names else (Field(name=time, kind="number", unit="s"), *columns)
    twice = next((name for name in names if names.count(name) > 1), None)
    if not time or twice is not None:
        raise BadInput.of("columns", expected="a column with the moment, and each name once", got=repr(twice or time))
    missing = next((name for name in key if name not in {time, *names}), None)
    if missing is not None:
        raise BadInput.of("key", expected=f"columns of {', '.join(names)}", got=repr(missing))
    return Declared(columns=fields, time=time, key=key)


def on_disk(folder: Path) -> Declared | None:
    """What the data on disk was declared as; None before the first append. Raises BadArtifact."""
    try:
        return json.decode((folder / DECLARED).read_bytes(), type=Declared)
    except FileNotFoundError:
        return None
    except MsgspecError as wrong:
        raise BadArtifact(f"{folder / DECLARED} is not a dataset's declaration: {wrong}") from None


def joined(said: Declared | None, wanted: Declared, *, name: str) -> Declared:
    """What is wanted, with the columns that only the disk knows. Raises Conflict when the two do not go together."""
    if said is None:
        return wanted
    if (said.time, said.key) != (wanted.time, wanted.key):
        raise Conflict(
            f"dataset {name} is kept by {said.time} and {said.key}, not by {wanted.time} and {wanted.key}",
            remedy="open it as it is, or give the new one another name",
        )
    before, now = ({field.name: field for field in one.columns} for one in (said, wanted))
    for field in wanted.columns:
        was = before.get(field.name)
        if was is not None and type_of(was) != type_of(field):
            raise Conflict(f"dataset {name}: column {field.name} holds {was.kind}, not {field.kind}")
        if was is None and not field.nullable:
            raise Conflict(f"dataset {name}: the new column {field.name} must be nullable")
    lost = tuple(structs.replace(field, nullable=True) for field in before.values() if field.name not in now)
    return structs.replace(wanted, columns=(*wanted.columns, *lost))
