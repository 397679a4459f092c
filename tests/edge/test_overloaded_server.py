"""A served house under more than it can answer: what callers, operators and autoscalers see of it."""

import asyncio
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import msgspec
import pytest
from making_models import DOUBLER, TRIPLER
from served_house import served as served_house
from waiting import until

from modelkeep.jobs.changing import adopt
from modelkeep.nouns import Caching, Policy, Rollout
from modelkeep.serving.admission.admitting import Hung

SLOW = "import time\ndef predict(row):\n    time.sleep(0.1)\n    return 2.0 * row['x']\n"
HANGS = "import time\ndef predict(row):\n    time.sleep(40 if row['x'] < 0 else 0)\n    return 2.0 * row['x']\n"


def served(folder, **flags):
    """A house in which models that bring code run in processes of their own, as they do by default."""
    return served_house(folder, loading__isolate=True, **flags)


def flood(house, *, n, model="slow", priority="normal", threads=32):
    """Ask from many threads at once; every answer."""
    headers = {"X-Priority": priority}

    own = threading.local()  # a client that threads share closes connections under each other
    made = []

    def one(i):
        if not hasattr(own, "client"):
            own.client = httpx.Client(base_url=house.client.base_url, headers=house.client.headers, timeout=30)
            made.append(own.client)
        began = time.perf_counter()
        answer = own.client.post(
            f"/v1/models/{model}/predict", json={"features": {"x": float(i % 50), "plan": None}}, headers=headers
        )
        return answer, time.perf_counter() - began

    try:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(one, range(n)))
    finally:
        for client in made:
            client.close()


@contextmanager
def flooding(house, *, threads=32):
    """As many callers as that ask ``slow`` again and again while something is done; every answer."""
    enough, found = threading.Event(), []

    def caller(i):
        with httpx.Client(base_url=house.client.base_url, headers=house.client.headers, timeout=30) as client:
            while not enough.is_set():
                found.append(client.post("/v1/models/slow/predict", json={"features": {"x": float(i), "plan": None}}))
                enough.wait(0.1)

    with ThreadPoolExecutor(threads) as pool:
        callers = [pool.submit(caller, i) for i in range(threads)]
        try:
            yield found
        finally:
            enough.set()
    for one in callers:
        one.result()


@pytest.fixture(scope="module")
def busy(tmp_path_factory):
    with served(tmp_path_factory.mktemp("busy"), overload__calm=0.5, overload__settle=0.5) as house:
        house.keep("slow", SLOW, policy=Policy(model="slow", lighter=0))
        yield house


@pytest.mark.row("EMG-11")
def test_an_overload_is_seen_everywhere_and_what_is_not_essential_waits(busy):
    until(lambda: busy.get("/v1/overload").json()["state"] == "normal")
    assert busy.get("/v1/models/slow/performance").status_code == 200
    began, before = busy.rooms.clock.now(), turned_away(busy)
    with flooding(busy) as answers:
        until(lambda: busy.get("/v1/overload").json()["state"] == "shedding")
        until(lambda: sum(a.status_code == 503 for a in list(answers)) > 50)
        off = busy.get("/v1/models/slow/performance")
        status = busy.get("/v1/status").json()
        text = busy.get("/metrics").text
    shed = [a for a in answers if a.status_code == 503]
    assert {a.status_code for a in answers} == {200, 503}
    for answer in shed:
        assert answer.json()["error"]["code"] == "overloaded"
        assert int(answer.headers["retry-after"]) >= 1
    assert turned_away(busy) - before == len(shed)
    assert (off.status_code, off.json()["error"]["code"]) == (503, "feature_disabled")
    assert off.headers["retry-after"]
    assert status["overload"] == "shedding"
    assert any("slow@1 is overloaded" in cause for cause in status["causes"])
    assert 'modelkeep_overload_state{model="slow",version="1"} 2.0' in text
    assert 'modelkeep_load{model="slow"' in text
    counted = f'modelkeep_shed_total{{model="slow",priority="normal",version="1"}} {float(turned_away(busy))}'
    assert counted in busy.get("/metrics").text
    until(lambda: busy.get("/v1/overload").json()["state"] == "normal")
    assert busy.get("/v1/models/slow/performance").status_code == 200
    until(lambda: len(states(busy, began)) >= 3)
    assert [r.facts["state"] for r in states(busy, began)][:3] == ["shedding", "recovering", "normal"]


def turned_away(house):
    """How many requests were shed so far."""
    gates = house.get("/v1/overload").json()["gates"]
    return sum(gate["shed"].get("normal", 0) for gate in gates if gate["model"] == "slow")


def states(house, began):
    with house.rooms.store.read() as ledger:
        found = ledger.readings.series("overload", "slow@1", start=began, end=house.rooms.clock.now() + 1)
    return [r for i, r in enumerate(found) if i == 0 or found[i - 1].facts["state"] != r.facts["state"]]


def test_a_priority_that_nobody_knows_is_refused(busy):
    refused = busy.post(
        "/v1/models/slow/predict", {"features": {"x": 1.0, "plan": None}}, headers={"X-Priority": "vip"}
    )
    assert refused.status_code == 422
    assert refused.json()["error"]["problems"][0]["expected"].startswith("critical, normal or batch")
    for word in ("critical", "normal", "batch", "low", "LOW"):
        answer = busy.post(
            "/v1/models/slow/predict", {"features": {"x": 1.0, "plan": None}}, headers={"X-Priority": word}
        )
        assert answer.status_code == 200


@pytest.mark.row("SEC-03")
def test_one_request_too_many_is_429_for_that_caller_alone(tmp_path):
    with served(tmp_path / "d", overload__rate=1.0, overload__burst=5, overload__caller="x-client") as house:
        house.keep("doubler")

        def ask(client):
            return house.post(
                "/v1/models/doubler/predict", {"features": {"x": 1.0, "plan": None}}, headers={"X-Client": client}
            )

        answers = [ask("a") for _ in range(6)]
        assert [a.status_code for a in answers] == [200] * 5 + [429]
        assert [a.headers["ratelimit-remaining"] for a in answers] == ["4", "3", "2", "1", "0", "0"]
        last = answers[-1]
        assert (last.headers["ratelimit-limit"], last.headers["retry-after"]) == ("5", "1")
        assert last.json()["error"]["code"] == "too_many_requests"
        assert ask("b").status_code == 200
        assert house.get("/health").status_code == 200


@pytest.mark.row("SRV-05", "PER-04")
def test_an_equal_input_is_answered_from_memory_until_a_version_is_promoted(tmp_path):
    with served(tmp_path / "d") as house:
        house.keep("doubler", policy=Policy(model="doubler", cache=Caching(on=True)))
        first, second = house.ask(x=3.0).json(), house.ask(x=3.0).json()
        assert (first["cached"], second["cached"]) == (False, True)
        assert first["prediction"] == second["prediction"] == 6.0
        assert first["prediction_id"] != second["prediction_id"]
        until(lambda: house.get(f"/v1/predictions/{second['prediction_id']}").status_code == 200)
        assert house.get(f"/v1/predictions/{second['prediction_id']}").json()["prediction"] == 6.0
        text = house.get("/metrics").text
        assert 'ml_cache_hits_total{cache_type="prediction"} 1.0' in text
        assert 'ml_cache_lookups_total{cache_type="prediction"} 2.0' in text
        house.keep("doubler", TRIPLER)
        assert [house.ask(x=3.0).json()["cached"] for _ in range(2)] == [False, True]
        assert house.ask(x=3.0).json()["prediction"] == 9.0
        for i in range(100):
            house.ask(x=(i + 0.5) / 7)
        assert house.ask(x=3.0).json()["cached"] is False


@pytest.mark.row("PER-11")
def test_the_performance_of_a_model_tells_speed_throughput_and_availability(tmp_path):
    with served(tmp_path / "d") as house:
        version = house.keep("doubler")
        now = house.rooms.clock.now()
        with house.rooms.store.write() as ledger:
            was = ledger.rollouts.get("doubler")
            early = msgspec.structs.replace(was, since=now - 7200)
            ledger.rollouts.put(early, was)
            off = msgspec.structs.replace(early, disabled="repair", since=now - 1800)
            ledger.rollouts.put(off, early)
            ledger.rollouts.put(msgspec.structs.replace(early, since=now - 1800 + 360), off)
        house.rooms.router.refresh()
        for i in range(20):
            assert house.ask(x=float(i)).json()["version"] == version.number
        until(lambda: house.get("/v1/models/doubler/performance").json()["predictions"] == 20)
        found = house.get("/v1/models/doubler/performance").json()
        assert found["availability"] == pytest.approx(90.0, abs=0.05)
        assert found["disabled_seconds"] == pytest.approx(360)
        assert 0 < found["average_ms"] <= found["p95_ms"] * 2
        assert found["per_minute"] == pytest.approx(20 / 60)
        assert sum(minute["predictions"] for minute in found["throughput"]) == 20
        assert found["success_rate"] == 100


@pytest.mark.row("EMG-13")
def test_more_capacity_is_asked_for_once(tmp_path):
    taken = []

    class Scaler(BaseHTTPRequestHandler):
        def do_POST(self):
            taken.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    scaler = HTTPServer(("127.0.0.1", 0), Scaler)
    threading.Thread(target=scaler.serve_forever, daemon=True).start()
    try:
        hook = f"http://127.0.0.1:{scaler.server_port}/more"
        with served(tmp_path / "d", overload__webhook=hook, overload__calm=0.5, overload__settle=0.5) as house:
            house.keep("slow", SLOW)
            flood(house, n=400)
            until(lambda: len(taken) == 1)
            until(lambda: house.get("/v1/overload").json()["state"] == "normal")
            flood(house, n=400)
            until(lambda: house.get("/v1/overload").json()["state"] == "normal")
            time.sleep(0.5)
    finally:
        scaler.shutdown()
        scaler.server_close()
    (one,) = taken
    assert (one["event"], one["model"]) == ("overload", "slow")
    assert one["offered"] > one["capacity"] > 0
    assert one["load"] > 1


def test_a_model_that_takes_too_long_is_cut_and_its_neighbour_does_not_feel_it(tmp_path):
    """The limit is 1 s here, not 30: the walk is the same."""
    with served(tmp_path / "d") as house:
        house.keep("doubler", DOUBLER)
        house.keep("hangs", HANGS, policy=Policy(model="hangs", limit=1.0))
        before = house.rooms.router.shelf.loaded["hangs@1"].ends()[0]

        async def both():
            async with httpx.AsyncClient(base_url=house.url, timeout=30) as client:

                async def second():
                    began = time.perf_counter()
                    await asyncio.sleep(1.0)
                    return time.perf_counter() - began  # a machine that stands still takes longer for both

                async def ask(model, x):
                    began = time.perf_counter()
                    answer = await client.post(f"/v1/models/{model}/predict", json={"features": {"x": x, "plan": None}})
                    return answer, time.perf_counter() - began

                slow, beside = asyncio.create_task(ask("hangs", -1.0)), asyncio.create_task(second())
                await asyncio.sleep(0.1)
                for _ in range(3):
                    others = await asyncio.gather(*(ask("doubler", float(i % 90)) for i in range(30)))
                return await slow, await beside, others

        (cut, took), passed, others = asyncio.run(both())
        assert (cut.status_code, cut.json()["error"]["code"]) == (504, "timeout")
        assert 0.9 < took < passed + 1.0
        assert {answer.status_code for answer, _ in others} == {200}
        print("neighbour p95", sorted(s for _, s in others)[28])
        until(lambda: house.rooms.router.shelf.loaded["hangs@1"].ends()[0] == before + 1)
        until(lambda: house.ask("hangs", x=1.0).status_code == 200)
        errors = house.rooms.gateway.counters.errors
        assert errors["hangs", 1, "timeout"] >= 1


def test_a_version_that_hangs_gets_a_process_of_its_own_unless_its_owner_forbids_it(tmp_path):
    with served(tmp_path / "d") as house:
        house.keep("doubler", policy=Policy(model="doubler", isolation="never"))
        house.keep("other")
        shelf = house.rooms.router.shelf
        assert shelf.loaded["doubler@1"].ends is None
        for model in ("doubler", "other"):
            house.rooms.gateway.admission.hung(Hung(model=model, version=1, why="it held the event loop"))
        with house.rooms.store.read() as ledger:
            assert ledger.versions.policy("doubler").isolation == "never"
            assert ledger.versions.policy("other").isolation == "process"
            (act,) = [act for act in ledger.acts.all(subject="other") if act.what == "policy"]
        assert (act.who, act.why) == ("server", "other@1 hangs: it held the event loop")
        with house.rooms.store.write() as ledger:
            kept = ledger.versions.policy("doubler")
            adopt(ledger, msgspec.structs.replace(kept, isolation="process"), who="owner", why="", at=1.0)
        house.rooms.router.refresh()
        assert shelf.loaded["doubler@1"].ends() == (0, "")
        assert house.ask("doubler", x=4.0).json()["prediction"] == 8.0


def test_rollout_of_a_lighter_version_marks_its_answers(busy):
    version = busy.keep("slow", f"{DOUBLER}# {time.time_ns()}\n", released=False)
    with busy.rooms.store.write() as ledger:
        was = ledger.rollouts.get("slow")
        after = Rollout(
            model="slow", champion=1, fallback=version.number, policy=was.policy, since=busy.rooms.clock.now()
        )
        ledger.rollouts.put(after, was)
    busy.rooms.router.refresh()

    def low(answers):
        return [a for a in answers if a.get("tier") == "low"]

    with flooding(busy, threads=8) as answers:  # eight times what the one can answer, and little for the lighter one
        until(lambda: len(low([a.json() for a in list(answers)])) > 50, every=0.1)
    said = [a.json() for a in answers]
    assert {a["version"] for a in low(said)} == {version.number}
    assert not [a["error"] for a in said if "error" in a]


@pytest.mark.prove
def test_a_connection_that_is_used_is_not_closed_for_being_idle(fresh):
    """On the ordinary road too: what counts is that something was asked, not what."""
    port = int(fresh.url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), timeout=3) as line:
        for _ in range(11):
            line.sendall(b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n")
            assert line.recv(65536).startswith(b"HTTP/1.1 200")
            time.sleep(0.7)
