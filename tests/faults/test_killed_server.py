"""The server is killed under traffic: what was acknowledged is there afterwards, once; what was lost is counted."""

import itertools
import json
import os
import random

import pytest
from live_server import folded, kept, store_of, traffic
from waiting import until

SYNC = "[recorder]\ndurability = 'sync'\n[watch]\nevery = '1s'"
ASYNC = "[watch]\nevery = '1s'"
BOUND = 0.05
"""Seconds of records that async may lose (DESIGN section 5)."""
READY = 5.0
MANY = int(os.environ.get("KILLS", "100"))
"""How many kills the proof is: ``KILLS=1000 pytest -m prove tests/faults/test_killed_server.py``."""


def batches(number):
    """Every fourth request asks for 30 rows at once."""
    if number % 4:
        return "POST", "/v1/models/weight/predict", {"features": {"x": float(number % 100)}, "key": f"k{number % 50}"}
    rows = [{"features": {"x": float(i)}, "key": f"k{i}"} for i in range(30)]
    return "POST", "/v1/models/weight/predict", {"rows": rows}


def killed(live, *, after, make=batches):
    """Traffic until so many predictions were answered, and a little more, then kill -9: the traffic and the moment."""
    with traffic(live, make) as sent:
        until(lambda: sum(30 if len(r.content) > 2000 else 1 for r in sent.replies) >= after, within=30)
        until(lambda: random.random() < 0.2, every=0.005)
        at = live.kill()
    assert set(sent.statuses()) == {200}
    return sent, at


@pytest.mark.row("LOG-01")
def test_kill_9_in_sync_loses_no_answer_and_keeps_each_once(folder, up):
    sent, _ = killed(up(folder, settings=SYNC), after=10_000)
    answered = sent.ids()
    assert len(answered) >= 10_000
    again = up(folder, settings=SYNC)
    assert again.effort < READY
    assert again.predict().status == 200
    stored = until(lambda: answered.keys() <= set(kept(folder)) and kept(folder), what="every answer is in the store")
    assert len(stored) == len(set(stored)) == folded(folder)
    print(f"sync: {len(answered)} answered, 0 lost, serving again after {again.seconds:.2f} s")


@pytest.mark.row("LOG-01")
def test_kill_9_in_async_loses_at_most_50_ms_and_counts_the_gap(folder, up):
    sent, at = killed(up(folder, settings=ASYNC), after=3000)
    again = up(folder, settings=ASYNC)
    assert again.effort < READY
    ours = again.predict().json["prediction_id"]
    until(lambda: ours in kept(folder), what="the first answer after the restart is in the store")
    stored = kept(folder)
    assert len(stored) == len(set(stored)) == folded(folder)
    answered = sent.ids()
    lost = [at - answered[one].came for one in answered.keys() - set(stored)]
    assert max(lost, default=0.0) <= BOUND

    def told():
        readings = again.get("/v1/readings?name=records_dropped").json["readings"]
        return readings and readings[0]

    gap = until(told, what="the gap is a reading")["value"]
    assert gap >= len(lost)
    print(f"async: {len(answered)} answered, {len(lost)} lost, the oldest {max(lost, default=0):.4f} s, gap {gap:.0f}")
    if gap:
        (alert,) = until(lambda: [a for a in again.alerts("dataCollectionIssue") if a["severity"] == "critical"])
        assert f"{gap:.0f} records were lost" in alert["message"]


@pytest.mark.parametrize("durability", ["async", pytest.param("sync", marks=pytest.mark.prove)])
def test_an_acknowledged_outcome_is_never_lost(folder, up, durability):
    settings = f"[recorder]\ndurability = '{durability}'"
    live = up(folder, settings=settings)
    ids = [
        p["prediction_id"]
        for _ in range(2)
        for p in live.post(
            "/v1/models/weight/predict", {"rows": [{"features": {"x": float(i)}} for i in range(1000)]}
        ).json["predictions"]
    ]

    def told(number):
        return (
            "POST",
            "/v1/outcomes",
            {"prediction_id": ids[number % len(ids)], "actual": number, "source": str(number)},
        )

    with traffic(live, told) as sent:
        until(lambda: len(sent.replies) >= 150, within=30)
        live.kill()
    assert set(sent.statuses()) == {200}
    acknowledged = {ids[reply.number % len(ids)] for reply in sent.ok()}
    assert up(folder, settings=settings).predict().status == 200

    def there():
        with store_of(folder) as ledger:
            return [one for one in acknowledged if not ledger.records.outcomes(one)]

    until(lambda: not there(), what="every acknowledged outcome is in the store")


@pytest.mark.prove
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("durability", ["sync", "async"])
def test_many_kills_at_random_moments(folder, up, durability):
    """One folder goes through all of them; every other time it is killed soon after it began to answer."""
    settings = f"[recorder]\ndurability = '{durability}'\n[logs]\nconsole = false"
    answered, slowest = {}, 0.0
    for number in itertools.count():
        live = up(folder, settings=settings)
        slowest = max(slowest, live.seconds)
        if number == MANY:
            break
        sent, at = killed(live, after=20 if number % 2 else random.randrange(1000), make=batches)
        answered |= {one: (at, reply) for one, reply in sent.ids().items()}
    stored = until(lambda: len(kept(folder)) == folded(folder) and kept(folder))
    assert len(stored) == len(set(stored))
    missing = answered.keys() - set(stored)
    oldest = max((at - reply.came for one, (at, reply) in answered.items() if one in missing), default=0.0)
    print(json.dumps({"answered": len(answered), "lost": len(missing), "oldest": oldest, "slowest_start": slowest}))
    assert slowest < READY
    assert (not missing) if durability == "sync" else oldest <= BOUND
