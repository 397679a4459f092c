"""What every store must know about people: consent, records, erasure, accesses, receipts."""

from making import prediction, told, told_by_key

from modelkeep.store.people import Access, Erased


class PersonsContract:
    """``store`` is a migrated store; ``bytes_of`` what lies on its disk, or None where that is not ours."""

    def fill(self, store):
        with store.write() as ledger:
            some = [prediction(n, subject=f"person-{n % 3}", features={"note": f"note of {n}"}) for n in range(1, 10)]
            ledger.records.add(some, [])
            ledger.records.add([prediction(20, key="person-1", subject="person-1"), prediction(21, key="person-1")], [])
            ledger.records.tell([told(n, 1.5 * n) for n in range(1, 6)], {})
            ledger.records.tell([told_by_key("person-1", target=7e7, value=4.0)], {})
            ledger.records.remember("demand", {"person-1": b"state", "entity 1": b"state"})

    def test_the_newest_word_on_consent_counts(self, store):
        with store.write() as ledger:
            persons = ledger.persons
            assert persons.granted() == frozenset()
            persons.say("anna", granted=True, at=1.0, by="bert")
            persons.say("carl", granted=True, at=2.0, by="")
            persons.say("anna", granted=False, at=3.0, by="anna")
        with store.read() as ledger:
            persons = ledger.persons
            assert persons.granted() == {persons.keys.pseudonym("carl")}
            assert [(w.granted, w.at, w.by) for w in persons.said("anna")] == [
                (True, 1.0, "bert"),
                (False, 3.0, "anna"),
            ]
            assert persons.tally() == (1, 1)
            revision = persons.revision()
        with store.write() as ledger:
            assert ledger.persons.forget_consents("carl", at=4.0) == 1
            assert ledger.persons.forget_consents("carl", at=5.0) == 0
            assert ledger.persons.forget_consents("nobody", at=5.0) == 0
        with store.read() as ledger:
            assert (ledger.persons.granted(), ledger.persons.said("carl")) == (frozenset(), [])
            assert ledger.persons.revision() > revision

    def test_everything_of_a_person_is_found_and_nothing_of_others(self, store):
        self.fill(store)
        with store.read() as ledger:
            persons = ledger.persons
            assert persons.count("person-1") == 4
            own = persons.own_keys("person-1")
            assert own == [("demand", "person-1")]
            held = persons.held("person-1", own)
            assert [p.id for _, p in held] == ["7-1", "7-4", "7-7", "7-20", "7-21"]
            assert held[0][1].features == {"note": "note of 1"}
            assert held[0][1].subject == "person-1"
            assert [one.value for one in persons.told(own)] == [4.0]
            assert persons.models("person-1")[0][:2] == ("demand", 4)
            assert [p.id for p in persons.newest("demand", limit=2)] == ["7-20", "7-9"]

    def test_erasing_takes_a_person_in_pieces_and_leaves_others_and_sums(self, store):
        self.fill(store)
        with store.read() as ledger:
            sums = ledger.records.sums("demand", start=0, end=1e9)
            own = ledger.persons.own_keys("person-1")
        gone, pieces = Erased(), 0
        while True:
            with store.write() as ledger:
                some = ledger.persons.erase("person-1", own, limit=2)
            if some == Erased():
                break
            gone, pieces = gone.plus(some), pieces + 1
        assert (gone.predictions, gone.matches, gone.outcomes, gone.memory) == (5, 2, 3, 1)
        assert pieces == 4
        with store.read() as ledger:
            assert ledger.persons.count("person-1", own) == 0
            assert ledger.persons.count("person-2") == 3
            assert ledger.records.prediction("7-4") is None
            assert ledger.records.prediction("7-5").subject == "person-2"
            assert ledger.records.counts("demand")[:2] == (6, 3)
            assert set(ledger.records.memory("demand")) == {"entity 1"}
            assert ledger.records.sums("demand", start=0, end=3600 * 100) == sums

    def test_sentences_are_blackened_where_the_name_stands_alone(self, store):
        from making import alert

        from modelkeep.nouns import Reading

        with store.write() as ledger:
            said = "anna-77 was late; anna-778 was not"
            ledger.readings.add([Reading(name="r", subject="m", value=1.0, level="ok", at=1.0, detail=said)])
            ledger.alerts.put(alert("a", opened=1.0))
        with store.write() as ledger:
            assert ledger.persons.blacken(["anna-77"]) == 2
        with store.read() as ledger:
            assert ledger.readings.newest()[0].detail == "(erased) was late; anna-778 was not"

    def test_accesses_are_kept_asked_for_and_forgotten(self, store):
        with store.write() as ledger:
            name = ledger.persons.keys.pseudonym("anna", at=1.0)
            for at in (1.0, 2.0):
                ledger.persons.saw(Access(at=at, who="bert", act="show", records=1, subject=name))
            ledger.persons.saw(Access(at=3.0, who="carl", act="list", records=9))
            assert [one.at for one in ledger.persons.accesses()] == [3.0, 2.0, 1.0]
            assert [one.at for one in ledger.persons.accesses("anna")] == [2.0, 1.0]
            assert ledger.persons.first_access() == 1.0
            assert ledger.persons.purge_accesses(2.5) == 2

    def test_a_receipt_is_kept_once(self, store):
        with store.write() as ledger:
            for text in ("first", "second"):
                ledger.persons.keep_receipt("id", subject="p", at=1.0, receipt=text)
            assert ledger.persons.receipt("id") == "first"
            assert ledger.persons.receipt("other") is None

    def test_pseudonyms_are_the_same_for_ever(self, store):
        with store.read() as ledger:
            assert ledger.persons.keys.pseudonym("anna") == ""
        with store.write() as ledger:
            name = ledger.persons.keys.pseudonym("anna", at=1.0)
        with store.read() as ledger:
            assert ledger.persons.keys.pseudonym("anna") == name
            assert ledger.persons.keys.pseudonym("anne") != name
            assert "anna" not in name

    def test_what_was_deleted_is_swept(self, store):
        self.fill(store)
        assert store.sweep() == ""
