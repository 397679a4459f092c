"""The walk of a prediction: our own frames and calls before the model, and our own microseconds beside the bare model.

Run: ``python benchmarks/serving/walk.py``. Budget (DESIGN.md section 7): <= 4 frames and <= 10 calls from the route to
the model; the edge's route is one frame and two calls of them and is not part of this script.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import lightgbm
import msgspec
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "serving"))
from housing import House
from walking import walk

from modelkeep.nouns import Field, Rollout, Signature
from modelkeep.serving.gateway import Ask

WIDE = Signature(
    inputs=tuple(Field(name=f"f{i}", kind="number") for i in range(25)), output=Field(name="y", kind="number")
)
ROW = {f"f{i}": float(i) for i in range(25)}
ROUNDS, CALLS = 15, 200


def trees(house):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2000, 25))
    data = lightgbm.Dataset(x, x[:, 0] + x[:, 1] * x[:, 2], feature_name=list(ROW))
    booster = lightgbm.train({"verbose": -1, "num_threads": 1}, data, 100)
    artifact = house.files.put(booster.model_to_string().encode())
    for number, runtime in ((1, "python"), (2, "lightgbm"), (3, "lightgbm")):
        version = house.add("return 1.0", 10 + number, signature=WIDE)
        with house.store.write() as ledger:
            ledger.versions.add(
                msgspec.structs.replace(
                    version, number=number, runtime=runtime, artifact=artifact if number > 1 else version.artifact
                )
            )


def timed(house, number, ask):
    """Microseconds a request through the gateway, and of the bare version, in alternating rounds."""
    predict, bare, ours = house.gateway.predict, [], []
    loaded = house.gateway.routes["m"].loaded[number]

    async def rounds():
        for _ in range(ROUNDS):
            start = time.perf_counter()
            for _ in range(CALLS):
                loaded.predict(ask.rows)
            middle = time.perf_counter()
            for _ in range(CALLS):
                await predict(ask)
            end = time.perf_counter()
            bare.append((middle - start) / CALLS * 1e6)
            ours.append((end - middle) / CALLS * 1e6)
            await asyncio.sleep(0.3)  # the recorder works off the round outside the measure

    asyncio.run(rounds())
    return median(bare), median(ours)


def main():
    house = House(Path(tempfile.mkdtemp()), busy=5.0)
    trees(house)
    print(f"{'model':10} {'trial':8} {'frames':>6} {'calls':>6} {'bare us':>8} {'gateway us':>10} {'our own us':>10}")
    for name, number in (("callable", 1), ("lightgbm", 2)):
        for mode in (None, "canary", "shadow"):
            rollout = Rollout(model="m", champion=number, challenger=3 if mode else None, mode=mode, share=0.0)
            house.put(rollout)
            ask = Ask(model="m", rows=[ROW], keys=["entity 1"], request="r")
            asyncio.run(house.gateway.predict(ask))

            def enters(code):
                file = getattr(code, "co_filename", "")
                return file.endswith("model.py") or ("lightgbm" in file and "modelkeep" not in file)

            frames, calls = walk(house.gateway, ask, enters=enters)
            bare, ours = timed(house, number, ask)
            counts = f"{name:10} {mode or 'none':8} {len(frames):6} {len(calls):6}"
            print(f"{counts} {bare:8.1f} {ours:10.1f} {ours - bare:10.1f}")
    start, n = time.perf_counter(), 20_000
    rows = [ROW] * 1000

    async def batches():
        for _ in range(n // 1000):
            await house.gateway.predict(Ask(model="m", rows=rows, keys=["k"] * 1000, request="r"))

    asyncio.run(batches())
    asked = time.perf_counter() - start
    while house.recorder.state.held:
        time.sleep(0.01)
    recorded = n / (time.perf_counter() - start)
    print(f"batches of 1000 (lightgbm): {n / asked:,.0f} rows/s answered, {recorded:,.0f} recorded")
    house.close()


if __name__ == "__main__":
    main()
