"""Backups of models: copies of the artifact and the feature code beside the store, with their checksums.

``folder/backups/ID.model`` and ``ID.features`` are the copies, ``ID.json`` the entry; the entry is written last, so an
entry that can be read is a backup that is whole.
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct, ValidationError, json

from modelkeep.errors import BadArtifact, StoreUnavailable
from modelkeep.jobs.failpoints import failpoint
from modelkeep.jobs.rooms import Done, Rooms, Run
from modelkeep.nouns import Version
from modelkeep.quantities import iso
from modelkeep.store import durable

FOLDER = "backups"


class Backup(Struct, frozen=True, kw_only=True):
    """One backup of one version. ``path`` is its artifact's copy, relative to the shared folder; ``size`` in bytes.

    ``sha256`` is the artifact's digest as it was read back from the copy; ``features`` likewise, of the feature code.
    """

    id: str
    at: float
    model: str
    version: int
    sha256: str
    path: str
    size: int
    features: str | None = None


class BackUp(Struct, frozen=True, kw_only=True):
    """Arguments of the task ``backup``: one model's champion, or every model's without ``model``."""

    model: str | None = None


class BackedUp(Struct, frozen=True, kw_only=True):
    """What the task ``backup`` made."""

    backups: tuple[Backup, ...]


def back_up(rooms: Rooms, version: Version) -> Backup:
    """Copy a version's files into ``folder/backups`` and read the copies back. The act of a deploy before it begins.

    Raises BadArtifact when the kept file or its copy is not what was registered, StoreUnavailable when it cannot be
    written.
    """
    at = rooms.clock.now()
    folder = rooms.common / FOLDER
    stamp = re.sub(r"[^0-9TZ]", "", iso(at))
    base = f"{re.sub(r'[^A-Za-z0-9._-]', '_', version.model)}@{version.number}-{stamp}"
    with _disk(folder):
        name = _free(folder, base)
        model = _copy(rooms.files.path(version.artifact), folder / f"{name}.model", digest=version.artifact)
        if version.features is not None:
            _copy(rooms.files.path(version.features), folder / f"{name}.features", digest=version.features)
        failpoint("backup.copied")
        entry = Backup(
            id=name,
            at=at,
            model=version.model,
            version=version.number,
            sha256=version.artifact,
            path=f"{FOLDER}/{name}.model",
            size=model,
            features=version.features,
        )
        _write(folder / f"{name}.json", json.format(json.encode(entry), indent=2))
    return entry


def backups(rooms: Rooms) -> list[Backup]:
    """Every backup that is whole, newest first. Raises BadArtifact naming an entry that cannot be read."""
    found = []
    for path in (rooms.common / FOLDER).glob("*.json"):
        try:
            found.append(json.decode(path.read_bytes(), type=Backup))
        except ValidationError as wrong:
            raise BadArtifact(f"{path} is not a backup's entry: {wrong}", remedy="move it away") from None
    return sorted(found, key=lambda backup: (backup.at, backup.id), reverse=True)


def backup(rooms: Rooms, run: Run) -> Done:
    """The task ``backup``: back up the champion of one model or of all."""
    wanted = run.arguments(BackUp).model
    with rooms.store.read() as ledger:
        champions = [
            ledger.versions.get(rollout.model, rollout.champion)
            for rollout in ledger.rollouts.all()
            if wanted in {None, rollout.model}
        ]
        if wanted is not None and not champions:
            champions = ledger.versions.all(wanted)[-1:] or [ledger.versions.get(wanted, 1)]
    return Done(result=BackedUp(backups=tuple(back_up(rooms, version) for version in champions)))


def _free(folder: Path, base: str) -> str:
    """An id that no backup has: two in one millisecond get a number."""
    taken = (f"{base}-{n}" if n else base for n in range(10_000))
    return next(name for name in taken if not (folder / f"{name}.json").exists())


def _copy(source: Path, target: Path, *, digest: str) -> int:
    """Copy, make durable, read back and compare; the bytes copied."""
    _write(target, source)
    with target.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != digest:
        target.unlink()
        raise BadArtifact(f"the copy of {source.name} has digest {found}, not {digest}", remedy="check the disk")
    return target.stat().st_size


def _write(target: Path, content: Path | bytes) -> None:
    with durable.beside(target.parent) as part:
        durable.write(part, content)
        durable.settle(part, target)


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as cause:
        raise StoreUnavailable(f"cannot write {folder}: {cause.strerror or cause}") from cause
