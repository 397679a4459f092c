"""Datasets: what is appended is there, once, whatever ends in the middle and whoever else appends."""

import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelkeep import BadArtifact, BadInput, Conflict, Datasets, Field
from modelkeep.store import datasets as module
from modelkeep.store import loaded

COLUMNS = (
    Field(name="device", kind="text"),
    Field(name="amps", kind="number", unit="A", low=0, high=10, nullable=True),
    Field(name="cycles", kind="integer", nullable=True),
    Field(name="on", kind="boolean", nullable=True),
    Field(name="mode", kind="category", nullable=True),
)
CHILD = Path(__file__).with_name("appending_child.py")


def opened(folder, *, key=("device", "at"), columns=COLUMNS):
    return Datasets(folder / "datasets").open("drill.telemetry", columns=columns, time="at", key=key)


@pytest.fixture
def data(tmp_path):
    return opened(tmp_path)


def files(folder):
    return sorted((folder / "datasets" / "drill.telemetry").glob("*.parquet"))


# ------------------------------------------------------------------------------------------------ the contract


def test_nothing_is_there_and_nothing_is_imported_before_the_first_append(tmp_path):
    code = (
        "import sys; from pathlib import Path; from modelkeep import Datasets, Field;"
        f"d = Datasets(Path({str(tmp_path)!r})).open('d', columns=[Field(name='x', kind='number')], time='at');"
        "assert d.size == 0 and d.revision == 0 and d.read() == {'at': [], 'x': []};"
        "assert d.latest(by=('x',)) == {'at': [], 'x': []} and d.sql('select * from data') == [];"
        "assert d.erase(before=1.0) == 0 and d.append({'at': [], 'x': []}).rows == 0;"
        "assert 'duckdb' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert list(tmp_path.iterdir()) == []


def test_what_is_appended_is_read_by_time_with_its_types(data, tmp_path):
    told = data.append(
        {
            "at": [60, "1970-01-01T00:00:30Z", 0.0],
            "device": ["b", "a", "a"],
            "amps": [1, float("nan"), 2.5],
            "cycles": [None, 2**62, -1],
            "on": [True, None, False],
        }
    )
    assert (told.rows, told.known) == (3, 0)
    assert data.read() == {
        "at": [0.0, 30.0, 60.0],
        "device": ["a", "a", "b"],
        "amps": [2.5, None, 1.0],
        "cycles": [-1, 2**62, None],
        "on": [False, None, True],
        "mode": [None, None, None],
    }
    assert data.size == 3
    assert data.read(start=30, end=60, columns=("device",)) == {"device": ["a"]}
    assert data.read(where={"device": ("a", "c"), "amps": None}, columns=("at",)) == {"at": [30.0]}
    assert data.read(where={"device": ()}, columns=("at",)) == {"at": []}
    assert data.latest(by=("device",), columns=("device", "at")) == {"device": ["a", "b"], "at": [30.0, 60.0]}
    assert data.sql('SELECT device, count(*) FROM data WHERE "at" >= ? GROUP BY 1 ORDER BY 1', [10.0]) == [
        ("a", 1),
        ("b", 1),
    ]
    assert opened(tmp_path).read() == data.read()  # another process sees the same
    assert files(tmp_path)[0].stat().st_mode & 0o777 == 0o640


def test_the_same_key_again_takes_the_place_of_the_row_before_it(data):
    data.append({"at": [1.0, 2.0], "device": ["a", "a"], "amps": [1.0, 2.0]})
    told = data.append({"at": [2.0, 3.0, 3.0], "device": ["a", "a", "a"], "amps": [20.0, 3.0, 30.0]})
    assert (told.rows, told.known) == (3, 2)
    assert data.read(columns=("at", "amps")) == {"at": [1.0, 2.0, 3.0], "amps": [1.0, 20.0, 30.0]}


def test_without_a_key_every_row_stays(tmp_path):
    data = opened(tmp_path, key=())
    for _ in range(2):
        assert data.append({"at": [1.0, 1.0], "device": ["a", "a"]}).known == 0
    assert data.size == 4


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"at": [1.0], "device": [None]}, "device: expected text, got None"),
        ({"at": [1.0, 2.0], "device": ["a", 7]}, "row 1: device: expected text, got 7"),
        ({"at": [1.0], "device": ["a"], "amps": ["3"]}, "amps: expected number or null, got '3'"),
        ({"at": [1.0], "device": ["a"], "amps": [True]}, "amps: expected number or null, got True"),
        ({"at": [1.0], "device": ["a"], "amps": [float("inf")]}, "got inf"),
        ({"at": [1.0], "device": ["a"], "cycles": [2**63]}, "cycles: expected integer"),
        ({"at": [1.0], "device": ["a"], "cycles": [1.0]}, "cycles: expected integer"),
        ({"at": [None], "device": ["a"]}, "at: expected a moment"),
        ({"at": ["yesterday"], "device": ["a"]}, "at: expected an ISO-8601 time"),
        ({"at": [1.0]}, "device: expected a column: text, got nothing"),
        ({"at": [1.0], "device": ["a"], "volts": [1.0]}, "volts: expected one of the columns at, device"),
        ({"at": [1.0, 2.0], "device": ["a"]}, "columns of different lengths: at 2, device 1"),
    ],
)
def test_what_does_not_fit_is_refused_with_column_and_row(data, columns, said):
    with pytest.raises(BadInput) as refusal:
        data.append(columns)
    assert said in str(refusal.value)
    assert data.size == 0


def test_a_range_is_not_the_datasets_business(data):
    data.append({"at": [1.0], "device": ["a"], "amps": [99.0]})
    assert data.read(columns=("amps",)) == {"amps": [99.0]}


def test_a_query_cannot_change_anything_and_says_what_is_wrong(data):
    data.append({"at": [1.0], "device": ["a"]})
    for query in ("DELETE FROM data", "SELECT nothing FROM data", "SELEC"):
        with pytest.raises(BadInput, match="the query cannot be answered"):
            data.sql(query)
    with pytest.raises(BadInput, match="column: expected one of"):
        data.read(where={"volts": 1.0})
    assert data.size == 1


def test_columns_may_come_later_and_are_unknown_before(tmp_path):
    opened(tmp_path).append({"at": [1.0], "device": ["a"]})
    wider = opened(tmp_path, columns=(*COLUMNS, Field(name="volts", kind="number", nullable=True)))
    assert wider.read(columns=("volts",)) == {"volts": [None]}
    wider.append({"at": [2.0], "device": ["a"], "volts": [12.0]})
    assert wider.read(columns=("volts",)) == {"volts": [None, 12.0]}
    older = opened(tmp_path, columns=COLUMNS[:1])  # code from before, or that needs less
    older.append({"at": [3.0], "device": ["a"]})
    assert wider.read(columns=("volts",)) == {"volts": [None, 12.0, None]}
    for columns, key, said in [
        ((Field(name="device", kind="number"),), ("device", "at"), "column device holds text, not number"),
        (COLUMNS, ("device",), "is kept by at and"),
        ((*COLUMNS, Field(name="late", kind="number")), ("device", "at"), "late must be nullable"),
    ]:
        with pytest.raises(Conflict, match=said):
            opened(tmp_path, columns=columns, key=key)


# ------------------------------------------------------------------------------------------ newest wins, always


ROWS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.none() | st.integers(-9, 9)), max_size=6)
STEPS = st.lists(st.tuples(st.sampled_from(["append", "other", "erase", "merge"]), ROWS), max_size=14)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, small=st.booleans())
def test_after_any_steps_of_two_processes_both_see_the_newest_row_of_each_key(tmp_path_factory, steps, small):
    """A model of the dataset: a dictionary. ``small`` decides whether rows are held in memory or read from files."""
    folder = tmp_path_factory.mktemp("steps")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loaded, "SMALL", 8 * 1024**2 if small else 0)
        patch.setattr(module, "MANY", 3)
        mine, other = opened(folder), opened(folder)
        model = {}
        for act, rows in steps:
            if act == "erase":
                assert mine.erase(before=2.0) == sum(at < 2 for _, at in model)
                model = {key: value for key, value in model.items() if key[1] >= 2}
                continue
            if act == "merge":
                mine._tidy()
                continue
            writer = mine if act == "append" else other
            known = sum((f"d{d}", float(at)) in model for d, at, _ in rows)
            fresh = {(f"d{d}", float(at)): None if c is None else float(c) for d, at, c in rows}
            again = len(rows) - len(fresh) + sum(key in model for key in fresh)
            told = writer.append(
                {
                    "device": [f"d{d}" for d, _, _ in rows],
                    "at": [at for _, at, _ in rows],
                    "amps": [c for *_, c in rows],
                }
            )
            assert told.rows == len(rows)
            assert told.known == again >= known - len(rows)
            model |= fresh
        for each in (mine, other, opened(folder)):
            found = each.read()
            assert dict(zip(zip(found["device"], found["at"], strict=True), found["amps"], strict=True)) == model
            assert found["at"] == sorted(found["at"])
            assert each.size == len(model)


def test_many_segments_are_merged_and_nothing_is_lost(tmp_path):
    data = opened(tmp_path)
    for i in range(150):
        data.append({"at": [float(i), float(i // 2)], "device": ["a", "b"], "amps": [float(i), float(i)]})
        assert len(files(tmp_path)) <= module.MANY + 1
    assert data.size == 150 + 75
    assert data.read(where={"device": "b"}, columns=("amps",))["amps"] == [2.0 * i + 1 for i in range(75)]
    assert data.revision == 150


def test_threads_and_processes_append_at_once(tmp_path):
    child = subprocess.Popen([sys.executable, str(CHILD), str(tmp_path), "child", "40"])
    data = opened(tmp_path)

    def append(name):
        for i in range(40):
            data.append({"at": [float(i)], "device": [name], "cycles": [i]})

    threads = [threading.Thread(target=append, args=(f"t{n}",)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert child.wait(60) == 0
    assert data.size == 160
    assert sorted(set(data.read()["device"])) == ["child", "t0", "t1", "t2"]


@pytest.mark.parametrize("after", [0.0, 0.02, 0.05, 0.1, 0.2])
def test_a_process_that_is_killed_while_it_appends_leaves_whole_rows_only(tmp_path, after):
    """Each append is of 50 rows with one number; what was acknowledged is there, and nothing is there by half."""
    command = [sys.executable, str(CHILD), str(tmp_path), "killed", "100000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline()  # the first append is acknowledged
        time.sleep(after)
        child.send_signal(signal.SIGKILL)
        acknowledged = [int(line) for line in child.stdout.read().splitlines()]
    data = opened(tmp_path)
    found = data.sql("SELECT cycles, count(*) FROM data GROUP BY 1")
    assert {n for _, n in found} == {50}
    assert set(acknowledged[:-1]) <= {cycle for cycle, _ in found}
    data.append({"at": [0.0], "device": ["after"]})  # and it goes on
    assert data.read(where={"device": "after"}, columns=("at",)) == {"at": [0.0]}


def test_datasets_that_were_closed_go_on_when_they_are_used_again(tmp_path):
    datasets = Datasets(tmp_path / "datasets")
    data = datasets.open("d", columns=COLUMNS, time="at", key=("device", "at"))
    assert datasets.open("d", columns=COLUMNS, time="at", key=("device", "at")) is data
    data.append({"at": [1.0], "device": ["a"]})
    assert data.latest(by=("device",), columns=("at",)) == {"at": [1.0]}
    datasets.close()
    data.append({"at": [2.0], "device": ["a"]})
    assert data.latest(by=("device",), columns=("at",)) == {"at": [2.0]}
    assert data.size == 2


# ------------------------------------------------------------------------------------------------ bad files


def test_a_torn_a_foreign_and_a_missing_file_are_named(tmp_path):
    data = opened(tmp_path)
    for i in range(3):
        data.append({"at": [float(i)], "device": ["a"]})
    first, second, _ = files(tmp_path)
    whole = second.read_bytes()
    second.write_bytes(whole[:-20])
    with pytest.raises(BadArtifact, match=second.name):
        opened(tmp_path).read()
    second.write_bytes(whole)
    assert opened(tmp_path).size == 3
    stranger = second.with_name("mine.parquet")
    stranger.write_bytes(whole)
    with pytest.raises(BadArtifact, match=r"mine\.parquet"):
        opened(tmp_path).read()
    stranger.unlink()
    first.unlink()
    with pytest.raises(BadArtifact, match="lacks segment 00000001"):
        opened(tmp_path).append({"at": [9.0], "device": ["a"]})


def test_a_declaration_that_is_torn_is_named(tmp_path):
    opened(tmp_path).append({"at": [1.0], "device": ["a"]})
    (tmp_path / "datasets" / "drill.telemetry" / "dataset.json").write_text("{")
    with pytest.raises(BadArtifact, match=r"dataset\.json"):
        opened(tmp_path)


@pytest.mark.parametrize("name", ["", "Upper", "../up", "a/b", "." * 3])
def test_a_name_that_is_no_name_is_refused(tmp_path, name):
    with pytest.raises(BadInput, match="dataset: expected"):
        Datasets(tmp_path).open(name, columns=COLUMNS, time="at")


# ------------------------------------------------------------------------------------------------ erasing


def test_what_is_erased_is_in_no_file_any_more(tmp_path):
    data = opened(tmp_path)
    data.append({"at": [1.0, 2.0], "device": ["secret-person", "b"], "amps": [1.0, None]})
    data.append({"at": [3.0], "device": ["secret-person"]})
    other, before = opened(tmp_path), data.revision
    assert other.size == 3
    assert data.erase(where={"device": "secret-person"}) == 2
    assert data.read()["device"] == other.read()["device"] == ["b"]
    assert data.revision > before
    assert not any(b"secret-person" in path.read_bytes() for path in files(tmp_path))
    assert data.erase(where={"device": "secret-person"}) == 0
    assert data.erase(before=100.0) == 1
    assert data.size == other.size == 0
    data.append({"at": [5.0], "device": ["c"]})
    assert other.read(columns=("device",)) == {"device": ["c"]}
    with pytest.raises(BadInput, match="say what is to go"):
        data.erase()


# ------------------------------------------------------------------------------------------------ speed


def test_four_thousand_rows_are_read_again_in_five_milliseconds(tmp_path):
    data, draw = opened(tmp_path), random.Random(1)
    n = 4000
    data.append({"at": [float(i) for i in range(n)], "device": ["a"] * n, "amps": [draw.random() for _ in range(n)]})
    other = opened(tmp_path)
    other.append({"at": [0.5], "device": ["a"]})
    assert len(data.read()["at"]) == n + 1
    took = []
    for _ in range(7):
        began = time.perf_counter()
        found = data.read()
        took.append(time.perf_counter() - began)
    assert len(found["at"]) == n + 1
    assert min(took) < 0.005, took
    found["at"].clear()  # what was given is the caller's own
    assert len(data.read()["at"]) == n + 1
