"""A recorded world is lived through with real rooms: it breaks, is noticed, is repaired, and all of it is told."""

import json
from contextlib import redirect_stdout
from io import StringIO

import msgspec
import pytest
from worlds import DAY, START, parquet, world

from modelkeep import NotFound, Refused
from modelkeep.edge import cli
from modelkeep.replaying.replay import Wanted, replay
from modelkeep.replaying.report import Report


def played(path, **more):
    return replay(Wanted(file=path, workload="any/load", **more), tell=lambda _: None, moved=lambda *_: None)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What the command tells in JSON of the world that turns on its 20th day of 44."""
    file = parquet(world(days=44, breaks=20), tmp_path_factory.mktemp("world") / "world.parquet")
    with redirect_stdout(StringIO()) as said:
        assert cli.main(["replay", str(file), "--workload", "any/load", "--step", "1d", "--json"]) == 0
    return said.getvalue()


@pytest.fixture(scope="module")
def broken(told):
    """The same, read again."""
    return msgspec.json.decode(told, type=Report)


def test_the_break_is_noticed_and_repaired_with_the_test_shown(broken):
    turned = START + 20 * DAY
    pages = [one for one in broken.happenings if one.page]
    assert pages
    assert all(one.detected > turned for one in pages)
    assert pages[0].detected < turned + 10 * DAY
    repairs = [d for one in broken.happenings for d in one.decisions if d.kind == "retrain"]
    assert repairs
    assert repairs[0].test is not None
    assert repairs[0].test.challenger < repairs[0].test.champion
    assert repairs[0].test.n >= 30
    assert repairs[0].after < 0.6 * repairs[0].test.champion
    assert broken.champion > 1


def test_everybody_is_scored_over_the_same_rows(broken):
    scores = broken.scores
    assert scores.kept < scores.frozen
    assert {"persistence", "ewma"} <= set(scores.baselines)
    assert scores.n == pytest.approx(broken.predictions, rel=0.05)
    assert sum(month.n for month in broken.months) >= scores.n
    assert broken.days == pytest.approx(33.5, abs=1.0)


@pytest.mark.prove
def test_before_the_break_nobody_is_woken(tmp_path):
    report = played(parquet(world(breaks=99), tmp_path / "calm.parquet"), step=DAY / 2)
    assert report.pages == 0
    assert report.versions == 1
    assert report.scores.kept == report.scores.frozen
    assert not any("left alone" in text for text in report.below_baseline)


def test_an_unknown_injection_is_refused(tmp_path):
    with pytest.raises(NotFound, match="wrong_coin"):
        played(parquet(world(days=10), tmp_path / "w.parquet"), inject="wrong_coin")


def test_too_little_told_before_the_start_is_refused(tmp_path):
    with pytest.raises(Refused, match="outcomes were told before"):
        played(parquet(world(days=10), tmp_path / "w.parquet"), train_until=START + DAY / 4)


def test_the_command_answers_in_json_and_in_words(told, tmp_path, capsys):
    plain = json.loads(told)
    assert plain["model"] == "load"
    assert plain["scores"]["n"] > 100
    file = parquet(world(days=14, breaks=99), tmp_path / "w.parquet")
    assert cli.main(["replay", str(file), "--workload", "any/load", "--step", "2d"]) == 0
    said = capsys.readouterr().out
    assert "mean error over the same" in said
    assert "pages: 0" in said
    assert cli.main(["replay", str(tmp_path / "none.parquet")]) == 1


@pytest.mark.prove
def test_below_baseline_is_said_in_these_words(tmp_path):
    table = world(days=24, breaks=99)
    level = {f"shop {i}": 10.0 * i for i in range(25)}
    table["label"] = [level[shop] for shop in table["entity"]]  # every shop always sells the same: persistence is right
    table["temperature"] = [float(i % 7) + i / 1e4 for i in range(len(table["label"]))]
    report = played(parquet(table, tmp_path / "w.parquet"), step=DAY)
    assert any("below baseline" in text for text in report.below_baseline)
    assert "persistence" in report.offers
