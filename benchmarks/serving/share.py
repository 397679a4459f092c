"""What recording, counting and drawing a canary take of the hot road, in microseconds of the loop's thread a request.

Sixteen connections without sockets, on a HistGradientBoosting model; bare (nothing recorded or counted), full, and full
with a canary drawn for every row, by turns; what is beyond bare is the median of all. Budget: <= 40 % of the path.
Run: ``python benchmarks/serving/share.py``.
"""

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

import uvicorn
import uvloop
from compare import keep
from msgspec import structs
from uvicorn.server import ServerState

from modelkeep import settings
from modelkeep.app import App
from modelkeep.edge.traffic import Traffic
from modelkeep.edge.wire import Road
from modelkeep.serving.straight import Straight

CONNECTIONS, ROUNDS, TURNS = 16, 150, 41
BODY = (
    b'{"features":{"f0":0.5,"f1":-0.25,"f2":1.5,"f3":0.125,"f4":-1.0,"f5":0.75,"f6":2.0,"f7":-0.5},"key":"entity %02d"}'
)
HEAD = (
    b"POST /v1/models/trees/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d"
)
REQUESTS = [HEAD % len(BODY % n) + b"\r\n\r\n" + BODY % n for n in range(50)]


class Nowhere(asyncio.Transport):
    """Takes whatever is written."""

    def write(self, data):
        pass

    def is_closing(self):
        return False

    def get_extra_info(self, *_):
        return None

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass


class Uncounted(Traffic):
    def several(self, *_, **__):
        pass

    def answers(self, *_, **__):
        pass


class Bare(Straight):
    """Answers, and neither records nor counts."""

    def keep(self, block):  # noqa: ARG002 - this one does nothing with it
        return []


def connections(app, *, bare):
    road = Road(app.rooms.gateway, Uncounted() if bare else Traffic(), limit=1 << 24, token="", patience=30)
    config = uvicorn.Config(app=None, http=road.protocol(), ws="none")
    made, state = [], ServerState()
    for _ in range(CONNECTIONS):
        made.append(road.protocol()(config=config, server_state=state, app_state={}))
        made[-1].connection_made(Nowhere())
    return made


async def turn(lines):
    """Microseconds a request of this thread, and of all threads meanwhile."""
    began, all_began, number = time.thread_time(), time.process_time(), 0
    for _ in range(ROUNDS):
        for line in lines:
            line.data_received(REQUESTS[number % len(REQUESTS)])
            number += 1
        await asyncio.sleep(0)
    return (time.thread_time() - began) / number * 1e6, (time.process_time() - all_began) / number * 1e6


async def measured(app):
    gateway, found = app.rooms.gateway, {}
    plain = gateway.routes
    route = plain["trees"]
    both = structs.replace(route.rollout, challenger=2, mode="canary", share=0.0)
    trial = {"trees": structs.replace(route, rollout=both, loaded={**route.loaded, 2: route.loaded[1]})}
    bare = Bare(route, route.loaded[route.rollout.champion], means=gateway._means, late=print)  # noqa: SLF001
    ways = {"bare": connections(app, bare=True), "full": connections(app, bare=False)}
    for place in range(TURNS):
        for name in ("bare", "full", "with a canary"):
            gateway.swap(trial if name == "with a canary" else plain)
            if name == "bare":
                gateway.straight = {"trees": bare}
            got = await turn(ways["bare" if name == "bare" else "full"])
            if place:  # the first turn warms up
                found.setdefault(name, []).append(got)
            while app.rooms.recorder.state.held:  # noqa: ASYNC110 - each begins with nothing that waits for the store
                await asyncio.sleep(0.05)
    return found


def main():
    folder = Path(tempfile.mkdtemp())
    keep(folder)
    app = App.open(settings.load(folder=folder / "data", environ={}))
    app.rooms.recorder.start()
    app.rooms.router.refresh()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(measured(app))
    app.stop()
    bare = [mine for mine, _ in found["bare"]]
    for name, got in found.items():
        mine, threads = statistics.median(a for a, _ in got), statistics.median(b for _, b in got)
        share = statistics.median(1 - base / a for base, (a, _) in zip(bare, got, strict=True))
        print(f"{name:15}loop {mine:6.2f} us a request, all threads {threads:6.2f} us; beyond bare {share:.0%}")


if __name__ == "__main__":
    main()
