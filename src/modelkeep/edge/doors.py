"""The doors of the hot road: one for each model and route; what one turn of the loop brings to it is answered together.

A door takes only plain questions. Whatever else a body says, or whatever is wrong with it, goes the ordinary road
(``hot``), which answers the same and explains more.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import attrgetter
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from msgspec import Struct

from modelkeep.edge import refusals
from modelkeep.edge.border import fault
from modelkeep.edge.doorstep import Doorstep
from modelkeep.edge.hot import OURS, tell
from modelkeep.edge.limits import Caller
from modelkeep.edge.questions import Question, Reader, Single
from modelkeep.edge.refusals import Turned
from modelkeep.edge.replies import Replies
from modelkeep.edge.traffic import Traffic
from modelkeep.errors import BadInput, ModelkeepError, Overloaded
from modelkeep.nouns import Outputs, Signature
from modelkeep.serving.admission.crowds import Crowd
from modelkeep.serving.admission.gates import PRIORITIES, Priority
from modelkeep.serving.bursts import Burst, Kept
from modelkeep.serving.routes import Route
from modelkeep.serving.straight import Straight

if TYPE_CHECKING:
    from modelkeep.serving.gateway import Gateway

LOOK = 8
"""Every so many turns a door looks anew how many rows fit into one."""
FEW = 32
"""So many rows of one question are always asked at once."""
SPARE = 64
"""So many names of requests are made at once."""
SOMEBODY = "\x7f" * OURS
"""Stands for the name of a request in a refusal that many get."""
_SOMEBODY = SOMEBODY.encode()
SHED = refusals.status(Overloaded("", wait=1.0))
"""The status of who is turned away."""
_rank, _named = attrgetter("rank"), attrgetter("request")
_OURS = frozenset({OURS})


class Line(Protocol):
    """A connection, as a door sees it."""

    def answer(self, asked: Asked, content: bytes) -> None:
        """Send the whole answer of one request, in its turn."""

    def elsewhere(self, asked: Asked) -> None:
        """Let the ordinary road answer it, in its turn."""


class Asks(Struct, frozen=True, kw_only=True):
    """A route of the hot road: its template, and what reads its bodies."""

    route: str
    reader: Callable[[Signature], Reader]
    refusal: Callable[[ModelkeepError | Turned, str], bytes]


class Asked(Struct, eq=False, gc=False):
    """One request at a door: its connection, its head as it came, its body, how it is called and when it came.

    ``rank`` is the place of its priority among all (0 = the most urgent, -1 = it names none). ``caller`` is who asks,
    where rates or priorities of callers are set.
    """

    line: Line
    head: Any
    body: bytes
    request: str
    rank: int
    came: float
    caller: Caller | None = None
    content: bytes | None = None
    other: bool = False
    question: Question | Single | None = None


class Names:
    """Ids for requests that came without one: a random beginning for this process, and a count."""

    def __init__(self) -> None:
        self._start = os.urandom(9).hex()
        self._next = int.from_bytes(os.urandom(4), "big")
        self.spare: list[str] = []
        """Those that are made already."""

    def new(self) -> str:
        """Thirty characters that nobody had before."""
        if not self.spare:  # several at once: each by itself takes twice as long
            first, self._next = self._next, self._next + SPARE
            self.spare += [f"{self._start}{number:012x}" for number in range(self._next - 1, first - 1, -1)]
        return self.spare.pop()


class Door:
    """Answers the plain questions of one model on one route; ``asks`` knows how they are put.

    ``version`` is the one that its callers have named (0 = none): when another is the champion, they hear so elsewhere.
    """

    def __init__(self, model: str, gateway: Gateway, *, traffic: Traffic, asks: Asks, version: int = 0) -> None:
        self.model, self.asks, self._version = model, asks, version
        self.queue: list[Asked] = []
        self._gateway, self._traffic = gateway, traffic
        self._signature: Signature | None = None
        self._read: Reader = _nothing
        self._turn: list[Asked] = []
        self._turns, self._room = 0, 1
        self._long: deque[_Long] = deque()
        self._crowd = Crowd()
        self.full: tuple[bool, ...] | None = None
        """For whom there is no place now, as ``Doorstep.close`` says it; None while there is one for all."""
        self.step = Doorstep(self._says)
        """Refuses those, and counts them for the next turn."""
        self._name = msgspec.json.encode(model)

    def turn(self) -> bool:
        """Answer what has come, a slice of it at most, and a slice of one long question; True when some is left."""
        gateway, queue = self._gateway, self.queue
        self._turns += 1
        if self._turns % LOOK == 1:
            self._room = gateway.room(self.model)
        room, straight = self._room, gateway.straight.get(self.model)
        if (
            straight is not None
            and straight.route is gateway.routes.get(self.model)
            and straight.route.signature is self._signature
            and len(queue) <= room
            and not self._long
            and self._crowd.quiet
            and self._version in {0, straight.version}
        ):
            self._turn, self.queue = queue, []
            self._answer_straight(queue, straight)
            return bool(self.queue or self._long)
        return self._turn_by_route(self._route(), room)

    def _turn_by_route(self, route: Route | None, room: int) -> bool:
        """The same where more than the champion of this moment may answer."""
        if (
            route is None
            or self._long
            or len(self.queue) > room
            or not self._crowd.quiet
            or self._gateway.slow(self.model)
        ):
            return self._turn_in_a_crowd(route, room)
        self._turn, self.queue = self.queue, []
        self._answer_by(route, room)
        return bool(self.queue or self._long)

    def _turn_in_a_crowd(self, route: Route | None, room: int) -> bool:
        """The same where more came than a turn can answer, or something else is unusual."""
        crowded = len(self.queue) > room or not self._crowd.quiet
        early = self._opened()
        came = 0
        if route is not None and self.queue and self._gateway.slow(self.model):
            self._let_in(route)
        elif route is not None and crowded:
            came = self._thin(route, room, early=early)
        self._turn, self.queue = self.queue[:room], self.queue[room:]
        if route is None:
            _elsewhere(self._turn)
        elif self._turn:
            self._answer_by(route, room)
        if self._long:
            long = self._long.popleft()
            self._turn = [long.asked]
            self._slice(long, room)
        if crowded:
            done = max(came - len(self.queue), 0)
            at, ticks = perf_counter(), self._gateway.admission.now()
            full = self._crowd.turned(self.queue, done=done, room=room, at=at, ticks=ticks)
            if full and route is not None:
                self._close(route, full, at=at)
        return bool(self.queue or self._long)

    def _answer_by(self, route: Route, room: int) -> None:
        """Answer those of this turn by the route of this moment."""
        if route.signature is not self._signature:
            self._signature, self._read = route.signature, self.asks.reader(route.signature)
            for one in (*self._turn, *self.queue):
                one.question = None  # read by another signature
        self._answer(self._turn, room, canary=route.rollout.mode == "canary" and not self._version)

    def _route(self) -> Route | None:
        """The route of the model, while the version that is named answers."""
        route = self._gateway.routes.get(self.model)
        named = self._version
        return route if not named or (route is not None and route.rollout.champion == named) else None

    def _opened(self) -> dict[Priority, int]:
        """Refuse nobody on the doorstep any more; who was since the last turn, counted."""
        self.full = None
        early = self.step.open()
        if early:
            seconds = [0.0] * sum(early.values())
            self._traffic.several("POST", self.asks.route, status=SHED, seconds=seconds)
        return early

    def _close(self, route: Route, full: Sequence[bool], *, at: float) -> None:
        """Have those refused on the doorstep for whom the next turn has no place, if nothing lighter answers them."""
        lower = route.lighter is None
        shut = [full[0], *(one and lower for one in full[1:])]
        self.full = self.step.close(shut, usual=route.policy.priority, at=at)

    def _says(self, priority: Priority) -> list[bytes]:
        """What one hears who is refused on the doorstep, in pieces between which the name of the request stands."""
        refusal = self._crowd.refusal(priority, ticks=self._gateway.admission.now())
        return self.asks.refusal(refusal, SOMEBODY).split(_SOMEBODY)

    def _thin(self, route: Route, room: int, *, early: dict[Priority, int]) -> int:
        """Put the urgent first, and turn away who would wait too long, unread; how many are left."""
        gateway, self._turn = self._gateway, self.queue
        self._rank(route, self.queue[self._crowd.left :])
        self.queue, gone = self._crowd.thin(
            self.queue, room=room, at=perf_counter(), gate=partial(gateway.gate, self.model),
            ticks=gateway.admission.now(), early=early,
        )  # fmt: skip
        for priority, refusal, them in gone:
            if route.lighter is None or priority == "critical":
                self.refuse(them, refusal)
            else:
                _elsewhere(them)  # the lighter version answers
        return len(self.queue)

    def _let_in(self, route: Route) -> None:
        """Send on whom the gate of a model with a line lets in; the others hear it at once, unread."""
        asked, self.queue = self.queue, []
        self._turn = asked
        self._rank(route, asked)
        coming = 0
        for one in sorted(asked, key=_rank) if len(asked) > 1 else asked:
            refusal = self._gateway.refuses(self.model, PRIORITIES[one.rank], coming=coming)
            if refusal is None:
                coming += 1
                one.line.elsewhere(one)
            else:
                self.refuse([one], refusal)

    @staticmethod
    def _rank(route: Route, asked: Iterable[Asked]) -> None:
        """Give the model's own priority to those who name none."""
        usual = PRIORITIES.index(route.policy.priority)
        for one in asked:
            if one.rank < 0:
                one.rank = usual

    def fail(self) -> None:
        """Say to those of this turn who have no answer that the server failed."""
        left = [one for one in self._turn if one.content is None and not one.other and one not in self.queue]
        self.refuse(left, fault())

    def _answer_straight(self, asked: list[Asked], straight: Straight) -> None:
        """Answer questions by the champion alone, when each is about one row."""
        singles = self._singles(asked)
        if singles is None:
            self._answer_mixed(asked, self._room, canary=False)
            return
        try:
            kept = straight.answer(singles[0], keys=singles[1], requests=[one.request for one in asked])
        except ModelkeepError as error:
            self.refuse(asked, error)
        else:
            self._kept(asked, kept, singly=True)

    def _singles(self, asked: list[Asked]) -> tuple[list[Any], list[str]] | None:
        """The rows and keys of questions that are about one row each; None when one of them is another."""
        read, rows, keys = self._read, [], []
        for one in asked:
            question = one.question = one.question or read(one.body, one.head.parted)
            if not isinstance(question, Single):
                return None
            rows.append(question.features)
            keys.append(question.key)
        return rows, keys

    def _answer(self, asked: list[Asked], room: int, *, canary: bool) -> None:
        """Answer questions in one burst; what does not fit into it waits for the next, and long ones go by slices."""
        singles = self._singles(asked)
        if singles is None:
            self._answer_mixed(asked, room, canary=canary)
        elif asked:
            rows, keys = singles
            requests, pinned = [one.request for one in asked], self._version > 0
            burst = Burst(model=self.model, rows=rows, keys=keys, requests=requests, pinned=pinned)
            self._burst(asked, burst, singly=True)

    def _answer_mixed(self, asked: list[Asked], room: int, *, canary: bool) -> None:
        """The same where some ask about several rows, or what is not plain."""
        good: list[Asked] = []
        rows: list[Any] = []
        keys: list[str] = []
        requests: list[str] = []
        read = self._read
        for place, one in enumerate(asked):
            question = one.question = one.question or read(one.body, one.head.parted)
            if isinstance(question, Single):
                good.append(one)
                rows.append(question.features)
                keys.append(question.key)
                requests.append(one.request)
                continue
            if question is None or (canary and len(question.rows) > 1):
                one.line.elsewhere(one)
                continue
            n = len(question.rows)
            if n > 1 and len(rows) + n > max(room, FEW):
                if not good:
                    self._long.append(_Long(one, question, version=self._version or None, by=self._signature))
                    continue
                self.queue[:0] = asked[place:]
                break
            good.append(one)
            rows += question.rows
            keys += question.keys
            requests += [one.request] * n
        if good:
            pinned = self._version > 0
            self._burst(good, Burst(model=self.model, rows=rows, keys=keys, requests=requests, pinned=pinned))

    def _burst(self, good: list[Asked], burst: Burst, *, singly: bool = False) -> None:
        try:
            kept = self._gateway.burst(burst)
        except ModelkeepError as error:
            self.refuse(good, error)
        else:
            self._kept(good, kept, singly=singly)

    def _kept(self, good: list[Asked], kept: Kept | None, *, singly: bool = False) -> None:
        if kept is None:
            _elsewhere(good)
        elif kept.waits:
            _Waiting(self, good, kept=kept, singly=singly)
        else:
            self.finish(good, kept, singly=singly)

    def _slice(self, long: _Long, room: int) -> None:
        """Ask for the next rows of a long question; the last of them answers it."""
        rows = long.question.rows
        route = self._route()
        got = None
        if route is not None and route.signature == long.signature:
            got = self._gateway.ask(self.model, rows[long.done : long.done + max(room, FEW)], version=long.version)
        if got is None:
            long.asked.line.elsewhere(long.asked)
            return
        long.take(*got)
        if long.done < len(rows):
            self._long.append(long)
            return
        burst = Burst(model=self.model, rows=rows, keys=long.question.keys, requests=[long.asked.request] * len(rows))
        try:
            kept = self._gateway.keep(burst, long.outputs, version=long.version, seconds=long.seconds)
        except ModelkeepError as error:
            self.refuse([long.asked], error)
        else:
            self._kept([long.asked], kept)

    def finish(self, asked: list[Asked], kept: Kept, *, singly: bool = False) -> None:
        """Send the answers, and count them; ``singly`` says that each is to one row by itself."""
        signature = self._signature
        assert signature is not None  # noqa: S101 - questions were read by it
        wrong: list[tuple[Asked, BadInput]] = []
        for block, outputs in zip(kept.blocks, kept.outputs, strict=True):
            replies = Replies(block, outputs, signature=signature, model=self._name)
            mine = asked if block.places is None else [asked[place] for place in block.places]
            self._traffic.answers(self.model, block.keys, seconds=block.seconds)
            if singly:
                for one, content in zip(mine, replies.ones(block.requests), strict=True):
                    one.line.answer(one, content)
                continue
            start = 0
            for one in mine:
                question = one.question
                if isinstance(question, Single):
                    one.line.answer(one, replies.one(start, one.request))
                    start += 1
                    continue
                assert question is not None  # noqa: S101 - only those that were read are answered
                try:
                    one.line.answer(one, replies.several(question, start, request=one.request))
                except BadInput as complaint:  # it wants an output that there is not: the other road says so now, too
                    wrong.append((one, complaint))
                start += len(question.rows)
        self._count([one for one in asked if all(one is not bad for bad, _ in wrong)] if wrong else asked, status=200)
        for one, error in wrong:
            self.refuse([one], error)

    def refuse(self, asked: list[Asked], error: ModelkeepError | Turned) -> None:
        """Answer all with the same refusal."""
        if asked:
            pieces = self.asks.refusal(error, SOMEBODY).split(_SOMEBODY)
            for one in asked:
                name = one.request
                ours = len(name) == OURS
                one.line.answer(one, name.encode().join(pieces) if ours else self.asks.refusal(error, name))
            self._count(asked, status=refusals.status(error), shed=isinstance(error, Overloaded))

    def _count(self, asked: list[Asked], *, status: int, shed: bool = False) -> None:
        """Count what was answered, and log what somebody may look for; of those turned away there are too many."""
        now, traffic = perf_counter(), self._traffic
        traffic.running -= len(asked)
        traffic.several("POST", self.asks.route, status=status, seconds=[now - one.came for one in asked])
        loud = status >= 400 and not shed
        if not loud and _OURS.issuperset(map(len, map(_named, asked))):
            return
        for one in asked:
            if len(one.request) == OURS and not loud:
                continue
            seconds = now - one.came
            tell(one.head.url.decode("ascii"), one.request, model=self.model, status=status, seconds=seconds)


class _Long:
    """A question of more rows than a slice has, on its way: nothing of it is recorded before all is answered."""

    def __init__(self, asked: Asked, question: Question, *, version: int | None, by: Signature | None) -> None:
        self.asked, self.question, self.version, self.signature = asked, question, version, by
        self.done, self.seconds = 0, 0.0
        self.outputs = Outputs(values=[])

    def take(self, version: int, outputs: Outputs, seconds: float) -> None:  # noqa: PLR0917 - what ``ask`` answers
        """Take the answers of a slice in."""
        mine = self.outputs
        self.outputs = Outputs(
            values=mine.values + outputs.values,
            scores=None if outputs.scores is None else (mine.scores or []) + outputs.scores,
            intervals=None if outputs.intervals is None else (mine.intervals or []) + outputs.intervals,
        )
        self.version = version
        self.done += len(outputs.values)
        self.seconds += seconds


class _Waiting:
    """Answers that are due when their records are on disk."""

    def __init__(self, door: Door, asked: list[Asked], *, kept: Kept, singly: bool) -> None:
        self._door, self._asked, self._kept, self._singly = door, asked, kept, singly
        self._left = len(kept.waits)
        loop = asyncio.get_running_loop()
        for wait in kept.waits:
            wait.add_done_callback(lambda _: loop.call_soon_threadsafe(self._done))

    def _done(self) -> None:
        self._left -= 1
        if self._left:
            return
        error = next((found for wait in self._kept.waits if (found := wait.exception()) is not None), None)
        if error is None:
            self._door.finish(self._asked, self._kept, singly=self._singly)
        else:
            self._door.refuse(self._asked, error if isinstance(error, ModelkeepError) else fault())


def _elsewhere(asked: Iterable[Asked]) -> None:
    for one in asked:
        one.line.elsewhere(one)


def _nothing(_: bytes, __: int = -1) -> Question | Single | None:
    return None
