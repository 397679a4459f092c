import asyncio
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pages_story
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pages_site import Site, served, sources
from pages_story import DAY, HOUR, NOW, Past
from starlette.applications import Starlette

from modelkeep.app import App
from modelkeep.edge.pages import Pages, graphs, watched
from modelkeep.edge.pages.charts import Chart, Line, Mark, Point, Shade
from modelkeep.edge.pages.days import by_day, measured, saved
from modelkeep.edge.pages.drawing import draw
from modelkeep.edge.pages.frame import ticks
from modelkeep.edge.pages.patience import STALE, Patience
from modelkeep.edge.pages.render import FRAGMENTS, Renderer
from modelkeep.edge.pages.rows import skill_words
from modelkeep.edge.pages.trials import Progress
from modelkeep.edge.pages.views import View, build
from modelkeep.edge.pages.words import age, figure, lasting, worst
from modelkeep.edge.server import running
from modelkeep.jobs.release_memo import Released, Walk
from modelkeep.nouns import Alert, Baseline, Field, Reading, Rollout, Signature, Version
from modelkeep.profile import Sums
from modelkeep.serving.recording import Recording
from modelkeep.settings import Settings
from modelkeep.watch.skill import best_baseline

WEIGHT = 60 * 1024


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Past]:
    past = pages_story.told(tmp_path_factory.mktemp("told"))
    yield past
    past.store.close()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Past]:
    past = pages_story.opened(tmp_path)
    yield past
    past.store.close()


@pytest.fixture(scope="module")
def site(told: Past) -> Iterator[Site]:
    with served(told) as found:
        yield found


def view(past: Past, model: str | None = None, days: int = 30, **more: object) -> View:
    return build(sources(past, **more), model=model, days=days)


def text(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


# ------------------------------------------------------------------------------------------------- words


def test_a_number_that_is_not_known_is_a_word_never_zero():
    assert figure(None) == figure(float("nan")) == "unknown"
    assert figure(0.0) == "0"


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12))
def test_a_figure_keeps_three_digits(value: float):
    shown = float(figure(value).replace(",", ""))
    assert shown == pytest.approx(value, rel=0.006, abs=6e-7)


def test_nothing_known_at_all_is_unknown():
    assert worst([]) == "unknown"
    assert worst(["ok", "unknown"]) == "unknown"


@given(st.floats(min_value=0, max_value=1e9), st.floats(min_value=0, max_value=1e9))
def test_an_age_always_says_something(at: float, now: float):
    assert age(at, now)
    assert lasting(now - at)


# ------------------------------------------------------------------------------------------------ charts


def series(values: list[float | None]) -> Chart:
    points = tuple(Point(at=(i + 0.5) * DAY, value=v) for i, v in enumerate(values))
    return Chart(
        name="c", title="T", summary="S", start=0.0, end=max(len(values), 1) * DAY,
        lines=(Line(name="model", look="model", points=points),),
    )  # fmt: skip


@given(st.lists(st.none() | st.floats(min_value=-1e6, max_value=1e6), max_size=40))
def test_every_series_becomes_a_drawing_or_the_word_unknown(values: list[float | None]):
    drawn = draw(series(values))
    assert "nan" not in drawn
    assert "inf" not in drawn
    known = any(value is not None for value in values)
    assert ("<svg" in drawn) == known
    assert ("unknown" in drawn) == (not known)


@given(st.floats(min_value=-1e6, max_value=0), st.floats(min_value=0, max_value=1e6))
def test_an_axis_covers_its_range_with_few_round_numbers(low: float, high: float):
    found = ticks(low, high)
    span = max(high - low, 1e-9)
    assert found[0] <= low + 1e-6 * span
    assert found[-1] >= high - 1e-6 * span
    assert 2 <= len(found) <= 7


def test_an_unknown_day_is_a_gap_and_not_a_bridge():
    assert draw(series([1.0, 2.0, None, 2.0, 1.0])).count('class="line model"') == 2


def test_a_day_that_stands_alone_is_a_dot():
    assert draw(series([None, 2.0, None])).count("<circle") >= 1


def test_marks_and_shades_are_drawn_where_they_happened():
    chart = msgspec.structs.replace(
        series([1.0] * 10),
        marks=(Mark(at=5 * DAY, label="v2"),),
        shades=(Shade(start=2 * DAY, end=4 * DAY, label="a"),),
    )
    drawn = draw(chart)
    assert 'x1="50.00%"' in drawn
    assert ">v2<" in drawn
    assert 'x="20.00%" y="28" width="20.00%"' in drawn


def test_a_chart_escapes_names():
    chart = msgspec.structs.replace(series([1.0]), title="<script>", marks=(Mark(at=0.0, label='"><b>'),))
    assert "<script>" not in draw(chart)
    assert "<b>" not in draw(chart)


# -------------------------------------------------------------------------------------------------- days


def test_days_add_up_to_what_the_store_says(told: Past):
    with told.store.read() as ledger:
        days = by_day(ledger.records, "flights", start=pages_story.START, end=NOW)
        sums = ledger.records.sums("flights", start=pages_story.START, end=NOW)
    assert sum(d.answered for d in days) == 7150
    assert sum(d.errors["model"].n for d in days if "model" in d.errors) == sums["model"].n
    total = sum(d.errors["model"].absolute for d in days if "model" in d.errors)
    assert total == pytest.approx(sums["model"].absolute)
    assert best_baseline(sums) == "ewma"


def test_many_days_become_weeks(told: Past):
    with told.store.read() as ledger:
        weeks = by_day(ledger.records, "flights", start=NOW - 200 * DAY, end=NOW)
    assert len(weeks) <= 30
    assert sum(w.answered for w in weeks) == 7150


def test_a_model_released_at_this_very_midnight_has_one_day(opened: Past):
    with opened.store.read() as ledger:
        days = by_day(ledger.records, "flights", start=20 * DAY, end=20 * DAY)
    assert [(day.start, day.answered) for day in days] == [(20 * DAY, 0)]


def test_a_baseline_that_seldom_answered_is_no_yardstick():
    model = Sums(n=100, absolute=100.0)
    assert best_baseline({"model": model, "ewma": Sums(n=10, absolute=1.0)}) is None
    assert saved({"model": model}, None) is None
    assert measured(Sums()) is None


# ------------------------------------------------------------------------------------------------- views


@pytest.mark.row("RPT-11")
def test_the_overview_tells_the_story(told: Past):
    page = Renderer().render(view(told)).page
    shown = text(page)
    assert "clock 2013-09-03 14:20 UTC" in shown
    assert "Critical" in shown
    assert "below baseline (ewma) by 12 %" in shown
    assert "17.0 min" in shown
    assert "16.2 to 17.9, n = 840" in shown
    assert "modelkeep release flights@2" in shown
    assert "v2 in shadow" in shown
    assert "since 2013-08-27 14:20 UTC ( 7d )" in shown


def test_the_release_shows_its_stage_its_evidence_and_what_is_missing(told: Past):
    (walk,) = view(told).trials
    assert [stage.standing for stage in walk.stages] == ["done", "done", "now", "next", "next", "next"]
    assert {proof.guard for proof in walk.proofs} >= {"failed calls", "mean error"}
    assert any("this stage ends in 9h" in line for line in walk.missing)
    assert walk.command == "modelkeep rollback flights"


def ended(past: Past, state: str, **steps: object) -> Progress:
    with past.store.write() as ledger:
        job = ledger.jobs.get("release-flights-2")
        walk = Walk(phase="over", result=Released(state=state, model="flights", number=2, reasons=("because",)))
        leased = ledger.jobs.lease("r", now=job.due + 1, seconds=60)
        assert leased is not None
        assert leased.lease is not None
        over = msgspec.structs.replace(
            leased, state="done", finished=NOW, memo=msgspec.Raw(msgspec.json.encode(walk)), lease=leased.lease
        )
        ledger.jobs.save(over, leased.lease.token)
    (progress,) = view(past).trials
    return progress


def test_a_release_that_ended_says_how(opened: Past):
    opened.version(1, NOW - 9 * DAY)
    opened.version(2, NOW - 2 * DAY)
    with opened.store.write() as ledger:
        ledger.rollouts.put(Rollout(model="flights", champion=1, since=NOW - 9 * DAY), None)
    opened.release(NOW - DAY)
    progress = ended(opened, "rolled_back")
    assert progress.over
    assert progress.headline == "rolled back: because"
    assert progress.stages[-1].name == "rolled back"
    assert progress.stages[-1].standing == "stopped"
    assert progress.stages[3].standing == "skipped"


def test_a_job_of_another_version_of_the_product_is_still_shown(opened: Past):
    opened.version(1, NOW - DAY)
    with opened.store.write() as ledger:
        ledger.jobs.add(
            pages_story.Job(
                id="j", task="release", due=NOW, created=NOW - 60, subject="flights",
                arguments=msgspec.Raw(b'{"another":1}'), memo=msgspec.Raw(b"[1]"),
            )
        )  # fmt: skip
    (progress,) = view(opened).trials
    assert progress.headline == "waits for its turn"


def test_without_a_model_the_page_says_what_to_type_first(opened: Past):
    seen = view(opened)
    assert seen.empty
    assert seen.state.level == "unknown"
    shown = text(Renderer().render(seen).page)
    assert "modelkeep register" in shown
    assert "modelkeep demo" in shown


def test_a_model_without_readings_is_unknown_and_not_green(opened: Past):
    opened.version(1, NOW - DAY)
    with opened.store.write() as ledger:
        ledger.rollouts.put(Rollout(model="flights", champion=1, since=NOW - DAY), None)
    seen = view(opened)
    assert seen.state.level == "unknown"
    assert seen.models[0].value == "unknown"
    assert seen.models[0].skill == "unknown: no outcome yet"
    assert all(not chart.known for chart in seen.charts if chart.name != "answered")
    assert "unknown, nothing was measured" in Renderer().render(seen).page


def test_a_registered_model_that_nobody_released_says_so(opened: Past):
    opened.version(1, NOW - DAY)
    assert "not released" in view(opened).state.headline


def test_a_reading_that_nobody_renews_is_not_believed(opened: Past):
    opened.version(1, NOW - DAY)
    with opened.store.write() as ledger:
        ledger.rollouts.put(Rollout(model="flights", champion=1, since=NOW - DAY), None)
    opened.readings(NOW - 60, value=0.3, level="ok")
    assert view(opened).state.level == "ok"
    opened.clock.advance(STALE + 61)
    seen = view(opened)
    assert seen.state.level == "unknown"
    assert "the watcher may have stopped" in seen.state.headline


def test_in_a_replay_a_reading_that_moves_is_believed():
    patience = Patience()
    assert not patience.believes("m", 0.0, now=DAY)
    assert patience.believes("m", 1.0, now=2 * DAY)


def test_unknown_skill_says_how_much_of_how_much():
    reading = Reading(name="skill", subject="m@1", value=None, level="unknown", at=0.0, facts={"have": 4, "need": 10})
    assert skill_words(reading) == ("unknown: 4 of 10 outcomes", "unknown")


def test_a_skill_whose_interval_holds_zero_claims_nothing():
    reading = Reading(
        name="skill", subject="m@1", value=-0.01, level="ok", at=0.0, interval=(-0.1, 0.1), facts={"baseline": "ewma"}
    )
    assert skill_words(reading)[0] == "not distinguishable from ewma"


def test_a_version_that_cannot_be_loaded_is_critical(told: Past):
    seen = view(told, failures={"flights@2": "its digest has changed"})
    assert any("flights@2 could not be loaded: its digest has changed" in r.text for r in seen.state.reasons) or (
        "could not be loaded" in seen.state.headline
    )


@pytest.mark.parametrize(
    ("recording", "level", "words"),
    [
        (Recording(dropped=3), "critical", "lost 3 records"),
        (
            Recording(held=12, spooled=12, cause="the disk is full"),
            "warning",
            "holds 12 records back: the disk is full",
        ),
        (Recording(), "ok", "every record is on disk"),
    ],
)
def test_the_recorder_is_told(told: Past, recording: Recording, level: str, words: str):
    fact = view(told, recording=recording).facts[-1]
    assert fact.level == level
    assert words in fact.note


def test_a_store_that_cannot_be_read_is_the_news(opened: Past):
    opened.store.close()
    pages = Pages(sources(opened))
    transport = httpx.ASGITransport(app=Starlette(routes=pages.routes))

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get("/")

    answer = asyncio.run(ask())
    assert answer.status_code == 503
    assert "The store cannot be read" in answer.text
    assert "unknown" in answer.text


def test_classes_are_shown_as_accuracy(opened: Past):
    signature = Signature(inputs=(), output=Field(name="up", kind="category", categories=("down", "up")))
    version = Version(
        model="prices", number=1, artifact="ab" * 32, size=1, runtime="python", signature=signature, created=NOW,
        baseline=Baseline(),
    )  # fmt: skip
    with opened.store.write() as ledger:
        ledger.versions.add(version)
        rollout = Rollout(model="prices", champion=1, since=NOW)
        ledger.rollouts.put(rollout, None)
        charts = graphs.charts(ledger, rollout, signature=signature, now=NOW + HOUR, days=7, whole=True)
    assert charts[0].title == "Accuracy by day"
    assert charts[0].share


def test_a_notice_is_no_alert_and_no_reason_to_get_up(opened: Past):
    opened.version(1, NOW - DAY)
    with opened.store.write() as ledger:
        ledger.rollouts.put(Rollout(model="flights", champion=1, since=NOW - DAY), None)
        ledger.readings.add(
            [
                Reading(
                    name="out_of_range", subject="flights@1", value=0.4, level="warning", at=NOW, detail="temperature"
                )
            ]
        )
    opened.readings(NOW - 60, value=0.3, level="ok")
    opened.alert(NOW - 60)
    with opened.store.write() as ledger:
        ledger.alerts.put(msgspec.structs.replace(ledger.alerts.get("a-1"), severity="info"))
    seen = view(opened)
    assert (seen.state.level, len(seen.alerts), len(seen.notices)) == ("ok", 0, 1)
    assert seen.state.headline == "flights is well, no alert is open"
    assert not any(event.kind == "alert" for event in seen.events)


def test_an_alert_says_its_claim_first_then_what_it_is_based_on(told: Past):
    seen = view(told)
    (card,) = seen.alerts
    assert seen.state.headline == card.what == "flights@1 is worth less than no model"
    assert card.basis.startswith("below baseline 'ewma': the error of flights@1 is 17.03 min")
    assert card.causes == "Likely causes, most likely first: 1. the answers are 4.1 min too high on average."


def test_only_the_worst_models_are_listed_and_the_rest_counted(opened: Past):
    for number in range(45):
        Past(store=opened.store, clock=opened.clock, model=f"m{number:02}").version(1, NOW)
    seen = view(opened)
    assert (len(seen.models), seen.hidden) == (40, 5)
    assert "and 5 more" in Renderer().render(seen).page


def test_names_are_hostile_and_escaped(opened: Past):
    name = "<img src=x onerror=alert(1)>\"'"
    past = Past(store=opened.store, clock=opened.clock, model=name)
    past.version(1, NOW - DAY)
    with opened.store.write() as ledger:
        ledger.rollouts.put(Rollout(model=name, champion=1, since=NOW - DAY), None)
        ledger.alerts.put(
            Alert(
                id='"><script>', rule="<i>", subject=f"{name}@1", severity="warning", kind="k",
                message="<script>alert(1)", state="open", opened=NOW, changed=NOW, command='"><script>',
            )
        )  # fmt: skip
    for model in (None, name):
        page = Renderer().render(view(opened, model)).page
        assert "<img src=x" not in page
        assert "<script>" not in page
        assert page.count("<script") == 1


# ------------------------------------------------------------------------------------------------ routes


def test_a_page_with_all_it_needs_weighs_at_most_60_kb(site: Site):
    with httpx.Client(base_url=site.url) as client:
        for path in ("/?days=30", "/?days=90", "/models/flights?days=90", "/models/flights?days=0"):
            page = client.get(path)
            needs = set(re.findall(r'(?:href|src)="(/static/[^"]+)"', page.text))
            assert len(needs) == 3
            assert len(page.content) + sum(len(client.get(need).content) for need in needs) <= WEIGHT


def test_a_page_asks_nobody_else_and_runs_no_inline_script(site: Site):
    page = httpx.get(site.url)
    assert "default-src 'none'; script-src 'self'" in page.headers["content-security-policy"]
    assert not re.findall(r'(?:href|src)="(?!/|#|\?)', page.text)
    assert not re.findall(r"\son\w+=|style=", page.text)


def test_assets_are_named_by_their_content_and_kept_for_ever(site: Site):
    path = re.findall(r'src="(/static/live\.[0-9a-f]{12}\.js)"', httpx.get(site.url).text)[0]
    answer = httpx.get(site.url + path)
    assert "immutable" in answer.headers["cache-control"]
    assert len(answer.content) <= 6 * 1024
    assert httpx.get(f"{site.url}/static/live.js").status_code == 404


def test_an_unknown_model_names_those_that_look_alike(site: Site):
    answer = httpx.get(f"{site.url}/models/flight")
    assert answer.status_code == 404
    assert 'href="/models/flights"' in answer.text
    assert httpx.get(f"{site.url}/events?model=flight").status_code == 404


def listen(lines: Iterator[str]) -> dict[str, str]:
    """The next event's fragments."""
    for line in lines:
        if line.startswith("data: "):
            return json.loads(line[6:])
    raise AssertionError("the stream has ended")


@pytest.mark.row("RPT-11")
def test_what_changes_is_sent_within_two_seconds_and_nothing_else(opened: Past):
    with served(opened) as site, httpx.stream("GET", f"{site.url}/events?days=30", timeout=10) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        assert set(listen(lines)) == set(FRAGMENTS)
        took = []
        for number in (1, 2, 3):
            opened.version(number, NOW)
            began = time.perf_counter()
            news = listen(lines)
            took.append(time.perf_counter() - began)
            assert f"flights@{number}" in news["timeline"]
            assert "clock" not in news
        assert sorted(took)[1] < 2


def test_a_server_stops_within_two_seconds_though_pages_listen(opened: Past):
    with served(opened) as site:
        streams = [httpx.stream("GET", f"{site.url}/events", timeout=10) for _ in range(5)]
        heard = [stream.__enter__().iter_lines() for stream in streams]
        assert all(listen(lines) for lines in heard)
        began = time.perf_counter()
    assert time.perf_counter() - began < 2
    for stream in streams:
        stream.__exit__(None, None, None)


def test_listeners_are_bounded_and_give_their_place_back(opened: Past, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(watched, "CLIENTS", 1)
    with served(opened) as site:
        with httpx.stream("GET", f"{site.url}/events", timeout=10) as first:
            lines = first.iter_lines()
            listen(lines)
            refused = httpx.get(f"{site.url}/events")
            assert refused.status_code == 503
            assert refused.headers["retry-after"] == "30"
            lines.close()
        until = time.perf_counter() + 5
        status = 503
        while status == 503 and time.perf_counter() < until:
            with httpx.stream("GET", f"{site.url}/events", timeout=10) as second:
                status = second.status_code
        assert status == 200


def test_a_hundred_open_pages_cost_one_rendering(told: Past, monkeypatch: pytest.MonkeyPatch):
    counted: list[str] = []
    real = Renderer.render

    def render(self: Renderer, seen: View):
        counted.append(seen.state.level)
        return real(self, seen)

    monkeypatch.setattr(Renderer, "render", render)
    looking = watched.Watched(sources(told), Renderer())

    async def everybody() -> None:
        await asyncio.gather(*(looking.look(None, 30) for _ in range(100)))

    asyncio.run(everybody())
    assert len(counted) == 1


def test_the_server_of_a_real_app_shows_them_and_stops_at_once(tmp_path: Path):
    usual = Settings(folder=tmp_path)
    settings = msgspec.structs.replace(usual, server=msgspec.structs.replace(usual.server, listen=(0,)))
    app = App.open(settings)
    with running(app) as url:
        assert "Nothing here yet" in httpx.get(url).text
        with httpx.stream("GET", f"{url}/events", timeout=10) as answer:
            lines = answer.iter_lines()
            assert set(listen(lines)) == set(FRAGMENTS)
            Past(store=app.rooms.store, clock=app.rooms.clock).version(1, NOW)
            assert "flights" in listen(lines)["models"]
