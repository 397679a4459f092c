"""With rates set plain predictions keep the hot road, and hear byte for byte what the ordinary road says."""

import re

import pytest
from served_house import served
from test_wire import BODIES, GOOD, INFERS, ORDINARY, Caller, plainly, request, said

PREDICT, INFER = "/v1/models/doubler/predict", "/v2/models/doubler/infer"
SETTINGS = {"overload__rate": 0.5, "overload__burst": 3, "overload__caller": "x-client"}


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    folder = tmp_path_factory.mktemp("limited")
    (folder / "modelkeep.toml").write_text('[overload.callers.nightly]\nrate = 0.5\npriority = "batch"\n')
    with served(folder, **SETTINGS) as found:
        found.keep("doubler")
        yield found


def client(name):
    return b"X-Client: %b" % name.encode()


def named(answer):
    """The name that the server gave to a request."""
    return answer[0].partition(b"x-request-id: ")[2].partition(b"\r\n")[0]


def alike(answer):
    """An answer without ids, times, the caller's name, and (as tensors) the order of its headers."""
    head, content = plainly(answer)
    content = re.sub(rb'"\d+-\d+"', b"ID", content.replace(b"'cold ", b"'hot "))
    return sorted(head.split(b"\r\n")) if b"model_name" in content else head, content


@pytest.mark.parametrize("name", [f"predict {name}" for name in BODIES] + [f"infer {name}" for name in INFERS])
def test_both_roads_count_the_same_and_say_so(house, name):
    """Four requests of one caller on each road: the fourth is one too many for a burst of three."""
    way, _, kind = name.partition(" ")
    path, body = (PREDICT, BODIES[kind]) if way == "predict" else (INFER, INFERS[kind])
    hot = [said(house, request(body, path=path, headers=[client(f"hot {name}")])) for _ in range(4)]
    cold = [said(house, request(body, path=path, headers=[client(f"cold {name}"), ORDINARY])) for _ in range(4)]
    assert [alike(one) for one in hot] == [alike(one) for one in cold]
    assert [b"HTTP/1.1 429" in head for head, _ in hot] == [False] * 3 + [True]
    assert b"\r\nratelimit-limit: 3\r\nratelimit-remaining: 2\r\n" in hot[0][0] + b"\r\n"
    assert b"\r\nretry-after: 2" in hot[3][0]


def test_a_plain_request_stays_on_the_hot_road_and_a_refusal_in_its_turn(house):
    """The hot road's names of requests have one beginning for all; those of the ordinary road have none."""
    names = [named(said(house, request(headers=[client(f"n{i}")]))) for i in range(3)]
    assert len({name[:18] for name in names}) == 1
    ordinary = [named(said(house, request(headers=[client(f"n{i}"), ORDINARY]))) for i in range(2)]
    assert ordinary[0][:18] != ordinary[1][:18]
    with Caller(house) as caller:
        caller.send(request(headers=[client("line")]) * 5)
        found = [caller.answer()[0].split(b" ")[1] for _ in range(5)]
    assert found == [b"200"] * 3 + [b"429"] * 2


def test_the_priority_of_a_caller_holds_on_both_roads(house):
    for more in ([], [ORDINARY]):
        caller = [client("nightly"), b"X-Priority: critical", *more]
        assert said(house, request(headers=caller))[0].startswith(b"HTTP/1.1 ")
    assert house.get("/health").status_code == 200
    assert said(house, request(GOOD, headers=[b"X-Client: a", b"X-Client: b"]))[0].startswith(b"HTTP/1.1 200")
