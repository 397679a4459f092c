"""The commands on people that are no acts of the server: making a master key."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from modelkeep.edge.cli import acts
from modelkeep.edge.cli.usage import DONE, guarded
from modelkeep.errors import Conflict

privacy: App = acts.COMMANDS["privacy"]


@privacy.command
def key(file: Annotated[Path, Parameter(help="The file to make; nobody else will be able to read it")]) -> int:
    """Make a master key in a new file, for encryption at rest."""

    def act() -> int:
        try:
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as cause:
            raise Conflict(f"{file}: {cause.strerror}", remedy="give a new file in a folder of yours") from None
        with os.fdopen(handle, "w", encoding="ascii") as opened:
            opened.write(f"{secrets.token_urlsafe(32)}\n")
        sys.stdout.write(
            f"made {file}; keep a copy elsewhere: without it sealed records are lost\n"
            f'next: privacy.encrypt = true and privacy.key = "file:{file.absolute()}"\n'
        )
        return DONE

    return guarded(act)
