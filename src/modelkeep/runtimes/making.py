"""How a version is made from a raw table: read, renamed, prepared, examined, trained.

All of it happens in a process of its own (``trainer_process``), so that a server's memory and speed stay as they are;
``Making`` is what the process is told, ``Made`` what it leaves, and each stage is told as it ends.
"""

import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from modelkeep.errors import BadInput, Refused
from modelkeep.nouns import Field, Retrain, Value
from modelkeep.quantities import iso
from modelkeep.runtimes import examining, future, kept
from modelkeep.runtimes.mapping import mapped
from modelkeep.runtimes.tables import read_table
from modelkeep.runtimes.training import Trained, TrainingRows

MAKING, MADE, PROGRESS, HISTORY = "making.msgpack", "made.msgpack", "progress.jsonl", "history.rows"

Say = Callable[[str, str], None]


class Making(Struct, frozen=True, kw_only=True):
    """What is to be made: ``prepare``, ``trainer`` and ``simulate`` are ``module:function``.

    The table is the file ``table``, or ``rows`` rows of ``simulate`` from ``seed``. ``names`` maps our columns to
    theirs. ``dry`` stops before the training. ``force`` leaves rows out that do not fit, and does not look for formulas
    and future.
    """

    model: str
    trainer: str
    prepare: str
    columns: tuple[Field, ...]
    retrain: Retrain
    time: str = ""
    table: str = ""
    names: dict[str, str] = {}
    simulate: str = ""
    rows: int = 0
    seed: int = 0
    dry: bool = False
    force: bool = False


class Made(Struct, frozen=True, kw_only=True):
    """What became of it; ``trained`` is None after a dry run. ``rows`` were learned from, of ``raw`` in the table."""

    raw: int
    rows: int
    groups: int
    start: float | None
    end: float | None
    unused: tuple[str, ...] = ()
    dropped: int = 0
    notes: tuple[str, ...] = ()
    trained: Trained | None = None


def make(making: Making, folder: Path, *, train: Callable[[TrainingRows], Trained], say: Say) -> Made:
    """Make a version, its files left in ``folder``. Raises BadInput for the table, Refused for what it would learn."""
    table = _read(making)
    raw = max((len(values) for values in table.values()), default=0)
    say("read", f"{raw:,} rows of {len(table)} columns")
    examining.distinct(table, what="the table")
    found = mapped(table, making.columns, names=making.names, force=making.force)
    del table
    say("mapped", _mapping(making, found.unused, dropped=found.dropped))
    rows = called(making.prepare)(found.table)
    if not isinstance(rows, TrainingRows):
        raise TypeError(f"{making.prepare} returned a {type(rows).__name__}, not TrainingRows")
    groups = examining.groups_of(rows)
    say("prepared", _span(rows, groups))
    examining.rows(rows, making.retrain)
    notes = []
    if not making.force:
        examining.formulas(rows)
        notes.append(future.check(called(making.prepare), found.table, time=making.time))
        say("examined", notes[-1])
    trained = None
    if not making.dry:
        start = time.perf_counter()
        trained = train(rows)
        examining.result(trained, rows, policy=making.retrain)
        say("trained", f"{making.trainer} took {time.perf_counter() - start:.1f} s")
        if making.retrain.history:
            kept.write(folder / HISTORY, rows)
    return Made(
        raw=raw,
        rows=len(rows.truth),
        groups=groups,
        start=min(rows.at, default=None),
        end=max(rows.at, default=None),
        unused=found.unused,
        dropped=found.dropped,
        notes=tuple(notes),
        trained=trained,
    )


def called(entry: str) -> Callable[..., Any]:
    """The function of ``module:function``. Raises BadInput when there is none."""
    module, colon, function = entry.partition(":")
    if not (module and colon and function.isidentifier()):
        raise BadInput(f"{entry!r} is not module:function")
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as missing:
        raise Refused(f"{entry} cannot be imported: {missing}") from None
    return found


def _read(making: Making) -> dict[str, list[Value]]:
    if making.simulate:
        table: dict[str, list[Value]] = called(making.simulate)(making.rows, making.seed)
        return table
    path = Path(making.table)
    if path.suffix == ".msgpack":
        return msgspec.msgpack.decode(path.read_bytes(), type=dict[str, list[Value]])
    return read_table(path, nested=True)


def _mapping(making: Making, unused: tuple[str, ...], *, dropped: int) -> str:
    named = ", ".join(f"{ours} = their {theirs}" for ours, theirs in making.names.items())
    parts = (
        named,
        f"{dropped:,} rows that do not fit left out" if dropped else "",
        f"not among the columns that the recipe names: {', '.join(unused)}" if unused else "every column is named",
    )
    return "; ".join(filter(None, parts))


def _span(rows: TrainingRows, groups: int) -> str:
    if not rows.at:
        return "no row"
    return f"{len(rows.truth):,} rows of {groups:,} entities, {iso(min(rows.at))} to {iso(max(rows.at))}"
