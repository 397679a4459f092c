"""Changes of what is in force, each as one act: a rollout or a policy, with its audit entry, in one transaction."""

from msgspec import Raw, json
from msgspec.structs import replace

from modelkeep.errors import Conflict
from modelkeep.nouns import Policy, Rollout
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
        before=Raw(json.encode(was)),
        after=Raw(json.encode(after)),
    )


def adopt(ledger: Ledger, wanted: Policy, *, who: str, why: str, at: float) -> Policy:
    """Make ``wanted`` its model's policy under the next number, unless it is already; the policy that is in force.

    Number 1 is the built-in one, so that a rollback can bring it back. The judge of a running trial keeps the limits
    that it began with.
    """
    was = ledger.versions.policy(wanted.model)
    if replace(wanted, number=was.number, since=was.since) == was:
        return was
    policy = replace(wanted, number=was.number + 1, since=at)
    ledger.versions.add_policy(policy)
    rollout = ledger.rollouts.get(policy.model)
    if rollout is not None:
        ledger.rollouts.put(replace(rollout, policy=policy.number), rollout)
    ledger.acts.append(
        who=who or "unknown",
        what="policy",
        subject=policy.model,
        why=why,
        at=at,
        before=Raw(json.encode(was)),
        after=Raw(json.encode(policy)),
    )
    return policy


def in_force(ledger: Ledger, model: str, *, trial: str | None = None) -> Rollout:
    """The model's rollout. Raises Conflict when it has none, or when ``trial`` is not what it is trying any more."""
    rollout = ledger.rollouts.get(model)
    if rollout is None:
        raise Conflict(f"{model} has no released version", remedy="release one first")
    if trial is not None and rollout.trial != trial:
        raise Conflict(f"the trial of {model} was ended by someone else", remedy="release the version again")
    return rollout
