"""What was written before encryption was switched on is sealed: rows, summaries, archive, datasets, backups."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from migrated import ready

from modelkeep import settings
from modelkeep.app import App
from modelkeep.jobs import rotating, saving
from modelkeep.jobs.exposed import exposed
from modelkeep.jobs.failpoints import KILLED
from modelkeep.nouns import EXTERNAL, Field, Outcome, Prediction, Signature, Version
from modelkeep.operations.complying import evidence
from modelkeep.operations.rotating import Rotate, rotate_keys
from modelkeep.store.archive.upkeep import Archive

PERSON = "clear-person-401"
NOTE = "a-known-plain-text-77"
AT = 1_700_000_000.0
DAY = 86400.0
COLUMNS = (Field(name="who", kind="text"), Field(name="kg", kind="number", nullable=True))
CHILD = """
import sys
from pathlib import Path
from modelkeep import settings
from modelkeep.app import App
from modelkeep.operations.rotating import Rotate, rotate_keys
environ = {"MODELKEEP_PRIVACY_ENCRYPT": "true", "MODELKEEP_PRIVACY_KEY": "file:" + sys.argv[2]}
with App.open(settings.load(folder=Path(sys.argv[1]), environ=environ)) as app:
    rotate_keys(app, Rotate())
"""


def opened(folder: Path, key: Path | None = None, *, encrypt: str = "true") -> App:
    environ = {"MODELKEEP_PRIVACY_ENCRYPT": encrypt, "MODELKEEP_PRIVACY_KEY": f"file:{key}"} if key else {}
    ready(folder / "modelkeep.db")
    return App.open(settings.load(folder=folder, environ=environ, flags={"workloads": []}))


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    file = tmp_path_factory.mktemp("keys") / "master"
    file.write_text("a-key-that-was-made-and-not-thought-up-0001\n")
    file.chmod(0o600)
    return file


def weights(app):
    return app.rooms.datasets.open("scale.weights", columns=COLUMNS, time="at", key=("who", "at"))


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A folder with hot and archived records, one of them thawed, a bare file, a dataset and a backup."""
    folder = tmp_path_factory.mktemp("old") / "data"
    signature = Signature(inputs=(Field(name="note", kind="text"),), output=Field(name="y", kind="number"))
    with opened(folder) as app:
        with app.rooms.store.write() as ledger:
            ledger.versions.add(
                Version(model="m", number=1, artifact="", size=0, runtime=EXTERNAL, signature=signature, created=AT)
            )
        some = [
            Prediction(
                id=one, model="m", version=1, role="champion", features={"note": f"{NOTE} {i}"}, output=float(i),
                at=AT + i * DAY, target=AT + i * DAY, seconds=0.1, key=f"k{i}", subject=PERSON,
            )
            for i, one in enumerate(app.rooms.recorder.new_ids(12))
        ]  # fmt: skip
        app.rooms.recorder.take(some)
        app.rooms.recorder.flush()
        work = Archive(app.rooms.store, large=1)
        work.seal("m", before=AT + 7.5 * DAY, at=1.0)
        work.merge("m", at=2.0)
        work.bare("m", before=AT + 0.5 * DAY, at=3.0)
        app.rooms.recorder.tell([Outcome(value=2.0, at=AT, prediction=some[3].id)]).result(10)
        app.rooms.recorder.flush()
        data = weights(app)
        for n in range(3):
            data.append({"at": [AT + n], "who": [PERSON], "kg": [70.0 + n]})
        saving.write(app.rooms, folder / "backups" / "daily_backup_20231114.tar", say=lambda *_: None)
    return folder


@pytest.fixture
def folder(template, tmp_path):
    import shutil

    shutil.copytree(template, tmp_path / "data")
    return tmp_path / "data"


def holding(folder, text):
    return sorted(p.name for p in folder.rglob("*") if p.is_file() and text.encode() in p.read_bytes())


def kept(app):
    with app.rooms.store.read() as ledger:
        found = [p for _, p in ledger.records.predictions("m")]
        matches = ledger.records.matches("m")
    return found, matches, weights(app).read()


def sealed_question(app):
    return next(one for one in evidence(app) if one.question == "dataEncrypted")


@pytest.mark.row("PRV-04")
def test_what_lies_in_the_clear_is_named_and_then_sealed_by_itself(folder, key):
    with opened(folder) as app:
        before = kept(app)
    assert holding(folder, PERSON)
    with opened(folder, key) as app:
        said = sealed_question(app)
        assert not said.fine
        for what in ("1 backups", "5 records of m", "8 archived records of m", "3 files of the dataset scale.weights"):
            assert what in said.detail, said.detail
        app.start()  # encryption is on: what is old is sealed without being asked
        id_ = rotating.switched_on(app.rooms).id
        end = time.monotonic() + 30
        while (job := found(app, id_)).state != "done":
            assert time.monotonic() < end, job
            time.sleep(0.02)  # work goes on in another thread
        assert {"records", "archived", "datasets"} <= {step.name for step in job.steps}
        assert sealed_question(app).fine, sealed_question(app).detail
        assert kept(app) == before
        weights(app).append({"at": [AT + 9], "who": [PERSON], "kg": [79.0]})
        app.rooms.store.sweep()
        assert holding(folder, PERSON) == holding(folder, NOTE) == []
        assert [path.name for path in saving.saved(app.rooms)] != ["daily_backup_20231114.tar"]
    with opened(folder, key) as app:
        assert weights(app).size == 4


def found(app, id_):
    with app.rooms.store.read() as ledger:
        return ledger.jobs.get(id_)


@pytest.mark.parametrize(
    "point",
    [
        "archive.shut",
        "rotate.files",
        *(
            pytest.param(f"{p}", marks=pytest.mark.prove)
            for p in ("rotate.records", "rotate.summaries", "archive.shutting")
        ),
    ],
)
def test_sealing_that_was_killed_goes_on(folder, key, point):
    with opened(folder) as app:
        before = kept(app)
    environment = {**os.environ, "MODELKEEP_FAILPOINT": point}
    died = subprocess.run([sys.executable, "-c", CHILD, str(folder), str(key)], env=environment, check=False)
    assert died.returncode == KILLED
    with opened(folder, key) as app:
        assert kept(app) == before, "nothing is lost in between"
        rotate_keys(app, Rotate())
        assert exposed(app.rooms) == []
        assert kept(app) == before
    assert holding(folder, PERSON) == holding(folder, NOTE) == []


def test_one_archived_record_in_the_clear_breaks_the_answer_alone(folder, key):
    with opened(folder, key) as app:
        rotate_keys(app, Rotate())
        assert sealed_question(app).fine
    with opened(folder, key, encrypt="false") as app:  # switched off for a day
        weights(app).append({"at": [AT + 100], "who": ["x"], "kg": [1.0]})
    with opened(folder, key) as app:
        said = sealed_question(app)
        assert (said.fine, said.detail) == (False, "1 files of the dataset scale.weights lie in the clear")
        assert said.remedy == "modelkeep privacy rotate"
