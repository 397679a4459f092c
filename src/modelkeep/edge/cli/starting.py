"""``modelkeep up``, from its words to the server, without the library that reads every other command.

cyclopts, and the functions that it makes of all operations, are a fifth of a second, and a server is started again when
somebody waits for it. So the words of ``up`` are read here where they are plain; what is not (a mistake, ``--help``) is
left to cyclopts, which knows the same options, and says what is wrong in the words of every command.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from modelkeep import settings
from modelkeep.edge.cli.usage import DONE, STOPPED, guarded

_NAMES = {"-p": "--port", "--port": "--port", "--host": "--host", "-C": "--folder", "--folder": "--folder"}


class Wanted(Struct, frozen=True, kw_only=True):
    """Where to listen, and on which data folder."""

    ports: tuple[int, ...] = ()
    host: str | None = None
    folder: Path | None = None


def plain(words: Sequence[str]) -> Wanted | None:
    """What the words after ``up`` ask for; None where they are not all options of it with one fit value each.

    >>> plain(["-p", "8000", "--port=8001", "-C", "data"])
    Wanted(ports=(8000, 8001), host=None, folder=PosixPath('data'))
    >>> plain(["--help"])
    """
    ports: list[int] = []
    texts: dict[str, str] = {}
    left = list(words)
    while left:
        word, equals, value = left.pop(0).partition("=")
        name = _NAMES.get(word)
        if name is None or (equals and word[:2] != "--") or not (equals or left):
            return None
        value = value if equals else left.pop(0)
        if not value or value[0] == "-" or name in texts:
            return None
        if name != "--port":
            texts[name] = value
        elif value.isascii() and value.isdecimal():
            ports.append(int(value))
        else:
            return None
    folder = texts.get("--folder")
    return Wanted(ports=tuple(ports), host=texts.get("--host"), folder=Path(folder) if folder else None)


def run(words: Sequence[str]) -> int | None:
    """Run the server until Ctrl-C, and answer the exit code; None where the words are not ``plain``."""
    wanted = plain(words)
    if wanted is None:
        return None
    try:
        return guarded(lambda: up(wanted))
    except KeyboardInterrupt:  # before there was a server to stop
        return STOPPED


def up(wanted: Wanted) -> int:
    """Run the server until Ctrl-C. Raises what the settings, the store and the ports are refused with."""
    flags = {"server.listen": list(wanted.ports) or None, "server.host": wanted.host}
    found = settings.load(folder=wanted.folder, flags=flags)
    # The store and its rooms, uvicorn and Starlette are imported for a server only.
    server = importlib.import_module("modelkeep.edge.server")
    with importlib.import_module("modelkeep.app").App.open(found) as app:
        server.serve(app, tell=_say)
    return DONE


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
