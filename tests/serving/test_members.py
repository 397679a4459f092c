"""An ensemble's answer tells of its members, and stands without one that fails."""

import lightgbm
import msgspec
import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LinearRegression

from modelkeep.errors import ModelFailed
from modelkeep.nouns import Field, Rollout, Signature, Version
from modelkeep.operations.predictions import all_answered
from modelkeep.runtimes import Ensemble, Linear, Member, linear_bytes, pack_ensemble

INPUTS = (Field(name="x", kind="number", low=0.0, high=100.0), Field(name="z", kind="number", low=0.0, high=100.0))
WEIGHTS = {"trees": 0.5, "line": 0.3, "ridge": 0.2}


def members() -> tuple[Member, ...]:
    draw = np.random.default_rng(5)
    table = draw.uniform(1, 9, size=(300, 2))
    params = {"verbose": -1, "num_threads": 1, "min_data_in_leaf": 5}
    data = lightgbm.Dataset(table, table.sum(axis=1), feature_name=["x", "z"])
    trees = lightgbm.train(params, data, 5).model_to_string().encode()
    ridge = skops.io.dumps(LinearRegression().fit(table, table @ [1.0, 2.0]))
    line = linear_bytes(Linear(intercept=1.0, coefficients={"x": 0.5, "z": 0.25}))
    return (
        Member(name="trees", runtime="lightgbm", data=trees),
        Member(name="line", runtime="linear", data=line),
        Member(name="ridge", runtime="skops", data=ridge),
    )


@pytest.fixture
def together(house):
    """Put an ensemble of three members into service."""

    def build(**fields) -> None:
        path = house.folder / "e.ensemble"
        pack_ensemble(Ensemble(members=members(), weights=WEIGHTS, **fields), path)
        version = Version(
            model="m",
            number=1,
            artifact=house.files.put(path.read_bytes()),
            size=1,
            runtime="ensemble",
            signature=Signature(inputs=INPUTS, output=Field(name="y", kind="number")),
            created=0.0,
        )
        with house.store.write() as ledger:
            ledger.versions.add(version)
        house.put(Rollout(model="m", champion=1))

    return build


def told(house, *rows) -> list[dict]:
    return msgspec.to_builtins(all_answered(house.predict(*rows), "r"))


@pytest.mark.row("SRV-08")
def test_members_and_weights_stand_beside_the_answer_that_they_add_up_to(house, together):
    together()
    for one in told(house, {"x": 3.0, "z": 4.0}, {"x": 8.0, "z": 1.0}):
        assert [member["model"] for member in one["members"]] == ["trees", "line", "ridge"]
        assert {member["version"] for member in one["members"]} == {1}
        assert sum(member["weight"] for member in one["members"]) == pytest.approx(1.0, abs=1e-12)
        whole = sum(member["weight"] * member["prediction"] for member in one["members"])
        assert one["prediction"] == pytest.approx(whole, abs=1e-9)
        assert one["link"] == "identity"
        assert "degraded" not in one


def test_in_another_space_they_add_up_there(house, together):
    together(link="log")
    one = told(house, {"x": 1.0, "z": 2.0})[0]
    whole = sum(member["weight"] * np.log(member["prediction"]) for member in one["members"])
    assert one["link"] == "log"
    assert np.log(one["prediction"]) == pytest.approx(whole, abs=1e-9)


def _broken(house, *names) -> None:
    """Make members raise, as a library may that meets what it does not know."""
    loaded = house.gateway.routes["m"].loaded[1]
    opened = next(c.cell_contents for c in loaded.predict.__closure__ if hasattr(c.cell_contents, "answer"))
    whole = opened.answer.__self__

    def fail(rows):
        raise RuntimeError("out of order")

    whole._parts = [msgspec.structs.replace(p, answer=fail) if p.name in names else p for p in whole._parts]


def test_a_member_that_fails_is_left_out_and_the_answer_says_so(house, together):
    together()
    house.recorder.start()
    row = {"x": 3.0, "z": 4.0}
    before = told(house, row)[0]
    _broken(house, "ridge")
    after = told(house, row)[0]
    assert "member 'ridge': RuntimeError: out of order" in after["degraded"]
    assert "fallback" not in after
    assert [member["model"] for member in after["members"]] == ["trees", "line"]
    assert sum(member["weight"] for member in after["members"]) == pytest.approx(1.0)
    assert after["prediction"] != before["prediction"]
    house.recorder.flush()
    with house.store.read() as ledger:
        kept = ledger.records.prediction(after["prediction_id"])
    assert kept.error.startswith("degraded: member 'ridge'")
    assert (kept.output, kept.stand_in) == (after["prediction"], 1)
    assert house.gateway.counters.errors["m", 1, "degraded"] == 1


def test_too_few_members_are_no_answer(house, together):
    together()
    _broken(house, "ridge", "trees", "line")
    with pytest.raises(ModelFailed, match="too few"):
        house.predict({"x": 3.0, "z": 4.0})
