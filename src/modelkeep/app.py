"""The composition root: builds every room, hands each what it needs, and starts and stops them in order."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, Self

from msgspec import structs

from modelkeep import extended, journal, notifying, securing
from modelkeep.alerts import rules
from modelkeep.alerts.book import Book
from modelkeep.claims import Claim, address, claim, claim_one, mark_of
from modelkeep.clock import Clock, SystemClock
from modelkeep.errors import BadInput, BadSettings, Conflict, NotFound
from modelkeep.extending import Extension, find_all
from modelkeep.jobs import aside, folders, overloads, services, upkeep
from modelkeep.jobs.archiving import archive
from modelkeep.jobs.backup import backup
from modelkeep.jobs.changing import adopt
from modelkeep.jobs.collecting import audit_collection, verify_collection
from modelkeep.jobs.complying import Evidence, comply
from modelkeep.jobs.emergencies import emergency
from modelkeep.jobs.erasing import erase, job_of, left
from modelkeep.jobs.housekeeping import tidy
from modelkeep.jobs.making import train
from modelkeep.jobs.probing import Probing
from modelkeep.jobs.release import release
from modelkeep.jobs.reports import report
from modelkeep.jobs.rolling_back import roll_back
from modelkeep.jobs.rooms import Rooms, Task
from modelkeep.jobs.rotating import rotate, switched_on
from modelkeep.jobs.runner import Pace, Runner
from modelkeep.jobs.saving import save
from modelkeep.jobs.schedule import Schedule
from modelkeep.jobs.scoring import score
from modelkeep.jobs.slots import Wanted
from modelkeep.jobs.training import retrain
from modelkeep.jobs.watching import deliver, watch
from modelkeep.nouns import Features, Job, Outcome, Prediction, Rule, Value
from modelkeep.quantities import duration, iso, seconds
from modelkeep.serving import freeing
from modelkeep.serving.admission.admitting import Admission
from modelkeep.serving.gateway import Gateway
from modelkeep.serving.recorder import Recorder
from modelkeep.serving.router import Router
from modelkeep.serving.shelf import Keeping
from modelkeep.settings import Settings, load
from modelkeep.store import opening
from modelkeep.store.archive.cold import Cold
from modelkeep.store.folder import FolderFiles
from modelkeep.store.seams import Ledger, Store, Told

if TYPE_CHECKING:
    from modelkeep.runtimes.explaining import Explanation

log = logging.getLogger("modelkeep.app")

TASKS: Mapping[str, Task] = MappingProxyType(
    {
        "release": release,
        "roll_back": roll_back,
        "retrain": retrain,
        "train": train,
        "watch": watch,
        "deliver": deliver,
        "backup": backup,
        "verify_collection": verify_collection,
        "audit_collection": audit_collection,
        "report": report,
        "emergency": emergency,
        "tidy": tidy,
        "archive": archive,
        "save": save,
        "score": score,
        "vacuum": upkeep.vacuum,
        "purge_history": upkeep.purge_history,
        "purge_logs": upkeep.purge_logs,
        "erase": erase,
        "erase_here": folders.erase_here,
        "rotate": rotate,
        "capacity": overloads.capacity,
    }
)
WANTED: Mapping[str, Wanted] = MappingProxyType({"deliver": lambda ledger, now: bool(ledger.alerts.due(now))})
"""Tasks that are looked at often and have something to do seldom."""
LOOKS = 3.0
"""Scheduled work that has not been seen for so many of its intervals is in trouble."""
STALLED = 30.0
"""Seconds of real time after which a runner that has not looked at its queue is in trouble."""


class App:
    """The product in one process: ``App.open`` for work on a data folder, ``start`` and ``stop`` for a server on it.

    >>> import tempfile
    >>> with App.open(Settings(folder=Path(tempfile.mkdtemp()))) as app:
    ...     sorted(app.tasks)
    ['archive', 'audit_collection', 'backup', 'capacity', 'comply', 'deliver', 'emergency', 'erase', 'erase_here',
     'purge_history', 'purge_logs', 'release', 'report', 'retrain', 'roll_back', 'rotate', 'save', 'score', 'tidy',
     'train', 'vacuum', 'verify_collection', 'watch']
    """

    def __init__(
        self, settings: Settings, rooms: Rooms, *, spool: Claim, extensions: tuple[Extension, ...] = ()
    ) -> None:
        self.settings = settings
        self.rooms = rooms
        self.extensions = extensions
        gates = Probing(workload="admission", probe=overloads.Gates())
        self.probes = [*extended.probes(extensions), *_services(settings), gates]
        """What the watch asks beyond predictions; a server adds how its doors fare."""
        own: dict[str, Task] = {**TASKS, "watch": partial(watch, probes=self.probes)}
        hook = settings.overload.webhook
        own["capacity"] = partial(overloads.capacity, url=hook.reveal if hook else None)
        own["report"] = partial(report, base=partial(address, settings.folder))
        own["tidy"] = partial(tidy, accesses=settings.privacy.accesses)
        own["archive"] = partial(archive, hot=settings.archive.after)
        own["save"] = partial(save, keep=settings.keeping.backups)
        own["purge_history"] = partial(upkeep.purge_history, age=settings.keeping.readings)
        own["purge_logs"] = partial(upkeep.purge_logs, age=settings.logs.age, current=settings.logs.file)
        own["comply"] = partial(comply, check=self._complying)
        own["erase"] = partial(erase, personals=extended.personals(extensions))
        self.tasks: Mapping[str, Task] = MappingProxyType(extended.tasks(extensions, own))
        self.schedules = MappingProxyType(_schedules(settings, extensions, tasks=self.tasks))
        pace = Pace(**structs.asdict(settings.jobs))
        self.runner = Runner(rooms, self.tasks, schedules=self.schedules, pace=pace, wanted=WANTED)
        rooms.gateway.admission.hung = overloads.Demoting(rooms)
        rooms.gateway.admission.told = overloads.Noticing(
            rooms, ask=hook is not None, every=settings.overload.every, wake=self.runner.wake
        )
        self._policies = extended.policies(extensions)
        self._spool = spool
        self._claim: Claim | None = None
        self._journal: journal.Journal | None = None

    @classmethod
    def open(cls, settings: Settings | None = None, *, clock: Clock | None = None) -> Self:
        """Build every room on the data folder, which is made when missing; nothing runs yet.

        Without ``settings`` they are read as ``settings.load`` does. The workloads of the setting ``workloads`` are
        imported and joined to the product. Raises BadSettings, and StoreUnavailable when the store cannot be opened.
        """
        settings, clock = settings or load(), clock or SystemClock()
        extensions = find_all(settings.workloads, source=settings.source("workloads"))
        spool = claim_one(_folder(settings) / "spool")
        store = open_store(settings)
        with contextlib.ExitStack() as undo:
            undo.callback(spool.close)
            undo.callback(store.close)
            store.open()
            book = _book(settings, clock, known=extended.rules(extensions, rules.DEFAULT))
            rooms = _rooms(settings, store, clock=clock, spool=spool, book=book)
            app = cls(settings, rooms, spool=spool, extensions=extensions)
            undo.pop_all()
        return app

    # ---------------------------------------------------------------------------------------------- serving

    @property
    def serving(self) -> bool:
        """True between ``start`` and ``stop``: this process answers, watches and runs jobs."""
        return self._claim is not None

    def start(self) -> None:
        """Begin to record, to serve and to work, as the one server of this data folder.

        Work that an earlier process left in the middle goes on. Raises Conflict when another server has the folder.
        """
        if self._claim is not None:
            return
        self._claim = self._claimed()
        with contextlib.ExitStack() as undo:
            undo.callback(self.stop)
            console = sys.stderr if self.settings.logs.console else None
            self._journal = journal.keep(self.settings, clock=self.rooms.clock, console=console)
            sealing = switched_on(self.rooms)
            with self.rooms.store.write() as ledger:
                self._adopt(ledger, self.rooms.clock.now())
                for wanted in left(self.rooms):
                    ledger.jobs.add(job_of(self.rooms, wanted))
                folders.register(ledger, self.rooms)
                if sealing is not None:
                    ledger.jobs.add(sealing)
            freeing.bound_threads(freeing.threads(self.settings.loading.threads, workers=self.settings.server.workers))
            aside.forget(self.rooms)
            self.rooms.trials.begin(self.settings.loading.trial, apart=self.settings.loading.isolate)
            self.rooms.recorder.start()
            self.rooms.router.refresh()
            self.rooms.router.start()
            self.rooms.gateway.admission.start()
            self.runner.start()
            undo.pop_all()
        log.info("started", extra={"folder": str(self.rooms.folder), "models": sorted(self.rooms.gateway.routes)})

    def assist(self) -> None:
        """Begin to record and to serve beside the server of this data folder, without watching and without jobs."""
        with contextlib.ExitStack() as undo:
            undo.callback(self.stop)
            console = sys.stderr if self.settings.logs.console else None
            self._journal = journal.keep(self.settings, clock=self.rooms.clock, console=console)
            freeing.bound_threads(freeing.threads(self.settings.loading.threads, workers=self.settings.server.workers))
            self.rooms.recorder.start()
            self.rooms.router.refresh()
            self.rooms.router.start()
            self.rooms.gateway.admission.start()
            undo.pop_all()
        log.info("assisting", extra={"folder": str(self.rooms.folder)})

    def stop(self) -> None:
        """Stop in order: jobs finish or are handed back, records are kept, the store is closed. Nothing works after."""
        if self.serving:
            log.info("stopping", extra={"folder": str(self.rooms.folder)})
        with contextlib.ExitStack() as last:  # each is stopped even when one before it fails
            closing = (self._unclaim, self._close_journal, self._spool.close, self.rooms.store.close)
            for close in (*closing, self.rooms.datasets.close):
                last.callback(close)
            last.callback(self.rooms.recorder.close)
            last.callback(self.rooms.router.shelf.retain, ())
            last.callback(self.rooms.gateway.close)
            last.callback(self.rooms.router.close)
            last.callback(self.rooms.gateway.admission.close)
            last.callback(self.runner.stop)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # ---------------------------------------------------------------------------------------------- asking

    def predict(
        self,
        model: str,
        rows: Sequence[Features],
        *,
        keys: Sequence[str] = (),
        targets: Sequence[float] | None = None,
        subject: str | None = None,
        request: str = "",
        record: bool = True,
    ) -> tuple[Prediction, ...]:
        """Ask a model as a client does, from any thread: every answer is recorded, canaried and shadowed.

        One prediction a row, in order; ``output`` is None where nobody could answer. ``keys`` are the entities that the
        rows are about (sticky in trials, joined with outcomes), ``targets`` the moments; each has one entry a row, or
        is left out. ``subject`` is the person whom the rows are about, ``request`` the id that the records carry.
        With ``record`` False the answers are counted and nothing of them is kept: for a person who has not consented.

        Raises NotFound naming near models, BadFeatures naming each field of each row, ModelFailed, TimedOut or
        Unavailable when nobody could answer any row, and Conflict when called in the server's own event loop.
        """
        return self.rooms.client.predict(
            model, rows, keys=keys, targets=targets, subject=subject, request=request, record=record
        )

    def tell(self, outcomes: Sequence[Outcome]) -> list[Told]:
        """Tell what really happened, from any thread; what became of each outcome, once all are on disk.

        Raises BadInput for a value that cannot be recorded, Unavailable when they cannot be kept now.
        """
        return self.rooms.client.tell(outcomes)

    def explain(self, model: str, features: Features, *, number: int | None = None) -> Explanation:
        """Tell what each input added to the answer of the version that answers (or of ``number``); nothing is recorded.

        Raises NotFound, BadFeatures naming each field, and Refused when the version's runtime cannot tell.
        """
        acts = import_module("modelkeep.operations.explaining")  # acts stand above the app, and are its words
        found: Explanation = acts.explain(self, acts.Explain(model=model, features=dict(features), number=number))
        return found

    def train(
        self,
        name: str,
        table: Mapping[str, Sequence[Value]],
        *,
        release: bool = True,
        data_source: Literal["database", "file", "sample"] = "database",
        source: str = "",
        why: str = "",
        by: str = "",
    ) -> Job:
        """Train a workload's model on a table in memory, by its recipe: ``workload``, ``workload/model`` or the model.

        ``table`` is a dict of columns of one length, as the recipe names them. Where a server runs, the job is answered
        at once and works on; elsewhere it has ended. ``data_source`` ``sample`` labels simulated rows: such a version
        is released only with ``why``. Raises NotFound naming near recipes, and where no server runs Refused with what
        speaks against the data.
        """
        acts = import_module("modelkeep.operations.training")
        wanted = acts.Train(name=name, source=source, release=release, force=bool(why), why=why, by=by)
        done: Job = acts.train_table(self, table, wanted=wanted, data_source=data_source)
        return done

    def score(
        self,
        model: str,
        file: str | Path,
        *,
        out: str | Path,
        names: Mapping[str, str] | None = None,
        workers: int = 0,
        batch: int = 100,
        record: bool = True,
    ) -> Job:
        """Answer every row of a file with a model (or ``model@number``), in order, and write the answers to ``out``.

        ``names`` maps inputs, ``id``, ``key``, ``for`` and ``subject`` to the file's columns; ``workers`` processes (0
        = by the cores) are asked ``batch`` rows at a time. The job that is returned has ended; its result counts the
        rows without an answer. Raises NotFound, Conflict when nobody answers or the job failed, and BadInput naming
        the column that is missing.
        """
        acts = import_module("modelkeep.operations.scoring")
        plain, at, number = model.rpartition("@")
        wanted = acts.Score(
            model=plain if at else model,
            file="",
            number=int(number) if at else None,
            names=dict(names or {}),
            workers=workers,
            batch=batch,
            record=record,
        )
        done: Job = acts.score_file(self, Path(file), out=Path(out), wanted=wanted)
        return done

    def say_consent(self, subject: str, *, granted: bool, by: str = "") -> None:
        """Keep that a person may be recorded, or may not be any more; it holds from the next request on.

        There is one consent for all models and workloads; see ``docs/privacy.md``.
        """
        import_module("modelkeep.operations.consenting").say(self, subject, granted=granted, by=by)

    # -------------------------------------------------------------------------------------------- inside

    def wake(self) -> None:
        """Look at the queue now: something was enqueued."""
        self.runner.wake()

    def trouble(self, part: str) -> str:
        """What is wrong with ``jobs`` (the runner) or with a schedule such as ``watch``; empty when all is well."""
        if not self.serving:
            return "no server runs here"
        if self.runner.silent > STALLED:
            return f"the job runner has not looked at its queue for {self.runner.silent:.0f} s"
        if part == "jobs" or part not in self.schedules:
            return ""
        now, schedule = self.rooms.clock.now(), self.schedules[part]
        with self.rooms.store.read() as ledger:
            ran = [job for job in ledger.jobs.all(task=schedule.task, limit=20) if job.schedule == part]
        ended = next((job for job in ran if job.finished is not None), None)
        if ended is None:
            return ""
        if ended.error:
            return ended.error
        interval = schedule.after(ended.due) - ended.due
        late = now - ended.due > LOOKS * interval and not any(job.state == "running" for job in ran)
        return f"{part} last ran at {iso(ended.due)}" if late else ""

    def _complying(self) -> tuple[Evidence, ...]:
        acts = import_module("modelkeep.operations.complying")
        found: tuple[Evidence, ...] = acts.evidence(self)
        return found

    def _adopt(self, ledger: Ledger, now: float) -> None:
        """Take up the policies of the configuration, and those of workloads for models that have none of their own.

        Those of a model that is not registered are left: its training takes up its recipe's.
        """
        for policy in self.settings.models.values():
            adopt(ledger, policy, who="configuration", why="modelkeep.toml says so", at=now)
        known = ledger.versions.models()
        for workload, policy in self._policies:
            model = policy.model
            if model in known and model not in self.settings.models and ledger.versions.policy(model).number == 1:
                adopt(ledger, policy, who=f"workload {workload}", why="the model has no policy of its own", at=now)

    def _claimed(self) -> Claim:
        mine = claim(self.rooms.folder, "server.lock")
        if mine is None:
            raise Conflict(
                f"a server runs on {self.rooms.folder} already{_running(self.rooms.folder)}",
                remedy="use it, stop it, or choose another folder with --folder",
            )
        return mine

    def _unclaim(self) -> None:
        if self._claim is not None:
            self._claim.close()
            self._claim = None

    def _close_journal(self) -> None:
        if self._journal is not None:
            self._journal.close()
            self._journal = None


# ------------------------------------------------------------------------------------------------- the rooms


def _running(folder: Path) -> str:
    mark = mark_of(folder)
    if mark is not None:
        return f": {mark.url} (process {mark.pid})"
    pid = (folder / "server.lock").read_text(encoding="ascii")
    return f" (process {pid})" if pid else ""


def _folder(settings: Settings) -> Path:
    try:
        settings.folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    except OSError as cause:
        raise BadSettings(
            f"folder = {str(settings.folder)!r} ({settings.source('folder')}): {cause.strerror}",
            remedy="choose a folder that can be written",
        ) from None
    return settings.folder


def open_store(settings: Settings) -> Store:
    """The store that the settings name; nothing is asked of it yet. Raises BadSettings."""
    store, cold, sealer = settings.store, Cold(settings.common / "archive"), securing.sealer(settings)
    if store.url is None:
        return opening.sqlite(settings.database, busy=store.busy, cold=cold, sealer=sealer)
    return opening.postgresql(
        store.url.reveal(),
        busy=store.busy,
        pool_size=store.pool_size,
        max_overflow=store.max_overflow,
        pre_ping=store.pre_ping,
        cold=cold,
        sealer=sealer,
    )


def _rooms(settings: Settings, store: Store, *, clock: Clock, spool: Claim, book: Book) -> Rooms:
    files = FolderFiles(settings.common / "files")
    recorder = Recorder(
        store,
        clock,
        spool=spool.folder,
        files=files,
        durability=settings.recorder.durability,
        held=settings.recorder.held,
        limit=settings.recorder.spool,
    )
    recorder.batch = settings.recorder.batch
    recorder.sealer = securing.sealer(settings)
    overload = settings.overload
    admission = Admission(calm=overload.calm, settle=overload.settle, share=overload.share)
    gateway = Gateway(recorder, clock, admission=admission)
    gateway.collector = freeing.Collector() if settings.loading.collect else None
    router = Router(store, files, gateway=gateway, clock=clock, keeping=_keeping(settings))
    router.beside = recorder.look
    return Rooms(
        clock=clock,
        store=store,
        files=files,
        recorder=recorder,
        gateway=gateway,
        router=router,
        book=book,
        folder=settings.folder,
        common=settings.common,
    )


def _keeping(settings: Settings) -> Keeping:
    loading = settings.loading
    return Keeping(preload=loading.preload, limit=loading.limit, idle=loading.idle, isolate=loading.isolate)


def _book(settings: Settings, clock: Clock, *, known: tuple[Rule, ...]) -> Book:
    path = settings.folder / settings.alerts.rules if settings.alerts.rules else None
    try:
        return Book(rules.load(path, known=known), notifying.channels(settings), clock=clock)
    except BadInput as wrong:
        raise BadSettings(f"alerts.rules ({settings.source('alerts.rules')}): {wrong}") from None


def _services(settings: Settings) -> list[Probing]:
    """The probe on services beside the product, when there are any."""
    found = services_of(settings)
    return [Probing(workload="services", probe=partial(services.readings, addresses=found))] if found else []


def services_of(settings: Settings) -> dict[str, str]:
    """The addresses of the services beside the product, by name."""
    named = {"redis": settings.services.redis, "mlflow": settings.services.mlflow}
    return {name: address.reveal() for name, address in named.items() if address is not None}


def _schedules(
    settings: Settings, extensions: Sequence[Extension], *, tasks: Mapping[str, Task]
) -> dict[str, Schedule]:
    """The built-in schedules and those of the workloads, replaced and joined by those of the configuration."""
    own = {
        "deliver": Schedule(task="deliver", when="every 5s"),
        "tidy": Schedule(task="tidy", when="every 1d"),
        "verify_collection": Schedule(task="verify_collection", when="15 3 * * *"),
        "audit_collection": Schedule(task="audit_collection", when="45 3 * * 1"),
        "comply": Schedule(task="comply", when="every 1d"),
        "archive": Schedule(task="archive", when="30 2 1 * *"),
        "purge_history": Schedule(task="purge_history", when="10 3 * * *"),
        "purge_logs": Schedule(task="purge_logs", when="20 3 * * *"),
        "save": Schedule(task="save", when="0 3 * * *"),
        "vacuum": Schedule(task="vacuum", when="30 3 * * 0"),
        "report": Schedule(task="report", when="0 6 * * 1", arguments={"kind": "weekly"}),
    }
    if settings.privacy.encrypt:
        own["rotate"] = Schedule(task="rotate", when="50 3 * * *")
    if settings.watch.every:
        every = duration(settings.watch.every)
        exact = every if seconds(every) == settings.watch.every else f"{settings.watch.every:f}s"
        own["watch"] = Schedule(task="watch", when=f"every {exact}")
    found = extended.schedules(extensions, own, tasks=tasks)
    for name, schedule in settings.schedules.items():
        if schedule.task not in tasks:
            missing = NotFound("task", schedule.task, known=tasks)
            source = settings.source(f"schedules.{name}.task")
            raise BadSettings(f"schedules.{name}.task ({source}): {missing.message}", remedy=missing.remedy)
        found[name] = schedule
    return found
