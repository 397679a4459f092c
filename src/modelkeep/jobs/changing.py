"""A change of a rollout as one act: the rollout, its audit entry and the job's step in one transaction."""

from msgspec import Raw, json

from modelkeep.errors import Conflict
from modelkeep.nouns import Rollout
from modelkeep.store.seams import Ledger


def change(ledger: Ledger, after: Rollout, *, was: Rollout | None, what: str, who: str, why: str) -> None:
    """Replace ``was`` by ``after`` and write it into the audit chain. Raises Conflict when another was faster."""
    ledger.rollouts.put(after, was)
    ledger.acts.append(
        who=who or "unknown",
        what=what,
        subject=f"{after.model}@{after.challenger or after.champion}",
        why=why,
        at=after.since,
        before=_raw(was),
        after=_raw(after),
    )


def in_force(ledger: Ledger, model: str, *, trial: str | None = None) -> Rollout:
    """The model's rollout. Raises Conflict when it has none, or when ``trial`` is not what it is trying any more."""
    rollout = ledger.rollouts.get(model)
    if rollout is None:
        raise Conflict(f"{model} has no released version", remedy="release one first")
    if trial is not None and rollout.trial != trial:
        raise Conflict(f"the trial of {model} was ended by someone else", remedy="release the version again")
    return rollout


def _raw(rollout: Rollout | None) -> Raw:
    return Raw(b"null" if rollout is None else json.encode(rollout))
