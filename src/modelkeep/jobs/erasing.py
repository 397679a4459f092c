"""The task ``erase``: everything of a person goes, from every place, and a signed receipt says what went from where.

Who the person is stands in one file beside the job, ``work/erasures/ID.json``, which its owner alone can read and which
is overwritten at the end: the database, its log and its backups never see the name. Every step may be done again, so a
killed process is followed by the same end.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from msgspec import Raw, Struct, json, structs

from modelkeep.errors import NotFound, Unavailable
from modelkeep.jobs import folders, histories, receipts, saving
from modelkeep.jobs.failpoints import failpoint
from modelkeep.jobs.persons import Learned, Personal, entities, learned, names, places
from modelkeep.jobs.receipts import Receipt
from modelkeep.jobs.rooms import Again, Done, Rooms, Run
from modelkeep.nouns import Job
from modelkeep.runtimes import remembering
from modelkeep.store import traces
from modelkeep.store.archive.upkeep import Archive
from modelkeep.store.people import Entity

TASK = "erase"
SOON = 0.5
"""Seconds until a step is tried again that another process stands in the way of."""
NOTED = ".progress"
UNREACHED = 6
"""So often other servers are asked whether they have done their part."""
PATIENCE = 120
"""So often another process may stand in the way."""


class Erase(Struct, frozen=True, kw_only=True):
    """Arguments of the task: which erasure, and in which server's folder the file lies that says whose."""

    id: str
    folder: str = ""


class Wanted(Struct, frozen=True, kw_only=True):
    """What the file of an erasure says: whose data go; ``keyed``: the name is a key of every model, too.

    ``entities`` are the keys of models that are the person, as the first step has found them.
    """

    id: str
    subject: str
    at: float
    keyed: bool = False
    by: str = ""
    why: str = ""
    entities: tuple[Entity, ...] = ()


class Progress(Struct, frozen=True, kw_only=True):
    """What the job remembers: steps that are done, what went from each place, and who learned of it. No names."""

    done: tuple[str, ...] = ()
    counts: dict[str, int] = {}
    models: tuple[Learned, ...] = ()
    pseudonym: str = ""
    waited: int = 0
    folders: tuple[str, ...] = ()


def file_of(rooms: Rooms, id: str) -> Path:
    """The file that says whose data an erasure takes away."""
    return rooms.folder / "work" / "erasures" / f"{id}.json"


def begin(rooms: Rooms, subject: str, *, keyed: bool = False, by: str = "", why: str = "") -> Wanted:
    """Write down what is to be erased, durably and for this user's eyes alone."""
    wanted = Wanted(id=uuid.uuid4().hex, subject=subject, at=rooms.clock.now(), keyed=keyed, by=by, why=why)
    traces.write_down(file_of(rooms, wanted.id), json.encode(wanted))
    return wanted


def job_of(rooms: Rooms, wanted: Wanted) -> Job:
    """The durable job of an erasure."""
    return Job(
        id=f"erase-{wanted.id}",
        task=TASK,
        due=wanted.at,
        created=wanted.at,
        arguments=Raw(json.encode(Erase(id=wanted.id, folder=folders.own(rooms)))),
        subject=f"erasure {wanted.id}",
        by=wanted.by,
    )


def note(rooms: Rooms, id: str, *, progress: Progress) -> None:
    """Keep how far an erasure came that no server works on: there is no job that remembers it."""
    traces.write_down(file_of(rooms, id).with_suffix(NOTED), json.encode(progress))


def _noted(path: Path) -> Progress | None:
    try:
        return json.decode(path.with_suffix(NOTED).read_bytes(), type=Progress)
    except (OSError, msgspec.MsgspecError):
        return None


def left(rooms: Rooms) -> list[Wanted]:
    """Erasures that were begun on this folder and have not ended."""
    found = []
    for path in sorted((rooms.folder / "work" / "erasures").glob("*.json")):
        try:
            found.append(json.decode(path.read_bytes(), type=Wanted))
        except (OSError, msgspec.MsgspecError):
            continue  # being written at this moment, or overwritten at the end
    return found


def erase(rooms: Rooms, run: Run, *, personals: Sequence[Personal] = ()) -> Again | Done:
    """The task ``erase``: take everything of a person away, and prove it."""
    asked, place = run.arguments(Erase).id, run.arguments(Erase).folder
    if place and place != folders.own(rooms):
        return Again(after=folders.ELSEWHERE, memo=run.memo(Progress))
    path = file_of(rooms, asked)
    progress = run.memo(Progress) or _noted(path) or Progress()
    if not path.exists():
        return _ended(rooms, asked)
    try:
        wanted = json.decode(path.read_bytes(), type=Wanted)
    except msgspec.MsgspecError:  # killed while it was overwritten: all else is done
        traces.destroy(path)
        return _ended(rooms, asked)
    work = _Work(rooms=rooms, run=run, wanted=wanted, personals=personals)
    for name, step in _STEPS:
        if name in progress.done:
            continue
        work = replace(work, wanted=json.decode(path.read_bytes(), type=Wanted))
        try:
            progress, detail = step(work, progress)
        except _InTheWay as other:
            if progress.waited >= PATIENCE:
                raise Unavailable(str(other), remedy="stop that process, and the erasure goes on") from None
            return Again(after=SOON, memo=structs.replace(progress, waited=progress.waited + 1))
        progress = structs.replace(progress, done=(*progress.done, name), waited=0)
        failpoint(f"erase.{name}")
        run.step(name, detail=detail, memo=progress)
    failpoint("erase.receipt")
    for suffix in (".fresh", NOTED):  # of a process that was killed, or that worked without a server
        traces.destroy(path.with_suffix(suffix))
    traces.destroy(path)
    failpoint("erase.forgotten")
    return _ended(rooms, asked)


def _ended(rooms: Rooms, id: str) -> Done:
    with rooms.store.read() as ledger:
        receipt = ledger.persons.receipt(id)
    if receipt is None:
        raise NotFound("erasure", id)
    return Done(result=json.decode(receipt, type=Receipt))


class _InTheWay(Exception):
    """Another process has to do its part first."""


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What every step needs."""

    rooms: Rooms
    run: Run
    wanted: Wanted
    personals: Sequence[Personal]


Stepped = tuple[Progress, str]


def _found(work: _Work, progress: Progress) -> Stepped:
    """Who the person is in each model, and which versions learned of it, before anything is gone."""
    own = entities(work.rooms, work.wanted.subject, personals=work.personals, keyed=work.wanted.keyed)
    with work.rooms.store.write() as ledger:
        pseudonym = ledger.persons.keys.pseudonym(work.wanted.subject, at=work.wanted.at)
        spans = [(m, first, last) for m, _, first, last in ledger.persons.models(work.wanted.subject, own)]
    if work.rooms.store.cold is not None:
        for name in names(work.rooms, work.wanted.subject):
            spans += [(p.model, p.at, p.at) for p, _ in Archive(work.rooms.store).find(name)]
    models = learned(work.rooms, spans)
    models = tuple({(one.model, one.version): one for one in models}.values())
    # Who the person is in each model stands beside its name, never in the job.
    known = structs.replace(work.wanted, entities=tuple(dict.fromkeys([*work.wanted.entities, *own])))
    traces.write_down(file_of(work.rooms, known.id), json.encode(known))
    progress = structs.replace(progress, models=models, pseudonym=pseudonym)
    return progress, f"{len(own)} entities are that person; {len(models)} versions learned of it"


def _consent(work: _Work, progress: Progress) -> Stepped:
    """What was said on consent goes first, so that nothing new is recorded where consent is asked for."""
    with work.rooms.store.write() as ledger:
        gone = ledger.persons.forget_consents(work.wanted.subject, at=work.wanted.at)
    known = work.rooms.gateway.caches.forget(work.wanted.subject)
    remembering.forget()
    work.rooms.router.consents()
    return _counted(progress, {"consents": gone, "caches": known}), f"{gone} words on consent"


def _folders(work: _Work, progress: Progress) -> Stepped:
    """Servers with folders of their own do their part; one that does not run is not waited for long."""
    id_ = work.wanted.id
    others = folders.order(work.rooms, id_, subject=work.wanted.subject)
    with work.rooms.store.read() as ledger:
        done = folders.parts(ledger, id_, folders=others) if others else []
    if len(done) < len(others) and progress.waited < UNREACHED:
        raise _InTheWay("other servers have not yet done their part")
    return structs.replace(progress, folders=tuple(others)), f"{len(done)} of {len(others)} other folders"


def _waiting(work: _Work, progress: Progress) -> Stepped:
    """What is on its way to the store gets there, and the spools are emptied."""
    still = work.rooms.recorder.settle()
    if still:
        raise Unavailable(f"{still} records wait for the store", remedy="the erasure goes on when the store is back")
    name, spools = traces.written(work.wanted.subject), work.rooms.folder / "spool"
    for path in traces.files([spools]):
        if path.suffix == ".spool" and traces.count(path, name):
            raise _InTheWay(f"{path} of another process still holds the person")
    black = sum(traces.blacken(path, name) for path in traces.files([spools]) if path.suffix != ".spool")
    return _counted(progress, {"spool": black}), "nothing waits in a spool"


def _records(work: _Work, progress: Progress) -> Stepped:
    while True:
        with work.rooms.store.write() as ledger:
            gone = ledger.persons.erase(work.wanted.subject, work.wanted.entities)
            counts = {name: n for name in gone.__struct_fields__ if (n := getattr(gone, name))}
            if not counts:
                break
            progress = _counted(progress, counts)
            # Counted in the transaction that took them away: a receipt neither forgets nor doubles a row.
            work.run.step("taken", detail=f"{sum(counts.values())} rows", memo=progress, ledger=ledger)
        failpoint("erase.batch")
    work.rooms.recorder.forget(dict.fromkeys(model for model, _ in work.wanted.entities))
    return progress, f"{progress.counts.get('predictions', 0)} predictions"


def _archive(work: _Work, progress: Progress) -> Stepped:
    if work.rooms.store.cold is None:
        return progress, "there is no archive"
    archive, gone = Archive(work.rooms.store), 0
    for name in names(work.rooms, work.wanted.subject):
        gone += archive.erase(name, at=work.rooms.clock.now()).predictions
    for model, key in work.wanted.entities:
        gone += archive.erase(key, at=work.rooms.clock.now(), model=model).predictions
    return _counted(progress, {"archive": gone}), f"{gone} archived predictions"


def _datasets(work: _Work, progress: Progress) -> Stepped:
    counts: dict[str, int] = {}
    for personal in work.personals:
        for place, n in personal.erase(work.rooms, work.wanted.subject).items():
            counts[place] = counts.get(place, 0) + n
    return _counted(progress, counts), f"{sum(counts.values())} rows of workloads"


def _texts(work: _Work, progress: Progress) -> Stepped:
    """Sentences that name the person: in readings, alerts and jobs, and in the logs."""
    name = traces.written(work.wanted.subject)
    with work.rooms.store.write() as ledger:
        said = ledger.persons.blacken([needle.decode() for needle in name.needles])
    logs = sum(traces.blacken(path, name) for folder in places(work.rooms) for path in traces.files([folder / "logs"]))
    return _counted(progress, {"texts": said, "logs": logs}), f"{said} sentences, {logs} places in logs"


def _histories(work: _Work, progress: Progress) -> Stepped:
    """Rows that versions were trained on, where the person is among them; such a version is to be trained anew."""
    gone = histories.erase(work.rooms, name=traces.written(work.wanted.subject), entities=work.wanted.entities)
    return _counted(progress, {"training_rows": gone}), f"{gone} files of training rows"


def _keys(work: _Work, progress: Progress) -> Stepped:
    """The person's own key is destroyed: what is sealed under it can be read nowhere any more."""
    with work.rooms.store.write() as ledger:
        gone = ledger.persons.keys.drop(progress.pseudonym)
    return _counted(progress, {"keys": int(gone)}), "its key is destroyed" if gone else "it had no key of its own"


def _backups(work: _Work, progress: Progress) -> Stepped:
    """One new backup takes the place of those that hold the person."""
    gone = saving.renew(work.rooms)
    return _counted(progress, {"backups": gone}), f"{gone} backups written anew"


def _swept(work: _Work, progress: Progress) -> Stepped:
    busy = work.rooms.store.sweep()
    if busy:
        raise _InTheWay(busy)
    return progress, "free pages and the write-ahead log hold nothing"


def _proved(work: _Work, progress: Progress) -> Stepped:
    """Look for the name in every file, sign what was done, and tell the audit chain."""
    name = traces.written(work.wanted.subject)
    aside = [work.rooms.folder / "work" / "erasures"]
    looked = list(traces.files(places(work.rooms), aside=aside))
    found = {
        str(path.relative_to(work.rooms.folder)) if path.is_relative_to(work.rooms.folder) else str(path): n
        for path in looked
        if (n := traces.count(path, name))
    }
    statement = receipts.Statement(
        id=work.wanted.id,
        person=progress.pseudonym,
        begun=work.wanted.at,
        ended=work.rooms.clock.now(),
        by=work.wanted.by,
        counts=progress.counts,
        models=progress.models,
        searched=len(looked),
        remains=found,
        folders={folders.own(work.rooms): len(looked)},
        unreached=progress.folders,
    )
    with work.rooms.store.write() as ledger:
        parts = folders.parts(ledger, work.wanted.id, folders=list(progress.folders))
        statement = folders.joined(statement, parts)
        if not statement.unreached:
            folders.settled(ledger, work.wanted.id)
        receipt = receipts.signed(ledger, statement)
        ledger.persons.keep_receipt(
            work.wanted.id, subject=progress.pseudonym, at=work.wanted.at, receipt=json.encode(receipt).decode()
        )
        ledger.acts.append(
            who=work.wanted.by or "unknown",
            what="person_erased",
            subject=f"person {progress.pseudonym}",
            why=work.wanted.why,
            at=work.rooms.clock.now(),
            after=Raw(json.encode(receipt)),
        )
    return progress, f"{len(looked)} files searched, the name stands in {len(found)}"


def _counted(progress: Progress, more: dict[str, int]) -> Progress:
    counts = dict(progress.counts)
    for place, n in more.items():
        counts[place] = counts.get(place, 0) + n
    return structs.replace(progress, counts=counts)


_STEPS: tuple[tuple[str, Callable[..., Stepped]], ...] = (
    ("found", _found),
    ("consent", _consent),
    ("folders", _folders),
    ("waiting", _waiting),
    ("datasets", _datasets),  # before the records, by whose ids such rows may be found
    ("records", _records),
    ("archive", _archive),
    ("texts", _texts),
    ("histories", _histories),
    ("keys", _keys),
    ("swept", _swept),
    ("backups", _backups),
    ("proved", _proved),
)
STEPS = tuple(name for name, _ in _STEPS)
"""The steps of an erasure, in order."""
