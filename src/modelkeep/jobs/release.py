"""The release of a version as durable work: ask for one, run one. Its phases: ``release_walk``."""

import logging

from msgspec import Raw, json

from modelkeep.errors import Conflict, LeaseLost, Unavailable
from modelkeep.jobs.release_memo import Release, Released
from modelkeep.jobs.release_walk import Walking
from modelkeep.jobs.rooms import Again, Done, Rooms, Run
from modelkeep.nouns import Job
from modelkeep.store.seams import Ledger

__all__ = ["Release", "Released", "enqueue", "release"]

log = logging.getLogger("modelkeep.jobs")


def enqueue(ledger: Ledger, asked: Release, *, at: float) -> Job:
    """Ask for a release: a job of the task ``release``, due at once.

    Raises NotFound for an unknown version, Conflict when it is the champion already or another release of the model
    is under way.
    """
    ledger.versions.get(asked.model, asked.number)
    rollout = ledger.rollouts.get(asked.model)
    if rollout is not None and rollout.champion == asked.number:
        raise Conflict(f"{asked.model}@{asked.number} is the champion already", remedy="release another version")
    for state in ("waiting", "running"):
        for other in ledger.jobs.all(task="release", state=state):
            if other.subject == asked.model:
                raise Conflict(
                    f"a release of {asked.model} is under way (job {other.id})",
                    remedy=f"wait for its verdict, or end it: modelkeep rollback {asked.model}",
                )
    job = Job(
        id=f"release-{asked.model}-{asked.number}-{round(at * 1000)}",
        task="release",
        due=at,
        created=at,
        arguments=Raw(json.encode(asked)),
        subject=asked.model,
        by=asked.by,
    )
    if not ledger.jobs.add(job):
        raise Conflict(f"job {job.id} exists already", remedy="look at it: modelkeep jobs")
    return job


def release(rooms: Rooms, run: Run) -> Again | Done:
    """The task ``release``. See ``Release`` for its arguments and ``Released`` for how it ends."""
    walking = Walking(rooms, run)
    try:
        return walking.on()
    except LeaseLost:
        raise
    except Unavailable as away:
        log.warning("a release waits", extra={"model_name": walking.asked.model, "cause": str(away)})
        return walking.later()
    except Conflict as conflict:
        return walking.overtaken() or walking.emergency(str(conflict))
    except Exception as fault:  # noqa: BLE001 - a job's run: whatever happens, a trial must not go on unjudged
        return _failed(walking, fault)


def _failed(walking: Walking, fault: Exception) -> Done:
    log.error("a release failed", exc_info=fault, extra={"model_name": walking.asked.model})
    return walking.emergency(f"{type(fault).__name__}: {fault}")
