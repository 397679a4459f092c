"""Predictive alerts: from scores and trends to what a person is told."""

import time

import numpy as np
import pytest
from drills import DAY, as_csv, columns_of

from modelkeep import BadInput, Conflict, NotFound
from modelkeep.workloads.drilling import (
    alert_acts,
    features,
    panel,
    playing,
    scoring,
    sessions,
    simulator,
    watching,
)
from modelkeep.workloads.drilling.limits import Limits
from modelkeep.workloads.drilling.scoring import Score

LIMITS = Limits()


def scored(device, health, *, confidence=0.9):
    return Score(device_id=device, health=health, confidence=confidence, risk="high")


def judged(app, scores):
    readings = watching.device_readings(app.rooms, scores, at=app.rooms.clock.now())
    with app.rooms.store.write() as ledger:
        ledger.readings.add(readings)
        return app.rooms.book.evaluate(ledger, readings)


@pytest.mark.row("ALR-20")
def test_scores_of_29_49_69_and_71_are_critical_high_medium_and_none(app):
    opened = judged(app, [scored(f"d{health}", health) for health in (29.0, 49.0, 69.0, 71.0)])
    assert {alert.subject: alert.severity for alert in opened} == {
        "drilling/d29.0": "critical",
        "drilling/d49.0": "high",
        "drilling/d69.0": "medium",
    }
    assert not judged(app, [scored("unsure", 20.0, confidence=0.5)])


@pytest.mark.row("ALR-22")
def test_alerts_are_listed_newest_first_in_data_up_to_a_limit(app, clock):
    for number in range(7):
        judged(app, [scored(f"d{number}", 40.0)])
        clock.advance(60)
    said = alert_acts.list_alerts(app, alert_acts.ListAlerts(limit=5))
    assert [alert.device_id for alert in said.data] == ["d6", "d5", "d4", "d3", "d2"]
    assert said.data == said.alerts
    assert alert_acts.list_alerts(app, alert_acts.ListAlerts(device_id="d1")).total_count == 1
    paged = alert_acts.list_alerts(app, alert_acts.ListAlerts(per_page=3, page=2))
    assert ([alert.device_id for alert in paged.alerts], paged.has_next) == (["d3", "d2", "d1"], True)


def test_an_alert_is_acknowledged_resolved_suppressed_and_counted(app, clock):
    judged(app, [scored("d1", 40.0), scored("d2", 20.0)])
    first, second = alert_acts.list_alerts(app, alert_acts.ListAlerts()).alerts
    taken = alert_acts.acknowledge(app, alert_acts.Take(id=first.id, acknowledged_by="ann", notes="on my way"))
    assert (taken.status, taken.acknowledged_at.timestamp()) == ("acknowledged", clock.now())
    clock.advance(7200)
    assert alert_acts.resolve(app, alert_acts.Settle(id=first.id)).status == "resolved"
    with pytest.raises(Conflict):
        alert_acts.resolve(app, alert_acts.Settle(id=first.id))
    alert_acts.suppress(app, alert_acts.Suppress(device_id=second.device_id, suppress_hours=1, reason="in the shop"))
    assert alert_acts.list_alerts(app, alert_acts.ListAlerts(status="suppressed")).total_count == 1
    said = alert_acts.statistics(app, alert_acts.Nothing())
    assert (said.active_alerts, said.total_generated, said.average_resolution_time_hours) == (1, 2, 2.0)
    assert (said.severity_breakdown, said.suppression_rules_active) == ({second.severity: 1}, 1)
    assert not judged(app, [scored(second.device_id, 45.0)])
    clock.advance(3601)
    assert alert_acts.statistics(app, alert_acts.Nothing()).suppression_rules_active == 0
    with pytest.raises(BadInput):
        alert_acts.suppress(app, alert_acts.Suppress(device_id="d1", alert_type="bad_mood"))
    with pytest.raises(NotFound):
        alert_acts.generate(app, alert_acts.Generate(device_id="ghost"))


@pytest.mark.row("WK1-07")
def test_a_falling_trend_alerts_before_the_device_fails_and_before_its_health_is_critical():
    leads, ahead = [], []
    for seed in range(3):
        fails = simulator.START + 12 * DAY
        rows = simulator.device("d", start=simulator.START, days=30, seed=seed, fails=fails)
        of = sessions.track(columns_of(rows), "d")
        first, crossed = None, fails
        for at in np.arange(simulator.START + 7 * DAY, fails, 6 * 3600.0):
            part = of.part(np.flatnonzero(of.at < at))
            found = features.extract(part, sessions.sessions(part, LIMITS), limits=LIMITS)
            score = scoring.score(found, LIMITS)
            if first is None and watching.risk(score, LIMITS).rank:
                first = at
            if score.health < LIMITS.high:
                crossed = min(crossed, at)
        assert first is not None
        assert first < crossed
        leads.append((fails - first) / 3600)
        ahead.append((crossed - first) / 3600)
    print(f"lead before the failure {leads} h, before health 50 {ahead} h")
    assert min(leads) >= 24


def test_a_healthy_drill_is_left_alone():
    rows = simulator.device("d", start=simulator.START, days=20, seed=77)
    of = sessions.track(columns_of(rows), "d")
    for at in np.arange(simulator.START + 5 * DAY, simulator.START + 20 * DAY, DAY):
        part = of.part(np.flatnonzero(of.at < at))
        score = scoring.score(features.extract(part, sessions.sessions(part, LIMITS), limits=LIMITS), LIMITS)
        assert watching.risk(score, LIMITS).rank == 0


def test_the_trend_is_in_points_per_hour():
    falling = scoring.trend([(hour * 3600.0, 90.0 - 0.5 * hour) for hour in range(40)], LIMITS)
    assert falling.rate == pytest.approx(-0.5)
    assert falling.hours == pytest.approx((90 - 0.5 * 39 - 30) / 0.5)
    assert scoring.trend([(0.0, 50.0)] * 3, LIMITS) is None


@pytest.mark.row("PER-14")
def test_alerts_of_a_thousand_devices_are_generated_in_a_second(app):
    scores = [scored(f"d{number}", 20.0 if number % 100 == 0 else 90.0) for number in range(1000)]
    began = time.perf_counter()
    opened = judged(app, scores)
    assert time.perf_counter() - began < 1
    assert len(opened) == 10


def test_the_demo_plays_hours_and_the_panel_says_that_they_are_simulated(app, clock):
    assert panel.panel(app).tables[0].rows == ()
    assert not panel.panel(app).simulated
    start = clock.now() // DAY * DAY
    for hour in range(7, 20):
        clock.advance_to(start + hour * 3600)
        playing.play(app, clock.now())
    shown = panel.panel(app)
    assert shown.simulated
    assert {table.title for table in shown.tables} >= {"Health scores", "Alerts", "Remaining-life model"}
    assert len(shown.tables[0].rows) == playing.DRILLS


@pytest.mark.prove
@pytest.mark.row("TUN-10")
def test_a_thousand_devices_run_in_2_gb(tmp_path):
    import subprocess
    import sys

    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_DATA, (2 << 30, 2 << 30))\n"
        "from pathlib import Path; from modelkeep import App, ManualClock, Settings\n"
        "from modelkeep.workloads.drilling import alert_acts, playing, simulator, telemetry_acts, watching\n"
        f"clock = ManualClock(simulator.START + 3 * 86400)\n"
        f"with App.open(Settings(folder=Path({str(tmp_path / 'd')!r}), workloads=('drilling',)), clock=clock) as app:\n"
        "    for some in range(0, 1000, 50):\n"
        "        rows = [r for n in range(some, some + 50) for r in\n"
        "                simulator.device(f'd{n:04d}', start=simulator.START, days=3, seed=n)]\n"
        "        telemetry_acts.ingest(app, telemetry_acts.Ingest(file=playing.as_csv(rows)))\n"
        "    said = alert_acts.generate(app, alert_acts.Generate())\n"
        "    print(said.devices, said.processing_time, watching.resident())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True, timeout=110)
    assert done.returncode == 0, done.stderr[-2000:]
    devices, seconds, memory = map(float, done.stdout.split())
    print(f"{devices:.0f} devices: alerts in {seconds:.2f} s, {memory:.0f} MB")
    assert devices == 1000
    assert seconds < 1
    assert memory < 2048


def test_as_csv_is_what_the_tests_write_too():
    rows = simulator.device("d", start=simulator.START, days=1, seed=1)[:2]
    assert playing.as_csv(rows).splitlines()[0] == as_csv([]).splitlines()[0]
