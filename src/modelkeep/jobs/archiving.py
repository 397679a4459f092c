"""The task ``archive``: predictions older than the hot window go to files, and what is too old for its policy goes."""

from __future__ import annotations

import math

from msgspec import Struct

from modelkeep.jobs.failpoints import failpoint
from modelkeep.jobs.rooms import Done, Rooms, Run
from modelkeep.quantities import DAY, duration, iso
from modelkeep.store.archive.upkeep import Archive

HOT = 90 * DAY
TOLD = 20_000
"""Progress is told about every so many records."""


class Archiving(Struct, frozen=True, kw_only=True):
    """Arguments of the task ``archive``: one model or all, and the age in seconds (each model's own without it)."""

    model: str | None = None
    older_than: float | None = None


class Sealed(Struct, frozen=True, kw_only=True):
    """What became of one model.

    ``archived`` predictions went to files, ``dropped`` ones were older than the policy's ``retention.predictions`` and
    are gone, ``bared`` files lost their features; ``waiting`` were asked before ``before``, the oldest ``oldest``.
    """

    model: str
    before: float
    waiting: int
    oldest: float | None
    archived: int = 0
    dropped: int = 0
    bared: int = 0


class Archived(Struct, frozen=True, kw_only=True):
    """What the task did: by model, the bytes of the archive after it, and those of files that nobody needs any more."""

    models: tuple[Sealed, ...]
    files: int
    bytes: int
    freed: int


def foreseen(rooms: Rooms, wanted: Archiving, *, hot: float) -> tuple[Sealed, ...]:
    """What there is to archive, model by model; nothing is done."""
    with rooms.store.read() as ledger:
        found = []
        for model in [wanted.model] if wanted.model else ledger.archive.asked():
            own = ledger.versions.policy(model).retention.hot or hot
            age = own if wanted.older_than is None else wanted.older_than
            before = rooms.clock.now() - age if age else -math.inf
            waiting, oldest = ledger.archive.waiting(model, before=before)
            found.append(Sealed(model=model, before=before, waiting=waiting, oldest=oldest))
    return tuple(found)


def archive(rooms: Rooms, run: Run, *, hot: float = HOT) -> Done:
    """The task ``archive``; ``hot`` is the age of models whose policy says nothing else (0 = never)."""
    if rooms.store.cold is None:
        return Done(result=Archived(models=(), files=0, bytes=0, freed=0))
    work = Archive(rooms.store, pause=failpoint)
    todo = foreseen(rooms, run.arguments(Archiving), hot=hot)
    models = tuple(_one(rooms, run, work=work, todo=model) for model in todo)
    freed = work.tidy(at=rooms.clock.now())
    with rooms.store.read() as ledger:
        files = ledger.archive.partitions()
    return Done(result=Archived(models=models, files=len(files), bytes=sum(p.size for p in files), freed=freed))


def _one(rooms: Rooms, run: Run, *, work: Archive, todo: Sealed) -> Sealed:
    now, done, told = rooms.clock.now(), 0, 0
    while some := work.seal(todo.model, before=todo.before, at=now):
        done += some
        if done - told >= TOLD:
            told = done
            run.step("archiving", detail=f"{todo.model}: {done} of {todo.waiting} ({100 * done // todo.waiting} %)")
    work.merge(todo.model, at=now)
    with rooms.store.read() as ledger:
        keep = ledger.versions.policy(todo.model).retention
    dropped = work.drop(todo.model, before=now - keep.predictions, at=now) if keep.predictions else 0
    bared = work.bare(todo.model, before=now - keep.features, at=now) if keep.features else 0
    if done or dropped or bared:
        before = f", asked before {iso(todo.before)}" if done else ""
        gone = f"; {dropped} older than {duration(keep.predictions)} are gone" if dropped else ""
        run.step("archived", detail=f"{todo.model}: {done} predictions{before}{gone}")
    return Sealed(
        model=todo.model,
        before=todo.before,
        waiting=todo.waiting,
        oldest=todo.oldest,
        archived=done,
        dropped=dropped,
        bared=bared,
    )
