"""What a release is asked for, what its job remembers between its looks, and how it ends."""

from msgspec import Struct

from modelkeep.jobs.evidence import Cursor
from modelkeep.rollout.judge import JudgeState
from modelkeep.rollout.verdict import Verdict


class Release(Struct, frozen=True, kw_only=True):
    """Arguments of the task ``release``.

    ``share`` replaces the policy's stages by one canary of that share (1.0 = all), ``stage`` the least seconds of each
    stage. ``force`` releases a version below its policy's floors, and then ``why`` must say the reason.
    """

    model: str
    number: int
    share: float | None = None
    stage: float | None = None
    force: bool = False
    why: str = ""
    by: str = ""


class Released(Struct, frozen=True, kw_only=True):
    """How a release ended.

    ``state``: ``promoted``; ``rolled_back``; ``rejected`` (never answered anyone); ``inconclusive`` (ended without a
    verdict, because the policy says so); ``cancelled`` (someone else ended the trial). ``alerts`` are ids.
    """

    state: str
    model: str
    number: int
    reasons: tuple[str, ...] = ()
    alerts: tuple[str, ...] = ()


class Walk(Struct, frozen=True, kw_only=True):
    """Where a release is: the memo of its job.

    ``phase``: ``validating``, ``backing_up``, ``trial``, ``promoting`` (decided, not yet done), ``over``. ``stage`` is
    -1 in shadow, else the index of the canary share. ``earliest`` is the moment at which this stage may
    end, ``last`` the one at which an undecided trial is said to be so.
    """

    phase: str = "validating"
    stage: int = -1
    began: float = 0.0
    earliest: float = 0.0
    last: float = 0.0
    policy: int = 1
    looked: bool = False
    cursor: Cursor | None = None
    judge: JudgeState | None = None
    decided: Verdict | None = None
    result: Released | None = None
