"""Old predictions move to Parquet files, and nobody who asks notices."""

from pathlib import Path
from typing import Any

import pytest
from making import HOUR, folded, prediction, told, told_by_key

from modelkeep.store.archive.upkeep import Archive
from modelkeep.store.sqlite import SqliteStore

DAY = 86400.0


@pytest.fixture
def archive(store: SqliteStore) -> Archive:
    return Archive(store)


def sealed(archive: Archive, model: str = "demand", before: float = 1e9) -> int:
    count = 0
    while some := archive.seal(model, before=before, at=2e6):
        count += some
    return count


def asked(store: SqliteStore) -> dict[str, Any]:
    """Everything that the shelf of records tells."""
    with store.read() as ledger:
        records = ledger.records
        return {
            "prediction": [records.prediction(f"7-{n}") for n in range(12)],
            "outcomes": [records.outcomes(f"7-{n}") for n in range(12)],
            "predictions": records.predictions("demand"),
            "after": records.predictions("demand", after=3, limit=4),
            "latest": records.latest("demand", limit=4),
            "of a key": records.latest("demand", key="entity 1"),
            "place": records.place("demand"),
            "matches": records.matches("demand"),
            "matches after": records.matches("demand", after=2, since=2000.0, limit=3),
            "sums": records.sums("demand", start=0, end=1e9),
            "partial": records.sums("demand", start=500, end=5001.0),
            "key": records.sums("demand", start=0, end=1e9, key="entity 1"),
            "shadow": records.sums("demand", start=0, end=1e9, role="shadow"),
            "version": records.sums("demand", start=100, end=1e9, version=2),
            "labelled": records.labelled("demand", start=0, end=1e9, limit=3),
            "counts": records.counts("demand"),
            "lag": records.lag("demand"),
            "first": records.first_targets("demand", ["entity 1", "entity 2", "nobody"]),
            "unknown": records.unknown([prediction(2), prediction(99)]),
        }


def fill(store: SqliteStore) -> None:
    with store.write() as ledger:
        ledger.records.add(
            [
                prediction(
                    1, interval=(0.5, 1.5), score=0.75, subject="anna", request="r1", references=(1.0, None, 2.5)
                ),
                prediction(2, output=None, error="boom", stand_in=0),
                prediction(3, features={"naïve": "ü", "big": 2**60, "tiny": 5e-324, "off": False, "no": None}),
                prediction(4, of="7-1", version=2, role="shadow", references=("on_time", "late")),
                *(prediction(n, subject="bert" if n % 2 else None) for n in range(5, 10)),
            ],
            [folded(9)],
        )
        ledger.records.tell([told(1, 5.5), told(3, 7, source="meter"), told(5, 1), told(3, 8, at=2e6)], {})
        ledger.records.tell([told_by_key("entity 0", target=6000.0, value=3.25), told(7, None)], {"demand": 10.0})


@pytest.mark.row("LOG-08")
def test_whoever_asks_does_not_notice(store: SqliteStore, archive: Archive) -> None:
    fill(store)
    before = asked(store)
    assert sealed(archive, before=6500.0) == 6
    assert asked(store) == before
    assert sealed(archive) == 3
    with store._reader.begin() as connection:
        for table in ("predictions", "matches", "outcomes"):
            assert connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() == 0
    assert asked(store) == before
    assert archive.merge("demand", at=3e6) == 2
    assert asked(store) == before
    assert [len(list(Path(archive.cold.folder).glob("*/*")))] == [3]
    assert archive.tidy(at=3e6 + 1000) > 0
    assert len(archive.cold.all()) == 1
    assert asked(store) == before


@pytest.mark.row("LOG-08", "LOG-03")
def test_a_late_outcome_and_a_correction_meet_an_archived_prediction(store: SqliteStore, archive: Archive) -> None:
    fill(store)
    sealed(archive)
    with store.write() as ledger:
        states = [t.state for t in ledger.records.tell([told(6, 4.0), told(1, 6.5, at=3e6), told(5, 1, at=4e6)], {})]
    assert states == ["corrected", "corrected", "repeated"]
    with store.read() as ledger:
        assert ledger.records.sums("demand", start=0, end=1e9)["model"].n == 4
        assert [o.value for o in ledger.records.outcomes("7-1")] == [5.5, 6.5]
    now = asked(store)
    assert sealed(archive) == 4  # with the shadow
    assert asked(store) == now
    archive.merge("demand", at=5e6)
    assert asked(store) == now


@pytest.mark.row("LOG-01")
def test_an_archived_group_that_is_sent_again_is_known(store: SqliteStore, archive: Archive) -> None:
    fill(store)
    now = asked(store)
    sealed(archive)
    with store.write() as ledger:
        ledger.records.add([prediction(n) for n in range(5, 10)], [folded(5)])
    assert asked(store) == now


def test_a_person_is_found_and_erased(store: SqliteStore, archive: Archive) -> None:
    fill(store)
    sealed(archive)
    with store.write() as ledger:
        ledger.records.tell([told(9, 1.0)], {})  # back in the database, and struck out in the file
    assert [p.id for p, _ in archive.find("bert")] == ["7-5", "7-7"]
    erased = archive.erase("bert", at=3e6)
    assert (erased.predictions, erased.labelled, erased.files) == (2, 1, 1)
    assert archive.find("bert") == []
    assert [p.id for p, outcomes in archive.find("anna") if outcomes] == ["7-1"]
    for path in Path(archive.cold.folder).rglob("*"):
        assert not path.is_file() or b"bert" not in path.read_bytes()
    with store.read() as ledger:
        assert ledger.records.prediction("7-5") is None
        assert ledger.records.prediction("7-9") is not None
        assert ledger.records.counts("demand")[:2] == (7, 5)


def test_old_features_and_old_records_go(store: SqliteStore, archive: Archive) -> None:
    fill(store)
    sealed(archive, before=6500.0)
    archive.merge("demand", at=3e6)
    sums = asked(store)["sums"]
    assert archive.bare("demand", before=9999.0, at=3e6) == 1
    with store.read() as ledger:
        bare = ledger.records.prediction("7-1")
        assert (bare.features, bare.output, bare.subject) == ({}, 1.0, "anna")
    assert archive.drop("demand", before=3500.0, at=3e6) == 3
    assert archive.drop("demand", before=8500.0, at=3e6) == 5
    with store.read() as ledger:
        assert [p.id for _, p in ledger.records.predictions("demand")] == ["7-9"]
        assert ledger.records.counts("demand")[0] == 1
        assert ledger.records.sums("demand", start=0, end=3 * HOUR)["model"] == sums["model"]


def test_nothing_is_opened_without_an_archive(store: SqliteStore, path: Path) -> None:
    import subprocess
    import sys

    fill(store)
    asked(store)
    assert not (path.parent / "archive").exists()
    program = (
        "import sys; from pathlib import Path; from modelkeep.store.sqlite import SqliteStore;"
        f"store = SqliteStore(Path({str(path)!r}));\n"
        "with store.read() as ledger: ledger.records.matches('demand'), ledger.records.prediction('7-99')\n"
        "sys.exit('duckdb' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_day_with_many_rows_has_a_file_of_its_own(store: SqliteStore) -> None:
    archive = Archive(store, large=5)
    at = [0.1 * DAY] * 6 + [1.5 * DAY, 2.5 * DAY, 40 * DAY] + [41 * DAY] * 5
    with store.write() as ledger:
        ledger.records.add([prediction(n, at=a) for n, a in enumerate(at, start=1)], [])
    sealed(archive)
    archive.merge("demand", at=1e7)
    with store.read() as ledger:
        found = [(p.period, p.rows) for p in ledger.archive.partitions()]
        assert len(ledger.records.predictions("demand")) == 14
    assert found == [("1970-01-01", 6), ("1970-02-11", 5), ("1970-01", 2), ("1970-02", 1)]


@pytest.mark.row("LOG-08")
def test_the_archive_is_the_same_on_postgresql(database: str, tmp_path: Path) -> None:
    from modelkeep.store.archive.cold import Cold
    from modelkeep.store.postgresql import PostgresStore

    store = PostgresStore(database, cold=Cold(tmp_path / "archive"))
    archive = Archive(store)
    fill(store)  # type: ignore[arg-type]
    before = asked(store)  # type: ignore[arg-type]
    assert sealed(archive) == 9
    assert asked(store) == before  # type: ignore[arg-type]
    archive.merge("demand", at=3e6)
    with store.write("predictions") as ledger:
        ledger.records.add([prediction(n) for n in range(5, 10)], [folded(5)])
        ledger.records.add([prediction(30, of="7-1", role="shadow", version=2)], [folded(1, role="shadow", version=2)])
    with store.write("records") as ledger:
        assert [t.state for t in ledger.records.tell([told(6, 4.0), told(1, 6.5, at=3e6)], {})] == ["corrected"] * 2
    with store.read() as ledger:
        assert ledger.records.counts("demand")[:2] == (10, 6)
        assert ledger.records.sums("demand", start=0, end=1e9)["model"].n == 4
    now = asked(store)  # type: ignore[arg-type]
    sealed(archive)
    assert asked(store) == now  # type: ignore[arg-type]
    store.close()
