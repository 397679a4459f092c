"""The budget of a prediction: <= 4 own frames and <= 10 own calls from the route to the model.

The route itself is one frame and one call, and it greets the request with one more: the gateway has to leave that room.
"""

import numpy as np
import pytest
from walking import walk

from modelkeep.nouns import Field, Rollout, Signature
from modelkeep.serving.gateway import Ask

FRAMES, CALLS = 4 - 1, 10 - 2
WIDE = Signature(
    inputs=tuple(Field(name=f"f{i}", kind="number") for i in range(25)), output=Field(name="y", kind="number")
)
ROW = {f"f{i}": float(i) for i in range(25)}


def of_the_model(code):
    return getattr(code, "co_filename", "").endswith("model.py")


@pytest.mark.parametrize("mode", [None, "shadow", "canary"])
def test_the_walk_to_a_plain_model_is_short(house, mode):
    house.add("return 1.0", signature=WIDE)
    house.add("return 2.0", 2, signature=WIDE)
    house.put(Rollout(model="m", champion=1, challenger=2 if mode else None, mode=mode, share=1.0 if mode else 0.0))
    house.predict(ROW)
    ask = Ask(model="m", rows=[ROW], keys=["k"], request="r")
    frames, calls = walk(house.gateway, ask, enters=of_the_model)
    assert len(frames) <= FRAMES, frames
    assert len(calls) <= CALLS, calls


def test_the_walk_to_trees_is_short(house):
    import lightgbm
    import msgspec

    rng = np.random.default_rng(1)
    x = rng.normal(size=(300, 25))
    data = lightgbm.Dataset(x, x[:, 0] + x[:, 1], feature_name=list(ROW))
    booster = lightgbm.train({"verbose": -1, "num_threads": 1}, data, 5)
    artifact = house.files.put(booster.model_to_string().encode())
    plain = house.add("return 1.0", signature=WIDE)
    with house.store.write() as ledger:
        ledger.versions.add(msgspec.structs.replace(plain, number=2, artifact=artifact, runtime="lightgbm"))
    house.put(Rollout(model="m", champion=2))
    house.predict(ROW)
    ask = Ask(model="m", rows=[ROW], keys=["k"], request="r")

    def enters(code):
        return "lightgbm" in getattr(code, "co_filename", "") and "modelkeep" not in code.co_filename

    frames, calls = walk(house.gateway, ask, enters=enters)
    assert len(frames) <= FRAMES, frames
    assert len(calls) <= CALLS, calls
