"""What the judge's state says at a moment: the verdict, its reasons in words, and the evidence behind it."""

import math
from collections.abc import Sequence
from typing import Final, Literal

from msgspec import Struct

from modelkeep.quantities import DAY, duration
from modelkeep.rollout.betting import Account, rounds_needed
from modelkeep.rollout.judge import LATENCY, JudgeState, promote_wealth, rollback_wealth

Decision = Literal["promote", "roll_back", "hold", "inconclusive"]
LEAST_TO_WIDEN: Final = 30
"""Rounds that a stage needs before its share may be widened without proof."""
_CAREFUL = 10  # rounds of a typical guard that are mixed into a forecast, so that three lucky rounds promise nothing
_TYPICAL_VARIANCE = 0.02


class Evidence(Struct, frozen=True, kw_only=True):
    """What is known of one guard.

    ``baseline`` and ``canary`` are the arms' means over rounds, ``difference`` theirs, ``interval`` its 95 % interval:
    rates as fractions, losses in the output's unit. ``n`` observations of the candidate and ``controls`` of the
    champion make ``rounds`` rounds. ``rollback`` is the wealth against the candidate, ``promote`` that in its favour
    within this stage; ``missing`` says what a proof still needs, empty when it stands.
    """

    metric: str
    baseline: float | None
    canary: float | None
    difference: float | None
    interval: tuple[float, float] | None
    limit: float
    n: int
    controls: int
    rounds: int
    method: str
    rollback: float
    promote: float
    missing: str = ""


class Verdict(Struct, frozen=True, kw_only=True):
    """What to do with a version on trial, and why.

    ``rollback`` is the wealth of all guards together (a rollback at ``bound``). ``clear`` says that nothing leans
    against the candidate after at least 30 rounds in this stage: enough to widen a share, not to promote. ``notices``
    never decide.
    """

    decision: Decision
    reasons: tuple[str, ...]
    evidence: tuple[Evidence, ...]
    at: float
    rollback: float
    bound: float
    clear: bool = False
    notices: tuple[str, ...] = ()


class Occasion(Struct, frozen=True, kw_only=True):
    """When a verdict is asked for: now, the stage's earliest end, the trial's last moment, open critical incidents."""

    now: float
    earliest: float
    last: float
    incidents: tuple[str, ...] = ()


def verdict(state: JudgeState, occasion: Occasion) -> Verdict:
    """The verdict at a moment.

    ROLLBACK at a hard stop or when the rollback wealth has reached 1/alpha, at any age. PROMOTE when every guard that
    must certify has a promote wealth of 1/beta in this stage, the stage is old enough and no critical incident is open.
    Those guards are the error rate, all three latencies, and the loss. Only when the trial has not one labelled answer
    the *disagreement* between the versions certifies instead of the loss: versions that differ in less than
    ``guards.loss`` of the answers cannot differ by more in accuracy.
    """
    names = certifiers(state)
    evidence = tuple(_evidence(state, name, now=occasion.now) for name in _shown(state, names))
    by_name = {e.metric: e for e in evidence}
    decision, reasons = _decide(state, occasion, certifying=[by_name[_metric(state, name)] for name in names])
    return Verdict(
        decision=decision,
        reasons=reasons,
        evidence=evidence,
        at=occasion.now,
        rollback=rollback_wealth(state),
        bound=1 / state.guards.alpha,
        clear=_clear(state, names),
        notices=_notices(state),
    )


def certifiers(state: JudgeState) -> tuple[str, ...]:
    """The guards that must certify a promotion of this trial."""
    graded = state.accounts["loss"].rounds if "loss" in state.accounts else 0
    opened = graded or state.losses.control.n or state.losses.candidate.n
    return ("error_rate", *LATENCY, "loss" if opened else "disagreement")


def _shown(state: JudgeState, names: Sequence[str]) -> list[str]:
    return [*names, *(n for n in ("loss", "disagreement") if n not in names and n in state.accounts)]


def _decide(
    state: JudgeState, occasion: Occasion, *, certifying: Sequence[Evidence]
) -> tuple[Decision, tuple[str, ...]]:
    if state.stop:
        return "roll_back", (state.stop,)
    if state.fired is not None:
        return "roll_back", _accusations(state)
    missing = tuple(f"{e.metric}: {e.missing}" for e in certifying if e.missing)
    blocked = tuple(f"critical incident open: {text}" for text in occasion.incidents)
    if not missing and not blocked and occasion.now >= occasion.earliest:
        return "promote", tuple(f"{e.metric} {_change(state, e)}, within {_limit(state, e)}" for e in certifying)
    if occasion.now >= occasion.last:
        return "inconclusive", (*blocked, *missing)
    early = occasion.earliest - occasion.now
    young = (f"this stage ends in {duration(early)} at the earliest",) if early > 0 else ()
    return "hold", (*blocked, *missing, *young)


def _clear(state: JudgeState, names: Sequence[str]) -> bool:
    if state.stop or state.fired is not None or state.accounts["error_rate"].here < LEAST_TO_WIDEN:
        return False
    return all(state.accounts[name].against < 2 for name in names if name in state.accounts and name != "disagreement")


def _accusations(state: JudgeState) -> tuple[str, ...]:
    error, latency, loss = state.guards.shares
    weights = {"error_rate": error, "loss": loss} | {name: latency / len(LATENCY) for name in LATENCY}
    parts = {name: w * state.accounts[name].against for name, w in weights.items() if name in state.accounts}
    whole = sum(parts.values())
    found = [_evidence(state, name, now=state.since) for name, part in parts.items() if part >= 0.2 * whole]
    return tuple(f"{e.metric} {_change(state, e)} > {_limit(state, e)}" for e in found)


def _change(state: JudgeState, evidence: Evidence) -> str:
    if evidence.difference is None or evidence.baseline is None:
        return "unknown"
    if _relative(state, evidence.metric):
        return f"{100 * evidence.difference / max(evidence.baseline, 1e-12):+.1f} %"
    return f"{100 * evidence.difference:+.1f} pts"


def _limit(state: JudgeState, evidence: Evidence) -> str:
    return f"{100 * evidence.limit:.1f}{' %' if _relative(state, evidence.metric) else ''}"


def _relative(state: JudgeState, metric: str) -> bool:
    return metric == _metric(state, "loss") and not state.yardstick.classes


def _metric(state: JudgeState, name: str) -> str:
    if name != "loss":
        return name
    return "wrong_answers" if state.yardstick.classes else "mean_error"


def _evidence(state: JudgeState, name: str, *, now: float) -> Evidence:
    account = state.accounts.get(name)
    limit = {"error_rate": state.guards.error} | dict(zip(LATENCY, state.guards.latency, strict=True))
    shown = limit.get(name, state.guards.loss)
    if account is None or not account.rounds:
        return Evidence(
            metric=_metric(state, name), baseline=None, canary=None, difference=None, interval=None, limit=shown, n=0,
            controls=0, rounds=0, method=_method(state, name), rollback=1.0, promote=1.0, missing=_nothing(state, name),
        )  # fmt: skip
    scale = (state.yardstick.cap or 1.0) if name == "loss" and not state.yardstick.classes else 1.0
    n = account.rounds
    low, high = _interval(account)
    return Evidence(
        metric=_metric(state, name),
        baseline=scale * account.control / n,
        canary=scale * account.candidate / n,
        difference=scale * (account.candidate - account.control) / n,
        interval=(scale * low, scale * high),
        limit=shown,
        n=account.candidates,
        controls=account.controls,
        rounds=n,
        method=_method(state, name),
        rollback=account.against,
        promote=promote_wealth(state, name),
        missing=_missing(state, name, now=now),
    )


def _interval(account: Account) -> tuple[float, float]:
    """A 95 % interval of the mean difference of rounds, with one round of +1 and one of -1 added (Agresti & Caffo).

    The two make it honest for few rounds: it never has width 0.
    """
    n = account.rounds + 2
    mean = (account.candidate - account.control) / n
    half = 1.96 * math.sqrt(max((account.square + 2) / n - mean * mean, 0.0) / n)
    return mean - half, mean + half


def _method(state: JudgeState, name: str) -> str:
    betting = "betting (Waudby-Smith & Ramdas), valid at any number of looks"
    if name == "loss":
        return f"{'pairs' if state.paired else 'blocks'} of labelled answers; {betting}"
    if name == "disagreement" or state.shadowed:
        return f"shadow pairs; {betting}"
    return f"{'entities' if state.requests else 'blocks of traffic'}; {betting}"


def _unit(state: JudgeState, name: str) -> str:
    if name == "loss":
        return "labelled pairs" if state.paired else "labelled answers of the candidate"
    if name == "disagreement" or state.shadowed:
        return "shadowed calls"
    return "entities in the canary" if state.requests else "calls of the candidate"


def _nothing(state: JudgeState, name: str) -> str:
    if name in LATENCY and not state.yardstick.latency:
        return "no service times of the champion yet (needs 30 calls)"
    if name == "loss" and not state.yardstick.classes and not state.yardstick.cap:
        return "no labelled answers of the champion yet (needs 30)"
    if name == "disagreement":
        return "no labels and no shadowed calls: the answers cannot be compared"
    return f"no {_unit(state, name)} yet"


def _missing(state: JudgeState, name: str, *, now: float) -> str:
    account, goal = state.accounts[name], 1 / state.guards.beta
    if promote_wealth(state, name) >= goal:
        return ""
    n = account.rounds + _CAREFUL
    mean = account.total / n
    variance = max((account.total_square + _TYPICAL_VARIANCE * _CAREFUL) / n - mean * mean, 1e-9)
    need = rounds_needed(account, mean=mean, variance=variance, goal=goal, against=False)
    if need is None:
        return (
            f"not provable at a difference of {100 * (account.candidate - account.control) / account.rounds:+.1f} pts"
        )
    calls = math.ceil(need * account.candidates / account.rounds)
    elapsed = now - state.stage
    if not account.here or elapsed <= 0:
        return f"needs about {calls} more {_unit(state, name)}"
    return f"needs about {calls} more {_unit(state, name)}, {_time(need * elapsed / account.here)} at today's rate"


def _time(seconds: float) -> str:
    return f"{seconds / DAY:.1f} days" if seconds >= 1.5 * DAY else duration(max(seconds, 1.0))


def _notices(state: JudgeState) -> tuple[str, ...]:
    found = []
    for name, word in (("bias_high", "higher"), ("bias_low", "lower")):
        account = state.accounts.get(name)
        if account is not None and account.rounds and account.against * state.guards.alpha >= 1 and state.yardstick.cap:
            shift = state.yardstick.cap * account.candidate / account.rounds
            found.append(f"answers are {abs(shift):.3g} {word} than the champion's on average: signed bias has moved")
    return tuple(found)
