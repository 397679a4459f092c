"""An erasure is followed by the same end wherever the process that works on it is killed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from migrated import ready

from modelkeep import settings
from modelkeep.app import App
from modelkeep.jobs.erasing import STEPS, file_of, left
from modelkeep.jobs.failpoints import KILLED
from modelkeep.nouns import EXTERNAL, Field, Lineage, Outcome, Policy, Prediction, Signature, Version
from modelkeep.operations.erasing import ErasePerson, OneErasure, erase_person, show_erasure

PERSON = "person-to-forget-77"
AT = 1_700_000_000.0
CHILD = """
import sys
from pathlib import Path
from modelkeep import settings
from modelkeep.app import App
from modelkeep.operations.erasing import ErasePerson, erase_person
with App.open(settings.load(folder=Path(sys.argv[1]), environ={})) as app:
    erase_person(app, ErasePerson(subject=sys.argv[2]))
"""


def opened(folder: Path) -> App:
    ready(folder / "modelkeep.db")
    return App.open(settings.load(folder=folder, environ={}))


def populated(folder: Path, n: int = 5) -> None:
    signature = Signature(inputs=(Field(name="x", kind="number"),), output=Field(name="y", kind="number"))
    lineage = Lineage(start=AT - 10, end=AT + 10, rows=50, data_source="database")
    with opened(folder) as app:
        with app.rooms.store.write() as ledger:
            for number in (1, 2):
                trained = lineage if number == 1 else Lineage(start=1.0, end=2.0, rows=9, data_source="database")
                ledger.versions.add(
                    Version(
                        model="m", number=number, artifact="", size=0, runtime=EXTERNAL, signature=signature,
                        created=AT, lineage=trained,
                    )
                )  # fmt: skip
            ledger.persons.say(PERSON, granted=True, at=AT, by="")
        ids = app.rooms.recorder.new_ids(2 * n)
        people = [PERSON] * n + ["somebody-else"] * n
        some = [
            Prediction(
                id=one, model="m", version=1, role="champion", features={"x": 1.0}, output=1.0, at=AT, target=AT + i,
                seconds=0.1, key=who, subject=who,
            )
            for i, (one, who) in enumerate(zip(ids, people, strict=True))
        ]  # fmt: skip
        app.rooms.recorder.take(some)
        app.rooms.recorder.tell([Outcome(value=2.0, at=AT, prediction=one) for one in ids[:3]]).result(10)
        app.rooms.recorder.flush()
        (folder / "logs").mkdir()
        (folder / "logs" / "old.log").write_text(f"asked about {PERSON}, and person-to-forget-778\n")


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("erasing") / "data"
    populated(folder)
    return folder


@pytest.fixture
def folder(template, tmp_path):
    import shutil

    shutil.copytree(template, tmp_path / "data")
    return tmp_path / "data"


def places(folder, text):
    return [p.name for p in folder.rglob("*") if p.is_file() and text.encode() in p.read_bytes()]


@pytest.mark.row("PRV-06")
def test_without_a_server_the_command_does_the_work_itself(folder):
    with opened(folder) as app:
        gone = erase_person(app, ErasePerson(subject=PERSON, by=PERSON, why=f"{PERSON} asked"))
        assert (gone.state, gone.remains) == ("done", {})
        assert gone.counts["predictions"] == 5
        assert gone.counts["outcomes"] == 3
        assert [(one.model, one.version, one.rows) for one in gone.retrain] == [("m", 1, 50)]
        assert left(app.rooms) == []
    assert (folder / "logs" / "old.log").read_text() == f"asked about {'#' * len(PERSON)}, and person-to-forget-778\n"
    assert [name for name in places(folder, PERSON) if name != "old.log"] == []
    assert "modelkeep.db" in places(folder, "somebody-else")


@pytest.mark.prove
@pytest.mark.row("PRV-06")
@pytest.mark.parametrize("step", [*STEPS, "batch", "receipt", "forgotten"])
def test_an_erasure_that_was_killed_goes_on(folder, step):
    environment = {**os.environ, "MODELKEEP_FAILPOINT": f"erase.{step}"}
    killed = subprocess.run([sys.executable, "-c", CHILD, str(folder), PERSON], env=environment, check=False)
    assert killed.returncode == KILLED
    with opened(folder) as app:
        waiting = left(app.rooms)
        assert len(waiting) == (step != "forgotten")
        app.start()  # what was begun is taken up
        try:
            with app.rooms.store.read() as ledger:
                id_ = waiting[0].id if waiting else ledger.persons.receipts()[0][0]
            _wait(app, id_)
            gone = show_erasure(app, OneErasure(id=id_))
        finally:
            app.stop()
    assert (gone.state, gone.remains) == ("done", {})
    assert gone.counts["consents"] <= 1
    assert not file_of(app.rooms, id_).exists()
    assert [name for name in places(folder, PERSON) if name != "old.log"] == []


def _wait(app, id_):
    import time

    end = time.monotonic() + 30
    while show_erasure(app, OneErasure(id=id_)).state != "done":
        assert time.monotonic() < end
        time.sleep(0.05)  # work goes on in another thread


@pytest.mark.row("PRV-06")
def test_a_backup_is_written_anew_without_the_person(folder):
    from modelkeep.jobs import saving

    with opened(folder) as app:
        target = app.rooms.common / "backups" / "daily_backup_20260101.tar"
        saving.write(app.rooms, target, say=lambda *_: None)
        assert target.name in places(folder, PERSON)
        gone = erase_person(app, ErasePerson(subject=PERSON))
        assert (gone.counts["backups"], gone.remains) == (1, {})
        assert not target.exists()
        assert len(saving.saved(app.rooms)) == 1
    assert [name for name in places(folder, PERSON) if name != "old.log"] == []


@pytest.mark.row("PRV-05")
def test_records_older_than_their_policy_are_overdue_until_they_are_purged(folder):
    from modelkeep.jobs.retaining import overdue
    from modelkeep.nouns import Retention

    with opened(folder) as app:
        assert list(overdue(app.rooms, accesses=1e9)) == []
        with app.rooms.store.write() as ledger:
            ledger.versions.add_policy(Policy(model="m", number=2, retention=Retention(predictions=86400.0)))
        late = list(overdue(app.rooms, accesses=1e9))
        assert [one.command for one in late] == ["modelkeep predictions archive --model m"]
        assert late[0].what == "predictions of m (10)"
        assert late[0].oldest == AT


def test_a_short_name_is_looked_for_in_quotes_only(tmp_path):
    from modelkeep.store import traces

    file = tmp_path / "x.log"
    file.write_text('took 200 ms, status 200, person "200"\n')
    assert traces.count(file, traces.written("200")) == 1
    assert traces.blacken(file, traces.written("200")) == 1
    assert file.read_text() == 'took 200 ms, status 200, person "###"\n'


def test_a_name_is_found_as_json_and_addresses_write_it(tmp_path):
    from modelkeep.store import traces

    name = 'Jürgen "J" Müller'
    spelt = traces.written(name)
    file = tmp_path / "x.log"
    file.write_text(f'{name}\n"J\\u00fcrgen \\"J\\" M\\u00fcller"\n/users/J%C3%BCrgen%20%22J%22%20M%C3%BCller/x\n')
    assert traces.blacken(file, spelt) == 3
    assert "rgen" not in file.read_text()


@pytest.mark.row("PRV-06")
def test_training_rows_in_which_the_person_is_go_though_they_are_compressed(folder, tmp_path):
    from msgspec import structs

    from modelkeep.jobs import histories
    from modelkeep.runtimes import kept
    from modelkeep.runtimes.training import TrainingRows

    with opened(folder) as app:
        digests = []
        for number, who in ((3, PERSON), (4, "somebody-else")):
            kept.write(tmp_path / "rows", TrainingRows(
                columns={"x": [1.0]}, truth=[2.0], keys=[who], at=[AT], targets=[AT], told=[AT], groups=[who],
            ))  # fmt: skip
            digests.append(histories.put(app.rooms, tmp_path / "rows"))
            with app.rooms.store.write() as ledger:
                version = ledger.versions.get("m", 1)
                lineage = structs.replace(version.lineage, history=digests[-1])
                ledger.versions.add(structs.replace(version, number=number, lineage=lineage))
        gone = erase_person(app, ErasePerson(subject=PERSON))
        assert gone.counts["training_rows"] == 1
        assert [digest in app.rooms.files.all() for digest in digests] == [False, True]
