"""A downloaded file becomes a recipe's table, written as Parquet."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from modelkeep.errors import BadArtifact, BadSettings, NotFound, Unavailable
from modelkeep.extending import Extension
from modelkeep.nouns import Value
from modelkeep.workload import Source, Workload


def sources(extensions: Sequence[Extension]) -> dict[str, tuple[Workload, Source]]:
    """Every public set of the workloads, by name. Raises BadSettings when two have one name."""
    found: dict[str, tuple[Workload, Source]] = {}
    for workload in (each for each in extensions if isinstance(each, Workload)):
        for source in workload.sources:
            if source.name in found:
                raise BadSettings(
                    f"{found[source.name][0].name} and {workload.name} both have a source {source.name!r}",
                    remedy="rename the one that is yours",
                )
            found[source.name] = (workload, source)
    return found


def named(extensions: Sequence[Extension], name: str) -> tuple[Workload, Source]:
    """One of them. Raises NotFound naming near ones."""
    known = sources(extensions)
    if name not in known:
        raise NotFound("public set", name, known=known)
    return known[name]


def converted(source: Source, path: Path) -> dict[str, list[Value]]:
    """The table of a downloaded file. Raises BadArtifact when it does not hold what its converter looks for."""
    module, _, function = source.convert.partition(":")
    convert = getattr(importlib.import_module(module), function)
    try:
        table: dict[str, list[Value]] = convert(path)
    except (KeyError, ValueError, OSError) as cause:
        raise BadArtifact(f"{path} cannot be converted: {type(cause).__name__}: {cause}") from cause
    return table


def write(table: Mapping[str, Sequence[Value]], target: Path) -> int:
    """Write a table as Parquet, whole or not at all; the number of its rows. Raises Unavailable where it cannot."""
    duckdb: Any = importlib.import_module("duckdb")
    names = list(table)
    kinds = ", ".join(f"'{_said(name)}': '{_kind(table[name])}'" for name in names)
    part = target.with_name(f".{target.name}.part")
    encode = msgspec.json.encode
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(suffix=".jsonl") as lines:
            for row in zip(*(table[name] for name in names), strict=True):
                lines.write(encode(dict(zip(names, row, strict=True))) + b"\n")
            lines.flush()
            with duckdb.connect(config={"autoinstall_known_extensions": "false", "threads": "1"}) as connection:
                read = f"read_json('{lines.name}', format='newline_delimited', columns={{{kinds}}})"
                wanted = ", ".join(f'"{name}"' for name in names)
                connection.execute(f"COPY (SELECT {wanted} FROM {read}) TO '{_said(str(part))}' (FORMAT parquet)")
        part.replace(target)
    except (OSError, duckdb.Error) as cause:
        part.unlink(missing_ok=True)
        raise Unavailable(f"{target} cannot be written: {str(cause).splitlines()[0]}") from None
    return len(next(iter(table.values()), ()))


def commands(workload: Workload, source: Source, *, target: Path, timed: bool) -> tuple[str, ...]:
    """What to do next with a table; one without moments (``timed``) cannot be lived through."""
    model = source.recipe or workload.recipes[0].model
    short = model.removeprefix(f"{workload.name}-")
    name = workload.name if model == workload.recipes[0].model else f"{workload.name}/{short}"
    train = f"modelkeep train {name} --data {target}"
    return (train, f"modelkeep replay {target} --workload {name}") if timed else (train,)


def _kind(values: Sequence[Value]) -> str:
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {bool}:
        return "BOOLEAN"
    if kinds <= {int}:
        return "BIGINT"
    return "DOUBLE" if kinds <= {int, float} else "VARCHAR"


def _said(text: str) -> str:
    return text.replace("'", "''")
