"""Requests that wait for a slow model are answered together: more of them a second, each with its own answer."""

import asyncio
import statistics
import time

import pytest

from modelkeep.errors import Overloaded
from modelkeep.nouns import Rollout
from modelkeep.serving.joining import AGAIN, MOST, Appetite
from modelkeep.serving.router import Router
from modelkeep.serving.shelf import Keeping

TOGETHER = "time.sleep({own}); return [row['x'] * 2 for row in rows]"
ONE_BY_ONE = "time.sleep({own}); return row['x'] * 2"


def fed(cost, calls=200):
    """An appetite that was told what calls took whose rows were as many as it asked for."""
    appetite = Appetite()
    for _ in range(calls):
        n = appetite.rows()
        appetite.note(n, cost(n))
    return appetite


def test_how_many_go_together_follows_what_a_row_more_costs():
    assert fed(lambda _: 0.1).width == MOST
    assert fed(lambda n: 0.1 * n).width == 1
    assert 4 <= fed(lambda n: 0.09 + 0.01 * n).width <= 6
    assert Appetite().rows() == 1  # nothing is known of a version that was never asked


def test_nothing_is_tried_that_could_take_too_long_and_one_call_tries_at_a_time():
    appetite = Appetite()
    appetite.note(1, 1.0)
    assert appetite.rows(within=3.0) == 1
    assert [appetite.rows(within=30.0) for _ in range(3)] == [2, 1, 1]
    wide = fed(lambda _: 1.0)
    assert wide.rows(within=30.0) == MOST
    assert wide.rows(within=2.0) == 1


def test_a_model_that_becomes_better_at_it_is_found_out_and_a_wary_one_waits():
    appetite = fed(lambda n: 0.1 * n)
    for _ in range(40 * AGAIN):
        n = appetite.rows()
        appetite.note(n, 0.1)
    assert appetite.width > 4
    appetite.doubt()
    assert appetite.width == appetite.rows() == 1


async def callers(house, count, *, seconds, odd=lambda _: False):
    """Each caller asks again as soon as it is answered; (seconds, x, prediction) of every answer, and refusals."""
    found, refused = [], 0
    end = time.perf_counter() + seconds

    async def one(number):
        nonlocal refused
        turn = number
        while time.perf_counter() < end:
            turn += count
            x = 13.0 if odd(turn) else float(100 + turn % 800)
            start = time.perf_counter()
            try:
                answer = await house.gateway.predict(house.ask(x, request=f"r{turn}"))
            except Overloaded:
                refused += 1
                await asyncio.sleep(0.01)
                continue
            found.append((time.perf_counter() - start, x, answer.predictions[0]))

    await asyncio.gather(*(one(number) for number in range(count)))
    return found, refused


@pytest.fixture
def house(house):
    """A house that ends the processes of its models."""
    yield house
    for loaded in house.router.shelf.loaded.values():
        if loaded.close is not None:
            loaded.close()


def served(house, body, *, own, batch, isolate=False, **policy):
    house.add(body.format(own=own), batch=batch)
    if isolate:
        house.router.close()
        house.router = Router(
            house.store, house.files, gateway=house.gateway, clock=house.clock, keeping=Keeping(isolate=True)
        )
    if policy:
        house.policy(**policy)
    house.put(Rollout(model="m", champion=1))


def median(found):
    return sorted(took for took, _, _ in found)[len(found) // 2]


def pause(seconds):
    """What a sleep of so many seconds takes here and now: a model that sleeps is as slow as that."""

    def once():
        began = time.perf_counter()
        time.sleep(seconds)
        return time.perf_counter() - began

    return statistics.median(once() for _ in range(5))


@pytest.mark.parametrize("isolate", [False, True], ids=["threads", "a process of its own"])
def test_with_many_callers_a_slow_model_answers_several_times_as_many(house, isolate):
    served(house, TOGETHER, own=0.03, batch=True, isolate=isolate)
    alone, _ = asyncio.run(callers(house, 1, seconds=0.4))
    found, _ = asyncio.run(callers(house, 16, seconds=1.2))
    assert median(alone) < 2 * pause(0.03)
    most = 1 / median(alone) * (1 if isolate else 4)  # what its hands could answer one by one
    assert len(found) / 1.2 > 2 * most
    for _, x, prediction in found:
        assert prediction.output == 2 * x == 2 * prediction.features["x"]
    assert len({prediction.id for _, _, prediction in found}) == len(found)
    house.flush()
    for _, x, prediction in found[:: max(len(found) // 20, 1)]:
        kept = house.recorded(prediction.id)
        assert (kept.output, kept.features["x"], kept.error) == (2 * x, x, None)


def test_a_row_that_breaks_the_model_breaks_no_other(house):
    body = "time.sleep({own}); return [row['x'] * 2 if row['x'] != 13 else 1 / 0 for row in rows]"
    served(house, body, own=0.01, batch=True)
    house.tell("", 5.0, 5.0)  # something stands in
    asyncio.run(callers(house, 16, seconds=0.4))
    found, _ = asyncio.run(callers(house, 16, seconds=1.0, odd=lambda turn: turn % 7 == 0))
    broken = [p for _, x, p in found if x == 13]
    assert broken
    assert all("ZeroDivisionError" in p.error for p in broken)
    assert all(p.error is None and p.output == 2 * x for _, x, p in found if x != 13)


def test_a_row_that_ends_the_process_ends_no_answer_but_its_own(house):
    body = "time.sleep({own}); any(row['x'] == 13 for row in rows) and __import__('os')._exit(3)"
    body += "; return [row['x'] for row in rows]"
    served(house, body, own=0.01, batch=True, isolate=True)
    house.tell("", 5.0, 5.0)
    asyncio.run(callers(house, 16, seconds=0.5))
    found, _ = asyncio.run(callers(house, 16, seconds=1.5, odd=lambda turn: turn == 16 * 5))
    assert [p.error is not None for _, x, p in found if x == 13] == [True]
    assert [(p.error, x, p.output) for _, x, p in found if x != 13 and (p.error or p.output != x)] == []


def test_a_model_that_takes_its_rows_one_by_one_is_asked_one_by_one(house):
    served(house, ONE_BY_ONE, own=0.02, batch=False)
    found, _ = asyncio.run(callers(house, 12, seconds=1.0))
    own = statistics.median(p.seconds for _, _, p in found)
    assert own < 3 * pause(0.02)  # together they would take twelve times as long
    assert len(found) > 0.6 * 4 / own


def test_calls_that_hang_together_are_one_call_that_hangs(house):
    body = "time.sleep(3.0 if any(row['x'] == 13 for row in rows) else {own}); return [row['x'] * 2 for row in rows]"
    served(house, body, own=0.02, batch=True, limit=0.5)
    house.tell("", 5.0, 5.0)

    async def scene():
        await callers(house, 16, seconds=0.6)
        first = asyncio.gather(*(house.gateway.predict(house.ask(x)) for x in [*map(float, range(20, 40)), 13.0]))
        await asyncio.sleep(0.8)
        late = await asyncio.wait_for(house.gateway.predict(house.ask(50.0)), 2.0)  # before the call that hangs ends
        return await first, late

    answers, late = asyncio.run(scene())
    assert answers[-1].predictions[0].error.startswith("timeout")
    assert late.predictions[0].output == 100.0  # three of the four threads are free


@pytest.mark.prove
@pytest.mark.parametrize("isolate", [False, True], ids=["threads", "a process of its own"])
def test_throughput_rises_several_times_and_one_caller_waits_as_before(house, isolate):
    served(house, TOGETHER, own=0.05, batch=True, isolate=isolate)
    alone, _ = asyncio.run(callers(house, 1, seconds=5))
    found, refused = asyncio.run(callers(house, 16, seconds=10))
    again, _ = asyncio.run(callers(house, 1, seconds=5))
    one_by_one = 1 / 0.05 * (1 if isolate else 4)
    print(f"{len(found) / 10:.0f}/s of {one_by_one:.0f}/s one by one, {refused} refused, alone {median(alone):.4f} s")
    assert len(found) / 10 > 3 * one_by_one
    assert median(again) < 1.1 * median(alone)
    assert median(found) < 2.5 * median(alone)
