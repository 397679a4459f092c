import logging
import os
import signal
import threading

import pytest
from msgspec import Raw, Struct, json
from running import START, rooms_in
from waiting import until

from modelkeep.errors import BelowPolicy, LeaseLost, StoreUnavailable
from modelkeep.jobs.rooms import Again, Done
from modelkeep.jobs.runner import FAILED, Pace, Runner
from modelkeep.jobs.schedule import Schedule
from modelkeep.nouns import Job
from modelkeep.quantities import iso, moment

HOUR = 3600.0


class Walk(Struct, frozen=True, kw_only=True):
    steps: int = 3


class Memo(Struct, frozen=True, kw_only=True):
    walked: int = 0


def walk(rooms, run):
    """A task of several runs: a step each minute."""
    memo, wanted = run.memo(Memo) or Memo(), run.arguments(Walk).steps
    memo = Memo(walked=memo.walked + 1)
    run.step(f"step {memo.walked}", memo=memo, evidence=memo)
    return Done(result=memo) if memo.walked >= wanted else Again(after=60.0)


def fail(rooms, run):
    raise ZeroDivisionError("by zero")


def enqueue(rooms, task, *, id="job", arguments="{}", subject="", due=None):
    now = rooms.clock.now()
    job = Job(
        id=id,
        task=task,
        due=now if due is None else due,
        created=now,
        arguments=Raw(arguments.encode()),
        subject=subject,
    )
    with rooms.store.write() as ledger:
        assert ledger.jobs.add(job)


def job_of(rooms, id="job"):
    with rooms.store.read() as ledger:
        return ledger.jobs.get(id)


def jobs_of(rooms):
    with rooms.store.read() as ledger:
        return [job for job in ledger.jobs.all() if job.attempts]


def alerts_of(rooms):
    with rooms.store.read() as ledger:
        return [(a.rule, a.subject, a.state) for a in ledger.alerts.all()]


# ------------------------------------------------------------------------------------------------ running


@pytest.mark.row("MNT-33")
def test_a_job_goes_on_from_its_memo_until_it_is_done(rooms):
    runner = Runner(rooms, {"walk": walk}, schedules={})
    enqueue(rooms, "walk", arguments='{"steps": 3}')
    for walked in (1, 2):
        assert len(runner.run_due()) == 1
        assert job_of(rooms).state == "waiting"
        assert job_of(rooms).due == rooms.clock.now() + 60
        assert runner.run_due() == []
        assert [step.name for step in job_of(rooms).steps] == [f"step {n}" for n in range(1, walked + 1)]
        rooms.clock.advance(60)
    runner.run_due()
    job = job_of(rooms)
    assert (job.state, job.finished, job.attempts) == ("done", START + 120, 1)
    assert json.decode(job.result, type=Memo).walked == 3
    assert json.decode(job.steps[1].evidence, type=Memo).walked == 2


def test_a_refusal_fails_the_job_with_its_text_and_is_not_tried_again(rooms):
    def below(rooms, run):
        raise BelowPolicy("recall 0.40 < 0.50", remedy="release with force")

    runner = Runner(rooms, {"below": below}, schedules={})
    enqueue(rooms, "below")
    runner.run_due()
    rooms.clock.advance(HOUR)
    assert runner.run_due() == []
    assert (job_of(rooms).state, job_of(rooms).error) == ("failed", "recall 0.40 < 0.50 (release with force)")
    assert alerts_of(rooms) == []


def test_a_fault_is_tried_again_with_growing_pauses_then_fails_and_tells(rooms):
    runner = Runner(rooms, {"fail": fail}, schedules={}, pace=Pace(attempts=4, backoff=2.0, longest=5.0))
    enqueue(rooms, "fail")
    pauses = []
    while (job := runner.run_due()[-1]).state == "waiting":
        pauses.append(job.due - rooms.clock.now())
        assert job.error == "ZeroDivisionError: by zero"
        rooms.clock.advance_to(job.due)
    assert pauses == [2.0, 4.0, 5.0]
    assert (job.state, job.attempts) == ("failed", 4)
    assert job.error == "ZeroDivisionError: by zero (after 4 attempts)"
    assert alerts_of(rooms) == [(FAILED, "job fail", "open")]


def test_the_next_good_run_resolves_the_alert(rooms):
    enqueue(rooms, "work", id="a")
    Runner(rooms, {"work": fail}, schedules={}, pace=Pace(attempts=1)).run_due()
    assert alerts_of(rooms) == [(FAILED, "job work", "open")]
    enqueue(rooms, "work", id="b")
    Runner(rooms, {"work": lambda rooms, run: Done()}, schedules={}).run_due()
    assert alerts_of(rooms) == [(FAILED, "job work", "resolved")]


def test_wrong_arguments_and_unknown_tasks_fail_by_name(rooms):
    runner = Runner(rooms, {"walk": walk}, schedules={})
    enqueue(rooms, "walk", id="a", arguments='{"steps": "many"}')
    enqueue(rooms, "wlak", id="b")
    runner.run_due()
    assert "expected int, got str at steps" in job_of(rooms, "a").error.lower()
    assert "walk" in job_of(rooms, "b").error


def test_a_step_whose_transaction_is_undone_leaves_no_trace(rooms):
    def half(rooms, run):
        run.step("kept")
        try:
            with rooms.store.write() as ledger:
                run.step("undone", ledger=ledger)
                raise KeyError("something else went wrong")
        except KeyError:
            pass
        return Done()

    enqueue(rooms, "half")
    Runner(rooms, {"half": half}, schedules={}).run_due()
    assert [step.name for step in job_of(rooms).steps] == ["kept"]


def test_two_jobs_of_one_task_and_subject_never_overlap(rooms, tmp_path):
    inside, most, gate = [], [], threading.Event()

    def busy(rooms, run):
        inside.append(run.job.id)
        most.append(len(inside))
        gate.wait(0.2)
        inside.remove(run.job.id)
        return Done()

    for n in range(3):
        enqueue(rooms, "busy", id=f"same{n}", subject="churn")
    runner = Runner(rooms, {"busy": busy}, schedules={}, pace=Pace(workers=3))
    runner.start()
    until(lambda: len([job for job in jobs_of(rooms) if job.state == "done"]) == 3)
    runner.stop()
    assert max(most) == 1


def test_different_subjects_run_side_by_side(rooms):
    both = threading.Barrier(2, timeout=10)

    def meet(rooms, run):
        both.wait()
        return Done()

    enqueue(rooms, "meet", id="a", subject="a")
    enqueue(rooms, "meet", id="b", subject="b")
    runner = Runner(rooms, {"meet": meet}, schedules={}, pace=Pace(workers=2))
    runner.start()
    until(lambda: [job.state for job in jobs_of(rooms)] == ["done", "done"])
    runner.stop()


# ------------------------------------------------------------------------------------------------- stopping


def test_stop_waits_for_a_task_that_finishes_in_time(rooms):
    begun, gate = threading.Event(), threading.Event()

    def slow(rooms, run):
        begun.set()
        gate.wait(10)
        return Done()

    enqueue(rooms, "slow")
    runner = Runner(rooms, {"slow": slow}, schedules={})
    runner.start()
    assert begun.wait(10)
    threading.Timer(0.1, gate.set).start()
    runner.stop(grace=10.0)
    assert job_of(rooms).state == "done"


def test_stop_hands_back_what_does_not_finish_and_its_task_may_write_no_more(rooms):
    begun, gate, lost = threading.Event(), threading.Event(), threading.Event()

    def endless(rooms, run):
        run.step("first", memo=Memo(walked=1))
        begun.set()
        gate.wait(10)
        try:
            run.step("too late")
        except LeaseLost:
            lost.set()
            raise
        return Done()

    enqueue(rooms, "endless")
    runner = Runner(rooms, {"endless": endless}, schedules={})
    runner.start()
    assert begun.wait(10)
    runner.stop(grace=0.05)
    job = job_of(rooms)
    assert (job.state, job.attempts, job.due) == ("waiting", 0, START)
    gate.set()
    assert lost.wait(10)
    assert job_of(rooms).state == "waiting"
    assert [job.state for job in Runner(rooms, {"endless": walk}, schedules={}).run_due()] == ["waiting"]


def test_a_lease_is_renewed_while_its_task_runs(rooms):
    gate = threading.Event()

    def slow(rooms, run):
        gate.wait(10)
        return Done()

    enqueue(rooms, "slow")
    runner = Runner(rooms, {"slow": slow}, schedules={}, pace=Pace(lease=1.0))
    runner.start()
    until(lambda: job_of(rooms).lease is not None)
    rooms.clock.advance(0.9)
    until(lambda: job_of(rooms).lease.until == START + 1.9)
    gate.set()
    until(lambda: job_of(rooms).state == "done")
    runner.stop()
    assert job_of(rooms).attempts == 1


# --------------------------------------------------------------------------------------------------- faults


def test_a_job_survives_kill_9_and_goes_on_where_it_was(rooms, child, tmp_path):
    enqueue(rooms, "hang")
    worker = child("hang")
    until((tmp_path / "hanging").exists)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait(10)
    assert (job_of(rooms).state, job_of(rooms).attempts) == ("running", 1)

    runner = Runner(rooms, {"hang": walk}, schedules={}, pace=Pace())
    assert runner.run_due() == []  # its lease has not run out
    rooms.clock.advance(31)
    assert [job.state for job in runner.run_due()] == ["waiting"]
    assert json.decode(job_of(rooms).memo, type=Memo).walked == 2
    assert [step.name for step in job_of(rooms).steps] == ["first", "step 2"]


def test_a_worker_frozen_beyond_its_lease_cannot_write(rooms, child, tmp_path):
    enqueue(rooms, "frozen", subject="churn")
    worker = child("frozen")
    until((tmp_path / "hanging").exists)
    os.kill(worker.pid, signal.SIGSTOP)
    rooms.clock.advance(31)
    Runner(rooms, {"frozen": lambda rooms, run: Done()}, schedules={}).run_due()
    (tmp_path / "go").touch()
    os.kill(worker.pid, signal.SIGCONT)
    until((tmp_path / "rejected").exists)
    worker.wait(20)
    job = job_of(rooms)
    assert (job.state, [step.name for step in job.steps]) == ("done", ["first"])


def test_a_job_that_ends_its_process_each_time_is_given_up(rooms):
    enqueue(rooms, "bomb")
    for n in range(1, 4):
        with rooms.store.write() as ledger:  # what is left of a runner that was killed in the middle
            Runner(rooms, {}, schedules={})._leased(ledger, rooms.clock.now())
        assert job_of(rooms).attempts == n
        rooms.clock.advance(31)
    runner = Runner(
        rooms, {"bomb": lambda rooms, run: pytest.fail("it must not run again")}, schedules={}, pace=Pace(attempts=3)
    )
    runner.run_due()
    assert job_of(rooms).state == "failed"
    assert "gave up after 3 attempts" in job_of(rooms).error
    assert alerts_of(rooms) == [(FAILED, "job bomb", "open")]


def test_work_goes_on_by_itself_when_the_store_is_back(rooms, tmp_path, caplog):
    runner = Runner(rooms, {"walk": walk}, schedules={})
    hidden = tmp_path / "hidden.db"
    (tmp_path / "modelkeep.db").rename(hidden)
    with caplog.at_level(logging.ERROR, "modelkeep.jobs"):
        runner.start()
        until(lambda: any("store is not available" in r.message for r in caplog.records))
    hidden.rename(tmp_path / "modelkeep.db")
    enqueue(rooms, "walk", arguments='{"steps": 1}')
    until(lambda: job_of(rooms).state == "done")
    runner.stop()


def test_what_cannot_be_done_now_is_tried_again_later(rooms):
    tries = []

    def away(rooms, run):
        tries.append(1)
        if len(tries) < 3:
            raise StoreUnavailable("the store is locked")
        return Done()

    runner = Runner(rooms, {"away": away}, schedules={})
    enqueue(rooms, "away")
    while runner.run_due()[-1].state == "waiting":
        rooms.clock.advance(10)
    assert (job_of(rooms).state, len(tries)) == ("done", 3)


def test_the_clock_jumping_past_a_lease_does_not_start_a_job_twice_here(rooms):
    starts, gate = [], threading.Event()

    def slow(rooms, run):
        starts.append(run.job.id)
        gate.wait(10)
        return Done()

    enqueue(rooms, "slow")
    runner = Runner(rooms, {"slow": slow}, schedules={}, pace=Pace(workers=2, lease=30.0))
    runner.start()
    until(lambda: starts)
    rooms.clock.advance(2 * HOUR)
    until(lambda: job_of(rooms).lease.until == START + 2 * HOUR + 30)
    gate.set()
    until(lambda: job_of(rooms).state == "done")
    runner.stop()
    assert starts == ["job"]


# ----------------------------------------------------------------------------------------------- schedules

SUNDAY = "2026-11-22T02:00:00.000Z"
WEEKLY = {"weekly": Schedule(task="walk", when="0 2 * * 0", arguments={"steps": 1})}


@pytest.fixture
def saturday(tmp_path):
    found = rooms_in(tmp_path, moment("2026-11-21T12:00:00Z"))
    yield found
    found.store.close()


@pytest.mark.row("MNT-01")
def test_a_slot_makes_exactly_one_run(saturday):
    runner = Runner(saturday, {"walk": walk}, schedules=WEEKLY)
    assert runner.run_due() == []  # last Sunday was before anybody knew of the schedule
    saturday.clock.advance_to(moment(SUNDAY) - 0.001)
    assert runner.run_due() == []
    saturday.clock.advance_to(moment(SUNDAY))
    assert [job.id for job in runner.run_due()] == [f"weekly-{SUNDAY}"]
    assert runner.run_due() == []
    job = job_of(saturday, f"weekly-{SUNDAY}")
    assert (job.state, job.schedule, job.by) == ("done", "weekly", "schedule weekly")


@pytest.mark.row("MNT-01")
def test_slots_missed_while_nobody_ran_fire_once_at_the_start(saturday):
    Runner(saturday, {"walk": walk}, schedules=WEEKLY).run_due()
    saturday.clock.advance(24 * 24 * HOUR)  # three Sundays later
    later = Runner(saturday, {"walk": walk}, schedules=WEEKLY)
    assert [job.id for job in later.run_due()] == ["weekly-2026-12-13T02:00:00.000Z"]
    assert Runner(saturday, {"walk": walk}, schedules=WEEKLY).run_due() == []


@pytest.mark.row("MNT-01")
@pytest.mark.parametrize("processes", [2, pytest.param(6, marks=pytest.mark.prove)])
def test_several_processes_make_one_run_of_one_slot(saturday, child, processes):
    Runner(saturday, {}, schedules={"nightly": Schedule(task="once", when="0 2 * * *")}).run_due()
    workers = [child("once", moment(SUNDAY)) for _ in range(processes)]
    assert sorted(int(worker.communicate(timeout=60)[0]) for worker in workers) == [0] * (processes - 1) + [1]
    with saturday.store.read() as ledger:
        assert [act.subject for act in ledger.acts.all()] == [f"nightly-{SUNDAY}"]


def test_clock_jumps_of_two_hours_fire_each_slot_once(saturday):
    hourly = {"hourly": Schedule(task="walk", when="0 * * * *", arguments={"steps": 1})}
    runner = Runner(saturday, {"walk": walk}, schedules=hourly)
    clock, noon = saturday.clock, saturday.clock.now()
    ran = []
    for hours in (0, 1, 3, 1, 1.5, 2, 3, 3.5, 4):  # ahead by two hours, then set back
        clock._at = noon + hours * HOUR
        ran += [job.id for job in runner.run_due()]
    assert ran == [f"hourly-{iso(noon + n * HOUR)}" for n in (1, 3, 2, 4)]


def test_a_running_runner_sees_a_slot_as_soon_as_the_clock_passes_it(saturday):
    runner = Runner(saturday, {"walk": walk}, schedules=WEEKLY)
    runner.start()
    until(lambda: runner.looked == saturday.clock.now())
    saturday.clock.advance(7 * 24 * HOUR)
    until(lambda: [job.state for job in jobs_of(saturday)] == ["done"], within=5)
    runner.stop()


def test_an_undone_look_forgets_no_slot(saturday, tmp_path):
    runner = Runner(saturday, {"walk": walk}, schedules=WEEKLY)
    runner.run_due()
    saturday.clock.advance_to(moment(SUNDAY))
    hidden = tmp_path / "hidden.db"
    (tmp_path / "modelkeep.db").rename(hidden)
    with pytest.raises(StoreUnavailable):
        runner.run_due()
    hidden.rename(tmp_path / "modelkeep.db")
    assert len(runner.run_due()) == 1
