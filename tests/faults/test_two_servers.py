"""Two servers, each with a folder of its own, on one PostgreSQL: they are one product."""

import signal
import time
from collections import Counter
from contextlib import contextmanager

import pytest
from live_server import folded_in, single, traffic
from populating import FEATURES, MODEL, answers, keep, opened
from waiting import until

from modelkeep.store.postgresql import PostgresStore


@pytest.fixture
def database(durable_postgres):
    url = durable_postgres.database()
    yield url
    durable_postgres.drop(url)


def settings_for(database, shared, *, more=""):
    return f"store = '{database}'\nshared = '{shared}'\n[recorder]\ndurability = 'sync'\n[watch]\nevery = '1s'\n{more}"


@pytest.fixture
def pair(database, tmp_path, up):
    """Two servers on one database; ``weight`` has two versions that answer nobody yet."""
    shared = tmp_path / "shared"
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
        (folder / "modelkeep.toml").write_text(settings_for(database, shared))
    with opened(folders[0]) as app:
        for number in (1, 2):
            keep(app, "weight", MODEL.format(number=number), features=FEATURES.format(number=number))
    return [up(folder, settings=settings_for(database, shared)) for folder in folders]


@contextmanager
def ledger_of(database):
    store = PostgresStore(database)
    try:
        with store.read() as ledger:
            yield ledger
    finally:
        store.close()


def kept_in(database, model="weight"):
    with ledger_of(database) as ledger:
        return [p.id for p in ledger.records.latest(model, limit=1_000_000)]


@pytest.mark.row("SRV-16", "CFG-09")
def test_what_one_is_told_the_other_does_and_a_killed_one_loses_nothing(pair, database, up):
    a, b = pair
    assert b.predict().status == 404
    began = time.monotonic()
    assert a.post("/v1/models/weight/releases", {"number": 1}).status in {200, 202}
    until(lambda: b.predict(3.0).status == 200, within=5.0, what="the other server answers")
    taken = time.monotonic() - began
    assert a.predict(3.0).json["prediction"] == b.predict(3.0).json["prediction"]
    with traffic(a, clients=3) as at_a, traffic(b, clients=3) as at_b:
        until(lambda: len(at_a.replies) > 300 and len(at_b.replies) > 300, within=60)
        killed = a.kill()
        until(lambda: sum(reply.asked > killed for reply in at_b.replies) > 100, within=30)
    assert set(at_b.statuses()) == {200}, "the other one went on"
    assert not at_b.broken
    answered = {**at_a.ids(), **at_b.ids()}
    assert len(answered) == len(at_a.ok()) + len(at_b.ok()), "no id was given twice"
    # What PostgreSQL had not yet taken when it was killed lies on its disk, and is brought by its next start.
    waiting = len(answered.keys() - set(kept_in(database)))
    up(a.folder, settings=(a.folder / "modelkeep.toml").read_text())
    until(lambda: answered.keys() <= set(kept_in(database)), what="0 lost")
    with ledger_of(database) as ledger:  # in one view: what nobody waits for may still be coming in
        stored = [p.id for p in ledger.records.latest("weight", limit=1_000_000)]
        assert len(stored) == len(set(stored)) == ledger.records.counts("weight")[0] == folded_in(ledger)
    print(f"answered by the other after {taken:.2f} s; {len(answered)} answered, {waiting} in the spool, 0 lost")


@pytest.mark.prove
@pytest.mark.row("TUN-08")
def test_killed_connections_and_a_restart_of_the_database_are_seen_by_no_client(pair, database, durable_postgres):
    """Everything that an application and a page ask, while its connections are ended and the server restarts."""
    a, _ = pair
    assert a.post("/v1/models/weight/releases", {"number": 1}).status in {200, 202}
    until(lambda: a.predict().status == 200, within=5.0)
    asked = (
        "/v1/models/weight",
        "/v1/models/weight/accuracy",
        "/v1/models/weight/predictions",
        "/v1/status",
        "/metrics",
    )

    def some(number):
        path = asked[number // 2 % len(asked)]
        return ("GET", path, None) if number % 2 else single(number)

    with traffic(a, some, clients=3) as seen:
        for _ in range(40):
            durable_postgres.end_connections(database)
            time.sleep(0.03)  # at any moment of what is asked
        durable_postgres.stop(signal.SIGINT)  # as an administrator restarts it
        time.sleep(0.5)
        durable_postgres.start()
        before = len(seen.replies)
        until(lambda: len(seen.replies) > before + 100, within=30)
    failed = [(reply.status, reply.json["error"]["message"]) for reply in seen.replies if reply.status != 200]
    assert not failed
    assert not seen.broken
    slowest = max(reply.came - reply.asked for reply in seen.replies)
    print(f"{len(seen.replies)} answers, 0 failed, the slowest {slowest:.2f} s")


@pytest.mark.row("SRV-16")
def test_a_rollback_reaches_every_server_within_a_second(pair):
    a, b = pair
    took = []

    def reached(server, number):
        began = time.monotonic()
        until(lambda: (r := server.predict()).status == 200 and r.json["version"] == number, within=3.0, every=0.005)
        took.append(time.monotonic() - began)

    with beside(a) as app:
        for number in (1, 2, 1, 2):
            answers(app, "weight", number)
            reached(b, number)
            reached(a, number)
    assert a.post("/v1/models/weight/rollback", {"why": "test"}).status == 200
    reached(b, 1)
    assert max(took[2:]) < 1.0, "the first had to load the version"
    print("seconds until the other server:", [f"{seconds:.3f}" for seconds in took])


@pytest.mark.prove
@pytest.mark.row("SRV-16")
def test_collection_that_is_switched_at_one_server_is_switched_at_all(pair):
    a, b = pair
    assert a.post("/v1/models/weight/releases", {"number": 1}).status in {200, 202}
    until(lambda: b.predict().status == 200, within=5.0)
    took = []
    for enabled, (one, other) in ((False, (a, b)), (True, (b, a)), (False, (b, a)), (True, (b, a))):
        assert one.post(f"/v1/collection/{'on' if enabled else 'off'}", {"why": "test"}).json["enabled"] is enabled
        began = time.monotonic()
        until(lambda: other.get("/v1/collection/stats").json["enabled"] is enabled, within=3.0, every=0.005)  # noqa: B023
        took.append(time.monotonic() - began)
        told = other.post("/v1/outcomes", {"model": "weight", "key": "k", "for": "2026-11-20", "actual": 1.0})
        assert told.status == (200 if enabled else 409), told.content
    print("seconds until the other server:", [f"{seconds:.3f}" for seconds in took])


@pytest.mark.prove
def test_recurring_work_is_done_once(pair, database):
    def rounds():
        with ledger_of(database) as ledger:
            return [
                job for job in ledger.jobs.all(task="watch", limit=1000) if job.schedule == "watch" and job.attempts
            ]

    ran = until(lambda: len(rounds()) > 5 and rounds(), within=30)
    assert max(Counter(job.due for job in ran).values()) == 1
    assert all(job.attempts == 1 for job in ran if job.state == "done")


@contextmanager
def beside(live):
    """The app of a running server's settings, beside it."""
    other = live.folder.parent / "beside"
    other.mkdir(exist_ok=True)
    (other / "modelkeep.toml").write_text((live.folder / "modelkeep.toml").read_text())
    with opened(other) as app:
        yield app
