"""``modelkeep bench predict`` on a real server."""

import json
import re
import socket
import threading
import time

import pytest
from served_house import served

from modelkeep.edge.cli import main
from modelkeep.proving import pressed_page, pressing


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with served(tmp_path_factory.mktemp("bench")) as found:
        found.keep("doubler")
        yield found


def bench(house, capsys, *words):
    code = main(["bench", "predict", "--model", "doubler", "-C", str(house.folder), *words])
    return code, capsys.readouterr().out


@pytest.mark.row("SRV-02")
def test_a_bench_prints_percentiles_of_request_and_model(house, capsys):
    code, said = bench(house, capsys, "--n", "500", "--connections", "4")
    assert code == 0
    assert "500 of 500 answered" in said
    assert re.search(r"p50 +p90 +p95 +p99", said)
    assert re.search(r"whole request( +[\d.]+){7}", said)
    assert re.search(r"model( +[\d.]+){7}", said)
    text = house.get("/metrics").text
    assert 'ml_api_request_duration_seconds_bucket{endpoint="/v1/models/{model}/predict"' in text


@pytest.mark.row("SRV-03")
def test_a_bench_at_a_rate_answers_everything_and_writes_a_report(house, capsys, tmp_path):
    report = tmp_path / "load.html"
    code, said = bench(house, capsys, "--rate", "100/s", "--for", "2s", "--json", "--html", str(report))
    found = json.loads(said)
    assert code == 0
    assert (found["n"], found["answered"], found["errors"]) == (200, 200, {})
    assert 1.8 < found["seconds"] < 4
    assert found["whole"]["p95"] < 200
    assert found["model"]["p95"] < 10
    page = report.read_text()
    assert page.count("<svg") == 3
    assert "src=" not in page
    assert "href=" not in page


def test_a_batch_is_asked_in_one_request(house, capsys):
    code, said = bench(house, capsys, "--n", "10", "--rows", "100")
    assert code == 0
    assert "100 rows a request" in said


def test_what_fails_is_told(house, capsys):
    code, said = bench(house, capsys, "--n", "5", "--row", '{"x": 1e9}')
    assert code == 1
    assert "5 x 422" in said
    assert bench(house, capsys, "--rate", "fast")[0] == 2
    assert bench(house, capsys, "--for", "10s")[0] == 2


def stalling(answers):
    """A server that answers at once, but for one stall of 0.5 s after ``answers`` requests; its port."""
    listening = socket.create_server(("127.0.0.1", 0))

    def answer():
        line, _ = listening.accept()
        with line, listening:
            for number in range(10_000):
                if not line.recv(65536):
                    return
                if number == answers:
                    time.sleep(0.5)
                line.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 18\r\n\r\n{"latency_ms":1.5}')

    threading.Thread(target=answer, daemon=True).start()
    return listening.getsockname()[1]


def test_a_stall_is_not_hidden_by_asking_less():
    def asked(rate):
        port = stalling(50)
        # the first connection is the only one that is accepted
        wanted = pressing.Wanted(host="127.0.0.1", port=port, path="/", bodies=[b"x"], n=200, connections=1, rate=rate)
        return pressing.press(wanted)

    hidden, open_ = asked(0.0), asked(200.0)
    assert hidden.whole.p95 < 100  # one of 200 was slow
    assert open_.whole.p95 > 300  # a hundred were due meanwhile
    assert open_.model.p50 == 1.5


def test_nobody_there_is_said(tmp_path, capsys):
    code = main(["bench", "predict", "--model", "m", "-C", str(tmp_path)])
    assert code == 3
    assert "no server" in capsys.readouterr().err


def test_a_report_of_nothing_is_a_report():
    found = pressing.Pressed(
        n=1, answered=0, errors={"broken connection": 1}, seconds=1.0, rate=0.0, wanted_rate=0.0, connections=1,
        whole=None, model=None, late=None, timeline=(),
    )  # fmt: skip
    page = pressed_page.page(found, title="<t>", asked="a & b")
    assert "unknown" in page
    assert "&lt;t&gt;" in page
