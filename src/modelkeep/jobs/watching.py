"""The tasks ``watch`` (measure every model and the server, judge the readings) and ``deliver`` (empty the outbox)."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from msgspec import Struct, structs

from modelkeep import profile
from modelkeep.alerts.verdicts import false_alerts
from modelkeep.errors import BadArtifact, NotFound
from modelkeep.jobs.collecting import collected
from modelkeep.jobs.drifting import drifting
from modelkeep.jobs.probing import Probing, probed
from modelkeep.jobs.rooms import Done, Rooms, Run
from modelkeep.jobs.trainings import trainings
from modelkeep.nouns import Level, Policy, Reading, Role, Rollout, Version, model_of
from modelkeep.profile import Profile, Slice, Window
from modelkeep.quantities import HOUR, WEEK, iso
from modelkeep.serving.recording import Recording
from modelkeep.store.seams import Files, Ledger
from modelkeep.watch import MEASURES

BEFORE = 4 * WEEK
"""How far back the measures learn what is normal."""
EVERY = 300.0
"""A reading that says the same is kept this often; one that turns is kept at once."""
SLOW = 1.0
"""A store that takes longer than this to write is slow."""
SERVER = "server"
MANY = 10_000
ANSWERED: tuple[Role, ...] = ("champion", "canary", "fallback")
_LOG = logging.getLogger("modelkeep.jobs")


class Watched(Struct, frozen=True, kw_only=True):
    """What one pass saw: windows measured, readings made and kept, alerts that opened or resolved (ids)."""

    windows: int
    readings: int
    kept: int
    opened: tuple[str, ...]
    resolved: tuple[str, ...]


class Delivered(Struct, frozen=True, kw_only=True):
    """How many messages were taken by their receivers."""

    sent: int


def watch(rooms: Rooms, run: Run, *, probes: Sequence[Probing] = ()) -> Done:
    """Measure every arm that answers or is tried, the server, and what ``probes`` see; judge the readings by the rules.

    Everything that follows from one pass (readings, alerts, their deliveries and actions) is kept in one transaction.
    Raises StoreUnavailable.
    """
    now = rooms.clock.now()
    with rooms.store.read() as ledger:
        rollouts = ledger.rollouts.all()
        last = {(r.name, r.subject): r for r in ledger.readings.newest()}
        models = [rollout.model for rollout in rollouts]
        told = [reading for model in ledger.versions.models() for reading in trainings(ledger, model, now=now)]
        windows, found = [], [false_alerts(ledger.alerts.all(limit=MANY), now=now)]
        for rollout in rollouts:
            mine = _windows(ledger, rooms.files, rollout=rollout, now=now)
            windows += mine
            found += drifting(ledger, mine[0], roles=ANSWERED, rollout=rollout, last=last, fleet=len(models))
    found += [reading for window in windows for measure in MEASURES for reading in measure(window)]
    found += _server(rooms, last, now=now)
    found += collected(rooms)
    found += [_artifacts(model, rooms.router.failures, now=now) for model in models]
    found += told
    found += probed(rooms, probes, now=now)
    kept = [r for r in found if _says_more(rooms, last.get((r.name, r.subject)), reading=r)]
    with rooms.store.write("work") as ledger:
        ledger.readings.add(kept)
        alerts = rooms.book.evaluate(ledger, found)
    result = Watched(
        windows=len(windows),
        readings=len(found),
        kept=len(kept),
        opened=tuple(a.id for a in alerts if a.state != "resolved"),
        resolved=tuple(a.id for a in alerts if a.state == "resolved"),
    )
    run.step("measured", detail=f"{len(found)} readings of {len(windows)} windows", evidence=result)
    return Done(result=result)


def deliver(rooms: Rooms, _: Run) -> Done:
    """Send the alerts that are due, and give critical ones that nobody acknowledged their escalation.

    Raises StoreUnavailable.
    """
    with rooms.store.write("work") as ledger:
        rooms.book.escalate(ledger)
    return Done(result=Delivered(sent=rooms.book.deliver(rooms.store)))


def _says_more(rooms: Rooms, last: Reading | None, *, reading: Reading) -> bool:
    if last is None or last.level != reading.level or reading.at - last.at >= EVERY:
        return True
    return rooms.book.turns(last, reading)


# ---------------------------------------------------------------------------------------------- windows


@dataclass(frozen=True)
class _View:
    """What is looked at of one model: its policy, and the span from ``start`` (on the hour) to ``end``."""

    ledger: Ledger
    files: Files
    policy: Policy
    start: float
    end: float

    def window(self, number: int, *, role: Role, roles: Sequence[str], learn: Sequence[tuple[int, str]]) -> Window:
        """The window of a version in ``roles``, which learns what is normal from the arms in ``learn``."""
        model, records = self.policy.model, self.ledger.records
        version = self.ledger.versions.get(model, number)
        early = self.start - BEFORE
        others = [(n, r) for n, r in learn if n != number]
        told = records.counts(model)[1]
        delays = (records.lag(model, share=0.5), records.lag(model)) if told else None
        return Window(
            version=version,
            policy=self.policy,
            role=role,
            start=self.start,
            end=self.end,
            slices=_ripe(
                _by_hour(
                    s for r in roles for s in records.slices(model, number, role=r, start=self.start, end=self.end)
                ),
                policy=self.policy,
                now=self.end,
            ),
            told=told,
            delays=delays,
            before=_by_hour(s for n, r in learn for s in records.slices(model, n, role=r, start=early, end=self.start)),
            others=_by_hour(
                s for n, r in others for s in records.slices(model, n, role=r, start=self.start, end=self.end)
            ),
            reference=_reference(self.files, version),
            champion=role == "champion",
        )


def _windows(ledger: Ledger, files: Files, *, rollout: Rollout, now: float) -> list[Window]:
    """One window for the champion, and one for the challenger once it has predicted."""
    policy = ledger.versions.policy(rollout.model, rollout.policy)
    view = _View(ledger=ledger, files=files, policy=policy, start=(now - policy.window) // HOUR * HOUR, end=now)
    arms = ledger.records.arms(rollout.model, start=view.start - BEFORE, end=now)
    answered = [(number, role) for number, role in arms if role in ANSWERED]
    found = [view.window(rollout.champion, role="champion", roles=ANSWERED, learn=answered)]
    if rollout.challenger is not None:
        roles = ("shadow",) if rollout.mode == "shadow" else ANSWERED
        own = [(number, role) for number, role in arms if number == rollout.challenger and role in roles]
        if own:
            found.append(view.window(rollout.challenger, role=rollout.mode or "canary", roles=roles, learn=own))
    return found


def _by_hour(slices: Iterable[Slice]) -> tuple[Slice, ...]:
    """Slices in time order, those of one hour as one."""
    hours: dict[float, Profile] = {}
    for s in slices:
        hours[s.start] = hours[s.start] + s.profile if s.start in hours else s.profile
    return tuple(Slice(start=start, profile=hours[start]) for start in sorted(hours))


def _ripe(slices: tuple[Slice, ...], *, policy: Policy, now: float) -> tuple[Slice, ...]:
    """Slices without the errors of predictions younger than the policy's horizon.

    Labels that come early are not like the others, and what has not happened yet is no proof that it will not.
    """
    if policy.horizon <= 0:
        return slices
    return tuple(
        s
        if s.start + HOUR + policy.horizon <= now
        else structs.replace(s, profile=structs.replace(s.profile, errors={}))
        for s in slices
    )


def _reference(files: Files, version: Version) -> Profile | None:
    """The profile of the version's sample; None when it has none, or none that can be trusted."""
    digest = version.baseline.reference
    if digest is None:
        return None
    try:
        return _decoded(files.path(digest))
    except (NotFound, BadArtifact) as error:
        _LOG.error("no reference to judge by", extra={"model_name": version.name, "cause": str(error)})
        return None


@lru_cache(maxsize=256)
def _decoded(path: Path) -> Profile:
    # The file is named by its content, so what was decoded once stays true.
    return profile.decode(path.read_bytes())


# ------------------------------------------------------------------------------------------------ server


def _server(rooms: Rooms, last: Mapping[tuple[str, str], Reading], *, now: float) -> list[Reading]:
    """How the recorder and the store are."""
    state = rooms.recorder.state
    took = rooms.store.ping()
    level: Level = "warning" if took > SLOW else "ok"
    return [
        _held(state, now=now),
        _dropped(state, last.get(("records_dropped", SERVER)), now=now),
        Reading(
            name="store", subject=SERVER, value=took, level=level, at=now, n=1, unit="s",
            detail=f"the store took {took * 1000:.3g} ms to write (slow from {SLOW:g} s)",
        ),
    ]  # fmt: skip


def _held(state: Recording, *, now: float) -> Reading:
    since = f" since {iso(state.since)}" if state.since is not None else ""
    detail = f"{state.held} records wait for the store, {state.spooled} of them on disk"
    detail += f"{since}: {state.cause}" if state.cause else ""
    return Reading(
        name="records_held", subject=SERVER, value=float(state.held), level="warning" if state.cause else "ok",
        at=now, n=state.held, unit="records", detail=detail, facts={"spooled": state.spooled, "cause": state.cause},
    )  # fmt: skip


def _dropped(state: Recording, last: Reading | None, *, now: float) -> Reading:
    lost = state.dropped + state.gap + state.aside
    same = last is not None and last.facts.get("process") == os.getpid()
    fresh = lost - int(last.value or 0) if last is not None and same else lost
    detail = (
        f"{lost} records were lost since the server started: {state.dropped} dropped as spool and memory were full, "
        f"{state.gap} by the end of the process before, {state.aside} put aside because the store cannot take them"
        if lost
        else "no record was lost since the server started"
    )
    return Reading(
        name="records_dropped", subject=SERVER, value=float(lost), level="critical" if fresh > 0 else "ok", at=now,
        n=lost, unit="records", detail=detail, facts={"new": fresh, "process": os.getpid()},
    )  # fmt: skip


def _artifacts(model: str, failures: Mapping[str, str], *, now: float) -> Reading:
    """Whether every version of a model that should run could be loaded."""
    mine = {name: why for name, why in sorted(failures.items()) if model_of(name) == model}
    said = "; ".join(f"{name}: {why}" for name, why in mine.items())
    return Reading(
        name="artifact", subject=model, value=float(len(mine)), level="critical" if mine else "ok", at=now,
        n=len(mine), unit="versions", detail=said or "every version that should run is loaded", facts={**mine},
    )  # fmt: skip
