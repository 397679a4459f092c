"""The data folders of the servers of one store, and what each of them does of an erasure.

Logs and spools lie in a server's own folder, where no other server reaches. So each server registers its folder (as a
key of its own in the store, which it never uses), and an erasure leaves an order for each of the others. Whose data go
stands in the order as a text that was hidden with a key of this one erasure; when the last folder has done its part the
key is destroyed, and with it whatever copy there is of the text.
"""

from __future__ import annotations

import hashlib
import socket

from msgspec import Raw, Struct, json, structs

from modelkeep.errors import Unavailable
from modelkeep.jobs import receipts, saving
from modelkeep.jobs.failpoints import failpoint
from modelkeep.jobs.persons import places
from modelkeep.jobs.receipts import Receipt, Statement
from modelkeep.jobs.rooms import Again, Done, Rooms, Run
from modelkeep.nouns import Job
from modelkeep.runtimes import remembering
from modelkeep.store import traces
from modelkeep.store.seams import Ledger

TASK = "erase_here"
STEP = "erased"
FOLDER, ORDER = "(folder) ", "(erasure) "
ELSEWHERE = 1.0
"""Seconds until an order is taken up again that is another server's."""


class Order(Struct, frozen=True, kw_only=True):
    """What one folder has to do: for which erasure, which folder, and whose, hidden."""

    id: str
    folder: str
    hidden: str


class Part(Struct, frozen=True, kw_only=True):
    """What one folder did: files that it looked through, those that still hold the name, and what went."""

    folder: str
    searched: int
    remains: dict[str, int] = {}
    counts: dict[str, int] = {}


def own(rooms: Rooms) -> str:
    """This server's folder, as the others know it."""
    return f"{socket.gethostname()}:{rooms.folder.resolve()}"


def register(ledger: Ledger, rooms: Rooms) -> None:
    """Let the other servers of the store know of this folder."""
    ledger.persons.keys.made([FOLDER + own(rooms)], at=rooms.clock.now())


def known(ledger: Ledger) -> list[str]:
    """Every folder that a server of this store has registered."""
    return [name.removeprefix(FOLDER) for name in ledger.persons.keys.names(FOLDER)]


def order(rooms: Rooms, id: str, *, subject: str) -> list[str]:
    """Leave an order for every other folder; which those are. The same again changes nothing."""
    with rooms.store.write() as ledger:
        others = [folder for folder in known(ledger) if folder != own(rooms)]
        if others:
            hidden = _hidden(subject.encode(), ledger.persons.keys.made([ORDER + id], at=rooms.clock.now())[ORDER + id])
            for folder in others:
                wanted = Order(id=id, folder=folder, hidden=hidden.hex())
                ledger.jobs.add(_job(wanted, now=rooms.clock.now()))
    return others


def parts(ledger: Ledger, id: str, *, folders: list[str]) -> list[Part]:
    """What the folders did by now; those that have not are left out."""
    found = []
    for folder in folders:
        job = ledger.jobs.get(_name(id, folder))
        done = next((step.evidence for step in job.steps if step.name == STEP), None)
        if done is not None:
            found.append(json.decode(bytes(done), type=Part))
    return found


def settled(ledger: Ledger, id: str) -> None:
    """Every folder has done its part: what hides the name is destroyed."""
    ledger.persons.keys.drop(ORDER + id)


def erase_here(rooms: Rooms, run: Run) -> Again | Done:
    """The task ``erase_here``: take a person out of this server's own folder, as an order of another one says."""
    wanted = run.arguments(Order)
    if wanted.folder != own(rooms):
        return Again(after=ELSEWHERE)
    with rooms.store.read() as ledger:
        key = ledger.persons.keys.get(ORDER + wanted.id)
        pseudonym = ""
        if key is not None:
            subject = _hidden(bytes.fromhex(wanted.hidden), key).decode()
            pseudonym = ledger.persons.keys.pseudonym(subject)
    if key is None:
        return Done()
    known_here = rooms.gateway.caches.forget(subject)
    remembering.forget()
    if rooms.recorder.settle():
        raise Unavailable("records wait for the store", remedy="the erasure goes on when the store is back")
    name = traces.written(subject)
    if any(p.suffix == ".spool" and traces.count(p, name) for p in traces.files([rooms.folder / "spool"])):
        return Again(after=ELSEWHERE)
    gone = _records(rooms, subject, pseudonym=pseudonym)
    aside = [rooms.folder / "work" / "erasures"]
    black = sum(
        traces.blacken(p, name) for part in ("logs", "spool") for p in traces.files([rooms.folder / part])
        if p.suffix != ".spool"
    )  # fmt: skip
    if gone:
        rooms.store.sweep()
        saving.renew(rooms)
    failpoint("erase.elsewhere")
    looked = list(traces.files(places(rooms), aside=aside))
    remains = {f"{wanted.folder}: {p.name}": n for p in looked if (n := traces.count(p, name))}
    counts = {"predictions": gone, "logs": black, "caches": known_here}
    part = Part(folder=wanted.folder, searched=len(looked), remains=remains, counts=counts)
    with rooms.store.write() as ledger:
        run.step(STEP, detail=f"{len(looked)} files searched", evidence=part, ledger=ledger)
        _complete(ledger, wanted.id, part=part, now=rooms.clock.now())
    return Done(result=part)


def _records(rooms: Rooms, subject: str, *, pseudonym: str) -> int:
    """What came out of this folder's spool after the records were erased goes, too."""
    gone = 0
    while True:
        with rooms.store.write() as ledger:
            n = ledger.persons.erase(subject, ledger.persons.own_keys(subject)).predictions
        if not n:
            break
        gone += n
    if gone:
        with rooms.store.write() as ledger:
            ledger.persons.keys.drop(pseudonym)
    return gone


def _complete(ledger: Ledger, id: str, *, part: Part, now: float) -> None:
    """Sign the receipt anew with what this folder did; where there is none yet, whoever signs it finds the part."""
    kept = ledger.persons.receipt(id)
    if kept is None:
        return
    was = json.decode(bytes(json.decode(kept, type=Receipt).statement), type=Statement)
    if part.folder not in was.unreached:
        return
    receipt = receipts.signed(ledger, structs.replace(joined(was, [part]), ended=now))
    ledger.persons.complete(id, receipt=json.encode(receipt).decode())
    ledger.acts.append(
        who=part.folder, what="person_erased", subject=f"person {was.person}", why=f"erasure {id}, this folder's part",
        at=now, after=Raw(json.encode(receipt)),
    )  # fmt: skip
    if not joined(was, [part]).unreached:
        settled(ledger, id)


def joined(statement: Statement, some: list[Part]) -> Statement:
    """A statement with what folders did."""
    counts = dict(statement.counts)
    for part in some:
        for place, n in part.counts.items():
            counts[place] = counts.get(place, 0) + n
    done = {part.folder for part in some}
    return structs.replace(
        statement,
        counts=counts,
        searched=statement.searched + sum(part.searched for part in some),
        remains={**statement.remains, **{name: n for part in some for name, n in part.remains.items()}},
        folders={**statement.folders, **{part.folder: part.searched for part in some}},
        unreached=tuple(folder for folder in statement.unreached if folder not in done),
    )


def _job(wanted: Order, *, now: float) -> Job:
    name, body = _name(wanted.id, wanted.folder), Raw(json.encode(wanted))
    return Job(
        id=name, task=TASK, due=now, created=now, arguments=body, subject=f"erasure {wanted.id}", by="an erasure"
    )


def _name(id: str, folder: str) -> str:
    return f"erase-{id}-{hashlib.sha256(folder.encode()).hexdigest()[:12]}"


def _hidden(text: bytes, key: bytes) -> bytes:
    """A text under a key that is used for nothing else, and back: each byte with one of SHAKE-256's stream."""
    stream = hashlib.shake_256(b"modelkeep order " + key).digest(len(text))
    return bytes(a ^ b for a, b in zip(text, stream, strict=True))
