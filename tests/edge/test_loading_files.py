"""``predictions load`` and ``outcomes load``: a stranger's files, with and without a server."""

import csv
import json

import duckdb
import pytest
from served_house import served

from modelkeep.edge import cli

NOW = 1_700_000_000.0
ROWS = 2100
"""More than go over at once."""


@pytest.fixture
def table(tmp_path):
    """Quotes of a service elsewhere, as its own tables call things, and what was paid in the end."""
    quotes = tmp_path / "quotes.csv"
    with quotes.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["quote_id", "customer", "asked_at", "rooms", "plan", "quoted"])
        rows.writerows(
            [f"q{n}", 100 + n % 7, 1_700_000_000 + 3600 * n, n % 5, "gold" if n % 2 else "basic", 10.0 * n]
            for n in range(ROWS)
        )
    paid = tmp_path / "paid.csv"
    with paid.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["quote", "price"])
        rows.writerows([f"q{n}", 10.0 * n + 2] for n in range(0, ROWS, 2))
    return tmp_path


def inside(capsys, *words, folder):
    code = cli.main([*words, "-C", str(folder)])
    said = capsys.readouterr()
    return code, said.out, said.err


MAPPED = ("--map", "id=quote_id", "--map", "key=customer", "--map", "at=asked_at", "--map", "prediction=quoted")


@pytest.mark.parametrize("server", [True, False])
def test_a_file_becomes_records_and_truths_and_may_be_loaded_again(table, tmp_path, capsys, server):
    folder = tmp_path / "data"
    words = ["predictions", "load", str(table / "quotes.csv"), "--model", "quote", *MAPPED, "--json"]
    truths = ["outcomes", "load", str(table / "paid.csv"), "--model", "quote", "--map", "prediction_id=quote"]
    truths += ["--map", "actual=price", "--json"]

    def play():
        code, out, err = inside(capsys, *words, "--declare", "--dry-run", folder=folder)
        assert code == 0, err
        assert [field["name"] for field in json.loads(out)["signature"]["inputs"]] == ["rooms", "plan"]
        code, out, err = inside(capsys, *words, "--declare", folder=folder)
        assert code == 0, err
        assert (json.loads(out)["kept"], json.loads(out)["repeated"]) == (ROWS, 0)
        code, out, _ = inside(capsys, *words, "--skip", str(ROWS - 100), folder=folder)
        assert (json.loads(out)["kept"], json.loads(out)["repeated"]) == (0, 100)
        code, out, err = inside(capsys, *truths, "--dry-run", folder=folder)
        assert code == 0, err
        assert json.loads(out)["counts"] == {"joined": ROWS // 2}
        code, out, err = inside(capsys, *truths, folder=folder)
        assert json.loads(out)["counts"] == {"joined": ROWS // 2}
        code, out, _ = inside(capsys, *truths, folder=folder)
        assert json.loads(out)["counts"] == {"repeated": ROWS // 2}
        code, out, err = inside(
            capsys, "accuracy", "quote", "--start", "2023-11-01", "--end", "2024-12-01", "--json", folder=folder
        )
        assert code == 0, err
        assert (json.loads(out)["have"], json.loads(out)["metrics"]["mae"]) == (ROWS // 2, 2.0)
        code, out, _ = inside(capsys, "predictions", "show", "q17", "--model", "quote", "--json", folder=folder)
        assert (json.loads(out)["features"], json.loads(out)["key"]) == ({"rooms": 2, "plan": "gold"}, "103")

    if server:
        with served(folder):
            play()
    else:
        assert cli.main(["init", str(folder)]) == 0
        capsys.readouterr()
        play()


def test_a_dry_run_says_why_outcomes_meet_no_prediction(tmp_path, capsys):
    folder = tmp_path / "data"
    with served(folder) as house:
        house.post(
            "/v1/models/demand/external", {"signature": {"inputs": [], "output": {"name": "y", "kind": "number"}}}
        )
        records = [
            {"model": "demand", "id": f"r{n}", "prediction": 5.0, "key": "shop", "at": NOW, "for": NOW + 86400 * n}
            for n in range(3)
        ]
        records += [{"model": "demand", "id": "twin", "prediction": 6.0, "key": "shop", "at": NOW, "for": NOW}]
        assert house.client.post("/v1/predictions", json=records).json()["kept"] == 4
        house.rooms.recorder.flush()
        file = tmp_path / "sold.ndjson"
        told = [
            {"shop": "shop", "day": NOW + 86400, "sold": 7.0},
            {"shop": "shop", "day": NOW, "sold": 7.0},
            {"shop": "shop", "day": NOW + 86400 * 2 + 1800, "sold": 7.0},
            {"shop": "kiosk", "day": NOW, "sold": 7.0},
            {"shop": "shop", "day": NOW + 86400, "sold": "many"},
        ]
        file.write_text("".join(json.dumps(one) + "\n" for one in told) + "not json\n")
        words = ["outcomes", "load", str(file), "--model", "demand", "--map", "key=shop", "--map", "for=day"]
        words += ["--map", "actual=sold", "--json"]
        code, out, err = inside(capsys, *words, "--dry-run", folder=folder)
        found = json.loads(out)
        assert code == 1
        assert "2 of 6 rows were refused" in err
        assert found["counts"] == {"joined": 2, "orphan": 2}
        assert (found["refused"], found["ambiguous"]) == (2, 1)
        assert found["reasons"] == {"nearest prediction too far off": 1, "no prediction of this key": 1}
        said = {problem["line"]: problem["message"] for problem in found["problems"]}
        assert "off by 30m" in said[3]
        assert "never asked about 'kiosk'" in said[4]
        assert "finite number" in said[5]
        assert "no JSON" in said[6]
        assert house.get("/v1/models/demand").json()["summary"]["outcomes"] == 0, "a dry run keeps nothing"
        code, out, _ = inside(capsys, *words, "--tolerance", "1h", "--dry-run", folder=folder)
        assert json.loads(out)["counts"] == {"joined": 3, "orphan": 1}
        inside(capsys, *words, "--tolerance", "1h", folder=folder)
        assert house.get("/v1/models/demand").json()["summary"]["outcomes"] == 4


def test_parquet_is_read_with_its_moments_and_classes(tmp_path, capsys):
    folder, file = tmp_path / "data", tmp_path / "left.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            "COPY (SELECT 'c' || range AS id, TIMESTAMPTZ '2026-01-01 00:00:00+00' + INTERVAL (range) HOUR AS at, "
            "range % 2 = 0 AS will_leave, range::DOUBLE AS age, "
            "CASE WHEN range % 10 = 0 THEN NULL ELSE 'gold' END AS plan "
            f"FROM range(40)) TO '{file}'"
        )
    with served(folder) as house:
        words = ["predictions", "load", str(file), "--model", "leave", "--map", "prediction=will_leave", "--json"]
        code, out, err = inside(capsys, *words, "--declare", folder=folder)
        assert code == 0, err
        assert json.loads(out)["kept"] == 40
        house.rooms.recorder.flush()
        (shown, *_) = house.get("/v1/models/leave/predictions", limit=1).json()["predictions"]
        assert (shown["at"], shown["prediction"]) == ("2026-01-02T15:00:00Z", False)
        assert shown["features"] == {"age": 39.0, "plan": "gold"}
        refused = house.post("/v1/outcomes", {"model": "leave", "prediction_id": "c1", "actual": "maybe"})
        assert refused.status_code == 422
        assert refused.json()["error"]["problems"][0] == {
            "field": "actual", "expected": "true, false or null", "got": "'maybe'", "row": None
        }  # fmt: skip


def test_what_is_mapped_wrongly_is_told_with_the_names_that_there_are(table, tmp_path, capsys):
    folder = tmp_path / "data"
    with served(folder) as house:
        load = ["predictions", "load", str(table / "quotes.csv"), "--model", "quote"]
        code, _, err = inside(capsys, *load, folder=folder)
        assert (code, "no model 'quote'" in err) == (1, True)
        code, _, err = inside(capsys, *load, "--declare", folder=folder)
        assert code == 1
        assert "--map prediction=COLUMN, one of: quote_id, customer" in err
        house.post(
            "/v1/models/quote/external", {"signature": {"inputs": [], "output": {"name": "y", "kind": "number"}}}
        )
        code, _, err = inside(capsys, *load, "--map", "predicton=quoted", folder=folder)
        assert "did you mean 'prediction'?" in err
        code, _, err = inside(capsys, *load, "--map", "prediction=offer", folder=folder)
        assert "has no column 'offer'" in err
        code, _, err = inside(capsys, "predictions", "load", "none.xlsx", "--model", "quote", folder=folder)
        assert (code, ".csv, .parquet" in err) == (1, True)
        code, _, err = inside(capsys, "outcomes", "load", str(table / "paid.csv"), folder=folder)
        assert (code, "--model NAME" in err) == (2, True)


def test_arrow_files_are_read_piece_by_piece(tmp_path):
    arrow = pytest.importorskip("pyarrow", reason="pyarrow, of the extra `arrow`, is not installed")
    from pyarrow import ipc

    from modelkeep.runtimes.streams import columns, pieces

    table = arrow.table({"id": [f"a{n}" for n in range(5000)], "quoted": [0.5 * n for n in range(5000)]})
    file = tmp_path / "quotes.arrow"
    with arrow.OSFile(str(file), "wb") as sink, ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    assert columns(file) == ["id", "quoted"]
    found = list(pieces(file, size=1000, skip=1500))
    assert [len(piece.rows) for piece in found] == [1000, 1000, 1000, 500]
    assert found[-1].rows[-1] == (5000, {"id": "a4999", "quoted": 2499.5})
    assert found[-1].done == 1.0
