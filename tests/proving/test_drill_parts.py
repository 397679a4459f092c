"""A drill's parts by themselves: callers, the receiver of alerts, and what is made of what they saw."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from modelkeep.edge.cli import main
from modelkeep.proving import measuring
from modelkeep.proving.hooks import Hook
from modelkeep.proving.load import Call, Load, under_load
from modelkeep.proving.measuring import Seen, Span, Told
from modelkeep.proving.sandbox import BAD, GOOD, Biopsy, Made

ROW = Biopsy(features={"mean_radius": 14.0, "worst_radius": 15.0}, benign=True)
START = 1_700_000_000.0


class Clinic(ThreadingHTTPServer):
    """Answers predictions; ``refuses`` of the next requests get 503 instead."""

    daemon_threads = True
    refuses = 0
    told = 0


class Doctor(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        clinic = self.server
        clinic.told += len(asked.get("outcomes", []))
        busy = clinic.refuses > 0 and "features" in asked
        clinic.refuses -= busy
        body = json.dumps({"prediction": True, "prediction_id": "1-1", "latency_ms": 2.0}).encode()
        self.send_response(503 if busy else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def clinic():
    server = Clinic(("127.0.0.1", 0), Doctor)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def load_of(clinic, **how):
    return Load(url=f"http://127.0.0.1:{clinic.server_address[1]}", rows=[ROW], **{"rate": 50, "patience": 2.0, **how})


def test_callers_ask_on_time_and_tell_what_happened(clinic):
    with under_load(load_of(clinic)) as load:
        threading.Event().wait(1.5)
    assert 50 < len(load.calls) < 100
    assert all(call.ok and call.right and call.refused == 0 for call in load.calls)
    gaps = [b.due - a.due for a, b in zip(sorted(load.calls, key=due), sorted(load.calls, key=due)[1:], strict=False)]
    assert all(gap == pytest.approx(0.02, abs=1e-3) for gap in gaps)
    assert clinic.told >= load.told > 0


def due(call):
    return call.due


def test_a_caller_tries_again_while_it_has_patience(clinic):
    clinic.refuses = 5
    with under_load(load_of(clinic)) as load:
        threading.Event().wait(0.5)
    assert all(call.ok for call in load.calls)
    assert sum(call.refused for call in load.calls) == 5
    clinic.refuses = 10**6
    with under_load(load_of(clinic, patience=0.0)) as load:
        threading.Event().wait(0.2)
    assert {(call.status, call.refused) for call in load.calls} <= {(503, 0), (0, 0)}


def test_the_receiver_of_alerts_can_go_away():
    with Hook().open() as hook:
        url = f"http://127.0.0.1:{hook.port}/alerts"
        assert httpx.post(url, json={}).status_code == 204
        with hook.away():
            assert httpx.post(url, json={}).status_code == 503
        assert hook.received == 1


def test_the_versions_are_what_they_are_called():
    def of(source):
        place = {}
        exec(source, place)  # as the product's runtime does, after --trust
        return place["predict"](ROW.features)

    assert of(GOOD) is True
    assert of(BAD["wrong"]) is False
    with pytest.raises(RuntimeError):
        of(BAD["raises"])
    assert of(BAD["nothing"]) != of(BAD["nothing"])


def call(second, **how):
    what = {"ended": START + second + 0.05, "status": 200, "refused": 0, "model_seconds": 0.001, "right": True}
    return Call(due=START + second, **{**what, **how})


def kpis_of(calls, *, spans=(), alerts=(), live=1, bad=0):
    seen = Seen(
        start=START, end=START + 100, patience=10, calls=tuple(calls), spans=spans, alerts=alerts, server={},
        live=live, bad=bad,
    )  # fmt: skip
    return {kpi.name: kpi for kpi in measuring.measured(seen)}


def test_all_is_well_when_all_are_answered():
    found = kpis_of(call(i) for i in range(100))
    assert len(found) == 12
    assert {kpi.name for kpi in found.values() if kpi.met is False} == set()
    assert found["uptime"].value == 100
    assert found["response time p95"].value == pytest.approx(50)
    assert found["cost per prediction"].value is None
    assert found["throughput"].met is None  # 60 a minute were asked for: no miss, and no proof


def test_what_callers_lose_is_counted():
    lost = {"status": 0, "right": None, "model_seconds": None, "ended": START + 60}
    found = kpis_of([*(call(i) for i in range(50)), call(50, **lost), *(call(i, refused=3) for i in range(51, 100))])
    assert found["error rate"].value == pytest.approx(1)
    assert found["error rate"].met is False
    assert found["uptime"].value == pytest.approx(99)
    assert "50.0 s of 100 s in which the first try failed" in found["uptime"].detail


def test_detection_is_from_the_fault_to_its_first_alert():
    span = Span(name="x", start=START + 10, end=START + 20, survived=True, detail="")
    alerts = (
        Told(severity="high", opened=START + 16, resolved=START + 46),
        Told(severity="high", opened=START + 90, resolved=None),
    )
    found = kpis_of([call(i) for i in range(100)], spans=(span,), alerts=alerts, live=4, bad=1)
    assert found["time to detect"].value == pytest.approx(0.1)
    assert found["time to resolve"].value == pytest.approx(0.5)
    assert found["failed changes"].met is False
    seen = measuring.seen_by(span, [call(11), call(12, refused=2), call(13, status=502, right=None)])
    assert (seen.calls, seen.waited, seen.lost) == (3, 1, 1)


def test_a_drill_has_twenty_faults_of_different_names():
    from modelkeep.proving.faults import faults

    names = [fault.name for fault in faults(Made(rows=(ROW,), bad={}, good=6))]
    assert len(names) == len(set(names)) >= 20


@pytest.mark.parametrize("words", [["--minutes", "0"], ["--rate", "0"], ["--patience", "-1"]])
def test_a_drill_that_cannot_be_is_refused_before_it_begins(words, capsys):
    assert main(["drill", "kpis", *words]) == 2
    assert words[0] in capsys.readouterr().err


@pytest.mark.prove
@pytest.mark.timeout(400)
@pytest.mark.row("WK3-03")
def test_a_short_drill_survives_every_fault(capsys):
    main(["drill", "kpis", "--minutes", "0.5", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert len(report["kpis"]) == 12
    assert len(report["faults"]) >= 20
    assert [span["name"] for span in report["faults"] if not span["survived"]] == []
    found = {kpi["name"]: kpi for kpi in report["kpis"]}
    assert found["accuracy"]["met"]
    assert found["failed changes"]["value"] == 0
    assert all(kpi["met"] is not None or kpi["detail"] for kpi in report["kpis"])
