"""A model on trial for the release tests: real store, files, runner and models; traffic by the rollout's own pick."""

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # child processes import this, too
from migrated import ready

from modelkeep.alerts import rules
from modelkeep.alerts.book import Book
from modelkeep.alerts.channels import LogChannel
from modelkeep.clock import ManualClock
from modelkeep.jobs.release import Release, enqueue, release
from modelkeep.jobs.rolling_back import roll_back
from modelkeep.jobs.rooms import Rooms
from modelkeep.jobs.runner import Pace, Runner
from modelkeep.nouns import Field, Outcome, Policy, Prediction, Rollout, Signature, Trial, Version
from modelkeep.runtimes.formats import contents
from modelkeep.serving.shelf import Keeping, Shelf
from modelkeep.store.folder import FolderFiles
from modelkeep.store.sqlite import SqliteStore

START = 1_700_000_000.0
HOUR = 3600.0
TASKS = {"release": release, "roll_back": roll_back}
SIGNATURE = Signature(inputs=(Field(name="x", kind="number", low=0, high=1),), output=Field(name="y", kind="number"))


class Routes:
    """The serving side as these tests have it: the rollouts in force, read when a task says so."""

    def __init__(self, store: SqliteStore, *, files: FolderFiles, clock: ManualClock) -> None:
        self.store = store
        self.shelf = Shelf(files, clock, keeping=Keeping(), uses=dict)
        self.failures: dict[str, str] = {}
        self.rollouts: dict[str, Rollout] = {}
        self.refresh()

    def refresh(self) -> None:
        with self.store.read() as ledger:
            self.rollouts = {rollout.model: rollout for rollout in ledger.rollouts.all()}


def rooms_of(folder: Path, at: float = START) -> Rooms:
    store = SqliteStore(ready(folder / "modelkeep.db"))
    clock = ManualClock(at)
    book = Book(rules.DEFAULT, {"log": LogChannel()}, clock=clock)
    files = FolderFiles(folder / "files")
    return Rooms(
        clock=clock, store=store, files=files, folder=folder, book=book,
        recorder=None, gateway=None, router=Routes(store, files=files, clock=clock),
    )  # fmt: skip


class Site:
    """One model in production."""

    def __init__(self, folder: Path, at: float = START, seed: int = 7) -> None:
        self.folder = folder
        self.rooms = rooms_of(folder, at)
        self.runner = Runner(self.rooms, TASKS, schedules={}, pace=Pace(lease=30.0))
        self.draw = random.Random(seed)
        with self.rooms.store.read() as ledger:
            newest = ledger.records.latest("weight", limit=1)
        self.sequence = int(newest[0].id.partition("-")[2]) if newest else 0

    @property
    def clock(self) -> ManualClock:
        return self.rooms.clock

    def version(
        self, number: int, source: str = "def predict(row):\n    return row['x']\n", **fields: object
    ) -> Version:
        """Register a version whose model is this source."""
        path = self.folder / f"v{number}.py"
        path.write_text(source)
        data = contents(path)
        plain = {"model": "weight", "runtime": "python", "signature": SIGNATURE, "created": self.clock.now()}
        made = Version(number=number, artifact=self.rooms.files.put(data), size=len(data), **(plain | fields))
        with self.rooms.store.write() as ledger:
            ledger.versions.add(made)
        return made

    def policy(self, **fields: object) -> None:
        trial = fields.pop("trial", Trial(shadow=0.0, canary=(0.1,), stage=24 * HOUR, last=48 * HOUR, look=60.0))
        with self.rooms.store.write() as ledger:
            ledger.versions.add_policy(Policy(model="weight", trial=trial, **fields))

    def release(self, number: int, **fields: object) -> str:
        with self.rooms.store.write() as ledger:
            job = enqueue(ledger, Release(model="weight", number=number, by="tester", **fields), at=self.clock.now())
        self.runner.run_due()
        return job.id

    def released(self, source: str = "def predict(row):\n    return row['x']\n") -> None:
        """A champion with a past: version 1, released and used."""
        self.version(1, source)
        self.release(1)
        self.traffic(200, errors=(0.0, 0.0))

    def traffic(
        self,
        calls: int,
        *,
        errors: tuple[float, float],
        slower: float = 1.0,
        wrong: tuple[float, float] = (1.0, 1.0),
        keys: int = 10_000,
        labelled: bool = False,
        text: str = "ValueError: no",
        exact: bool = False,
    ) -> None:
        """Calls by the rollout in force; ``errors`` are the arms' error rates, ``wrong`` the sizes of their errors."""
        made, told, now, seen = [], [], self.clock.now(), [0, 0]
        for _ in range(calls):
            key = f"user {self.draw.randrange(keys)}"
            rollout = self.rooms.router.rollouts["weight"]
            number, role = rollout.pick(key)
            new = role == "canary"
            seen[new] += 1
            truth = self.draw.random()
            noise = self.draw.gauss(0.0, 0.05)
            failed = (seen[new] * errors[new]) % 1 < errors[new] - 1e-9 if exact else self.draw.random() < errors[new]
            seconds = self.draw.lognormvariate(-3.0, 0.25)
            plain = {"key": key, "at": now}
            first = self._call(
                number,
                role,
                output=truth + noise * wrong[new],
                seconds=seconds * (slower if new else 1.0),
                error=text if failed else None,
                **plain,
            )
            made.append(first)
            if rollout.mode == "shadow" or new:
                shadow = self._call(
                    rollout.champion if new else rollout.challenger,
                    "shadow",
                    output=truth + noise * wrong[not new],
                    of=first.id,
                    seconds=seconds * (1.0 if new else slower),
                    error=text if self.draw.random() < errors[not new] else None,
                    **plain,
                )
                made.append(shadow)
            told.append(Outcome(prediction=first.id, value=truth, at=now))
        with self.rooms.store.write() as ledger:
            ledger.records.add(made, [])
            if labelled:
                ledger.records.tell(told, {})

    def _call(self, version: int, role: str, **fields: object) -> Prediction:
        self.sequence += 1
        if fields["error"]:
            fields["stand_in"] = 1
        return Prediction(
            id=f"1-{self.sequence}", model="weight", version=version, role=role, features={"x": 0.5},
            target=fields["at"], **fields,
        )  # fmt: skip

    def hours(self, hours: float, per_hour: int = 60, step: float = 600.0, **arms: object) -> None:
        """Time passes with traffic, the runner doing what is due."""
        until = self.clock.now() + hours * HOUR
        while self.clock.now() < until - 1e-6:
            self.clock.advance(min(step, until - self.clock.now()))
            self.traffic(round(per_hour * step / HOUR), **({"errors": (0.0, 0.0)} | arms))
            self.runner.run_due()

    def job(self, id: str):
        with self.rooms.store.read() as ledger:
            return ledger.jobs.get(id)

    def steps(self, id: str) -> list[str]:
        return [step.name for step in self.job(id).steps]

    def rollout(self) -> Rollout:
        with self.rooms.store.read() as ledger:
            return ledger.rollouts.get("weight")

    def alerts(self):
        with self.rooms.store.read() as ledger:
            return ledger.alerts.all()

    def close(self) -> None:
        self.rooms.store.close()
