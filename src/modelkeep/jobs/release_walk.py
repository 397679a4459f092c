"""The walk of one release from phase to phase.

Every transition is one transaction (rollout, audit entry, alert, job step with its memo), so a process that dies
anywhere leaves either the state before or the state after, and the job goes on from its memo. Between looks nothing is
kept but the memo: how far the records were judged, and the judge's state.
"""

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from modelkeep.jobs.backup import back_up
from modelkeep.jobs.changing import change, in_force
from modelkeep.jobs.evidence import arms, graded, measure, opening, requests_per_round, served
from modelkeep.jobs.failpoints import failpoint
from modelkeep.jobs.forecasting import forecast_release, stages
from modelkeep.jobs.release_memo import Release, Released, Walk
from modelkeep.jobs.rooms import Again, Done, Rooms, Run
from modelkeep.jobs.validating import Validation, validate
from modelkeep.nouns import Level, Policy, Reading, Rollout, Severity, Trial, Version
from modelkeep.rollout import begin, first, promote, widen
from modelkeep.rollout import roll_back as moved_back
from modelkeep.rollout.judge import JudgeState, fold, measured, next_stage_of, start
from modelkeep.rollout.verdict import Occasion, Verdict, verdict
from modelkeep.store.seams import Ledger

_ATTEMPTS = 3  # a process that died so often in one phase would die again
_SHORTEST = 0.05  # seconds between two looks
_AWAY = 5.0  # seconds until a look is tried again when the store is away
_FAILED = ("Investigate canary performance issues", "Contact ML team")
_EMERGENCY = ("Immediate rollback", "Emergency contact ML team")


class Walking:
    """One run of one release job: ``on`` walks, the rest is what it meets."""

    def __init__(self, rooms: Rooms, run: Run) -> None:
        self.rooms = rooms
        self.run = run
        self.asked = run.arguments(Release)
        self.walk = run.memo(Walk) or Walk()
        self.phases = {"validating": self._validating, "backing_up": self._backing_up, "trial": self._look}

    @property
    def _name(self) -> str:
        return f"{self.asked.model}@{self.asked.number}"

    def on(self) -> Again | Done:
        """Walk on until there is something to wait for, or the end."""
        if self.walk.phase == "promoting":
            return self.emergency("the process ended in the middle of the promotion")
        if self.run.job.attempts > _ATTEMPTS and self.walk.phase != "over":
            return self.emergency(f"the process ended {_ATTEMPTS} times while {self.walk.phase}")
        while self.walk.phase != "over":
            again = self.phases[self.walk.phase]()
            if again is not None:
                return again
        self.rooms.router.refresh()
        return Done(result=self.walk.result)

    def later(self) -> Again:
        """Try again at the next look, the store being away; a promotion that did not happen is decided anew."""
        self.walk = replace(self.walk, phase="trial") if self.walk.phase == "promoting" else self.walk
        return Again(after=_AWAY, memo=self.walk)

    # ------------------------------------------------------------------------------------------- before the trial

    def _validating(self) -> Again | None:
        with self.rooms.store.read() as ledger:
            version = ledger.versions.get(self.asked.model, self.asked.number)
            policy = ledger.versions.policy(self.asked.model)
            rollout = ledger.rollouts.get(self.asked.model)
        found = validate(self.rooms, version, policy=policy, force=self.asked.force, why=self.asked.why)
        if rollout is not None and (rollout.challenger is not None or rollout.champion == version.number):
            where = "the champion already" if rollout.champion == version.number else "not alone: another trial runs"
            found = replace(found, reasons=(*found.reasons, f"{version.name} is {where}"))
        if found.reasons:
            self._reject(found)
        elif rollout is None:
            self._promote_first(found, policy=policy)
        else:
            walk = replace(self.walk, phase="backing_up", policy=policy.number)
            self.run.step("validating", detail="; ".join(found.notes), evidence=found, memo=walk)
            self.walk = walk
        failpoint("release.validated")
        return None

    def _reject(self, found: Validation) -> None:
        with self.rooms.store.write() as ledger:
            message = f"Model {self.asked.model} version {self.asked.number} was rejected: {'; '.join(found.reasons)}"
            alert = self._tell(ledger, "error", message=message)
            self.run.step("validating", evidence=found, ledger=ledger)
            self._end(ledger, "rejected", reasons=found.reasons, alerts=(alert,), evidence=found)

    def _promote_first(self, found: Validation, *, policy: Policy) -> None:
        """A model's first version answers at once: there is nothing to compare it with, and nothing else answers."""
        now = self.rooms.clock.now()
        with self.rooms.store.write() as ledger:
            after = first(self.asked.model, self.asked.number, policy=policy.number, at=now)
            change(ledger, after, was=None, what="release", who=self.asked.by, why=self.asked.why)
            self.run.step("validating", detail="; ".join(found.notes), evidence=found, ledger=ledger)
            alert = self._tell(ledger, "info", message=self._success())
            self._end(ledger, "promoted", reasons=("the model's first version",), alerts=(alert,))
            failpoint("release.promote_before_commit")
        failpoint("release.promote_after_commit")

    def _backing_up(self) -> Again | None:
        with self.rooms.store.read() as ledger:
            rollout = in_force(ledger, self.asked.model)
            champion = ledger.versions.get(self.asked.model, rollout.champion)
            challenger = ledger.versions.get(self.asked.model, self.asked.number)
        if not any(step.name == "backed_up" for step in self.run.job.steps):
            kept = back_up(self.rooms, champion)
            self.run.step("backed_up", detail=f"{champion.name} as {kept.id}", evidence=kept)
        failpoint("release.backed_up")
        self._begin(champion, challenger)
        return None

    def _begin(self, champion: Version, challenger: Version) -> None:
        now = self.rooms.clock.now()
        with self.rooms.store.write() as ledger:
            was = in_force(ledger, self.asked.model)
            policy = ledger.versions.policy(self.asked.model, self.walk.policy)
            trial = stages(policy.trial, share=self.asked.share, stage=self.asked.stage)
            cursor = opening(ledger, self.asked.model, at=now)
            judge = start(policy.guards, measure(ledger, champion, policy=policy, at=now), at=now, longest=trial.last)
            plan = forecast_release(ledger, self.asked.model, trial=trial, guards=policy.guards, at=now)
            walk = replace(self.walk, phase="trial", began=now, last=now + trial.last, cursor=cursor, judge=judge)
            stage = -1 if trial.shadow > 0 or not trial.canary else 0
            mode: Literal["shadow", "canary"] = "shadow" if stage < 0 else "canary"
            share = trial.canary[0] if stage == 0 else 0.0
            after = begin(was, challenger.number, mode=mode, share=share, trial=self.run.job.id, at=now)
            change(ledger, after, was=was, what=f"release.{mode}", who=self.asked.by, why=self.asked.why)
            walk = self._entering(ledger, walk, stage=stage, trial=trial, champion=champion)
            self.run.step(mode, detail=_where(after, plan.lines()), evidence=plan, memo=walk, ledger=ledger)
            failpoint("release.begin_before_commit")
        self.walk = walk
        failpoint("release.begin_after_commit")
        self.rooms.router.refresh()

    # ------------------------------------------------------------------------------------------------- the trial

    def _look(self) -> Again | None:
        """Judge what happened since the last look, and move when the verdict says so."""
        now = self.rooms.clock.now()
        with self.rooms.store.read() as ledger:
            policy = ledger.versions.policy(self.asked.model, self.walk.policy)
            rollout = ledger.rollouts.get(self.asked.model)
            if rollout is None or rollout.trial != self.run.job.id:
                rollout = None
            else:
                state, more = self._judge(ledger, rollout, policy=policy, now=now)
                moment = Occasion(
                    now=now,
                    earliest=self.walk.earliest,
                    last=self.walk.last,
                    incidents=_incidents(ledger, rollout),
                )
        if rollout is None:
            self._cancelled()
            return None
        self.walk = replace(self.walk, judge=state)
        said = verdict(state, moment)
        if more and said.decision != "roll_back":
            return Again(after=0.0, memo=self.walk)
        self._show(said)
        if self._move(
            said, rollout=rollout, trial=stages(policy.trial, share=self.asked.share, stage=self.asked.stage)
        ):
            return None
        ends = [at - now for at in (self.walk.earliest, self.walk.last) if at > now]
        return Again(after=max(min([policy.trial.look, *ends]), _SHORTEST), memo=self.walk)

    def _judge(self, ledger: Ledger, rollout: Rollout, *, policy: Policy, now: float) -> tuple[JudgeState, bool]:
        """The judge after all records since the last look, and whether more are waiting."""
        state, cursor = self.walk.judge, self.walk.cursor
        if state is None or cursor is None:
            raise LookupError(f"the memo of {self.run.job.id} has lost its judge")
        champion = ledger.versions.get(rollout.model, rollout.champion)
        compared = arms(champion, ledger.versions.get(rollout.model, self.asked.number))
        yard = state.yardstick
        calls = served(ledger, compared, cursor=cursor, measured=yard)
        labels = graded(ledger, compared, cursor=calls.cursor, now=now, horizon=policy.horizon)
        state = fold(state, (*calls.events, *labels.events))
        self.walk = replace(self.walk, cursor=labels.cursor)
        broken = self.rooms.router.failures.get(self._name)
        if broken and not state.stop:
            state = replace(state, stop=f"{self._name} cannot be loaded: {broken}")
        if not yard.latency or (not yard.classes and yard.cap is None):
            fresh = measure(ledger, champion, policy=policy, at=now)
            latency, cap = yard.latency or fresh.latency, fresh.cap if yard.cap is None else yard.cap
            complete = replace(yard, latency=latency, cap=cap, usual=fresh.usual if yard.cap is None else yard.usual)
            state = state if complete == yard else measured(state, complete)
        return state, calls.more

    def _move(self, said: Verdict, *, rollout: Rollout, trial: Trial) -> bool:
        """Do what the verdict asks for; whether the release has left this stage."""
        final = self.walk.stage >= len(trial.canary) - 1
        over = said.at >= self.walk.earliest
        if said.decision == "roll_back":
            self._fall(said)
        elif said.decision == "promote" and final:
            self._promote(said)
        elif said.decision == "promote" or (said.clear and over and not final and said.decision == "hold"):
            self._widen(said, trial=trial)
        elif said.decision == "inconclusive":
            return self._undecided(said, rollout=rollout, trial=trial)
        else:
            if over and not self.walk.looked:
                walk = replace(self.walk, looked=True)
                self.run.step("judging", detail=f"hold: {'; '.join(said.reasons)}", evidence=said, memo=walk)
                self.walk = walk
            return False
        return True

    def _entering(self, ledger: Ledger, walk: Walk, *, stage: int, trial: Trial, champion: Version) -> Walk:
        """The walk at the start of a stage."""
        now = self.rooms.clock.now()
        requests = 0 if stage < 0 else requests_per_round(ledger, champion, share=trial.canary[stage])
        judge = walk.judge and next_stage_of(walk.judge, at=now, requests=requests)
        earliest = now + (trial.shadow if stage < 0 else trial.stage)
        return replace(walk, phase="trial", stage=stage, earliest=earliest, looked=False, judge=judge)

    def _widen(self, said: Verdict, *, trial: Trial) -> None:
        now, stage = self.rooms.clock.now(), self.walk.stage + 1
        with self.rooms.store.write() as ledger:
            was = in_force(ledger, self.asked.model, trial=self.run.job.id)
            after = widen(was, trial.canary[stage], at=now)
            change(ledger, after, was=was, what="release.canary", who=self.asked.by, why="; ".join(said.reasons))
            champion = ledger.versions.get(was.model, was.champion)
            walk = self._entering(ledger, self.walk, stage=stage, trial=trial, champion=champion)
            if not self.walk.looked:
                self.run.step("judging", detail="widen", evidence=said, ledger=ledger)
            self.run.step("canary", detail=_where(after), evidence=said, memo=walk, ledger=ledger)
            failpoint("release.widen_before_commit")
        self.walk = walk
        failpoint("release.widen_after_commit")
        self.rooms.router.refresh()

    def _promote(self, said: Verdict) -> None:
        """First write down that it is decided, then do it: whoever resumes in between knows that it was cut off."""
        walk = replace(self.walk, phase="promoting", decided=said)
        self.run.step("judging", detail=f"promote: {'; '.join(said.reasons)}", evidence=said, memo=walk)
        self.walk = walk
        failpoint("release.decided")
        now = self.rooms.clock.now()
        with self.rooms.store.write() as ledger:
            was = in_force(ledger, self.asked.model, trial=self.run.job.id)
            after = promote(was, policy=ledger.versions.policy(self.asked.model).number, at=now)
            change(ledger, after, was=was, what="release.promoted", who=self.asked.by, why="; ".join(said.reasons))
            alert = self._tell(ledger, "info", message=self._success())
            self._end(ledger, "promoted", reasons=said.reasons, alerts=(alert,), evidence=said)
            failpoint("release.promote_before_commit")
        failpoint("release.promote_after_commit")

    def _fall(self, said: Verdict) -> None:
        message = (
            f"Model update failed canary testing for {self.asked.model}: version {self.asked.number} was rolled back"
        )
        with self.rooms.store.write() as ledger:
            self._leave(ledger, why="; ".join(said.reasons))
            alert = self._tell(ledger, "error", message=f"{message} ({'; '.join(said.reasons)})", advice=_FAILED)
            if not self.walk.looked:
                self.run.step("judging", detail=f"roll_back: {'; '.join(said.reasons)}", evidence=said, ledger=ledger)
            self._end(ledger, "rolled_back", reasons=said.reasons, alerts=(alert,), evidence=said)
            failpoint("release.fall_before_commit")
        failpoint("release.fall_after_commit")

    def _undecided(self, said: Verdict, *, rollout: Rollout, trial: Trial) -> bool:
        """The last day has come without a verdict: go on as it is, or end the trial, as the policy says."""
        stays = trial.undecided == "hold"
        what = f"goes on {_where(rollout)}" if stays else "was ended"
        message = f"The trial of {self._name} is inconclusive and {what}: {'; '.join(said.reasons)}"
        command = f"modelkeep release {self._name} --share 50%" if rollout.share < 0.5 else ""
        with self.rooms.store.write() as ledger:
            alert = self._tell(ledger, "warning", message=message, command=command)
            if stays:
                walk = replace(self.walk, last=self.walk.last + trial.last, looked=True)
                self.run.step("inconclusive", detail=what, evidence=said, memo=walk, ledger=ledger)
            else:
                self._leave(ledger, why="; ".join(said.reasons))
                self._end(ledger, "inconclusive", reasons=said.reasons, alerts=(alert,), evidence=said)
            failpoint("release.undecided_before_commit")
        if stays:
            self.walk = walk
        return not stays

    def overtaken(self) -> Done | None:
        """The end, when the trial that this job judged is not in force any more; else None."""
        with self.rooms.store.read() as ledger:
            rollout = ledger.rollouts.get(self.asked.model)
        if self.walk.cursor is None or (rollout is not None and rollout.trial == self.run.job.id):
            return None
        self._cancelled()
        return Done(result=self.walk.result)

    def _cancelled(self) -> None:
        with self.rooms.store.write() as ledger:
            self._end(ledger, "cancelled", reasons=("the trial was ended by someone else",))

    def emergency(self, why: str) -> Done:
        """Whatever went wrong: leave exactly one version answering, the proven one, and call for help."""
        with self.rooms.store.write() as ledger:
            rollout = ledger.rollouts.get(self.asked.model)
            ours = rollout is not None and rollout.trial == self.run.job.id
            if ours:
                self._leave(ledger, why=why)
            message = f"Model deployment failed for {self.asked.model}: {why}"
            alert = self._tell(ledger, "critical", message=message, advice=_EMERGENCY)
            self._end(ledger, "rolled_back" if ours else "rejected", reasons=(why,), alerts=(alert,))
            failpoint("release.emergency_before_commit")
        self.rooms.router.refresh()
        return Done(result=self.walk.result)

    # --------------------------------------------------------------------------------------------------- its words

    def _leave(self, ledger: Ledger, *, why: str) -> None:
        """End the trial: the champion answers alone again."""
        was = in_force(ledger, self.asked.model, trial=self.run.job.id)
        after = moved_back(was, at=self.rooms.clock.now())
        change(ledger, after, was=was, what=f"release.rollback {self._name}", who="modelkeep", why=why)

    def _end(
        self,
        ledger: Ledger,
        state: str,
        *,
        reasons: tuple[str, ...],
        alerts: tuple[str, ...] = (),
        evidence: Struct | None = None,
    ) -> None:
        """The last step; with it the memo says that the release is over."""
        result = Released(state=state, model=self.asked.model, number=self.asked.number, reasons=reasons, alerts=alerts)
        walk = replace(self.walk, phase="over", result=result, judge=None)
        self.run.step(state, detail="; ".join(reasons), evidence=evidence or result, memo=walk, ledger=ledger)
        self.walk = walk

    def _success(self) -> str:
        return f"Model {self.asked.model} successfully updated to version {self.asked.number}"

    def _tell(
        self, ledger: Ledger, severity: Severity, *, message: str, advice: tuple[str, ...] = (), command: str = ""
    ) -> str:
        """Raise an alert; its id."""
        alert = self.rooms.book.raise_event(
            ledger,
            rule=f"release_{severity}",
            subject=self._name,
            kind="deployment",
            severity=severity,
            message=message,
            advice=advice,
            command=command,
        )
        return alert.id

    def _show(self, said: Verdict) -> None:
        """The judge's fortunes as readings."""
        rounds = max((e.rounds for e in said.evidence), default=0)
        least = min((e.promote for e in said.evidence), default=1.0)
        detail = f"{said.decision}: {'; '.join(said.reasons)}"[:500]
        judged: Level = "unknown" if not rounds else "critical" if said.decision == "roll_back" else "ok"
        proven: Level = "ok" if said.decision == "promote" else "unknown"
        readings = [
            Reading(name=name, subject=self._name, value=value, level=level, at=said.at, n=rounds, detail=detail)
            for name, value, level in (
                ("release.rollback", said.rollback, judged),
                ("release.promote", least, proven),
            )
        ]
        with self.rooms.store.write() as ledger:
            ledger.readings.add(readings)


def _where(rollout: Rollout, plan: tuple[str, ...] = ()) -> str:
    where = "in shadow" if rollout.mode == "shadow" else f"in the canary for {rollout.share * 100:.3g} % of the keys"
    return "; ".join((where, *plan))


def _incidents(ledger: Ledger, rollout: Rollout) -> tuple[str, ...]:
    # What the champion itself suffers from is what the release repairs: it must not hold the release up.
    subjects = {"server", rollout.model, f"{rollout.model}@{rollout.challenger}"}
    active = ledger.alerts.all(active=True)
    return tuple(a.message for a in active if a.severity == "critical" and a.subject in subjects)
