"""Whatever comes in whatever order, however often, whatever dies in between: the sums are those of what was told."""

import itertools
import tempfile
from pathlib import Path

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelkeep.clock import ManualClock
from modelkeep.given import given_id
from modelkeep.nouns import Field, Outcome, Prediction, Signature, Version
from modelkeep.profile import Sums
from modelkeep.serving.intake import Intake
from modelkeep.serving.keeper import Group
from modelkeep.serving.line import Line
from modelkeep.serving.recorder import Recorder
from modelkeep.serving.spool import Spool
from modelkeep.store.folder import FolderFiles
from modelkeep.store.sqlite import SqliteStore

NOW, HOUR, MODEL = 1_700_000_000.0, 3600.0, "m"
OUTPUT = Signature(inputs=(), output=Field(name="y", kind="number"))
VERSION = Version(
    model=MODEL, number=1, artifact="0" * 64, size=0, runtime="external", signature=OUTPUT, created=NOW
)  # fmt: skip
names = st.integers(0, 9)
places = st.tuples(st.integers(0, 2), st.integers(0, 3))
values = st.one_of(st.none(), st.integers(-5, 5).map(float))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("record"), st.lists(names, min_size=1, max_size=4)),
        st.tuples(st.just("by name"), st.lists(st.tuples(names, values), min_size=1, max_size=3)),
        st.tuples(st.just("by key"), st.lists(st.tuples(places, values), min_size=1, max_size=3)),
        st.tuples(st.just("restart"), st.booleans()),
    ),
    min_size=5,
    max_size=25,
)


def made(number: int) -> Prediction:
    """The record that a service calls ``number``: three keys, four moments, so that some share a place."""
    key, hour = number % 3, number % 4
    return Prediction(
        id=given_id(MODEL, str(number)), model=MODEL, version=1, role="champion", features={}, output=float(number),
        at=NOW + HOUR * (number % 5), target=NOW + HOUR * hour, seconds=0.0, key=f"k{key}", given=str(number),
    )  # fmt: skip


class Life:
    """A recorder on a store, and beside it what was said, kept in the plainest way."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, ManualClock(NOW)
        self.store = SqliteStore(folder / "m.db")
        self.store.migrate()
        with self.store.write() as ledger:
            ledger.versions.add(VERSION)
        self.told: dict[object, tuple[int, float | None]] = {}
        self.known: dict[str, Prediction] = {}
        self.turn = itertools.count(1)
        self.sent: list[Group] = []
        self.begin()

    def begin(self) -> None:
        self.recorder = Recorder(
            self.store,
            self.clock,
            spool=self.folder / "spool",
            files=FolderFiles(self.folder / "files"),
            durability="sync",
        )
        self.intake = Intake(self.recorder, self.store, clock=self.clock)

    def record(self, numbers: list[int]) -> None:
        records = [made(number) for number in numbers]
        fresh = len({r.id for r in records} - self.known.keys())
        self.known |= {r.id: r for r in records}
        taken = self.intake.take(records)
        assert (taken.kept, taken.repeated) == (fresh, len(records) - fresh)
        self.sent.append(Group(writer=9, number=len(self.sent) + 1, predictions=tuple(records)))

    def tell(self, outcomes: list[tuple[object, Outcome]]) -> None:
        for place, outcome in outcomes:
            self.told[place] = (next(self.turn), outcome.value)
        self.recorder.tell([outcome for _, outcome in outcomes]).result(20)
        self.clock.advance(1.0)

    def by_name(self, said: list[tuple[int, float | None]]) -> None:
        ids = [given_id(MODEL, str(number)) for number, _ in said]
        at = self.clock.now
        self.tell([(i, Outcome(prediction=i, value=v, at=at())) for i, (_, v) in zip(ids, said, strict=True)])

    def by_key(self, said: list[tuple[tuple[int, int], float | None]]) -> None:
        outcomes = []
        for (key, hour), value in said:
            place = (f"k{key}", NOW + HOUR * hour)
            outcome = Outcome(model=MODEL, key=place[0], target=place[1], value=value, at=self.clock.now())
            outcomes.append((place, outcome))
        self.tell(outcomes)

    def restart(self, killed: bool) -> None:
        """End and begin again; one that was killed had kept groups in the store and not yet forgotten the spool."""
        assert self.recorder.flush() == 0
        self.recorder.close()
        if killed and self.sent:
            spool = Spool(self.folder / "spool" / "records.spool", limit=10**8)
            for group in self.sent[-3:]:
                spool.append(Line.encoded(group))
            spool.close()
        self.begin()

    def expected(self) -> Sums:
        """What follows from everything that was said: of the two places of a prediction the one said last counts."""
        total = Sums()
        for record in self.known.values():
            said = [self.told[p] for p in (record.id, (record.key, record.target)) if p in self.told]
            standing = [one for one in said if one[1] is not None]
            if standing:
                total += Sums.of(record.output, max(standing)[1])
        return total


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_sums_are_those_of_what_was_told_and_nothing_counts_twice(steps):
    with tempfile.TemporaryDirectory() as folder:
        life = Life(Path(folder))
        acts = {"record": life.record, "by name": life.by_name, "by key": life.by_key, "restart": life.restart}
        for act, what in [*steps, ("restart", True)]:
            acts[act](what)
        life.recorder.start()
        assert life.recorder.flush() == 0
        with life.store.read() as ledger:
            found = ledger.records.sums(MODEL, start=NOW - HOUR, end=NOW + 10 * HOUR)["model"]
            exact = ledger.records.sums(MODEL, start=NOW - HOUR, end=NOW + 10 * HOUR, key=None, version=1)["model"]
            predictions, labelled, _ = ledger.records.counts(MODEL)
            profiled = sum(s.profile.n for s in ledger.records.slices(MODEL, 1, role="champion", start=0, end=2 * NOW))
            rows = len(ledger.records.predictions(MODEL, limit=1000))
        wanted = life.expected()
        assert msgspec.structs.astuple(found) == msgspec.structs.astuple(exact)
        assert (found.n, found.absolute, found.square, found.error) == (
            wanted.n, wanted.absolute, wanted.square, wanted.error,
        )  # fmt: skip
        assert (predictions, labelled, profiled, rows) == (len(life.known), wanted.n, len(life.known), len(life.known))
        life.recorder.close()
        life.store.close()
