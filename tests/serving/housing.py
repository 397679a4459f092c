"""A real small house: SQLite, files in a folder, plain Python models, recorder, gateway and router."""

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # child processes import this, too
from migrated import ready
from waiting import until

from modelkeep.clock import ManualClock
from modelkeep.nouns import Field, Outcome, Policy, Prediction, Rollout, Signature, Version
from modelkeep.runtimes import packing
from modelkeep.serving.gateway import Ask, Gateway
from modelkeep.serving.recorder import Recorder
from modelkeep.serving.router import Router
from modelkeep.store.folder import FolderFiles
from modelkeep.store.sqlite import SqliteStore

NOW = 1_700_000_000.0
NUMBER = Signature(
    inputs=(Field(name="x", kind="number", low=-1000.0, high=1000.0),), output=Field(name="y", kind="number")
)
CLASS = Signature(inputs=NUMBER.inputs, output=Field(name="label", kind="category", categories=("no", "yes")))


class House:
    """Every room of serving on one folder."""

    def __init__(self, folder: Path, *, durability="async", busy=0.2, spool=None, **bounds):
        self.folder = folder
        self.store = SqliteStore(ready(folder / "m.db"), busy=busy)
        self.files = FolderFiles(folder / "files")
        self.clock = ManualClock(NOW)
        self.recorder = Recorder(
            self.store, self.clock, spool=spool or folder / "spool", files=self.files, durability=durability, **bounds
        )
        self.gateway = Gateway(self.recorder, self.clock)
        self.router = Router(self.store, self.files, gateway=self.gateway, clock=self.clock)

    def close(self):
        self.router.close()
        self.gateway.close()
        self.recorder.close()
        self.store.close()

    def add(self, body: str, number: int = 1, *, model="m", signature=NUMBER, batch=False) -> Version:
        """Register ``def predict(row)`` (or ``rows``) with this body."""
        source = self.folder / "model.py"
        source.write_text(f"import time, threading\ndef predict({'rows' if batch else 'row'}):\n    {body}\n")
        artifact = self.files.put(packing.pack(source, function="predict", use="model"))
        version = Version(
            model=model, number=number, artifact=artifact, size=1, runtime="python", signature=signature, created=NOW
        )
        with self.store.write() as ledger:
            ledger.versions.add(version)
        return version

    def policy(self, **fields):
        with self.store.write() as ledger:
            ledger.versions.add_policy(Policy(model="m", **fields))

    def put(self, rollout: Rollout, *, refresh=True):
        with self.store.write() as ledger:
            ledger.rollouts.put(rollout, ledger.rollouts.get(rollout.model))
        if refresh:
            self.router.refresh()

    def ask(self, *xs, model="m", keys=(), request="r", targets=None):
        rows = [{"x": x} if isinstance(x, int | float) else x for x in xs]
        return Ask(model=model, rows=rows, keys=keys, request=request, targets=targets)

    def predict(self, *xs, **fields):
        return asyncio.run(self.gateway.predict(self.ask(*xs, **fields)))

    def tell(self, key, *values, model="m"):
        """Tell outcomes of a key, an hour apart, up to now."""
        told = [
            Outcome(value=v, at=NOW, model=model, key=key, target=NOW - 3600.0 * (len(values) - i))
            for i, v in enumerate(values)
        ]
        return self.recorder.tell(told).result(10)

    def recorded(self, id: str) -> Prediction | None:
        with self.store.read() as ledger:
            return ledger.records.prediction(id)

    def flush(self):
        until(lambda: not self.recorder.state.held)
