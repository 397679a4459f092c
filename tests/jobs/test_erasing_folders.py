"""Servers with data folders of their own on one store: each takes a person out of its own, and one receipt tells."""

import time
from pathlib import Path

import msgspec
import pytest
from migrated import ready

from modelkeep import settings
from modelkeep.app import App
from modelkeep.jobs import folders
from modelkeep.nouns import EXTERNAL, Field, Prediction, Signature, Version
from modelkeep.operations.erasing import (
    CheckReceipt,
    ErasePerson,
    OneErasure,
    erase_person,
    show_erasure,
    verify_receipt,
)

PERSON = "person-of-two-folders-9"


def opened(base: Path, name: str) -> App:
    """A server's folder; the database and what servers share lie beside."""
    flags = {"shared": str(base / "shared"), "store.path": str(base / "store.db")}
    ready(base / "store.db")
    return App.open(settings.load(folder=base / name, environ={}, flags=flags))


@pytest.fixture
def base(tmp_path):
    for name in ("a", "b"):
        app = opened(tmp_path, name)
        app.start()
        (tmp_path / name / "logs").mkdir(exist_ok=True)
        (tmp_path / name / "logs" / "old.log").write_text(f"asked about {PERSON}\n")
        app.stop()
    with opened(tmp_path, "a") as app:
        signature = Signature(inputs=(Field(name="x", kind="number"),), output=Field(name="y", kind="number"))
        with app.rooms.store.write() as ledger:
            ledger.versions.add(
                Version(model="m", number=1, artifact="", size=0, runtime=EXTERNAL, signature=signature, created=1.0)
            )
        record(app)
    return tmp_path


def record(app):
    ids = app.rooms.recorder.new_ids(2)
    some = [
        Prediction(
            id=one, model="m", version=1, role="champion", features={"x": 1.0}, output=1.0, at=1e9, target=1e9,
            seconds=0.1, key="k", subject=PERSON,
        )
        for one in ids
    ]  # fmt: skip
    app.rooms.recorder.take(some)
    app.rooms.recorder.flush()


def holding(base):
    return [str(p.relative_to(base)) for p in base.rglob("*") if p.is_file() and PERSON.encode() in p.read_bytes()]


def wait(app, id_, until):
    end = time.monotonic() + 30
    while not until(found := show_erasure(app, OneErasure(id=id_))):
        assert time.monotonic() < end, found
        time.sleep(0.05)  # other threads work
    return found


@pytest.mark.row("PRV-06")
def test_running_servers_all_do_their_part_before_the_receipt_is_signed(base):
    a, b = opened(base, "a"), opened(base, "b")
    a.start()
    b.start()
    try:
        gone = erase_person(a, ErasePerson(subject=PERSON))
        gone = wait(a, gone.id, lambda found: found.state == "done")
        assert (gone.unreached, gone.remains, gone.counts["predictions"]) == ((), {}, 2)
        assert gone.counts["logs"] == 2
        said = msgspec.json.decode(bytes(gone.receipt.statement))
        assert sorted(said["folders"]) == sorted(folders.own(app.rooms) for app in (a, b))
    finally:
        b.stop()
        a.stop()
    assert holding(base) == []


@pytest.mark.row("PRV-06")
def test_a_folder_whose_server_does_not_run_is_told_and_does_its_part_later(base):
    with opened(base, "a") as a:
        gone = erase_person(a, ErasePerson(subject=PERSON))
        there = gone.unreached
        assert gone.state == "done"
        assert [name.rpartition("/")[2] for name in there] == ["b"]
        assert holding(base) == ["b/logs/old.log"], "the order that waits does not show the name"
    b = opened(base, "b")
    b.start()
    try:
        done = wait(b, gone.id, lambda found: not found.unreached)
        with b.rooms.store.read() as ledger:
            assert ledger.persons.keys.names(folders.ORDER) == []
            assert ledger.acts.verify() is None
        genuine = verify_receipt(b, CheckReceipt(receipt=msgspec.json.encode(done.receipt)))
    finally:
        b.stop()
    assert genuine.genuine
    assert done.counts["logs"] == 2
    assert holding(base) == []
