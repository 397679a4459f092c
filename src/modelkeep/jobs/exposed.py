"""What lies on disk in the clear, where the store encrypts what it keeps."""

from __future__ import annotations

from modelkeep.errors import NotFound
from modelkeep.jobs.rooms import Rooms
from modelkeep.store.archive.upkeep import Archive
from modelkeep.store.sealing import MARK


def exposed(rooms: Rooms) -> list[str]:
    """What lies in the clear, in words; empty when every record, summary and file of archive and datasets is sealed."""
    with rooms.store.read() as ledger:
        hot, summaries = ledger.persons.clear_by_model(), ledger.persons.clear_summaries()
    found = [f"{n} records of {model}" for model, n in sorted(hot.items())]
    if summaries:
        found.append(f"{summaries} hourly summaries")
    if rooms.store.cold is not None:
        for model, n in sorted(Archive(rooms.store).clear().items()):
            found.append(
                f"{n} archived records of {model}" if model else f"{n} records in replaced files of the archive"
            )
    return found + [f"{n} files of the dataset {name}" for name, n in rooms.datasets.clear().items()]


def histories(rooms: Rooms) -> list[str]:
    """The versions whose training rows were kept before encryption was switched on: a version never changes."""
    with rooms.store.read() as ledger:
        versions = ledger.versions.all()
    return [
        f"the training rows of {v.name}" for v in versions if v.lineage.history and _plain(rooms, v.lineage.history)
    ]


def _plain(rooms: Rooms, digest: str) -> bool:
    try:
        with rooms.files.path(digest).open("rb") as file:
            return file.read(1) != MARK
    except NotFound:  # erased with a person
        return False
