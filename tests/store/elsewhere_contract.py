"""What every store must do with ids that services gave, with searches, and with what people say of predictions."""

from making import prediction, told, told_by_key
from msgspec.structs import replace

from modelkeep.given import given_id
from modelkeep.nouns import Outcome
from modelkeep.opinions import Feedback, Review
from modelkeep.store.seams import Sought


def given(number, **fields):
    """Prediction ``number`` under the id that its service gave it."""
    return prediction(number, id=given_id("demand", f"order {number}"), given=f"order {number}", **fields)


class ElsewhereContract:
    def fill(self, store, numbers=range(1, 31)):
        with store.write() as ledger:
            ledger.records.add([given(n, version=1 + (n > 20)) for n in numbers], [])

    def test_given_ids_are_kept_once_and_joined_whichever_comes_first(self, store):
        with store.write() as ledger:
            early = Outcome(prediction=given_id("demand", "order 2"), value=5.0, at=1.0)
            assert ledger.records.tell([early], {})[0].state == "orphan"
            some = [given(n) for n in (1, 2, 2, 3)]
            assert [p.given for p in ledger.records.unknown(some)] == ["order 1", "order 2", "order 3"]
            ledger.records.add(ledger.records.unknown(some), [])
            assert [p.given for p in ledger.records.unknown([given(2), given(4), prediction(9)])] == ["order 4", ""]
        with store.read() as ledger:
            kept = ledger.records.prediction(given_id("demand", "order 2"))
            assert kept == given(2)
            assert ledger.records.sums("demand", start=0.0, end=1e9)["model"].absolute == 3.0
            assert given_id("demand", "order 2") != given_id("price", "order 2")

    def test_an_outcome_may_bring_its_own_tolerance(self, store):
        self.fill(store)
        about = told_by_key("entity 1", target=4030.0, value=1.0)
        with store.write() as ledger:
            assert ledger.records.tell([about], {"demand": 10.0})[0].state == "orphan"
            assert ledger.records.tell([replace(about, tolerance=60.0, at=2e6)], {"demand": 10.0})[0].state == "joined"

    def test_searches_go_page_by_page_and_meet_every_condition(self, store):
        self.fill(store)
        with store.write() as ledger:
            outcomes = [
                Outcome(prediction=given_id("demand", f"order {n}"), value=0.0, at=1e6) for n in range(1, 31, 3)
            ]
            ledger.records.tell(outcomes, {})
        with store.read() as ledger:

            def found(limit=7, **conditions):
                names, before = [], None
                while True:
                    hits = ledger.records.search(Sought(model="demand", before=before, **conditions), limit=limit)
                    names += [int(hit.prediction.given.split()[1]) for hit in hits.hits]
                    before = hits.rest
                    if before is None:
                        return names

            assert found() == list(range(30, 0, -1))
            assert found(version=2) == list(range(30, 20, -1))
            assert found(key="entity 0", since=6000.0, until=15000.0) == [12, 9, 6]
            assert found(low=4.0, high=6.0) == [6, 5, 4]
            assert found(least=20.0) == [28, 25, 22]
            assert found(failed=True) == []
            (hit,) = ledger.records.search(Sought(model="demand", least=28.0), limit=5).hits
            assert (hit.value, hit.error) == (0.0, 28.0)

    def test_whereabouts_the_nearest_and_how_much_there_is(self, store):
        self.fill(store)
        id_ = given_id("demand", "order 5")
        with store.read() as ledger:
            found = ledger.records.whereabouts([id_, "9-9", "nonsense"])
            assert [(w.model, w.key, w.target, w.role) for w in found.values()] == [
                ("demand", "entity 2", 5000.0, "champion")
            ]
            assert ledger.records.nearest("demand", "entity 2", target=5900.0) == 5000.0
            assert ledger.records.nearest("demand", "nobody", target=5900.0) is None
            extent = ledger.records.extent()
            assert (extent.stored, extent.oldest) == (30, 1000.0)
            assert extent.fields == ("day", "gap", "hour", "open", "rain")
            assert 1000 < extent.size < 50_000

    def test_feedback_is_kept_once_counted_and_taken_away(self, store):
        self.fill(store, range(1, 4))
        ids = [given_id("demand", f"order {n}") for n in range(1, 4)]
        some = [Feedback(id=f"f{n}", prediction=ids[n % 3], rating=1 + n % 5, at=float(n)) for n in range(12)]
        with store.write() as ledger:
            assert ledger.said.add_feedback(some) == [True] * 12
            again = [replace(some[0], rating=5), Feedback(id="x", prediction="9-9", rating=1, at=3.0), some[1]]
            assert ledger.said.add_feedback(again) == [False, True, False]
        with store.read() as ledger:
            assert ledger.said.ratings("demand", start=0.0, end=100.0) == {1: 3, 2: 3, 3: 2, 4: 2, 5: 2}
            assert ledger.said.ratings(None, start=3.0, end=4.0) == {1: 1, 4: 1}
            worst = ledger.said.worst("demand", start=0.0, end=100.0, limit=4)
            assert [(f.rating, f.at, f.model) for f in worst] == [(1, t, "demand") for t in (10.0, 5.0, 0.0)] + [
                (2, 11.0, "demand")
            ]
            assert [f.id for f in ledger.said.feedback_of(ids[0])] == ["f0", "f3", "f6", "f9"]
        with store.write() as ledger:
            ledger.said.add_reviews([Review(prediction=ids[0], model="demand", by="ann", at=1.0, note="odd")])
            assert ledger.said.reviewed(ids) == {ids[0]}
            assert [r.note for r in ledger.said.reviews_of(ids[0])] == ["odd"]
            assert ledger.said.forget(ids[:1]) == (4, 1)
            assert ledger.said.reviewed(ids) == set()

    def test_outcomes_told_and_withdrawn_for_given_ids(self, store):
        self.fill(store, range(1, 3))
        first = replace(told(1, 4.0), prediction=given_id("demand", "order 1"))
        with store.write() as ledger:
            assert ledger.records.tell([first], {})[0].state == "joined"
            assert ledger.records.tell([replace(first, value=None, at=2e6)], {})[0].state == "withdrawn"
        with store.read() as ledger:
            assert ledger.records.sums("demand", start=0.0, end=1e9)["model"].n == 0
            assert [o.value for o in ledger.records.outcomes(first.prediction)] == [4.0, None]
