"""What is less plain keeps the hot road as well, and hears there what the ordinary road says."""

import json
import re

import pytest
from served_house import served
from test_wire import ORDINARY, plainly, request, said

from modelkeep.jobs.registering import Registration, register
from modelkeep.nouns import Field, Policy, Privacy, Rollout, Signature
from modelkeep.runtimes import Ensemble, Linear, Member, linear_bytes, pack_ensemble

Z = Field(name="z", kind="number", nullable=True)
SIGNATURE = Signature(inputs=(Field(name="x", kind="number"), Z), output=Field(name="y", kind="number"))
LINES = {
    "first": Linear(intercept=1.0, coefficients={"x": 0.5}),
    "second": Linear(intercept=0.0, coefficients={"z": 1e291}, means={"z": 1e-291}),
    "idle": Linear(intercept=0.0, coefficients={"x": 1e3}),
}
MEMBERS = tuple(Member(name=name, runtime="linear", data=linear_bytes(line)) for name, line in LINES.items())
WEIGHTS = {"first": 0.75, "second": 0.25}
ENSEMBLES = {
    "plain": Ensemble(members=MEMBERS, weights=WEIGHTS),
    "logs": Ensemble(members=MEMBERS, weights=WEIGHTS, link="log", low=-0.5, high=0.25),
}


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with served(tmp_path_factory.mktemp("alike")) as found:
        for name, ensemble in ENSEMBLES.items():
            path = pack_ensemble(ensemble, found.folder / f"{name}.ensemble")
            wanted = Registration(model=name, path=path, signature=SIGNATURE, metrics={"mae": 1.0})
            register(found.rooms, wanted)
            with found.rooms.store.write() as ledger:
                ledger.rollouts.put(Rollout(model=name, champion=1), None)
        found.rooms.router.refresh()
        yield found


def hot(answer):
    """Whether the hot road answered: its names of requests have one beginning for all."""
    return answer[0].partition(b"x-request-id: ")[2][:18]


ASKED = {
    "one": b'{"features":{"x":3,"z":2.5e-291},"key":"k"}',
    "several": b'{"rows":[{"features":{"x":1,"z":2e-291}},{"features":{"x":2,"z":-3.5e-291}}]}',
    "a member fails": b'{"features":{"x":3,"z":4e18}}',
    "a member fails in some rows": b'{"rows":[{"features":{"x":1,"z":2e-291}},{"features":{"x":2,"z":4e18}}]}',
    "very many": b'{"rows":[%b]}' % b",".join(b'{"features":{"x":%d,"z":1e-291}}' % i for i in range(2000)),
    "tensors": b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":[1]},'
    b'{"name":"z","shape":[1],"datatype":"FP64","data":[2e-291]}]}',
}


@pytest.mark.row("SRV-08")
@pytest.mark.parametrize("name", ASKED)
@pytest.mark.parametrize("model", ENSEMBLES)
def test_both_roads_tell_of_an_ensembles_members_alike(house, model, name):
    path = f"/v2/models/{model}/infer" if name == "tensors" else f"/v1/models/{model}/predict"
    mine, other = (said(house, request(ASKED[name], path=path, headers=more)) for more in ((), (ORDINARY,)))
    found = [re.sub(rb'"\d+-\d+"', b"ID", plainly(one)[1]) for one in (mine, other)]
    assert found[0] == found[1]
    assert sorted(plainly(mine)[0].split(b"\r\n")) == sorted(plainly(other)[0].split(b"\r\n"))
    assert ("fails" in name) == (b'"degraded"' in mine[1])
    begin = {hot(said(house, request(ASKED["one"], path=f"/v1/models/{model}/predict"))) for _ in range(2)}
    assert len(begin) == 1, "a plain question about an ensemble has left the hot road"
    assert ("fails" in name) == (hot(mine) not in begin) or name == "very many"
    if name == "one":
        told = json.loads(mine[1])
        assert [member["model"] for member in told["members"]] == ["first", "second"]
        assert told["link"] == ENSEMBLES[model].link


def recorded(house, answer):
    """What was recorded of an answer, without what must differ."""
    house.rooms.recorder.flush()
    record = house.get(f"/v1/predictions/{json.loads(answer[1])['prediction_id']}")
    return record.json() | {"prediction_id": "", "at": "", "about": "", "latency_ms": 0}


def test_both_roads_record_the_same_few_features(house):
    """And nobody who has not consented is recorded on either."""
    house.keep("sparing", policy=Policy(model="sparing", privacy=Privacy(keep=("plan",))))
    house.keep("discreet", policy=Policy(model="discreet", privacy=Privacy(consent="required", keep=("plan",))))
    body = b'{"features":{"x":3,"plan":"gold"}}'
    path = "/v1/models/sparing/predict"
    named = [b"X-Request-ID: few"]
    found = [recorded(house, said(house, request(body, path=path, headers=named + more))) for more in ([], [ORDINARY])]
    assert found[0] == found[1]
    assert (found[0]["features"], found[0]["prediction"]) == ({"plan": "gold"}, 6.0)
    assert len({hot(said(house, request(body, path=path))) for _ in range(2)}) == 1
    for more in ([], [ORDINARY]):
        assert json.loads(said(house, request(body, path="/v1/models/discreet/predict", headers=more))[1])["prediction"]
    assert house.rooms.gateway.counters.not_recorded["discreet"] == 2
    house.rooms.recorder.flush()
    with house.rooms.store.read() as ledger:
        assert list(ledger.records.latest("discreet", limit=10)) == []
