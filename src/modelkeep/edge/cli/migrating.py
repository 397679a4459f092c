"""The command that changes a shared database: its schema is brought up to date when a person says so."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter
from msgspec import Struct

from modelkeep import settings
from modelkeep.edge.cli.options import USUAL, Common
from modelkeep.edge.cli.usage import DONE, guarded


class Migrated(Struct, frozen=True, kw_only=True):
    """The migrations that ran, oldest first, or that would run; ``store`` is shown without its password."""

    store: str
    ran: tuple[str, ...] = ()
    would_run: tuple[str, ...] = ()


def migrate(
    *,
    dry_run: Annotated[bool, Parameter(name="--dry-run", negative="", help="Only tell what would run")] = False,
    common: Common = USUAL,
) -> int:
    """Bring the database's schema up to this release, in one transaction; running servers may go on."""

    def act() -> int:
        found = settings.load(folder=common.folder)
        # The store and its migrations are imported for the commands that open it here.
        store = importlib.import_module("modelkeep.app").open_store(found)
        name = str(found.store.url or found.database)
        try:
            if dry_run:
                done = Migrated(store=name, would_run=tuple(store.pending()))
            else:
                _ready(found.folder)
                done = Migrated(store=name, ran=tuple(store.migrate()))
        finally:
            store.close()
        sys.stdout.write(f"{_json(done) if common.json else _said(done, dry_run=dry_run)}\n")
        return DONE

    return guarded(act)


def _ready(folder: Path) -> None:
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)


def _json(done: Migrated) -> str:
    return msgspec.json.format(msgspec.json.encode(done), indent=2).decode()


def _said(done: Migrated, *, dry_run: bool) -> str:
    names = done.would_run if dry_run else done.ran
    if not names:
        return f"{done.store} is up to date"
    return f"{done.store}: {'would run' if dry_run else 'ran'} {', '.join(names)}"
