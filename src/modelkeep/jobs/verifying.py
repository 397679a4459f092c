"""Looks whether everything that is kept fits together, and mends what can be mended without guessing."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator

from msgspec import Struct

from modelkeep.errors import BadArtifact, NotFound
from modelkeep.jobs import saving
from modelkeep.jobs.backup import FOLDER
from modelkeep.jobs.rooms import Rooms
from modelkeep.nouns import Version
from modelkeep.quantities import iso
from modelkeep.store import durable
from modelkeep.store.archive.upkeep import Archive
from modelkeep.store.seams import Ledger

ORPHANS = "orphans"
YOUNG = 86400.0
"""A file that nobody names is left alone for so many seconds: somebody may be about to name it."""


class Finding(Struct, frozen=True, kw_only=True):
    """Something that does not fit: what kind, about what, in words; ``remedy`` for what was not mended.

    ``harmless`` ones are no fault: space that could be freed.
    """

    kind: str
    subject: str
    detail: str
    mended: bool = False
    harmless: bool = False
    remedy: str = ""


def findings(rooms: Rooms, *, mend: bool, quick: bool, say: Callable[[str], None]) -> Iterator[Finding]:
    """Everything that does not fit. ``quick`` leaves out what reads every record."""
    say("database")
    yield from (
        Finding(kind="database", subject="database", detail=wrong, remedy="stop the server and restore a backup")
        for wrong in rooms.store.faults()
    )
    say("audit chain")
    with rooms.store.read() as ledger:
        broken = ledger.acts.verify()
        versions = ledger.versions.all()
        yield from _rollouts(ledger, versions)
    if broken is not None:
        yield Finding(
            kind="chain", subject="acts", detail=f"the audit chain is broken at entry {broken}",
            remedy="somebody changed it: compare with a backup",
        )  # fmt: skip
    say("models' files")
    yield from _files(rooms, versions, mend=mend)
    say("archive")
    yield from _archive(rooms, mend=mend)
    try:
        say("counts")
        yield from _counts(rooms, mend=mend)
        if not quick:
            say("sums")
            yield from _sums(rooms, mend=mend)
    except (NotFound, BadArtifact) as fault:
        yield Finding(
            kind="unknown", subject="records", detail=f"counts and sums cannot be compared: {fault.message}",
            remedy="mend the archive first",
        )  # fmt: skip


def _rollouts(ledger: Ledger, versions: list[Version]) -> Iterator[Finding]:
    known = {(version.model, version.number) for version in versions}
    for rollout in ledger.rollouts.all():
        for role in ("champion", "challenger", "fallback", "previous"):
            number = getattr(rollout, role)
            if number is not None and (rollout.model, number) not in known:
                yield Finding(
                    kind="rollout", subject=rollout.model, detail=f"its {role} is version {number}, which is not there",
                    remedy=f"release another version of {rollout.model}",
                )  # fmt: skip


def _named(version: Version) -> Iterator[tuple[str, str]]:
    """The files that a version names, each with what it is."""
    for what, digest in (
        ("model file", version.artifact),
        ("feature code", version.features),
        ("reference", version.baseline.reference),
        ("training rows", version.lineage.history),
    ):
        if digest:
            yield what, digest


def _files(rooms: Rooms, versions: list[Version], *, mend: bool) -> Iterator[Finding]:
    there, named, seen = set(rooms.files.all()), set[str](), set[str]()
    for version in versions:
        for what, digest in _named(version):
            named.add(digest)
            if digest in seen:
                continue
            seen.add(digest)
            try:
                rooms.files.path(digest)
            except (NotFound, BadArtifact) as fault:
                lost = "is missing" if isinstance(fault, NotFound) else "has changed on disk"
                mended = mend and _brought_back(rooms, digest)
                yield Finding(
                    kind="file", subject=version.name, detail=f"its {what} {digest[:12]} {lost}", mended=mended,
                    remedy="" if mended else "--repair looks for it in the data folder's backups; or register it anew",
                )  # fmt: skip
    for digest in sorted(there - named):
        path = rooms.common / "files" / digest[:2] / digest
        if not path.exists() or rooms.clock.now() - path.stat().st_mtime < YOUNG:
            continue
        size = path.stat().st_size
        if mend:
            durable.make_folder(rooms.common / ORPHANS)
            path.replace(rooms.common / ORPHANS / digest)
        yield Finding(
            kind="orphan", subject=digest[:12], detail=f"no version names this file of {size} bytes",
            mended=mend, harmless=True, remedy="" if mend else f"--repair moves it to {ORPHANS}/",
        )  # fmt: skip


def _archive(rooms: Rooms, *, mend: bool) -> Iterator[Finding]:
    cold = rooms.store.cold
    if cold is None:
        return
    with rooms.store.read() as ledger:
        partitions = ledger.archive.partitions()
        kept = {p.digest for p in (*partitions, *ledger.archive.retired())}
    for partition in partitions:
        try:
            cold.verify(partition.digest)
        except (NotFound, BadArtifact) as fault:
            lost = "is missing" if isinstance(fault, NotFound) else "has changed on disk"
            mended = mend and _from_tar(rooms, "archive", digest=partition.digest)
            yield Finding(
                kind="archive", subject=partition.model, mended=mended,
                detail=f"the file {partition.digest[:12]} with {partition.rows} predictions of "
                f"{iso(partition.at_low)} to {iso(partition.at_high)} {lost}",
                remedy="" if mended else "restore it from a backup (--repair looks in the data folder's)",
            )  # fmt: skip
    loose = [digest for digest in (cold.all() if cold.folder.is_dir() else []) if digest not in kept]
    if loose:
        freed = Archive(rooms.store).tidy(at=rooms.clock.now()) if mend else 0
        yield Finding(
            kind="orphan", subject="archive", mended=mend, harmless=True,
            detail=f"{len(loose)} files of the archive are listed nowhere{f': {freed} bytes freed' if mend else ''}",
            remedy="" if mend else "--repair removes them, and so does the next archive job",
        )  # fmt: skip


def _counts(rooms: Rooms, *, mend: bool) -> Iterator[Finding]:
    with rooms.store.read() as ledger:
        alone, untold = ledger.archive.audit(rooms.store.cold).adrift()
        wrong = ledger.archive.audit(rooms.store.cold).counts(ledger.archive.asked())
    if alone or untold:
        yield Finding(
            kind="matches", subject="records",
            detail=f"{alone} joined outcomes without their prediction, {untold} without their outcome",
            remedy="restore a backup",
        )  # fmt: skip
    if wrong and mend:
        with rooms.store.write() as ledger:
            ledger.archive.audit(rooms.store.cold).counts([one.model for one in wrong], mend=True)
    for one in wrong:
        yield Finding(
            kind="count", subject=one.model, mended=mend,
            detail=f"{one.kept[0]} predictions and {one.kept[1]} outcomes are counted, "
            f"{one.real[0]} and {one.real[1]} are there",
            remedy="" if mend else "--repair counts anew",
        )  # fmt: skip


def _sums(rooms: Rooms, *, mend: bool) -> Iterator[Finding]:
    with rooms.store.read() as ledger:
        models = ledger.archive.asked()
    for model in models:
        with rooms.store.read() as ledger:
            wrong = ledger.archive.audit(rooms.store.cold).sums(model)
        if wrong and mend:
            with rooms.store.write() as ledger:
                ledger.archive.audit(rooms.store.cold).sums(model, mend=True)
        for one in wrong:
            yield Finding(
                kind="sums", subject=f"{model}@{one.version}", mended=mend,
                detail=f"the hour {iso(one.hour)} ({one.role}) sums {one.kept} pairs, its records are {one.real}, "
                "and the sums differ",
                remedy="" if mend else "--repair sums it anew from its records",
            )  # fmt: skip


def _brought_back(rooms: Rooms, digest: str) -> bool:
    """Put a file back from the data folder's backups; whether there was one."""
    for path in (rooms.common / FOLDER).glob("*"):
        if path.suffix in {".model", ".features"}:
            with path.open("rb") as file:
                if durable.digest_of(file) == digest:
                    return rooms.files.put(path) == digest
    return _from_tar(rooms, "files", digest=digest)


def _from_tar(rooms: Rooms, kind: str, *, digest: str) -> bool:
    """Take a file out of the newest backup of everything that has it whole."""
    name = f"{kind}/{digest[:2]}/{digest}"
    for path in saving.saved(rooms):
        try:
            with tarfile.open(path) as tar:
                source = tar.extractfile(name)
                if source is None:
                    continue
                place = rooms.common / name
                durable.make_folder(place.parent)
                with durable.beside(place.parent) as part:
                    if durable.write(part, source) == digest:  # type: ignore[arg-type] # it reads, and no more is asked
                        durable.settle(part, place)
                        return True
        except (tarfile.TarError, KeyError, OSError):
            continue
    return False
