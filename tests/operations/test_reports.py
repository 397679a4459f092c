"""Reports on two weeks of a real model in a real app; its error doubles in the second one."""

import random
import re
from html.parser import HTMLParser

import pytest
from migrated import ready
from msgspec import json

from modelkeep import (
    App,
    Ensemble,
    Field,
    Linear,
    ManualClock,
    Member,
    Outcome,
    Reading,
    Signature,
    linear_bytes,
    pack_ensemble,
    settings,
)
from modelkeep.jobs.registering import Registration, register
from modelkeep.jobs.reports.parts import Report
from modelkeep.nouns import Rollout
from modelkeep.operations import alerts, jobs, reporting
from modelkeep.opinions import Feedback

DAY = 86400.0
MONDAY = 1_700_438_400.0  # 2023-11-20 00:00 UTC
SIGNATURE = Signature(inputs=(Field(name="x", kind="number"),), output=Field(name="y", kind="number", unit="kg"))


def model(app, folder, weights):
    """An ensemble of two lines, y = x, that answers from now on."""
    members = tuple(
        Member(name=name, runtime="linear", data=linear_bytes(Linear(intercept=0.0, coefficients={"x": 1.0})))
        for name in weights
    )
    path = pack_ensemble(Ensemble(members=members, weights=weights), folder / "scale.zip")
    version = register(app.rooms, Registration(model="scale", path=path, signature=SIGNATURE, metrics={"mae": 1.0}))
    with app.rooms.store.write() as ledger:
        was = ledger.rollouts.get("scale")
        now = app.rooms.clock.now()
        ledger.rollouts.put(Rollout(model="scale", champion=version.number, since=now), was)
    app.rooms.router.refresh()


def live(app, draw, *, error, hours=6):
    """Predictions and their outcomes for a quarter of a day, with readings of the machine."""
    clock = app.rooms.clock
    xs = [draw.uniform(1, 9) for _ in range(8)]
    answers = app.predict("scale", [{"x": x} for x in xs])
    app.tell(
        [
            Outcome(value=x + draw.gauss(0, error), at=clock.now(), prediction=one.id)
            for x, one in zip(xs, answers, strict=True)
        ]
    )
    with app.rooms.store.write() as ledger:
        machine = {"memory_percent": 40.0, "cpu_percent": 10 + draw.random(), "network_rate": 1000.0}
        machine["business_cost"] = 2.0
        ledger.readings.add(
            [
                Reading(name=name, subject="server", value=value, level="ok", at=clock.now(), n=1)
                for name, value in machine.items()
            ]
        )
    clock.advance(hours * 3600)
    return answers


def world(folder, *, errors=(1.0, 3.0)):
    """Two weeks up to a Monday."""
    found = settings.load(folder=folder / "data", environ={}, flags={"watch.every": "0s", "workloads": []})
    ready(found.database)
    app = App.open(found, clock=ManualClock(MONDAY - 14.5 * DAY))
    draw = random.Random(4)
    model(app, folder, {"one": 0.5, "two": 0.5})
    app.rooms.clock.advance(0.5 * DAY)
    for day in range(14):
        if day == 9:
            model(app, folder, {"one": 0.9, "two": 0.1})
        for _ in range(4):
            answers = live(app, draw, error=errors[day // 7])
        with app.rooms.store.write() as ledger:
            at = app.rooms.clock.now() - 3600
            ledger.said.add_feedback(
                [Feedback(id=f"f{day}-{i}", prediction=a.id, rating=1 + (i + day) % 5, at=at) for i, a in
                 enumerate(answers)]
            )  # fmt: skip
    return app


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    with world(tmp_path_factory.mktemp("world")) as found:
        yield found


@pytest.fixture(scope="module")
def weekly(app):
    return reporting.make_report(app, reporting.MakeReport(kind="weekly"))


@pytest.mark.row("RPT-01")
def test_the_weekly_report_has_seven_parts_in_three_files_and_is_delivered(app, weekly):
    assert (weekly.end - weekly.start).days == 7
    parts = ("model_metrics", "system_metrics", "user_metrics", "business_metrics")
    parts += ("insights", "recommendations", "delivery")
    assert all(getattr(weekly, part) for part in parts)
    html, markdown, data = ((app.rooms.folder / name).read_text() for name in weekly.delivery.files)
    assert json.decode(data, type=Report) == weekly
    for head in ("Models", "System", "Users", "Business", "Insights", "Recommendations", "Delivery"):
        assert f"## {head}\n" in markdown
        assert f"<h2>{head}</h2>" in html
    told = alerts.show_alert(app, alerts.OneAlert(id=weekly.delivery.alert))
    assert (told.severity, told.type, told.state) == ("info", "report", "resolved")
    assert str(app.rooms.folder / weekly.delivery.files[0]) in told.message
    assert [one.channel for one in told.deliveries] == ["log"] == list(weekly.delivery.channels)


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.tags = [], set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.found += [dict(attrs)["href"]] if tag == "a" else []


@pytest.mark.row("RPT-01")
def test_each_number_is_clickable_to_its_query_and_the_page_needs_nothing_else(app, weekly):
    page = (app.rooms.folder / weekly.delivery.files[0]).read_text()
    links = Links()
    links.feed(page)
    figures = [weekly.model_metrics[0].model_accuracy, weekly.system_metrics.cpu_utilization]
    assert all(figure.query in links.found for figure in figures)
    rows = page.count("<tr>") + page.count('<tr class="worse">') - page.count("<thead>")
    assert len(links.found) == rows
    assert not links.tags & {"script", "img", "link", "iframe"}


@pytest.mark.row("RPT-02")
def test_the_models_part_has_its_four_with_n_and_change(weekly):
    (one,) = weekly.model_metrics
    assert (one.model, one.version) == ("scale", "scale@2")
    assert one.average_inference_time.n == 224
    assert one.average_inference_time.value > 0
    accuracy = one.model_accuracy
    assert (accuracy.name, accuracy.unit, accuracy.n, accuracy.n_before) == ("mae", "kg", 224, 224)
    assert accuracy.change == pytest.approx(accuracy.value - accuracy.before)
    assert accuracy.change_interval[0] < accuracy.change < accuracy.change_interval[1]
    assert (one.model_availability.value, one.model_availability.before) == (1.0, 1.0)
    assert [(w.version, w.weights["one"]) for w in one.ensemble_weight_adjustments] == [
        ("scale@1", 0.5), ("scale@2", 0.9),
    ]  # fmt: skip


@pytest.mark.row("RPT-03")
def test_the_systems_part_has_its_four(weekly):
    system = weekly.system_metrics
    assert system.average_memory_usage.value == pytest.approx(40.0)
    assert 10 < system.cpu_utilization.value < 11
    assert system.network_usage.value == pytest.approx(1000.0)
    assert (system.error_rate.value, system.error_rate.n) == (0.0, 224)
    assert system.services == {"models": "ready", "recording": "ready", "store": "ready"}
    assert len(system.last_processing_times_ms) == 10


@pytest.mark.row("RPT-04")
def test_users_and_business_are_counted(weekly):
    users = weekly.user_metrics
    assert (users.predictions.value, users.predictions.before) == (224, 224)
    assert users.feedback.value == sum(users.ratings.values()) == 56
    assert 1 <= users.average_rating.value <= 5
    assert users.user_alerts.value == 0
    (own,) = weekly.business_metrics.figures
    assert (own.name, own.value) == ("business_cost", 2.0)


@pytest.mark.row("RPT-05")
def test_only_what_certainly_changed_is_an_insight_with_its_evidence(weekly):
    (one,) = weekly.insights
    assert one.worse
    assert one.evidence.name == "mae"
    assert "the mean absolute error of scale is" in one.text
    assert "n = 224 and 224" in one.text
    assert one.evidence.change_interval[0] > 0


@pytest.mark.row("RPT-05")
def test_no_change_is_said_to_be_none(tmp_path):
    with world(tmp_path, errors=(1.0, 1.0)) as calm:
        found = reporting.make_report(calm, reporting.MakeReport(kind="weekly", quiet=True))
    assert found.insights == ()
    assert found.insights_note.startswith("no change is statistically supported (")
    assert found.delivery.alert == ""


@pytest.mark.row("RPT-06")
def test_each_recommendation_has_a_command_that_exists(app, weekly):
    from modelkeep.operations import OPERATIONS

    known = {" ".join(operation.words) for operation in OPERATIONS if operation.words}
    assert {one.why for one in weekly.recommendations} >= {"insight", "no backup"}
    for one in weekly.recommendations:
        words = one.command.split()
        assert words[0] == "modelkeep"
        assert {" ".join(words[1:2]), " ".join(words[1:3])} & known, one.command


@pytest.mark.row("RPT-07")
def test_a_performance_report_of_any_days_and_a_monthly_one(app):
    three = reporting.make_report(app, reporting.MakeReport(kind="performance", days=3, quiet=True))
    assert (three.end - three.start).days == 3
    assert three.user_metrics.predictions.value == 96
    month = reporting.make_report(app, reporting.MakeReport(kind="monthly", quiet=True))
    assert (month.end - month.start).days == 30
    assert month.model_metrics[0].model_accuracy.n == 448
    assert month.model_metrics[0].model_accuracy.change is None  # nothing was kept before
    assert month.user_metrics.predictions.change is None
    assert "nothing was kept before" in month.user_metrics.predictions.detail
    daily = reporting.make_report(app, reporting.MakeReport(kind="daily", quiet=True))
    assert daily.user_metrics.predictions.value == 32
    kept = reporting.list_reports(app, reporting.ListReports()).reports
    assert {one.kind for one in kept} >= {"daily", "monthly", "performance"}
    assert reporting.show_report(app, reporting.OneReport(id=daily.id)) == daily


def test_what_is_unknown_is_unknown_and_says_why(tmp_path):
    found = settings.load(folder=tmp_path, environ={}, flags={"watch.every": "0s", "workloads": []})
    with App.open(found, clock=ManualClock(MONDAY)) as empty:
        report = reporting.make_report(empty, reporting.MakeReport(kind="weekly"))
    assert report.model_metrics == ()
    cpu = report.system_metrics.cpu_utilization
    assert (cpu.value, cpu.change) == (None, None)
    assert "0 readings" in cpu.detail
    assert report.user_metrics.average_rating.value is None
    assert "unknown" in report.business_metrics.note
    assert report.insights_note.startswith("nothing can be compared yet")
    markdown = (tmp_path / report.delivery.files[1]).read_text()
    assert re.search(r"\| cpu_percent \| server \| \[unknown\]", markdown)
    assert "no model answers here" in markdown


@pytest.mark.row("RPT-01")
def test_the_task_makes_it_every_monday(app):
    schedule = app.schedules["report"]
    assert schedule.after(MONDAY) == MONDAY + 6 * 3600
    assert schedule.arguments == {"kind": "weekly"}
    assert "report" in {one.name for one in jobs.list_tasks(app, jobs.ListTasks()).tasks}
