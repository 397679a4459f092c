"""Overload beyond the gate: it is kept as a reading the moment it is noticed, and whoever can add capacity is asked."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import msgspec
from msgspec import Struct, structs

from modelkeep.alerts.channels.posting import post
from modelkeep.errors import StoreUnavailable, Unavailable
from modelkeep.jobs.changing import adopt
from modelkeep.jobs.rooms import Again, Done, Rooms, Run
from modelkeep.nouns import Job, Level, Reading
from modelkeep.serving.admission.admitting import Change, Hung
from modelkeep.serving.admission.gates import GateView
from modelkeep.serving.admission.pressure import STATES, State

_log = logging.getLogger("modelkeep.jobs")
_LEVELS: dict[State, Level] = {"normal": "ok", "recovering": "ok", "shedding": "warning"}
TASK = "capacity"
TIMEOUT, AGAIN, PATIENCE = 10.0, 5.0, 300.0


class Capacity(Struct, frozen=True, kw_only=True):
    """What whoever can add capacity is told, once for an overload.

    ``offered`` is what is asked for and ``capacity`` what is answered, in requests a second (None when not known yet);
    ``load`` their ratio: so many times today's processes would be enough. ``open`` calls are under way of ``limit``.
    """

    event: str
    model: str
    version: int
    at: float
    offered: float
    capacity: float | None
    load: float | None
    open: int
    limit: int


class Asked(Struct, frozen=True, kw_only=True):
    """That the request for capacity was taken."""

    load: float | None


class Noticing:
    """Keeps every change of state as a reading, and asks for capacity when an overload begins, once within ``every``.

    Called by whoever looks at the gates, in a thread that may wait for the store.
    """

    def __init__(self, rooms: Rooms, *, ask: bool, every: float, wake: Callable[[], None]) -> None:
        self._rooms, self._ask, self._every, self._wake = rooms, ask, every, wake

    def __call__(self, change: Change) -> None:
        """Take one change in. A store that is away costs the reading, not the gate."""
        now = self._rooms.clock.now()
        try:
            with self._rooms.store.write() as ledger:
                ledger.readings.add([reading(change.now, at=now)])
                if not (self._ask and change.now.state == "shedding"):
                    return
                newest = next(iter(ledger.jobs.all(task=TASK, limit=1)), None)
                if newest is not None and newest.created > now - self._every:
                    return
                view = change.now
                wanted = Capacity(
                    event="overload", model=view.model, version=view.version, at=now, offered=view.offered,
                    capacity=view.capacity, load=view.load, open=view.open, limit=view.limit,
                )  # fmt: skip
                ledger.jobs.add(
                    Job(id=f"{TASK}-{now:.3f}", task=TASK, due=now, created=now, subject=view.model,
                        arguments=msgspec.Raw(msgspec.json.encode(wanted)))
                )  # fmt: skip
        except StoreUnavailable as fault:
            _log.warning("an overload could not be kept", extra={"cause": str(fault)})
            return
        self._wake()


def capacity(rooms: Rooms, run: Run, *, url: Callable[[], str] | None = None) -> Again | Done:
    """Post the load to the address of the setting ``overload.webhook``; the receiver takes it by answering 2xx.

    One that does not answer is tried again for ``PATIENCE`` seconds. Raises Refused when it says no.
    """
    wanted = run.arguments(Capacity)
    if url is not None:
        headers = {"Idempotency-Key": run.job.id}
        try:
            post(url(), msgspec.json.encode(wanted), headers=headers, timeout=TIMEOUT)
        except Unavailable:
            if rooms.clock.now() > run.job.created + PATIENCE:
                raise
            return Again(after=AGAIN)
    return Done(result=Asked(load=wanted.load))


class Demoting:
    """Gives a version that hangs a process of its own from now on, where it can be ended: a change of its policy.

    That it is durable matters: where the event loop is held for good only a restart helps, and after it the version
    must not hold it again. Called in a thread that may wait for the store.
    """

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def __call__(self, hung: Hung) -> None:
        """Change the policy, unless its owner has said ``never``."""
        rooms = self._rooms
        if not rooms.router.shelf.keeping.isolate:
            return
        try:
            with rooms.store.write() as ledger:
                rollout = ledger.rollouts.get(hung.model)
                policy = ledger.versions.policy(hung.model, rollout.policy if rollout else None)
                if policy.isolation != "auto":
                    return
                why = f"{hung.model}@{hung.version} hangs: {hung.why}"
                changed = structs.replace(policy, isolation="process")
                adopt(ledger, changed, who="server", why=why, at=rooms.clock.now())
        except StoreUnavailable as fault:
            _log.warning("a version that hangs keeps its place", extra={"cause": str(fault)})


class Gates:
    """How every gate stands, and how processes of versions fared since the last look.

    What ended between two looks is told at the second, also of a version that has left meanwhile (a canary that was
    rolled back); a look later it is told once more, with nothing new, so that it is not the newest word for ever.
    """

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._open: set[str] = set()

    def __call__(self, rooms: Rooms) -> Iterable[Reading]:
        """The readings; a version that takes no line has no gate, one in the server's process no ``process``."""
        now = rooms.clock.now()
        for view in rooms.gateway.admission.views():
            yield reading(view, at=now)
        here = rooms.router.shelf.loaded
        for name, (ends, why) in rooms.router.shelf.ends().items():
            fresh = max(ends - self._seen.get(name, 0), 0)
            if fresh or name in here or name in self._open:
                self._seen[name] = max(ends, self._seen.get(name, 0))
                (self._open.add if fresh else self._open.discard)(name)
                said = f"it {why}" if why else "no process of it has ended"
                yield Reading(
                    name="process", subject=name, value=float(fresh), level="critical" if fresh else "ok", at=now,
                    n=ends, detail=f"{fresh} processes replaced since the last look, {ends} in all: {said}",
                    facts={"ended": float(ends)},
                )  # fmt: skip


def reading(view: GateView, *, at: float) -> Reading:
    """The state of a gate as a reading: 0 normal, 1 recovering, 2 shedding."""
    known = "not known yet" if view.capacity is None else f"{view.capacity:.3g}"
    shed = sum(view.shed.values())
    detail = (
        f"{view.state}: {view.offered:.3g} requests a second are asked for, {known} can be answered; {view.open} calls "
        f"are under way of at most {view.limit}; {shed} turned away and {sum(view.lowered.values())} answered by less"
    )
    return Reading(
        name="overload",
        subject=f"{view.model}@{view.version}",
        value=float(STATES.index(view.state)),
        level=_LEVELS[view.state],
        at=at,
        n=shed,
        detail=detail,
        facts={"state": view.state, "offered": view.offered, "capacity": view.capacity, "load": view.load,
               "open": float(view.open), "limit": float(view.limit)},
    )  # fmt: skip
