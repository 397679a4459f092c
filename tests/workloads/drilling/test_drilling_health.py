"""Features, scores, cache and confidence."""

import json
import math
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from drills import DAY, as_csv, columns_of, hundred_sessions, shared
from msgspec.structs import replace

from modelkeep import BadSettings, Refused
from modelkeep.workloads.drilling import (
    features,
    health_acts,
    scoring,
    sessions,
    simulator,
    telemetry,
    telemetry_acts,
    watching,
)
from modelkeep.workloads.drilling.limits import Limits, from_environment

LIMITS = Limits()


def extracted(columns, device="d1"):
    of = sessions.track(columns, device)
    return features.extract(of, sessions.sessions(of, LIMITS), limits=LIMITS)


def taken(app, data):
    telemetry_acts.ingest(app, telemetry_acts.Ingest(file=data))


@pytest.mark.row("WK1-03")
def test_features_of_device_001_equal_an_independent_computation():
    rows = simulator.device("device_001", start=simulator.START, days=4, seed=1000, fails=simulator.START + 5 * DAY)
    found = extracted(columns_of(rows), "device_001")
    amps = [row["current_amp"] for row in rows]
    parts = {"standby": [], "spin": [], "drill": []}
    for amp in amps:
        name = "drill" if amp > 4.5 else "spin" if amp > 2.0 else "standby" if amp > 0.5 else None
        if name:
            parts[name].append(amp)
    steady = {n: max(0, 100 - 100 * statistics.pstdev(v) / statistics.mean(v)) for n, v in parts.items()}
    runs, run = [], [rows[0]]
    for row in rows[1:]:
        if row["timestamp"] - run[-1]["timestamp"] > 30:
            runs.append(run)
            run = []
        run.append(row)
    runs.append(run)
    levels = [[row["battery_level"] for row in one] for one in runs]
    worth = [max(0, statistics.mean(v) - 2 * (max(v) - min(v))) * len(v) for v in levels]
    assert found.factors.current_stability == pytest.approx(
        sum(steady[n] * len(v) for n, v in parts.items()) / sum(len(v) for v in parts.values())
    )
    assert found.factors.battery_performance == pytest.approx(sum(worth) / len(rows))
    assert found.factors.gps_reliability == pytest.approx(
        100 * sum(row["gps_lat"] is not None for row in rows) / len(rows)
    )
    assert (found.current_mean, found.current_std) == pytest.approx((statistics.mean(amps), statistics.pstdev(amps)))
    assert found.drilling_hours == pytest.approx(len(parts["drill"]) * 30 / 3600)
    assert found.sessions == len(runs)
    assert found.session_minutes_mean == pytest.approx(
        statistics.mean((one[-1]["timestamp"] - one[0]["timestamp"]) / 60 for one in runs)
    )
    assert found.tagged_share == pytest.approx(sum(any(row["ble_id"] for row in one) for one in runs) / len(runs))
    assert found.data_quality == pytest.approx(1 - 0.4 * found.missing_gps_share - 0.2 * found.missing_ble_share)
    slope = np.polyfit([row["timestamp"] / 3600 - rows[0]["timestamp"] / 3600 for row in rows], amps, 1)[0]
    assert found.current_trend == pytest.approx(slope, rel=1e-6)
    assert all(0 <= factor <= 100 for hour in found.hours for factor in (hour.factors.gps_reliability,))
    assert len(found.hours) == len({row["timestamp"] // 3600 for row in rows})


@pytest.mark.row("WK1-05")
def test_factors_sum_to_the_score_and_a_device_without_data_is_null_with_a_reason(app):
    taken(app, simulator.telemetry_csv(devices=2, days=30))
    said = health_acts.health_scores(app, health_acts.ListScores(device_ids="device_001,device_002,ghost"))
    for score in said.health_scores[:2]:
        assert sum(part.contribution for part in score.factors) == pytest.approx(score.health_score)
        assert [part.importance for part in score.factors] == pytest.approx([0.4, 0.4, 0.2])
        assert 0 < score.confidence <= 1
        assert score.confidence_interval[0] <= score.health_score <= score.confidence_interval[1]
    ghost = said.health_scores[2]
    assert (ghost.health_score, ghost.confidence) == (None, 0.0)
    assert ghost.reason == "no telemetry of this device was ever read"
    assert said.average_health_score == pytest.approx(statistics.mean(s.health_score for s in said.health_scores[:2]))


def test_a_session_of_unreadable_current_is_no_score():
    rows = hundred_sessions()[0]
    for row in rows:
        row["current_amp"] = ""
    parsed = telemetry.parse(as_csv(rows))
    found = extracted(parsed.columns)
    assert found.factors.current_stability is None
    assert scoring.score(found, LIMITS).health is None
    assert "current" in scoring.score(found, LIMITS).reason


@pytest.mark.row("WK1-06")
def test_debug_adds_raw_features_timings_and_cache_hits_of_one_device(app):
    taken(app, simulator.telemetry_csv(devices=2, days=3))
    asked = health_acts.ListScores(device_id="device_001", include_debug=True)
    first, second = (health_acts.health_scores(app, asked).health_scores for _ in range(2))
    assert [score.device_id for score in first] == ["device_001"]
    assert first[0].debug.raw_features.rows > 0
    assert (first[0].debug.cache_hit, second[0].debug.cache_hit, second[0].debug.cache_hits) == (False, True, 1)
    assert first[0].debug.processing_time > 0


@pytest.mark.row("WK1-04")
def test_the_feature_cache_is_readable_json_and_honours_its_lifetime(app, clock):
    taken(app, simulator.telemetry_csv(devices=1, days=3))
    asked = health_acts.ListScores(include_debug=True)
    health_acts.health_scores(app, asked)
    path = app.rooms.folder / "ml" / "cache"
    files = list(path.glob("*.json"))
    kept = [json.loads(file.read_text()) for file in files]
    assert [one["features"]["device_id"] for one in kept] == ["device_001"]
    assert health_acts.health_scores(app, asked).health_scores[0].debug.cache_hit
    clock.advance(3601)
    assert not health_acts.health_scores(app, asked).health_scores[0].debug.cache_hit
    taken(app, as_csv(hundred_sessions()[0]))
    hits = {s.device_id: s.debug.cache_hit for s in health_acts.health_scores(app, asked).health_scores}
    assert hits == {"d1": False, "device_001": True}


@pytest.mark.row("QUA-06")
def test_29_days_of_history_take_from_confidence_and_say_so(app):
    for device, days in (("short", 29), ("long", 31)):
        rows = simulator.device(device, start=simulator.START, days=days, seed=1)
        rows[-1]["timestamp"] = rows[0]["timestamp"] + days * DAY + 60
        found = scoring.score(extracted(columns_of(rows), device), LIMITS)
        if days < 30:
            short = found
    assert short.reason == "history 29/30 days"
    assert found.reason == ""
    assert short.confidence < found.confidence


def test_the_guides_file_is_not_ill_only_because_it_works(app):
    taken(app, shared("drilling", "raw_drilling_sessions_SIMULATED.csv").read_bytes())
    said = health_acts.health_scores(app, health_acts.ListScores())
    assert {score.risk_level for score in said.health_scores} == {"low"}
    assert said.at_risk_devices == 0


@pytest.mark.row("PER-13")
def test_a_device_is_scored_in_2_s_and_6_s_raise_the_alert(app):
    taken(app, simulator.telemetry_csv(devices=1, days=30))
    began = time.perf_counter()
    health_acts.health_scores(app, health_acts.ListScores())
    assert time.perf_counter() - began < 2
    slow = next(r for r in watching.probe(app.rooms) if r.name == "drilling_scoring")
    from msgspec.structs import replace

    with app.rooms.store.write() as ledger:
        opened = app.rooms.book.evaluate(ledger, [replace(slow, value=6.0, level="warning")])
    assert [alert.rule for alert in opened] == ["drilling_scoring_slow"]


WHOLE = """
import sys
from pathlib import Path

from drills import as_csv, hundred_sessions
from modelkeep import App, ManualClock, Settings
from modelkeep.workloads.drilling import simulator, telemetry_acts, watching

clock = ManualClock(simulator.START + 30 * 86400.0)
with App.open(Settings(folder=Path(sys.argv[1]), workloads=("drilling",)), clock=clock) as app:
    telemetry_acts.ingest(app, telemetry_acts.Ingest(file=as_csv(hundred_sessions()[0])))
    print(next(r for r in watching.probe(app.rooms) if r.name == "drilling_memory").value)
"""


@pytest.mark.row("PER-15")
def test_more_than_a_gigabyte_of_memory_raises_the_alert(app, tmp_path):
    # The test's own process holds what other tests left: a process of its own tells what the workload takes.
    command = [sys.executable, "-c", WHOLE, str(tmp_path / "own")]
    ran = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    assert 10 < float(ran.stdout) < 512
    taken(app, as_csv(hundred_sessions()[0]))
    reading = next(r for r in watching.probe(app.rooms) if r.name == "drilling_memory")
    with app.rooms.store.write() as ledger:
        opened = app.rooms.book.evaluate(ledger, [replace(reading, value=1126.0, level="warning")])
    assert [alert.rule for alert in opened] == ["drilling_memory"]


def test_three_devices_without_failures_cannot_train_and_the_status_says_so(app):
    taken(app, simulator.telemetry_csv(devices=3, days=2))
    with pytest.raises(Refused, match="0 devices are known to have failed; remaining life needs 10"):
        health_acts.train_model(app, health_acts.TrainModel(force_retrain=True))
    said = health_acts.model_status(app, health_acts.Nothing())
    assert (said.is_trained, said.status, said.model_version) == (False, "not_trained", None)
    assert "needs 10" in said.reason


def test_ml_health_has_the_guides_keys(app):
    said = health_acts.ml_health(app, health_acts.Nothing())
    assert (said.status, said.ml_enabled, said.services.model_manager) == ("healthy", True, "ready")
    assert said.last_updated is None


def test_limits_come_from_the_guides_variables_and_are_refused_by_name():
    assert from_environment({"ML_ALERT_THRESHOLD": "65", "HIGH_ALERT_THRESHOLD": "45"}).high == 45
    with pytest.raises(BadSettings, match="ML_ALERT_THRESHOLD=often"):
        from_environment({"ML_ALERT_THRESHOLD": "often"})
    with pytest.raises(BadSettings, match="add up to 1"):
        from_environment({"GPS_RELIABILITY_WEIGHT": "0.5"})


def test_a_state_follows_from_current_and_missing_is_unknown():
    assert features.states(np.array([0.5, 2.0, 4.5, 4.6, math.nan]), LIMITS).tolist() == [0, 1, 2, 3, -1]
