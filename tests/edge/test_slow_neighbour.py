"""A model that sleeps 40 s, and 100 requests at a time to its neighbour, asked from a process that measures itself.

The server is a process of its own. ``served`` is from when a request was sent to when its answer had arrived (the
kernel's own timestamp): what the asking side takes to come round to it is not the server's.
"""

import json
import threading
import time
import urllib.error
import urllib.request

import pytest
from test_five_times import five_times, open_loop

AT_ONCE = 100


def ask(port, model, x):
    """One request by itself: its status, its error's code, and how long it took."""
    url, began = f"http://127.0.0.1:{port}/v1/models/{model}/predict", time.monotonic()
    asked = urllib.request.Request(url, json.dumps({"features": {"x": x}}).encode())
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return answer.status, "", time.monotonic() - began
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.loads(refusal.read())["error"]["code"], time.monotonic() - began


def waves(port, ended, *, every):
    """Ask the neighbour 100 times at once, again and again until ``ended`` says so; every answer."""
    caller = open_loop.Caller(port, "quick")
    while not ended():
        for _ in range(AT_ONCE):
            caller.ask("normal", time.time())
        while caller.busy:
            caller.take(0.1)
        time.sleep(every)
    caller.close()
    return caller.answers


def neighbours(limit, *, every):
    """Ask for what hangs, and for its neighbour meanwhile: the cut answer, and all others."""
    with five_times.served(f"limit={limit}") as (port, process):
        assert ask(port, "hangs", 1.0)[0] == 200
        waves(port, iter([False, True]).__next__, every=0)  # opens the connections
        before, cut = five_times.scheduled(process.pid), []
        slow = threading.Thread(target=lambda: cut.append(ask(port, "hangs", -1.0)))
        began = time.monotonic()
        slow.start()
        others = waves(port, lambda: not slow.is_alive(), every=every)
        waited = five_times.scheduled(process.pid)[1] - before[1]
        core = 1 - min(waited / (time.monotonic() - began), 0.9)
        again = ask(port, "hangs", 2.0)
        end = time.monotonic() + 5
        while again[0] != 200 and time.monotonic() < end:
            again = ask(port, "hangs", 2.0)
    p95 = open_loop.quantile([answer.served for answer in others], 0.95)
    whole = open_loop.quantile([answer.whole for answer in others], 0.95)
    print(
        f"cut after {cut[0][2]:.2f} s; {len(others)} others, p95 {p95} ms, seen by the caller {whole} ms, core {core}"
    )
    assert cut[0][:2] == (504, "timeout")
    assert limit - 0.1 < cut[0][2] < limit + 1.0
    assert len(others) >= 2 * AT_ONCE
    assert {answer.status for answer in others} == {200}
    assert p95 < 200 / core
    assert again[0] == 200


@pytest.mark.row("SRV-10")
def test_a_model_that_sleeps_is_cut_at_its_limit_and_its_neighbour_stays_below_200_ms():
    """The limit is 1 s here, not 30: the walk is the same."""
    neighbours(1.0, every=0.1)


@pytest.mark.prove
@pytest.mark.row("SRV-10")
def test_a_model_that_sleeps_40_s_is_cut_at_30_and_its_neighbour_stays_below_200_ms():
    neighbours(30.0, every=0.5)
