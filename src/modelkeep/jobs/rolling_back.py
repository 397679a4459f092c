"""Going back to an earlier version: one act, in force in well under a second."""

from msgspec import Struct
from msgspec.structs import replace

from modelkeep.jobs.changing import change, in_force
from modelkeep.jobs.failpoints import failpoint
from modelkeep.jobs.rooms import Done, Rooms, Run
from modelkeep.nouns import Rollout
from modelkeep.rollout import roll_back as moved_back
from modelkeep.store.seams import Ledger

_LISTED = 100
_SCANNED = 5000


class RollBack(Struct, frozen=True, kw_only=True):
    """Arguments of the task ``roll_back``: the model, and the version to go back to (None = the previous one)."""

    model: str
    to: int | None = None
    why: str = ""
    by: str = ""


class RolledBack(Struct, frozen=True, kw_only=True):
    """What a rollback did.

    ``left`` answers nobody any more; ``made`` is how many predictions it had given, ``ids`` the newest of them (at
    most 100). ``ended`` names the release job that was cancelled.
    """

    model: str
    champion: int
    left: int
    policy: int
    at: float
    made: int = 0
    ids: tuple[str, ...] = ()
    ended: str | None = None


def roll_back_now(rooms: Rooms, model: str, *, to: int | None = None, why: str = "", by: str = "") -> RolledBack:
    """Go back: end a running trial, or bring back ``to`` (or the previous version) with its feature code and policy.

    One transaction, then the routes are swapped; what the bad version had answered is listed afterwards. Raises
    Conflict when there is nothing to go back to, NotFound when ``to`` does not exist.
    """
    now = rooms.clock.now()
    with rooms.store.write() as ledger:
        was, after, planned = _planned(ledger, model, to=to, now=now)
        _end_trial(ledger, was, now=now)
        change(ledger, after, was=was, what="rollback", who=by, why=why)
        failpoint("rollback.before_commit")
    failpoint("rollback.after_commit")
    rooms.router.refresh()
    with rooms.store.read() as ledger:
        made, ids = _made(ledger, model, version=planned.left, now=now)
    return replace(planned, made=made, ids=ids)


def planned(rooms: Rooms, model: str, *, to: int | None = None) -> RolledBack:
    """What ``roll_back_now`` would do, without doing it; ``made`` and ``ids`` are not looked up. Raises as it does."""
    with rooms.store.read() as ledger:
        return _planned(ledger, model, to=to, now=rooms.clock.now())[2]


def _planned(ledger: Ledger, model: str, *, to: int | None, now: float) -> tuple[Rollout, Rollout, RolledBack]:
    """The rollout in force, the one to come, and what that means."""
    was = in_force(ledger, model)
    if to is not None:
        ledger.versions.get(model, to)
    after = moved_back(was, to, at=now, history=ledger.rollouts.history(model))
    left = was.challenger if was.challenger is not None and after.champion == was.champion else was.champion
    planned = RolledBack(model=model, champion=after.champion, left=left, policy=after.policy, at=now, ended=was.trial)
    return was, after, planned


def roll_back(rooms: Rooms, run: Run) -> Done:
    """The task ``roll_back``, as an alert's rule enqueues it. Run twice it goes back once."""
    asked = run.arguments(RollBack)
    with rooms.store.read() as ledger:
        rollout = in_force(ledger, asked.model)
    if asked.to == rollout.champion and rollout.challenger is None:
        return Done()
    if rollout.since > run.job.created:
        return Done()  # it was changed after this was asked for: by an earlier run of this job, or by a person
    return Done(result=roll_back_now(rooms, asked.model, to=asked.to, why=asked.why, by=asked.by or run.job.by))


def _end_trial(ledger: Ledger, was: Rollout, *, now: float) -> None:
    """Cancel the release job; one that runs at this moment finds its trial gone and stops by itself."""
    if was.trial is not None and ledger.jobs.get(was.trial).state == "waiting":
        ledger.jobs.cancel(was.trial, now)


def _made(ledger: Ledger, model: str, *, version: int, now: float) -> tuple[int, tuple[str, ...]]:
    """How many answers a version gave to callers, by its hourly profiles, and the ids of its newest."""
    spans = [
        ledger.records.slices(model, version, role=role, start=0.0, end=now + 1) for role in ("champion", "canary")
    ]
    newest = ledger.records.latest(model, limit=_SCANNED)
    ids = [p.id for p in newest if p.version == version and p.role in {"champion", "canary"}]
    return sum(s.profile.n for span in spans for s in span), tuple(ids[:_LISTED])
