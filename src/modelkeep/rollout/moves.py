"""The moves of a rollout: how one version follows another. Each takes a Rollout and answers the next one, or refuses.

A champion is always exactly one; a challenger exists only within a trial. Nothing here knows a clock or a store.
"""

from collections.abc import Sequence
from typing import Literal

from msgspec.structs import replace

from modelkeep.errors import BadInput, Conflict
from modelkeep.nouns import Rollout


def first(model: str, champion: int, *, policy: int, at: float) -> Rollout:
    """The rollout of a model's first release: nothing to compare with, so it answers at once."""
    return Rollout(model=model, champion=champion, policy=policy, since=at)


def begin(
    rollout: Rollout, challenger: int, *, mode: Literal["shadow", "canary"], share: float, trial: str, at: float
) -> Rollout:
    """Start a trial of ``challenger``; ``trial`` is the id of the job that judges it.

    A shadow answers nobody, so its ``share`` is 0 whatever is given. Raises Conflict when a trial runs already, when
    the challenger is the champion, or while the model is disabled; BadInput for a share outside (0, 1].

    >>> begin(Rollout(model="m", champion=1), 2, mode="canary", share=0.01, trial="job", at=0.0).challenger
    2
    """
    if rollout.challenger is not None:
        raise Conflict(
            f"{rollout.model}@{rollout.challenger} is on trial already (job {rollout.trial})",
            remedy=f"wait for its verdict, or end it: modelkeep rollback {rollout.model}",
        )
    if challenger == rollout.champion:
        raise Conflict(f"{rollout.model}@{challenger} is the champion already", remedy="release another version")
    if rollout.disabled:
        raise Conflict(f"{rollout.model} is disabled: {rollout.disabled}", remedy="enable it first")
    share = 0.0 if mode == "shadow" else _share(share)
    return replace(rollout, challenger=challenger, mode=mode, share=share, trial=trial, since=at)


def widen(rollout: Rollout, share: float, *, at: float) -> Rollout:
    """Let the challenger answer for a larger share of keys; out of shadow this is its first share.

    Who was in the canary stays in it. Raises Conflict without a trial or when ``share`` is not larger; BadInput for a
    share outside (0, 1].
    """
    if rollout.challenger is None:
        raise Conflict(f"{rollout.model} has no version on trial", remedy="release one first")
    if _share(share) <= rollout.share:
        raise Conflict(
            f"{rollout.model}@{rollout.challenger} answers for {rollout.share:.2%} already, not below {share:.2%}",
            remedy="name a larger share, or roll back",
        )
    return replace(rollout, mode="canary", share=share, since=at)


def promote(rollout: Rollout, *, policy: int, at: float) -> Rollout:
    """Make the challenger the champion, under ``policy``; the champion becomes ``previous``.

    Raises Conflict without a trial.
    """
    if rollout.challenger is None:
        raise Conflict(f"{rollout.model} has no version on trial", remedy="release one first")
    return replace(_settled(rollout), champion=rollout.challenger, previous=rollout.champion, policy=policy, since=at)


def roll_back(rollout: Rollout, to: int | None = None, *, at: float, history: Sequence[Rollout] = ()) -> Rollout:
    """End the trial, or without one bring back an earlier champion: ``to``, or the previous one.

    ``history`` are the model's past rollouts, oldest first: the newest in which the version was champion gives back its
    policy, its fallback and *its* previous champion, so that rolling back twice goes back twice. Raises Conflict when
    there is nothing to roll back to.

    >>> roll_back(Rollout(model="m", champion=2, previous=1), at=5.0).champion
    1
    """
    if rollout.challenger is not None and to in {None, rollout.champion}:
        return replace(_settled(rollout), since=at)
    back = rollout.previous if to is None else to
    if back is None:
        raise Conflict(
            f"{rollout.model} has no version before {rollout.model}@{rollout.champion}", remedy="name one with --to"
        )
    if back == rollout.champion:
        raise Conflict(f"{rollout.model}@{back} is the champion already", remedy="name an earlier version with --to")
    then = next((past for past in reversed(history) if past.champion == back), None)
    return replace(
        _settled(rollout),
        champion=back,
        previous=then.previous if then and then.previous != back else None,
        policy=then.policy if then else rollout.policy,
        fallback=then.fallback if then else rollout.fallback,
        since=at,
    )


def _settled(rollout: Rollout) -> Rollout:
    return replace(rollout, challenger=None, mode=None, share=0.0, trial=None)


def _share(share: float) -> float:
    if not 0 < share <= 1:
        raise BadInput(f"share {share:g}: expected a number above 0 and up to 1", remedy="for example 0.01 for 1 %")
    return share
