"""The command ``import``: versions out of another tool's registry."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter
from msgspec import Struct

from modelkeep.edge.cli import acts
from modelkeep.edge.cli.options import USUAL, Common
from modelkeep.edge.cli.reach import Reach
from modelkeep.edge.cli.usage import DONE, REFUSED, complain, guarded
from modelkeep.errors import BadArtifact
from modelkeep.operations import named
from modelkeep.runtimes import registries
from modelkeep.runtimes.registries import Entry, Fetched


class Listed(Struct, frozen=True, kw_only=True):
    """What a registry holds."""

    versions: tuple[Entry, ...]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class How:
    """How a version is taken over."""

    into: Annotated[str, Parameter(name="--as", help="Name of the model here, instead of its name there")] = ""
    trust: Annotated[bool, Parameter(negative="", help="Vouch for the code in the file")] = False
    force: Annotated[bool, Parameter(negative="", help="Leave out what speaks against it (metrics that are NaN)")] = (
        False
    )
    dry_run: Annotated[bool, Parameter(negative="", help="Fetch and look, but register nothing")] = False


USUALLY = How()


def take(
    place: Annotated[str, Parameter(help="http://HOST:PORT or sqlite:///FILE of MLflow, its .db file, or a folder")],
    model: Annotated[str, Parameter(help="Which model, or model@version; without it everything is listed")] = "",
    *,
    how: How = USUALLY,
    common: Common = USUAL,
) -> int:
    """Take a version over from an MLflow registry or a folder of versions, or list what is there.

    Versions whose files are gone, or whose metrics are no numbers, are named with the reason; exit code 1 when nothing
    that is listed can be taken over.
    """

    def act() -> int:
        registry = registries.opened(place)
        entries = registry.entries()
        if not model:
            return _list(entries, common)
        name, _, version = model.partition("@")
        entry = registries.chosen(entries, name, version=version)
        for remark in entry.remarks:
            sys.stderr.write(f"note: {entry.name}@{entry.version}: {remark}\n")
        if entry.problems and not how.force:
            raise BadArtifact(
                f"{entry.name}@{entry.version}: {'; '.join(entry.problems)}", remedy="--force leaves those metrics out"
            )
        with tempfile.TemporaryDirectory(prefix="import-") as folder:
            return _taken(registry.fetch(entry, Path(folder)), how=how, common=common)

    return guarded(act)


def _list(entries: list[Entry], common: Common) -> int:
    if common.json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(Listed(versions=tuple(entries))), indent=2).decode())
        sys.stdout.write("\n")
    else:
        for entry in entries:
            metrics = " ".join(f"{name}={value:.4g}" for name, value in sorted(entry.metrics.items()))
            against = "; ".join(filter(None, (entry.absent, *entry.problems, *entry.remarks)))
            word = "no: " if entry.absent or entry.problems else "yes" + (", but " if against else "")
            latest = " (latest)" if entry.newest else ""
            sys.stdout.write(f"{entry.name}@{entry.version}{latest}  {metrics}\n    {word}{against}\n")
    if entries and all(entry.absent or entry.problems for entry in entries):
        complain(f"none of the {len(entries)} versions can be taken over as it stands")
        return REFUSED
    return DONE


def _taken(fetched: Fetched, *, how: How, common: Common) -> int:
    entry = fetched.entry
    if how.dry_run:
        size = fetched.path.stat().st_size
        sys.stdout.write(f"{entry.name}@{entry.version} would be registered: {fetched.path.name}, {size:,} bytes\n")
        return DONE
    reach = Reach(common)
    values: dict[str, Any] = {
        "model": how.into or entry.name,
        "file": reach.send(fetched.path),
        "metrics": entry.metrics,
        "lineage": msgspec.to_builtins(fetched.lineage),
        "note": fetched.note,
        "trust": how.trust,
        "why": f"taken over from {fetched.lineage.source}",
        "by": acts.me(),
    }
    if fetched.signature is not None:
        values["signature"] = msgspec.to_builtins(fetched.signature)
    return acts.perform(named("register"), values, common=common, reach=reach)


def __getattr__(name: str) -> object:
    """``import`` is the command's word, and no name that Python lets a function have."""
    if name == "import":
        return take
    raise AttributeError(name)
