"""Predictions, outcomes, corrections, sealing, merging and crashes in any order: the archive changes no answer.

Two stores are told the same; one of them archives, merges, loses power and is opened anew in between. Whatever is asked
of them, they say the same, and the sums are those of the records, counted naively.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from making import HOUR, prediction
from migrated import ready

from modelkeep.nouns import Outcome, Prediction
from modelkeep.store.archive.upkeep import Archive
from modelkeep.store.sqlite import SqliteStore

_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
POINTS = (
    "archive.written",
    "archive.taking",
    "archive.sealed",
    "archive.rewritten",
    "archive.swapping",
    "archive.swapped",
)


class Killed(BaseException):
    """The power is cut: nothing after this happens, and nobody cleans up."""


@st.composite
def _predictions(draw: st.DrawFn) -> list[Prediction]:
    found = []
    for n in range(draw(st.integers(1, 7))):
        of = draw(st.sampled_from([None, None, *(f"0-{m}" for m in range(n))]))
        found.append(
            prediction(
                n,
                id=f"0-{n}",
                of=of,
                role="champion" if of is None else "shadow",
                key=draw(st.sampled_from("aab")),
                target=float(draw(st.integers(0, 6))),
                at=draw(st.sampled_from([0.0, 10.0, HOUR - 0.5, HOUR, HOUR + 7.0])),
                output=draw(st.sampled_from([None, 0.1, -3, 7.25])),
            )
        )
    return draw(st.permutations(found))


_values, _ats = st.sampled_from([None, 0, 0.3, 2, 2.0]), st.integers(0, 5).map(float)
_by_id = st.builds(lambda n, v, at: Outcome(value=v, at=at, prediction=f"0-{n}"), st.integers(0, 7), _values, _ats)
_by_key = st.builds(
    lambda key, target, v, at, tolerance: Outcome(
        value=v, at=at, model="demand", key=key, target=float(target), tolerance=tolerance
    ),
    st.sampled_from("aab"),
    st.integers(0, 6),
    _values,
    _ats,
    st.sampled_from([0.0, 1.0, 2.0]),
)
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 3)),
        st.tuples(st.just("tell"), st.one_of(_by_id, _by_key, _by_key)),
        st.tuples(st.just("seal"), st.sampled_from([1, 2, 5])),
        st.tuples(st.just("merge"), st.none()),
        st.tuples(st.just("crash"), st.sampled_from(POINTS)),
    ),
    min_size=4,
    max_size=18,
)


@contextmanager
def _folder() -> Iterator[Path]:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        yield Path(name)


class _Twins:
    def __init__(self, folder: Path) -> None:
        self.paths = folder / "plain" / "m.db", folder / "archived" / "m.db"
        self.plain, self.archived = (SqliteStore(ready(path)) for path in self.paths)

    def both(self, act: Any) -> None:
        told = []
        for store in (self.plain, self.archived):
            with store.write() as ledger:
                told.append(act(ledger.records))
        if told[0] is not None:
            assert [(t.state, sorted(t.predictions)) for t in told[0]] == [
                (t.state, sorted(t.predictions)) for t in told[1]
            ]

    def archive(self, size: int = 5, *, dies: str = "") -> None:
        def pause(point: str) -> None:
            if point == dies:
                raise Killed

        work = Archive(self.archived, pause=pause)
        work._batch = size
        try:
            if work.seal("demand", before=1e9, at=1.0) and dies.startswith(("archive.re", "archive.sw")):
                work.merge("demand", at=1.0)
        except Killed:
            # What a killed process leaves: files that nobody lists. The database undoes what was not committed.
            self.archived.close()
            self.archived = SqliteStore(self.paths[1])

    def same(self) -> None:
        answers = []
        for store in (self.plain, self.archived):
            with store.read() as ledger:
                records = ledger.records
                answers.append(
                    {
                        "matches": {m.prediction: (m.value, m.told, m.revision) for m in records.matches("demand")},
                        "counts": records.counts("demand"),
                        "sums": records.sums("demand", start=0.0, end=3 * HOUR),
                        "part": records.sums("demand", start=0.25, end=3 * HOUR),
                        "shadow": records.sums("demand", start=0.0, end=3 * HOUR, role="shadow"),
                        "outcomes": [records.outcomes(f"0-{n}") for n in range(8)],
                        "predictions": sorted(p.id for _, p in records.predictions("demand")),
                    }
                )
        assert answers[1] == answers[0]
        self._naively(answers[1])

    def _naively(self, said: dict[str, Any]) -> None:
        with self.archived.read() as ledger:
            asked = {p.id: p for _, p in ledger.records.predictions("demand")}
        pairs = [
            (asked[name].output, value)
            for name, (value, _, _) in said["matches"].items()
            if asked[name].role != "shadow" and asked[name].output is not None
        ]
        assert said["sums"]["model"].n == len(pairs)
        assert said["sums"]["model"].absolute == pytest.approx(sum(abs(a - b) for a, b in pairs), abs=1e-9)

    def close(self) -> None:
        self.plain.close()
        self.archived.close()


def _lived(predictions: list[Prediction], steps: list[tuple[str, Any]]) -> None:
    with _folder() as folder:
        twins, left = _Twins(folder), list(predictions)
        for what, about in steps:
            if what == "add" and left:
                some = [left.pop() for _ in range(min(about, len(left)))]
                twins.both(lambda records, some=some: records.add(some, []))
            elif what == "tell":
                twins.both(lambda records, about=about: records.tell([about], {}))
            elif what == "seal":
                twins.archive(about)
            elif what == "merge":
                Archive(twins.archived).merge("demand", at=1.0)
            elif what == "crash":
                twins.archive(dies=about)
        twins.same()
        Archive(twins.archived).tidy(at=1e9)
        twins.same()
        with twins.archived.read() as ledger:
            listed = {p.digest for p in ledger.archive.partitions()}
        assert set(twins.archived.cold.all()) == listed
        twins.close()


@pytest.mark.row("LOG-08")
@settings(deadline=None, max_examples=6, suppress_health_check=_SLOW, derandomize=True)
@given(_predictions(), _steps)
def test_the_archive_changes_no_answer(predictions: list[Prediction], steps: list[tuple[str, Any]]) -> None:
    _lived(predictions, steps)


@pytest.mark.prove
@pytest.mark.timeout(1800)
@settings(deadline=None, max_examples=300, suppress_health_check=_SLOW)
@given(_predictions(), _steps)
def test_the_archive_changes_no_answer_however_long_one_tries(
    predictions: list[Prediction], steps: list[tuple[str, Any]]
) -> None:
    _lived(predictions, steps)
