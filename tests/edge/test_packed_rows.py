"""Rows of numbers alone are read without a dictionary: nobody can tell, neither in answers nor in records."""

import json

import numpy as np
import pytest
import skops.io
from making_models import DOUBLER
from msgspec import structs
from served_house import served
from sklearn.linear_model import LinearRegression
from test_roads_alike import hot, recorded
from test_wire import ORDINARY, plainly, request, said
from waiting import until

from modelkeep.edge.questions import predictions
from modelkeep.jobs.changing import adopt
from modelkeep.jobs.registering import Registration, register
from modelkeep.nouns import Field, Policy, Privacy, Rollout, Signature
from modelkeep.serving.bursts import Pace

NAMES = ("x", "a:b", "c%d")
SIGNATURE = Signature(
    inputs=(
        Field(name="x", kind="number", low=-100, high=100),
        Field(name="a:b", kind="integer"),
        Field(name="c%d", kind="number"),
    ),
    output=Field(name="y", kind="number"),
)
ROW = b'{"x":3,"a:b":7,"c%d":2.5}'
TURNED = b'{"c%d":2,"x":3.5,"a:b":-7}'
BODIES = {
    "plain": b'{"features":%b,"key":"entity 1"}' % ROW,
    "in another order": b'{"key":"e:1","features":%b}' % TURNED,
    "spaces": b' { "features" : { "x" : 1 , "a:b" : 2, "c%d": 3 } } ',
    "a name with an escape": b'{"features":{"x":1,"a\\u003ab":2,"c%d":3},"key":"\\u003a"}',
    "twice": b'{"features":{"x":1,"x":2,"a:b":2,"c%d":3}}',
    "twice, with an escape": b'{"features":{"x":1,"\\u0078":2,"a:b":2,"c%d":3}}',
    "twice, and colons hidden": b'{"features":{"x":1,"x":2,"a\\u003ab":2,"c%d":3}}',
    "missing": b'{"features":{"x":1,"a:b":2}}',
    "unknown": b'{"features":{"x":1,"a:b":2,"c%d":3,"d":4}}',
    "null": b'{"features":{"x":1,"a:b":null,"c%d":3}}',
    "true": b'{"features":{"x":true,"a:b":2,"c%d":3}}',
    "a fraction": b'{"features":{"x":1,"a:b":2.5,"c%d":3}}',
    "a text": b'{"features":{"x":"1","a:b":2,"c%d":3}}',
    "too low": b'{"features":{"x":-101,"a:b":2,"c%d":3}}',
    "huge": b'{"features":{"x":1,"a:b":2,"c%d":1e999}}',
    "no object": b'{"features":[1,2,3]}',
    "batch": b'{"key":"all","rows":[{"features":%b},{"features":%b,"key":"k:2"}]}' % (ROW, TURNED),
    "batch of one": b'{"rows":[{"features":%b}]}' % ROW,
    "batch with a name twice": b'{"rows":[{"features":%b},{"features":{"x":1,"a:b":1,"a:b":2,"c%%d":2}}]}' % ROW,
    "batch with one too many": b'{"rows":[{"features":%b},{"features":{"x":1,"a:b":1,"z":0,"c%%d":2}}]}' % ROW,
    "very many": b'{"rows":[%b]}' % b",".join(b'{"features":{"x":%d,"a:b":1,"c%%d":0}}' % (i % 90) for i in range(900)),
}
PLAIN = {
    name for name in BODIES if name.startswith(("plain", "in another", "spaces", "a name", "batch of", "very"))
} | {"batch"}


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with served(tmp_path_factory.mktemp("packed")) as found:
        keep(found, "lines", line(found.folder / "line.skops", start=1.0))
        file = found.folder / "code.py"
        file.write_text(DOUBLER)
        keep(found, "code", file)
        yield found


def line(path, *, start):
    """A file with a straight line: start + x / 2 + 2 a:b - c%d."""
    model = LinearRegression().fit(np.eye(3), np.zeros(3))
    model.coef_, model.intercept_ = np.array([0.5, 2.0, -1.0]), start
    skops.io.dump(model, path)
    return path


def keep(house, model, file):
    wanted = Registration(model=model, path=file, signature=SIGNATURE, metrics={"mae": 1.0}, trust=True)
    version = register(house.rooms, wanted)
    with house.rooms.store.write() as ledger:
        was = ledger.rollouts.get(model)
        if was is None:
            ledger.rollouts.put(Rollout(model=model, champion=version.number), None)
    house.rooms.router.refresh()
    return version


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("model", ["lines", "code"])
def test_both_roads_say_and_record_the_same(house, model, name):
    path = f"/v1/models/{model}/predict"
    mine, other = (said(house, request(BODIES[name], path=path, headers=more)) for more in ((), (ORDINARY,)))
    assert plainly(mine)[1] == plainly(other)[1]
    begin = {hot(said(house, request(BODIES["plain"], path=path))) for _ in range(2)}
    assert len(begin) == 1, "a plain question has left the hot road"
    assert (hot(mine) in begin) == (name in PLAIN)
    if name in {"plain", "in another order"}:
        found = [recorded(house, answer) | {"request_id": ""} for answer in (mine, other)]
        assert found[0] == found[1]
        assert found[0]["features"] == json.loads(BODIES[name])["features"]
        assert type(found[0]["features"]["x"]) is (int if name == "plain" else float)


def test_rows_that_were_read_by_another_signature_are_asked_by_their_names(house):
    turned = Signature(inputs=SIGNATURE.inputs[::-1], output=SIGNATURE.output)
    rows = [read(BODIES["plain"]).features for read in map(predictions, (SIGNATURE, turned))]
    assert [row.named() == json.loads(ROW) for row in rows] == [True, True]
    loaded = house.rooms.gateway.routes["lines"].loaded[1]
    assert [Pace().ask(loaded, [row, row]).values for row in rows] == [[14.0, 14.0]] * 2


def test_they_are_asked_in_the_shadow_and_kept_as_few_as_the_policy_says(house):
    for start in (1.0, 5.0):
        keep(house, "both", line(house.folder / f"from {start}.skops", start=start))
    with house.rooms.store.write() as ledger:
        adopt(
            ledger, Policy(model="both", privacy=Privacy(keep=("a:b",))), who="test", why="", at=house.rooms.clock.now()
        )
        was = ledger.rollouts.get("both")
        ledger.rollouts.put(structs.replace(was, challenger=2, mode="shadow", share=1.0), was)
    house.rooms.router.refresh()
    bodies = [BODIES["plain"]] * 5
    answers = [said(house, request(body, path="/v1/models/both/predict")) for body in bodies]
    assert {json.loads(answer[1])["prediction"] for answer in answers} == {1.0 + 1.5 + 14.0 - 2.5}

    def kept():
        house.rooms.recorder.flush()
        with house.rooms.store.read() as ledger:
            return [p for _, p in ledger.records.predictions("both", limit=100)]

    until(lambda: sum(p.role == "shadow" for p in kept()) == 5)
    assert {(p.role, p.output, str(p.features)) for p in kept()} == {
        ("champion", 14.0, "{'a:b': 7}"),
        ("shadow", 18.0, "{'a:b': 7}"),
    }
