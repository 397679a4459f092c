"""The duties of the operations guides' classes: each is told on the workload's page, importable, a command, and done.

The tables of the pages say which function does a duty and by which command; here every one of them is run on the demo
workload, in one app, and answers the fields that the guide names (in this product's spelling: ``fileExists`` is
``file_exists``).
"""

import importlib
import json
import logging
import math
import random
import re
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from pathlib import Path
from threading import Thread

import msgspec
import pytest
from msgspec import structs

from modelkeep import App, Lineage, ManualClock, Outcome, Policy, pack_ensemble, settings
from modelkeep.alerts.channels import SlackChannel
from modelkeep.alerts.channels.to_slack import COLOURS
from modelkeep.edge import health
from modelkeep.edge.cli.tree import build
from modelkeep.errors import Conflict
from modelkeep.jobs.registering import Registration, register
from modelkeep.jobs.reports.parts import Report
from modelkeep.nouns import Rollout
from modelkeep.operations import (
    alerts,
    checking,
    complying,
    diagnosing,
    keeping,
    measuring,
    overload,
    performing,
    predictions,
    releases,
    reporting,
    saying,
    status,
)
from modelkeep.operations import jobs as jobs_
from modelkeep.operations import readings as readings_
from modelkeep.runtimes import pack_features
from modelkeep.runtimes.ensemble import read_ensemble
from modelkeep.workloads.drilling import alert_acts, health_acts, telemetry_acts
from modelkeep.workloads.drilling import features as drilling_features
from modelkeep.workloads.drilling import limits as drilling_limits
from modelkeep.workloads.drilling import scoring as drilling_scoring
from modelkeep.workloads.drilling import sessions as drilling_sessions
from modelkeep.workloads.drilling import simulator as drills
from modelkeep.workloads.weight import tier_acts, weighing_acts
from modelkeep.workloads.weight.preparing import prepare
from modelkeep.workloads.weight.simulator import simulate
from modelkeep.workloads.weight.training import train

PAGES = Path(__file__).parents[2] / "docs" / "workloads"
HEADS = {
    "weight": "## The guide's twelve duties",
    "drilling": "## The operations guide's duties",
    "restaurants": "## The guide's duties",
    "any": "## What a platform's guide asks for",
}
DAY = 86400.0
NOW = drills.START + 40 * DAY


def rows(page):
    """The duties of a page: what it is called in the guide, where it is done, by which commands."""
    text = (PAGES / f"{page}.md").read_text().partition(HEADS[page])[2].partition("\n## ")[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"(?m)^\|.*\|$", text)]
    return [tuple(line) for line in lines[2:]]


EVERY = [(page, *row) for page in HEADS for row in rows(page)]


# -------------------------------------------------------------------------------------------- what is told


@pytest.mark.parametrize(("page", "duty", "here", "command"), EVERY, ids=lambda text: text[:40])
def test_a_duty_is_importable_and_a_command(page, duty, here, command):
    named = re.findall(r"`(modelkeep(?:\.\w+)+):(\w+)`", here)
    assert named, f"{page}: {duty} names no function"
    for module, name in named:
        assert hasattr(importlib.import_module(module), name), f"{module}:{name}"
    commands = re.findall(r"`modelkeep ([^`]+)`", command)
    assert commands, f"{page}: {duty} names no command"
    for words in commands:
        known, apps, rest = build().parse_commands(words.split())
        assert known, words
        leaf = apps[-1]
        groups = [name for name in leaf if not name.startswith("-")]
        assert not groups or not rest or rest[0] in groups or leaf.default_command, f"no command {words!r}"
    assert "not here" not in here + command
    assert "Missing" not in here


def test_no_class_of_the_guides_names_is_built():
    """Duties, not names: what the guides call a manager or a service is a function here."""
    wanted = {"SystemHealthMonitor", "AlertManager", "PerformanceOptimizer", "MLModelManager", "ModelLoader"}
    for path in (Path(__file__).parents[2] / "src").rglob("*.py"):
        assert not wanted & set(re.findall(r"^class (\w+)", path.read_text(), re.MULTILINE)), path


def test_each_duty_of_a_guide_is_run_below():
    told = " ".join(duty for _, duty, _, _ in EVERY)
    for duty in RUN:
        assert duty in told, duty
    for _, duty, _, _ in EVERY:
        assert any(done in duty for done in RUN), f"{duty} is told and not run"


# -------------------------------------------------------------------------------------------------- the app


class World:
    """One app with the demo workloads: a weight model that was trained, asked and told, and a drill's telemetry."""

    def __init__(self, folder):
        self.folder = folder
        names = ["weight", "drilling", "restaurants", "any"]
        flags = {"watch.every": "0s", "workloads": names, "logs.console": False}
        self.clock = ManualClock(NOW)
        self.app = App.open(settings.load(folder=folder, environ={}, flags=flags), clock=self.clock)
        made = train(prepare(simulate(40, 3)))
        self.version(made, made.path)
        second = read_ensemble(made.path.read_bytes())
        leaned = {name: 0.9 * weight + 0.1 / len(second.weights) for name, weight in second.weights.items()}
        self.version(made, pack_ensemble(structs.replace(second, weights=leaned), folder / "second.zip"))
        draw = random.Random(1)
        for hour in range(4):
            self.clock.advance(3600)
            shapes = [{name: values[i] for name, values in made.sample.items()} for i in range(10)]
            answers = self.app.predict("weight", shapes, keys=[f"object {hour}-{i}" for i in range(10)])
            told = [Outcome(value=float(a.output) * draw.uniform(0.8, 1.2), at=self.clock.now(), prediction=a.id) for
                    a in answers]  # fmt: skip
            self.app.tell(told)
        self.asked = answers
        telemetry_acts.ingest(self.app, telemetry_acts.Ingest(file=drills.telemetry_csv(devices=1, days=1.0)))

    def version(self, made, path):
        found = register(
            self.app.rooms,
            Registration(
                model="weight", path=path, runtime=made.runtime, trust=True, code=pack_features(made.code),
                signature=made.signature, metrics=made.metrics, columns=made.sample,
                lineage=Lineage(rows=len(made.sample["material"]), split="group", data_source="file"),
            ),
        )  # fmt: skip
        if found.number == 1:
            with self.app.rooms.store.write() as ledger:
                ledger.versions.add_policy(Policy(model="weight", number=2, since=NOW, window=7 * DAY))
                ledger.rollouts.put(Rollout(model="weight", champion=1, policy=2, since=NOW), None)
            self.app.rooms.router.refresh()

    def task(self, name, **arguments):
        """Run a task to its end, or to its first wait."""
        job = jobs_.run_task(
            self.app, jobs_.RunTask(name=name, arguments=arguments, subject=arguments.get("model", ""))
        )
        return self.worked(job.id)

    def worked(self, id):
        while self.app.runner.run_due():
            pass
        return jobs_.show_job(self.app, jobs_.OneJob(id=id))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    found = World(tmp_path_factory.mktemp("duties"))
    yield found
    found.app.stop()


def fields(found):
    """The fields of a result as they go out."""
    return set(msgspec.to_builtins(found))


# --------------------------------------------------------------------------------- the duties of guide 0, weight


def system_health(world):
    found = status.status(world.app, status.ReadStatus())
    assert fields(found) >= {"overall", "models", "recording", "causes"}
    (weight,) = [one for one in found.models if one.model == "weight"]
    assert weight.average_processing_time_ms > 0
    assert weight.state in {"ready", "stopped"}  # no server runs here
    watched = world.task("watch")
    assert watched.state == "done"
    assert json.loads(bytes(watched.result))["windows"] >= 1


def alert_system(world):
    raised = alerts.raise_alert(
        world.app,
        alerts.RaiseAlert(type="systemOverload", severity="error", message="the queue is long",
                          metrics={"queue": 7.0}, actions=("Add a worker",)),
    )  # fmt: skip
    sent = msgspec.to_builtins(raised)
    guide = {"type", "severity", "message", "timestamp", "system_metrics", "recommended_actions"}
    assert guide <= set(sent)
    assert (sent["type"], sent["severity"], sent["timestamp"][-1]) == ("systemOverload", "error", "Z")
    assert sent["system_metrics"]["queue"] == 7.0
    assert world.app.rooms.book.deliver(world.app.rooms.store) >= 1
    alerts.resolve(world.app, alerts.Resolve(id=raised.id))


def troubleshooting(world):
    found = diagnosing.diagnose_model(world.app, diagnosing.DiagnoseModel(model="weight"))
    guide = {"file_exists", "file_size_valid", "checksum_valid", "initialization_errors", "can_initialize"}
    assert guide | {"performance_within_limits"} <= fields(found)
    assert found.fine
    assert found.can_initialize


def analyzer(world):
    found = diagnosing.diagnose_performance(world.app, diagnosing.DiagnosePerformance())
    parts = {"device_capabilities", "model_performance", "memory_usage", "network_conditions", "recommendations"}
    assert fields(found) == parts
    weight = found.model_performance["weight"]
    guide = {"average_inference_time", "within_threshold", "performance_rating", "optimization_needed"}
    assert guide <= fields(weight)
    assert weight.within_threshold


def compliance(world):
    found = msgspec.to_builtins(complying.check_compliance(world.app, complying.CheckCompliance()))
    five = ("hasUserConsent", "dataMinimal", "dataEncrypted", "retentionCompliant", "userRightsImplemented")
    assert all(isinstance(found[name], bool) for name in five)
    assert len(found["evidence"]) == 5


def daily(world):
    for task in ("watch", "tidy", "weight_daily"):
        assert world.task(task).state == "done", task
    subjects = {one.subject for one in readings_.list_readings(world.app, readings_.ListReadings()).readings}
    assert {"weight@1", "server"} <= subjects


def weekly(world):
    saying.tell_feedback(world.app, saying.TellFeedback(prediction_id=world.asked[0].id, rating=2, comment="too low"))
    done = world.task("report", kind="weekly")
    assert done.state == "done"
    made = json.loads(bytes(done.result))
    report = msgspec.json.decode((world.folder / "reports" / f"{made['id']}.json").read_bytes(), type=Report)
    assert report.model_metrics[0].model_accuracy.n >= 30
    heard = saying.read_feedback(world.app, saying.ReadFeedback(model="weight"))
    assert "too low" in str(msgspec.to_builtins(heard))
    collected = weighing_acts.statistics(world.app, weighing_acts.Nothing())
    assert "required_fields" in fields(collected)


def deployment(world):
    plan = releases.release(world.app, releases.Release(model="weight", number=2, why="duty", by="test"))
    job = world.worked(plan.job)
    assert [step.name for step in job.steps][:2] == ["validating", "backed_up"]
    with world.app.rooms.store.read() as ledger:
        rollout = ledger.rollouts.get("weight")
    assert (rollout.champion, rollout.challenger) == (1, 2)  # on trial: nobody is answered by it unjudged
    releases.roll_back(world.app, releases.RollBack(model="weight", why="duty", by="test"))


def emergency(world):
    begun = diagnosing.declare_emergency(world.app, diagnosing.DeclareEmergency(model="weight", why="duty"))
    done = world.worked(begun.id)
    six = ["disabled", "fallback", "users told", "diagnosed", "escalated", "restored"]
    assert [step.name for step in done.steps] == six
    messages = [one.message for one in alerts.list_alerts(world.app, alerts.ListAlerts(model="weight")).alerts]
    assert "CRITICAL: Model weight disabled due to failures" in messages


def overloading(world):
    found = overload.overload(world.app, overload.ReadOverload())
    assert found.state == "normal"
    assert {"state", "gates"} == fields(found)
    view = tier_acts.set_tier(world.app, tier_acts.SetTier(tier="low"))
    assert view.preprocessing == "simple"
    tier_acts.set_tier(world.app, tier_acts.SetTier(tier="high"))


def tuner(world):
    for memory, tier, preparing in ((400, "low", "simple"), (900, "medium", "advanced"), (2000, "high", "advanced")):
        found = tier_acts.profile(world.app, tier_acts.Device(memory_mb=memory, cores=2))
        assert (found.tier, found.preprocessing) == (tier, preparing)
    assert {"nnapi_enabled", "metal_enabled", "gpu_enabled", "threads"} <= fields(found)


def reports(world):
    found = reporting.make_report(world.app, reporting.MakeReport(kind="weekly", quiet=True))
    four = {"model_metrics", "system_metrics", "user_metrics", "business_metrics"}
    assert four | {"insights", "recommendations", "delivery"} <= fields(found)
    assert {
        "average_inference_time", "model_accuracy", "model_availability", "ensemble_weight_adjustments",
    } <= fields(found.model_metrics[0])  # fmt: skip
    assert {"average_memory_usage", "cpu_utilization", "network_usage", "error_rate"} <= fields(found.system_metrics)
    (weights,) = found.model_metrics[0].ensemble_weight_adjustments
    assert math.isclose(sum(weights.weights.values()), 1.0, rel_tol=1e-6)


# ------------------------------------------------------------------------------- the duties of guide 1, drilling


def telemetry(name="drill-01"):
    table = {}
    for row in drills.device(name, start=drills.START, days=2.0, seed=1):
        for column, value in row.items():
            table.setdefault(column, []).append(value)
    return drilling_sessions.track(table, name)


def extracting(_):
    track, limits = telemetry(), drilling_limits.Limits()
    found = drilling_features.extract(track, drilling_sessions.sessions(track, limits), limits=limits)
    factors = msgspec.to_builtins(found.recent if hasattr(found, "recent") else found)
    assert {"current_stability", "battery_performance", "gps_reliability"} <= set(re.findall(r"\w+", str(factors)))


def sessions(world):
    assert len(drilling_sessions.sessions(telemetry(), drilling_limits.Limits())) > 0
    listed = telemetry_acts.list_sessions(world.app, telemetry_acts.Span())
    assert len(listed.sessions) > 0


def scoring(world):
    track, limits = telemetry(), drilling_limits.Limits()
    features = drilling_features.extract(track, drilling_sessions.sessions(track, limits), limits=limits)
    assert 0 <= drilling_scoring.score(features, limits).health <= 100
    scores = health_acts.health_scores(world.app, health_acts.ListScores()).health_scores
    assert {"device_id", "health_score", "confidence", "factors"} <= fields(scores[0])
    first = scores[0]
    assert math.isclose(sum(one.contribution for one in first.factors), first.health_score, abs_tol=0.2)


def predictive(world):
    generated = alert_acts.generate(world.app, alert_acts.Generate())
    assert generated is not None
    assert "alerts" in fields(alert_acts.list_alerts(world.app, alert_acts.ListAlerts()))


def managing(world):
    """deploy_model and rollback_model are those of guide 0's deployment; here the metrics: accuracy and latency."""
    found = performing.performance(world.app, performing.ReadPerformance(model="weight", minutes=1440))
    assert found.average_ms > 0
    assert "mae" in measuring.accuracy(world.app, measuring.ReadAccuracy(model="weight")).metrics


def configured(_):
    found = drilling_limits.from_environment({"DRILLING_STANDBY_AMP": "0.7"})
    assert found != drilling_limits.Limits()


# ---------------------------------------------------------------------------- the duties of guide 2, restaurants


def logging_predictions(world):
    found = predictions.list_predictions(world.app, predictions.ListPredictions(model="weight", limit=1)).predictions
    assert {"model", "prediction", "features", "at"} <= fields(found[0])


def recent_accuracy(world):
    found = measuring.accuracy(world.app, measuring.ReadAccuracy(model="weight", window="7d"))
    assert {"mae", "rmse", "mape"} <= set(found.metrics)
    assert found.sample_size >= 30
    few = measuring.accuracy(world.app, measuring.ReadAccuracy(model="weight", key="object 0-0"))
    assert few.error == "insufficient_data"


def drift(world):
    world.task("watch")
    found = readings_.list_readings(world.app, readings_.ListReadings(subject="weight", name="error_drift")).readings
    keys = {"drift_detected", "training_mae", "recent_mae", "threshold_pct"}
    assert keys <= set(found[0].facts)  # and degradation_pct once three days have outcomes


class Slack:
    """A receiver of incoming webhooks on this machine."""

    def __enter__(self):
        taken = self.taken = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def slack(world):
    raised = alerts.raise_alert(world.app, alerts.RaiseAlert(type="modelFailure", message="duty", severity="critical"))
    with world.app.rooms.store.read() as ledger:
        kept = ledger.alerts.get(raised.id)
    from modelkeep.alerts.channels import message

    with Slack() as receiver:
        channel = SlackChannel("team", lambda: f"http://127.0.0.1:{receiver.server.server_port}/hook")
        channel.send(message(kept, kept.deliveries[0]))
    (one,) = receiver.taken[0]["attachments"]
    assert {"color", "title", "text", "footer", "ts"} <= set(one)
    assert one["color"] == COLOURS["critical"]
    alerts.resolve(world.app, alerts.Resolve(id=raised.id))


def drift_told(world):
    rule = next(one for one in world.app.rooms.book.rules if one.name == "restaurants_drift")
    for line in ("Model Drift Detected", "Training MAE", "Recent MAE", "Degradation", "Action"):
        assert line in rule.text


def memory(world):
    world.app.predict("weight", [dict(world.asked[0].features)])
    held = keeping.loaded(world.app, keeping.ListLoaded())
    assert "weight" in [one.model for one in held.models]
    world.app.rooms.router.release(["weight"])
    assert "weight" not in [one.model for one in keeping.loaded(world.app, keeping.ListLoaded()).models]
    assert world.app.predict("weight", [dict(world.asked[0].features)])[0].output is not None  # loaded again
    with pytest.raises(Conflict, match="no server runs"):  # what a command could let go of is a server's
        keeping.unload(world.app, keeping.Unload(model="weight"))


def structured(world):
    from modelkeep.journal import keep as journal

    screen = StringIO()
    kept = journal(world.app.settings, clock=world.clock, console=screen)
    try:
        logging.getLogger("modelkeep.duty").warning("said", extra={"model_name": "weight"})
    finally:
        kept.close()
    line = json.loads((world.folder / "logs" / "modelkeep.log").read_text().splitlines()[-1])
    assert {"timestamp", "level", "logger", "message"} <= set(line)
    assert (line["message"], line["model_name"]) == ("said", "weight")


def scripts(world):
    assert {"alerts", "met", "unknown"} == fields(checking.check_performance(world.app, checking.CheckPerformance()))
    assert world.task("backup").state == "done"
    named = {one.name for one in jobs_.list_tasks(world.app, jobs_.ListTasks()).tasks}
    assert {"report", "retrain", "tidy"} <= named
    monthly = reporting.make_report(world.app, reporting.MakeReport(kind="monthly", quiet=True))
    assert monthly.kind == "monthly"


# ------------------------------------------------------------------------------- the duties of guide 3, platform


def comprehensive(world):
    found = health.measure(world.app, health.probes(world.app))
    assert {"timestamp", "overall_status", "components"} == fields(found)
    assert set(found.components) == {"system", "database", "redis", "mlflow", "api"}


def components(world):
    found = health.measure(world.app, health.probes(world.app)).components
    system = {"status", "cpu_percent", "memory_percent", "disk_percent", "available_memory_gb"}
    assert system <= fields(found["system"])
    assert {"status", "response_time_ms", "connection"} <= fields(found["database"])
    assert {"status", "response_time_ms", "status_code"} <= fields(found["api"])


def beside(_):
    from modelkeep.jobs import services

    away = services.mlflow("http://127.0.0.1:9")
    assert away.level == "critical"
    assert away.error


def redis_beside(_):
    from modelkeep.jobs import services

    pytest.importorskip("redis")
    assert services.redis("redis://127.0.0.1:9/0").level == "critical"


def sending(world):
    alerts.raise_alert(world.app, alerts.RaiseAlert(type="dataCollectionIssue", message="duty", severity="info"))
    assert world.app.rooms.book.deliver(world.app.rooms.store) >= 1


def channels(_):
    """Sent to real receivers in tests/alerts; here that each kind is there to be configured."""
    from modelkeep.settings.sections import ChannelSettings

    kinds = msgspec.json.schema(ChannelSettings)["$defs"]["ChannelSettings"]["properties"]["kind"]["enum"]
    assert {"email", "slack", "pagerduty"} <= set(kinds)


def preloading(world):
    world.app.rooms.router.refresh()
    assert "weight" in world.app.rooms.gateway.routes


def cached(_):
    from modelkeep.serving.caching import Recent

    recent = Recent(entries=1, ttl=60.0)
    recent.put(b"a", 7, at=0.0)
    assert (recent.get(b"a", at=1.0), recent.hits, recent.lookups) == (7, 1, 1)


def batched(world):
    rows = [dict(one.features) for one in world.asked]
    assert len(world.app.predict("weight", rows)) == len(rows)


def tracked(_):
    from modelkeep.edge.traffic import Traffic

    traffic = Traffic()
    traffic.request("POST", "/v1/x", status=200, seconds=0.01)
    assert list(traffic.requests.values()) == [1]


def measured(world):
    from modelkeep.edge.machine import Machine
    from modelkeep.edge.metrics import endpoint
    from modelkeep.edge.traffic import Traffic

    assert callable(endpoint(world.app, Traffic()))
    assert {one.name for one in Machine()(world.app.rooms)} == {"cpu_percent", "memory_percent", "network_rate"}


RUN = {
    "SystemHealthMonitor (performHealthChecks)": system_health,
    "AlertSystem": alert_system,
    "ModelTroubleshooting": troubleshooting,
    "PerformanceAnalyzer": analyzer,
    "ComplianceChecker": compliance,
    "DailyMaintenance": daily,
    "WeeklyMaintenance": weekly,
    "ModelDeploymentManager": deployment,
    "EmergencyResponse": emergency,
    "OverloadResponse": overloading,
    "PerformanceTuner": tuner,
    "AutomatedReporting": reports,
    "FeatureEngineer.extract_features": extracting,
    "DataProcessor.get_sessions": sessions,
    "HealthScoringService.calculate_health_score": scoring,
    "PredictiveAlertService": predictive,
    "MLModelManager.deploy_model": managing,
    "MLService": configured,
    "ModelPerformanceMonitor.log_prediction": logging_predictions,
    "ModelPerformanceMonitor.calculate_recent_accuracy": recent_accuracy,
    "ModelPerformanceMonitor.detect_drift": drift,
    "AlertManager.send_slack_alert": slack,
    "AlertManager.send_model_drift_alert": drift_told,
    "ModelLoader.load_model": memory,
    "JSONFormatter": structured,
    "daily, weekly, monthly scripts": scripts,
    "SystemHealthMonitor.get_comprehensive_health": comprehensive,
    "_check_system_resources": components,
    "_check_redis_health": redis_beside,
    "_check_mlflow_health": beside,
    "AlertManager.send_alert": sending,
    "_send_email_alert": channels,
    "preload_models": preloading,
    "get_cached_prediction": cached,
    "optimize_batch_predictions": batched,
    "track_api_metrics": tracked,
    "update_system_metrics": measured,
    "diagnose_model_issues": troubleshooting,
}
"""Each duty, by what stands in its table, with what runs it."""
ROWS = {
    "weight": ("WK0-05", list(RUN)[:12]),
    "drilling": ("WK1-08", list(RUN)[12:18]),
    "restaurants": ("WK2-04", list(RUN)[18:26]),
    "any": ("WK3-04", list(RUN)[26:]),
}


@pytest.mark.parametrize(
    "duty", [pytest.param(duty, marks=pytest.mark.row(row)) for row, duties in ROWS.values() for duty in duties]
)
def test_a_duty_is_done_on_the_demo_workload(world, duty):
    RUN[duty](world)
