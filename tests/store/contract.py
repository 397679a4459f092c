"""What every ``Store`` must do. An implementation's test file subclasses these with a fixture ``store``.

The fixture gives a migrated, empty store; nothing here knows which.
"""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from elsewhere_contract import ElsewhereContract
from joining_contract import JoiningContract
from making import HOUR, alert, block, folded, job, prediction, reading, told, told_by_key
from msgspec import Raw
from msgspec.structs import replace

from modelkeep.errors import BadInput, Conflict, LeaseLost, NotFound
from modelkeep.nouns import Field, Outcome, Policy, Rollout, Signature, Version
from modelkeep.profile import Sums
from modelkeep.store.seams import Part, Store, Told

NUMBERS = Signature(inputs=(Field(name="hour", kind="integer"),), output=Field(name="demand", kind="number"))


def add(store: Store, *predictions: Any, profiles: Any = ()) -> None:
    with store.write() as ledger:
        ledger.records.add(predictions, profiles)


def tell(store: Store, *outcomes: Outcome, **tolerance: float) -> list[Told]:
    with store.write() as ledger:
        return ledger.records.tell(outcomes, tolerance)


def sums(store: Store, start: float = 0.0, end: float = 1e9, **which: Any) -> dict[str, Sums]:
    with store.read() as ledger:
        return ledger.records.sums("demand", start=start, end=end, **which)


class PredictionsContract:
    @pytest.mark.row("LOG-01", "LOG-02")
    def test_a_prediction_comes_back_exactly(self, store: Store) -> None:
        kept = [
            prediction(1, interval=(0.5, 1.5), score=0.75, subject="anna", request="r1", references=(1.0, None, 2.5)),
            prediction(2, output=None, error="boom", stand_in=0),
            prediction(3, output="late", features={"naïve": "ü", "big": 2**60, "tiny": 5e-324, "off": False}),
            prediction(4, output=True, of="7-1", role="shadow", references=("on_time", "late")),
            prediction(5, output=7, features={}),
        ]
        add(store, *kept)
        with store.read() as ledger:
            assert [ledger.records.prediction(p.id) for p in kept] == kept
            assert type(ledger.records.prediction("7-5").output) is int
            assert ledger.records.prediction("7-99") is None
            assert ledger.records.prediction("../etc") is None

    def test_predictions_are_read_in_the_order_of_recording(self, store: Store) -> None:
        kept = [prediction(n, at=1e6 - n) for n in range(1, 8)]
        add(store, *kept[:3])
        add(store, *kept[3:])
        add(store, prediction(50, model="other"))
        with store.read() as ledger:
            records = ledger.records
            read = records.predictions("demand")
            assert [p for _, p in read] == kept
            assert [p for _, p in records.predictions("demand", after=read[4][0])] == kept[5:]
            assert [p for _, p in records.predictions("demand", limit=2)] == kept[:2]
            assert records.latest("demand", limit=2) == [kept[6], kept[5]]
            assert records.latest("demand", key="entity 1", limit=2) == [kept[6], kept[3]]
            assert (records.place("demand"), records.place("churn")) == (read[-1][0], 0)

    @pytest.mark.row("LOG-01")
    def test_a_group_sent_twice_is_kept_once(self, store: Store) -> None:
        group = [prediction(n) for n in range(1, 4)]
        for _ in range(2):
            add(store, *group, profiles=[folded(3)])
        with store.read() as ledger:
            assert ledger.records.counts("demand") == (3, 0, 3000.0)
            assert [s.profile.n for s in ledger.records.slices("demand", 1, role="champion", start=0, end=HOUR)] == [3]

    @pytest.mark.parametrize(
        "more",
        [
            {"outputs": [1.5, 2, -3e300, 0.1]},
            {"outputs": ['a, "b"', "c", "", "ü"], "scores": [0.1, 0.2, 0.3, 1.0]},
            {"outputs": [True, False, True, True], "references": [(None, True), (False, True), (), (True, None)]},
            {"outputs": [1.0] * 4, "intervals": [(0.0, 2.0)] * 4, "references": [(0.5, None, 1.0, None)] * 4},
        ],
    )
    def test_rows_of_a_block_come_back_as_their_predictions(self, store: Store, more: dict[str, Any]) -> None:
        several = [block(1 + 4 * turn, **more) for turn in range(60)]  # more than one statement inserts
        with store.write() as ledger:
            ledger.records.tell([told(3, more["outputs"][0])], {})
        for _ in range(2):
            with store.write() as ledger:
                ledger.records.add_blocks(several, [folded(240)])
        with store.read() as ledger:
            found = [p for _, p in ledger.records.predictions("demand", limit=1000)]
            assert found == [one for each in several for one in each.predictions()]
            assert ledger.records.counts("demand") == (240, 1, several[-1].at)
            assert [m.prediction for m in ledger.records.matches("demand")] == ["7-3"]

    def test_a_later_prediction_that_is_known_is_skipped(self, store: Store) -> None:
        add(store, prediction(2))
        add(store, prediction(1), prediction(2, output=99.0), prediction(3))
        with store.read() as ledger:
            assert [p.id for _, p in ledger.records.predictions("demand")] == ["7-2", "7-1", "7-3"]
            assert ledger.records.prediction("7-2").output == 2.0

    def test_ids_are_two_integers(self, store: Store) -> None:
        for bad in ("x", "1", "1-2-3", "-1-2", f"1-{2**63}"):
            with pytest.raises(BadInput, match="12-345"):
                add(store, prediction(1, id=bad))

    def test_a_failing_block_leaves_nothing(self, store: Store) -> None:
        def fail() -> None:
            with store.write() as ledger:
                ledger.records.add([prediction(1)], [folded(1)])
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        with store.read() as ledger:
            assert ledger.records.counts("demand") == (0, 0, None)

    def test_profiles_add_up_by_hour_version_and_role(self, store: Store) -> None:
        add(store, prediction(1), profiles=[folded(1), folded(2, hour=HOUR), folded(4, role="shadow", version=2)])
        add(store, prediction(2), profiles=[folded(8)])
        with store.read() as ledger:
            records = ledger.records
            found = records.slices("demand", 1, role="champion", start=0, end=3 * HOUR)
            assert [(s.start, s.profile.n) for s in found] == [(0.0, 9), (HOUR, 2)]
            assert found[0].profile.columns["x1"].counts.tolist() == [9.0] * 122
            assert found[0].profile.latency[3] == 9
            assert records.slices("demand", 1, role="champion", start=HOUR, end=HOUR) == []
            assert records.arms("demand", start=0, end=HOUR) == [(1, "champion"), (2, "shadow")]
            assert records.arms("demand", start=HOUR + 1, end=2 * HOUR) == [(1, "champion")]

    def test_memory_of_the_baselines(self, store: Store) -> None:
        with store.write() as ledger:
            ledger.records.remember("demand", {"a": b"1", "b": b"2"})
            ledger.records.remember("demand", {"b": b"3"})
            ledger.records.remember("other", {"b": b"4"})
            ledger.records.remember("demand", {})
        with store.read() as ledger:
            assert ledger.records.memory("demand") == {"a": b"1", "b": b"3"}


class OutcomesContract:
    @pytest.mark.row("LOG-03")
    def test_an_outcome_by_id_joins_and_shows_everywhere(self, store: Store) -> None:
        add(store, prediction(1, references=(3.0, None, 4.0)), prediction(2))
        assert tell(store, told(1, 2.5, source="till")) == [Told(state="joined", predictions=("7-1",))]
        with store.read() as ledger:
            (match,) = ledger.records.matches("demand")
            assert (match.prediction, match.output, match.value, match.told) == ("7-1", 1.0, 2.5, 1e6)
            assert match.references == (3.0, None, 4.0)
            assert ledger.records.counts("demand") == (2, 1, 2000.0)
            assert ledger.records.outcomes("7-1") == [told(1, 2.5, source="till")]
            ((_, slice_match),) = ledger.records.labelled("demand", start=0, end=1e9, limit=10)
            assert slice_match == match
        found = sums(store)
        assert set(found) == {"model", "persistence", "ewma"}
        assert (found["model"].error, found["persistence"].error, found["ewma"].n) == (-1.5, 0.5, 1)

    @pytest.mark.row("LOG-03")
    def test_an_unknown_id_waits_for_its_prediction(self, store: Store) -> None:
        assert tell(store, told(1, 3)) == [Told(state="orphan")]
        assert sums(store)["model"].n == 0
        add(store, prediction(1), prediction(2, of="7-1", role="shadow", version=2))
        with store.read() as ledger:
            assert [m.prediction for m in ledger.records.matches("demand")] == ["7-1", "7-2"]
        assert sums(store)["model"].n == 1

    @pytest.mark.row("LOG-03")
    def test_the_same_outcome_twice_changes_nothing(self, store: Store) -> None:
        add(store, prediction(1))
        tell(store, told(1, 3))
        before = sums(store)
        assert tell(store, told(1, 3), told(1, 3.0, at=2e6)) == [
            Told(state="repeated", predictions=("7-1",)),
            Told(state="repeated", predictions=("7-1",)),
        ]
        assert sums(store) == before
        with store.read() as ledger:
            assert len(ledger.records.outcomes("7-1")) == 1

    @pytest.mark.row("LOG-03")
    def test_a_correction_counts_and_both_are_kept(self, store: Store) -> None:
        add(store, prediction(1))
        tell(store, told(1, 3, at=10.0))
        assert tell(store, told(1, 4, at=20.0)) == [Told(state="corrected", predictions=("7-1",), revision=2)]
        with store.read() as ledger:
            assert [(o.value, o.at) for o in ledger.records.outcomes("7-1")] == [(3, 10.0), (4, 20.0)]
            (match,) = ledger.records.matches("demand")
            assert (match.value, match.revision, match.number) == (4, 2, 1)
            assert ledger.records.counts("demand")[1] == 1
        assert sums(store)["model"].error == -3.0

    def test_what_became_known_earlier_does_not_undo_a_correction(self, store: Store) -> None:
        add(store, prediction(1))
        tell(store, told(1, 4, at=20.0))
        assert tell(store, told(1, 3, at=10.0))[0].state == "outdated"
        assert tell(store, told(1, 3, at=10.0))[0].state == "repeated"
        with store.read() as ledger:
            assert [o.value for o in ledger.records.outcomes("7-1")] == [3, 4]
        assert sums(store)["model"].error == -3.0

    def test_a_withdrawn_outcome_is_gone_from_the_sums(self, store: Store) -> None:
        add(store, prediction(1, references=(5.0, None, None)))
        tell(store, told(1, 1e12, at=1.0))
        assert tell(store, told(1, None, at=2.0)) == [Told(state="withdrawn", predictions=("7-1",), revision=2)]
        assert sums(store) == {"model": Sums()}
        with store.read() as ledger:
            assert ledger.records.matches("demand") == []
            assert ledger.records.counts("demand")[1] == 0
            assert len(ledger.records.outcomes("7-1")) == 2
        assert tell(store, told(1, 0.5, at=3.0))[0].state == "joined"
        assert sums(store)["model"].absolute == 0.5
        with store.read() as ledger:
            assert ledger.records.matches("demand")[0].number == 2

    @pytest.mark.row("LOG-04")
    def test_by_key_it_joins_the_horizon_that_it_is_about(self, store: Store) -> None:
        day = 86400.0
        for ahead in (1, 2, 3):
            add(store, *(prediction(10 * ahead + d, key="1", at=0.0, target=(d + ahead) * day) for d in range(3)))
        (found,) = tell(store, told_by_key("1", target=3 * day, value=120))
        assert found.state == "joined"
        assert set(found.predictions) == {"7-12", "7-21", "7-30"}

    @pytest.mark.row("LOG-04")
    def test_by_key_the_nearest_target_within_the_tolerance_joins(self, store: Store) -> None:
        add(store, prediction(1, key="a", target=100.0), prediction(2, key="a", target=109.0))
        add(store, prediction(3, key="a", target=100.0, role="shadow", of="7-1", version=2))
        assert tell(store, told_by_key("a", target=104.0, value=1), demand=3.0)[0].state == "orphan"
        (found,) = tell(store, told_by_key("a", target=103.0, value=1), demand=3.0)
        assert found == Told(state="joined", predictions=("7-1", "7-3"))
        (found,) = tell(store, told_by_key("a", target=107.0, value=1), demand=10.0)
        assert found.predictions == ("7-2",)

    def test_by_key_it_waits_and_moves_to_a_nearer_prediction(self, store: Store) -> None:
        assert tell(store, told_by_key("a", target=100.0, value=5), demand=50.0)[0].state == "orphan"
        add(store, prediction(1, key="a", target=70.0))
        assert sums(store)["model"].error == -4.0
        add(store, prediction(2, key="a", target=110.0))
        add(store, prediction(3, key="a", target=60.0))
        add(store, prediction(4, key="b", target=100.0))
        with store.read() as ledger:
            assert [m.prediction for m in ledger.records.matches("demand")] == ["7-2"]
            assert ledger.records.outcomes("7-1") == []
            assert ledger.records.counts("demand")[1] == 1
        assert sums(store)["model"].error == -3.0

    def test_a_shadow_that_comes_after_the_outcome_is_joined(self, store: Store) -> None:
        add(store, prediction(1))
        tell(store, told(1, 2))
        add(store, prediction(2, of="7-1", role="shadow", version=2))
        with store.read() as ledger:
            assert [(m.prediction, m.of) for m in ledger.records.matches("demand")] == [("7-1", None), ("7-2", "7-1")]
        assert sums(store)["model"].n == 1
        assert sums(store, role="shadow")["model"].n == 1
        assert sums(store, version=2, role="shadow")["model"].n == 1

    def test_by_id_and_by_key_the_one_known_last_counts(self, store: Store) -> None:
        add(store, prediction(1, key="a", target=100.0))
        tell(store, told(1, 3, at=10.0))
        assert tell(store, told_by_key("a", target=100.0, value=4, at=20.0))[0].state == "corrected"
        assert sums(store)["model"].error == -3.0
        assert tell(store, told(1, 3, at=30.0))[0].state == "repeated"
        assert sums(store)["model"].error == -2.0
        assert tell(store, told(1, None, at=40.0))[0].state == "withdrawn"
        assert sums(store)["model"].error == -3.0
        with store.read() as ledger:
            assert [o.value for o in ledger.records.outcomes("7-1")] == [3, 4, None]

    def test_a_tolerance_that_changed_joins_what_was_an_orphan(self, store: Store) -> None:
        add(store, prediction(1, key="a", target=100.0))
        outcome = told_by_key("a", target=103.0, value=4)
        assert tell(store, outcome)[0].state == "orphan"
        assert tell(store, outcome, demand=5.0)[0].state == "joined"
        assert tell(store, outcome)[0].state == "orphan"
        assert sums(store)["model"].n == 0

    def test_many_revisions_in_one_call(self, store: Store) -> None:
        add(store, *(prediction(n) for n in range(1, 4)))
        states = [
            t.state for t in tell(store, told(1, 1), told(1, 2), told(1, 2), told(1, None), told(2, 2), told(9, 1))
        ]
        assert states == ["joined", "corrected", "repeated", "withdrawn", "joined", "orphan"]
        assert sums(store)["model"].n == 1

    def test_a_failed_prediction_is_matched_but_has_no_error(self, store: Store) -> None:
        add(store, prediction(1, output=None, error="boom", references=(1.0, 2.0, 3.0)))
        assert tell(store, told(1, 3))[0].state == "joined"
        assert sums(store) == {"model": Sums()}
        with store.read() as ledger:
            assert ledger.records.matches("demand")[0].output is None
            assert ledger.records.labelled("demand", start=0, end=1e9, limit=5) == []

    def test_classes_are_counted_by_truth_and_answer(self, store: Store) -> None:
        add(store, prediction(1, output="late", references=("late", None)), prediction(2, output=True))
        tell(store, told(1, "on time"), told(2, True))
        found = sums(store)
        assert found["model"].confusion == {"on time": {"late": 1}, "true": {"true": 1}}
        assert found["persistence"].confusion == {"on time": {"late": 1}}
        tell(store, told(1, "late"))
        assert sums(store)["model"].confusion == {"late": {"late": 1}, "true": {"true": 1}}

    @pytest.mark.parametrize(
        ("outcome", "field"),
        [
            (Outcome(value=1, at=1.0), "prediction"),
            (Outcome(value=1, at=1.0, model="demand"), "target"),
            (Outcome(value=1, at=1.0, prediction="nonsense"), "prediction"),
            (Outcome(value=math.nan, at=1.0, prediction="1-1"), "value"),
            (Outcome(value=math.inf, at=1.0, prediction="1-1"), "value"),
        ],
    )
    def test_an_outcome_that_is_nowhere_is_refused(self, store: Store, outcome: Outcome, field: str) -> None:
        with pytest.raises(BadInput) as refused:
            tell(store, told(1, 1), outcome)
        assert refused.value.problems[0].field == field
        with store.read() as ledger:
            assert ledger.records.outcomes("7-1") == []

    def test_matches_are_read_in_the_order_of_joining(self, store: Store) -> None:
        add(store, *(prediction(n) for n in range(1, 6)))
        for n in (3, 1, 5):
            tell(store, told(n, 1.0))
        with store.read() as ledger:
            found = ledger.records.matches("demand")
            assert [m.prediction for m in found] == ["7-3", "7-1", "7-5"]
            assert [m.prediction for m in ledger.records.matches("demand", after=found[0].number)] == ["7-1", "7-5"]
            assert [m.prediction for m in ledger.records.matches("demand", since=3000.0, limit=1)] == ["7-3"]

    def test_labelled_are_the_newest_answers_oldest_first(self, store: Store) -> None:
        add(store, *(prediction(n) for n in range(1, 6)), prediction(9, role="shadow", of="7-4"))
        tell(store, *(told(n, 1.0) for n in (5, 4, 2, 1)))
        with store.read() as ledger:
            found = ledger.records.labelled("demand", start=0, end=5000.0, limit=2)
        assert [(p.id, m.prediction) for p, m in found] == [("7-2", "7-2"), ("7-4", "7-4")]


class SumsContract:
    @pytest.mark.row("LOG-05")
    def test_fifty_pairs_agree_with_numpy(self, store: Store) -> None:
        random = np.random.default_rng(5)
        answers, truths = random.normal(50, 20, 50), random.normal(50, 20, 50).round(1)
        truths[7] = 0.0
        at = random.uniform(0, 7 * 86400, 50)
        add(store, *(prediction(n, output=answers[n], at=at[n]) for n in range(50)))
        tell(store, *(told(n, float(truths[n])) for n in range(50)))
        found = sums(store, 0.0, 7 * 86400.0)["model"]
        errors, some = answers - truths, truths != 0
        metrics = found.metrics()
        assert metrics["mae"] == pytest.approx(abs(errors).mean(), rel=1e-9)
        assert metrics["rmse"] == pytest.approx(np.sqrt((errors**2).mean()), rel=1e-9)
        assert metrics["mape"] == pytest.approx(abs(errors[some] / truths[some]).mean(), rel=1e-9)
        spread = ((truths - truths.mean()) ** 2).sum()
        assert metrics["r2"] == pytest.approx(1 - (errors**2).sum() / spread, rel=1e-9)
        assert (found.n, found.relative_n) == (50, 49)

    @pytest.mark.row("LOG-05")
    @pytest.mark.parametrize(
        ("start", "end"),
        [(0, 1e6), (10.5, 20.25), (3600, 7200), (3599, 3601), (1800, 9000), (5000, 5000), (9000, 100), (7200, 7200.5)],
    )
    def test_sums_are_exact_for_any_bounds(self, store: Store, start: float, end: float) -> None:
        random = np.random.default_rng(7)
        at = np.append(random.uniform(0, 12000, 200), [3600.0, 7200.0, 10.5, 20.25])
        keys = [f"k{n % 4}" for n in range(len(at))]
        add(store, *(prediction(n, at=float(at[n]), output=n * 0.1, key=keys[n]) for n in range(len(at))))
        tell(store, *(told(n, 3.7) for n in range(len(at))))
        for key in (None, "k1"):
            mine = [n for n in range(len(at)) if start <= at[n] < end and key in {None, keys[n]}]
            found = sums(store, start, end, key=key)["model"]
            assert found.n == len(mine)
            assert found.square == pytest.approx(math.fsum((n * 0.1 - 3.7) ** 2 for n in mine), rel=1e-12)

    def test_a_series_and_its_leads_are_as_exact_as_every_row(self, store: Store) -> None:
        random = np.random.default_rng(8)
        at = np.append(random.uniform(0, 6 * HOUR, 150), [HOUR, 2 * HOUR, 1000.0])
        lead = random.choice([0.0, 600.0, HOUR, 86400.0], len(at))
        many = range(len(at))
        one = [
            prediction(n, at=float(at[n]), target=float(at[n] + lead[n]), output=n * 0.1, key=f"k{n % 3}") for n in many
        ]
        add(store, *one)
        tell(store, *(told(n, 3.7) for n in many))
        cuts = [1000.0, HOUR, HOUR, 9000.0, 4 * HOUR, 5.5 * HOUR, 6 * HOUR]
        for part in (Part(), Part(key="k1"), Part(lead=(600.0, 86400.0)), Part(version=2), Part(role="shadow")):
            mine = [n for n in many if part.key in {None, f"k{n % 3}"} and not part.version and not part.role]
            mine = [n for n in mine if part.lead is None or part.lead[0] <= lead[n] < part.lead[1]]
            with store.read() as ledger:
                series = ledger.records.series("demand", cuts=cuts, part=part)
                leads = ledger.records.leads("demand", start=500.0, end=5 * HOUR, cuts=[0.0, HOUR, 1e9], part=part)
            for found, (low, high) in zip(series, pairwise(cuts), strict=True):
                errors = [abs(n * 0.1 - 3.7) for n in mine if low <= at[n] < high]
                assert (found.n, found.absolute) == (len(errors), pytest.approx(math.fsum(errors), rel=1e-12))
            for ahead, (low, high) in zip(leads, pairwise([0.0, HOUR, 1e9]), strict=True):
                errors = [abs(n * 0.1 - 3.7) for n in mine if low <= lead[n] < high and 500 <= at[n] < 5 * HOUR]
                found = ahead["model"]
                assert (found.n, found.absolute) == (len(errors), pytest.approx(math.fsum(errors), rel=1e-12))
        with store.read() as ledger:
            assert ledger.records.pairs("demand", start=0.0, end=6 * HOUR, part=Part()) == len(at)

    def test_a_mistyped_outcome_leaves_no_trace(self, store: Store) -> None:
        add(store, *(prediction(n, at=float(n)) for n in range(1, 4)))
        tell(store, told(1, 1.1), told(2, 1e16), told(3, 3.3))
        tell(store, told(2, 2.2))
        whole = sums(store, 0.0, HOUR)["model"]
        assert whole.square == math.fsum((n - v) ** 2 for n, v in ((1, 1.1), (2, 2.2), (3, 3.3)))
        assert whole.truth_square == math.fsum(v**2 for v in (1.1, 2.2, 3.3))

    def test_enormous_values_stay_finite(self, store: Store) -> None:
        add(store, prediction(1, output=-1e308), prediction(2, output=1.0))
        tell(store, told(1, 1e308), told(2, 5e-324))
        found = sums(store)["model"]
        assert math.isfinite(found.square)
        assert math.isfinite(found.relative)
        assert math.isfinite(sums(store, 1.0, 1001.0)["model"].square)
        tell(store, told(1, None), told(2, 2.0))
        assert sums(store)["model"].square == 1.0

    def test_hourly_errors_are_in_the_slices(self, store: Store) -> None:
        add(
            store, prediction(1, references=(2.0, None, 5.0)), prediction(4), profiles=[folded(1), folded(1, hour=HOUR)]
        )
        tell(store, told(1, 3.0), told(4, 4.5))
        with store.read() as ledger:
            first, second = ledger.records.slices("demand", 1, role="champion", start=0, end=2 * HOUR)
        assert {name: s.error for name, s in first.profile.errors.items()} == {
            "model": -2.0,
            "persistence": -1.0,
            "ewma": 2.0,
        }
        assert (first.profile.n, second.profile.errors["model"].error) == (1, -0.5)


class RegistryContract:
    def test_versions_and_policies(self, store: Store) -> None:
        one, two = (
            Version(
                model="demand", number=n, artifact="a" * 64, size=1, runtime="python", signature=NUMBERS, created=1.0
            )
            for n in (1, 2)
        )
        with store.write() as ledger:
            ledger.versions.add(two)
            ledger.versions.add(one)
            ledger.versions.add(replace(one, model="churn"))
            ledger.versions.add_policy(Policy(model="demand", number=1, horizon=5.0))
            ledger.versions.add_policy(Policy(model="demand", number=2, horizon=6.0))
        with store.read() as ledger:
            versions = ledger.versions
            assert versions.get("demand", 2) == two
            assert versions.all("demand") == [one, two]
            assert [v.name for v in versions.all()] == ["churn@1", "demand@1", "demand@2"]
            assert versions.models() == ["churn", "demand"]
            assert [versions.policy("demand", n).horizon for n in (1, 2, None)] == [5.0, 6.0, 6.0]
            assert versions.policy("churn") == versions.policy("churn", 1) == Policy(model="churn")
            assert {model: policy.number for model, policy in versions.policies().items()} == {"demand": 2}
            with pytest.raises(NotFound, match="demand"):
                versions.get("demnd", 1)
            with pytest.raises(NotFound, match="demand@2"):
                versions.get("demand", 3)
            with pytest.raises(NotFound, match="policy"):
                versions.policy("demand", 3)
        for again in (lambda v: v.add(one), lambda v: v.add_policy(Policy(model="demand", number=2))):
            with pytest.raises(Conflict, match="demand exists already"), store.write() as ledger:
                again(ledger.versions)

    def test_a_rollout_replaces_only_the_one_that_it_knew(self, store: Store) -> None:
        first = Rollout(model="demand", champion=1)
        second = replace(first, challenger=2, mode="canary", share=0.1)
        with store.write() as ledger:
            assert ledger.rollouts.get("demand") is None
            assert ledger.rollouts.revision() == 0
            ledger.rollouts.put(first, None)
        with store.write() as ledger:
            before = ledger.rollouts.revision()
            ledger.rollouts.put(second, first)
            ledger.rollouts.put(Rollout(model="churn", champion=4), None)
            assert ledger.rollouts.revision() > before
        for stale in (None, first):
            with pytest.raises(Conflict, match="champion 1"), store.write() as ledger:
                ledger.rollouts.put(replace(first, champion=9), stale)
        with store.read() as ledger:
            assert ledger.rollouts.get("demand") == second
            assert [r.model for r in ledger.rollouts.all()] == ["churn", "demand"]
            assert ledger.rollouts.all()[1] == second
            assert ledger.rollouts.history("demand") == [first, second]


class KnowledgeContract:
    def test_the_newest_readings_and_their_past(self, store: Store) -> None:
        with store.write() as ledger:
            ledger.readings.add([reading("mae", "m@1", at=2.0), reading("mae", "m@1", at=1.0, value=9.0)])
            ledger.readings.add(
                [reading("mae", "m", at=3.0), reading("n", "m@1", at=5.0), reading("n", "mm@1", at=5.0)]
            )
            ledger.readings.add([reading("mae", "m@1", at=1.5, value=8.0)])
            ledger.readings.add([])
        with store.read() as ledger:
            readings = ledger.readings
            assert [(r.name, r.subject, r.at) for r in readings.newest("m")] == [
                ("mae", "m", 3.0),
                ("mae", "m@1", 2.0),
                ("n", "m@1", 5.0),
            ]
            assert readings.newest("m@1", "mae") == [reading("mae", "m@1", at=2.0)]
            assert len(readings.newest()) == 4
            assert [r.value for r in readings.series("mae", "m@1", start=1.0, end=2.0)] == [9.0, 8.0]

    def test_purging_keeps_the_newest(self, store: Store) -> None:
        with store.write() as ledger:
            ledger.readings.add([reading("mae", "m", at=float(t)) for t in range(5)])
            ledger.readings.add([reading("n", "m", at=1.0)])
            assert ledger.readings.purge(100.0) == 4
        with store.read() as ledger:
            assert [r.at for r in ledger.readings.series("mae", "m", start=0, end=100)] == [4.0]
            assert [r.at for r in ledger.readings.series("n", "m", start=0, end=100)] == [1.0]

    def test_alerts_and_what_is_due(self, store: Store) -> None:
        with store.write() as ledger:
            for one in (alert("a", opened=1.0, due=50.0), alert("b", opened=2.0, state="acknowledged", due=40.0)):
                ledger.alerts.put(one)
            ledger.alerts.put(alert("c", opened=3.0, state="resolved"))
        with store.write() as ledger:
            alerts = ledger.alerts
            assert [a.id for a in alerts.all()] == ["c", "b", "a"]
            assert [a.id for a in alerts.all(active=True, limit=1)] == ["b"]
            assert [a.id for a in alerts.due(50.0)] == ["b", "a"]
            assert [a.id for a in alerts.due(45.0)] == ["b"]
            alerts.put(alert("b", opened=2.0, state="resolved"))
            assert alerts.due(45.0) == []
            assert alerts.get("b").state == "resolved"
            with pytest.raises(NotFound, match="known: a, b, c"):
                alerts.get("zzz")


class JobsContract:
    def test_an_id_is_enqueued_once(self, store: Store) -> None:
        with store.write() as ledger:
            assert ledger.jobs.add(job("a", due=1.0))
            assert not ledger.jobs.add(job("a", due=2.0))
            assert ledger.jobs.add(job("b", due=2.0, task="watch"))
            assert ledger.jobs.get("a") == job("a", due=1.0)
            assert [j.id for j in ledger.jobs.all()] == ["b", "a"]
            assert [j.id for j in ledger.jobs.all(task="watch")] == ["b"]
            assert ledger.jobs.all(state="done") == []
            with pytest.raises(NotFound, match="known: a, b"):
                ledger.jobs.get("c!")

    def test_the_job_that_is_due_longest_is_leased(self, store: Store) -> None:
        with store.write() as ledger:
            jobs = ledger.jobs
            for one in (job("late", due=5.0, subject="x"), job("early", due=1.0, subject="y"), job("future", due=99.0)):
                jobs.add(one)
            first = jobs.lease("r1", now=10.0, seconds=30.0)
            assert first is not None
            assert (first.id, first.state, first.lease.until, first.lease.token) == ("early", "running", 40.0, 1)
            assert jobs.lease("r2", now=10.0, seconds=30.0).id == "late"
            assert jobs.lease("r3", now=10.0, seconds=30.0) is None
            assert jobs.get("early") == first

    def test_one_runs_at_a_time_for_each_task_and_subject(self, store: Store) -> None:
        with store.write() as ledger:
            jobs = ledger.jobs
            jobs.add(job("a", due=1.0, subject="m"))
            jobs.add(job("b", due=2.0, subject="m"))
            jobs.add(job("c", due=3.0, subject="m", task="retrain"))
            assert jobs.lease("r1", now=10.0, seconds=30.0).id == "a"
            assert jobs.lease("r2", now=10.0, seconds=30.0).id == "c"
            assert jobs.lease("r3", now=10.0, seconds=30.0) is None
            assert jobs.lease("r3", now=40.0, seconds=30.0).id == "a"

    def test_a_stale_runner_cannot_write(self, store: Store) -> None:
        with store.write() as ledger:
            jobs = ledger.jobs
            jobs.add(job("a"))
            stale = jobs.lease("r1", now=0.0, seconds=10.0)
            jobs.save(replace(stale, memo=Raw(b'{"n":1}')), 1)
            fresh = jobs.lease("r2", now=10.0, seconds=10.0)
            assert (fresh.lease.token, bytes(fresh.memo)) == (2, b'{"n":1}')
            with pytest.raises(LeaseLost, match="r2"):
                jobs.save(stale, 1)
            jobs.save(replace(fresh, state="done", lease=None, finished=12.0), 2)
            assert jobs.get("a").state == "done"
            assert jobs.lease("r1", now=99.0, seconds=10.0) is None

    def test_a_job_that_runs_again_waits_until_it_is_due(self, store: Store) -> None:
        with store.write() as ledger:
            jobs = ledger.jobs
            jobs.add(job("a"))
            leased = jobs.lease("r1", now=0.0, seconds=10.0)
            jobs.save(replace(leased, state="waiting", lease=None, due=60.0), 1)
            assert jobs.lease("r1", now=59.0, seconds=10.0) is None
            assert jobs.lease("r1", now=60.0, seconds=10.0).lease.token == 2

    def test_cancelling(self, store: Store) -> None:
        with store.write() as ledger:
            jobs = ledger.jobs
            jobs.add(job("waits"))
            jobs.add(job("runs", due=-1.0, subject="m"))
            runs = jobs.lease("r", now=0.0, seconds=10.0)
            assert (jobs.cancel("waits", 3.0).state, jobs.get("waits").finished) == ("cancelled", 3.0)
            jobs.cancel("runs", 3.0)
            with pytest.raises(LeaseLost, match="cancelled"):
                jobs.save(runs, 1)
            with pytest.raises(Conflict, match="cancelled already"):
                jobs.cancel("waits", 4.0)
            assert jobs.lease("r", now=99.0, seconds=10.0) is None

    def test_purging_keeps_what_says_which_slots_have_been(self, store: Store) -> None:
        with store.write() as ledger:
            jobs = ledger.jobs
            for n in range(4):
                jobs.add(replace(job(f"slot-{n}", due=float(n), task="watch"), schedule="watch"))
                slot = jobs.lease("r", now=9.0, seconds=1.0)
                jobs.save(replace(slot, state="done" if n else "failed", lease=None, attempts=1), slot.lease.token)
            jobs.add(replace(job("since", task="watch"), schedule="watch", state="done"))
            jobs.add(job("waits", task="watch"))
            assert jobs.purge(3.0, task="release") == 0
            assert jobs.purge(3.0, task="watch") == 1, "the newest of those before then stays, and what failed"
            assert {j.id for j in jobs.all()} == {"slot-3", "slot-2", "slot-0", "waits", "since"}
            assert jobs.purge(99.0, task="watch") == 1
            assert {j.id for j in jobs.all()} == {"slot-3", "slot-0", "since", "waits"}
            assert jobs.purge(99.0) == 1, "of all tasks, what failed too"
            assert {j.id for j in jobs.all()} == {"slot-3", "since", "waits"}


class ActsContract:
    def test_each_entry_covers_the_one_before(self, store: Store) -> None:
        with store.write() as ledger:
            for n, subject in enumerate(("m@1", "m", "mm@1", "server")):
                ledger.acts.append(
                    who="anna", what="release", subject=subject, why="w", at=float(n), after=Raw(b'{"share":0.1}')
                )
        with store.read() as ledger:
            acts = ledger.acts.all()
            assert [a.number for a in acts] == [4, 3, 2, 1]
            assert [newer.previous for newer in acts[:-1]] == [older.digest for older in acts[1:]]
            assert acts[-1].previous == ""
            assert bytes(acts[0].after) == b'{"share":0.1}'
            assert [a.subject for a in ledger.acts.all(subject="m")] == ["m", "m@1"]
            assert len(ledger.acts.all(limit=2)) == 2
            assert ledger.acts.verify() is None


class StoreContract(
    PredictionsContract,
    OutcomesContract,
    JoiningContract,
    ElsewhereContract,
    SumsContract,
    RegistryContract,
    KnowledgeContract,
    JobsContract,
    ActsContract,
):
    def test_migrating_again_does_nothing(self, store: Store) -> None:
        assert store.migrate() == []

    def test_ping_takes_little(self, store: Store) -> None:
        assert 0 < store.ping() < 1.0

    def test_readers_keep_their_view_and_wait_for_nobody(self, store: Store) -> None:
        add(store, prediction(1))
        with store.read() as early:
            assert early.records.counts("demand")[0] == 1
            with store.write() as ledger:
                ledger.records.add([prediction(2)], [])
                with store.read() as during:
                    assert during.records.counts("demand")[0] == 1
            assert early.records.counts("demand")[0] == 1
        with store.read() as late:
            assert late.records.counts("demand")[0] == 2
