"""The hot road says byte for byte what the ordinary road says, however a request is cut, sent or spoiled."""

import json
import re
import socket
import struct
import threading
import time
from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from making_models import BROKEN, DOUBLER, TRIPLER
from msgspec import structs
from served_house import served

FUZZ = settings(
    deadline=None,
    phases=(Phase.explicit, Phase.generate),  # to make a failure smaller takes many real requests
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
PREDICT = "/v1/models/doubler/predict"
GOOD = b'{"features":{"x":3,"plan":"gold"},"key":"entity 1"}'
BODIES = {
    "plain": GOOD,
    "no key": b'{"features":{"x":3.5,"plan":"gold"}}',
    "without what may lack": b'{"features":{"x":1}}',
    "null": b'{"features":{"x":1,"plan":null}}',
    "new category": b'{"features":{"x":1,"plan":"silver"}}',
    "a colon in a text": b'{"features":{"x":1,"plan":"a:b"},"key":"e:1"}',
    "an escape": b'{"features":{"x":1,"plan":"\\u003a"},"key":"\\u00e9"}',
    "spaces": b' { "features" : { "x" : 1 } } ',
    "too low": b'{"features":{"x":-101}}',
    "true": b'{"features":{"x":true}}',
    "a text": b'{"features":{"x":"1"}}',
    "missing": b'{"features":{"plan":"gold"}}',
    "unknown": b'{"features":{"x":1,"z":2}}',
    "twice": b'{"features":{"x":1,"x":2}}',
    "twice, with an escape": b'{"features":{"x":1,"x":2},"key":"\\u003a"}',
    "NaN": b'{"features":{"x":NaN}}',
    "huge": b'{"features":{"x":1e999}}',
    "a whole number of 80 bits": b'{"features":{"x":1208925819614629174706176}}',
    "cut": b'{"features":{"x":1',
    "empty": b"",
    "array": b"[]",
    "batch": b'{"rows":[{"features":{"x":1}},{"features":{"x":2}}]}',
    "batch with keys": b'{"key":"all","rows":[{"features":{"x":1},"key":"one"},{"features":{"x":2,"plan":null}}]}',
    "batch of one": b'{"rows":[{"features":{"x":1}}]}',
    "batch of none": b'{"rows":[]}',
    "batch with a bad row": b'{"rows":[{"features":{"x":1}},{"features":{"x":1e9}}]}',
    "batch with a name twice": b'{"rows":[{"features":{"x":1,"x":2}}]}',
    "batch with a row that fails": b'{"rows":[{"features":{"x":1}},{"features":{"x":99}}]}',
    "batch and row": b'{"features":{"x":1},"rows":[{"features":{"x":1}}]}',
    "large batch": b'{"rows":[' + b",".join([b'{"features":{"x":7},"key":"k:%d"}' % i for i in range(300)]) + b"]}",
    "about a moment": b'{"features":{"x":1},"for":"2026-11-20"}',
    "no UTF-8": b'{"features":{"x":1},"key":"\xff"}',
    "long key": b'{"features":{"x":1},"key":"' + b"k" * 501 + b'"}',
    "fails": b'{"features":{"x":99}}',
}


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with served(tmp_path_factory.mktemp("wire")) as found:
        found.keep("doubler")
        found.keep("broken", BROKEN)
        found.keep("sl/ash")
        yield found


def request(body=GOOD, *, path=PREDICT, method=b"POST", headers=(), length=True):
    head = [b"%b %b HTTP/1.1" % (method, path.encode()), b"Host: localhost", *headers]
    if length:
        head.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def port(house):
    return int(house.url.rpartition(":")[2])


class Caller:
    """A connection of one's own, read answer by answer."""

    def __init__(self, house):
        self.line = socket.create_connection(("127.0.0.1", port(house)), timeout=20)
        self.left = b""

    def send(self, *pieces):
        self.line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            self.line.sendall(piece)

    def answer(self):
        """Head and body of the next answer; None when the connection was closed."""
        while b"\r\n\r\n" not in self.left:
            piece = self.line.recv(65536)
            if not piece:
                return None
            self.left += piece
        head, _, rest = self.left.partition(b"\r\n\r\n")
        size = int(re.search(rb"content-length: (\d+)", head)[1]) if b" 100 " not in head else 0
        while len(rest) < size:
            rest += self.line.recv(65536)
        self.left = rest[size:]
        return head, rest[:size]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.line.close()


def said(house, *pieces):
    with Caller(house) as caller:
        caller.send(*pieces)
        return caller.answer()


def plainly(answer):
    """An answer without what must differ: ids and times."""
    head, body = answer
    for pattern, word in (
        (rb'"prediction_id":"[\d-]+"', b"ID"), (rb'"latency_ms":[^,]+', b"MS"), (rb'"request_id":"[^"]+"', b"RID"),
    ):  # fmt: skip
        body = re.sub(pattern, word, body)
    return re.sub(rb"x-request-id: \S+", b"RID", re.sub(rb"content-length: \d+", b"N", head)), body


ORDINARY = b"Content-Encoding: identity"
"""With this header a request is left to the ordinary road."""


@pytest.mark.parametrize("name", BODIES)
def test_both_roads_say_the_same(house, name):
    for path in (PREDICT, "/v1/models/broken/predict", "/v1/models/sl%2Fash/predict", "/v1/models/nobody/predict"):
        hot = said(house, request(BODIES[name], path=path))
        ordinary = said(house, request(BODIES[name], path=path, headers=[ORDINARY]))
        assert plainly(hot) == plainly(ordinary), path


TENSOR = b'{"name":"x","shape":[2],"datatype":"FP64","data":[1,2]}'
INFERS = {
    "plain": b'{"inputs":[%b]}' % TENSOR,
    "named": b'{"id":"7","parameters":{"key":"k","mine":1},"inputs":[%b]}' % TENSOR,
    "too low": b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":[-101]}]}',
    "fails": b'{"inputs":[{"name":"x","shape":[2],"datatype":"FP64","data":[1,99]}]}',
    "one output": b'{"inputs":[%b],"outputs":[{"name":"y"}]}' % TENSOR,
    "as bytes": b'{"inputs":[%b],"parameters":{"binary_data_output":true}}' % TENSOR,
    "named one": b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":[2]}]}',
    "nonsense": b'{"inputs":[]}',
    "cut": b'{"inputs":[',
}


@pytest.mark.parametrize("name", INFERS)
def test_both_roads_infer_the_same(house, name):
    for model in ("doubler", "broken", "sl%2Fash", "nobody"):
        path = f"/v2/models/{model}/infer"
        head, body = plainly(said(house, request(INFERS[name], path=path)))
        other, same = plainly(said(house, request(INFERS[name], path=path, headers=[ORDINARY])))
        for word in ((rb'"\d+-\d+"', b"ID"), (rb"\d+-\d+$", b"ID")):
            body, same = re.sub(*word, body), re.sub(*word, same)
        assert (head[:12], body) == (other[:12], same), model


def parted(said, *values, data=b"", size=None):
    """Body and header of a request whose tensors' bytes follow its JSON."""
    data = data or struct.pack(f"<{len(values)}d", *values)
    size = len(data) if size is None else size
    tensor = b'{"name":"x","shape":[%d],"datatype":"FP64","parameters":{"binary_data_size":%d}}' % (len(values), size)
    content = b'{"inputs":[%b]%b}' % (tensor, said)
    return content + data, b"Inference-Header-Content-Length: %d" % len(content)


BYTES = b',"parameters":{"binary_data_output":true}'
SOME = b',"outputs":[{"name":"prediction_id"},{"name":"y","parameters":{"binary_data":true}}]'
PARTED = {
    "bytes in": parted(b"", 1.0, 2.5),
    "bytes in and out": parted(BYTES, 1.0, 2.5),
    "bytes out": (INFERS["as bytes"], b"X-Nothing: at all"),
    "some outputs as bytes": parted(SOME, 3.0),
    "an output that there is not": parted(b',"outputs":[{"name":"z"}]', 3.0),
    "the score of a number": parted(b',"outputs":[{"name":"score"}]', 3.0),
    "too low": parted(BYTES, 1.0, -101.0),
    "not a number": parted(b"", float("nan")),
    "fails": parted(BYTES, 1.0, 99.0),
    "too few bytes": parted(b"", 1.0, size=16),
    "too many bytes": parted(b"", 1.0, data=bytes(12), size=8),
    "no bytes": parted(b"", size=0),
    "no length": (parted(b"", 1.0)[0], b"X-Nothing: at all"),
    "a length of nothing": (parted(b"", 1.0)[0], b"Inference-Header-Content-Length: 0"),
    "a length beyond": (parted(b"", 1.0)[0], b"Inference-Header-Content-Length: 900"),
    "a length in words": (parted(b"", 1.0)[0], b"Inference-Header-Content-Length: ten"),
    "a length in other digits": (parted(b"", 1.0)[0], b"Inference-Header-Content-Length: \xb2"),
    "many": parted(BYTES, *[float(i % 90) for i in range(300)]),
}


@pytest.mark.parametrize("name", PARTED)
def test_both_roads_read_and_write_bytes_alike(house, name):
    body, header = PARTED[name]
    for model in ("doubler", "doubler/versions/1", "doubler/versions/2", "broken", "sl%2Fash/versions/1", "nobody"):
        path = f"/v2/models/{model}/infer"
        found = [said(house, request(body, path=path, headers=[header, *more])) for more in ((), (ORDINARY,))]
        (head, content), (other, same) = map(unnamed, found)
        assert (head, content) == (other, same), model
        if name in {"bytes in", "bytes in and out", "some outputs as bytes"} and b" 200 " in head[0]:
            assert b"1.0" not in content
            assert found[0][0].rpartition(b"x-request-id: ")[2][:18] == hot_names(house), model


def unnamed(answer):
    """Header lines in order, and the content: without what must differ."""
    head, content = plainly(answer)
    for pattern in (rb'"\d+-\d+"', rb"(?<=[\x00-\x1f])\d+-\d+"):
        content = re.sub(pattern, b"ID", content)
    head = re.sub(rb"header-content-length: \d+", b"M", head)
    content = re.sub(rb'"binary_data_size":\d+', b"SIZE", content)
    content = re.sub(rb"[\x00-\x1f]\x00\x00\x00ID", b"ID", content)
    return sorted(re.sub(rb"RID.*", b"RID", head).lower().split(b"\r\n")), content


def hot_names(house):
    """How the names begin that the hot road gives to requests."""
    return said(house, request())[0].rpartition(b"x-request-id: ")[2][:18]


def test_a_named_version_draws_no_canary_and_leaves_with_its_promotion(tmp_path):
    with served(tmp_path) as house:
        for source in (DOUBLER, TRIPLER):
            house.keep("doubler", source, released=source is DOUBLER)

        def release(**fields):
            with house.rooms.store.write() as ledger:
                was = ledger.rollouts.get("doubler")
                ledger.rollouts.put(structs.replace(was, since=was.since + 1.0, **fields), was)
            house.rooms.router.refresh()

        def values(path, *more):
            found = [said(house, request(INFERS["named one"], path=path, headers=[*more])) for _ in range(5)]
            return {json.loads(c)["outputs"][0]["data"][0] if b" 200 " in h else h[9:12] for h, c in found}

        release(challenger=2, mode="canary", share=1.0)
        one, two = (f"/v2/models/doubler/versions/{number}/infer" for number in (1, 2))
        for more in ((), (ORDINARY,)):
            assert values("/v2/models/doubler/infer", *more) == {6.0}
            assert values(one, *more) == {4.0}
            assert values(two, *more) == {b"404"}
        release(champion=2, challenger=None, mode=None, share=0.0)
        for more in ((), (ORDINARY,)):
            assert values(one, *more) == {b"404"}
            assert values(two, *more) == {6.0}
        text = house.get("/metrics").text
        route = 'endpoint="/v2/models/{model}/versions/{version}/infer",method="POST"'
        assert f'ml_api_requests_total{{{route},status="200"}} 20.0' in text


def test_a_large_batch_lets_single_rows_pass(tmp_path):
    """A batch that takes half a second delays a single row by a slice, not by half a second."""
    slow = "import time\ndef predict(row):\n    time.sleep(0.0004)\n    return 2.0 * row['x']\n"
    with served(tmp_path) as house:
        house.keep("doubler", slow)
        large = b'{"rows":[' + b",".join([b'{"features":{"x":7}}'] * 1000) + b"]}"
        taken = []
        with Caller(house) as one, Caller(house) as many:
            for _ in range(5):
                one.send(request())
                assert one.answer()[0].startswith(b"HTTP/1.1 200")
            many.send(request(large))
            began = time.monotonic()
            many.line.settimeout(30)
            while not taken or time.monotonic() - began < 0.25:
                asked = time.monotonic()
                one.send(request())
                one.answer()
                taken.append(time.monotonic() - asked)
            found = json.loads(many.answer()[1])["predictions"]
            whole = time.monotonic() - began
        print(f"the batch took {whole:.2f} s; {len(taken)} single rows meanwhile, slowest {max(taken) * 1000:.0f} ms")
        assert [row["prediction"] for row in found] == [14.0] * 1000
        assert whole > 0.3
        assert len(taken) >= 3
        assert sorted(taken)[len(taken) // 2] < 0.1


@pytest.mark.parametrize("named", [b"abc-1", b"not allowed!", b""])
def test_both_roads_name_a_request_alike(house, named):
    hot = said(house, request(headers=[b"X-Request-ID: " + named]))
    ordinary = said(house, request(headers=[b"X-Request-ID: " + named, ORDINARY]))
    assert plainly(hot) == plainly(ordinary)
    assert (named == b"abc-1") == (json.loads(hot[1])["request_id"] == "abc-1" == json.loads(ordinary[1])["request_id"])


def test_the_roads_record_the_same(house):
    found = []
    for headers in ((), (ORDINARY,)):
        answer = json.loads(said(house, request(headers=[b"X-Request-ID: same", *headers]))[1])
        until = time.monotonic() + 10
        while (record := house.get(f"/v1/predictions/{answer['prediction_id']}")).status_code == 404:
            assert time.monotonic() < until
        found.append(record.json() | {"prediction_id": "", "at": "", "about": "", "latency_ms": 0})
    assert found[0] == found[1]
    assert found[0]["features"] == {"x": 3, "plan": "gold"}


KINDS = {
    "plain": (request(), 200),
    "named": (request(headers=[b"X-Request-ID: n-1"]), 200),
    "refused": (request(b'{"features":{"x":1e9}}'), 422),
    "failed": (request(b'{"features":{"x":99}}', path="/v1/models/broken/predict"), 502),
    "batch": (request(BODIES["batch"]), 200),
    "alive": (request(b"", path="/health/live", method=b"GET", length=False), 200),
    "nowhere": (request(path="/v1/nowhere"), 404),
    "chunked": (
        request(b"7\r\n" + GOOD[:7] + b"\r\n%x\r\n" % len(GOOD[7:]) + GOOD[7:] + b"\r\n0\r\n\r\n",
                headers=[b"Transfer-Encoding: chunked"], length=False), 200),
    "other model": (request(b'{"features":{"x":2}}', path="/v1/models/sl%2Fash/predict"), 200),
}  # fmt: skip


@settings(FUZZ, max_examples=60)
@given(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=12), st.data())
def test_requests_in_a_row_are_answered_in_order_however_they_are_cut(house, kinds, data):
    sent = b"".join(KINDS[kind][0] for kind in kinds)
    cuts = sorted(data.draw(st.lists(st.integers(1, len(sent)), max_size=8)))
    pieces = [sent[a:b] for a, b in zip([0, *cuts], [*cuts, len(sent)], strict=True) if a < b]
    with Caller(house) as caller:
        caller.send(*pieces)
        for kind in kinds:
            head, body = caller.answer()
            assert head.startswith(b"HTTP/1.1 %d " % KINDS[kind][1]), (kind, head, body)
            if kind in {"plain", "named", "chunked"}:
                assert json.loads(body)["prediction"] == 6.0
            if kind == "other model":
                assert json.loads(body)["model"] == "sl/ash"


@settings(FUZZ, max_examples=100)
@given(st.sampled_from(sorted(KINDS)), st.integers(0, 400), st.binary(min_size=0, max_size=6), st.integers(0, 6))
def test_a_spoiled_request_is_refused_or_answered_and_harms_nobody(house, kind, place, bytes_, cut):
    whole = KINDS[kind][0]
    place %= len(whole)
    spoiled = whole[:place] + bytes_ + whole[place + cut :]
    with Caller(house) as caller:
        caller.send(KINDS["plain"][0] + spoiled)
        caller.line.shutdown(socket.SHUT_WR)
        first = caller.answer()
        assert first[0].startswith((b"HTTP/1.1 200", b"HTTP/1.1 400"))
        while (answer := caller.answer()) is not None:
            assert re.match(rb"HTTP/1.1 (200|400|401|403|404|405|408|413|421|422|431|501|502)", answer[0]), answer
    assert said(house, request())[0].startswith(b"HTTP/1.1 200")


def test_what_is_expected_is_asked_for(house):
    with Caller(house) as caller:
        caller.send(request(headers=[b"Expect: 100-continue"])[: -len(GOOD)])
        assert caller.answer()[0] == b"HTTP/1.1 100 Continue"
        caller.send(GOOD)
        assert caller.answer()[0].startswith(b"HTTP/1.1 200")


def test_a_connection_that_shall_close_is_closed(house):
    with Caller(house) as caller:
        caller.send(request(headers=[b"Connection: close"]))
        assert caller.answer()[0].startswith(b"HTTP/1.1 200")
        assert caller.answer() is None


def test_an_endless_head_is_refused(house):
    with Caller(house) as caller:
        try:
            caller.send(b"POST " + PREDICT.encode() + b" HTTP/1.1\r\n")
            for number in range(100):
                caller.send(b"X-%d: %b\r\n" % (number, b"y" * 10_000))
        except OSError:
            pass  # it has answered and closed
        head, _ = caller.answer()
        assert head.startswith(b"HTTP/1.1 431")


def test_one_who_does_not_read_is_not_read_from(house):
    with Caller(house) as caller:
        caller.line.setblocking(False)
        sent, until = 0, time.monotonic() + 20
        many = request() * 200
        while time.monotonic() < until:
            try:
                sent += caller.line.send(many)
            except BlockingIOError:
                time.sleep(0.2)
                try:
                    sent += caller.line.send(many)
                except BlockingIOError:
                    break
        assert time.monotonic() < until, f"{sent / 2**20:.0f} MB were taken and nothing was read"
    assert said(house, request())[0].startswith(b"HTTP/1.1 200")


def test_callers_at_once_get_their_own_answers(house):
    wrong = []

    def ask(number):
        with Caller(house) as caller:
            for turn in range(50):
                x = (number * 50 + turn) % 90
                caller.send(request(b'{"features":{"x":%d},"key":"k%d"}' % (x, number)))
                answer = json.loads(caller.answer()[1])
                if answer["prediction"] != 2.0 * x:
                    wrong.append(answer)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert wrong == []


def test_a_token_is_asked_for_on_every_request(tmp_path, monkeypatch):
    monkeypatch.setenv("THE_TOKEN", "open sesame")
    with served(tmp_path, server__token="env:THE_TOKEN", server__patience=1) as house:
        house.keep("doubler")
        right = b"Authorization: Bearer open sesame"
        with Caller(house) as caller:
            for headers, status in (((right,), 200), ((), 401), ((right,), 200), ((b"Authorization: Bearer x",), 401)):
                caller.send(request(headers=headers))
                assert caller.answer()[0].startswith(b"HTTP/1.1 %d" % status)
        other = [right, b"Origin: https://elsewhere.example"]
        assert said(house, request(headers=other))[0].startswith(b"HTTP/1.1 403")
        with Caller(house) as slow, Caller(house) as slower, Caller(house) as idle:
            slow.send(request(headers=[right])[:-5])
            slower.send(b"POST " + PREDICT.encode() + b" HTTP/1.1\r\nHost:")
            assert slow.answer()[0].startswith(b"HTTP/1.1 408")
            assert slower.answer()[0].startswith(b"HTTP/1.1 408")
            assert idle.answer() is None


def test_sync_answers_come_when_the_record_is_on_disk(tmp_path):
    with served(tmp_path, recorder__durability="sync") as house:
        house.keep("doubler")
        with Caller(house) as caller:
            caller.send(request() * 20)
            ids = [json.loads(caller.answer()[1])["prediction_id"] for _ in range(20)]
        assert len(set(ids)) == 20
        until = time.monotonic() + 10  # on disk may mean: in the spool, before the store
        while not all(house.get(f"/v1/predictions/{each}").status_code == 200 for each in ids):
            assert time.monotonic() < until


@pytest.mark.row("PER-01", "PER-02", "PER-03")
def test_the_hot_road_is_counted_like_every_other(tmp_path):
    with served(tmp_path) as house:
        house.keep("doubler")
        for _ in range(7):
            assert said(house, request())[0].startswith(b"HTTP/1.1 200")
        text = house.get("/metrics").text
        route = 'endpoint="/v1/models/{model}/predict",method="POST"'
        assert f'ml_api_requests_total{{{route},status="200"}} 7.0' in text
        assert f"ml_api_request_duration_seconds_count{{{route}}} 7.0" in text
        assert 'ml_predictions_total{model_type="doubler",restaurant_id="entity 1"} 7.0' in text
        assert "ml_api_concurrent_requests 0.0" in text


@pytest.mark.row("SRV-14")
def test_requests_that_are_being_answered_are_counted_at_every_moment(tmp_path):
    gate = tmp_path / "shut"
    waits = f"import os, time\ndef predict(row):\n    time.sleep(0.01)\n    while os.path.exists({str(gate)!r}):\n"
    with served(tmp_path) as house, ExitStack() as stack:
        house.keep("doubler", waits + "        time.sleep(0.01)\n    return 2.0 * row['x']\n")  # slow: not in the loop
        gate.touch()
        callers = [stack.enter_context(Caller(house)) for _ in range(5)]

        def running():
            return re.search(r"^ml_api_concurrent_requests (\S+)", house.get("/metrics").text, re.MULTILINE)[1]

        for caller in callers[:3]:
            caller.send(request())
        for caller in callers[3:]:
            caller.send(request(headers=[ORDINARY]))
        until = time.monotonic() + 5
        while running() != "5.0":
            assert time.monotonic() < until
        gate.unlink()
        assert all(caller.answer()[0].startswith(b"HTTP/1.1 200") for caller in callers)
        while running() != "0.0":
            assert time.monotonic() < until + 10
