"""Commands with a form of their own: a new data folder, the server, the configuration, completion."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cyclopts import App, Parameter
from msgspec import Struct

from modelkeep import settings
from modelkeep.edge.cli import acts, starting, tree
from modelkeep.edge.cli.options import USUAL, Common
from modelkeep.edge.cli.usage import DONE, REFUSED, complain, guarded
from modelkeep.errors import BadSettings

TEMPLATE = """\
# Modelkeep's configuration. Every key is optional; `modelkeep config show` lists them all with their values,
# docs/settings.md tells what each is for.

[server]
# host = "127.0.0.1"                  # another address needs a token
# listen = [8000]
# token = "env:MODELKEEP_TOKEN"       # a reference, never the secret itself

[recorder]
# durability = "sync"                 # "async" answers before the record is on disk

# [models.churn]                      # what the owner of a model wants
# targets = { recall = 0.5 }
"""


class Check(Struct, frozen=True, kw_only=True):
    """One thing that must be so."""

    what: str
    fine: bool
    detail: str


class Checked(Struct, frozen=True, kw_only=True):
    """What ``init`` and ``config check`` found."""

    folder: str
    file: str
    models: str
    checks: tuple[Check, ...]


def init(
    folder: Annotated[Path | None, Parameter(help="The data folder to make")] = None, *, common: Common = USUAL
) -> int:
    """Make a data folder ready, and check that everything needed is there."""

    def act() -> int:
        place = folder or common.folder or Path("modelkeep-data")
        try:
            place.mkdir(mode=0o750, parents=True, exist_ok=True)
            file = place / "modelkeep.toml"
            if not file.exists():
                file.write_text(TEMPLATE, encoding="utf-8")
        except OSError as cause:
            raise BadSettings(f"{place}: {cause.strerror}", remedy="choose a folder that can be written") from None
        found = settings.load(folder=place)
        # The store and its migrations are imported for the commands that open them.
        local = importlib.import_module("modelkeep.edge.cli.local")
        with local.opened(found):
            pass
        return _tell(found, common, said=f"ready: {place}\nnext: modelkeep up{_flag(place)}")

    return guarded(act)


def up(
    *,
    port: Annotated[
        tuple[int, ...], Parameter(name=["--port", "-p"], help="Port, or several; 0 takes a free one")
    ] = (),
    host: Annotated[str | None, Parameter(help="Address to listen on; another than 127.0.0.1 needs a token")] = None,
    common: Common = USUAL,
) -> int:
    """Run the server until Ctrl-C."""
    return guarded(lambda: starting.up(starting.Wanted(ports=port, host=host, folder=common.folder)))


config: App = acts.COMMANDS["config"]


@config.command
def check(*, common: Common = USUAL) -> int:
    """Read the configuration and everything that it points to; exit code 1 names the key that is wrong."""

    def act() -> int:
        return _tell(settings.load(folder=common.folder), common, said="configuration loaded successfully")

    return guarded(act)


def completion(shell: Annotated[Literal["bash", "zsh", "fish"], Parameter(help="bash, zsh or fish")]) -> int:
    """Print the completion script of a shell: bash, zsh or fish.

    For example: eval "$(modelkeep completion bash)"
    """
    _say(tree.build().generate_completion(shell=shell))
    return DONE


def _tell(found: settings.Settings, common: Common, *, said: str) -> int:
    checks = tuple(_checks(found))
    bad = [one for one in checks if not one.fine]
    if common.json:
        shown = Checked(
            folder=str(found.folder), file=str(found.file or ""), models=str(found.folder / "files"), checks=checks
        )
        _say(msgspec.json.format(msgspec.json.encode(shown), indent=2).decode())
    else:
        for one in checks:
            _say(f"{'ok  ' if one.fine else 'BAD '} {one.what}: {one.detail}")
        if not bad:
            _say(said)
    for one in bad:
        complain(f"{one.what}: {one.detail}")
    return REFUSED if bad else DONE


def _checks(found: settings.Settings) -> Iterator[Check]:
    python = ".".join(str(part) for part in sys.version_info[:3])
    yield Check(what="Python", fine=sys.version_info >= (3, 11), detail=f"{python} (3.11 or newer is needed)")
    missing = sorted(_missing())
    yield Check(
        what="packages", fine=not missing, detail=f"missing: {', '.join(missing)}" if missing else "all are installed"
    )
    yield Check(what="configuration", fine=True, detail=str(found.file or "no file, built-in values"))
    # What workloads bring is imported for this check and for a server only.
    extensions = importlib.import_module("modelkeep.extending").find_all(
        found.workloads, source=found.source("workloads")
    )
    importlib.import_module("modelkeep.edge.mounting").mounted(extensions)
    yield Check(what="workloads", fine=True, detail=", ".join(each.name for each in extensions) or "none")
    writable = _writable(found.folder)
    yield Check(what="data folder", fine=writable, detail=f"{found.folder}{'' if writable else ' cannot be written'}")
    free = shutil.disk_usage(_existing(found.folder)).free / 1024**3
    yield Check(what="disk", fine=free > 0.1, detail=f"{free:.1f} GB free")
    yield Check(what="model files", fine=True, detail=str(found.folder / "files"))
    if found.server.token is not None:
        found.server.token.reveal()
    if found.server.grpc is not None:
        there = all(map(_importable, ("grpc", "google.protobuf")))
        lacks = "server.grpc needs packages that are missing: pip install 'modelkeep[grpc]'"
        if there:
            importlib.import_module("modelkeep.edge.rpc.securing").credentials(found)
        yield Check(what="gRPC", fine=there, detail=f"port {found.server.grpc}" if there else lacks)
    for port in found.server.listen:
        taken = _taken(found.server.host, port)
        yield Check(what=f"port {port}", fine=True, detail="in use (is the server running?)" if taken else "free")


def _missing() -> Iterator[str]:
    """Names of needed packages that are not installed."""
    for requirement in metadata.requires("modelkeep") or ():
        if ";" in requirement:
            continue  # for other systems, or an extra
        name = requirement.partition(">")[0].strip()
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            yield name


def _importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ModuleNotFoundError, ValueError):
        return False


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.absolute().parents) if place.exists())


def _writable(folder: Path) -> bool:
    return os.access(_existing(folder), os.W_OK)


def _taken(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.settimeout(0.2)
        return port != 0 and probe.connect_ex((host, port)) == 0


def _flag(folder: Path) -> str:
    return "" if folder == Path("modelkeep-data") else f" -C {folder}"


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
