import hashlib
import time
from types import MappingProxyType

import msgspec
import numpy as np
import pytest
from migrated import ready

from modelkeep import profile
from modelkeep.alerts import rules
from modelkeep.alerts.book import Book
from modelkeep.clock import ManualClock
from modelkeep.jobs import watching
from modelkeep.jobs.leased import Leased
from modelkeep.jobs.rooms import Rooms
from modelkeep.nouns import (
    Baseline,
    Field,
    Job,
    Lease,
    Outcome,
    Policy,
    Prediction,
    Retrain,
    Rollout,
    Signature,
    Version,
)
from modelkeep.profile import LATENCY_EDGES, Profile
from modelkeep.serving.recording import Recording
from modelkeep.store.folder import FolderFiles
from modelkeep.store.seams import Folded
from modelkeep.store.sqlite import SqliteStore

HOUR = 3600.0
NOW = 1_600_000_000.0 // 86400 * 86400 + 12 * HOUR


class Recorder:
    state = Recording()
    enabled = True


class Router:
    failures = MappingProxyType({})


class Kept:
    name = "kept"

    def __init__(self):
        self.sent = []

    def send(self, message):
        self.sent.append(message)


class House:
    """A store with one model, and all that the task ``watch`` reads."""

    columns = 10

    def __init__(self, folder):
        self.clock = ManualClock(NOW)
        self.channel = Kept()
        self.store = SqliteStore(ready(folder / "m.db"))
        self.files = FolderFiles(folder / "files")
        self.rooms = Rooms(
            clock=self.clock, store=self.store, files=self.files, recorder=Recorder(), gateway=None, router=Router(),
            book=Book(rules.DEFAULT, {"kept": self.channel}, clock=self.clock), folder=folder,
        )  # fmt: skip
        self.signature = Signature(
            inputs=tuple(Field(name=f"c{i}", kind="number") for i in range(self.columns)),
            output=Field(name="y", kind="number", unit="min"),
        )
        self.reference = profile.reference(self.signature, self.values(1000))
        self.seq = 0
        digest = self.files.put(profile.encode(self.reference))
        with self.store.write() as ledger:
            for number in (1, 2):
                baseline = Baseline(metrics={"mae": 1.0, "skill": 0.5}, reference=digest)
                ledger.versions.add(
                    Version(
                        model="m", number=number, artifact=hashlib.sha256(b"").hexdigest(), size=1, runtime="python",
                        signature=self.signature, created=0.0, baseline=baseline,
                    )
                )  # fmt: skip
            ledger.versions.add_policy(Policy(model="m", number=1, retrain=Retrain(trainer="mine:train")))
            ledger.rollouts.put(Rollout(model="m", champion=1, policy=1), None)

    def values(self, n, seed=0):
        draw = np.random.default_rng(seed)
        return {name: draw.normal(0, 1, n).tolist() for name in [f"c{i}" for i in range(self.columns)] + ["y"]}

    def traffic(self, hours, *, n=3, version=1, role="champion", error=1.0, baseline=2.0):
        """Predictions with outcomes ``error`` away from the answer, in hours counted back from now."""
        predictions, folded, outcomes = [], [], []
        fields = (*self.signature.inputs, self.signature.output)
        for hour in hours:
            start = NOW // HOUR * HOUR - hour * HOUR
            for i in range(n):
                self.seq += 1
                sign = (-1) ** self.seq
                said = sign * baseline
                predictions.append(
                    Prediction(
                        id=f"{1}-{self.seq}", model="m", version=version, role=role, features={}, output=0.0,
                        at=start + i, target=start + i, seconds=0.01, references=(said, said, said),
                    )
                )  # fmt: skip
                outcomes.append(
                    Outcome(value=sign * error * (1 + 0.1 * (i % 3 - 1)), at=start, prediction=f"{1}-{self.seq}")
                )
            latency = np.zeros(len(LATENCY_EDGES) + 1)
            latency[np.searchsorted(LATENCY_EDGES, 0.01)] = n
            columns = profile.fold_columns(fields, self.values(n, seed=hour), edges=self.reference.edges)
            one = Profile(n=n, latency=latency, columns=columns)
            folded.append(Folded(model="m", version=version, role=role, hour=start, profile=one))
        with self.store.write() as ledger:
            ledger.records.add(predictions, folded)
            ledger.records.tell(outcomes, {})

    def run(self, task=watching.watch):
        self.seq += 1
        job = Job(id=f"j{self.seq}", task="watch", due=0.0, created=0.0)
        with self.store.write() as ledger:
            ledger.jobs.add(job)
            leased = ledger.jobs.lease("me", now=self.clock.now(), seconds=60.0)
        run = Leased(leased, store=self.store, clock=self.clock, seconds=60.0)
        assert isinstance(leased.lease, Lease)
        found = task(self.rooms, run).result
        with self.store.write() as ledger:
            ledger.jobs.save(msgspec.structs.replace(run.job, state="done", lease=None), leased.lease.token)
        return found

    def readings(self, subject=None):
        with self.store.read() as ledger:
            return {r.name: r for r in ledger.readings.newest(subject)}

    def alerts(self, **more):
        with self.store.read() as ledger:
            return {a.rule: a for a in ledger.alerts.all(**more)}


@pytest.fixture
def house(tmp_path):
    found = House(tmp_path)
    yield found
    found.store.close()


def test_a_healthy_model_has_green_readings_and_no_alert(house):
    house.traffic(range(1, 24 * 9), baseline=4.0)
    found = house.run()
    assert (found.windows, found.opened) == (1, ())
    held = house.readings("m@1")
    assert held["mae"].value == pytest.approx(1.0)
    assert held["skill"].level == "ok"
    assert {r.level for r in held.values()} <= {"ok", "unknown"}
    assert {"records_held", "records_dropped", "store", "false_alerts", "collection"} == set(house.readings("server"))
    assert house.readings("m")["artifact"].level == "ok"
    assert house.alerts() == {}


def test_a_model_below_baseline_alerts_asks_for_retraining_and_resolves_when_replaced(house):
    house.traffic(range(1, 24 * 8), error=3.0)
    assert len(house.run().opened) == 2
    alert = house.alerts()["below_baseline"]
    assert (alert.severity, alert.subject) == ("warning", "m@1")
    assert (house.alerts()["skill_fallen"].severity, house.readings("m@1")["rot"].level) == ("high", "critical")
    assert "below baseline" in alert.message
    assert "m@1" in alert.message
    with house.store.read() as ledger:
        (job,) = ledger.jobs.all(task="retrain")
    assert msgspec.json.decode(job.arguments)["model"] == "m"
    assert house.run(watching.deliver).sent == 2
    assert {message.event for message in house.channel.sent} == {"open"}
    with house.store.write() as ledger:
        was = ledger.rollouts.get("m")
        ledger.jobs.cancel(job.id, NOW)
        ledger.rollouts.put(Rollout(model="m", champion=2, previous=1, policy=1), was)
    house.clock.advance(60.0)
    assert len(house.run().resolved) == 2
    assert house.alerts(active=True) == {}
    house.run(watching.deliver)
    assert [message.event for message in house.channel.sent].count("resolve") == 2


def test_champion_and_challenger_are_each_measured(house):
    house.traffic(range(1, 24 * 8), error=1.0)
    house.traffic(range(1, 24 * 4), version=2, role="shadow", error=0.5)
    with house.store.write() as ledger:
        was = ledger.rollouts.get("m")
        ledger.rollouts.put(Rollout(model="m", champion=1, challenger=2, mode="shadow", policy=1), was)
    assert house.run().windows == 2
    assert house.readings("m@1")["mae"].value == pytest.approx(1.0)
    assert house.readings("m@2")["mae"].value == pytest.approx(0.5)


def test_silence_is_noticed_though_nothing_happens(house):
    house.traffic(range(5, 24 * 25), n=6)
    house.run()
    reading = house.readings("m@1")["silence"]
    assert (reading.level, reading.value) == ("warning", 4 * HOUR)
    assert "silence" in house.alerts(active=True)


def test_the_recorders_trouble_and_a_broken_file_are_told(house):
    house.rooms.recorder.state = Recording(held=12, spooled=10, dropped=3, cause="the disk is full", since=NOW - 60)
    house.rooms.router.failures = MappingProxyType({"m@1": "digest differs"})
    house.run()
    held = house.alerts(active=True)
    assert held["records_dropped"].severity == "critical"
    assert (held["model_failure"].kind, held["model_failure"].subject) == ("modelFailure", "m")
    assert "m@1: digest differs" in held["model_failure"].message
    house.clock.advance(61.0)
    house.run()
    assert "the disk is full" in house.alerts(active=True)["records_held"].message
    house.rooms.recorder.state, house.rooms.router.failures = Recording(dropped=3), MappingProxyType({})
    for _ in range(2):
        house.clock.advance(400.0)
        house.run()
    assert house.alerts(active=True) == {}


def test_readings_that_say_the_same_are_kept_now_and_then(house):
    house.traffic(range(1, 48))
    kept = [house.run().kept]
    for _ in range(6):
        house.clock.advance(60.0)
        kept.append(house.run().kept)
    assert kept[0] > 20
    assert max(kept[1:5]) <= 1  # a busy machine may find its store slow for once
    assert kept[5] > 20
    with house.store.read() as ledger:
        assert len(ledger.readings.series("records_held", "server", start=0.0, end=NOW * 2)) == 2


def test_a_reference_that_was_changed_on_disk_is_not_judged_by(house):
    with house.store.read() as ledger:
        path = house.files.path(ledger.versions.get("m", 1).baseline.reference)
    path.chmod(0o600)
    path.write_bytes(b"no longer the reference")
    house.traffic(range(1, 24))
    house.run()
    assert house.readings("m@1")["missing"].level == "unknown"


def test_one_model_with_a_month_of_hours_is_cheap(house):
    house.traffic(range(1, 24 * 35))
    house.run()
    house.clock.advance(60.0)
    start = time.perf_counter()
    house.run()
    seconds = time.perf_counter() - start
    print(f"one pass over 35 days of hours, {house.columns} columns: {seconds * 1000:.0f} ms")
    assert seconds < 1.0
