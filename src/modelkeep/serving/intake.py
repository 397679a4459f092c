"""Records of predictions that were made elsewhere, on their way to the recorder: each once, however often sent."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Literal

from msgspec import Struct

from modelkeep.clock import Clock
from modelkeep.errors import Conflict, StoreUnavailable, TimedOut
from modelkeep.nouns import Prediction, Privacy
from modelkeep.quantities import DAY, HOUR
from modelkeep.serving.discretion import Consents, minimal, read
from modelkeep.serving.recorder import Recorder
from modelkeep.store.seams import Store

PATIENCE = 30.0
"""So long, in seconds, records may take to get on disk."""
RECENT = 20_000
"""So many of the newest ids are known here before the store knows them."""
What = Literal["received", "repeated", "refused", "flagged", "withheld"]
_log = logging.getLogger("modelkeep.serving")
_OPEN = Privacy()


class Taken(Struct, frozen=True, kw_only=True):
    """What became of some records: new ones that are on disk, those that were known already, and those about people.

    ``withheld`` ones are not kept, because the person has not consented.
    """

    kept: int = 0
    repeated: int = 0
    withheld: int = 0

    def __add__(self, other: Taken) -> Taken:
        return Taken(
            kept=self.kept + other.kept,
            repeated=self.repeated + other.repeated,
            withheld=self.withheld + other.withheld,
        )


class Intake:
    """Takes records from any thread, and counts what came within the last 24 h (of this process)."""

    def __init__(self, recorder: Recorder, store: Store, *, clock: Clock) -> None:
        self._recorder, self._store, self._clock = recorder, store, clock
        self._lock = threading.Lock()
        self._recent: dict[str, None] = {}
        self._hours: dict[float, Counter[tuple[str, What]]] = {}
        self._consents = Consents()
        self._privacy: dict[str, Privacy] = {}
        self._ages: dict[str, float] = {}

    def new_ids(self, n: int) -> list[str]:
        """Ids for records that their service gave none."""
        return self._recorder.new_ids(n)

    def take(self, predictions: Sequence[Prediction], *, elsewhere: bool = True) -> Taken:
        """Keep records that are not known yet; the answer comes when they are on disk.

        Those that were not made ``elsewhere`` are not counted among what came from there. While the store is away they
        wait in the spool, and which of them are known is seen when it is back. Raises Conflict while
        collection is off, StoreUnavailable when neither store nor disk takes them, TimedOut.
        """
        if not self._recorder.enabled:
            raise Conflict("collection is off: nothing is recorded", remedy="modelkeep collection on")
        allowed = self._allowed(predictions)
        fresh = self._fresh(allowed)
        try:
            if fresh:
                self._recorder.take(fresh, certain=True).result(PATIENCE)
        except FutureTimeout:
            raise TimedOut(
                f"records were not kept within {PATIENCE:.0f} s",
                remedy="send them again: those with an id are kept once",
            ) from None
        self._note(fresh)
        repeated = len(allowed) - len(fresh)
        for p in allowed if elsewhere else ():
            self.count(p.model, "received")
            if p.flag:
                self.count(p.model, "flagged")
        return Taken(kept=len(fresh), repeated=repeated, withheld=len(predictions) - len(allowed))

    def known(self, predictions: Sequence[Prediction]) -> Taken:
        """What ``take`` would answer, without keeping anything. Raises StoreUnavailable."""
        allowed = self._allowed(predictions)
        with self._store.read() as ledger:
            fresh = self._new(ledger.records.unknown(allowed))
        withheld = len(predictions) - len(allowed)
        return Taken(kept=len(fresh), repeated=len(allowed) - len(fresh), withheld=withheld)

    def count(self, model: str, what: What, *, n: int = 1) -> None:
        """Count records that were not simply kept."""
        hour = self._clock.now() // HOUR
        with self._lock:
            if hour not in self._hours:
                for old in [h for h in self._hours if h <= hour - DAY / HOUR]:
                    del self._hours[old]
                self._hours[hour] = Counter()
            self._hours[hour][model, what] += n

    def lately(self) -> Mapping[tuple[str, What], int]:
        """What came within the last 24 h, by model."""
        total: Counter[tuple[str, What]] = Counter()
        with self._lock:
            for hour, counted in self._hours.items():
                if hour > self._clock.now() // HOUR - DAY / HOUR:
                    total += counted
        return total

    def _allowed(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        """Those that may be kept, with only the features that are to be kept; while the store is away, as last known.

        Raises StoreUnavailable for records about people of a model whose policy could not be read yet.
        """
        models = {p.model for p in predictions}
        try:
            with self._store.read() as ledger:
                policies = {model: ledger.versions.policy(model) for model in models}
                self._privacy |= {model: policy.privacy for model, policy in policies.items()}
                self._ages |= {model: policy.retention.predictions for model, policy in policies.items()}
                asked = any(self._privacy[model].consent == "required" for model in models)
                if asked and ledger.persons.revision() != self._consents.revision:
                    self._consents = read(ledger)
        except StoreUnavailable:
            if any(p.subject is not None and p.model not in self._privacy for p in predictions):
                raise
        found, now = list[Prediction](), self._clock.now()
        for p in predictions:
            age = self._ages.get(p.model, 0.0)
            if age and p.at < now - age:  # its id may be of one that was purged: kept again, it would count twice
                self.count(p.model, "withheld")
                continue
            privacy = self._privacy.get(p.model, _OPEN)
            if privacy.consent == "required" and not self._consents.of(p.subject):
                self.count(p.model, "withheld")
                continue
            found += minimal([p], privacy.keep) if privacy.keep else [p]
        if len(found) < len(predictions):
            left = len(predictions) - len(found)
            _log.info("not_recorded", extra={"records": left, "why": "no consent, or past retention"})
        return found

    def _fresh(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        try:
            with self._store.read() as ledger:
                return self._new(ledger.records.unknown(predictions))
        except StoreUnavailable:
            return self._new(list({p.id: p for p in reversed(predictions)}.values())[::-1])

    def _new(self, unknown: list[Prediction]) -> list[Prediction]:
        """Without those that are on their way to the store."""
        with self._lock:
            return [p for p in unknown if p.id not in self._recent]

    def _note(self, fresh: Sequence[Prediction]) -> None:
        with self._lock:
            self._recent |= {p.id: None for p in fresh if p.given}
            while len(self._recent) > RECENT:
                del self._recent[next(iter(self._recent))]
