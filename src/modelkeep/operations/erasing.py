"""The rights of people: to see everything that is held of them, and to have it erased."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from modelkeep.errors import BadInput, NotFound
from modelkeep.extended import personals
from modelkeep.jobs import erasing, receipts
from modelkeep.jobs.persons import Holding, entities, holding, learned, names
from modelkeep.jobs.receipts import Receipt, Statement
from modelkeep.jobs.rooms import Again
from modelkeep.nouns import Outcome, Value
from modelkeep.operations.act import By, Limit, Operation, Why, stamp
from modelkeep.operations.consenting import SELF, Subject, Word
from modelkeep.operations.training import Alone
from modelkeep.store.archive.upkeep import Archive
from modelkeep.store.people import Access

if TYPE_CHECKING:
    from modelkeep.app import App
    from modelkeep.nouns import Job
    from modelkeep.store.seams import Ledger

T = TypeVar("T")
PATIENCE = 20.0
"""So long, in seconds, an erasure is waited for before its job is answered instead of its receipt."""
_LOOK = 0.05
Keyed = Annotated[bool, Meta(description="The person's name is a key (entity) of models, too: what is under it goes")]


class ErasePerson(Struct, frozen=True, kw_only=True):
    """Whose data go. With ``dry_run`` nothing goes, and what would is told."""

    subject: Subject
    dry_run: Annotated[bool, Meta(description="Only tell what would go")] = False
    keyed: Keyed = False
    why: Why = ""
    by: By = ""


class LearnedView(Struct, frozen=True, kw_only=True):
    """A version that was trained while rows of the person were there; ``command`` trains it anew."""

    model: str
    version: int
    rows: int | None
    command: str


class Erasure(Struct, frozen=True, kw_only=True):
    """What an erasure takes away: rows (or places in texts) by place, and the versions to be trained anew.

    ``remains`` are files in which the name was found afterwards, with how often: empty when nothing is left.
    ``unreached`` are data folders of other servers that have not yet done their part; they do it when they run.
    ``receipt`` is there when it has ended: keep it, ``modelkeep privacy verify`` checks it.
    """

    id: str
    state: Literal["dry_run", "running", "done"]
    person: str
    counts: dict[str, int]
    retrain: tuple[LearnedView, ...]
    searched: int = 0
    remains: dict[str, int] = {}
    unreached: tuple[str, ...] = ()
    receipt: Receipt | None = None


class OneErasure(Struct, frozen=True, kw_only=True):
    """Which erasure."""

    id: Annotated[str, Meta(description="Id of the erasure, as the receipt has it", min_length=1, max_length=100)]


class CheckReceipt(Struct, frozen=True, kw_only=True):
    """A receipt as it was given."""

    receipt: Annotated[bytes, Meta(description="The file with the receipt", max_length=1_000_000)]
    key: Annotated[
        bytes,
        Meta(description="The file with the public key of who signed it, PEM or hex; else ours", max_length=10_000),
    ] = b""


class Verdict(Struct, frozen=True, kw_only=True):
    """Whether this installation, or the holder of the given key, signed the receipt as it is; and what it says."""

    genuine: bool
    statement: Statement | None


class ShowSigner(Struct, frozen=True, kw_only=True):
    """Nothing to choose."""


class Signer(Struct, frozen=True, kw_only=True):
    """The public key (PEM) with which anybody can check receipts of this installation."""

    key: str


class ExportPerson(Struct, frozen=True, kw_only=True):
    """Whose data."""

    subject: Subject
    keyed: Keyed = False
    by: By = ""


class OutcomeSaid(Struct, frozen=True, kw_only=True):
    """One revision of what really happened."""

    value: float | int | str | bool | None
    at: datetime
    source: str


class RecordView(Struct, frozen=True, kw_only=True):
    """One prediction of the person, whole."""

    prediction_id: str
    model: str
    version: int
    role: str
    at: datetime
    about: datetime
    key: str
    features: dict[str, Value]
    prediction: float | int | str | bool | None
    score: float | None
    error: str | None
    request_id: str
    outcomes: tuple[OutcomeSaid, ...]


class AccessView(Struct, frozen=True, kw_only=True):
    """Somebody read personal records."""

    at: datetime
    who: str
    act: str
    records: int
    detail: str
    person: str | None


class PersonView(Struct, frozen=True, kw_only=True):
    """Everything that is held of a person. ``size_bytes`` is that of this answer as JSON, but for this number."""

    subject: str
    person: str
    consents: tuple[Word, ...]
    predictions: tuple[RecordView, ...]
    told_by_key: tuple[OutcomeSaid, ...]
    rows: dict[str, tuple[dict[str, Value], ...]]
    accesses: tuple[AccessView, ...]
    size_bytes: int = 0


class ListAccesses(Struct, frozen=True, kw_only=True):
    """Of one person, or of all."""

    subject: Annotated[str, Meta(description="Only accesses to this person's records", max_length=500)] = ""
    limit: Limit = 100


class Accesses(Struct, frozen=True, kw_only=True):
    """Who read personal records, newest first."""

    accesses: tuple[AccessView, ...]


def erase_person(app: App, request: ErasePerson) -> Erasure:
    """Erase everything that is held of a person, everywhere, and give a signed receipt.

    Predictions, outcomes, feedback, archive, raw data of workloads, spool, logs and backups; sums over many people
    stay. It is durable work that goes on after a crash: where it takes longer, the answer says ``running``.
    """
    if request.dry_run:
        return _foreseen(app, request)
    by = SELF if request.by == request.subject else request.by
    why = request.why.replace(request.subject, SELF)
    wanted = erasing.begin(app.rooms, request.subject, keyed=request.keyed, by=by, why=why)
    job = erasing.job_of(app.rooms, wanted)
    if not app.serving:
        here = _Here(job, app=app, wanted=wanted)
        while isinstance(again := erasing.erase(app.rooms, here, personals=personals(app.extensions)), Again):
            if isinstance(again.memo, erasing.Progress):
                here.note(again.memo)
            time.sleep(again.after)
        return show_erasure(app, OneErasure(id=wanted.id))
    with app.rooms.store.write() as ledger:
        ledger.jobs.add(job)
    app.wake()
    until = time.perf_counter() + PATIENCE
    while (found := show_erasure(app, OneErasure(id=wanted.id))).state == "running" and time.perf_counter() < until:
        time.sleep(_LOOK)
    return found


def show_erasure(app: App, request: OneErasure) -> Erasure:
    """Show an erasure with its receipt.

    Raises NotFound.
    """
    with app.rooms.store.read() as ledger:
        kept = ledger.persons.receipt(request.id)
    if kept is None:
        if not erasing.file_of(app.rooms, request.id).exists():
            raise NotFound("erasure", request.id)
        return Erasure(id=request.id, state="running", person="", counts={}, retrain=())
    receipt = msgspec.json.decode(kept, type=Receipt)
    said = msgspec.json.decode(bytes(receipt.statement), type=Statement)
    return Erasure(
        id=said.id,
        state="running" if erasing.file_of(app.rooms, request.id).exists() else "done",
        person=said.person,
        counts=said.counts,
        retrain=tuple(_retrain(one.model, one.version, rows=one.rows) for one in said.models),
        searched=said.searched,
        remains=said.remains,
        unreached=said.unreached,
        receipt=receipt,
    )


def verify_receipt(app: App, request: CheckReceipt) -> Verdict:
    """Check the signature of an erasure's receipt, with the public key of another installation where one is given.

    Raises BadInput for what is no receipt, or no key.
    """
    try:
        given = msgspec.json.decode(request.receipt)
        given = given.get("receipt") or given if isinstance(given, dict) else given
        receipt = msgspec.convert(
            {**given, "statement": Raw(msgspec.json.encode(given["statement"]))}, type=Receipt, strict=False
        )
        statement = msgspec.json.decode(bytes(receipt.statement), type=Statement)
    except (msgspec.MsgspecError, TypeError, KeyError) as wrong:
        raise BadInput.of("receipt", expected="a receipt as `privacy erase --json` gives it", got=str(wrong)) from None
    with app.rooms.store.read() as ledger:
        key = receipts.key_of(request.key) if request.key else receipts.own_key(ledger)
    return Verdict(genuine=bool(key) and receipts.genuine(receipt, key), statement=statement)


def show_signer(app: App, request: ShowSigner) -> Signer:
    """Give the public key that checks this installation's receipts.

    Raises BadInput where the package for signatures is not installed.
    """
    del request
    with app.rooms.store.write() as ledger:
        return Signer(key=receipts.public(ledger, at=app.rooms.clock.now()))


def export_person(app: App, request: ExportPerson) -> PersonView:
    """Give everything that is held of a person, as JSON; that it was given is kept in the log of accesses."""
    found = holding(app.rooms, request.subject, personals=personals(app.extensions), keyed=request.keyed)
    with app.rooms.store.write() as ledger:
        seen = ledger.persons.accesses(request.subject) if found.pseudonym else []
        name = ledger.persons.keys.pseudonym(request.subject, at=app.rooms.clock.now())
        ledger.persons.saw(
            Access(
                at=app.rooms.clock.now(), who=request.by or "unknown", act="export", records=len(found.records),
                subject=name,
            )
        )  # fmt: skip
    shown = _shown(request.subject, found, seen)
    return msgspec.structs.replace(shown, size_bytes=len(msgspec.json.encode(shown)))


def list_accesses(app: App, request: ListAccesses) -> Accesses:
    """List who read personal records, when and by which act, newest first."""
    with app.rooms.store.read() as ledger:
        found = ledger.persons.accesses(request.subject, limit=request.limit)
    return Accesses(accesses=tuple(map(_access, found)))


class _Here(Alone):
    """The work without a server: how far it came is noted beside what is to be erased, for whoever goes on."""

    def __init__(self, job: Job, *, app: App, wanted: erasing.Wanted) -> None:
        super().__init__(job, app=app, say=lambda *_: None)
        self._rooms, self._id = app.rooms, wanted.id
        self._progress: erasing.Progress | None = None

    def step(
        self,
        name: str,
        *,
        detail: str = "",
        evidence: Struct | None = None,
        memo: Struct | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        """Remember a finished step."""
        super().step(name, detail=detail, evidence=evidence, memo=memo, ledger=ledger)
        if isinstance(memo, erasing.Progress):
            self.note(memo)

    def note(self, progress: erasing.Progress) -> None:
        """Remember how far it came, also when nothing was finished."""
        self._progress = progress
        erasing.note(self._rooms, self._id, progress=progress)

    def memo(self, kind: type[T]) -> T | None:
        """How far it came."""
        return self._progress if isinstance(self._progress, kind) else None


def _foreseen(app: App, request: ErasePerson) -> Erasure:
    some = personals(app.extensions)
    own = entities(app.rooms, request.subject, personals=some, keyed=request.keyed)
    with app.rooms.store.read() as ledger:
        spans = ledger.persons.models(request.subject, own)
        counts = {"predictions": ledger.persons.count(request.subject, own)}
        counts["consents"] = len(ledger.persons.said(request.subject))
        counts["told_by_key"] = len(ledger.persons.told(own))
        person = ledger.persons.keys.pseudonym(request.subject)
    windows = [(model, first, last) for model, _, first, last in spans]
    if app.rooms.store.cold is not None:
        old = [p for name in names(app.rooms, request.subject) for p, _ in Archive(app.rooms.store).find(name)]
        counts["archive"] = len(old)
        windows += [(p.model, p.at, p.at) for p in old]
    for one in some:
        for place, rows in one.held(app.rooms, request.subject).items():
            counts[place] = counts.get(place, 0) + len(rows)
    versions = {(v.model, v.version): v for v in learned(app.rooms, windows)}
    return Erasure(
        id="",
        state="dry_run",
        person=person,
        counts=counts,
        retrain=tuple(_retrain(v.model, v.version, rows=v.rows) for v in versions.values()),
    )


def _retrain(model: str, version: int, *, rows: int | None) -> LearnedView:
    return LearnedView(model=model, version=version, rows=rows, command=f"modelkeep jobs run retrain {model}")


def _shown(subject: str, found: Holding, seen: list[Access]) -> PersonView:  # noqa: PLR0917 - one caller
    return PersonView(
        subject=subject,
        person=found.pseudonym,
        consents=tuple(Word(granted=word.granted, at=stamp(word.at), by=word.by) for word in found.consents),
        predictions=tuple(
            RecordView(
                prediction_id=p.id, model=p.model, version=p.version, role=p.role, at=stamp(p.at),
                about=stamp(p.target), key=p.key, features=dict(p.features), prediction=p.output, score=p.score,
                error=p.error, request_id=p.request, outcomes=_outcomes(one.outcomes),
            )
            for one in found.records for p in [one.prediction]
        ),
        told_by_key=_outcomes(found.told),
        rows=found.rows,
        accesses=tuple(map(_access, seen)),
    )  # fmt: skip


def _outcomes(told: tuple[Outcome, ...]) -> tuple[OutcomeSaid, ...]:
    return tuple(OutcomeSaid(value=one.value, at=stamp(one.at), source=one.source) for one in told)


def _access(one: Access) -> AccessView:
    return AccessView(
        at=stamp(one.at), who=one.who, act=one.act, records=one.records, detail=one.detail, person=one.subject
    )


def _left(found: Erasure) -> str:
    said = [f"the name still stands in {', '.join(found.remains)}"] if found.remains else []
    if found.unreached:
        said.append(f"not reached, they do their part when their server runs: {', '.join(found.unreached)}")
    return "; ".join(said)


OPERATIONS = (
    Operation(
        name="erase_person", method="POST", path="/v1/privacy/erasures", request=ErasePerson, result=Erasure,
        run=erase_person, words=("privacy", "erase"), plain=("subject",),
        finding=_left,
    ),
    Operation(
        name="erasure", method="GET", path="/v1/privacy/erasures/{id}", request=OneErasure, result=Erasure,
        run=show_erasure, words=("privacy", "erasure"), plain=("id",),
    ),
    Operation(
        name="verify_receipt", method="POST", path="/v1/privacy/receipts", request=CheckReceipt, result=Verdict,
        run=verify_receipt, words=("privacy", "verify"), plain=("receipt",),
        finding=lambda found: "" if found.genuine else "the receipt was not signed as it is with that key",
    ),
    Operation(
        name="signer", method="GET", path="/v1/privacy/signer", request=ShowSigner, result=Signer,
        run=show_signer, words=("privacy", "signer"),
    ),
    Operation(
        name="export_person", method="POST", path="/v1/privacy/exports", request=ExportPerson, result=PersonView,
        run=export_person, words=("privacy", "export"), plain=("subject",),
    ),
    Operation(
        name="accesses", method="GET", path="/v1/privacy/accesses", request=ListAccesses, result=Accesses,
        run=list_accesses, words=("privacy", "accesses"),
    ),
)  # fmt: skip
