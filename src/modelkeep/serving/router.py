"""The router: rollouts that are in force become the gateway's table, with every version they name loaded."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType

from msgspec import structs

from modelkeep.clock import Clock
from modelkeep.errors import NotFound, StoreUnavailable
from modelkeep.nouns import Policy, Rollout, Version
from modelkeep.quantities import DAY
from modelkeep.runtimes import remembering
from modelkeep.serving import discretion, freeing
from modelkeep.serving.gateway import Gateway
from modelkeep.serving.routes import Route, fitting
from modelkeep.serving.shelf import Keeping, Released, Shelf, released
from modelkeep.store.seams import Files, Ledger, Store

_log = logging.getLogger("modelkeep.serving")
EVERY = 0.5
"""Seconds between two looks at the rollouts' revision, where the store tells nobody of changes."""
SELDOM = 5.0
"""The same where it does: only what was said while the connection was lost is found by looking."""
RECENTLY = 7 * DAY
"""What was asked in this time is what is used."""
AGAIN = 60.0
"""Seconds after which versions that could not be loaded are tried again."""


class Router:
    """Keeps the gateway's table equal to the rollouts in force. ``refresh`` may be called from any thread.

    When a champion or challenger cannot be loaded, the last table entry of its model that could keeps serving, and
    ``failures`` says why. After a start there is no such entry: then the fallback version stands in for the champion,
    without one the champion before, each answer marked so. Champion, challenger, fallback and the champion before of a
    model are loaded together, so that a rollback loads nothing. ``keeping`` says which models are loaded before anybody
    asks, and when one leaves memory; it comes back at the next question, or when its rollout changes.
    """

    def __init__(
        self, store: Store, files: Files, *, gateway: Gateway, clock: Clock, keeping: Keeping | None = None
    ) -> None:
        self._store, self._gateway, self._clock = store, gateway, clock
        self._lock = threading.Lock()
        self.shelf = Shelf(files, clock, keeping=keeping or Keeping(), uses=gateway.counters.uses)
        self._wanted: Mapping[str, _Wanted] = {}
        gateway.waken = self.waken
        self._failures: Mapping[str, str] = MappingProxyType({})
        self._revision = -1
        self._tried = 0.0
        self._stop, self._wake = threading.Event(), threading.Event()
        self._unhear: Callable[[], None] | None = None
        self.beside: Callable[[], None] | None = None
        """What else is looked at whenever the rollouts are, because processes are told of its changes alike."""
        self._thread: threading.Thread | None = None

    @property
    def failures(self) -> Mapping[str, str]:
        """Why versions could not be loaded at the last attempt, by ``model@version``."""
        return self._failures

    def refresh(self) -> None:
        """Load what the rollouts in force need and swap the table. Raises StoreUnavailable; the table then stays."""
        with self._lock:
            self._refresh()

    def poll(self) -> bool:
        """Refresh when a rollout has changed, here or in another process, or a failed load is due again.

        True when the table was swapped. A store that is away changes nothing: the table in memory serves on.
        """
        try:
            if self.beside is not None:
                self.beside()
            with self._store.read() as ledger:
                revision = ledger.rollouts.revision()
                said = ledger.persons.revision()
            if said != self._gateway.consents.revision:
                self.consents()
            crowded = self.shelf.crowded()
            if crowded:
                self.release(crowded)
            due = bool(self._failures) and self._clock.now() >= self._tried + AGAIN
            if revision == self._revision and not due:
                return False
            self.refresh()
        except StoreUnavailable as fault:
            _log.debug("the table serves on from memory", extra={"cause": str(fault)})
            return False
        return True

    def consents(self) -> None:
        """Take up what people have said on being recorded. Raises StoreUnavailable; the table then stays."""
        with self._lock, self._store.read() as ledger:
            self._heard(discretion.read(ledger))

    def _heard(self, said: discretion.Consents) -> None:
        if self._gateway.consents.revision >= 0 and said.erased > self._gateway.consents.erased:
            self._gateway.caches.clear()  # whoever was erased, perhaps by another process, is named to nobody here
            remembering.forget()
        self._gateway.consents = said

    def start(self) -> None:
        """Poll in a thread of its own: at once when the store tells of a change, else every 0.5 s of real time."""
        self._stop.clear()
        self._unhear = self._store.hear(self._wake.set)
        self._thread = threading.Thread(target=self._run, name="router", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._wake.set()
        if self._unhear is not None:
            self._unhear()
            self._unhear = None
        if self._thread is not None:
            self._thread.join(5.0)
            self._thread = None

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(EVERY if self._unhear is None else SELDOM)
            self._wake.clear()
            if not self._stop.is_set():
                self.poll()

    def _refresh(self) -> None:
        with self._store.read() as ledger:
            revision = ledger.rollouts.revision()
            if ledger.persons.revision() != self._gateway.consents.revision:
                self._heard(discretion.read(ledger))
            own = ledger.versions.policies()
            found = [
                _Wanted(ledger, rollout, newest=own.get(rollout.model), known=self._wanted)
                for rollout in ledger.rollouts.all()
            ]
        wanted = [want for want in found if not want.versions[want.rollout.champion].external]
        self.shelf.policies = {want.rollout.model: want.policy for want in wanted}
        failures: dict[str, str] = {}
        first = self._revision < 0
        awake = self._first(wanted) if first else self._awake(wanted)
        for want in wanted:
            if want.rollout.model in awake:
                failures |= self.shelf.load(want.versions.values(), why="start" if first else "change")
        self._wanted = {want.rollout.model: want for want in wanted}
        crowded = self.shelf.crowded()
        for model in crowded:
            self.shelf.drop(model)
        for model in self._wanted:
            self._gateway.attend(model)
        self._swap(failures)
        if crowded:
            freeing.give_back()
        self._revision, self._tried = revision, self._clock.now()

    def waken(self, model: str) -> None:
        """Bring a model into memory that somebody asks for; what nobody has asked for the longest makes room."""
        with self._lock:
            want = self._wanted.get(model)
            if want is None or model in self.shelf:
                return
            failures = dict(self._failures) | self.shelf.load(want.versions.values(), why="use")
            crowded = self.shelf.crowded()
            for other in crowded:
                self.shelf.drop(other)
            self._swap(failures)
        if crowded:
            freeing.give_back()

    def release(self, models: Collection[str]) -> Released:
        """Let go of models, and give their memory back to the system; they come back at the next question."""
        return released(models, self._drop)

    def _drop(self, models: Collection[str]) -> None:
        with self._lock:
            for model in models:
                self.shelf.drop(model)
            self._swap(dict(self._failures))

    def _first(self, wanted: list[_Wanted]) -> set[str]:
        """The models that are loaded at the start: as many as there may be, the most used of the last days first."""
        names, keeping = [want.rollout.model for want in wanted], self.shelf.keeping
        most = min((n for n in (keeping.first(), keeping.limit or None) if n is not None), default=len(names))
        if most >= len(names):
            return set(names)
        with self._store.read() as ledger:
            used = ledger.records.used(self._clock.now() - RECENTLY) if most else {}
        return set(sorted(names, key=lambda name: -used.get(name, 0))[:most])

    def _awake(self, wanted: list[_Wanted]) -> set[str]:
        """The models that are in memory, that failed, or whose rollout has changed: somebody is about to ask."""
        return {
            model
            for want in wanted
            for model, known in [(want.rollout.model, self._wanted.get(want.rollout.model))]
            if model in self.shelf
            or known is None
            or known.rollout != want.rollout
            or any(version.name in self._failures for version in want.versions.values())
        }

    def _swap(self, failures: dict[str, str]) -> None:
        """Put the table in force that follows from what is wanted and what is in memory."""
        routes = {model: self._route(want, failures) for model, want in self._wanted.items()}
        self._gateway.swap(routes)
        needed = {v.name for m, want in self._wanted.items() if m in self.shelf for v in want.versions.values()}
        serving = {loaded.version.name for route in routes.values() for loaded in route.loaded.values()}
        self.shelf.retain(needed | serving)
        self._failures = MappingProxyType(failures)

    def _route(self, want: _Wanted, failures: Mapping[str, str]) -> Route:
        rollout, privacy = want.rollout, want.policy.privacy
        here = self.shelf.loaded
        loaded = {n: here[v.name] for n, v in want.versions.items() if v.name in here}
        failed = any(v.name in failures for v in want.versions.values())
        asleep = frozenset() if loaded or failed else frozenset(want.versions)
        lacking = [
            n for n in (rollout.champion, rollout.challenger) if n is not None and n not in loaded and n not in asleep
        ]
        last = self._gateway.routes.get(rollout.model)
        if lacking and last is not None and last.rollout.champion in last.loaded:
            return structs.replace(
                last,
                rollout=structs.replace(last.rollout, disabled=rollout.disabled),
                policy=structs.replace(last.policy, privacy=privacy),
                signature=discretion.marked(last.signature, privacy),
                guarded=discretion.guarded(privacy),
            )
        if rollout.challenger in lacking:
            rollout = structs.replace(rollout, challenger=None, mode=None)
        if rollout.champion in lacking and rollout.fallback not in loaded and rollout.previous in loaded:
            rollout = structs.replace(rollout, fallback=rollout.previous)
        signature = discretion.marked(want.versions[rollout.champion].signature, privacy)
        return Route(
            rollout=rollout,
            policy=want.policy,
            signature=signature,
            fits=fitting(signature),
            loaded=loaded,
            absent={n: failures[v.name] for n, v in want.versions.items() if v.name in failures},
            guarded=discretion.guarded(privacy),
            asleep=asleep,
        )


class _Wanted:
    """A rollout with its policy and the versions that it names, read in one transaction."""

    def __init__(
        self, ledger: Ledger, rollout: Rollout, *, newest: Policy | None, known: Mapping[str, _Wanted]
    ) -> None:
        self.rollout = rollout
        newest = newest or Policy(model=rollout.model)
        self.policy: Policy = newest
        if rollout.policy != newest.number:
            self.policy = discretion.standing(ledger, ledger.versions.policy(rollout.model, rollout.policy))
        numbers = (rollout.champion, rollout.challenger, rollout.fallback, rollout.previous)
        old = known[rollout.model].versions if rollout.model in known else {}  # a version never changes
        wanted = [n for n in dict.fromkeys(numbers) if n is not None]
        self.versions: dict[int, Version] = {n: old.get(n) or ledger.versions.get(rollout.model, n) for n in wanted}
        lighter = self.policy.lighter
        if lighter and lighter not in self.versions:
            with contextlib.suppress(NotFound):  # the policy may name a version that is still to come
                self.versions[lighter] = ledger.versions.get(rollout.model, lighter)
