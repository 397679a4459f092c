"""Compressed bodies: taken on every road, bounded by what comes out; large answers are packed for who takes it so."""

import asyncio
import gzip
import itertools
import json
import tracemalloc
import zlib
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from served_house import served

from modelkeep.edge import packing
from modelkeep.edge.packing import unpacked
from modelkeep.edge.refusals import Turned
from modelkeep.errors import BadInput

MB = 1 << 20
GZIP = {"content-encoding": "gzip"}
LINES = GZIP | {"content-type": "application/x-ndjson"}
SIGNATURE = {"inputs": [{"name": "n", "kind": "integer"}], "output": {"name": "y", "kind": "number"}}


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with served(tmp_path_factory.mktemp("packed"), server__body="1MB") as found:
        found.keep("doubler")
        found.post("/v1/models/far/external", {"signature": SIGNATURE})
        yield found


def packed(value):
    return gzip.compress(value if isinstance(value, bytes) else json.dumps(value).encode())


@cache
def bomb(piece, times):
    packer = zlib.compressobj(6, wbits=31)
    content = b"".join([*(packer.compress(piece) for _ in range(times)), packer.flush()])
    assert len(content) < len(piece) * times / 250
    return content


def sent(house, path, content, **headers):
    return house.client.post(path, content=content, headers=GZIP | headers)


def test_predictions_outcomes_and_records_are_taken_packed(house):
    answer = sent(house, "/v1/models/doubler/predict", packed({"features": {"x": 2}}))
    assert answer.json()["prediction"] == 4.0
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    zlibbed = zlib.compress(json.dumps({"features": {"x": 3}}).encode())
    other = house.client.post(
        "/v1/models/doubler/predict", content=zlibbed, headers={"content-encoding": "deflate", "x-request-id": "z"}
    )
    assert other.json()["prediction"] == 6.0
    many = sent(house, "/v1/models/doubler/predict", packed({"rows": [{"features": {"x": n}} for n in range(9)]}))
    assert len(many.json()["predictions"]) == 9
    told = sent(house, "/v1/outcomes", packed({"prediction_id": answer.json()["prediction_id"], "actual": 5}))
    assert told.status_code in {200, 201}, told.text
    kept = sent(house, "/v1/predictions", packed([{"model": "far", "id": "a", "prediction": 1.0}]))
    assert kept.json()["kept"] == 1
    asked = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [4]}]}
    assert sent(house, "/v2/models/doubler/infer", packed(asked)).json()["outputs"][0]["data"] == [8.0]


def test_lines_are_taken_packed_in_any_number_of_parts_and_pieces(house):
    def line(name):
        return json.dumps({"id": name, "prediction": 1.5, "features": {"n": 7}}).encode() + b"\n"

    def pieces():
        whole = packed(b"".join(line(f"p{n}") for n in range(3000))) + packed(b"".join(line(f"q{n}") for n in range(5)))
        for start in range(0, len(whole), 1000):
            yield whole[start : start + 1000]

    answer = house.client.post("/v1/predictions?model=far", content=pieces(), headers=LINES)
    assert (answer.json()["received"], answer.json()["kept"]) == (3005, 3005)


def test_what_cannot_be_unpacked_is_refused_in_words(house):
    path = "/v1/models/doubler/predict"
    body = packed({"features": {"x": 2}})
    unknown = house.client.post(path, content=b"x", headers={"content-encoding": "zstd"})
    assert (unknown.status_code, unknown.headers["accept-encoding"]) == (415, "gzip, deflate")
    assert "'zstd'" in unknown.json()["error"]["message"]
    for target in (path, "/v1/outcomes", "/v2/models/doubler/infer"):
        assert house.client.post(target, content=b"x", headers={"content-encoding": "br"}).status_code == 415
        broken = sent(house, target, b"no gzip at all")
        assert (broken.status_code, "cannot be unpacked" in broken.text) == (422, True)
        torn = sent(house, target, body[:-3])
        assert (torn.status_code, "ends in the middle" in torn.text) == (422, True)
    assert sent(house, path, gzip.compress(body)).status_code == 400  # packed twice: not JSON
    assert house.client.post(path, content=body).status_code == 400  # packed, and not said so


@pytest.mark.parametrize(
    "path", ["/v1/models/doubler/predict", "/v1/outcomes", "/v1/predictions", "/v2/models/doubler/infer"]
)
def test_what_unpacks_to_too_much_is_refused_before_it_does(house, path):
    content = bomb(bytes(MB), 96)
    tracemalloc.start()  # the system's own peak would be that of whichever test took most before
    try:
        answer = sent(house, path, content)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (answer.status_code, answer.json().get("error", {}) != {}) == (413, True)
    assert most < 32 * MB


def test_lines_without_end_are_refused(house):
    """Lines have no limit together, but no lines of anybody's pack to a thousandth."""
    content = bomb((b" " * 1023 + b"\n") * 1024, 16)
    answer = house.client.post("/v1/predictions?model=far", content=content, headers=LINES)
    assert (answer.status_code, "200 times" in answer.text) == (413, True)


def test_large_answers_are_packed_for_who_takes_them(house):
    lines = b"".join(json.dumps({"id": f"l{n}", "prediction": 1.5}).encode() + b"\n" for n in range(1500))
    house.client.post("/v1/predictions?model=far", content=packed(lines), headers=LINES)
    assert house.rooms.recorder.flush() == 0
    path = "/v1/models/far/predictions?limit=1500"
    with house.client.stream("GET", path, headers={"accept-encoding": "gzip"}) as answer:
        raw = b"".join(answer.iter_raw())
        assert (answer.headers["content-encoding"], answer.headers["vary"]) == ("gzip", "accept-encoding")
        assert int(answer.headers["content-length"]) == len(raw)
    plain = house.client.get(path, headers={"accept-encoding": "gzip;q=0, br"})
    assert "content-encoding" not in plain.headers
    assert json.loads(gzip.decompress(raw)) == plain.json()
    assert len(raw) < len(plain.content) / 4
    assert len(plain.content) > packing.LARGE
    assert "content-encoding" not in house.client.get("/v1/models").headers


def test_a_client_packs_its_records_where_it_is_worth_it(house):
    import modelkeep
    from modelkeep.client.posting import Poster

    with modelkeep.Client(house.url, compress=True) as client:
        for n in range(200):
            client.record("far", features={"n": n}, output=float(n), id=f"c{n}")
        assert client.flush() == 0
        assert (client.state.sent, client.state.refused) == (200, 0)
    assert house.rooms.recorder.flush() == 0
    listed = house.get("/v1/models/far/predictions", limit=10_000).json()["predictions"]
    assert {one["given_id"] for one in listed} >= {f"c{n}" for n in range(200)}
    sizes = {}
    for compress in (True, False):
        poster = Poster(house.url, token="", timeout=5, compress=compress)
        items = [json.dumps({"model": "far", "id": f"d{n}", "prediction": 2.5}).encode() for n in range(300)]
        assert poster.lines("/v1/predictions", items).refused == 0
        sizes[compress] = poster.sent
        poster.close()
    assert sizes[True] < sizes[False] / 4


# ------------------------------------------------------------------------------------------------ any pieces


def received(pieces, how, *, limit):
    """What comes out of a body that arrives in these pieces."""
    coming = iter(itertools.pairwise([*pieces, None]))

    async def receive():
        piece, after = next(coming)
        return {"type": "http.request", "body": piece, "more_body": after is not None}

    async def everything():
        source = unpacked({"headers": [(b"content-encoding", how)]}, receive, limit=limit)
        found = []
        while True:
            message = await source()
            found.append(message["body"])
            assert len(message["body"]) <= 2 * packing.PIECE
            if not message["more_body"]:
                return b"".join(found)

    return asyncio.run(everything())


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=3000), st.integers(1, 400), st.integers(1, 300), st.sampled_from([b"gzip", b"deflate"]))
def test_a_body_comes_out_as_it_went_in_however_it_was_cut(data, times, cut, how):
    whole = gzip.compress(data * times) if how == b"gzip" else zlib.compress(data * times)
    pieces = [whole[start : start + cut] for start in range(0, len(whole), cut)]
    assert received(pieces, how, limit=10 * MB) == data * times
    if len(whole) > 20:
        with pytest.raises(BadInput):
            received([*pieces[:-1], pieces[-1][:-1]] if len(pieces[-1]) > 1 else pieces[:-1], how, limit=10 * MB)


@given(st.binary(min_size=1, max_size=200))
def test_no_bytes_break_the_unpacker(data):
    try:
        received([data], b"gzip", limit=1000)
    except (BadInput, Turned):
        return
