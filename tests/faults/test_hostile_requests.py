"""Hostile requests: each turned away with a 4xx of one shape, memory bounded, and those beside it answered."""

import gzip
import json
import shutil
import socket
from contextlib import suppress

import pytest
from live_server import Live, kept, traffic
from populating import answer_of
from waiting import until

PREDICT = "/v1/models/weight/predict"
OUTCOMES = "/v1/outcomes"
GROWTH = 40 * 2**20
"""Bytes by which the server may have grown after all of it: far less than one of the bodies."""


@pytest.fixture(scope="module")
def live(template, tmp_path_factory):
    place = tmp_path_factory.mktemp("hostile") / "data"
    shutil.copytree(template, place)
    server = Live(place)
    yield server
    server.close()


def refused(reply, *statuses):
    assert reply.status in statuses, (reply.status, reply.content[:500])
    return reply.error


@pytest.mark.row("QUA-11")
def test_missing_extra_and_wrong_typed_features_are_each_named(live):
    before = len(kept(live.folder))
    asked = {
        "rows": [
            {"features": {}},
            {"features": {"x": 1.0, "y": 2.0}},
            {"features": {"x": "one"}},
            {"features": {"x": 1001}},
        ]
    }
    error = refused(live.post(PREDICT, asked), 422)
    assert error["code"] == "bad_features"
    assert [(p["row"], p["field"]) for p in error["problems"]] == [(0, "x"), (1, "y"), (2, "x"), (3, "x")]
    assert all(p["expected"] and p["got"] for p in error["problems"])
    wrong = {"nothing": {}, "2": {"x": 1, "extra": 2}, "'one'": {"x": "one"}, "True": {"x": True}}
    for got, features in wrong.items():
        (found,) = refused(live.post(PREDICT, {"features": features}), 422)["problems"]
        assert found["field"] in {"x", "extra"}
        assert found["expected"]
        assert got in found["got"]
    assert len(kept(live.folder)) == before, "nothing that was refused is recorded as a prediction"


DEEP = 100_000
BODIES = {
    "10,000 deep arrays": b"[" * 10_000 + b"]" * 10_000,
    "100,000 deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep features": b'{"features":{"x":' + b"[" * 10_000 + b"]" * 10_000 + b"}}",
    "NaN": b'{"features":{"x":NaN}}',
    "Infinity": b'{"features":{"x":-Infinity}}',
    "too large a number": b'{"features":{"x":1e999}}',
    "an integer of 400 digits": b'{"features":{"x":' + b"9" * 400 + b"}}",
    "duplicate feature": b'{"features":{"x":1,"x":2}}',
    "duplicate field": b'{"features":{"x":1},"features":{"x":2}}',
    "duplicate in a batch": b'{"rows":[{"features":{"x":1}},{"features":{"x":1,"x":2}}]}',
    "unknown field": b'{"features":{"x":1},"weight":2}',
    "not an object": b'"features"',
    "cut off": b'{"features":{"x":1',
    "two values": b'{"features":{"x":1}}{}',
    "nothing": b"",
    "no UTF-8": b'{"features":{"x":1},"key":"\xff\xfe"}',
    "half a surrogate": b'{"features":{"x":1},"key":"\\ud800"}',
    "UTF-16": '{"features":{"x":1}}'.encode("utf-16"),
    "a form": b"features%5Bx%5D=1",
    "XML": b"<features><x>1</x></features>",
    "gzip": gzip.compress(b'{"features":{"x":1}}'),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_makes_no_sense_is_refused(live, name):
    error = refused(live.post(PREDICT, BODIES[name]), 400, 422)
    if "NaN" in name or "Infinity" in name or "duplicate feature" in name:
        assert "x" in error["message"]
    assert live.predict(3.0).json["prediction"] == answer_of(1, 3.0)


OTHERS = {
    "deep": BODIES["10,000 deep arrays"],
    "very deep": BODIES["100,000 deep objects"],
    "NaN": b'{"prediction_id":"1-1","actual":NaN}',
    "duplicate": b'{"prediction_id":"1-1","actual":1,"actual":2}',
    "unknown": b'{"prediction_id":"1-1","actual":1,"truth":2}',
    "unknown inside": b'{"outcomes":[{"prediction_id":"1-1","actual":1,"truth":2}]}',
    "not an object": b"[3]",
    "no UTF-8": b'{"prediction_id":"\xff","actual":1}',
    "a form": b"actual=1",
}


@pytest.mark.parametrize("name", OTHERS)
def test_an_outcome_that_makes_no_sense_is_refused(live, name):
    refused(live.post(OUTCOMES, OTHERS[name], headers={"content-type": "text/plain"}), 400, 422)


def test_unknown_names_are_answered_with_near_ones(live):
    assert "weight" in refused(live.predict(model="wieght"), 404)["near"]
    assert "weight" in refused(live.get("/v1/models/weigth"), 404)["near"]
    assert refused(live.get("/v1/models/weight/versions/9"), 404)["near"]
    assert refused(live.post("/v1/models/weight/releases", {"number": 9}), 404)["near"]
    wrong = refused(live.post("/v1/models/weight/releases", {"numbr": 2}), 422)
    assert "number" in wrong["remedy"]
    refused(live.get("/v1/nowhere"), 404)
    refused(live.ask("DELETE", PREDICT), 405)
    refused(live.get("/v1/models/weight/versions/two"), 404, 422)


def chunked(live, path, *, size):
    """Send a body of ``size`` bytes in pieces without telling its length; the status of the answer."""
    piece = b"%x\r\n%s\r\n" % (2**20, b" " * 2**20)
    with socket.create_connection(("127.0.0.1", live.port), timeout=20) as line:
        line.sendall(b"POST %s HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" % path.encode())
        with suppress(OSError):  # it has answered and closed
            for _ in range(size >> 20):
                line.sendall(piece)
        return _status(line)


def told(live, path, *, size):
    """Say that ``size`` bytes come, and send them."""
    with socket.create_connection(("127.0.0.1", live.port), timeout=20) as line:
        line.sendall(b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (path.encode(), size))
        with suppress(OSError):
            for _ in range(size >> 20):
                line.sendall(b" " * 2**20)
        return _status(line)


def _status(line):
    head = line.recv(4096)
    assert head.startswith(b"HTTP/1.1 "), head
    return int(head[9:12])


def test_bodies_of_100_mb_leave_memory_as_it_was_and_neighbours_unharmed(live):
    for _ in range(50):
        live.predict(3.0)
    before = live.memory
    with traffic(live, rate=100.0, clients=2) as sent:
        for send in (told, chunked):
            for path in (PREDICT, OUTCOMES):
                assert send(live, path, size=100 * 2**20) == 413
        for body in (BODIES["100,000 deep objects"], b'{"features":{"x":' + b"1" * 10_000_000 + b"}}"):
            refused(live.post(PREDICT, body), 400, 422)
            refused(live.post(OUTCOMES, body), 400, 422)
        many = json.dumps({"rows": [{"features": {"x": 1.0}}] * 20_000}).encode()
        refused(live.post(PREDICT, many), 422)
        until(lambda: len(sent.replies) > 50)
    assert sent.broken == []
    assert set(sent.statuses()) == {200}
    grown = live.memory - before
    assert grown < GROWTH
    assert '"level":"error"' not in live.log
    slowest = max(reply.came - reply.asked for reply in sent.replies)
    print(f"grown by {grown / 2**20:.1f} MB; neighbours: {len(sent.replies)} answered, slowest {slowest * 1000:.0f} ms")
