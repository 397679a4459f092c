"""The rows that versions were trained on, as they are kept: sealed where records are, and found by who is in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from modelkeep.errors import NotFound
from modelkeep.jobs.rooms import Rooms
from modelkeep.runtimes import kept
from modelkeep.runtimes.training import TrainingRows
from modelkeep.store.people import Entity
from modelkeep.store.traces import Name


def put(rooms: Rooms, file: Path) -> str:
    """Keep a file of training rows; its digest."""
    with rooms.store.write() as ledger:
        data = ledger.persons.keys.shut(file.read_bytes(), at=rooms.clock.now())
    return rooms.files.put(data)


def read(rooms: Rooms, digest: str) -> TrainingRows:
    """The rows of a file. Raises NotFound, and BadArtifact when it holds none."""
    data = rooms.files.path(digest).read_bytes()
    with rooms.store.read() as ledger:
        return kept.decode(ledger.persons.keys.open(data), name=digest)


def erase(rooms: Rooms, *, name: Name, entities: Sequence[Entity]) -> int:
    """Remove every file of training rows in which a person is: by name, or as the key of a model; how many."""
    with rooms.store.read() as ledger:
        versions = [version for version in ledger.versions.all() if version.lineage.history is not None]
    gone, there = 0, set(rooms.files.all())
    for version in versions:
        digest = version.lineage.history or ""
        if digest not in there:
            continue
        try:
            rows = read(rooms, digest)
        except NotFound:
            continue
        body, keys = msgspec.json.encode(rows), set(rows.keys)
        own = any(model == version.model and key in keys for model, key in entities)
        if own or any(needle in body for needle in name.needles):
            gone += bool(rooms.files.remove(digest))
            there.discard(digest)
    return gone
