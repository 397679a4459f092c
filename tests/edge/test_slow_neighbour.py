"""The row's own figures: a model that sleeps 40 s, the built-in limit of 30 s, a neighbour asked 100 at a time."""

import asyncio
import time

import httpx
import pytest
from making_models import DOUBLER
from served_house import served

HANGS = "import time\ndef predict(row):\n    time.sleep(40 if row['x'] < 0 else 0)\n    return 2.0 * row['x']\n"


@pytest.mark.prove
@pytest.mark.row("SRV-10")
def test_a_model_that_sleeps_40_s_is_cut_at_30_and_its_neighbour_stays_below_200_ms(tmp_path):
    with served(tmp_path / "d", loading__isolate=True) as house:
        house.keep("doubler", DOUBLER)
        house.keep("hangs", HANGS)

        async def both():
            limits = httpx.Limits(max_connections=200)
            async with httpx.AsyncClient(base_url=house.url, limits=limits, timeout=60) as client:

                async def ask(model, x):
                    began = time.perf_counter()
                    answer = await client.post(f"/v1/models/{model}/predict", json={"features": {"x": x, "plan": None}})
                    return answer, time.perf_counter() - began

                await asyncio.gather(*(ask("doubler", 1.0) for _ in range(100)))  # opens the connections
                slow, rounds = asyncio.create_task(ask("hangs", -1.0)), []
                while not slow.done():
                    rounds += await asyncio.gather(*(ask("doubler", float(i % 90)) for i in range(100)))
                    await asyncio.sleep(1.0)
                return await slow, rounds

        (cut, took), others = asyncio.run(both())
    p95 = sorted(seconds for _, seconds in others)[int(0.95 * len(others))]
    print(f"cut after {took:.2f} s; {len(others)} of the neighbour, p95 {1000 * p95:.0f} ms")
    assert (cut.status_code, cut.json()["error"]["code"]) == (504, "timeout")
    assert 29.5 < took < 31.5
    assert {answer.status_code for answer, _ in others} == {200}
    assert p95 < 0.2
