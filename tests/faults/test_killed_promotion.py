"""Releases on the real server: killed in the middle of a promotion, promoted and rolled back under traffic."""

import http.client
import random
import time
from contextlib import suppress

import pytest
from live_server import store_of, traffic
from populating import answer_of, answers, opened
from waiting import until

from modelkeep.jobs.failpoints import KILLED

TRIAL = """
[watch]
every = '0s'
[models.weight.trial]
shadow = '0s'
canary = ['50%']
stage = '100ms'
last = '1h'
look = '100ms'
[models.weight.guards]
grain = '5s'
"""
RATE = 200.0


def labelled(live, draw, *, rows=500):
    """Answers to many keys, and what really happened: neither version is far off, neither is better."""
    keys = [f"k{draw.randrange(10_000)}" for _ in range(rows)]
    asked = [{"features": {"x": draw.uniform(0, 900)}, "key": key} for key in keys]
    found = live.post("/v1/models/weight/predict", {"rows": asked}).json["predictions"]
    told = [{"prediction_id": p["prediction_id"], "actual": p["prediction"] + draw.uniform(-9, 9)} for p in found]
    assert live.post("/v1/outcomes", {"outcomes": told}).status == 200
    return {p["version"] for p in found}


def rollout(folder):
    with store_of(folder) as ledger:
        return ledger.rollouts.get("weight")


def judged(live, draw, over):
    """Traffic with outcomes until ``over`` says that the release has gone where it was to go."""
    end = time.monotonic() + 30
    while not over():
        assert time.monotonic() < end, live.get("/v1/releases").json
        labelled(live, draw)


def killed_at(folder, up, point):
    """A server that dies at a point of its release."""
    live = up(folder, settings=TRIAL, failpoint=point)
    labelled(live, draw := random.Random(7))
    job = live.post("/v1/models/weight/releases", {"number": 2, "by": "anna"}).json["job"]
    with suppress(OSError, http.client.HTTPException):  # its last answer is cut off
        judged(live, draw, lambda: live.process.poll() is not None)
    assert live.process.wait(10) == KILLED, live.log
    return job


PROMOTED = [
    ("release.promote_before_commit", 1, "rolled_back"),
    pytest.param("release.decided", 1, "rolled_back", marks=pytest.mark.prove),
    pytest.param("release.promote_after_commit", 2, "promoted", marks=pytest.mark.prove),
]


@pytest.mark.row("DEP-10")
@pytest.mark.parametrize(("point", "champion", "state"), PROMOTED)
def test_killed_in_the_middle_of_a_promotion_exactly_one_version_answers(folder, up, point, champion, state):
    job = killed_at(folder, up, point)
    live = up(folder, settings=TRIAL)

    def over():
        found = live.get(f"/v1/releases/{job}").json["job"]
        return found["state"] == "done" and found

    ended = until(over, what="the release is finished or undone")
    assert ended["result"]["state"] == state
    found = rollout(folder)
    assert (found.champion, found.challenger, found.trial) == (champion, None, None)
    assert labelled(live, random.Random(8)) == {champion}, "one version answers all keys"
    urgent = [a for a in live.get("/v1/alerts?severity=critical").json["alerts"] if a["type"] == "deployment"]
    if state == "rolled_back":
        (alert,) = urgent
        assert alert["recommended_actions"] == ["Immediate rollback", "Emergency contact ML team"]
        assert "in the middle of the promotion" in alert["message"]
    else:
        assert urgent == []
    again = live.post("/v1/models/weight/releases", {"number": 3}).json
    assert again["job"], "another release can begin"
    print(f"{point}: champion {champion}, {state}, serving again after {live.seconds:.2f} s")


def rolled_back(live, sent):
    """Roll back over HTTP in the middle of traffic: the answer, and the moments before and after."""
    until(lambda: len(sent.replies) > 200)
    before = time.monotonic()
    done = live.post("/v1/models/weight/rollback", {"why": "it is worse", "by": "anna"})
    after = time.monotonic()
    assert done.status == 200, done.content
    count = len(sent.replies)
    until(lambda: len(sent.replies) > count + 200)
    return done.json, before, after


@pytest.mark.row("DEP-11", "DEP-12", "REG-03")
def test_a_rollback_at_200_requests_a_second_takes_under_a_second_and_fails_none(folder, up):
    with opened(folder) as app:
        answers(app, "weight", 2)
    live = up(folder)
    with traffic(live, rate=RATE) as sent:
        done, before, after = rolled_back(live, sent)
    assert after - before < 1.0
    assert (done["champion"], done["left"]) == (1, 2)
    assert done["made"] > 0
    assert sent.broken == []
    assert set(sent.statuses()) == {200}
    for reply in sent.replies:
        answer, x = reply.json, float(reply.number % 100)
        assert answer["prediction"] == answer_of(answer["version"], x), "model and feature code of one version"
        if reply.came < before:
            assert answer["version"] == 2
        if reply.asked > after:
            assert answer["version"] == 1
    said = [p for p in done["predictions"] if p in sent.ids()]
    assert {sent.ids()[one].json["version"] for one in said} <= {2}
    took = sorted(reply.came - reply.asked for reply in sent.replies)
    rate = len(sent.replies) / (sent.replies[-1].came - sent.replies[0].asked)
    print(
        f"rollback in {(after - before) * 1000:.0f} ms at {rate:.0f} requests/s: {len(took)} answered, 0 failed, "
        f"p50 {took[len(took) // 2] * 1000:.1f} ms, slowest {took[-1] * 1000:.0f} ms"
    )


@pytest.mark.row("DEP-12", "DEP-11")
@pytest.mark.prove
def test_a_release_and_its_rollback_need_no_restart_and_fail_no_request(folder, up):
    live = up(folder, settings=TRIAL)
    labelled(live, draw := random.Random(7))
    with traffic(live, rate=100.0, clients=2) as sent:
        job = live.post("/v1/models/weight/releases", {"number": 2, "by": "anna"}).json["job"]
        judged(live, draw, lambda: live.get(f"/v1/releases/{job}").json["job"]["state"] == "done")
        assert live.get(f"/v1/releases/{job}").json["job"]["result"]["state"] == "promoted"
        assert live.predict(3.0).json["prediction"] == answer_of(2, 3.0)
        done, before, after = rolled_back(live, sent)
    assert after - before < 1.0
    assert (done["champion"], live.predict(3.0).json["prediction"]) == (1, answer_of(1, 3.0))
    assert sent.broken == []
    assert set(sent.statuses()) == {200}
    assert {reply.json["version"] for reply in sent.replies} == {1, 2}
    for reply in sent.replies:
        answer = reply.json
        assert answer["prediction"] == answer_of(answer["version"], float(reply.number % 100))
    assert live.process.poll() is None
    print(f"released and rolled back among {len(sent.replies)} requests, 0 failed")
