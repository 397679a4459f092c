"""Acts done here, on the data folder itself, when no server runs on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from modelkeep.app import App
from modelkeep.edge import decoding
from modelkeep.errors import BadSettings, NotFound
from modelkeep.operations import OPERATIONS, training
from modelkeep.operations.act import Operation
from modelkeep.operations.uploads import Incoming
from modelkeep.settings import Settings
from modelkeep.workload import workloads


def do(settings: Settings, operation: Operation[Any, Any], *, values: Mapping[str, Any]) -> bytes:
    """Do an act and answer the JSON of its result. Raises what the act refuses with."""
    request = decoding.build(operation.request, values)
    if not settings.folder.is_dir():
        # Made here, it would be empty, and all would seem well in a folder whose name was misspelt.
        raise BadSettings(
            f"no data folder {str(settings.folder)!r}", remedy="name another with -C, or make it: modelkeep init"
        )
    with opened(settings) as app:
        if operation not in OPERATIONS and not any(operation in each.operations for each in workloads(app)):
            raise NotFound("act", operation.name, known=settings.workloads)
        return msgspec.json.encode(operation.run(app, request))


def train(settings: Settings, values: Mapping[str, Any], *, say: Callable[[str, str], None]) -> bytes:
    """Train here and now, telling each stage; the JSON of the ended job. Raises what speaks against the data."""
    if not settings.folder.is_dir():
        raise BadSettings(
            f"no data folder {str(settings.folder)!r}", remedy="name another with -C, or make it: modelkeep init"
        )
    with opened(settings) as app:
        return msgspec.json.encode(training.train(app, decoding.build(training.Train, values), say=say))


@contextmanager
def opened(settings: Settings) -> Iterator[App]:
    """The app on its data folder, without a server. Raises Conflict while a server holds the folder."""
    app = App.open(settings)
    try:
        yield app
    finally:
        app.stop()


def receive(settings: Settings, source: Path | bytes) -> str:
    """Put a file where ``register`` looks for what was sent; its digest."""
    with opened(settings) as app:
        incoming = Incoming(app)
        try:
            if isinstance(source, bytes):
                incoming.write(source)
            else:
                with source.open("rb") as file:
                    while piece := file.read(1 << 20):
                        incoming.write(piece)
            return incoming.done()
        finally:
            incoming.drop()
