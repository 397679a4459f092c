"""Backups of everything: one file with the database, the models' files, the archive and the datasets, and back.

The file is an ordinary tar. ``modelkeep-backup.json`` in it is written last: it names every other member with its
SHA-256, and counts the rows of every table, so that a backup that can be read is whole, and a restored one can be
compared with what was backed up.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from importlib import metadata
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct, ValidationError, json, structs

from modelkeep.errors import BadArtifact, Conflict, NotFound, StoreUnavailable
from modelkeep.jobs.backup import FOLDER
from modelkeep.jobs.exposed import exposed
from modelkeep.jobs.failpoints import failpoint
from modelkeep.jobs.rooms import Done, Rooms, Run
from modelkeep.store import durable
from modelkeep.store.folder import FolderFiles
from modelkeep.store.seams import Files, Store

CONTENTS = "modelkeep-backup.json"
_NAME = re.compile(r"(database|files|archive|datasets|configuration)/[A-Za-z0-9._/@-]+")
_BACKUP = re.compile(r"daily_backup_\d{8}(-\d+)?\.tar")
_BLOCK = 1 << 20
CONFIGURATION, RESTORED = "modelkeep.toml", "modelkeep.restored.toml"
KEPT = 7
Say = Callable[[str, str], None]


class Member(Struct, frozen=True, kw_only=True):
    """One file of a backup."""

    name: str
    sha256: str
    size: int


class Contents(Struct, frozen=True, kw_only=True):
    """What a backup holds: when, by which release, every file, and the rows of every table.

    ``chain`` is the digest of the newest entry of the audit chain; ``sealed`` that no record in it is in the clear.
    """

    at: float
    release: str
    rows: dict[str, int]
    members: tuple[Member, ...]
    chain: str = ""
    sealed: bool = False
    form: int = 1


class Save(Struct, frozen=True, kw_only=True):
    """Arguments of the task ``save``: where to, when not to the data folder's ``backups``."""

    path: str = ""


class Saved(Struct, frozen=True, kw_only=True):
    """A backup that was made: its file, bytes and SHA-256, what it holds, and older ones that went for it."""

    path: str
    size: int
    sha256: str
    rows: dict[str, int]
    files: int
    dropped: tuple[str, ...] = ()


def save(rooms: Rooms, run: Run, *, keep: int = KEPT) -> Done:
    """The task ``save``: back up everything, and keep the newest ``keep`` backups of the data folder."""
    asked = run.arguments(Save).path
    target = Path(asked) if asked else _free(rooms)
    if target.exists():
        raise Conflict(f"{target} is there already", remedy="give another path")
    found = write(rooms, target, say=lambda name, detail: run.step(name, detail=detail))
    dropped = () if asked else tuple(_dropped(rooms, keep=keep))
    return Done(result=structs.replace(found, dropped=dropped))


def saved(rooms: Rooms) -> list[Path]:
    """The backups of everything in the data folder, newest first."""
    folder = rooms.common / FOLDER
    found = [path for path in folder.glob("daily_backup_*.tar") if _BACKUP.fullmatch(path.name)]
    return sorted(found, key=lambda path: (path.stat().st_mtime, path.name), reverse=True)


def renew(rooms: Rooms) -> int:
    """After an erasure: one new backup takes the place of all older ones; how many went. None is made without any."""
    old = saved(rooms)
    if not old:
        return 0
    fresh = _free(rooms)
    write(rooms, fresh, say=lambda *_: None)
    for path in old:
        path.unlink(missing_ok=True)
    durable.sync_folder(fresh.parent)
    return len(old)


def write(rooms: Rooms, target: Path, *, say: Say) -> Saved:
    """Write a backup of everything to ``target``, whole or not at all, while the server serves.

    Raises StoreUnavailable when it cannot be written, BadArtifact naming a file that has changed.
    """
    cold = rooms.store.cold
    with (
        _disk(target.parent),
        durable.beside(target.parent) as part,
        cold.lock() if cold and cold.folder.is_dir() else nullcontext(),
    ):
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".database-") as scratch:
            rows = rooms.store.copy(Path(scratch))
            with rooms.store.read() as ledger:
                newest = ledger.acts.all(limit=1)
                sealed = ledger.persons.keys.sealer.encrypts
            sealed = sealed and not exposed(rooms)
            say("database", f"{sum(rows.values())} rows of {len(rows)} tables")
            failpoint("save.database")
            members: list[Member] = []
            with tarfile.open(part, "x") as tar:
                for name, path in _everything(rooms, Path(scratch)):
                    members.append(_packed(tar, name, path=path))
                contents = Contents(
                    at=rooms.clock.now(),
                    release=metadata.version("modelkeep"),
                    rows=rows,
                    members=tuple(members),
                    chain=newest[0].digest if newest else "",
                    sealed=sealed,
                )
                said = json.format(json.encode(contents), indent=1)
                info = tarfile.TarInfo(CONTENTS)
                info.size = len(said)
                tar.addfile(info, BytesIO(said))
        digest = durable.seal(part)
        failpoint("save.written")
        durable.settle(part, target)
    say("files", f"{len(members)} files")
    return Saved(path=str(target), size=target.stat().st_size, sha256=digest, rows=rows, files=len(members))


def contents(path: Path) -> Contents:
    """What a backup holds. Raises NotFound, BadArtifact when it is no whole backup."""
    if not path.is_file():
        raise NotFound("backup", str(path))
    try:
        with tarfile.open(path) as tar:
            file = tar.extractfile(CONTENTS)
            found = json.decode(file.read() if file else b"", type=Contents)
    except (tarfile.TarError, KeyError, ValidationError, OSError) as wrong:
        raise BadArtifact(f"{path} is no whole backup: {wrong}", remedy="take another one") from None
    for member in found.members:
        if not _NAME.fullmatch(member.name) or ".." in member.name.split("/"):
            raise BadArtifact(f"{path} holds a file that no backup has: {member.name!r}", remedy="take another one")
    return found


def restore(path: Path, folder: Path, *, store: Store, say: Say) -> Contents:
    """Put a backup into an empty data folder and an empty store; every byte is compared with its SHA-256.

    The database comes last: a restore that was broken off leaves none, and may be done again after the folder was
    emptied. Raises Conflict when something is there, BadArtifact when the backup is damaged.
    """
    found = contents(path)
    there = [name for name in ("files", "archive", "datasets") if (folder / name).exists()]
    if there:
        raise Conflict(f"{folder} holds {', '.join(there)} already", remedy="restore into an empty folder")
    durable.make_folder(folder)
    with _disk(folder), tempfile.TemporaryDirectory(dir=folder, prefix=".restoring-") as scratch:
        with tarfile.open(path) as tar:
            for member in found.members:
                kind, _, rest = member.name.partition("/")
                place = Path(scratch) / rest if kind == "database" else folder / kind / rest
                if kind == "configuration":  # one that is there says where to restore to, and stays
                    place = folder / (RESTORED if (folder / rest).exists() else rest)
                _unpacked(tar, member, place=place)
        say("files", f"{len(found.members)} files, each with its SHA-256")
        rows = store.fill(Path(scratch))
    wrong = {name: (count, rows.get(name)) for name, count in found.rows.items() if rows.get(name) != count}
    if wrong:
        raise BadArtifact(f"the restored database differs: rows of {wrong}", remedy="take another backup")
    say("database", f"{sum(rows.values())} rows of {len(rows)} tables, as many as were backed up")
    return found


def verify(folder: Path, *, store: Store, files: Files, found: Contents) -> list[str]:
    """What of a restored folder is not as it was backed up; empty when all is well."""
    wrong: list[str] = []
    with store.read() as ledger:
        broken = ledger.acts.verify()
        if broken is not None:
            wrong.append(f"the audit chain is broken at entry {broken}")
        newest = ledger.acts.all(limit=1)
        if found.chain != (newest[0].digest if newest else ""):
            wrong.append("the audit chain ends otherwise")
        listed = ledger.archive.partitions()
        versions = ledger.versions.all()
    kept = set(files.all())
    wrong += [
        f"the file {digest} of {version.name} is missing"
        for version in versions
        for digest in (version.artifact, version.features, version.runner and version.runner.plan)
        if digest and digest not in kept
    ]
    cold = FolderFiles(folder / "archive")
    for partition in listed:
        try:
            cold.path(partition.digest)
        except (NotFound, BadArtifact) as fault:
            wrong.append(f"archive of {partition.model} {partition.period}: {fault}")
    return wrong


def _everything(rooms: Rooms, scratch: Path) -> Iterator[tuple[str, Path]]:
    """Every file of a backup, with the name that it has there."""
    for path in sorted(scratch.iterdir()):
        yield f"database/{path.name}", path
    for digest in rooms.files.all():
        yield f"files/{digest[:2]}/{digest}", rooms.files.path(digest)
    if rooms.store.cold is not None:
        with rooms.store.read() as ledger:
            listed = [p.digest for p in ledger.archive.partitions()]
        for digest in dict.fromkeys(listed):
            rooms.store.cold.verify(digest)
            yield f"archive/{digest[:2]}/{digest}", rooms.store.cold.path(digest)
    datasets = rooms.common / "datasets"
    for path in sorted(datasets.glob("*/*")) if datasets.is_dir() else []:
        if path.is_file() and not path.name.startswith("."):
            yield f"datasets/{path.parent.name}/{path.name}", path
    if (rooms.folder / CONFIGURATION).is_file():
        yield f"configuration/{CONFIGURATION}", rooms.folder / CONFIGURATION


def _packed(tar: tarfile.TarFile, name: str, *, path: Path) -> Member:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        info = tarfile.TarInfo(name)
        info.size = path.stat().st_size
        tar.addfile(info, _Read(file, digest.update))
    return Member(name=name, sha256=digest.hexdigest(), size=info.size)


def _unpacked(tar: tarfile.TarFile, member: Member, *, place: Path) -> None:
    try:
        source = tar.extractfile(member.name)
    except KeyError:
        source = None
    if source is None:
        raise BadArtifact(f"the backup lacks {member.name}", remedy="take another one")
    durable.make_folder(place.parent)
    with durable.beside(place.parent) as part:
        found = durable.write(part, source)  # type: ignore[arg-type] # it reads, and that is all that is asked of it
        if found != member.sha256:
            raise BadArtifact(
                f"{member.name} has changed in the backup: {found}, not {member.sha256}", remedy="take another one"
            )
        part.replace(place)


class _Read:
    """A file that tells what is read from it."""

    def __init__(self, file: BinaryIO, note: Callable[[bytes], None]) -> None:
        self._file, self._note = file, note

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        block = self._file.read(size)
        self._note(block)
        return block


def _free(rooms: Rooms) -> Path:
    """A name with today's date that no backup has."""
    folder = rooms.common / FOLDER
    day = datetime.fromtimestamp(rooms.clock.now(), UTC).strftime("%Y%m%d")
    names = (f"daily_backup_{day}{f'-{n}' if n else ''}.tar" for n in range(10_000))
    return next(folder / name for name in names if not (folder / name).exists())


def _dropped(rooms: Rooms, *, keep: int) -> Iterator[str]:
    """Delete the oldest backups; the newest ``keep`` stay, and those that cannot be read do not count."""
    whole = []
    for path in saved(rooms):
        try:
            contents(path)
        except BadArtifact:
            continue
        whole.append(path)
    for path in whole[keep:]:
        path.unlink()
        yield path.name


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as cause:
        raise StoreUnavailable(f"cannot write {folder}: {cause.strerror or cause}") from cause
