"""People on a real server: consent, what is kept, what is seen, what is erased, and whether all that is so."""

import base64
import json
import sqlite3
import time
from dataclasses import replace

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from served_house import SIGNATURE, served

from modelkeep.claims import key_of
from modelkeep.edge import KEY_HEADER
from modelkeep.extending import Extension
from modelkeep.jobs.changing import adopt
from modelkeep.jobs.persons import Personal
from modelkeep.jobs.registering import Registration, register
from modelkeep.nouns import Field, Policy, Prediction, Privacy, Retention, Rollout, Signature
from modelkeep.operations.complying import evidence
from modelkeep.store import rows

PERSON = "user42-anna.berg"
NEEDED = ("timestamp", "model_version", "y")


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    file = tmp_path_factory.mktemp("keys") / "master"
    file.write_text("a-key-that-was-made-and-not-thought-up-0001\n")
    file.chmod(0o600)
    return file


@pytest.fixture(scope="module")
def sealed(tmp_path_factory, key):
    """A server that encrypts, with one model that asks for consent and one that does not."""
    folder = tmp_path_factory.mktemp("sealed") / "data"
    with served(folder, privacy__encrypt="true", privacy__key=f"file:{key}") as house:
        people(house)
        yield house


@pytest.fixture
def plain(tmp_path):
    with served(tmp_path / "data") as house:
        people(house)
        yield house


def people(house):
    house.keep("asks", policy=Policy(model="asks", privacy=Privacy(consent="required", required=NEEDED)))
    house.keep("free")


def say(house, word, person=PERSON):
    answer = house.post("/v1/privacy/consent", {"subject": person, "say": word, "by": "bert"})
    assert answer.status_code == 200, answer.text
    return answer.json()


def asked(house, model="asks", person=PERSON, **more):
    answer = house.ask(model, subject=person, **more)
    assert answer.status_code == 200, answer.text
    return answer.json()["prediction_id"]


def kept(house, one):
    house.rooms.recorder.flush()
    return house.get(f"/v1/predictions/{one}").status_code == 200


def files(house):
    return [path for path in house.folder.rglob("*") if path.is_file()]


def holding(house, text):
    return [path.name for path in files(house) if text.encode() in path.read_bytes()]


# ------------------------------------------------------------------------------------------------- consent


@pytest.mark.row("PRV-02")
def test_without_consent_a_person_is_served_and_not_recorded(plain):
    before = asked(plain)
    assert not kept(plain, before)
    assert holding(plain, PERSON) == []
    log = (plain.folder / "logs" / "modelkeep.log").read_text()
    line = next(json.loads(line) for line in log.splitlines() if "not_recorded" in line)
    assert (line["message"], line["model_name"]) == ("not_recorded", "asks")
    assert say(plain, "grant")["granted"] is True
    granted = asked(plain)
    assert kept(plain, granted)
    assert [word["granted"] for word in say(plain, "withdraw")["history"]] == [True, False]
    assert not kept(plain, asked(plain))
    nobody = plain.ask("asks").json()["prediction_id"]
    assert not kept(plain, nobody), "where consent is asked for, nobody named has not given it"


@pytest.mark.row("PRV-02")
def test_a_word_on_consent_reaches_other_processes(plain):
    """Another process on the same store is another gateway, which polls."""
    from modelkeep.serving.gateway import Gateway
    from modelkeep.serving.router import Router

    rooms = plain.rooms
    other = Gateway(rooms.recorder, rooms.clock)
    router = Router(rooms.store, rooms.files, gateway=other, clock=rooms.clock)
    router.refresh()
    policy = other.routes["asks"].policy
    assert not other.may_record(policy, PERSON)
    say(plain, "grant")
    router.poll()
    assert other.may_record(policy, PERSON)
    say(plain, "withdraw")
    router.poll()
    assert not other.may_record(policy, PERSON)


@pytest.mark.row("PRV-02")
def test_records_of_a_service_elsewhere_pass_the_same_gate(plain):
    with plain.rooms.store.write() as ledger:
        adopt(ledger, Policy(model="far", privacy=Privacy(consent="required")), who="t", why="", at=1.0)
    rooms = plain.rooms

    def send(person, number):
        one = Prediction(
            id=rooms.intake.new_ids(1)[0], model="far", version=1, role="champion", features={"x": number}, output=1.0,
            at=1.0, target=1.0, seconds=0.1, subject=person,
        )  # fmt: skip
        return rooms.intake.take([one])

    assert send(PERSON, 1).withheld == 1
    say(plain, "grant")
    assert (send(PERSON, 2).kept, send(None, 3).withheld) == (1, 1)
    rooms.recorder.flush()
    with rooms.store.read() as ledger:
        assert [p.features for p in ledger.records.latest("far")] == [{"x": 2}]


def test_a_record_older_than_its_models_retention_is_not_taken_again(plain):
    """The id of one that was purged is forgotten: sent again, it would be counted twice."""
    with plain.rooms.store.write() as ledger:
        adopt(ledger, Policy(model="short", retention=Retention(predictions=86400.0)), who="t", why="", at=1.0)
    now = plain.rooms.clock.now()
    some = [
        Prediction(
            id=id_, model="short", version=1, role="champion", features={}, output=1.0, at=now - age, target=now,
            seconds=0.1,
        )
        for id_, age in zip(plain.rooms.intake.new_ids(2), (80_000.0, 90_000.0), strict=True)
    ]  # fmt: skip
    taken = plain.rooms.intake.take(some)
    assert (taken.kept, taken.withheld) == (1, 1)


def test_a_rollback_brings_back_limits_and_never_less_care(plain):
    with plain.rooms.store.write() as ledger:
        was = ledger.rollouts.get("asks")
        ledger.rollouts.put(replace_policy(was, 1), was)  # the built-in policy, which asks nobody
    plain.rooms.router.refresh()
    assert plain.rooms.gateway.routes["asks"].policy.privacy.consent == "required"


def replace_policy(rollout: Rollout, number: int) -> Rollout:
    from msgspec.structs import replace as changed

    return changed(rollout, policy=number)


def test_consent_is_shown_with_the_models_that_ask(plain):
    shown = plain.get("/v1/privacy/consent", subject="nobody-known").json()
    assert shown == {"subject": "nobody-known", "granted": False, "history": [], "models": ["asks"]}


# --------------------------------------------------------------------------------------- what is kept and seen


def make(house, model, source, *, privacy=None, field=None):
    """A model with a field that tells who somebody is."""
    name = field or Field(name="name", kind="text", pii=True)
    signature = Signature(inputs=(Field(name="x", kind="number", low=-100, high=100), name), output=SIGNATURE.output)
    if privacy is not None:
        with house.rooms.store.write() as ledger:
            adopt(ledger, Policy(model=model, privacy=privacy), who="test", why="", at=house.rooms.clock.now())
    file = house.folder / f"{model}.py"
    file.write_text(source)
    version = register(
        house.rooms, Registration(model=model, path=file, trust=True, signature=signature, metrics={"mae": 1.0})
    )
    with house.rooms.store.write() as ledger:
        number = ledger.versions.policy(model).number
        now = house.rooms.clock.now()
        ledger.rollouts.put(Rollout(model=model, champion=version.number, policy=number, since=now), None)
    house.rooms.router.refresh()


@pytest.mark.row("PRV-10")
def test_what_tells_who_somebody_is_stands_in_no_log_page_or_error(plain):
    secret = "Annegret-Bergmann-7781"
    make(
        plain,
        "named",
        "def predict(row):\n    if len(row['name']) > 3:\n        raise ValueError('no tariff for ' + row['name'])\n"
        "    return row['x']\n",
    )
    make(plain, "fine", "def predict(row):\n    return row['x']\n")
    path = "/v1/models/{}/predict"
    texts = []
    for model in ("named", "fine"):
        bodies = ({"x": 1.0, "name": secret}, {"x": 1.0, "nmae": secret, "name": secret}, {"x": secret})
        texts += [plain.post(path.format(model), {"features": one, "subject": "s-1"}).text for one in bodies]
        texts.append(plain.post(path.format(model), {"rows": [{"features": {"x": 500.0, "name": secret}}]}).text)
    wrong = plain.post(path.format("fine"), {"features": {"x": 1.0, "name": 77812345}}).json()["error"]["problems"]
    assert wrong[0]["field"] == "name"
    assert "77812345" not in wrong[0]["got"]
    plain.rooms.recorder.flush()
    plain.app.runner.run_due()
    texts += [plain.get(page).text for page in ("/", "/models/fine", "/models/named", "/v1/timeline", "/metrics")]
    listed = plain.get("/v1/models/fine/predictions").json()["predictions"]
    assert [one["features"]["name"] for one in listed] == ["(pii)"]
    texts += [json.dumps(listed), plain.get(f"/v1/predictions/{listed[0]['prediction_id']}").text]
    assert [text for text in texts if secret in text] == []
    logs = [path for path in files(plain) if path.parent.name == "logs"]
    assert logs
    assert [path for path in logs if secret in path.read_text()] == []


@pytest.mark.row("PRV-10")
def test_a_diagnosis_a_review_and_an_emergency_name_nobody(plain):
    secret = "Annegret-Bergmann-9902"
    fails = (
        "def predict(row):\n    if len(row['name']) > 3:\n        raise ValueError('no tariff for ' + row['name'])\n"
        "    return 1.0\n"
    )
    make(plain, "named", fails)
    for _ in range(3):
        plain.post("/v1/models/named/predict", {"features": {"x": 1.0, "name": secret}, "subject": "s-1"})
    plain.rooms.recorder.flush()
    plain.app.runner.run_due()
    answers = [
        plain.get("/v1/diagnosis/models/named"),
        plain.get("/v1/diagnosis/performance"),
        plain.post("/v1/models/named/reviews", {"sample": 3, "by": "rita"}),
        plain.post("/v1/models/named/emergency", {"why": "it fails"}),
        plain.get("/v1/alerts"),
        plain.get("/v1/jobs"),
    ]
    assert [answer.url.path for answer in answers if answer.status_code >= 300] == []
    assert [answer.url.path for answer in answers if secret in answer.text] == []
    looked = [
        path for path in files(plain) if path.suffix not in {".db", ".db-wal", ".spool"} and path.parent.name != "0"
    ]
    assert [
        path.name for path in looked if secret.encode() in path.read_bytes() and "modelkeep.db" not in path.name
    ] == []


@pytest.mark.row("SEC-06")
def test_whoever_reads_about_people_is_noted_also_by_sql_export_and_review(plain, capsys):
    from modelkeep.edge.cli import main
    from modelkeep.edge.cli.acts import me

    one = asked(plain, "free", person="seen-person-1")
    plain.rooms.recorder.flush()
    assert plain.get("/v1/models/free/predictions", by="lisa").status_code == 200
    assert plain.get(f"/v1/predictions/{one}", by="sam").status_code == 200
    assert plain.post("/v1/sql", {"query": "SELECT count(*) FROM predictions", "by": "sue"}).status_code == 200
    assert plain.post("/v1/sql", {"query": "SELECT count(*) FROM outcomes", "by": "otto"}).status_code == 200
    assert plain.post("/v1/models/free/reviews", {"sample": 1, "by": "rita"}).status_code == 200
    target = plain.folder.parent / "out.parquet"
    words = ["predictions", "export", "--model", "free", "--output", str(target), "-C", str(plain.folder)]
    assert main(words) == 0, capsys.readouterr().err
    assert plain.post("/v1/privacy/exports", {"subject": "seen-person-1", "by": "pia"}).status_code == 200
    seen = plain.get("/v1/privacy/accesses").json()["accesses"]
    assert [(one["who"], one["act"]) for one in reversed(seen)] == [
        ("lisa", "list"), ("sam", "show"), ("sue", "sql"), ("otto", "sql"), ("rita", "review"), (me(), "export"),
        ("pia", "export"),
    ]  # fmt: skip
    plain.post("/v1/sql", {"query": "SELECT count(*) FROM readings", "by": "nobody"})
    assert len(plain.get("/v1/privacy/accesses").json()["accesses"]) == len(seen), "readings are about nobody"


def test_a_summary_holds_no_name_and_is_watched_all_the_same(plain):
    make(plain, "fine", "def predict(row):\n    return row['x']\n", field=Field(name="name", kind="category", pii=True))
    for n in range(3):
        plain.post("/v1/models/fine/predict", {"features": {"x": 1.0, "name": f"Annegret-{n}"}})
    plain.rooms.recorder.flush()
    with plain.rooms.store.read() as ledger:
        slices = ledger.records.slices("fine", 1, role="champion", start=0, end=1e12)
    columns = slices[0].profile.columns
    assert (columns["name"].n, columns["name"].values) == (3, {})
    assert columns["x"].n == 3


def test_names_are_shown_to_the_owner_of_the_folder_alone(plain):
    make(plain, "fine", "def predict(row):\n    return row['x']\n")
    body = {"features": {"x": 1.0, "name": "Annegret"}, "subject": PERSON}
    found = plain.post("/v1/models/fine/predict", body).json()["prediction_id"]
    plain.rooms.recorder.flush()
    stranger = httpx.get(f"{plain.url}/v1/predictions/{found}", params={"reveal": "true"})
    assert (stranger.status_code, stranger.json()["error"]["code"]) == (403, "not_revealed")
    assert key_of(plain.folder) in plain.client.headers[KEY_HEADER]
    shown = plain.get(f"/v1/predictions/{found}", reveal="true", by="carla").json()
    assert shown["features"]["name"] == "Annegret"
    seen = plain.get("/v1/privacy/accesses", subject=PERSON).json()["accesses"]
    assert [(one["who"], one["act"], one["records"]) for one in seen] == [("carla", "show", 1)]


@pytest.mark.row("PRV-03")
def test_only_what_is_to_be_kept_is_recorded_and_shadows_still_see_all(plain):
    make(plain, "fine", "def predict(row):\n    return row['x'] + len(row['name'])\n", privacy=Privacy(keep=("x",)))
    answer = plain.post("/v1/models/fine/predict", {"features": {"x": 1.0, "name": "Annegret"}}).json()
    assert answer["prediction"] == 9.0
    plain.rooms.recorder.flush()
    shown = plain.get(f"/v1/predictions/{answer['prediction_id']}").json()
    assert shown["features"] == {"x": 1.0}
    assert holding(plain, "Annegret") == []


# ------------------------------------------------------------------------------------------------ encryption


@pytest.mark.row("PRV-04")
def test_known_text_is_in_no_file_while_encryption_is_on(sealed):
    say(sealed, "grant", "sealed-person-9")
    house = sealed
    make(house, "texts", "def predict(row):\n    return row['x']\n", field=Field(name="note", kind="text"))
    known = "a-known-plaintext-5150"
    body = {"features": {"x": 1.0, "note": known}, "subject": "sealed-person-9"}
    ids = [house.post("/v1/models/texts/predict", body).json()["prediction_id"] for _ in range(5)]
    house.rooms.recorder.flush()
    shown = house.get(f"/v1/predictions/{ids[0]}").json()
    assert (shown["features"]["note"], shown["subject"]) == (known, "sealed-person-9")
    assert len(house.get("/v1/models/texts/predictions", subject="sealed-person-9").json()["predictions"]) == 5
    looked = files(house)
    assert {path.name for path in looked} >= {"modelkeep.db", "records.spool", "modelkeep.log"}
    assert holding(house, known) == []
    assert holding(house, "sealed-person-9") == []


def test_what_lies_in_the_clear_is_sealed_and_the_master_key_can_be_changed(tmp_path, key):
    folder, fresh = tmp_path / "data", tmp_path / "fresh"
    fresh.write_text("another-key-that-was-made-for-this-0002-xyz")
    fresh.chmod(0o600)
    with served(folder) as house:
        people(house)
        first = asked(house, "free", person="clear-person-1")
        house.rooms.recorder.flush()
        assert "modelkeep.db-wal" in holding(house, "clear-person-1")
    for setting in (
        {"privacy__encrypt": "true", "privacy__key": f"file:{key}"},
        {"privacy__encrypt": "true", "privacy__key": f"file:{fresh}", "privacy__previous": f"file:{key}"},
    ):
        with served(folder, **setting) as house:
            job = house.post("/v1/privacy/rotations", {}).json()["id"]
            ended(house, job)
            assert house.get(f"/v1/predictions/{first}").json()["subject"] == "clear-person-1"
            assert holding(house, "clear-person-1") == []
    with served(folder, privacy__encrypt="true", privacy__key=f"file:{fresh}") as house:
        assert house.get(f"/v1/predictions/{first}").json()["subject"] == "clear-person-1"


def ended(house, job, seconds=20.0):
    end = time.monotonic() + seconds
    while house.get(f"/v1/jobs/{job}").json()["state"] != "done":
        assert time.monotonic() < end
        time.sleep(0.02)  # work goes on in another thread of the server


# ------------------------------------------------------------------------------------------ erasure and export


def live(house):
    """A person's life: recorded by two models, one of which knows it as its key, with outcomes and feedback."""
    say(house, "grant")
    first, second = asked(house), asked(house, "free", key=PERSON)
    other = asked(house, "free", person="somebody-else", key="e")
    house.rooms.recorder.flush()
    assert house.post("/v1/outcomes", {"outcomes": [{"prediction_id": first, "actual": 3.0}]}).status_code == 200
    told = {"model": "free", "key": PERSON, "for": "2026-01-01", "actual": 1.0}
    assert house.post("/v1/outcomes", {"outcomes": [told]}).status_code == 200
    said = house.post("/v1/feedback", {"prediction_id": second, "rating": 2, "comment": f"{PERSON} is unhappy"})
    assert said.status_code < 300, said.text
    house.get(f"/v1/models/{PERSON}")  # a refusal whose path stands in the log
    return first, second, other


@pytest.mark.row("PRV-07")
def test_everything_held_of_a_person_is_exported(plain):
    first, second, _ = live(plain)
    found = plain.post("/v1/privacy/exports", {"subject": PERSON, "by": "dora"}).json()
    assert {one["prediction_id"] for one in found["predictions"]} == {first, second}
    assert [one["value"] for one in found["told_by_key"]] == [1.0]
    assert [word["granted"] for word in found["consents"]] == [True]
    assert next(one for one in found["predictions"] if one["prediction_id"] == first)["outcomes"][0]["value"] == 3.0
    assert found["size_bytes"] > 500
    assert plain.get("/v1/privacy/accesses").json()["accesses"][0]["who"] == "dora"


@pytest.mark.row("PRV-06")
def test_an_erased_person_is_in_no_byte_and_the_receipt_says_what_went(plain):
    first, second, other = live(plain)
    foreseen = plain.post("/v1/privacy/erasures", {"subject": PERSON, "dry_run": True}).json()
    assert (foreseen["state"], foreseen["counts"]["predictions"]) == ("dry_run", 2)
    assert kept(plain, first)
    assert len(holding(plain, PERSON)) >= 2
    gone = plain.post("/v1/privacy/erasures", {"subject": PERSON, "by": "emil", "why": "asked for it"}).json()
    assert gone["state"] == "done"
    assert gone["remains"] == {}
    counts = gone["counts"]
    assert (counts["predictions"], counts["outcomes"], counts["feedback"], counts["consents"]) == (2, 2, 1, 1)
    assert counts["logs"] >= 1
    assert holding(plain, PERSON) == []
    assert not kept(plain, first)
    assert not kept(plain, second)
    assert kept(plain, other)
    acts = plain.get("/v1/acts").json()
    assert acts["broken_at"] is None
    assert (acts["acts"][0]["what"], acts["acts"][0]["subject"]) == ("person_erased", f"person {gone['person']}")
    assert plain.post("/v1/privacy/exports", {"subject": PERSON}).json()["predictions"] == []
    assert plain.get(f"/v1/privacy/erasures/{gone['id']}").json() == gone


@pytest.mark.row("PRV-06")
def test_a_receipt_that_was_changed_is_not_genuine(plain):
    live(plain)
    gone = plain.post("/v1/privacy/erasures", {"subject": PERSON}).json()

    def genuine(receipt):
        content = base64.b64encode(json.dumps(receipt).encode()).decode()
        return plain.post("/v1/privacy/receipts", {"receipt": content}).json()["genuine"]

    assert genuine(gone)
    assert genuine(gone["receipt"])
    key, receipt = plain.get("/v1/privacy/signer").json()["key"], gone["receipt"]
    outsiders = serialization.load_pem_public_key(key.encode())
    outsiders.verify(
        bytes.fromhex(receipt["signature"]), json.dumps(receipt["statement"], separators=(",", ":")).encode()
    )

    def checked(key):
        texts = {"receipt": json.dumps(gone).encode(), "key": key}
        return plain.post(
            "/v1/privacy/receipts", {name: base64.b64encode(text).decode() for name, text in texts.items()}
        )

    assert checked(key.encode()).json()["genuine"]
    assert checked(receipt["key"].encode()).json()["genuine"]
    assert not checked(b"0" * 64).json()["genuine"]
    assert checked(b"no key").status_code == 422
    gone["receipt"]["statement"]["counts"]["predictions"] = 1
    assert not genuine(gone)
    assert plain.post("/v1/privacy/receipts", {"receipt": base64.b64encode(b"{}").decode()}).status_code == 422


@pytest.mark.row("PRV-06")
def test_an_erased_persons_key_is_destroyed(sealed):
    person = "keyed-person-3"
    ids = [asked(sealed, "free", person=person) for _ in range(3)]
    sealed.rooms.recorder.flush()
    with sqlite3.connect(sealed.folder / "modelkeep.db") as copy:
        before = copy.execute("SELECT count(*) FROM keys").fetchone()[0]
    gone = sealed.post("/v1/privacy/erasures", {"subject": person}).json()
    assert (gone["counts"]["predictions"], gone["counts"]["keys"], gone["remains"]) == (3, 1, {})
    with sqlite3.connect(sealed.folder / "modelkeep.db") as copy:
        # The key that signs receipts was made; the person's is gone.
        assert copy.execute("SELECT count(*) FROM keys WHERE name = ?", (gone["person"],)).fetchone()[0] == 0
        assert copy.execute("SELECT count(*) FROM keys").fetchone()[0] <= before
    assert not any(kept(sealed, one) for one in ids)


# ---------------------------------------------------------------------------------------------- compliance

QUESTIONS = ["hasUserConsent", "dataMinimal", "dataEncrypted", "retentionCompliant", "userRightsImplemented"]


def wrong(house):
    return [one.question for one in evidence(house.app) if not one.fine]


@pytest.fixture
def compliant(tmp_path, key):
    with served(tmp_path / "data", privacy__encrypt="true", privacy__key=f"file:{key}") as house:
        people(house)
        say(house, "grant")
        asked(house)
        house.rooms.recorder.flush()
        yield house


@pytest.mark.row("PRV-01")
def test_a_house_that_treats_people_well_answers_five_times_yes(compliant):
    found = compliant.get("/v1/compliance").json()
    assert [found[question] for question in QUESTIONS] == [True] * 5
    assert [one["question"] for one in found["evidence"]] == QUESTIONS


@pytest.mark.row("PRV-01")
@pytest.mark.prove
def test_people_who_were_not_asked_break_consent_alone(compliant):
    asked(compliant, "free")
    with compliant.rooms.store.write() as ledger:
        adopt(ledger, Policy(model="free", privacy=Privacy(required=NEEDED)), who="t", why="", at=1.0)
    compliant.rooms.recorder.flush()
    assert wrong(compliant) == ["hasUserConsent"]


@pytest.mark.row("PRV-01", "PRV-03")
@pytest.mark.prove
def test_a_seventh_field_breaks_minimisation_alone_and_is_named(compliant):
    with compliant.rooms.store.read() as ledger:
        from modelkeep.jobs.complying import recorded

        assert sorted(recorded(ledger, "asks")) == ["model_version", "plan", "subject", "timestamp", "x", "y"]
    assert wrong(compliant) == []
    asked(compliant, key="an-entity")
    compliant.rooms.recorder.flush()
    assert wrong(compliant) == ["dataMinimal"]
    said = next(one for one in evidence(compliant.app) if not one.fine)
    assert "asks records 7 fields, 6 are allowed; not required: x, plan, subject, key" in said.detail


@pytest.mark.row("PRV-01", "PRV-04")
@pytest.mark.prove
def test_a_record_in_the_clear_breaks_encryption_alone(compliant):
    with compliant.rooms.store.read() as ledger:
        body = rows.prediction_row(ledger.records.latest("asks")[0], hidden=True)[len(rows.ASKED)]
    with sqlite3.connect(compliant.folder / "modelkeep.db") as copy:
        copy.execute("UPDATE predictions SET body = ?", (body,))
    copy.close()
    found = [one for one in compliant.get("/v1/compliance").json()["evidence"] if not one["fine"]]
    assert [(one["question"], one["remedy"]) for one in found] == [("dataEncrypted", "modelkeep privacy rotate")]


@pytest.mark.row("PRV-01", "PRV-05")
@pytest.mark.prove
def test_what_is_older_than_its_policy_breaks_retention_alone_and_the_purge_is_named(compliant):
    from modelkeep.store.people import Access

    with compliant.rooms.store.write() as ledger:
        old = compliant.rooms.clock.now() - 400 * 86400.0
        ledger.persons.saw(Access(at=old, who="x", act="show", records=1))
    found = [one for one in evidence(compliant.app) if not one.fine]
    assert [(one.question, one.remedy) for one in found] == [("retentionCompliant", "modelkeep jobs run tidy")]
    compliant.app.runner.run_due()
    job = compliant.post("/v1/tasks/tidy/run", {}).json()["id"]
    ended(compliant, job)
    assert wrong(compliant) == []


@pytest.mark.row("PRV-01")
@pytest.mark.prove
def test_rows_that_an_erasure_forgets_break_the_rights_alone(compliant):
    kept_rows: dict[str, list[str]] = {}

    def plant(rooms, subject):
        (rooms.folder / "leak.txt").write_text(f"here is {subject}")
        kept_rows[subject] = ["row"]

    leaky = Personal(
        held=lambda rooms, subject: {"leaky": [{"row": one} for one in kept_rows.get(subject, [])]},
        erase=lambda rooms, subject: {"leaky": 0},
        plant=plant,
    )
    compliant.app.extensions = (*compliant.app.extensions, Extension(name="leaky", personal=(leaky,)))
    assert wrong(compliant) == ["userRightsImplemented"]
    said = next(one for one in evidence(compliant.app) if not one.fine).detail
    assert "still stands in leak.txt" in said
    assert "rows of leaky are still found" in said
    tidy = replace(leaky, erase=lambda rooms, subject: _forget(rooms, kept_rows, subject))
    compliant.app.extensions = (*compliant.app.extensions[:-1], Extension(name="leaky", personal=(tidy,)))
    assert wrong(compliant) == []


def _forget(rooms, rows, subject):
    (rooms.folder / "leak.txt").unlink(missing_ok=True)
    return {"leaky": len(rows.pop(subject, []))}


@pytest.mark.row("PRV-08")
@pytest.mark.prove
def test_compliance_is_a_reading_with_a_course(compliant):
    compliant.get("/v1/compliance")
    asked(compliant, key="a-seventh-field")
    compliant.rooms.recorder.flush()
    job = compliant.post("/v1/tasks/comply/run", {}).json()["id"]
    ended(compliant, job)
    now = compliant.rooms.clock.now()
    with compliant.rooms.store.read() as ledger:
        course = ledger.readings.series("compliance", "server", start=now - 3600, end=now + 60)
    assert [one.value for one in course][-2:] == [1.0, 0.8]
    assert course[-1].facts["dataMinimal"] is False
