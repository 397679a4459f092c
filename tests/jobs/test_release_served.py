"""A release while requests are answered: real gateway, router and recorder, nothing restarted and no request lost."""

import asyncio
import threading
import time

import pytest
from trialling import HOUR, Site

from modelkeep.jobs.rolling_back import roll_back_now
from modelkeep.jobs.rooms import Rooms
from modelkeep.jobs.runner import Pace, Runner
from modelkeep.nouns import Guards, Outcome, Trial
from modelkeep.runtimes import packing
from modelkeep.serving.gateway import Ask, Gateway
from modelkeep.serving.recorder import Recorder
from modelkeep.serving.router import Router

CANARY = Trial(shadow=0.0, canary=(0.5,), stage=HOUR, last=20 * HOUR, look=60.0)


class Served(Site):
    """A site with its serving rooms; what it is asked goes through the gateway."""

    def __init__(self, folder):
        super().__init__(folder)
        store, clock, files = self.rooms.store, self.rooms.clock, self.rooms.files
        self.recorder = Recorder(store, clock, spool=folder / "spool", files=files)
        self.recorder.start()
        self.gateway = Gateway(self.recorder, clock)
        router = Router(store, files, gateway=self.gateway, clock=clock)
        self.rooms = Rooms(
            clock=clock, store=store, files=files, folder=folder, book=self.rooms.book,
            recorder=self.recorder, gateway=self.gateway, router=router,
        )  # fmt: skip
        self.runner = Runner(self.rooms, self.runner._tasks, schedules={}, pace=Pace())

    def ask(self, rows=100):
        keys = [f"user {self.draw.randrange(10_000)}" for _ in range(rows)]
        truths = [self.draw.random() for _ in range(rows)]
        asked = Ask(model="weight", rows=[{"x": truth} for truth in truths], keys=keys, request="r")

        async def answered():
            answer = await self.gateway.predict(asked)
            await asyncio.sleep(0)  # what follows the answer begins
            return answer

        predictions = asyncio.run(answered()).predictions
        self.recorder.tell(
            [Outcome(prediction=p.id, value=t, at=p.at) for p, t in zip(predictions, truths, strict=True)]
        ).result(20)
        return predictions

    def code(self, source):
        path = self.folder / "features.py"
        path.write_text(source)
        return self.rooms.files.put(packing.pack_features(path))

    def close(self):
        self.gateway.close()
        self.recorder.close()
        super().close()


@pytest.fixture
def site(tmp_path):
    found = Served(tmp_path)
    yield found
    found.close()


@pytest.mark.row("DEP-04", "DEP-11", "DEP-12", "DEP-09")
def test_a_version_is_released_and_rolled_back_under_traffic_without_a_failed_request(site):
    site.policy(trial=CANARY, guards=Guards(grain=5.0))
    site.version(1, features=site.code("def features(row):\n    return {'x': row['x'] + 0.001}\n"))
    site.release(1)
    before = site.ask()[0]
    site.version(2, features=site.code("def features(row):\n    return {'x': row['x'] + 0.0005}\n"))
    for _ in range(2):
        site.ask()
    job = site.release(2)
    assert site.steps(job)[-1] == "canary"

    failures, stop = [], threading.Event()

    def knock():
        while not stop.is_set():
            answers = site.gateway.predict(Ask(model="weight", rows=[{"x": 0.5}], keys=["me"], request="k"))
            found = asyncio.run(answers).predictions[0]
            if found.error or found.output is None:
                failures.append(found)
            time.sleep(0.02)

    thread = threading.Thread(target=knock)
    thread.start()
    try:
        arms = {}
        for _ in range(20):
            site.clock.advance(0.06 * HOUR)
            for p in site.ask(60):
                assert arms.setdefault(p.key, p.version) == p.version, "an entity stays in its arm"
            site.runner.run_due()
            if site.rollout().champion == 2:
                break
        assert site.steps(job)[-1] == "promoted", site.job(job).steps[-1].detail
        assert {2} == {p.version for p in site.ask()}
        start = time.perf_counter()
        done = roll_back_now(site.rooms, "weight", by="anna")
        assert time.perf_counter() - start < 1.0
    finally:
        stop.set()
        thread.join()
    assert failures == []
    assert (done.champion, done.left) == (1, 2)
    assert done.made > 0
    again = asyncio.run(
        site.gateway.predict(Ask(model="weight", rows=[before.features], keys=[before.key], request="again"))
    ).predictions[0]
    assert (again.version, again.output) == (1, before.output)
