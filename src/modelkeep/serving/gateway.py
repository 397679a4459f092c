"""The gateway: a request meets the version that answers it, and whatever that version does, the caller gets an answer.

A canary that fails is answered by the champion; a champion that fails, is too slow or is disabled by the fallback
version, else by the automatic baseline. What was asked of whom, and who stood in, is in the record. Between the request
and the model there is no store and no lock.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from time import perf_counter
from types import MappingProxyType
from typing import Literal

from msgspec import Struct

from modelkeep.clock import Clock
from modelkeep.errors import (
    BadFeatures,
    BadInput,
    ModelFailed,
    NotFound,
    Overloaded,
)
from modelkeep.nouns import Block, Features, Outputs, Policy, Prediction, Role, Rollout
from modelkeep.nouns.blocks import Rows
from modelkeep.runtimes import Loaded
from modelkeep.serving.admission.admitting import Admission
from modelkeep.serving.admission.crowds import Turns
from modelkeep.serving.admission.gates import Gate, Priority
from modelkeep.serving.bursts import Burst, Kept, Pace, arms
from modelkeep.serving.caching import Caches
from modelkeep.serving.calling import Got, Members, answers, call, nobody, unasked
from modelkeep.serving.counters import Counters, ModelHealth, Vitals
from modelkeep.serving.discretion import Consents, minimal, unnamed
from modelkeep.serving.freeing import Collector
from modelkeep.serving.lines import Lines
from modelkeep.serving.recorder import Recorder
from modelkeep.serving.routes import FAST, FAST_BATCH, Route, Routes
from modelkeep.serving.shadows import Shadows
from modelkeep.serving.straight import Means, Straight, straight

_log = logging.getLogger("modelkeep.serving")
LEAST = 0.04
"""Whoever has waited less than so many seconds for the event loop is nobody's concern."""
DEMOTED = 0.05
"""A version that once took so long in the event loop runs in threads from then on."""


class Ask(Struct, frozen=True, kw_only=True):
    """Rows for one model, from one request.

    ``keys`` and ``targets`` have one entry per row, or are empty. An empty key draws by ``request``. ``targets`` are
    the moments that the rows are about (now without them); ``request`` is the request's id. With ``record`` False the
    answer is counted, and nothing else of it is kept: the person whom it is about has not consented to more.
    Without a ``priority`` it has that of the model's policy. ``pinned`` says that the caller has named the champion:
    it answers then, and no canary is drawn.
    """

    model: str
    rows: Sequence[Features]
    keys: Sequence[str] = ()
    targets: Sequence[float] | None = None
    subject: str | None = None
    request: str = ""
    record: bool = True
    priority: Priority | Literal[""] = ""
    pinned: bool = False


class Answer(Struct, frozen=True, kw_only=True):
    """One prediction per row, in order, as they are recorded.

    ``fallback`` says why another than the champion answered (``failed``, ``timeout``, ``disabled``, ``not_loaded``),
    of the first row that it happened to, and ``why`` the same in words. A prediction whose ``output`` is None was
    answered by nobody. ``cached`` says of each whether it was answered before; empty where nothing is remembered.
    ``members`` are those that an ensemble's answer was made of; empty for other models. ``degraded`` is an answer that
    some of them are missing in.
    """

    predictions: tuple[Prediction, ...]
    model: str
    fallback: str | None = None
    why: str = ""
    cached: tuple[bool, ...] = ()
    members: tuple[Members | None, ...] = ()


@dataclass(slots=True)
class _Part:
    """Rows of one request that the same version answers."""

    version: int
    role: Role
    places: list[int]
    got: list[Got]


class Gateway:
    """Answers requests from an immutable table of routes.

    ``predict`` runs in an event loop; ``swap`` may be called from any thread.
    """

    def __init__(self, recorder: Recorder, clock: Clock, *, admission: Admission | None = None) -> None:
        self._recorder, self._clock = recorder, clock
        self._routes: Routes = MappingProxyType({})
        self._quick: Mapping[tuple[str, int], Loaded] = {}
        self.straight: Mapping[str, Straight] = {}
        """The straight way of each model that has one."""
        self._tiered = self._slow = frozenset[str]()
        self.admission = admission or Admission()
        self._lines = Lines(self.admission)
        self.caches = Caches()
        self.counters = Counters()
        self._shadows = Shadows(recorder, self.counters)
        self._pace = Pace()
        self._turns = Turns()
        self._means = Means(
            pace=self._pace, counters=self.counters, admission=self.admission, recorder=recorder, clock=clock
        )
        self.consents = Consents()
        """Everybody who consents to being recorded; replaced whole, by the router."""
        self.collector: Collector | None = None
        """What gives memory back after a large batch, where it is wanted."""
        self.waken: Callable[[str], None] | None = None
        """What brings a model that is asleep into memory, and may take long; set by the router."""

    @property
    def routes(self) -> Routes:
        """The table that is in force."""
        return self._routes

    @property
    def shadowing(self) -> int:
        """Calls behind an answer that have not ended."""
        return self._shadows.running

    def swap(self, routes: Routes) -> None:
        """Replace the table whole. Requests that have begun end with the old one."""
        self._quick = {
            (model, number): loaded
            for model, route in routes.items()
            for number, loaded in route.loaded.items()
            if loaded.seconds < FAST and not loaded.hands and not route.policy.cache.on
        }
        ways = {model: self._straight(route) for model, route in routes.items()}
        self.straight = {model: way for model, way in ways.items() if way is not None}
        self._tiered = frozenset(model for model, route in routes.items() if route.lighter is not None)
        self._slow = frozenset(model for model, route in routes.items() if self._is_slow(model, route))
        old, self._routes = self._routes, MappingProxyType(dict(routes))
        self._recorder.renew()
        current = {(model, number) for model, route in routes.items() for number in route.loaded}
        self.caches.swap(routes, old)
        self._lines.retain(current)
        self._shadows.retain(current)
        self._pace.retain({f"{model}@{number}" for model, number in current})

    def _straight(self, route: Route) -> Straight | None:
        model, champion = route.rollout.model, route.rollout.champion
        late = partial(self._demote, model, champion)
        return straight(route, self._quick.get((model, champion)), means=self._means, late=late)

    def distrust(self) -> None:
        """Count nobody as consenting until the store is read again."""
        self.consents = Consents()

    def attend(self, model: str) -> None:
        """Bring what stands in for a model into memory, before it is needed. Raises StoreUnavailable."""
        self._recorder.attend(model)

    def health(self, model: str) -> ModelHealth:
        """The state of a model as its newest calls show it."""
        return self.counters.health(model, self._routes.get(model))

    def close(self, timeout: float = 2.0) -> None:
        """Let the threads go; shadows that have begun are given ``timeout`` seconds."""
        self._shadows.close(timeout)
        self._lines.close()

    async def predict(self, ask: Ask) -> Answer:
        """Answer every row, and record what was answered.

        Raises NotFound, BadFeatures naming each field of each row (nothing is recorded then), StoreUnavailable in
        ``sync`` durability, Overloaded (nothing is recorded then), and, when nobody could answer any row,
        ModelFailed, TimedOut or Unavailable.
        """
        route = self._routes.get(ask.model)
        if route is None:
            raise NotFound("model", ask.model, known=self._routes)
        self.counters.open += 1
        try:
            at, rows = self._clock.now(), ask.rows
            if len(rows) == 1 and route.fits(rows[0]) and not route.rollout.disabled:
                rollout = route.rollout
                version: int = rollout.champion
                role: Role = "champion"
                if rollout.mode is not None and not ask.pinned:
                    version, role = rollout.pick((ask.keys[0] if ask.keys else "") or ask.request)
                quick = self._quick.get((ask.model, version))
                if quick is not None and ask.model not in self._tiered:
                    start = perf_counter()
                    if self._turns.waited(start) >= LEAST or (ask.model, version) in self.admission.gates:
                        self._turn_away_late(route, quick, ask.priority or route.policy.priority, now=start)
                    self.admission.inline = quick, start
                    try:
                        got = answers(quick.predict(rows), seconds=perf_counter() - start, number=version)
                    except (ModelFailed, BadFeatures) as failure:
                        got = unasked(1, reason="failed", why=str(failure), seconds=perf_counter() - start)
                    self.admission.inline = None
                    return await self._finish(ask, route, at=at, parts=[_Part(version, role, [0], got)])
            return await self._finish(ask, route, at=at, parts=await self._parts(ask, route))
        finally:
            self.counters.open -= 1

    def _turn_away_late(self, route: Route, loaded: Loaded, priority: Priority, *, now: float) -> None:  # noqa: PLR0917
        """Raise Overloaded for a call that has waited too long for its turn in the event loop."""
        waited = self._turns.waited(now)
        model, version = route.rollout.model, loaded.version.number
        if waited < LEAST and (model, version) not in self.admission.gates:
            return
        gate, fresh = self._lines.gate(loaded), self._turns.fresh(now)
        refusal = gate.waits(waited, priority, fresh=fresh, at=self.admission.now())
        if refusal is not None:
            raise refusal

    def gate(self, model: str) -> Gate | None:
        """The gate of a model's champion, made when it is first asked for; None while that is not in memory."""
        route = self._routes.get(model)
        loaded = None if route is None else route.loaded.get(route.rollout.champion)
        return None if loaded is None else self._lines.gate(loaded)

    def slow(self, model: str) -> bool:
        """Whether all that is asked of a model goes to the line of its champion, and nobody else may stand in."""
        return model in self._slow

    def _is_slow(self, model: str, route: Route) -> bool:
        if route.rollout.disabled or route.policy.cache.on or route.rollout.mode == "canary":
            return False
        champion = route.rollout.champion
        return champion in route.loaded and (model, champion) not in self._quick and route.lighter is None

    def refuses(self, model: str, priority: Priority, *, coming: int) -> Overloaded | None:
        """The refusal of one more call of a ``slow`` model, counted; None when it may ask behind those ``coming``."""
        route, gate = self._routes.get(model), self.gate(model)
        if route is None or gate is None:
            return None
        return gate.refuses(priority, at=self.admission.now(), within=route.policy.limit, coming=coming)

    def room(self, model: str) -> int:
        """So many rows of a model one burst should have at most: more would keep its neighbours waiting."""
        route = self._routes.get(model)
        return 1 if route is None else min(map(self._pace.rows, route.loaded.values()), default=1)

    def burst(self, burst: Burst) -> Kept | None:
        """Answer rows that arrived together, each of a request of its own, in one call of each version.

        Every row must fit the model's signature. None means that nothing was done and nothing counted, because
        something about them is unusual (no route, disabled, a slow version, a row that the model fails on): then each
        request goes through ``predict``. Raises StoreUnavailable in ``sync`` durability.
        """
        model = burst.model
        route = self._routes.get(model)
        if route is None or route.rollout.disabled or route.guarded:
            return None
        at, blocks, outputs = self._clock.now(), [], []
        for version, role, places in arms(route.rollout, burst):
            mine = burst if places is None else burst.of(places)
            got = self._called(model, version, mine.rows)
            if got is None:
                return None
            name = self._recorder.new_range(len(mine.rows))
            blocks.append(mine.block(*got, name=name, version=version, role=role, at=at, places=places))
            outputs.append(got[0])
        return self._recorded(route, blocks, outputs=outputs)

    def ask(self, model: str, rows: Rows, *, version: int | None) -> tuple[int, Outputs, float] | None:
        """What the champion (or the ``version`` that began) says to a part of some rows, in how many seconds.

        Nothing is recorded or counted before ``keep``. None is said where ``burst`` says it, and in a canary.
        """
        route = self._routes.get(model)
        if route is None or route.rollout.disabled or route.guarded or route.rollout.mode == "canary":
            return None
        version = version or route.rollout.champion
        got = self._called(model, version, rows)
        return None if got is None or got[0].weights is not None else (version, *got)

    def keep(self, burst: Burst, outputs: Outputs, *, version: int | None, seconds: float) -> Kept | None:
        """Record and count what ``ask`` answered part by part; None when the model is gone meanwhile."""
        route = self._routes.get(burst.model)
        if route is None or version is None:
            return None
        name = self._recorder.new_range(len(burst.rows))
        block = burst.block(outputs, seconds, name=name, version=version, role="champion", at=self._clock.now())
        return self._recorded(route, [block], outputs=[outputs])

    def _called(self, model: str, version: int, rows: Rows) -> tuple[Outputs, float] | None:  # noqa: PLR0917
        """One call in the event loop; None when it is not to be made there, or failed."""
        loaded = self._quick.get((model, version))
        if loaded is None:
            return None
        start = perf_counter()
        self.admission.inline = loaded, start
        try:
            outputs = self._pace.ask(loaded, rows)
        except (ModelFailed, BadFeatures):
            return None
        finally:
            self.admission.inline = None
        seconds = perf_counter() - start
        if self._pace.note(loaded, len(rows), seconds=seconds):
            self._demote(model, version)
        return None if outputs.degraded is not None else (outputs, seconds)

    def _demote(self, model: str, version: int) -> None:
        """Call a version in threads from now on."""
        self._quick = {name: known for name, known in self._quick.items() if name != (model, version)}
        self.straight = {name: known for name, known in self.straight.items() if name != model}
        route = self._routes.get(model)
        if route is not None and self._is_slow(model, route):
            self._slow |= {model}

    def _recorded(self, route: Route, blocks: list[Block], *, outputs: list[Outputs]) -> Kept:
        """Hand what a burst answered to the recorder, the counters and the shadows."""
        model, mode, keep = route.rollout.model, route.rollout.mode, route.policy.privacy.keep
        take, counters = self._recorder.take_block, self.counters
        waits = []
        for block in blocks:
            waits.append(take(block.only(frozenset(keep)) if keep else block))
            version = block.version
            counters.predictions[model, version, block.role] += len(block.outputs)
            vitals = counters.vitals.get((model, version))
            if vitals is None:
                vitals = counters.vitals[model, version] = Vitals()
            vitals.note(block.seconds, failed=0.0)
            if mode == "shadow" or block.role == "canary":
                asyncio.get_running_loop().call_soon(self._shadows.follow, route, tuple(block.predictions()))
        return Kept(blocks=blocks, outputs=outputs, waits=waits if self._recorder.durability == "sync" else [])

    async def _parts(self, ask: Ask, route: Route) -> list[_Part]:
        """The unusual cases: batches, slow versions, and rows that do not fit."""
        if not ask.rows:
            raise BadInput("rows: expected at least one, got none")
        if not all(map(route.fits, ask.rows)):
            route.signature.check(ask.rows)
        parts = _picked(ask, route.rollout)
        for part in parts:
            rows = [ask.rows[place] for place in part.places]
            if route.rollout.disabled:
                part.got = unasked(len(part.places), reason="disabled", why=route.rollout.disabled)
                continue
            await self._fill(ask, route, part=part, rows=rows)
            if part.role == "champion" and part.got[0].reason == "not_loaded":
                part.role = "fallback"
        return parts

    async def _fill(self, ask: Ask, route: Route, *, part: _Part, rows: Sequence[Features]) -> None:
        """Let the version of a part answer, or the lighter one while it is overloaded, or the cache.

        Raises Overloaded. A canary that is overloaded has failed in time: it is counted so, and the champion stands in.
        """
        priority = ask.priority or route.policy.priority
        lighter = route.lighter if part.role == "champion" else None
        gate = None if lighter is None else self.admission.known(ask.model, part.version)
        if lighter is not None and gate is not None and gate.lowers(priority, at=self.admission.now()):
            part.version, part.role, lighter = lighter, "fallback", None
        asked = partial(self._asked, route, rows=rows, priority=priority)
        subject = ask.subject or ""
        try:
            part.got = await self.caches.asked(route, part.version, rows=rows, subject=subject, ask=asked)
        except Overloaded as refusal:
            if part.role == "canary":
                part.got = unasked(len(rows), reason="timeout", why=str(refusal))
            elif lighter is None or priority == "critical":
                raise
            else:
                part.version, part.role = lighter, "fallback"
                part.got = await self._asked(route, lighter, rows=rows, priority=priority)

    async def _asked(
        self, route: Route, version: int, *, rows: Sequence[Features], priority: Priority = "normal"
    ) -> list[Got]:
        """What a version says to some rows, within the policy's limit; in a line when it could take long.

        Raises Overloaded.
        """
        model, n = route.rollout.model, len(rows)
        loaded = route.loaded.get(version)
        if loaded is None and version in route.asleep and self.waken is not None:
            await asyncio.to_thread(self.waken, model)
            route = self._routes.get(model, route)
            loaded = route.loaded.get(version)
        if loaded is None:
            return unasked(n, reason="not_loaded", why=route.absent.get(version, f"{model}@{version} is not loaded"))
        if (model, version) in self._quick and loaded.seconds * n < FAST_BATCH:
            start = perf_counter()
            if version == route.rollout.champion:
                self._turn_away_late(route, loaded, priority, now=start)
            self.admission.inline = loaded, start
            got = call(loaded, rows)
            self.admission.inline = None
            return got
        return await self._lines.ask(loaded, rows, limit=route.policy.limit, priority=priority)

    async def _finish(self, ask: Ask, route: Route, *, at: float, parts: list[_Part]) -> Answer:
        if self.collector is not None:
            self.collector.note(len(ask.rows))
        for part in parts:
            if any(got.reason for got in part.got):
                await self._stand_in(ask, route, at=at, part=part)
        if route.signature.personal:
            _hush(ask, route, parts=parts)
        predictions = self._predictions(ask, at=at, parts=parts)
        self._count(route, parts)
        if ask.record and self.may_record(route.policy, ask.subject, request=ask.request):
            keep = route.policy.privacy.keep
            kept = self._recorder.take(minimal(predictions, keep) if keep else predictions)
            if self._recorder.durability == "sync":
                await asyncio.wrap_future(kept)
            if route.rollout.mode is not None:
                asyncio.get_running_loop().call_soon(self._shadows.follow, route, predictions)
        strange = next((got for part in parts for got in part.got if got.reason and got.stand_in is None), None)
        if strange is not None and all(prediction.output is None for prediction in predictions):
            raise nobody(ask.model, strange)
        stood_in = [got for part in parts if part.role != "canary" for got in part.got if got.reason]
        cached = _cached(parts) if route.policy.cache.on else ()
        if not stood_in:
            return Answer(predictions=predictions, model=ask.model, cached=cached, members=_members(parts))
        first = stood_in[0]
        return Answer(
            predictions=predictions,
            model=ask.model,
            fallback=first.reason,
            why=first.why,
            cached=cached,
            members=_members(parts),
        )

    def may_record(self, policy: Policy, subject: str | None, *, request: str = "") -> bool:
        """Whether a prediction about ``subject`` may be kept; where it may not, the log says so and not of whom."""
        if policy.privacy.consent != "required" or self.consents.of(subject):
            return True
        self.counters.not_recorded[policy.model] += 1
        why = "the person has not consented" if subject else "consent is required and no person is named"
        _log.info("not_recorded", extra={"request_id": request, "model_name": policy.model, "why": why})
        return False

    async def _stand_in(self, ask: Ask, route: Route, *, at: float, part: _Part) -> None:
        """Let others answer the rows that a version did not: the champion for a canary, the fallback, the baseline."""
        rollout = route.rollout
        line = [rollout.champion] if part.role == "canary" else []
        line += [rollout.fallback] if rollout.fallback not in {None, part.version, *line} else []  # type: ignore[list-item]
        pairs = zip(part.got, part.places, strict=True)
        left = [(got, place) for got, place in pairs if got.reason and got.stand_in is None]
        for version in line:
            try:
                tried = await self._asked(route, version, rows=[ask.rows[place] for _, place in left]) if left else []
            except Overloaded:
                continue
            for (got, _), other in zip(left, tried, strict=True):
                if not other.reason:
                    got.value, got.score, got.interval = other.value, other.score, other.interval
                    got.stand_in = version
            left = [(got, place) for got, place in left if got.stand_in is None]
        for got, place in left:
            target = ask.targets[place] if ask.targets else at
            got.value = self._recorder.estimate(ask.model, ask.keys[place] if ask.keys else "", target=target)
            got.stand_in = None if got.value is None else 0

    def _predictions(self, ask: Ask, *, at: float, parts: list[_Part]) -> tuple[Prediction, ...]:
        found = sorted(
            ((place, part, got) for part in parts for place, got in zip(part.places, part.got, strict=True)),
            key=itemgetter(0),
        )
        names = self._recorder.new_ids(len(found))
        return tuple(
            [
                Prediction(
                    id=name,
                    model=ask.model,
                    version=part.version,
                    role=part.role,
                    features=ask.rows[place],
                    output=got.value,
                    at=at,
                    target=ask.targets[place] if ask.targets else at,
                    seconds=got.seconds,
                    key=ask.keys[place] if ask.keys else "",
                    subject=ask.subject,
                    score=got.score,
                    interval=got.interval,
                    error=got.error,
                    stand_in=got.stand_in,
                    request=ask.request,
                )
                for name, (place, part, got) in zip(names, found, strict=True)
            ]
        )

    def _count(self, route: Route, parts: list[_Part]) -> None:
        counters, model = self.counters, route.rollout.model
        for part in parts:
            n = len(part.got)
            counters.predictions[model, part.version, part.role] += n
            failed = 0
            seconds = 0.0
            for got in part.got:
                seconds += got.seconds
                if got.reason:
                    failed += 1
                    counters.errors[model, part.version, got.reason] += 1
                    if part.role != "canary" and got.stand_in is not None:
                        counters.fallbacks[model, got.reason] += 1
            if part.role != "fallback":
                counters.vitals.setdefault((model, part.version), Vitals()).note(seconds / n, failed=failed / n)
            if seconds > DEMOTED and n == 1 and (model, part.version) in self._quick:
                self._demote(model, part.version)


def _hush(ask: Ask, route: Route, *, parts: list[_Part]) -> None:
    """Take values that tell who somebody is out of what models said about their failures."""
    for part in parts:
        for got, place in zip(part.got, part.places, strict=True):
            if got.why:
                got.why = unnamed(got.why, ask.rows[place], personal=route.signature.personal)


def _cached(parts: list[_Part]) -> tuple[bool, ...]:
    """Of each row, in order, whether it was answered from the cache."""
    found = {place: got.cached for part in parts for place, got in zip(part.places, part.got, strict=True)}
    return tuple(found[place] for place in sorted(found))


def _members(parts: list[_Part]) -> tuple[Members | None, ...]:
    """Of each row, in order, the members that answered it; empty when nothing was answered by several."""
    if not any(got.members for part in parts for got in part.got):
        return ()
    found = {place: got.members for part in parts for place, got in zip(part.places, part.got, strict=True)}
    return tuple(found[place] for place in sorted(found))


def _picked(ask: Ask, rollout: Rollout) -> list[_Part]:
    """The rows by the version that is to answer them."""
    if rollout.disabled or rollout.mode != "canary" or ask.pinned:
        role: Role = "fallback" if rollout.disabled else "champion"
        return [_Part(rollout.champion, role, list(range(len(ask.rows))), [])]
    parts: dict[tuple[int, Role], _Part] = {}
    for place in range(len(ask.rows)):
        picked = rollout.pick((ask.keys[place] if ask.keys else "") or ask.request)
        parts.setdefault(picked, _Part(*picked, [], [])).places.append(place)
    return list(parts.values())
