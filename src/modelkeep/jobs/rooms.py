"""What a task may use, and how it says what it did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

from msgspec import Struct

from modelkeep.jobs.trying import Trials
from modelkeep.serving.client import Client
from modelkeep.serving.intake import Intake
from modelkeep.store.datasets import Datasets
from modelkeep.store.sealing import DATASETS

if TYPE_CHECKING:
    from modelkeep.alerts.book import Book
    from modelkeep.clock import Clock
    from modelkeep.nouns import Job
    from modelkeep.serving.gateway import Gateway
    from modelkeep.serving.recorder import Recorder
    from modelkeep.serving.router import Router
    from modelkeep.store.seams import Files, Ledger, Store

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Rooms:
    """Every room that acts need. ``folder`` is the data folder; tasks may use ``folder / "work"`` for scratch.

    ``common`` is the folder of what the servers of one store share, ``folder`` itself unless said otherwise.

    ``client`` asks models and tells outcomes as a client does; ``datasets`` keeps raw data that is no prediction;
    ``intake`` takes records of predictions that were made elsewhere; ``trials`` is where model files are tried.
    """

    clock: Clock
    store: Store
    files: Files
    recorder: Recorder
    gateway: Gateway
    router: Router
    book: Book
    folder: Path
    common: Path = field(default=Path())
    client: Client = field(init=False)
    datasets: Datasets = field(init=False)
    trials: Trials = field(init=False, default_factory=Trials)
    intake: Intake = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "common", self.folder / self.common)
        client = Client(self.gateway, self.router, recorder=self.recorder, store=self.store)
        object.__setattr__(self, "client", client)
        object.__setattr__(self, "intake", Intake(self.recorder, self.store, clock=self.clock))
        object.__setattr__(self, "datasets", Datasets(self.common / "datasets", key=self._dataset_key))

    def _dataset_key(self, fresh: bool) -> bytes | None:  # noqa: FBT001 - the form of Key
        """What datasets are sealed with: a data key of the store's, wrapped by its master key."""
        with self.store.read() as ledger:
            keys = ledger.persons.keys
            if fresh and not keys.sealer.encrypts:
                return None
            known = keys.get(DATASETS)
        if known is None and fresh:
            with self.store.write() as ledger:
                known = ledger.persons.keys.made([DATASETS], at=self.clock.now())[DATASETS]
        return known


class Run(Protocol):
    """One run of a leased job, as its task sees it.

    Every method that writes raises LeaseLost when another runner has taken the job over; the task then just stops.
    """

    @property
    def job(self) -> Job:
        """The job with the steps so far."""

    def arguments(self, kind: type[T]) -> T:
        """The job's arguments as the task's own type. Raises BadInput naming the field that is wrong."""

    def memo(self, kind: type[T]) -> T | None:
        """What the task remembered last, or None at its first run."""

    def step(
        self,
        name: str,
        *,
        detail: str = "",
        evidence: Struct | None = None,
        memo: Struct | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        """Record a finished step (and the memo), durably; inside ``ledger``'s transaction when one is given."""


class Again(Struct, frozen=True, kw_only=True):
    """Not finished: run me again ``after`` seconds, with this ``memo``."""

    after: float
    memo: Struct | None = None


class Done(Struct, frozen=True, kw_only=True):
    """Finished; ``result`` is kept with the job."""

    result: Struct | None = None


Task: TypeAlias = Callable[[Rooms, Run], Again | Done]
"""Acts, is durable, is recorded. A ModelkeepError fails the job with its text; any other exception is retried."""
