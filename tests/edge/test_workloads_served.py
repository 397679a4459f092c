"""A workload of one's own, from its package to the route, the command, the alert and the page."""

import base64
import json
import re
import threading

import httpx
import kettles_page
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from making_models import DOUBLER
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from served_house import served

from modelkeep import Operation, Workload
from modelkeep.edge import cli, mounting, openapi
from modelkeep.errors import BadSettings
from modelkeep.extending import BUILT_IN, comes_along, find

PHOTO = b"\x89PNG" + bytes(range(256)) * 9
FIELDS = {"lids": "true", "boxes": '[{"left":1},{"left":2}]'}
OURS = ["kettles:WORKLOAD", "pots:WORKLOAD"]


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A server with the workload of the documentation, and one with everything else."""
    kettles_page.written(tmp_path_factory.mktemp("package"))
    folder = tmp_path_factory.mktemp("house")
    (folder / "modelkeep.toml").write_text(f"workloads = {OURS}\n")
    with served(folder, watch__every=0.0, server__body="1MB") as found:
        found.keep("doubler", DOUBLER)
        yield found


def command(capsys, house, *words):
    code = cli.main([*words, "--json", "-C", str(house.folder)])
    said = capsys.readouterr()
    return code, json.loads(said.out) if said.out else said.err


def pass_of_watch(house):
    done = house.post("/v1/tasks/watch/run")
    assert done.status_code < 300, done.text
    job = done.json()["id"]
    for _ in range(2000):
        found = house.get(f"/v1/jobs/{job}").json()
        if found["state"] in {"done", "failed"}:
            assert found["state"] == "done", found
            return
        threading.Event().wait(0.01)
    raise AssertionError("the pass did not end")


# ------------------------------------------------------------------------------------------ the stranger's page


def test_the_page_of_code_is_a_workload_from_end_to_end(house, capsys):
    assert house.get("/api/kettles/blue").status_code == 404
    kept = house.post("/api/kettles", {"kettle": "blue", "celsius": 99.5}).json()
    assert kept == {"kept": 1}
    shown = house.get("/api/kettles/blue").json()
    assert (shown["kettle"], shown["celsius"]) == ("blue", 99.5)
    missing = house.get("/api/kettles/bleu")
    assert missing.status_code == 404
    assert missing.json()["problem"] == "no kettle 'bleu'"
    wrong = house.post("/api/kettles", {"kettle": "blue", "celsius": 1000})
    assert wrong.status_code == 422
    assert wrong.json()["error"]["problems"][0]["field"] == "celsius"

    code, said = command(capsys, house, "kettles", "say", "--kettle", "red", "--celsius", "20")
    assert (code, said) == (0, {"kept": 2})
    code, said = command(capsys, house, "kettles", "show", "--kettle", "red")
    assert (code, said["celsius"]) == (0, 20.0)

    pass_of_watch(house)
    alerts = house.get("/v1/alerts").json()["alerts"]
    assert [(a["rule"], a["subject"], a["severity"]) for a in alerts] == [("kettle_boils", "kettles/blue", "critical")]
    page = house.get("/workloads/kettles")
    assert page.status_code == 200
    for words in ("Critical", "kettles/blue boils", "100 °C", "Take it off the fire.", "1 of 2 rows critical"):
        assert words in page.text
    assert 'href="/workloads/kettles"' in house.get("/").text

    assert house.post("/v1/tasks/kettles_forget/run").status_code == 202
    assert "kettles_forget" in {entry["name"] for entry in house.get("/v1/tasks").json()["tasks"]}
    assert "kettles_forget" in house.app.schedules


# ------------------------------------------------------------------------------------------------ acts


@pytest.mark.parametrize(
    "sent",
    [
        {"params": FIELDS, "content": PHOTO, "headers": {"content-type": "image/png"}},
        {"params": FIELDS, "content": PHOTO, "headers": {"content-type": "application/octet-stream"}},
        {"files": {"photo": ("pot.png", PHOTO, "image/png")}, "data": FIELDS},
        {"json": {"photo": base64.b64encode(PHOTO).decode(), "lids": True, "boxes": [{"left": 1}, {"left": 2}]}},
    ],
    ids=["image", "octets", "form", "json"],
)  # fmt: skip
def test_a_file_comes_as_body_as_form_or_as_base64(house, sent):
    answer = house.client.post("/api/pots/iron/photo", **sent)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"potName": "iron", "photoSize": len(PHOTO), "boxes": 2, "lids": True}


@pytest.mark.parametrize(
    ("sent", "status", "said"),
    [
        ({"content": b"", "headers": {"content-type": "image/png"}}, 422, "photo: expected a file as the body"),
        ({"content": b"x" * 2_000_000, "headers": {"content-type": "image/png"}}, 413, "larger than"),
        ({"files": {"photo": PHOTO * 1000}}, 413, "larger than"),
        ({"files": {"picture": PHOTO}}, 422, "picture: expected the file as 'photo'"),
        ({"files": [("photo", ("a", PHOTO)), ("photo", ("b", PHOTO))]}, 400, "Too many files"),
        ({"data": {"lids": "true"}, "files": {}}, 400, "JSON"),
        ({"content": b"nonsense", "headers": {"content-type": "multipart/form-data; boundary=x"}}, 400, "Invalid"),
        ({"content": b"nonsense", "headers": {"content-type": "multipart/form-data"}}, 400, "the form cannot be read"),
        ({"files": {"photo": PHOTO}, "data": {"lids": "perhaps"}}, 422, "lids: expected bool"),
        ({"files": {"photo": PHOTO}, "data": {"boxes": "[{"}}, 422, "boxes: expected JSON"),
        ({"files": {"photo": PHOTO}, "data": {"pot": "steel"}}, 422, "pot: expected 'iron'"),
        ({"json": {"photo": "%%%"}}, 422, "photo"),
        ({"json": {}}, 422, "photo: expected a value, got nothing"),
    ],
)
def test_a_refusal_leaves_in_the_acts_own_shape_with_the_usual_status(house, sent, status, said):
    answer = house.client.post("/api/pots/iron/photo", **sent)
    assert (answer.status_code, said in answer.text) == (status, True), answer.text
    assert set(answer.json()) == {"ok", "reason", "code", "at"}
    assert answer.json()["ok"] is False


def test_deletions_lists_and_plain_paths_before_named_ones(house, capsys):
    assert house.client.delete("/api/pots?pots=a,b").json() == {"pots": ["a", "b"]}
    assert house.client.delete('/api/pots?pots=["a,b"]').json() == {"pots": ["a,b"]}
    kept = house.client.delete("/api/pots?pots=gold")
    assert (kept.status_code, kept.json()["code"]) == (409, "conflict")
    assert house.get("/api/pots/summary").json() == {"pots": ["all"]}
    assert command(capsys, house, "pots", "throw", "--pots", "a", "--pots", "b") == (0, {"pots": ["a", "b"]})


def test_a_command_takes_a_file_and_json(house, capsys, tmp_path):
    picture, boxes = tmp_path / "pot.png", tmp_path / "boxes.json"
    picture.write_bytes(PHOTO)
    boxes.write_text('[{"left": 4}]')
    words = ["pots", "see", "--pot", "iron", "--photo", str(picture), "--boxes", f"@{boxes}", "--lids"]
    code, said = command(capsys, house, *words)
    assert (code, said) == (0, {"potName": "iron", "photoSize": len(PHOTO), "boxes": 1, "lids": True})
    code, said = command(capsys, house, "pots", "see", "--pot", "iron", "--photo", "none.png")
    assert code == 1
    assert "no file 'none.png'" in said


def test_a_defect_is_the_products_500_and_is_logged(house):
    answer = house.get("/api/pots/crash/now")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")


def test_an_act_asks_a_model_in_the_servers_loop_and_tells_what_came_true(house):
    found = house.get("/api/pots/iron", level=4).json()
    assert (found["level"], found["state"]) == (8.0, "joined")
    shown = house.get(f"/v1/predictions/{found['prediction']}").json()
    assert (shown["key"], shown["request_id"], shown["prediction"]) == ("iron", "pot", 8.0)
    assert [outcome["actual"] for outcome in shown["outcomes"]] == [3.0]


# ------------------------------------------------------------------------------------------------ watching


def test_a_failing_probe_is_unknown_and_the_watch_goes_on(house):
    pass_of_watch(house)
    found = {(r["name"], r["subject"]): r for r in house.get("/v1/readings").json()["readings"]}
    assert found["pot_level", "pots/a"]["level"] == "ok"
    assert ("pot_never", "pots/a") not in found
    assert ("pot_lie", "pots/a") not in found
    state = found["probe", "pots"]
    assert (state["level"], state["value"]) == ("unknown", None)
    for words in (
        "away: the kitchen is closed",
        "defective is defective",
        "KeyError",
        "lying is defective",
        "not finite",
    ):
        assert words in state["detail"]
    assert found["probe", "kettles"]["level"] == "ok"


def test_a_workloads_policy_is_taken_up_once_and_the_owners_stays(tmp_path):
    folder, found = tmp_path / "data", []

    def policy():
        with served(folder, workloads=["pots:WORKLOAD"]) as house:
            with house.rooms.store.read() as ledger:
                kept = ledger.versions.policy("pots-level")
                acts = [act.who for act in ledger.acts.all() if act.what == "policy"]
                found.append((kept.number, kept.horizon, acts))
            if not house.rooms.files.all():
                house.keep("pots-level")

    for _ in range(3):
        policy()
    (folder / "modelkeep.toml").write_text("[models.pots-level]\nhorizon = '9s'\n")
    policy()
    assert found == [
        (1, 0.0, []),  # nothing is said of a model that there is not
        (2, 60.0, ["workload pots"]),
        (2, 60.0, ["workload pots"]),
        (3, 9.0, ["configuration", "workload pots"]),
    ]


# ------------------------------------------------------------------------------------------------ pages


def test_a_panel_is_escaped_bounded_and_says_that_it_is_simulated(house):
    answer = house.get("/workloads/pots")
    text = answer.text
    assert "<b>0</b>" not in text
    assert "<i>they</i>" not in text
    assert "Pots &amp; pans" in text
    assert "and 30 more" in text
    assert "Nothing yet" in text
    assert "2 further lines not drawn" in text
    assert len(re.findall(r">simulated<|/></svg>simulated", text)) == 6  # the page, two tables, the charts, each chart
    assert "15 of 60 rows critical" in text
    for word in ("Healthy", "Warning", "Critical", "Unknown"):
        assert f"{word}</span>" in text
    whole = len(text) + sum(
        len(house.get(path).content) for path in re.findall(r'(?:href|src)="(/static/[^"]+)"', text)
    )
    assert whole <= 60 * 1024, whole
    assert 'id="w-pots"' in house.get("/").text


def test_the_page_of_a_workload_is_live(house):
    with httpx.stream("GET", f"{house.url}/events?workload=kettles", timeout=10) as stream:
        assert stream.status_code == 200
        news = (line for line in stream.iter_lines() if line.startswith("data: "))
        first = json.loads(next(news)[6:])
        assert set(first) == {"clock", "state", "alerts", "tables", "charts"}
        house.post("/api/kettles", {"kettle": "green", "celsius": 40})
        assert any("green" in json.loads(line[6:]).get("tables", "") for line in news)
    assert house.get("/events", workload="kettle").status_code == 404


def test_a_workload_without_a_page_names_those_that_have_one(house):
    missing = house.get("/workloads/kettle")
    assert missing.status_code == 404
    assert 'href="/workloads/kettles"' in missing.text


# ------------------------------------------------------------------------------------------------ description


def test_acts_of_workloads_are_described(house):
    found = house.get("/openapi.json").json()
    body = found["paths"]["/api/pots/{pot}/photo"]["post"]["requestBody"]["content"]
    assert set(body) == {"application/json", "multipart/form-data", "image/*", "application/octet-stream"}
    assert body["multipart/form-data"]["schema"]["properties"]["photo"]["format"] == "binary"
    refusal = found["paths"]["/api/pots"]["delete"]["responses"]["409"]["content"]["application/json"]["schema"]
    assert refusal == {"$ref": "#/components/schemas/Wrapped"}
    assert {p["name"] for p in found["paths"]["/api/pots"]["delete"]["parameters"]} == {"pots"}


def test_nothing_that_can_be_sent_to_a_workload_is_a_fault(house):
    document = openapi.document([act for act in mounting.mounted(house.app.extensions) if act.name != "pots_crash"])
    document["paths"] = {path: acts for path, acts in document["paths"].items() if path.startswith("/api/")}
    schema = schemathesis.openapi.from_dict(document)
    schema.config.base_url = house.url
    few = settings(
        max_examples=8, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    tried = []
    for found in schema.get_all_operations():

        @few
        @given(case=found.ok().as_strategy())
        def attempt(case):
            answer = case.call(headers={"connection": "keep-alive"}, timeout=20)
            tried.append(answer.status_code)
            try:
                case.validate_response(answer, checks=[not_a_server_error])
            except FailureGroup:
                assert answer.status_code in {502, 503, 504}, answer.text

        attempt()
    assert len(tried) > 40


# ------------------------------------------------------------------------------------------------ two of one


def act(name, path, method="GET"):
    from pots import Gone, Some, summary

    return Operation(name=name, method=method, path=path, request=Some, result=Gone, run=summary)


def workload(name, *operations):
    return Workload(name=name, summary=name, operations=operations)


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        (act("a_x", "/api/x"), act("b_x", "/api/x"), "workload a (a_x) and by workload b (b_x)"),
        (act("a_x", "/api/x"), act("a_x", "/api/y"), "the act 'a_x'"),
        (
            act("a_x", "/api/x/{pots}"),
            act("b_x", "/api/x/y"),
            "GET /api/x/y is answered by workload a (a_x) and by workload b",
        ),
        (act("a_x", "/v1/models/{pots}/predict", "POST"), act("b_x", "/b"), "the product (predict)"),
        (act("a_x", "/v1/status"), act("b_x", "/b"), "by the product (status) and by workload a (a_x)"),
        (act("status", "/a"), act("b_x", "/b"), "the act 'status'"),
    ],
)
def test_two_acts_of_one_route_or_name_are_refused_and_both_are_named(one, other, said):
    with pytest.raises(BadSettings) as refusal:
        mounting.mounted([workload("a", one), workload("b", other)])
    assert said in str(refusal.value)


def test_a_route_of_the_products_pages_is_refused_at_the_start(tmp_path, monkeypatch):
    import pots

    monkeypatch.setattr(pots, "WORKLOAD", workload("pots", act("pots_x", "/workloads/pots")))
    with (
        pytest.raises(BadSettings, match="is the product's own /workloads"),
        served(tmp_path, workloads=["pots:WORKLOAD"]),
    ):
        pass


def test_an_act_that_cannot_be_mounted_is_refused():
    with pytest.raises(BadSettings, match="needs the field 'id'"):
        mounting.mounted([workload("a", act("a_x", "/api/{id}"))])
    with pytest.raises(BadSettings, match="like a command"):
        mounting.mounted([workload("status")])


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_act_of_a_workload_that_comes_along_can_be_mounted(name):
    """A start does not look again, for these."""
    found = find(name)
    assert comes_along(found)
    mounting.whole(found)
    assert not comes_along(workload(name, *found.operations))


def test_the_list_of_commands_names_the_built_in_workloads():
    import importlib

    listed = {name: summary for name, (_, summary) in cli.GROUPS["Workloads"].items()}
    found = {name: importlib.import_module(place.partition(":")[0]).WORKLOAD for name, place in BUILT_IN.items()}
    assert listed == {name: each.summary for name, each in found.items()}
