"""The command ``restore``: a backup becomes a data folder again, compared with what was backed up."""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter
from msgspec import Struct

from modelkeep import settings
from modelkeep.edge.cli import show
from modelkeep.edge.cli.options import USUAL, Common
from modelkeep.edge.cli.usage import DONE, REFUSED, complain, guarded


class Restored(Struct, frozen=True, kw_only=True):
    """What was restored, where to, and what is not as it was backed up; ``rows`` counts those of every table."""

    folder: str
    backed_up: str
    release: str
    files: int
    rows: dict[str, int]
    seconds: float
    verified: bool
    wrong: tuple[str, ...]


def restore(
    file: Annotated[Path, Parameter(help="A backup of everything, as `modelkeep backup` makes it")],
    *,
    verify: Annotated[
        bool, Parameter(negative="", help="Also compare the restored folder with what was backed up, file by file")
    ] = False,
    dry_run: Annotated[bool, Parameter(negative="", help="Say what the backup holds; write nothing")] = False,
    common: Common = USUAL,
) -> int:
    """Restore a backup of everything into an empty data folder (-C), and an empty database where it is a server's.

    Every byte is compared with its SHA-256, the rows of every table are counted. Refused where something is.
    """

    def act() -> int:
        began = time.perf_counter()
        saving = importlib.import_module("modelkeep.jobs.saving")
        held = saving.contents(file)
        quantities = importlib.import_module("modelkeep.quantities")
        folder = common.folder or Path("modelkeep-data")
        wrong: tuple[str, ...] = ()
        if not dry_run:
            folder.mkdir(mode=0o750, parents=True, exist_ok=True)
            found = settings.load(folder=folder)
            store = importlib.import_module("modelkeep.app").open_store(found)
            try:
                place = found.common
                saving.restore(file, place, store=store, say=_say)
                store.open()
                if verify:
                    files = importlib.import_module("modelkeep.store.folder").FolderFiles(place / "files")
                    wrong = tuple(saving.verify(place, store=store, files=files, found=held))
            finally:
                store.close()
        answer = Restored(
            folder=str(folder),
            backed_up=quantities.iso(held.at),
            release=held.release,
            files=len(held.members),
            rows={name: count for name, count in held.rows.items() if count},
            seconds=time.perf_counter() - began,
            verified=verify and not dry_run and not wrong,
            wrong=wrong,
        )
        show.result("restore", msgspec.json.encode(answer), as_json=common.json)
        if wrong:
            complain("the restored folder is not as it was backed up", "; ".join(wrong[:5]))
            return REFUSED
        return DONE

    return guarded(act)


def _say(name: str, detail: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"{name}: {detail}\n")
