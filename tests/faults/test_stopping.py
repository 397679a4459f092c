"""A server that is asked to stop finishes what it is answering, keeps every record, and goes."""

import signal

import pytest
from live_server import folded, kept, traffic
from populating import answers, keep, opened
from waiting import until

SLOW = "import time\n\n\ndef predict(row):\n    time.sleep(0.3)\n    return row['x']\n"


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.prove)])
def test_a_signal_under_traffic_ends_it_cleanly(folder, up, number):
    with opened(folder) as app:
        keep(app, "slow", SLOW)
        answers(app, "slow", 1)
    live = up(folder)
    long = {"features": {"x": 5.0}}
    with traffic(live) as sent, traffic(live, lambda _: ("POST", "/v1/models/slow/predict", long), clients=1) as slow:
        until(lambda: len(sent.replies) > 500)
        until(lambda: slow.replies and live.get("/metrics").status == 200)
        begun = len(slow.replies)
        code, seconds = live.stop(number)
    assert code == 0, live.log
    assert seconds < 10
    assert set(sent.statuses()) == {200}
    assert begun < len(slow.replies) <= begun + 2, "what was being answered was answered"  # another may have begun
    assert slow.replies[-1].json["prediction"] == 5.0
    assert sent.ids().keys() <= set(kept(folder))
    assert len(kept(folder)) == folded(folder)
    assert slow.ids().keys() <= set(kept(folder, "slow"))
    assert not (folder / "server.json").exists()
    assert '"level":"error"' not in live.log
    print(f"{signal.Signals(number).name}: {len(sent.replies)} answered, exit 0 after {seconds:.2f} s")
