"""The task ``rotate``: every data key is wrapped under the newest master key, and what lies in the clear is sealed.

After it the former master key (``privacy.previous``) opens nothing any more and can be destroyed. Records are not
written anew for a new master key: only their keys are. What was written before encryption was switched on (records,
summaries, the archive's files, the datasets of workloads) is sealed a little at a time, while the server serves; then
one new backup takes the place of those that hold it in the clear.
"""

from __future__ import annotations

from msgspec import Struct, structs

from modelkeep.errors import BadInput
from modelkeep.jobs import saving
from modelkeep.jobs.failpoints import failpoint
from modelkeep.jobs.rooms import Done, Rooms, Run
from modelkeep.nouns import Job
from modelkeep.store.archive.upkeep import Archive

TASK = "rotate"
BATCH = 500
"""So many records are sealed in one transaction."""
AHEAD = 20_000
"""So many are looked for at a time."""
SWITCHED = "rotate-encrypted-"
"""The job that follows the switching on of encryption under a master key; its fingerprint comes after."""


class Rotation(Struct, frozen=True, kw_only=True):
    """What the task remembers and answers: keys wrapped anew, records and summaries sealed, and how far it came.

    ``archived`` and ``datasets`` are files that were written anew, ``backups`` those that went for a new one.
    """

    keys: int = 0
    records: int = 0
    summaries: int = 0
    archived: int = 0
    datasets: int = 0
    backups: int = 0
    after: int = 0


def switched_on(rooms: Rooms) -> Job | None:
    """The job that seals what was written before encryption was switched on under this key; None without it.

    It has the same id however often it is asked for: whoever starts first adds it, and it runs once.
    """
    with rooms.store.read() as ledger:
        newest = ledger.persons.keys.sealer.newest
    now = rooms.clock.now()
    return Job(id=SWITCHED + newest, task=TASK, due=now, created=now, by="the server") if newest else None


def rotate(rooms: Rooms, run: Run) -> Done:
    """Wrap every key under the newest master key, then seal what lies in the clear."""
    with rooms.store.read() as ledger:
        if not ledger.persons.keys.sealer.encrypts:
            raise BadInput.of("privacy.encrypt", expected="on", got="off", remedy="set privacy.encrypt and privacy.key")
    done = _keys(rooms, run, done=run.memo(Rotation) or Rotation())
    done = _records(rooms, run, done=done)
    with rooms.store.write() as ledger:
        n = ledger.persons.seal_summaries()
        done = structs.replace(done, summaries=done.summaries + n)
        if n:
            run.step("summaries", detail=f"{n} summaries", memo=done, ledger=ledger)
    failpoint("rotate.summaries")
    done = _files(rooms, run, done=done)
    rooms.store.sweep()
    if any(not saving.contents(path).sealed for path in saving.saved(rooms)):
        done = structs.replace(done, backups=saving.renew(rooms))
    return Done(result=done)


def _keys(rooms: Rooms, run: Run, *, done: Rotation) -> Rotation:
    while True:
        with rooms.store.write() as ledger:
            n = ledger.persons.keys.rewrap()
            done = structs.replace(done, keys=done.keys + n)
            if not n:
                return done
            run.step("keys", detail=f"{done.keys} keys", memo=done, ledger=ledger)
        failpoint("rotate.keys")


def _records(rooms: Rooms, run: Run, *, done: Rotation) -> Rotation:
    """Seal predictions a few at a time; they are looked for without standing in a writer's way."""
    with rooms.store.read() as ledger:
        every = sum(ledger.persons.clear_by_model().values())
    total, now = every + done.records, rooms.clock.now()
    while True:
        with rooms.store.read() as ledger:
            found = ledger.persons.clear(after=done.after, limit=AHEAD)
        if not found:
            return structs.replace(done, after=0)
        for start in range(0, len(found), BATCH):
            some = found[start : start + BATCH]
            with rooms.store.write() as ledger:
                n = ledger.persons.seal_more(some, at=now)
                done = structs.replace(done, records=done.records + n, after=some[-1])
                run.step("records", detail=f"{done.records} of {total} records", memo=done, ledger=ledger)
            failpoint("rotate.records")


def _files(rooms: Rooms, run: Run, *, done: Rotation) -> Rotation:
    """Seal the files of the archive and of datasets, one after the other."""
    before, now = done.archived, rooms.clock.now()

    def say(n: int, total: int) -> None:
        nonlocal done
        done = structs.replace(done, archived=before + n)
        run.step("archived", detail=f"{n} of {total} files of the archive", memo=done)

    if rooms.store.cold is not None:
        Archive(rooms.store, pause=failpoint).shut(at=now, say=say)
    n = rooms.datasets.seal()
    if n:
        done = structs.replace(done, datasets=done.datasets + n)
        run.step("datasets", detail=f"{n} files of datasets", memo=done)
    failpoint("rotate.files")
    return done
