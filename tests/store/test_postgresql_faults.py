"""What happens on PostgreSQL when the server, the network or another writer is in the way. Nothing is simulated."""

import socket
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from making import folded, prediction, told
from msgspec import structs
from postgres_server import PASSWORD, Server
from waiting import until

from modelkeep.errors import BadInput, BadSettings, ModelkeepError, StoreUnavailable
from modelkeep.nouns import Rollout
from modelkeep.store import rows, tables, turns
from modelkeep.store.postgresql import PostgresStore
from modelkeep.store.repeating import repeated


@pytest.fixture
def store(database: str) -> Iterator[PostgresStore]:
    kept = PostgresStore(database)
    yield kept
    kept.close()


def add(store: PostgresStore, *numbers: int, **fields: Any) -> None:
    with store.write("predictions") as ledger:
        some = [prediction(n, **fields) for n in numbers]
        ledger.records.add(some, [structs.replace(folded(len(some)), model=some[0].model)])


def count(store: PostgresStore, model: str = "demand") -> int:
    with store.read() as ledger:
        return ledger.records.counts(model)[0]


def logged(fault: BaseException) -> str:
    """All that a log could say of a fault."""
    return "".join(traceback.format_exception(fault))


def rollout(champion: int) -> Rollout:
    return Rollout(model="demand", champion=champion, since=float(champion))


# ------------------------------------------------------------------------------------------- causes in words


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda url: url.replace(PASSWORD, "wrong-but-secret"), r"refuses the login.*check the user and the password"),
        (lambda url: url.replace(f":{PASSWORD}", ""), r"refuses the login"),
        (lambda url: f"{url}x", r"does not exist.*createdb"),
    ],
)
def test_an_address_that_does_not_work_is_named_without_its_password(database: str, change: Any, words: str) -> None:
    store = PostgresStore(change(database))
    for act in (store.ping, store.migrate, lambda: count(store)):
        with pytest.raises(ModelkeepError, match=words) as refusal:
            act()
        assert PASSWORD not in logged(refusal.value)
        assert "wrong-but-secret" not in logged(refusal.value)
    store.close()


def test_what_is_no_address_is_refused_and_not_repeated() -> None:
    for bad in ("mysql://u:hidden@h/d", "://hidden", "postgresql://u:hidden@h:port/d"):
        with pytest.raises(BadSettings, match=r"postgresql://user@host:5432/name") as refusal:
            PostgresStore(bad)
        assert "hidden" not in str(refusal.value)


def test_a_store_that_is_locked_is_named_after_busy_seconds_and_recovers(database: str) -> None:
    store = PostgresStore(database, busy=0.2)
    other = PostgresStore(database)
    with other.write():
        for act in (lambda: add(store, 1), lambda: store.write("work").__enter__(), lambda: store.write().__enter__()):
            with pytest.raises(StoreUnavailable, match=r"locked: another writer has held it for 0\.2 s"):
                act()
        assert count(store) == 0
        assert store.ping() < 1.0, "it can be written, only not this"
    add(store, 1)
    assert count(store) == 1
    store.close()
    other.close()


def test_a_closed_store_says_so(store: PostgresStore) -> None:
    store.close()
    for act in (lambda: add(store, 1), lambda: count(store), store.ping, store.migrate):
        with pytest.raises(StoreUnavailable, match="closed"):
            act()


def test_a_reader_cannot_write(store: PostgresStore) -> None:
    with pytest.raises(StoreUnavailable, match="may not be written"), store.read() as ledger:
        ledger.records.remember("demand", {"a": b"1"})


def test_what_postgresql_cannot_hold_is_bad_input_and_never_a_store_that_is_away(store: PostgresStore) -> None:
    with pytest.raises(BadInput, match="NUL"):
        add(store, 1, key="a\0b")
    add(store, 1, output="a\0b", features={"x": "a\0b"})  # inside JSON and MessagePack it is only a character
    with store.read() as ledger:
        assert ledger.records.prediction("7-1").output == "a\0b"


def test_errors_do_not_repeat_what_was_recorded(store: PostgresStore) -> None:
    with pytest.raises(ModelkeepError) as refusal, store.write() as ledger:
        ledger.records._connection.exec_driver_sql("SELECT no_such_thing FROM predictions WHERE key = %s", ("anna",))
    assert "anna" not in logged(refusal.value)


# ------------------------------------------------------------------------------------------------ connections


@pytest.mark.row("TUN-08")
def test_35_questions_at_once_take_30_connections_and_five_wait(database: str, postgres: Server) -> None:
    store = PostgresStore(database)
    name, all_in, go = database.rpartition("/")[2], threading.Semaphore(0), threading.Event()

    def ask(_: int) -> int:
        with store.read() as ledger:
            found = ledger.records.counts("demand")[0]
            all_in.release()
            assert go.wait(20)
            return found

    with ThreadPoolExecutor(35) as pool:
        asked = [pool.submit(ask, n) for n in range(35)]
        for _ in range(30):
            assert all_in.acquire(timeout=20)
        assert not all_in.acquire(timeout=0.2), "five wait"
        ((connections,),) = postgres.do(f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'")
        assert connections == 30
        go.set()
        assert [one.result(20) for one in asked] == [0] * 35
    until(lambda: postgres.do(f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'") == [(10,)])
    store.close()


@pytest.mark.row("TUN-08")
def test_killed_connections_are_replaced_and_nobody_notices(
    store: PostgresStore, postgres: Server, database: str
) -> None:
    for round_ in range(3):
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: add(store, n), range(round_ * 8, round_ * 8 + 8)))
        assert postgres.end_connections(database) >= 1
        assert count(store) == round_ * 8 + 8
        postgres.end_connections(database)
        store.ping()


def test_a_backend_that_is_killed_in_the_middle_undoes_all_of_it(
    store: PostgresStore, postgres: Server, database: str
) -> None:
    add(store, 1)

    def write() -> None:
        with store.write("predictions") as ledger:
            ledger.records.add([prediction(n) for n in range(2, 50)], [folded(48)])
            postgres.end_connections(database)
            ledger.records.remember("demand", {"a": b"1"})

    with pytest.raises(StoreUnavailable, match="went away"):
        write()
    assert count(store) == 1
    add(store, *range(2, 50))
    assert count(store) == 49


def test_a_server_that_restarts_is_found_again(durable_postgres: Server) -> None:
    url = durable_postgres.database()
    store = PostgresStore(url, busy=0.2)
    add(store, 1)
    durable_postgres.stop()
    for act in (lambda: add(store, 2), lambda: count(store), store.ping):
        with pytest.raises(StoreUnavailable, match=r"cannot be reached|went away"):
            act()
    durable_postgres.start()
    assert count(store) == 1
    add(store, 2)
    assert count(store) == 2
    store.close()
    durable_postgres.drop(url)


@pytest.mark.row("TUN-08")
def test_a_question_whose_connection_is_ended_in_the_middle_is_asked_again(
    store: PostgresStore, postgres: Server, database: str
) -> None:
    add(store, 1)
    tries = []

    def ask(kills: int) -> int:
        with store.read() as ledger:
            found = ledger.records.counts("demand")[0]
            tries.append(found)
            if len(tries) <= kills:
                postgres.end_connections(database)
            return found + len(ledger.records.latest("demand"))

    assert repeated(lambda: ask(2)) == 2
    assert tries == [1, 1, 1]

    def refuse() -> None:
        tries.append(0)
        with store.read() as ledger:
            ledger.records.remember("demand", {"a": b"1"})

    with pytest.raises(StoreUnavailable, match="may not be written"):
        repeated(refuse)
    assert len(tries) == 4, "what is no broken connection is told at once"


@pytest.mark.row("TUN-08")
def test_who_reads_or_begins_to_write_while_the_server_restarts_waits(durable_postgres: Server) -> None:
    url = durable_postgres.database()
    store = PostgresStore(url)
    add(store, 1)
    durable_postgres.stop()

    def work() -> int:
        with store.write("work") as ledger:
            return ledger.acts.append(who="a", what="b", subject="c", why="", at=1.0).number

    with ThreadPoolExecutor(2) as pool:
        reading, working = pool.submit(count, store), pool.submit(work)
        with pytest.raises(StoreUnavailable, match=r"cannot be reached|went away"):
            add(store, 2)  # records have a spool to go to
        durable_postgres.start()
        assert (reading.result(5), working.result(5)) == (1, 1)
    store.close()
    durable_postgres.drop(url)


# ------------------------------------------------------------------------------------------------ many writers


def test_predictions_of_other_models_are_added_at_the_same_time(store: PostgresStore) -> None:
    with ThreadPoolExecutor(2) as pool:
        with store.write("predictions") as ledger:
            ledger.records.add([prediction(1)], [])
            pool.submit(add, store, 1, id="8-1", model="other").result(5)
            same = pool.submit(add, store, 2, id="9-2")
            assert count(store, "other") == 1
            assert not same.done(), "what is counted of one model has one writer at a time"
        same.result(5)
    assert count(store) == 2


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "undone"])
def test_who_goes_by_numbers_waits_for_a_lower_one_that_is_still_coming_in(store: PostgresStore, kept: bool) -> None:
    """Rows of one model are sent side by side, so the higher number can be there first."""

    def seen(model: str = "demand") -> tuple[list[str], int]:
        with store.read() as ledger:
            place = ledger.records.place(model)
            return [p.id for n, p in ledger.records.predictions(model) if n <= place], place

    add(store, 0)
    with store.write("predictions") as slow:
        connection = slow.records._connection
        turns.adding(connection, models=["demand"], writers=[1])
        tables.insert_rows(connection, tables.predictions, rows=[rows.prediction_row(prediction(1, id="1-1"))])
        add(store, 2, id="2-2")
        add(store, 3, id="3-3", model="other")
        assert seen() == (["7-0"], 1)
        assert seen("other")[0] == ["3-3"], "other models are not held up"
        with store.write("work") as ledger:
            assert [p.id for _, p in ledger.records.predictions("demand")] == ["7-0"]
        with store.read() as before:
            if kept:
                turns.counting(connection, models=["demand"])
                connection.commit()
            else:
                connection.rollback()
            assert [p.id for _, p in before.records.predictions("demand")] == ["7-0"], "one snapshot stays one"
    assert seen()[0] == (["7-0", "1-1", "2-2"] if kept else ["7-0", "2-2"])


def test_work_and_records_do_not_wait_for_each_other(store: PostgresStore) -> None:
    with store.write("work") as ledger, ThreadPoolExecutor(1) as pool:
        ledger.acts.append(who="a", what="b", subject="c", why="", at=1.0)
        pool.submit(add, store, 1).result(5)
    assert count(store) == 1


def test_a_reader_that_goes_by_numbers_misses_none(store: PostgresStore) -> None:
    seen: list[str] = []
    done = threading.Event()

    def read() -> None:
        last, ending = 0, False
        while not ending:
            ending = done.is_set()
            with store.read() as ledger:
                found = ledger.records.predictions("demand", after=last, limit=10_000)
            seen.extend(p.id for _, p in found)
            last = found[-1][0] if found else last

    def write(writer: int) -> None:
        for n in range(15):
            with store.write("predictions") as ledger:
                ledger.records.add([prediction(n * 3 + i, id=f"{writer}-{n * 3 + i}") for i in range(3)], [folded(3)])

    with ThreadPoolExecutor(5) as pool:
        reading = pool.submit(read)
        list(pool.map(write, range(1, 5)))
        done.set()
        reading.result(20)
    assert len(seen) == len(set(seen)) == 4 * 45
    with store.read() as ledger:
        (hour,) = ledger.records.slices("demand", 1, role="champion", start=0.0, end=3600.0)
        assert (hour.profile.n, ledger.records.counts("demand")[0]) == (180, 180)


def test_outcomes_that_race_with_their_predictions_are_joined_all(database: str) -> None:
    """Told by one server while another records the prediction: whichever comes first, they meet."""
    one, other = PostgresStore(database), PostgresStore(database)
    gate = threading.Barrier(2)

    def predict() -> None:
        for n in range(40):
            gate.wait(10)
            add(one, n)

    def tell() -> None:
        for n in range(40):
            gate.wait(10)
            with other.write("records") as ledger:
                ledger.records.tell([told(n, 0.5)], {})

    with ThreadPoolExecutor(2) as pool:
        for done in (pool.submit(predict), pool.submit(tell)):
            done.result(60)
    with one.read() as ledger:
        assert ledger.records.counts("demand")[:2] == (40, 40)
        assert ledger.records.sums("demand", start=0.0, end=1e9)["model"].n == 40
    one.close()
    other.close()


def test_the_chain_of_acts_and_the_leases_hold_under_many_writers(database: str) -> None:
    from making import job

    stores = [PostgresStore(database) for _ in range(3)]
    with stores[0].write() as ledger:
        for n in range(12):
            ledger.jobs.add(job(f"j{n}", subject=f"s{n}"))

    def work(store: PostgresStore) -> list[str]:
        mine = []
        for n in range(8):
            with store.write("work") as ledger:
                ledger.acts.append(who="a", what="b", subject="c", why=str(n), at=1.0)
                found = ledger.jobs.lease(store.name, now=1.0, seconds=100.0)
                mine += [found.id] if found else []
        return mine

    with ThreadPoolExecutor(3) as pool:
        leased = [one for some in pool.map(work, stores) for one in some]
    assert len(leased) == len(set(leased)) == 12
    with stores[0].read() as ledger:
        assert (ledger.acts.verify(), len(ledger.acts.all())) == (None, 24)
    for store in stores:
        store.close()


# ----------------------------------------------------------------------------------------------------- hearing


def test_a_changed_rollout_is_heard_at_once_also_after_the_connection_was_lost(database: str, postgres: Server) -> None:
    one, other, heard = PostgresStore(database), PostgresStore(database), threading.Event()
    stop = one.hear(heard.set)
    assert heard.wait(5), "it looks once when it begins to hear"

    def change(champion: int) -> float:
        heard.clear()
        began = time.monotonic()
        with other.write() as ledger:
            ledger.rollouts.put(rollout(champion), ledger.rollouts.get("demand"))
        assert heard.wait(1.0)
        return time.monotonic() - began

    assert max(change(n) for n in range(1, 4)) < 1.0
    heard.clear()
    postgres.end_connections(database)
    assert heard.wait(5), "what changed meanwhile is looked for"
    assert change(4) < 1.0
    heard.clear()
    with other.write() as ledger:
        ledger.rollouts.put(rollout(9), ledger.rollouts.get("demand"))
    assert heard.wait(1.0)
    stop()
    one.close()
    other.close()


# ----------------------------------------------------------------------------------------------- slow statements


@pytest.mark.row("TUN-09")
def test_the_slowest_statements_come_with_plans_and_without_values(store: PostgresStore) -> None:
    for start in range(0, 200, 20):
        add(store, *range(start, start + 20), key="anna secret")
    with store.write() as ledger:
        ledger.records.tell([told(n, 1.0) for n in range(50)], {})
    with store.read() as ledger:
        ledger.records.latest("demand", key="anna secret", limit=10)
        ledger.records.sums("demand", start=0.0, end=1e9, key="anna secret")
    found = store.slowest()
    assert 5 < len(found) <= 10
    assert [one.seconds for one in found] == sorted((one.seconds for one in found), reverse=True)
    assert all(one.calls and one.worst <= one.seconds + 1e-9 for one in found)
    everything = store.slowest(100)
    text = "\n".join(f"{one.statement}\n{one.plan}" for one in everything)
    assert "anna" not in text
    plans = {one.statement: one.plan for one in everything}
    latest = next(plan for statement, plan in plans.items() if "ORDER BY predictions.number" in statement)
    assert "Execution Time" in latest
    assert "Scan" in latest
    assert any(statement.startswith("COPY predictions") for statement in plans)


@pytest.fixture
def unreachable() -> Iterator[int]:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        yield closed.getsockname()[1]


def test_a_port_where_nobody_listens_is_named(unreachable: int) -> None:
    store = PostgresStore(f"postgresql://keeper:hidden@127.0.0.1:{unreachable}/x")
    with pytest.raises(
        StoreUnavailable, match=r"keeper@127\.0\.0\.1:\d+/x cannot be reached: .*refused.*start the server"
    ):
        store.ping()
    store.close()


def test_psycopg_is_imported_for_postgresql_only() -> None:
    import subprocess
    import sys

    program = "import sys, modelkeep.app; sys.exit('psycopg' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
