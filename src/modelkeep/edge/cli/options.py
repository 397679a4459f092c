"""What every command takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Common:
    """Where to act, and how to answer."""

    folder: Annotated[Path | None, Parameter(name=["--folder", "-C"], help="Data folder (modelkeep-data)")] = None
    server: Annotated[
        str, Parameter(name="--server", help="Address of a running server, such as http://127.0.0.1:8000")
    ] = ""
    json: Annotated[bool, Parameter(name="--json", negative="", help="Answer in JSON")] = False


USUAL = Common()
