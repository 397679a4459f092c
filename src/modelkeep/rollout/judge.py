"""The release judge: streamed state in, streamed state out; ``verdict.py`` reads a verdict off it at any moment.

It bounds two errors however often anyone looks: rolling back a version within its limits (alpha, over all guards
together), and promoting one beyond a limit (beta, per guard). The state is small, frozen and plain JSON, so that it
lives in a job's memo; it depends on what happened and in which order, never on when anyone looked.

Guards, their z and limits (``Guards``):

=============== ================================================================ =====================
error_rate      failed, candidate - control                                      ``error``
latency_p50 ... slower than a frozen threshold, candidate - control              ``latency``
loss            classes: wrong, candidate - control                              ``loss``, in points
loss            numbers: (min(e_new, c) - (1 + loss) min(e_old, c)) / c          0, so ``loss`` relative
disagreement    answers differ: 0 or 1, or by how many usual errors (at most 1)  ``loss``; promotes only
bias_high, _low (e_new - e_old) / c and its negative, signed errors              ``loss`` x usual / c; notice
=============== ================================================================ =====================
"""

from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace

from modelkeep.nouns import Guards
from modelkeep.quantities import HOUR
from modelkeep.rollout.betting import Account, Round, bet, next_stage
from modelkeep.rollout.rounds import (
    Arm,
    Block,
    Compared,
    Event,
    Graded,
    GradedPair,
    Harms,
    Served,
    Yardstick,
)

TRAFFIC = ("error_rate", "latency_p50", "latency_p95", "latency_p99")
LATENCY = TRAFFIC[1:]
_CONTROL_ENTITIES = 1000


class JudgeState(Struct, frozen=True, kw_only=True):
    """Everything the judge remembers of one trial.

    ``since`` is when the trial began and ``stage`` when its present stage did; ``hours`` how long it may last;
    ``requests`` how many requests make an entity's one round (0 = every request counts). ``fired`` is the moment at
    which the rollback wealth reached its bound, ``stop`` why the trial must end at once: after either, nothing more is
    folded. ``shadowed`` and ``paired`` say that calls and labels of this stage were compared in pairs.
    """

    guards: Guards
    yardstick: Yardstick
    since: float
    stage: float
    hours: int
    requests: int = 0
    accounts: dict[str, Account]
    traffic: Block = Block()
    losses: Block = Block()
    entities: dict[str, Arm] = {}
    shadowed: bool = False
    paired: bool = False
    fired: float | None = None
    stop: str = ""


def start(guards: Guards, yardstick: Yardstick, *, at: float, longest: float) -> JudgeState:
    """The judge at the start of a trial that may last ``longest`` seconds."""
    state = JudgeState(
        guards=guards, yardstick=yardstick, since=at, stage=at, hours=max(int(longest // HOUR), 1), accounts={}
    )
    return measured(state, yardstick)


def measured(state: JudgeState, yardstick: Yardstick) -> JudgeState:
    """The judge with a yardstick that was completed during the trial, from the champion's records alone.

    Open blocks are dropped, because their harms were not measured with it.
    """
    guards = state.guards
    opened = {"error_rate": Account(limit=guards.error)}
    if yardstick.latency:
        opened |= {name: Account(limit=limit) for name, limit in zip(LATENCY, guards.latency, strict=True)}
    if yardstick.classes:
        opened["loss"] = Account(limit=guards.loss)
    elif yardstick.cap and yardstick.usual is not None:
        opened["loss"] = Account(limit=0.0, low=-1.0 - guards.loss)
        bias = Account(limit=guards.loss * yardstick.usual / yardstick.cap)
        opened |= {"bias_high": bias, "bias_low": bias}
    opened["disagreement"] = Account(limit=guards.loss)
    return replace(
        state, yardstick=yardstick, accounts=opened | state.accounts, traffic=Block(), losses=Block(), entities={}
    )


def next_stage_of(state: JudgeState, *, at: float, requests: int = 0) -> JudgeState:
    """The judge at the start of the next stage: what speaks against stays, promotion must be earned anew."""
    return replace(
        state,
        stage=at,
        requests=requests,
        accounts={name: next_stage(a, pairs=_pairs(state, name)) for name, a in state.accounts.items()},
        traffic=Block(),
        losses=Block(),
        entities={},
        shadowed=False,
        paired=False,
    )


def promote_wealth(state: JudgeState, name: str) -> float:
    """The wealth of one guard in the candidate's favour, within this stage.

    Shadow pairs compare the versions on the same inputs, so what they prove does not depend on who is answered by
    whom. A stage without pairs therefore keeps the proof of the last stage that had them, unless something has begun
    to lean against the candidate.
    """
    account = state.accounts[name]
    if name not in {"loss", "disagreement"} or (account.here and _pairs(state, name)) or account.against >= 2:
        return account.favour
    return max(account.favour, account.earned)


def _pairs(state: JudgeState, name: str) -> bool:
    return name == "disagreement" or (name == "loss" and state.paired)


def rollback_wealth(state: JudgeState) -> float:
    """The guards' rollback wealth together: 1 at the start, and a rollback at 1/alpha."""
    error, latency, loss = state.guards.shares
    against = {name: account.against for name, account in state.accounts.items()}
    slow = [against.get(name, 1.0) for name in LATENCY]
    return error * against["error_rate"] + latency * sum(slow) / len(slow) + loss * against.get("loss", 1.0)


def fold(state: JudgeState, events: Iterable[Event]) -> JudgeState:
    """The state after some events, in their order. Folding them one by one or together gives the same state."""
    folding = _Folding(state)
    for event in events:
        if folding.over:
            break
        folding.take(event)
    return folding.state()


class _Folding:
    """A state while events are folded into it: the one mutable thing here, and it never leaves ``fold``."""

    def __init__(self, state: JudgeState) -> None:
        self.start = state
        self.accounts = dict(state.accounts)
        self.entities = dict(state.entities)
        self.traffic, self.losses = state.traffic, state.losses
        self.shadowed, self.paired = state.shadowed, state.paired
        self.fired, self.stop = state.fired, state.stop

    @property
    def over(self) -> bool:
        return self.fired is not None or bool(self.stop)

    def state(self) -> JudgeState:
        return replace(
            self.start,
            accounts=self.accounts,
            entities=self.entities,
            traffic=self.traffic,
            losses=self.losses,
            shadowed=self.shadowed,
            paired=self.paired,
            fired=self.fired,
            stop=self.stop,
        )

    def take(self, event: Event) -> None:
        if isinstance(event, Served):
            self.served(event)
        elif isinstance(event, Compared):
            self.compared(event)
        elif isinstance(event, GradedPair):
            self.graded_pair(event)
        else:
            self.graded(event)

    def served(self, event: Served) -> None:
        if event.stop and event.candidate:
            self.stop = event.stop
            return
        harms: Harms | None = event.harms
        if self.start.requests:
            harms = self.entity(event)
        if harms is None:
            return
        self.traffic = self.traffic.plus(harms, candidate=event.candidate)
        if self.traffic.closed:
            self.play(dict(zip(TRAFFIC, self.traffic.rounds(), strict=False)), at=event.at)
            self.traffic = Block()

    def entity(self, event: Served) -> Harms | None:
        """The mean harms of an entity at the request that completes its one round, else None."""
        name = f"{event.candidate:d}{event.entity}"
        known = self.entities.get(name)
        if known is None and not event.candidate and len(self.entities) >= _CONTROL_ENTITIES:
            return None
        arm = known or Arm()
        if arm.n >= self.start.requests:
            return None
        self.entities[name] = arm = arm.plus(event.harms)
        return arm.means if arm.n == self.start.requests else None

    def compared(self, event: Compared) -> None:
        if event.stop:
            self.stop = event.stop
            return
        rounds = {
            name: Round(control=a, candidate=b, z=b - a)
            for name, a, b in zip(TRAFFIC, event.control, event.candidate, strict=False)
        }
        if event.differ is not None:
            rounds["disagreement"] = Round(control=0.0, candidate=event.differ, z=event.differ)
        self.shadowed = self.shadowed or bool(event.candidate)
        self.play(rounds, at=event.at)

    def graded_pair(self, event: GradedPair) -> None:
        cap = 1.0 if self.start.yardstick.classes else self.start.yardstick.cap
        if cap is None:
            return
        control, candidate = min(abs(event.control), cap) / cap, min(abs(event.candidate), cap) / cap
        rounds = {"loss": self.loss(Round(control=control, candidate=candidate, z=0.0))}
        if not self.start.yardstick.classes:
            shift = min(max((event.candidate - event.control) / cap, -1.0), 1.0)
            rounds["bias_high"] = Round(control=0.0, candidate=shift, z=shift)
            rounds["bias_low"] = Round(control=0.0, candidate=-shift, z=-shift)
        self.paired = True
        self.play(rounds, at=event.at)

    def graded(self, event: Graded) -> None:
        cap = 1.0 if self.start.yardstick.classes else self.start.yardstick.cap
        if cap is None:
            return
        self.losses = self.losses.plus((min(abs(event.error), cap) / cap,), candidate=event.candidate)
        if self.losses.closed:
            (played,) = self.losses.rounds()
            self.play({"loss": self.loss(played)}, at=event.at)
            self.losses = Block()

    def loss(self, played: Round) -> Round:
        factor = 1.0 if self.start.yardstick.classes else 1.0 + self.start.guards.loss
        return replace(played, z=played.candidate - factor * played.control)

    def play(self, rounds: dict[str, Round], *, at: float) -> None:
        hour = int(max(at - self.start.since, 0.0) // HOUR)
        for name, played in rounds.items():
            if name in self.accounts:
                self.accounts[name] = bet(self.accounts[name], played, hour=hour, hours=self.start.hours)
        if self.wealthy():
            self.fired = at

    def wealthy(self) -> bool:
        state = replace(self.start, accounts=self.accounts)
        return rollback_wealth(state) * self.start.guards.alpha >= 1.0
