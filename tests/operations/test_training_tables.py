"""A stranger's table becomes a version beside its baselines, or a refusal in words; and what is known of a training."""

import json
from pathlib import Path

import msgspec
import pytest
import visiting
from migrated import ready

from modelkeep.app import App
from modelkeep.edge.cli import main
from modelkeep.errors import BadInput, BelowPolicy, NotFound, Refused
from modelkeep.jobs import making
from modelkeep.jobs.making import TrainingResult
from modelkeep.jobs.trainings import trainings
from modelkeep.nouns import Lineage
from modelkeep.operations import releases
from modelkeep.operations.training import Train, found, train, train_table
from modelkeep.runtimes import load, trainer_process
from modelkeep.runtimes.training import REFUSED as REFUSED_FILE
from modelkeep.runtimes.training import Refusal
from modelkeep.settings import Settings

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """The process that trains can import the workload."""
    monkeypatch.setenv("PYTHONPATH", str(HERE))


@pytest.fixture
def app(tmp_path):
    ready(tmp_path / "data" / "modelkeep.db")
    opened = App.open(Settings(folder=tmp_path / "data", workloads=("visiting:WORKLOAD",)))
    yield opened
    opened.stop()


def made(app, name="visits", rows=600, table=None, **fields):
    table = visiting.simulate(rows, 1) if table is None else table
    wanted = Train(name=name, **fields)
    job = train_table(app, table, wanted=wanted, data_source="file")
    return msgspec.json.decode(job.result, type=TrainingResult)


def version(app, model="visits-daily", number=1):
    with app.rooms.store.read() as ledger:
        return ledger.versions.get(model, number)


def test_a_table_becomes_a_version_beside_its_baselines(app):
    result = made(app, source="shops")
    kept = version(app)
    assert (result.version, result.rows, result.groups, result.split) == (1, 594, 6, "time")
    row = result.table[0]
    assert row.metric == "mae"
    assert row.baselines["persistence"] > row.model
    assert row.verdict.startswith("better than ewma by ")  # the best of all, the automatic ones among them
    lineage = kept.lineage
    assert (lineage.rows, lineage.source, lineage.data_source, lineage.groups) == (594, "shops", "file", 6)
    assert lineage.seconds is not None
    assert lineage.code == "visiting:fit"
    assert kept.baseline.rivals["persistence"]["mae"] == row.baselines["persistence"]
    assert kept.below == ()
    loaded = load(kept, app.rooms.files.path)
    assert loaded.predict([{"shop": "s1", "last": 25.0, "rain": None}]).intervals
    assert app.explain("visits-daily", {"shop": "s1", "last": 25.0, "rain": None}, number=1).total > 10
    assert not list((app.rooms.folder / "work" / "training").iterdir())


def test_feature_code_of_the_trainer_belongs_to_the_version(app):
    made(app, "visits/coded")
    loaded = load(version(app, "visits-coded"), app.rooms.files.path)
    plain = {"shop": "s1", "rain": None}
    assert loaded.explain({**plain, "last": 9.0}).contributions[-1].value in {10.0, None}
    assert loaded.predict([{**plain, "last": 9.0}]).values[0] > 3


@pytest.mark.row("QUA-07")
def test_more_than_100_rows_are_needed(app):
    with pytest.raises(Refused, match="100 labelled rows, need more than 100"):
        made(app, rows=106)
    assert made(app, rows=107).rows == 101


REFUSED = {
    "visits/knowing": "feature 'mean' knows the future",
    "visits/busy": "the label is a formula of its inputs: a rule of last, rain reproduces it",
    "visits/random": "drawn at random from rows with moments",
    "visits/groups": "there are 6 groups; need at least 7",
    "visits/entities": "6 different entities, need at least 7",
    "visits/nan": "the metric 'mae' of ewma is nan",
}


APART = ("visits/knowing", "visits/nan")
"""Before and after the training: refused in the process of its own. That says all else in the same words."""


@pytest.mark.parametrize(("name", "said"), REFUSED.items(), ids=REFUSED)
def test_what_must_not_be_learned_from_is_refused_in_words(app, name, said):
    with pytest.raises(Refused, match=said):
        made(app, name) if name in APART else made_here(app, name)
    with app.rooms.store.read() as ledger:
        assert ledger.versions.models() == []


def made_here(app, name):
    """What the process of a training does and what is made of its refusal, without a process of its own."""
    recipe = found(app, name)
    job = making.training_job(app.rooms, recipe, table=visiting.simulate(600, 1))
    folder = making.folder_of(app.rooms, job.id)
    trainer_process.run(recipe.policy.retrain.trainer, folder)
    raise msgspec.msgpack.decode((folder / REFUSED_FILE).read_bytes(), type=Refusal).error()


def test_one_distinct_row_is_refused(app, tmp_path):
    one = {"day": ["2024-01-01"] * 300, "shop": ["a"] * 300, "visits": [1] * 300, "rain": [0.0] * 300}
    with pytest.raises(Refused, match="all 300 rows of the table are the same"):
        made(app, table=one)


def test_a_version_below_a_baseline_is_kept_and_not_released(app):
    result = made(app, "visits/beaten", release=True)
    assert result.below == version(app, "visits-beaten").below
    assert result.below[0].startswith("below baseline ewma: mae ")
    assert result.released == ""
    assert "stays a candidate" in result.detail
    assert result.table[0].verdict == "below baseline ewma"
    with pytest.raises(BelowPolicy, match="below baseline ewma"):
        releases.release(app, releases.Release(model="visits-beaten", number=1))
    forced = releases.release(app, releases.Release(model="visits-beaten", number=1, force=True, why="to compare"))
    assert forced.job


@pytest.mark.row("QUA-08")
def test_simulated_rows_make_a_version_that_is_labelled_and_not_released(app):
    job = train(app, Train(name="visits", simulate=600, seed=4, release=True))
    result = msgspec.json.decode(job.result, type=TrainingResult)
    kept = version(app)
    assert (result.data_source, kept.lineage.data_source) == ("sample", "sample")
    assert kept.lineage.source == "simulated, seed 4"
    assert kept.note == "SIMULATED"
    assert "trained on simulated data" in kept.below
    assert result.released == ""
    with pytest.raises(BelowPolicy, match="trained on simulated data"):
        releases.release(app, releases.Release(model="visits-daily", number=1))
    with app.rooms.store.read() as ledger:
        reading = trainings(ledger, "visits-daily", now=app.rooms.clock.now())[0]
    assert (reading.name, reading.level, reading.facts["data_source"]) == ("training_data", "warning", "sample")
    real = app.train("visits", visiting.simulate(700, 5), release=False)
    assert real.state == "done"
    assert version(app, number=2).lineage.data_source == "database"
    with app.rooms.store.read() as ledger:
        reading = trainings(ledger, "visits-daily", now=app.rooms.clock.now())[0]
    assert (reading.level, reading.value, reading.facts["data_source"]) == ("ok", 1.0, "database")


@pytest.mark.row("QUA-09")
def test_a_training_that_takes_ten_times_as_long_is_a_warning(app):
    def trained(number, seconds):
        base = made(app) and version(app) if number == 1 else version(app)
        kept = msgspec.structs.replace(base, number=number, lineage=Lineage(seconds=seconds))
        if number > 1:
            with app.rooms.store.write() as ledger:
                ledger.versions.add(kept)
        return reading()

    def reading():
        with app.rooms.store.read() as ledger:
            return next(r for r in trainings(ledger, "visits-daily", now=1.0) if r.name == "training_time")

    assert trained(1, None).level == "unknown"
    for number in range(2, 13):
        last = trained(number, 2.0 + number % 2)
    assert last.level == "ok"
    assert trained(13, 24.9).level == "ok"
    slow = trained(14, 25.0)
    assert (slow.level, slow.value, slow.facts["median"]) == ("warning", 25.0, 2.5)


def test_columns_are_told_with_counts_first_rows_and_near_names(app):
    table = visiting.simulate(600, 1)
    theirs = {"day": table["day"], "store": table["shop"], "visit_count": table["visits"], "owner": ["me"] * 600}
    with pytest.raises(BadInput, match=r"no column shop .category., visits .number 0\.\.1000 people.") as told:
        made(app, table=theirs)
    assert "did you mean --map visits=visit_count?" in told.value.remedy
    assert "Unused columns of the table: store, visit_count, owner" in told.value.remedy
    wrong = {**table, "visits": [-1, "many", *table["visits"][2:]]}
    with pytest.raises(BadInput) as told:
        made(app, table=wrong)
    assert str(told.value.problems[0]) == (
        "visits: expected number 0..1000 people, got 2 of 600 rows that are not: -1 in row 1, 'many' in row 2"
    )
    with pytest.raises(NotFound, match="no recipe 'visit'"):
        made(app, "visit")


def test_the_command_trains_on_a_file_and_says_what_came_of_it(tmp_path, capsys, monkeypatch):
    monkeypatch.syspath_prepend(HERE)
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "modelkeep.toml").write_text('workloads = ["visiting:WORKLOAD"]\n')
    table = visiting.simulate(900, 2)
    lines = ["day,store,visitors,rain"] + [
        ",".join(map(str, row)) for row in zip(table["day"], table["shop"], table["visits"], table["rain"], strict=True)
    ]
    (tmp_path / "shops.csv").write_text("\n".join(lines))
    words = ["-C", str(folder), "train", "visits", "--data", str(tmp_path / "shops.csv")]
    assert main([*words, "--map", "visitors=visits"]) == 1
    assert "written the other way round" in capsys.readouterr().err
    assert main([*words, "--map", "visits=visitors", "--map", "shop=store", "--release"]) == 0
    said = capsys.readouterr()
    assert [line.split(":")[0] for line in said.err.splitlines()] == [
        "read", "mapped", "prepared", "examined", "trained", "registered", "released"
    ]  # fmt: skip
    assert "better than " in said.out
    assert "893 of 900 rows" in said.out or "894 of 900 rows" in said.out
    assert "held out by time" in said.out
    assert main(["-C", str(folder), "explain", "visits-daily@1", "shop=s1", "last=10", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["total"] == pytest.approx(told["base"] + sum(part["contribution"] for part in told["contributions"]))
