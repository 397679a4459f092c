"""The router: rollouts that are in force become the gateway's table, with every version they name loaded."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType

from msgspec import structs

from modelkeep import runtimes
from modelkeep.clock import Clock
from modelkeep.errors import ModelkeepError, NotFound, StoreUnavailable
from modelkeep.nouns import Policy, Rollout, Version
from modelkeep.runtimes import Loaded
from modelkeep.serving import discretion
from modelkeep.serving.gateway import Gateway
from modelkeep.serving.routes import Route, fitting
from modelkeep.store.seams import Files, Ledger, Store

_log = logging.getLogger("modelkeep.serving")
EVERY = 0.5
"""Seconds between two looks at the rollouts' revision, where the store tells nobody of changes."""
SELDOM = 5.0
"""The same where it does: only what was said while the connection was lost is found by looking."""
AGAIN = 60.0
"""Seconds after which versions that could not be loaded are tried again."""


class Router:
    """Keeps the gateway's table equal to the rollouts in force. ``refresh`` may be called from any thread.

    When a champion or challenger cannot be loaded, the last table entry of its model that could keeps serving, and
    ``failures`` says why. After a start there is no such entry: then the fallback version stands in for the champion,
    without one the champion before, each answer marked so. Champion, challenger, fallback and the champion before stay
    loaded, so that a rollback loads nothing.
    """

    def __init__(self, store: Store, files: Files, *, gateway: Gateway, clock: Clock) -> None:
        self._store, self._files, self._gateway, self._clock = store, files, gateway, clock
        self._lock = threading.Lock()
        self._loaded: dict[str, Loaded] = {}
        self._failures: Mapping[str, str] = MappingProxyType({})
        self._revision = -1
        self._tried = 0.0
        self._stop, self._wake = threading.Event(), threading.Event()
        self._unhear: Callable[[], None] | None = None
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
            with self._store.read() as ledger:
                revision = ledger.rollouts.revision()
                said = ledger.persons.revision()
            if said != self._gateway.consents.revision:
                self.consents()
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
            self._gateway.consents = discretion.read(ledger)

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
                self._gateway.consents = discretion.read(ledger)
            found = [_Wanted(ledger, rollout) for rollout in ledger.rollouts.all()]
        wanted = [want for want in found if not want.versions[want.rollout.champion].external]
        failures: dict[str, str] = {}
        for want in wanted:
            for version in want.versions.values():
                self._load(version, failures=failures)
        routes = {want.rollout.model: self._route(want, failures) for want in wanted}
        for model in routes:
            self._gateway.attend(model)
        self._gateway.swap(routes)
        needed = {version.name for want in wanted for version in want.versions.values()}
        serving = {loaded.version.name for route in routes.values() for loaded in route.loaded.values()}
        self._loaded = {name: loaded for name, loaded in self._loaded.items() if name in needed | serving}
        self._failures = MappingProxyType(failures)
        self._revision, self._tried = revision, self._clock.now()

    def _load(self, version: Version, *, failures: dict[str, str]) -> None:
        if version.name in self._loaded:
            return
        try:
            self._loaded[version.name] = runtimes.load(version, self._files.path)
        except ModelkeepError as fault:
            failures[version.name] = str(fault)
            if self._failures.get(version.name) != str(fault):
                _log.error(
                    "a version cannot be loaded: %s",
                    fault,
                    extra={"model_name": version.model, "model_version": version.number},
                )
        else:
            _log.info("model_loaded", extra={"model_name": version.model, "model_version": version.number})

    def _route(self, want: _Wanted, failures: Mapping[str, str]) -> Route:
        rollout, privacy = want.rollout, want.policy.privacy
        loaded = {n: self._loaded[v.name] for n, v in want.versions.items() if v.name in self._loaded}
        lacking = [n for n in (rollout.champion, rollout.challenger) if n is not None and n not in loaded]
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
        )


class _Wanted:
    """A rollout with its policy and the versions that it names, read in one transaction."""

    def __init__(self, ledger: Ledger, rollout: Rollout) -> None:
        self.rollout = rollout
        self.policy: Policy = discretion.standing(ledger, ledger.versions.policy(rollout.model, rollout.policy))
        numbers = (rollout.champion, rollout.challenger, rollout.fallback, rollout.previous)
        self.versions = {n: ledger.versions.get(rollout.model, n) for n in dict.fromkeys(numbers) if n is not None}
        lighter = self.policy.lighter
        if lighter and lighter not in self.versions:
            with contextlib.suppress(NotFound):  # the policy may name a version that is still to come
                self.versions[lighter] = ledger.versions.get(rollout.model, lighter)
