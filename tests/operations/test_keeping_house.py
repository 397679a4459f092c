"""Archiving, vacuum, purges, backups, checks, questions and exports, as their acts."""

import csv
import json
import os
import tarfile
import threading
import time
from pathlib import Path

import pytest
from migrated import ready
from msgspec import structs

from modelkeep import settings
from modelkeep.app import App
from modelkeep.clock import ManualClock
from modelkeep.edge.cli import main
from modelkeep.errors import BadArtifact, BadInput, Conflict
from modelkeep.jobs import saving
from modelkeep.jobs.registering import Registration, register
from modelkeep.nouns import Field, Outcome, Policy, Prediction, Reading, Retention, Rollout, Signature
from modelkeep.operations import archiving, checking, maintenance, measuring, named, questions
from modelkeep.operations import saving as acts
from modelkeep.store.archive.snapshot import Span, taken

DAY = 86400.0
NOW = 1_790_000_000.0
OLD = NOW - 120 * DAY


@pytest.fixture
def clock():
    return ManualClock(NOW)


@pytest.fixture
def app(tmp_path, clock):
    signature = Signature(inputs=(Field(name="x", kind="number"),), output=Field(name="y", kind="number"))
    ready(tmp_path / "data" / "modelkeep.db")
    with App.open(settings.load(folder=tmp_path / "data", environ={}), clock=clock) as found:
        file = tmp_path / "m.py"
        file.write_text("def predict(row):\n    return row['x']\n")
        register(found.rooms, Registration(model="demand", path=file, trust=True, signature=signature))
        with found.rooms.store.write() as ledger:
            ledger.rollouts.put(Rollout(model="demand", champion=1), None)
        yield found


def record(app, count, *, start=OLD, step=3600.0, first=1, **fields):
    made = [
        Prediction(
            id=f"5-{first + n}", model="demand", version=1, role="champion", features={"x": float(n)},
            output=float(n), at=start + n * step, target=start + n * step, seconds=0.001, key=f"shop {n % 3}", **fields,
        )
        for n in range(count)
    ]  # fmt: skip
    with app.rooms.store.write() as ledger:
        ledger.records.add(made, [])
    return made


def tell(app, made, off=2.0):
    with app.rooms.store.write() as ledger:
        ledger.records.tell([Outcome(value=p.output + off, at=NOW, prediction=p.id) for p in made], {})


@pytest.mark.row("LOG-08")
def test_old_predictions_are_archived_and_accuracy_stays(app):
    made = record(app, 50)
    tell(app, made)
    recent = record(app, 10, start=NOW - DAY, first=100)
    month = measuring.ReadAccuracy(model="demand", start=OLD, end=OLD + 30 * DAY)
    partial = measuring.ReadAccuracy(model="demand", start=OLD + 1800.0, end=OLD + 12.5 * 3600.0, key="shop 1")
    before = measuring.accuracy(app, month), measuring.accuracy(app, structs.replace(partial, key=""))

    plan = archiving.archive_predictions(app, archiving.ArchivePredictions(older_than="90d", dry_run=True))
    assert (plan.state, plan.models[0].waiting, plan.models[0].archived) == ("dry_run", 50, 0)
    done = archiving.archive_predictions(app, archiving.ArchivePredictions(older_than="90d"))
    assert (done.state, done.models[0].archived, done.files) == ("done", 50, 1)

    with app.rooms.store._reader.begin() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM predictions").scalar() == len(recent)
    listed = archiving.list_archive(app, archiving.ListArchive(model="demand"))
    assert (listed.rows, listed.files[0].labelled) == (50, 50)
    path = app.rooms.store.cold.path(listed.files[0].sha256)
    assert path.read_bytes()[:4] == b"PAR1"
    assert (measuring.accuracy(app, month), measuring.accuracy(app, structs.replace(partial, key=""))) == before
    assert before[0].metrics["mae"] == pytest.approx(2.0)

    tell(app, made[:1], off=102.0)  # a correction, long after
    assert measuring.accuracy(app, month).metrics["mae"] == pytest.approx(2.0 + 100.0 / 50)
    with app.rooms.store.read() as ledger:
        assert [o.value for o in ledger.records.outcomes("5-1")] == [2.0, 102.0]


@pytest.mark.row("LOG-08")
def test_the_archive_keeps_to_each_models_policy(app):
    made = record(app, 30, start=NOW - 400 * DAY, step=10 * DAY)
    tell(app, made)
    keep = Retention(hot=30 * DAY, features=100 * DAY, predictions=300 * DAY)
    with app.rooms.store.write() as ledger:
        ledger.versions.add_policy(Policy(model="demand", number=2, retention=keep))
    done = archiving.archive_predictions(app, archiving.ArchivePredictions())
    assert (done.models[0].archived, done.models[0].dropped) == (30, 10)
    with app.rooms.store.read() as ledger:
        left = [p for _, p in ledger.records.predictions("demand")]
        assert ledger.records.counts("demand")[:2] == (20, 20)
    assert min(p.at for p in left) >= NOW - 300 * DAY
    assert [p for p in left if p.at >= NOW - 90 * DAY and not p.features] == []
    assert [p for p in left if p.at < NOW - 150 * DAY and p.features] == []
    whole = measuring.ReadAccuracy(model="demand", start=NOW - 500 * DAY, end=NOW)
    assert measuring.accuracy(app, whole).sample_size == 30  # the hours stay


@pytest.mark.row("LOG-09", "MNT-15")
def test_vacuum_prints_bytes_and_the_server_answers_throughout(app):
    record(app, 6_000, step=60.0)
    archiving.archive_predictions(app, archiving.ArchivePredictions(older_than="90d"))
    app.start()
    waits, stop = [], threading.Event()

    def ask():
        while not stop.is_set():
            began = time.perf_counter()
            app.predict("demand", [{"x": 1.0}])
            with app.rooms.store.write() as ledger:
                ledger.readings.add([Reading(name="r", subject="s", value=1.0, level="ok", at=NOW)])
            waits.append(time.perf_counter() - began)

    asking = threading.Thread(target=ask)
    asking.start()
    done = maintenance.vacuum(app, maintenance.Vacuum())
    stop.set()
    asking.join()
    assert done.state == "done"
    assert done.bytes_after < done.bytes_before / 2
    assert "before" in done.text
    assert "freed" in done.text
    assert waits
    assert max(waits) < 2.0
    with app.rooms.store.read() as ledger:
        job = ledger.jobs.get(done.job)
    assert b'"before"' in bytes(job.result)
    assert b'"seconds"' in bytes(job.result)


@pytest.mark.row("MNT-15")
def test_vacuum_works_on_postgresql(database):
    from modelkeep.store.postgresql import PostgresStore

    store = PostgresStore(database)
    done = store.vacuum()
    assert done.before > 0
    assert done.after > 0
    store.close()


@pytest.mark.row("MNT-04")
def test_readings_of_eight_days_go_and_of_six_stay(app):
    def reading(days, value, name="mae"):
        return Reading(name=name, subject="demand@1", value=value, level="ok", at=NOW - days * DAY)

    record(app, 10, start=NOW - 8 * DAY)
    with app.rooms.store.write() as ledger:
        ledger.readings.add(
            [reading(8, 1.0), reading(8, 3.0), reading(6, 5.0), reading(0, 7.0), reading(9, 2.0, "old")]
        )
        profiles = ledger.records.counts("demand")
    plan = maintenance.purge_history(app, maintenance.PurgeHistory(dry_run=True))
    assert (plan.state, plan.readings) == ("dry_run", 2)
    done = maintenance.purge_history(app, maintenance.PurgeHistory())
    assert (done.state, done.readings) == ("done", 2)
    with app.rooms.store.read() as ledger:
        kept = ledger.readings.series("mae", "demand@1", start=0, end=NOW + 1)
        days = ledger.readings.days("mae", "demand@1", start=0, end=NOW)
        assert ledger.readings.newest(name="old")
        assert ledger.records.counts("demand") == profiles
    assert [r.value for r in kept] == [5.0, 7.0]
    assert [(d.n, d.low, d.high, d.mean) for d in days] == [(2, 1.0, 3.0, 2.0)]
    assert app.schedules["purge_history"].when == "10 3 * * *"


@pytest.mark.row("MNT-09")
def test_old_log_files_go_and_the_open_one_stays(app):
    logs = app.rooms.folder / "logs"
    logs.mkdir(exist_ok=True)
    for name, days in (("modelkeep.log", 40), ("modelkeep.log.1", 31), ("modelkeep.log.2", 29)):
        (logs / name).write_bytes(b"x" * 1000)
        os.utime(logs / name, (NOW - days * DAY, NOW - days * DAY))
    plan = maintenance.purge_logs(app, maintenance.PurgeLogs(dry_run=True))
    assert (plan.files, len(list(logs.iterdir()))) == (("modelkeep.log.1",), 3)
    done = maintenance.purge_logs(app, maintenance.PurgeLogs())
    assert (done.files, done.bytes_freed) == (("modelkeep.log.1",), 1000)
    assert "1.0 kB freed" in done.text
    assert sorted(path.name for path in logs.iterdir()) == ["modelkeep.log", "modelkeep.log.2"]
    done = maintenance.purge_logs(app, maintenance.PurgeLogs(older_than="7d"))
    assert sorted(path.name for path in logs.iterdir()) == ["modelkeep.log"]
    with pytest.raises(BadInput):
        maintenance.purge_logs(app, maintenance.PurgeLogs(older_than="0s"))


@pytest.mark.row("MNT-11")
def test_a_backup_restores_into_an_empty_folder(app, tmp_path, capsys):
    made = record(app, 40)
    tell(app, made)
    archiving.archive_predictions(app, archiving.ArchivePredictions(older_than="90d"))
    record(app, 5, start=NOW, first=200)
    rows = app.rooms.datasets.open("shop.orders", columns=(Field(name="n", kind="number"),), time="at")
    rows.append({"at": [1.0, 2.0], "n": [3.0, 4.0]})
    (app.rooms.folder / "modelkeep.toml").write_text("[keeping]\nbackups = 3\n")
    app.start()
    done = acts.save(app, acts.Save())
    assert Path(done.path).name == "daily_backup_20260921.tar"
    assert app.schedules["save"].when == "0 3 * * *"
    assert [b.whole for b in acts.list_saved(app, acts.ListSaved()).backups] == [True]
    record(app, 5, start=NOW, first=300)  # after the backup

    other = tmp_path / "other"
    began = time.perf_counter()
    assert main(["restore", done.path, "--verify", "-C", str(other), "--json"]) == 0
    assert time.perf_counter() - began < 60
    said = json.loads(capsys.readouterr().out)
    assert said["verified"] is True
    assert said["rows"]["predictions"] == 5
    assert settings.load(folder=other, environ={}).keeping.backups == 3, "the configuration comes back"
    with App.open(settings.load(folder=other, environ={}), clock=ManualClock(NOW)) as again:
        with again.rooms.store.read() as ledger:
            assert ledger.records.counts("demand")[:2] == (45, 40)
            assert ledger.records.prediction("5-7") == made[6]
            assert ledger.acts.verify() is None
        back = again.rooms.datasets.open("shop.orders", columns=(Field(name="n", kind="number"),), time="at")
        assert back.read()["n"] == [3.0, 4.0]
        assert checking.check_all(again, checking.CheckAll()).text == "all fits together"
    assert main(["restore", done.path, "-C", str(other)]) == 1  # it is not empty


@pytest.mark.row("MNT-11")
def test_a_damaged_backup_is_refused(app, tmp_path, capsys):
    record(app, 5)
    path = Path(acts.save(app, acts.Save()).path)
    whole = path.read_bytes()
    with tarfile.open(path) as tar:
        place = tar.getmember("database/modelkeep.db").offset_data + 5000
    path.write_bytes(whole[:place] + b"XXXX" + whole[place + 4 :])
    assert main(["restore", str(path), "-C", str(tmp_path / "other")]) == 1
    assert "has changed in the backup" in capsys.readouterr().err
    assert not (tmp_path / "other" / "modelkeep.db").exists()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadArtifact):
        saving.contents(path)
    assert [b.whole for b in acts.list_saved(app, acts.ListSaved()).backups] == [False]


@pytest.mark.row("MNT-11")
def test_a_backup_restores_into_another_postgresql_database(postgres, database):
    from modelkeep.store.postgresql import PostgresStore

    store, target = PostgresStore(database), PostgresStore(postgres.database())
    made = [
        Prediction(
            id=f"5-{n}", model="demand", version=1, role="champion", features={"x": 1.0}, output=1.0,
            at=NOW - n * 40 * DAY, target=NOW, seconds=0.1, key="a",
        )
        for n in range(5)
    ]  # fmt: skip
    with store.write() as ledger:
        ledger.records.add(made, [])
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        counted = store.copy(Path(folder))
        assert counted["predictions"] == 5
        assert target.fill(Path(folder)) == counted
        with target.read() as ledger:
            assert [p for _, p in ledger.records.predictions("demand")] == made
        with target.write() as ledger:  # numbers go on where they were
            ledger.records.add([structs.replace(made[0], id="6-1")], [])
        with pytest.raises(Conflict):
            target.fill(Path(folder))
    store.close()
    target.close()


def test_check_finds_and_mends(app):
    made = record(app, 20)
    tell(app, made)
    archiving.archive_predictions(app, archiving.ArchivePredictions(older_than="90d"))
    made = record(app, 20, start=NOW - DAY, step=600.0, first=100)
    tell(app, made)
    assert checking.check_all(app, checking.CheckAll()).text == "all fits together"
    acts.save(app, acts.Save())

    with app.rooms.store.read() as ledger:
        version, partition = ledger.versions.get("demand", 1), ledger.archive.partitions()[0]
    app.rooms.files.remove(version.artifact)
    app.rooms.store.cold.path(partition.digest).write_bytes(b"PAR1")
    loose = app.rooms.store.cold.folder / "ab" / ("ab" + "0" * 62)
    loose.parent.mkdir(exist_ok=True)
    loose.write_bytes(b"left by a killed process")
    with app.rooms.store._writer.begin() as connection:
        connection.exec_driver_sql("UPDATE tallies SET predictions = 7")
        connection.exec_driver_sql("DELETE FROM error_sums WHERE hour = (SELECT max(hour) FROM error_sums)")
    with app.rooms.store.write() as ledger:
        ledger.rollouts.put(Rollout(model="demand", champion=1, fallback=9), ledger.rollouts.get("demand"))
    found = checking.check_all(app, checking.CheckAll(quick=True))
    assert {f.kind for f in found.findings} == {"rollout", "file", "archive", "orphan", "unknown"}
    assert named("check").finding(found)

    mended = checking.check_all(app, checking.CheckAll(repair=True))
    assert {f.kind: f.mended for f in mended.findings} == {
        "rollout": False, "file": True, "archive": True, "orphan": True, "count": True, "sums": True,
    }  # fmt: skip
    again = checking.check_all(app, checking.CheckAll())
    assert [f.kind for f in again.findings] == ["rollout"]
    with app.rooms.store.read() as ledger:
        assert ledger.records.counts("demand")[:2] == (40, 40)
        assert ledger.records.sums("demand", start=0, end=NOW)["model"].n == 40


def test_questions_in_sql_see_the_archive_and_nothing_else(app, tmp_path, capsys):
    made = record(app, 20)
    tell(app, made)
    archiving.archive_predictions(app, archiving.ArchivePredictions(older_than="90d"))
    tell(app, made[:1], off=5.0)
    record(app, 10, start=NOW - DAY, first=100)
    query = "SELECT archived, count(*), count(truth), sum(off_by) FROM predictions GROUP BY 1 ORDER BY 1"
    assert questions.ask(app, questions.Ask(query=query)).rows == [[False, 11, 1, 5.0], [True, 19, 19, 38.0]]
    one = questions.ask(app, questions.Ask(query="SELECT features->>'x', asked FROM predictions WHERE id = '5-3'"))
    assert one.rows[0][0] == "2.0"
    assert one.rows[0][1].endswith("Z")
    assert questions.ask(app, questions.Ask(query="SELECT count(*) FROM outcomes")).rows == [[21]]
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    for wrong in (
        f"SELECT * FROM read_text('{secret}')",
        "SELECT 1; SELECT 2",
        f"COPY predictions TO '{tmp_path / 'x.csv'}'",
        "ATTACH 'x.db'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "DELETE FROM predictions",
        "CREATE TABLE x AS SELECT 1",
        "SELECT * FROM nowhere",
    ):
        with pytest.raises(BadInput):
            questions.ask(app, questions.Ask(query=wrong))
    assert not (tmp_path / "x.csv").exists()
    with (
        pytest.raises(BadInput, match="narrow it"),
        taken(app.rooms.store, span=Span(), tables=["predictions"], most=5),
    ):
        pass
    common = ["-C", str(app.rooms.folder)]
    app.rooms.store.close()
    assert (
        main(["sql", "SELECT key, count(*) AS n FROM predictions GROUP BY 1 ORDER BY 1", "--format", "csv", *common])
        == 0
    )
    assert next(csv.reader(capsys.readouterr().out.splitlines())) == ["key", "n"]


@pytest.mark.parametrize("form", ["parquet", "csv", "ndjson", "arrow"])
def test_records_are_exported_whole(app, tmp_path, form):
    if form == "arrow":
        pytest.importorskip("pyarrow")
    made = record(app, 20)
    tell(app, made)
    archiving.archive_predictions(app, archiving.ArchivePredictions(older_than="90d"))
    record(app, 10, start=NOW - DAY, first=100)
    target = tmp_path / f"x.{form}"
    said = []
    request = questions.Export(model="demand", form=form, key="shop 1")
    done = questions.export(app.rooms.store, request, target=target, say=said.append)
    assert (done.rows, done.bytes) == (10, target.stat().st_size)
    if form == "csv":
        rows = list(csv.DictReader(target.read_text().splitlines()))
        assert (rows[0]["id"], rows[0]["truth"], rows[0]["asked"][-1]) == ("5-2", "3.0", "Z")
    elif form == "ndjson":
        rows = [json.loads(line) for line in target.read_text().splitlines()]
        assert (rows[0]["features"], rows[0]["off_by"]) == ({"x": 1.0}, 2.0)
    elif form == "parquet":
        import duckdb

        rows = duckdb.sql(f"SELECT id FROM '{target}'").fetchall()
    else:
        import pyarrow as pa

        rows = pa.ipc.open_file(str(target)).read_all().to_pylist()
    assert len(rows) == 10
    with pytest.raises(BadInput):
        questions.export(app.rooms.store, request, target=target, say=said.append)
    bounded = structs.replace(request, key=None, from_=OLD + 3600.0, to=OLD + 5 * 3600.0)
    assert questions.export(app.rooms.store, bounded, target=tmp_path / "y", say=said.append).rows == 4
