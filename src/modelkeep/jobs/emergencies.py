"""The task ``emergency``: a model that fails is switched off, people are told, and it is brought back when it can be.

Its steps are those of a runbook: disable, fall back, tell users, collect a diagnosis, escalate, restore. The last one
is tried again every minute for a day, so that a model whose file was repaired comes back by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from modelkeep.errors import Conflict, NotFound
from modelkeep.jobs.changing import change, in_force
from modelkeep.jobs.diagnosing import Diagnosis, diagnose
from modelkeep.jobs.rolling_back import roll_back_now
from modelkeep.jobs.rooms import Again, Done, Rooms, Run
from modelkeep.nouns import Rollout
from modelkeep.profile import merged
from modelkeep.quantities import HOUR

DISABLED, NOTICE = "emergency", "service_update"
"""The rules of the two alerts: for engineers, and for users."""
AGAIN, TRIES = 60.0, 24 * 60
FAILING, ASKED = 0.05, 10
"""A version whose calls of the last hour failed more often than this (of at least ten) is not trusted again."""
ADVICE = ("Immediate engineering response required", "Monitor user impact", "Prepare rollback procedures")
TOLD = (
    "Service Update: AI features temporarily running in enhanced fallback mode. "
    "Estimations may be less accurate until service restored."
)


class Emergency(Struct, frozen=True, kw_only=True):
    """Arguments of the task ``emergency``: which model, and why."""

    model: str
    why: str = "it fails"
    by: str = ""


class Memo(Struct, frozen=True, kw_only=True):
    """The version that failed, and how often its restoration was tried."""

    failed: int
    tries: int = 0


class Restored(Struct, frozen=True, kw_only=True):
    """Which version answers again (None: none could be brought back, the fallback answers), after how many tries."""

    model: str
    champion: int | None
    tries: int


def emergency(rooms: Rooms, run: Run) -> Again | Done:
    """Do the first five steps, each once, then try to restore.

    Raises Conflict when nothing of the model is released, or it is disabled already.
    """
    asked = run.arguments(Emergency)
    memo = run.memo(Memo) or _disabled(rooms, run, asked=asked)
    done = {step.name for step in run.job.steps}
    for name, act in _STEPS.items():
        if name not in done:
            act(rooms, run, model=asked.model, failed=memo.failed)
    with rooms.store.read() as ledger:
        rollout = in_force(ledger, asked.model)
    if not rollout.disabled:  # a person was faster
        return _settled(rooms, run, champion=rollout.champion, tries=memo.tries)
    if _restored(rooms, rollout, failed=memo.failed, by=run.job.id):
        with rooms.store.read() as ledger:
            champion = in_force(ledger, asked.model).champion
        return _settled(rooms, run, champion=champion, tries=memo.tries + 1)
    if memo.tries + 1 >= TRIES:
        run.step("not restored", detail=f"no version of {asked.model} can be trusted; the fallback answers")
        return Done(result=Restored(model=asked.model, champion=None, tries=memo.tries + 1))
    return Again(after=AGAIN, memo=replace(memo, tries=memo.tries + 1))


def _disabled(rooms: Rooms, run: Run, *, asked: Emergency) -> Memo:
    """Step one: the model is disabled, and the alert says so, or neither."""
    model = asked.model
    with rooms.store.write() as ledger:
        was = in_force(ledger, model)
        if was.disabled:
            raise Conflict(f"{model} is disabled already: {was.disabled}", remedy=f"modelkeep enable {model}")
        off = replace(was, disabled=f"emergency: {asked.why}", since=rooms.clock.now())
        change(ledger, off, was=was, what="disable", who=asked.by or run.job.by, why=asked.why)
        rooms.book.raise_event(
            ledger, rule=DISABLED, subject=model, kind="modelFailure", severity="critical",
            message=f"CRITICAL: Model {model} disabled due to failures", advice=ADVICE,
            command=f"modelkeep diagnose model {model}",
        )  # fmt: skip
        memo = Memo(failed=was.champion)
        run.step("disabled", detail=f"{model}@{was.champion}: {asked.why}", memo=memo, ledger=ledger)
    return memo


def _fallback(rooms: Rooms, run: Run, *, model: str, failed: int) -> None:
    del failed
    rooms.router.refresh()
    with rooms.store.read() as ledger:
        stand_in = in_force(ledger, model).fallback
    who = "the automatic baseline" if stand_in is None else f"{model}@{stand_in}"
    run.step("fallback", detail=f"{who} answers, marked so")


def _users_told(rooms: Rooms, run: Run, *, model: str, failed: int) -> None:
    del failed
    with rooms.store.write() as ledger:
        told = rooms.book.raise_event(
            ledger, rule=NOTICE, subject=model, kind="userExperienceImpact", severity="warning", message=TOLD,
            command=f"modelkeep model {model}",
        )  # fmt: skip
        run.step("users told", detail=f"alert {told.id}", ledger=ledger)


def _diagnosed(rooms: Rooms, run: Run, *, model: str, failed: int) -> None:
    found = _looked(rooms, model, number=failed)
    wrong = [one.question for one in found.findings if one.fine is False]
    run.step("diagnosed", detail=f"wrong: {', '.join(wrong) or 'nothing that can be seen'}", evidence=found)


def _escalated(rooms: Rooms, run: Run, *, model: str, failed: int) -> None:
    del failed
    with rooms.store.read() as ledger:
        active = [a for a in ledger.alerts.all(active=True) if a.rule == DISABLED and a.subject == model]
    channels = ", ".join(d.channel for alert in active for d in alert.deliveries)
    run.step("escalated", detail=f"told to {channels or 'nobody'}, and again when nobody acknowledges it")


class _Act(Protocol):
    def __call__(self, rooms: Rooms, run: Run, *, model: str, failed: int) -> None: ...


_STEPS: Mapping[str, _Act] = {
    "fallback": _fallback,
    "users told": _users_told,
    "diagnosed": _diagnosed,
    "escalated": _escalated,
}


def _looked(rooms: Rooms, model: str, *, number: int) -> Diagnosis:
    with rooms.store.read() as ledger:
        version, policy = ledger.versions.get(model, number), ledger.versions.policy(model)
    return diagnose(rooms, version, policy=policy)


def _restored(rooms: Rooms, rollout: Rollout, *, failed: int, by: str) -> bool:
    """Let the first version answer that is sound: the one that failed if it does no more, else the ones before it."""
    for number in _candidates(rooms, rollout, failed=failed):
        if not _looked(rooms, rollout.model, number=number).fine or _fails(rooms, rollout.model, number=number):
            continue
        try:
            if number != rollout.champion:
                roll_back_now(rooms, rollout.model, to=number, why="the champion failed", by=by)
        except (Conflict, NotFound):
            continue
        with rooms.store.write() as ledger:
            was = in_force(ledger, rollout.model)
            if was.disabled:
                after = replace(was, disabled="", since=rooms.clock.now())
                change(ledger, after, was=was, what="enable", who=by, why=f"{rollout.model}@{number} is sound")
        rooms.router.refresh()
        return True
    return False


def _candidates(rooms: Rooms, rollout: Rollout, *, failed: int) -> Sequence[int]:
    """The champion, then what answered before it, the newest first."""
    with rooms.store.read() as ledger:
        history = ledger.rollouts.history(rollout.model)
    earlier = [one.champion for one in reversed(history) if one.champion != failed]
    return list(dict.fromkeys([failed, *earlier]))


def _fails(rooms: Rooms, model: str, *, number: int) -> bool:
    """Whether too many of a version's calls of the last hour failed."""
    now = rooms.clock.now()
    with rooms.store.read() as ledger:
        slices = ledger.records.slices(model, number, role="champion", start=now - HOUR, end=now + 1)
    profile = merged(one.profile for one in slices)
    return profile.n >= ASKED and profile.failures / profile.n > FAILING


def _settled(rooms: Rooms, run: Run, *, champion: int, tries: int) -> Done:
    """The end: the alerts are over, and whoever was told is told so."""
    model = run.arguments(Emergency).model
    with rooms.store.write() as ledger:
        for rule in (DISABLED, NOTICE):
            rooms.book.settle(ledger, rule=rule, subject=model)
        run.step("restored", detail=f"{model}@{champion} answers again", ledger=ledger)
    return Done(result=Restored(model=model, champion=champion, tries=tries))
