"""The commands ``data list`` and ``data get``: public data for a workload, downloaded when they are asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, Parameter
from msgspec import Struct
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from modelkeep import settings
from modelkeep.edge.cli import show
from modelkeep.edge.cli.usage import DONE, Wrongly, guarded
from modelkeep.extending import Extension, find_all
from modelkeep.fetching import downloading, tabling

data = App(
    name="data",
    help="Public data for the workloads: list, get",
    help_format="plaintext",
    result_action="return_value",
)
Json = Annotated[bool, Parameter(name="--json", negative="", help="Answer in JSON")]
_WIDE = 240
MOMENTS = ("event_time", "timestamp", "date")
"""A table with one of these can be replayed."""


class Listed(Struct, frozen=True, kw_only=True):
    """A public set, and whether it is here already."""

    name: str
    workload: str
    about: str
    licence: str
    url: str
    sha256: str
    size: int
    here: bool


class Got(Struct, frozen=True, kw_only=True):
    """What was fetched, and what to do with it. ``rows`` and ``file`` are empty after ``--dry-run``."""

    name: str
    workload: str
    about: str
    licence: str
    url: str
    sha256: str
    cached: str
    file: str
    rows: int
    columns: tuple[str, ...]
    next: tuple[str, ...]


@data.command(name="list")
def listed(*, json: Json = False) -> int:
    """List the public sets of the workloads: what each is, its licence and its size; nothing is downloaded."""

    def act() -> int:
        folder = downloading.cache()
        found = [
            Listed(
                name=source.name,
                workload=workload.name,
                about=source.about,
                licence=source.licence,
                url=source.url,
                sha256=source.sha256,
                size=source.size,
                here=downloading.here(source, folder),
            )
            for workload, source in tabling.sources(_extensions()).values()
        ]
        if json:
            _say(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
            return DONE
        rows = [
            {**msgspec.structs.asdict(one), "size": f"{one.size / 1e6:.1f} MB", "here": "yes" if one.here else "no"}
            for one in found
        ]
        for line in show.table(rows, columns=["name", "workload", "size", "here", "licence", "~about"], width=_WIDE):
            _say(line)
        _say("\nmodelkeep data get NAME fetches one")
        return DONE

    return guarded(act)


@data.command
def get(
    name: Annotated[str, Parameter(help="Which one; modelkeep data list names them")],
    *,
    to: Annotated[Path | None, Parameter(help="The table's file, .parquet (else NAME.parquet here)")] = None,
    mirror: Annotated[str, Parameter(help="An address with the same file, instead of its owner's")] = "",
    dry_run: Annotated[bool, Parameter(negative="", help="Say what would be fetched, and from where")] = False,
    json: Json = False,
) -> int:
    """Fetch a public set from where its owner publishes it, check its bytes, and write the table that is trained on.

    The download is kept in the user's cache folder, and refused unless its SHA-256 is the one that is written here.
    """

    def act() -> int:
        workload, source = tabling.named(_extensions(), name)
        target = to or Path(source.file)
        if target.suffix.lower() != ".parquet":
            raise Wrongly(f"--to {target}: the table is written as Parquet; name a .parquet file")
        folder = downloading.cache()
        asked = mirror or os.environ.get(downloading.MIRROR, "")
        got = Got(
            name=source.name,
            workload=workload.name,
            about=source.about,
            licence=source.licence,
            url=downloading.address(source, asked),
            sha256=source.sha256,
            cached=str(downloading.kept(source, folder)),
            file="" if dry_run else str(target),
            rows=0,
            columns=(),
            next=(),
        )
        tell = _quiet if json else _say
        tell(f"{source.name}: {source.about}\nlicence: {source.licence}")
        if dry_run:
            known = "it is in the cache" if downloading.here(source, folder) else f"{source.size / 1e6:.1f} MB to fetch"
            tell(f"from: {got.url}\nSHA-256: {source.sha256}\n{known}: {got.cached}\nnothing was fetched (--dry-run)")
        else:
            got = _fetched(got, target=target, mirror=asked, tell=tell)
        if json:
            _say(msgspec.json.format(msgspec.json.encode(got), indent=2).decode())
        return DONE

    return guarded(act)


def _fetched(got: Got, *, target: Path, mirror: str, tell: Callable[[str], None]) -> Got:
    """Download, check, convert, write; and what to do next."""
    workload, source = tabling.named(_extensions(), got.name)
    folder = downloading.cache()
    was = downloading.here(source, folder)
    with _moving(source.name) as moved:
        path = downloading.download(source, folder=folder, mirror=mirror, moved=moved)
    tell(f"{'in the cache' if was else f'fetched from {got.url}'}; its SHA-256 is as it must be ({source.sha256[:12]})")
    table = tabling.converted(source, path)
    rows = tabling.write(table, target)
    after = tabling.commands(workload, source, target=target, timed=not table.keys().isdisjoint(MOMENTS))
    tell(f"{rows:,} rows, {len(table)} columns: {target}")
    tell("".join(f"{'next:' if i == 0 else '     '} {line}\n" for i, line in enumerate(after)).rstrip())
    return msgspec.structs.replace(got, rows=rows, columns=tuple(table), next=after)


def _extensions() -> tuple[Extension, ...]:
    found = settings.load()
    return find_all(found.workloads, source=found.source("workloads"))


@contextmanager
def _moving(name: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error, gone when the file is here."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=None, visible=False)

        def moved(done: int, size: int) -> None:
            bar.update(task, completed=done, total=size or None, visible=True)

        yield moved


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _quiet(_text: str) -> None:
    return
