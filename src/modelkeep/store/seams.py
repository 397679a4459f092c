"""The seams ``Store`` and ``Files``: what is kept, and the contract that every implementation passes.

A ``Store`` opens short transactions; inside one, a ``Ledger`` gives each noun its own shelf. Everything written in one
``with store.write() as ledger:`` block is kept whole or not at all, so an alert and its outbox, or a rollout and its
audit entry, can never part. Contract suite: ``tests/store/contract.py``.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

from msgspec import Raw, Struct

from modelkeep.nouns import (
    Act,
    Alert,
    Block,
    Job,
    Level,
    Match,
    Outcome,
    Output,
    Policy,
    Prediction,
    Reading,
    Rollout,
    Version,
)
from modelkeep.opinions import Feedback, Review
from modelkeep.profile import Life, Slice, Sums
from modelkeep.store.archive.cold import Cold
from modelkeep.store.archive.vault import Vault
from modelkeep.store.folding import Folded as Folded  # noqa: PLC0414 - whoever fills a store knows it from here
from modelkeep.store.people import Access, Consent, Erased
from modelkeep.store.scoring import Part as Part  # noqa: PLC0414 - whoever asks a store knows it from here
from modelkeep.store.sealing import Keys
from modelkeep.store.timing import Slow
from modelkeep.store.turns import Scope
from modelkeep.store.vacuuming import Vacuumed

ToldState = Literal["joined", "orphan", "repeated", "corrected", "withdrawn", "outdated", "held", "aside"]


class DayOfReadings(Struct, frozen=True, kw_only=True):
    """The readings of one name and subject within one day (UTC) that were deleted.

    ``n`` of them, ``known`` with a value: its lowest, highest and mean (None without any), and the worst level.
    """

    day: float
    n: int
    known: int
    low: float | None
    high: float | None
    mean: float | None
    worst: Level


class Told(Struct, frozen=True, kw_only=True):
    """What became of one outcome.

    ``state``: ``joined`` (it met its prediction), ``orphan`` (kept until its prediction comes), ``repeated`` (the same
    value was known already; nothing changed), ``corrected`` (a newer revision replaced another value), ``withdrawn``,
    ``outdated`` (another value became known later; this one is kept but does not count).
    The recorder answers ``held`` when the store is away: safe in the spool, joined as soon as it is back; ``aside`` for
    one that can never be kept.
    """

    state: ToldState
    predictions: tuple[str, ...] = ()
    revision: int = 1


class Sought(Struct, frozen=True, kw_only=True):
    """What is looked for in one model's predictions; what is None does not matter.

    ``since`` <= ``at`` < ``until``; ``low`` <= the answer <= ``high`` for numbers; ``least`` <= the error <= ``most``,
    where the error is the distance from the truth, for classes 1 when wrong and 0 when right. ``before`` is where the
    search before this one ended: a moment and a number.
    """

    model: str
    version: int | None = None
    role: str | None = None
    key: str | None = None
    subject: str | None = None
    since: float | None = None
    until: float | None = None
    failed: bool | None = None
    flagged: bool | None = None
    low: float | None = None
    high: float | None = None
    least: float | None = None
    most: float | None = None
    before: tuple[float, int] | None = None


class Hit(Struct, frozen=True, kw_only=True):
    """A prediction that was found, with its truth and how far it was from it, where they are known."""

    prediction: Prediction
    value: Output | None = None
    error: float | None = None


class Hits(Struct, frozen=True, kw_only=True):
    """What was found, those asked last first; ``rest`` is where to go on, None when everything was looked at."""

    hits: tuple[Hit, ...]
    rest: tuple[float, int] | None = None


class Extent(Struct, frozen=True, kw_only=True):
    """How much is kept: ``size`` in bytes is counted (``exact``) or estimated from the newest rows."""

    stored: int
    size: int
    exact: bool
    fields: tuple[str, ...]
    oldest: float | None


class Whereabouts(Struct, frozen=True, kw_only=True):
    """Which model and key a prediction is of, and the moment that it is about."""

    model: str
    key: str
    target: float
    role: str


class Records(Protocol):
    """Predictions, outcomes, their matches and the hourly profiles."""

    def add(self, predictions: Sequence[Prediction], folded: Sequence[Folded]) -> None:
        """Keep predictions and add their profiles, joining orphan outcomes that waited for them.

        Idempotent by prediction id: one that is kept already is skipped and must not be in ``folded`` again (a group
        is re-sent whole, so when its first prediction is known, the whole group is skipped). Predictions whose id was
        ``given`` by a service are sent again in other groups: they go through ``unknown`` before.
        """

    def add_blocks(self, blocks: Sequence[Block], folded: Sequence[Folded]) -> None:
        """``add`` for the rows of blocks, in half the time."""

    def unknown(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        """Those whose id is not kept yet, in order, each id once."""

    def tell(self, outcomes: Sequence[Outcome], tolerance: Mapping[str, float]) -> list[Told]:
        """Keep outcomes and join them to their predictions.

        By prediction id (shadows of that prediction included), or by model + key to the predictions whose ``target``
        is nearest to the outcome's, within its own ``tolerance`` or ``tolerance[model]`` seconds (0 = exact).
        Error sums of the touched hours (of the prediction's ``at``) are corrected in the same transaction, for the
        model and for each automatic baseline of the prediction's ``references``.
        """

    def prediction(self, id: str) -> Prediction | None:
        """One prediction by its id."""

    def search(self, sought: Sought, *, limit: int = 100) -> Hits:
        """The predictions of a model that are sought, those asked last first.

        A search that looks at very many records ends before its limit and says where to go on.
        """

    def whereabouts(self, ids: Iterable[str]) -> dict[str, Whereabouts]:
        """What some predictions are about, by id; those that are not kept are left out."""

    def extent(self) -> Extent:
        """How many predictions there are, how large they are, which fields they have, and when the oldest was asked."""

    def nearest(self, model: str, key: str, *, target: float) -> float | None:
        """The target of the model's prediction for ``key`` that is nearest to a moment; None when there is none."""

    def predictions(self, model: str, *, after: int = 0, limit: int = 1000) -> list[tuple[int, Prediction]]:
        """Predictions in the order of recording, each with its place in that order (> ``after``)."""

    def latest(self, model: str, *, key: str | None = None, limit: int = 100) -> list[Prediction]:
        """The newest predictions of a model, or of one of its keys: those recorded last first."""

    def place(self, model: str) -> int:
        """The place of the model's newest prediction in the order of recording; 0 before its first."""

    def matches(self, model: str, *, after: int = 0, since: float = 0.0, limit: int = 1000) -> list[Match]:
        """Matches in the order of joining, with ``number`` > ``after`` and prediction ``at`` >= ``since``."""

    def outcomes(self, prediction: str) -> list[Outcome]:
        """All revisions of one prediction's outcome, oldest first."""

    def sums(
        self,
        model: str,
        *,
        start: float,
        end: float,
        version: int | None = None,
        key: str | None = None,
        role: str | None = None,
    ) -> dict[str, Sums]:
        """Error sums of the predictions with ``start <= at < end`` whose outcome is known.

        ``model`` (always there) and each automatic baseline by name. Exact for any bounds: whole hours from the
        profiles, the rest (and any ``key``) from the rows. ``role`` None means what was answered to
        callers (every role but shadow).
        """

    def series(self, model: str, *, cuts: Sequence[float], part: Part) -> list[Sums]:
        """The model's own error sums between each two of ``cuts`` (moments that never fall), in one question.

        As exact as ``sums``. Hours that no cut lies within cost next to nothing; a ``key`` or a ``lead`` costs its
        rows.
        """

    def leads(
        self, model: str, *, start: float, end: float, cuts: Sequence[float], part: Part
    ) -> list[dict[str, Sums]]:
        """``sums`` between each two of ``cuts``, which are leads (target - at, seconds): from every row of the time."""

    def pairs(self, model: str, *, start: float, end: float, part: Part) -> int:
        """How many rows at most are read for a ``lead`` in the hours of that time, every key."""

    def slices(self, model: str, version: int, *, role: str, start: float, end: float) -> list[Slice]:
        """Hourly profiles with ``start <= hour < end``, in time order."""

    def arms(self, model: str, *, start: float, end: float) -> list[tuple[int, str]]:
        """The (version, role) pairs that predicted in that time."""

    def used(self, since: float) -> dict[str, int]:
        """How many predictions of each model were asked since the hour of ``since``, shadows included."""

    def counts(self, model: str) -> tuple[int, int, float | None]:
        """How many predictions are kept, how many have an outcome, and when the newest prediction was asked."""

    def labelled(self, model: str, *, start: float, end: float, limit: int) -> list[tuple[Prediction, Match]]:
        """The newest ``limit`` answered predictions (not shadows) with their outcomes, oldest first."""

    def life(
        self, model: str, version: int, *, roles: Sequence[str], names: Sequence[str], start: float, end: float
    ) -> Life:
        """The error sums of a version hour by hour, all ``roles`` as one; ``names`` are those of the baselines."""

    def first(self, model: str) -> tuple[float, Mapping[str, float]] | None:
        """The model's first hour with an outcome, and how many pairs each answerer has in it; None before the first."""

    def lag(self, model: str, *, share: float = 0.95) -> float:
        """In how many seconds this share of the newest outcomes came; 0 without any."""

    def newcomers(self, model: str, *, start: float) -> tuple[dict[str, float], int, int]:
        """Keys that were never asked about before the newest predictions since ``start``, with their first target.

        Beside them how many keys those predictions have in all, and how many of the predictions are for new ones.
        Nothing where keys do not come back.
        """

    def first_targets(self, model: str, keys: Iterable[str]) -> dict[str, float]:
        """The earliest target that each key was asked about."""

    def memory(self, model: str, keys: Iterable[str] | None = None) -> dict[str, bytes]:
        """State of the automatic baselines by key (of all keys, or of some), as ``remember`` kept it."""

    def remember(self, model: str, states: Mapping[str, bytes], *, tell: bool = False) -> None:
        """Keep the state of the automatic baselines of some keys; ``tell`` lets every process look at once."""


class Said(Protocol):
    """What people say of predictions: feedback, and reviews."""

    def add_feedback(self, told: Sequence[Feedback]) -> list[bool]:
        """Keep feedback; False for each whose id is known already. The model is that of the prediction, when kept."""

    def feedback_of(self, prediction: str) -> list[Feedback]:
        """All feedback on one prediction, oldest first."""

    def ratings(self, model: str | None, *, start: float, end: float) -> dict[int, int]:
        """How often each rating was given with ``start <= at < end``, of one model or of all."""

    def worst(self, model: str | None, *, start: float, end: float, limit: int = 10) -> list[Feedback]:
        """The feedback of that time with the lowest rating, the newest of them first."""

    def add_reviews(self, seen: Sequence[Review]) -> None:
        """Keep that somebody has looked at predictions."""

    def reviews_of(self, prediction: str) -> list[Review]:
        """Who has looked at one prediction, oldest first."""

    def reviewed(self, predictions: Iterable[str]) -> set[str]:
        """Which of some predictions somebody has looked at."""

    def forget(self, predictions: Iterable[str]) -> tuple[int, int]:
        """Delete all feedback on some predictions, and all reviews of them; how many of each went."""


class Versions(Protocol):
    """Versions and policies. Neither ever changes; a new one gets the next number."""

    def add(self, version: Version) -> None:
        """Keep a version. Raises Conflict when its model and number exist."""

    def get(self, model: str, number: int) -> Version:
        """Raises NotFound naming near models, or the versions that exist."""

    def all(self, model: str | None = None) -> list[Version]:
        """By model and number."""

    def models(self) -> list[str]:
        """Names of the models that have a version."""

    def add_policy(self, policy: Policy) -> None:
        """Keep a policy. Raises Conflict when its model and number exist."""

    def policies(self) -> dict[str, Policy]:
        """The newest policy of each model that has one of its own."""

    def policy(self, model: str, number: int | None = None) -> Policy:
        """The policy, the newest without ``number``; number 1 is the default one unless another was kept under it.

        Raises NotFound naming the policies that exist.
        """


class Rollouts(Protocol):
    """The one rollout of each model, and its past."""

    def get(self, model: str) -> Rollout | None:
        """The rollout that is in force, or None before the first."""

    def all(self) -> list[Rollout]:
        """Every model's rollout that is in force."""

    def put(self, rollout: Rollout, was: Rollout | None) -> None:
        """Replace ``was`` by ``rollout``. Raises Conflict when another has replaced ``was`` meanwhile."""

    def history(self, model: str) -> list[Rollout]:
        """Every rollout the model had, oldest first."""

    def revision(self) -> int:
        """A number that grows with every change of any rollout; cheap to poll."""


class Readings(Protocol):
    """The newest readings and their past."""

    def add(self, readings: Sequence[Reading]) -> None:
        """Keep readings."""

    def newest(self, subject: str | None = None, name: str | None = None) -> list[Reading]:
        """The newest reading of each name and subject; ``subject`` ``m`` also finds ``m@1``."""

    def series(self, name: str, subject: str, *, start: float, end: float) -> list[Reading]:
        """The readings of one name and subject, oldest first."""

    def purge(self, before: float, *, limit: int = 1_000_000) -> int:
        """Delete readings older than ``before``, the oldest first, and add them to their days; how many went.

        The newest of a name and subject stays, however old.
        """

    def older(self, before: float) -> int:
        """How many readings ``purge`` would delete."""

    def days(self, name: str, subject: str, *, start: float, end: float) -> list[DayOfReadings]:
        """What is kept of deleted readings: one entry a day that began within the bounds, oldest first."""


class Alerts(Protocol):
    """Alerts with their deliveries (the outbox)."""

    def put(self, alert: Alert) -> None:
        """Keep an alert, new or changed."""

    def get(self, id: str) -> Alert:
        """Raises NotFound."""

    def all(self, *, active: bool = False, limit: int = 200) -> list[Alert]:
        """Newest first; ``active`` = open or acknowledged only."""

    def due(self, now: float) -> list[Alert]:
        """Alerts with a delivery that is waiting and due."""


class Jobs(Protocol):
    """The durable queue."""

    def add(self, job: Job) -> bool:
        """Enqueue; False when a job of that id exists (nothing changes)."""

    def get(self, id: str) -> Job:
        """Raises NotFound."""

    def all(self, *, task: str | None = None, state: str | None = None, limit: int = 200) -> list[Job]:
        """Newest first."""

    def lease(self, runner: str, *, now: float, seconds: float) -> Job | None:
        """Take the job that is due longest (or whose lease ran out) for ``seconds``; None when there is none.

        Never takes a job while another of the same task and subject is running under a live lease.
        """

    def save(self, job: Job, token: int) -> None:
        """Write a leased job back. Raises LeaseLost when its lease has another token by now."""

    def cancel(self, id: str, now: float) -> Job:
        """Stop a waiting job. Raises Conflict when it has finished."""

    def purge(self, before: float, *, task: str | None = None) -> int:
        """Delete jobs that were created before then and ended well, or all ended ones without ``task``; how many went.

        The newest of each schedule stays, and so does what never ran: both tell which slots have been.
        """


class Acts(Protocol):
    """The audit chain: each entry's digest covers the one before."""

    def append(
        self,
        *,
        who: str,
        what: str,
        subject: str,
        why: str,
        at: float,
        before: Raw = Raw(b"null"),  # noqa: B008 - immutable
        after: Raw = Raw(b"null"),  # noqa: B008 - immutable
    ) -> Act:
        """Add an entry."""

    def all(self, *, subject: str | None = None, limit: int = 200) -> list[Act]:
        """Newest first; ``subject`` ``m`` also finds ``m@1``."""

    def verify(self) -> int | None:
        """The number of the first entry whose digest is wrong, or None when the chain holds."""


class Persons(Protocol):
    """People: their consents, what is recorded of them, who looked at it, and what was erased.

    A person is given as callers name it; what is kept here is a pseudonym. ``entities`` are pairs of a model and one of
    its keys that are that person too.
    """

    keys: Keys

    def say(self, subject: str, *, granted: bool, at: float, by: str) -> None:
        """Keep a word on consent; the newest counts."""

    def said(self, subject: str) -> list[Consent]:
        """Every word of a person on consent, oldest first."""

    def tally(self) -> tuple[int, int]:
        """How many people consent now, and how many have withdrawn."""

    def granted(self) -> frozenset[str]:
        """The pseudonyms of all who consent now."""

    def revision(self) -> int:
        """A number that changes with every word on consent; cheap to poll."""

    def forget_consents(self, subject: str, *, at: float) -> int:
        """Take the words of a person away; one without a name stays, that no consent stands. How many went."""

    def erased(self) -> int:
        """A number that grows with every erasure of anybody."""

    def count(self, subject: str, entities: Sequence[tuple[str, str]] = ()) -> int:
        """How many predictions are recorded of a person."""

    def held(
        self, subject: str, entities: Sequence[tuple[str, str]] = (), *, after: int = 0, limit: int = 1000
    ) -> list[tuple[int, Prediction]]:
        """Predictions of a person in the order of recording, each with its place (> ``after``)."""

    def newest(self, model: str, *, limit: int) -> list[Prediction]:
        """The newest predictions of a model about anybody."""

    def told(self, entities: Sequence[tuple[str, str]]) -> list[Outcome]:
        """What was told of keys, whether or not a prediction met it."""

    def own_keys(self, subject: str) -> list[tuple[str, str]]:
        """The models that know the person by its own name as their key, too."""

    def models(self, subject: str, entities: Sequence[tuple[str, str]] = ()) -> list[tuple[str, int, float, float]]:
        """For each model that predicted for a person: how often, first and last when."""

    def erase(self, subject: str, entities: Sequence[tuple[str, str]] = (), *, limit: int = 2000) -> Erased:
        """Take up to ``limit`` predictions of a person away with all that hangs on them; empty when none is left.

        What is told of ``entities`` goes with the last of them. Sums and profiles stay: they hold no person.
        """

    def saw(self, access: Access) -> None:
        """Keep that somebody read personal records."""

    def accesses(self, subject: str = "", *, since: float = 0.0, limit: int = 200) -> list[Access]:
        """Who read personal records, newest first; those of one person with ``subject``."""

    def first_access(self) -> float | None:
        """When the oldest access that is kept was."""

    def purge_accesses(self, before: float) -> int:
        """Forget accesses from before a moment; how many went."""

    def keep_receipt(self, id: str, *, subject: str, at: float, receipt: str) -> None:
        """Keep the receipt of an erasure (``subject`` is a pseudonym); a second time changes nothing."""

    def clear(self, *, after: int, limit: int) -> list[int]:
        """The numbers of the first predictions behind a place that lie in the clear."""

    def clear_by_model(self) -> dict[str, int]:
        """How many predictions of each model lie in the clear; a model without any is left out."""

    def seal_more(self, numbers: Sequence[int], *, at: float) -> int:
        """Seal those of some predictions, by number, that lie in the clear; how many."""

    def clear_summaries(self) -> int:
        """How many profiles lie in the clear."""

    def seal_summaries(self) -> int:
        """Seal the profiles that lie in the clear; how many."""

    def blacken(self, needles: Sequence[str]) -> int:
        """Black a name out in the sentences of readings, alerts and jobs, where it stands by itself; how often."""

    def complete(self, id: str, *, receipt: str) -> None:
        """Let another receipt take the place of one: somebody has done what was still to be done."""

    def receipt(self, id: str) -> str | None:
        """One receipt, or None when there is none of that id."""

    def receipts(self, *, limit: int = 200) -> list[tuple[str, str]]:
        """Receipts of erasures by id, newest first."""


class Ledger(Protocol):
    """One transaction's view of everything that is kept."""

    records: Records
    versions: Versions
    rollouts: Rollouts
    readings: Readings
    alerts: Alerts
    jobs: Jobs
    acts: Acts
    persons: Persons
    said: Said
    archive: Vault


class Store(Protocol):
    """Where everything is kept. Implementations: ``sqlite.SqliteStore``, ``postgresql.PostgresStore``.

    ``cold`` are the files of the archive, None for a store that has none.
    """

    @property
    def cold(self) -> Cold | None:
        """The archive's files."""

    def write(self, scope: Scope = "everything") -> AbstractContextManager[Ledger]:
        """A transaction that writes: kept durably on a clean exit, undone on an exception.

        Nobody else writes what is in ``scope`` meanwhile; to write beyond it is a fault of ours.
        Raises StoreUnavailable naming the cause (locked, full, unreadable, gone).
        """

    def read(self) -> AbstractContextManager[Ledger]:
        """A consistent view that never waits for a writer. Raises StoreUnavailable."""

    def migrate(self) -> list[str]:
        """Bring the schema up to date; the names of the migrations that ran. Refuses a newer schema (BadSettings)."""

    def pending(self) -> list[str]:
        """The names of the migrations that ``migrate`` would run. Raises BadSettings for a newer schema."""

    def open(self) -> None:
        """Make sure that the schema is the one of this release, as far as that may be done without being asked.

        A file of one's own is migrated; a server that others may be using is not: BadSettings names the remedy.
        """

    def ping(self) -> float:
        """Write and undo something; the seconds that it took. Raises StoreUnavailable."""

    def hear(self, changed: Callable[[], None]) -> Callable[[], None] | None:
        """Call ``changed`` from another thread soon after any process has changed a rollout; how to stop it.

        None where nobody tells: then ask ``rollouts.revision`` often.
        """

    def slowest(self, limit: int = 10) -> list[Slow]:
        """The statements that took this process longest in all, with their plans. Raises StoreUnavailable."""

    def sweep(self) -> str:
        """Leave nothing of deleted rows behind: in free pages, in the log. What stands in the way, empty when done."""

    def vacuum(self, *, alone: bool = False) -> Vacuumed:
        """Give free space back to the disk and look at how the data lie; others write and read meanwhile.

        ``alone`` says that no server uses the store. Raises StoreUnavailable.
        """

    def size(self) -> int:
        """Bytes that the database takes. Raises StoreUnavailable."""

    def faults(self) -> list[str]:
        """What the database finds wrong with its own files, in words; empty when all is well."""

    def copy(self, folder: Path) -> dict[str, int]:
        """Write one consistent state of the whole database into a folder; how many rows each table has in it.

        Others write and read meanwhile. Raises StoreUnavailable.
        """

    def fill(self, folder: Path) -> dict[str, int]:
        """Make this store, which must not hold anything yet, what ``copy`` wrote; how many rows each table has.

        Raises Conflict when it holds something, BadArtifact when the copy is damaged.
        """

    def close(self) -> None:
        """Let go of everything; later calls raise StoreUnavailable."""


class Files(Protocol):
    """Content-addressed files: the name of a file is the SHA-256 of its bytes, in hex."""

    def put(self, source: Path | bytes | BinaryIO, *, digest: str = "") -> str:
        """Keep a file (write, fsync, rename) and return its digest. Raises StoreUnavailable.

        Where its ``digest`` is known already, nothing is kept of other bytes: raises BadArtifact.
        """

    def path(self, digest: str) -> Path:
        """Where its bytes can be read, verified against the digest at this call.

        Raises NotFound, or BadArtifact with both digests when the bytes have changed.
        """

    def size(self, digest: str) -> int:
        """Bytes. Raises NotFound."""

    def remove(self, digest: str) -> int:
        """Forget a file; its bytes, 0 when it was not there."""

    def sweep(self, before: float) -> int:
        """Remove what killed processes had not finished writing before a moment; the bytes. Raises StoreUnavailable."""

    def all(self) -> list[str]:
        """Every digest that is kept."""
