"""Telemetry files: rows taken or named, sessions, overlaps, gaps."""

import time

import duckdb
import pytest
from drills import DAY, as_csv, hundred_sessions, rows_of, shared

from modelkeep import BadInput
from modelkeep.workloads.drilling import ingesting, keeping, sessions, simulator, telemetry, telemetry_acts, watching
from modelkeep.workloads.drilling.limits import Limits


@pytest.mark.row("WK1-01")
def test_a_simulated_file_of_3900_rows_is_taken_in_within_5_s_with_bad_rows_named(app):
    rows = rows_of(simulator.telemetry_csv())
    rows[10]["seq"] = "many"
    rows[11]["timestamp"] = "yesterday"
    rows[12]["current_amp"] = "ERR"
    rows[13]["battery_level"] = ""
    began = time.perf_counter()
    said = telemetry_acts.ingest(app, telemetry_acts.Ingest(file=as_csv(rows)))
    assert time.perf_counter() - began < 5
    assert said.read == len(rows) >= 3900
    assert (said.rows, said.bad, said.defect_count) == (len(rows) - 2, 2, 3)
    assert [(d.line, d.reason) for d in said.defects] == [
        (12, "seq is 'many', not a number"),
        (13, "timestamp is 'yesterday', not a time"),
        (14, "current_amp is 'ERR', not a number"),
    ]
    kept = keeping.rows(app.rooms).read(where={"device_id": rows[12]["device_id"]}, columns=("seq", "current_amp"))
    assert kept["current_amp"][kept["seq"].index(int(rows[12]["seq"]))] is None


def test_sessions_of_the_guides_file_are_told_apart_where_they_overlap(app):
    file = shared("drilling", "raw_drilling_sessions_SIMULATED.csv").read_bytes()
    said = telemetry_acts.ingest(app, telemetry_acts.Ingest(file=file))
    assert (said.rows, said.bad, said.sessions) == (3900, 0, 100)
    assert [(pair.device_id, pair.two_places) for pair in said.overlaps] == [("9f8c2a7d", True)] * 2
    found = telemetry_acts.list_sessions(app, telemetry_acts.Span())
    assert len(found.sessions) == 100
    assert {session.duration_min for session in found.sessions} <= {9.5, 10, 19.5, 20.0, 29.5, 30.0}
    assert telemetry_acts.insights(app, telemetry_acts.Span(device_id="9f8c2a7d")).total_sessions == 43
    assert telemetry_acts.devices(app, telemetry_acts.Nothing()).total == 3
    assert telemetry_acts.service_health(app, telemetry_acts.Nothing()).records == 3900


def test_a_file_sent_twice_counts_once_and_parquet_is_the_same_as_csv(app, tmp_path):
    csv = simulator.telemetry_csv(devices=1, days=2)
    (tmp_path / "a.csv").write_bytes(csv)
    path = tmp_path / "a.parquet"
    duckdb.execute(f"COPY (SELECT * FROM read_csv('{tmp_path / 'a.csv'}')) TO '{path}'")
    first = telemetry_acts.ingest(app, telemetry_acts.Ingest(file=csv))
    again = telemetry_acts.ingest(app, telemetry_acts.Ingest(file=path.read_bytes()))
    assert again.known == again.rows == first.rows
    assert keeping.rows(app.rooms).size == first.rows


def test_a_file_without_the_columns_is_refused_with_what_it_lacks():
    with pytest.raises(BadInput, match="'device_id', 'seq'"):
        telemetry.parse(b"timestamp,amps\n2025-07-01,3\n")


def test_lost_rows_and_pauses_are_found():
    rows = hundred_sessions()[0]
    parsed = telemetry.parse(as_csv(rows[:5] + rows[8:]))
    said = ingesting.examine(parsed, name="x", limits=Limits())
    assert [(gap.device_id, gap.lost) for gap in said.gaps] == [("d1", 3)]
    assert said.sessions == 2


def test_gps_noise_of_a_drill_at_rest_is_no_way():
    rows = simulator.device("d", start=simulator.START, days=1, seed=3)
    of = sessions.track({name: [row[name] for row in rows] for name in telemetry.NAMES}, "d")
    from modelkeep.workloads.drilling import features

    found = features.extract(of, sessions.sessions(of, Limits()), limits=Limits())
    assert found.total_km < 5


@pytest.mark.row("QUA-01")
def test_six_corrupt_sessions_of_a_hundred_turn_extraction_red_with_six_reasons(app):
    some = hundred_sessions()
    for session in some[:3]:
        for row in session:
            row["current_amp"] = "ERR"
    for session in some[10:40:10]:
        for row in session:
            row["timestamp"] = "?"
    telemetry_acts.ingest(app, telemetry_acts.Ingest(file=as_csv([row for session in some for row in session])))
    reading = next(r for r in watching.probe(app.rooms) if r.name == "drilling_extraction")
    assert reading.value == pytest.approx(0.94)
    assert reading.level == "critical"
    assert len([name for name in reading.facts if name.startswith("reason")]) == 6


@pytest.mark.row("QUA-02")
def test_blanked_cells_turn_completeness_red_with_the_worst_columns(app):
    rows = [row for session in hundred_sessions() for row in session]
    for i, row in enumerate(rows):
        if i % 100 < 30:
            row["gps_lat"] = ""
        if i % 100 < 6:
            row["battery_level"] = "n/a"
    telemetry_acts.ingest(app, telemetry_acts.Ingest(file=as_csv(rows)))
    reading = next(r for r in watching.probe(app.rooms) if r.name == "drilling_missing")
    assert reading.value == pytest.approx(0.36 / 7)
    assert (reading.level, list(reading.facts)) == ("critical", ["gps_lat", "battery_level"])


@pytest.mark.row("QUA-05")
@pytest.mark.parametrize(("failures", "alerts"), [(10, 0), (11, 1)])
def test_eleven_failures_in_an_hour_are_one_alert_and_ten_none(app, clock, failures, alerts):
    for session in hundred_sessions()[:failures]:
        for row in session:
            row["current_amp"] = ""
        telemetry_acts.ingest(app, telemetry_acts.Ingest(file=as_csv(session)))
        clock.advance(300)
    readings = list(watching.probe(app.rooms))
    with app.rooms.store.write() as ledger:
        ledger.readings.add(readings)
        opened = app.rooms.book.evaluate(ledger, readings)
    assert [alert.rule for alert in opened].count("drilling_failures") == alerts


@pytest.mark.row("PER-12")
def test_a_hundred_sessions_are_processed_in_5_s_and_the_log_says_so(app):
    data = as_csv([row for session in hundred_sessions() for row in session])
    began = time.perf_counter()
    telemetry_acts.ingest(app, telemetry_acts.Ingest(file=data))
    list(watching.probe(app.rooms))
    assert time.perf_counter() - began < 5
    log = (app.rooms.folder / "logs" / "ml" / "processing.log").read_text()
    assert " feature_engineering device=d1 processing_time=0." in log
    assert "sessions=100" in log


def test_days_are_in_the_simulated_file():
    assert len({row["timestamp"][:10] for row in rows_of(simulator.telemetry_csv(devices=1))}) == 30
    assert DAY == simulator.DAY
