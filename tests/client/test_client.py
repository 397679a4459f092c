"""``modelkeep.Client`` and ``modelkeep.AsyncClient`` against a real server, a stopped one, and one that comes back."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from served_house import served

import modelkeep
from modelkeep.client.outbox import SPOOL
from modelkeep.errors import BadFeatures, NotFound, Unavailable


def free():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def stored(house, model="price"):
    assert house.rooms.recorder.flush() == 0
    return house.get(f"/v1/models/{model}").json()["summary"]["predictions"]


def test_a_client_asks_records_tells_and_says(house):
    with modelkeep.Client(house.url) as client:
        answer = client.predict("doubler", {"x": 2.0, "plan": "gold"}, key="ann")
        assert (answer.prediction, answer.version, answer.role) == (4.0, 1, "champion")
        assert [a.prediction for a in client.predict_many("doubler", [{"x": n, "plan": "gold"} for n in (1, 2)])] == [
            2,
            4,
        ]
        client.outcome(4.5, prediction=answer.prediction_id)
        client.feedback(answer.prediction_id, rating=2, comment="too low", by="ann")
        mine = client.record(
            "price", features={"rooms": 3, "area": np.float64(70)}, output=np.float32(2.5), seconds=0.01
        )
        client.outcome(2.0, prediction=mine, model="price")
        assert client.flush() == 0
        state = client.state
        assert (state.waiting, state.sent, state.dropped, state.refused, state.cause) == (0, 4, 0, 0, "")
    assert stored(house) == 1
    shown = house.get(f"/v1/predictions/{answer.prediction_id}").json()
    assert shown["outcomes"][0]["actual"] == 4.5
    assert (shown["feedback"][0]["rating"], shown["feedback"][0]["by"]) == (2, "ann")
    (listed,) = house.get("/v1/models/price/predictions").json()["predictions"]
    assert (listed["given_id"], listed["truth"], listed["off_by"], listed["latency_ms"]) == (mine, 2.0, 0.5, 10.0)


def test_refusals_are_the_errors_that_they_are_on_the_server(house):
    with modelkeep.Client(house.url, retries=0) as client:
        with pytest.raises(NotFound) as missing:
            client.predict("dubler", {"x": 1})
        assert missing.value.near == ("doubler",)
        with pytest.raises(BadFeatures, match="x: expected number") as bad:
            client.predict("doubler", {"x": 1000})
        assert bad.value.problems[0].field == "x"
    with modelkeep.Client(f"http://127.0.0.1:{free()}", retries=1, timeout=0.3) as gone, pytest.raises(Unavailable):
        gone.predict("doubler", {"x": 1})


def test_a_bad_record_harms_no_other_and_is_put_aside(house, tmp_path):
    with modelkeep.Client(house.url, spool=tmp_path / "spool", batch=400) as client:
        for n in range(300):
            client.record("price", features={"rooms": n}, output="high" if n % 2 else 1.0 * n, id=f"r{n}")
        client.record("nobody", features={}, output=1.0)
        client.record("price", features={"rooms": float("nan")}, output=1.0)
        client.record("price", features={"rooms": object()}, output=1.0)
        assert client.flush(30) == 0
        assert (client.state.refused, client.state.dropped) == (151, 2)
    assert stored(house) == 150
    refused = (tmp_path / "spool" / "refused.ndjson").read_text().splitlines()
    assert len(refused) == 151
    assert json.loads(refused[0])["id"] == "r1"


def test_what_cannot_be_sent_waits_on_disk_and_is_drained_in_order_when_the_server_is_back(tmp_path):
    port = free()
    client = modelkeep.Client(f"http://127.0.0.1:{port}", spool=tmp_path / "spool", every=0.02, timeout=1)
    for n in range(100):
        client.record("price", features={"rooms": n, "area": 1.0}, output=1.0 * n, id=f"r{n}")
    assert client.flush(0.3) == 100
    end = time.monotonic() + 10
    while not client.state.cause and time.monotonic() < end:
        time.sleep(0.02)  # its thread imports httpx
    assert "Error" in client.state.cause
    assert client.close(0.1) == 100
    with served(tmp_path / "data", server__listen=[port]) as house:
        signature = {"inputs": [{"name": "rooms", "kind": "number"}], "output": {"name": "y", "kind": "number"}}
        house.post("/v1/models/price/external", {"signature": signature})
        again = modelkeep.Client(house.url, spool=tmp_path / "spool", every=0.02, timeout=1)
        assert again.flush(30) == 0
        assert again.state.sent == 100
        assert stored(house) == 100
        listed = house.get("/v1/models/price/predictions", limit=200).json()["predictions"]
        assert [p["given_id"] for p in reversed(listed)] == [f"r{n}" for n in range(100)]
        assert again.close() == 0
    assert (tmp_path / "spool" / "0" / SPOOL).stat().st_size == 0


def test_the_bound_of_the_outbox_drops_and_counts(tmp_path):
    client = modelkeep.Client(f"http://127.0.0.1:{free()}", spool=tmp_path / "spool", limit=5000, timeout=0.2)
    for n in range(100):
        client.record("price", features={"rooms": n}, output=1.0)
    state = client.state
    assert state.waiting + state.dropped == 100
    assert 0 < state.waiting < 60
    assert "5000 bytes wait" in state.cause
    assert (tmp_path / "spool" / "0" / SPOOL).stat().st_size < 6000
    client.close(0.0)


def test_records_survive_kill_9_of_their_process_and_are_kept_once(house, tmp_path):
    script, spool = Path(__file__).parent / "recording_process.py", tmp_path / "spool"
    words = [sys.executable, str(script), house.url, str(spool)]
    for _ in range(2):  # the second takes up what the first left, and says the same again
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        said = [process.stdout.readline().strip() for _ in range(500)]
        os.kill(process.pid, signal.SIGKILL)
        process.stdout.close()
        process.wait(10)
    heir = modelkeep.Client(house.url, spool=spool)
    heir.record("price", features={}, output=0.0, id="last")
    assert heir.close(30) == 0
    kept = stored(house)
    names = set()
    after = ""
    while True:
        page = house.get("/v1/models/price/predictions", limit=1000, **({"after": after} if after else {})).json()
        names |= {p["given_id"] for p in page["predictions"]}
        after = page["next"]
        if not after:
            break
    assert set(said) <= names, "what was handed over is there"
    assert kept == len(names), "and once"


def test_two_lines_record_any_function_and_never_break_it(house):
    client = modelkeep.Client(house.url)

    @client.recorded("price", key="customer")
    def price(customer, rooms, area=50.0):
        """What a flat costs."""
        if rooms < 0:
            raise ValueError("no rooms")
        return 10.0 * rooms + area

    assert price("ann", 2) == 70.0
    first = client.last_id
    assert price("ann", rooms=3, area=np.float64(20.0)) == 50.0
    with pytest.raises(ValueError, match="no rooms"):
        price("bob", -1)
    with pytest.raises(TypeError):
        price()
    assert (price.__name__, price.__doc__) == ("price", "What a flat costs.")
    client.outcome(75.0, prediction=first, model="price")
    assert client.close() == 0
    assert stored(house) == 3
    failed, second, _ = house.get("/v1/models/price/predictions").json()["predictions"]
    assert (failed["error"], failed["prediction"], failed["key"]) == ("ValueError: no rooms", None, "bob")
    assert (second["features"], second["prediction"]) == ({"rooms": 3, "area": 20.0}, 50.0)
    assert house.get("/v1/models/price/predictions", failed=True).json()["predictions"] == [failed]


def test_what_is_odd_about_a_record_is_the_records_own_business(house):
    client = modelkeep.Client(house.url)

    @client.recorded("price", features=lambda row: 1 / 0)
    def broken(row):
        return "fine"

    @client.recorded("price")
    def table(row):
        return ["no", "scalar"]

    @client.recorded("price", features=lambda frame: {"rooms": len(frame)}, output=lambda found: found["price"])
    def named(frame):
        return {"price": 3.0}

    assert broken({"rooms": 1}) == "fine"
    assert table({"rooms": 1}) == ["no", "scalar"]
    assert named([1, 2]) == {"price": 3.0}
    assert client.close() == 0
    assert stored(house) == 1
    (one,) = house.get("/v1/models/price/predictions").json()["predictions"]
    assert (one["features"], one["prediction"]) == ({"rooms": 2}, 3.0)


def test_an_async_client_does_the_same(house):
    async def life():
        async with modelkeep.AsyncClient(house.url) as client:

            @client.recorded("price")
            async def price(rooms, area):
                await asyncio.sleep(0)
                if rooms == 0:
                    raise ValueError("no rooms")
                return rooms * area

            answers = await asyncio.gather(*(client.predict("doubler", {"x": n, "plan": "gold"}) for n in range(5)))
            assert [a.prediction for a in answers] == [0, 2, 4, 6, 8]
            assert await price(2, 3.0) == 6.0
            with pytest.raises(ValueError, match="no rooms"):
                await price(0, 1.0)
            client.outcome(7.0, prediction=client.last_id, model="price")
            with pytest.raises(NotFound):
                await client.predict("dubler", {"x": 1})
            assert await client.flush() == 0
            assert client.state.sent == 3

    asyncio.run(life())
    assert stored(house) == 2


class Busy(BaseHTTPRequestHandler):
    """A server that is busy twice, then answers."""

    asked: list[str] = []

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.asked.append(self.path)
        busy = len(self.asked) <= 2
        body = (
            b'{"error": {"code": "unavailable", "message": "too much"}}'
            if busy
            else b'{"prediction": 1.0, "prediction_id": "1-1", "model": "m", "version": 1, "role": "champion", '
            b'"latency_ms": 0.1, "request_id": "r"}'
        )
        self.send_response(503 if busy else 200)
        self.send_header("content-length", str(len(body)))
        if busy:
            self.send_header("retry-after", "0")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing."""


def test_a_busy_server_is_asked_again():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Busy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with modelkeep.Client(f"http://127.0.0.1:{server.server_port}", retries=2) as client:
            assert client.predict("m", {"x": 1}).prediction == 1.0
        assert len(Busy.asked) == 3
    finally:
        server.shutdown()
        server.server_close()


def test_importing_the_client_brings_little_along():
    code = (
        "import sys, modelkeep; modelkeep.Client; "
        "print(len(sys.modules), *({'httpx', 'numpy', 'sqlalchemy', 'starlette', 'duckdb'} & set(sys.modules)))"
    )
    count, *heavy = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert int(count) <= 250
    assert heavy == []
