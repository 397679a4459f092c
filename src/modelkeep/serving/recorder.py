"""The recorder: takes predictions and outcomes at once, and makes them durable in groups, in order, whatever happens.

Two threads stand behind it. One gathers what comes within a window into a group and writes it to the spool; what is
in there survives ``kill -9``. The other keeps group by group in the store, one transaction each, and forgets the spool
behind it. While the store is locked, full or gone the line grows on disk, serving goes on, and the line is worked off
in order when the store is back, after a restart too.

What can be lost: in ``sync`` nothing that was acknowledged. In ``async`` the records of one window, at most 50 ms, on
``kill -9``; on a power cut those of the last commit as well. The next start counts what was lost (``state.gap``).
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Literal, cast

import msgspec
from msgspec import structs

from modelkeep.clock import Clock
from modelkeep.errors import BadInput, Conflict, StoreUnavailable
from modelkeep.nouns import Block, Outcome, Output, Prediction
from modelkeep.serving.gathering import MOST, Gathered, Gathering
from modelkeep.serving.keeper import Group, Keeper, joined, opened
from modelkeep.serving.line import UNFIT, Entry, Line, packed, promise, resolve
from modelkeep.serving.recording import Rate, Recording, done, marks_in, rest, set_aside, unheard
from modelkeep.serving.spool import Marks, Spool
from modelkeep.serving.valve import Valve
from modelkeep.store.sealing import PLAIN
from modelkeep.store.seams import Files, Store, Told

_log = logging.getLogger("modelkeep.serving")

WINDOW = {"async": 0.008, "sync": 0.002}
"""How long a group gathers, in seconds; in ``sync`` mostly the commit before it is the window.

Far less than the bound of ``async``: on a busy machine the thread comes late to its processor.
"""
BEHIND = 0.02
"""The window while several groups wait for a slow store, so that it has fewer and larger ones to take."""
PATIENCE = 0.025
"""A commit that takes longer is no longer waited for: the spool is synced instead."""
TOGETHER = 4000
"""So many predictions are kept in one transaction at most, when several groups wait."""
HELD = 1.0
"""So long an outcome waits to be joined before its teller hears that it is held."""
RETRY = 0.25
"""Pause in seconds before the store is tried again."""


class Recorder:
    """Takes predictions and outcomes from any thread. ``start`` comes by itself with the first of them.

    Args:
        store: where records are kept.
        clock: tells when a fault began.
        spool: a folder of this process alone.
        files: where reference profiles are read.
        durability: ``async`` answers at once, ``sync`` when the record is on disk.
        held: most records in memory while neither store nor spool takes them.
        limit: most bytes in the spool.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        spool: Path,
        files: Files,
        durability: Literal["async", "sync"] = "async",
        held: int = 20_000,
        limit: int = 256 * 1024 * 1024,
    ) -> None:
        self.durability = durability
        self.sealer = PLAIN
        """What seals the spool; it is set before the start."""
        self.batch = MOST
        """A group of so many records does not wait for its window; smaller ones are kept sooner, and cost more."""
        self._keeper = Keeper(store, files)
        self._valve = Valve(self._keeper)
        self._clock, self._folder, self._most, self._limit = clock, spool, held, limit
        self._lock = threading.Lock()
        self._gathered = Gathered()
        self._wake, self._full, self._ready, self._stop, self._ended = (threading.Event() for _ in range(5))
        self._urgent = threading.Event()
        self._threads: tuple[threading.Thread, ...] = ()
        self._starting = threading.Lock()
        self._line: Line | None = None
        self._marks: Marks | None = None
        self._writer = 0
        self._naming = threading.Lock()
        self._next = 1
        self._numbers = itertools.count(1)
        self._taken = self._safe = self._passing = self._dropped = self._refused = self._aside = 0
        self._waiting: deque[Entry] = deque()
        self._busy: float | None = None
        self._cause = ""
        self._since: float | None = None

    # ------------------------------------------------------------------------------------------- the face

    def start(self) -> None:
        """Open the spool, take up what waits in it, and begin. A second call changes nothing.

        Raises OSError when the spool's folder cannot be used, StoreUnavailable after ``close``.
        """
        with self._starting:
            if self._stop.is_set():
                raise StoreUnavailable("the recorder is closed", remedy="start the server again")
            if self._threads:
                return
            self._writer = self._new_writer()
            self._valve.restore()
            self._line = Line(Spool(self._folder / "records.spool", limit=self._limit, sealer=self.sealer))
            self._marks = marks_in(self._folder / "marks")
            if self._marks is not None and self._marks.gap:
                _log.error(
                    "records were lost when the process before this one was killed", extra={"n": self._marks.gap}
                )
            self._ready.set()
            self._threads = (
                threading.Thread(target=self._run, args=(self._gather,), name="recorder", daemon=True),
                threading.Thread(target=self._run, args=(self._keep,), name="recorder store", daemon=True),
            )
            for thread in self._threads:
                thread.start()

    def close(self, timeout: float = 30.0) -> None:
        """Bring what was taken to the store, or leave it in the spool when the store is away; then stop."""
        with self._starting:
            self._stop.set()
            if not self._threads or self._line is None:
                return
            for event in (self._wake, self._full, self._ready, self._urgent):
                event.set()
            for thread in self._threads:
                thread.join(timeout)
            self._threads = ()
            self._line.close()
            if self._marks is not None:
                self._marks.close()
                self._marks = None

    def new_ids(self, n: int) -> list[str]:
        """``n`` prediction ids that nobody had before: ``writer-seq``."""
        writer, first = self.new_range(n)
        return [f"{writer}-{seq}" for seq in range(first, first + n)]

    def new_range(self, n: int) -> tuple[int, int]:
        """The same without the texts: the writer, and the first of ``n`` numbers in a row."""
        if not self._threads:
            self.start()
        with self._naming:
            first = self._next
            self._next += n
        return self._writer, first

    def take(self, predictions: Sequence[Prediction], *, certain: bool = False) -> Future[None]:
        """Take predictions; the Future is done when they are on disk. While collection is off they are not recorded.

        In ``async``, records beyond the bound are counted as dropped. In ``sync``, or when the caller must be
        ``certain``, StoreUnavailable is raised, here or in the Future, when neither store nor disk takes them: then
        they are not recorded.
        """
        if not self._threads:
            self.start()
        n = len(predictions)
        if self._valve.off or not n:
            return done()
        with self._lock:
            if self._beyond(n, certain=certain):
                return done()
            gathering = self._gathered.open
            gathering.predictions.extend(predictions)
            self._arrived(n)
            return gathering.entry.done

    def take_block(self, block: Block) -> Future[None]:
        """Take the rows of a block, as ``take`` takes predictions."""
        n = len(block.outputs)
        if self._valve.off:
            return done()
        raw = packed(block)
        with self._lock:
            if self._taken - self._safe + n > self._most and self._beyond(n):
                return done()
            gathering = self._gathered.open
            gathering.blocks.append(raw)
            self._arrived(n)
            return gathering.entry.done

    def tell(self, outcomes: Sequence[Outcome], *, patient: bool = False) -> Future[list[Told]]:
        """Take outcomes; the Future has what became of each, in order: ``held`` for those that wait in the spool.

        Who is ``patient`` hears that only when the store is away, and waits for one that is merely slow.

        BadInput is raised for a value that cannot be recorded (an integer of more than 64 bits), StoreUnavailable,
        here or in the Future, when neither store nor disk takes the outcomes, Conflict while collection is off.
        """
        if not self._threads:
            self.start()
        if self._valve.off:
            raise Conflict("collection is off: nothing is recorded", remedy="modelkeep collection on")
        try:
            msgspec.msgpack.encode(outcomes)
        except UNFIT as fault:
            raise BadInput(f"an outcome cannot be recorded: {fault}") from fault
        told: Future[list[Told]] = promise()
        if not outcomes:
            told.set_result([])
            return told
        with self._lock:
            self._beyond(len(outcomes), certain=True)
            gathering = self._gathered.open
            gathering.outcomes.extend(outcomes)
            self._urgent.set()
            gathering.entry.taken(len(outcomes), told, patient=patient)
            self._arrived(len(outcomes))
        return told

    @property
    def enabled(self) -> bool:
        """Whether anything is recorded."""
        return not self._valve.off

    def switch(self, *, on: bool) -> bool:
        """Record, or record nothing new and leave what waits where it is, until ``flush`` or on.

        It is in force at once, and kept over restarts; False while the store is away, which remembers it when it is
        back.
        """
        saved = self._valve.turn(on=on)
        self._ready.set()
        return saved

    def look(self) -> None:
        """Take up whether another process on this store has switched collection. Raises StoreUnavailable."""
        if self._threads and self._valve.look():
            _log.info("collection was switched by another process", extra={"enabled": self.enabled})
            self._ready.set()

    def flush(self, timeout: float = 30.0) -> int:
        """Bring what waits to the store now, also while collection is off; how many records still wait after that."""
        self.start()
        self._valve.open()
        self._full.set()
        self._wake.set()
        left = self.caught_up(timeout)
        self._valve.settle()
        return left

    def caught_up(self, timeout: float = 5.0) -> int:
        """Wait until what was taken is in the store; how many records still wait after so many seconds."""
        until = time.perf_counter() + timeout
        while (left := self.state.held) and time.perf_counter() < until:
            for event in (self._ready, self._urgent):
                event.set()
            time.sleep(0.005)
        return left

    def settle(self, timeout: float = 30.0) -> int:
        """Bring what waits to the store and leave nothing in the spool's file; how many records still wait."""
        left = self.flush(timeout)
        return self._line.clear() if not left and self._line is not None else left

    def renew(self) -> None:
        """Read anew how predictions are counted: a policy has changed."""
        self._keeper.renew()

    def forget(self, models: Iterable[str]) -> None:
        """Let go of what is in memory of some models' keys, and read it anew. Raises StoreUnavailable."""
        self._keeper.forget(models)

    @property
    def state(self) -> Recording:
        """How the recorder is at this moment."""
        line = self._line
        return Recording(
            held=self._gathered.count + self._passing + (line.records if line else 0),  # in the order of their way
            spooled=line.spooled if line else 0,
            dropped=self._dropped,
            refused=self._refused,
            aside=self._aside,
            gap=self._marks.gap if self._marks else 0,
            cause=self._cause,
            since=self._since,
        )

    def attend(self, model: str) -> None:
        """Bring a model's automatic baselines into memory, so that they can answer. Raises StoreUnavailable."""
        self._keeper.attend(model)

    def estimate(self, model: str, key: str, *, target: float) -> Output | None:
        """What the automatic baseline answers in a model's place, or None when nothing is known."""
        return self._keeper.estimate(model, key, target=target)

    # ------------------------------------------------------------------------------------------- gathering

    def _arrived(self, n: int) -> None:
        entry, marks = self._gathered.open.entry, self._marks
        entry.count = count = entry.count + n
        self._taken += n
        if marks is not None:
            marks.note(self._taken, self._safe)
        if count == n:  # the first since the thread took the last ones: it may sleep
            self._wake.set()
        if count >= self.batch:
            self._full.set()
            if count >= MOST:
                self._gathered.begin()

    def _beyond(self, n: int, *, certain: bool = False) -> bool:
        """True when records pass the bound of what no disk has: they are dropped, or StoreUnavailable is raised."""
        stuck = self._line is not None and self._line.refusal
        if self._taken - self._safe + n <= (self._most if stuck else 10 * self._most):
            return False
        if certain or self.durability == "sync":
            raise self._refusal(n)
        self._dropped += n
        return True

    def _refusal(self, n: int) -> StoreUnavailable:
        self._refused += n
        causes = "; ".join(filter(None, (self._cause, self._line.refusal if self._line else "")))
        cause = causes or "records come faster than the disk takes them"
        return StoreUnavailable(f"the record cannot be kept: {cause}", remedy="try again when the store is back")

    def _run(self, loop: Callable[[Line], None]) -> None:
        try:
            if self._line is not None:
                loop(self._line)
        finally:
            if not self._stop.is_set():  # a fault of ours: say so where readiness looks
                self._trouble(f"the thread {threading.current_thread().name!r} has ended; restart the server")

    def _gather(self, line: Line) -> None:
        while True:
            self._wake.wait(0.02 if self._waiting else 0.25 if len(line) else None)
            with self._lock:
                if not self._gathered.count:  # woken for nothing, as a flush does when all is kept: sleep again
                    self._wake.clear()
                    self._full.clear()
            stopping = self._stop.is_set()  # looked at after that: who stops this thread says so first, then wakes it
            if self._gathered.count:
                if not stopping:
                    self._full.wait(WINDOW[self.durability] if len(line) < 3 else BEHIND)
                self._admit(line)
            self._secure(line)
            if stopping and not self._gathered.count:
                self._ended.set()
                return

    def _admit(self, line: Line) -> None:
        with self._lock:
            self._passing, every = self._gathered.count, self._gathered.taken()
            if not self._stop.is_set():
                self._wake.clear()
                self._full.clear()
        for gathered in every:
            self._enter(line, gathered)

    def _enter(self, line: Line, gathered: Gathering) -> None:
        entry = gathered.entry
        predictions = self._keeper.referred(gathered.predictions)
        group = Group(
            writer=self._writer,
            number=next(self._numbers),
            predictions=predictions,
            outcomes=tuple(gathered.outcomes),
            blocks=cast("tuple[Block, ...]", tuple(gathered.blocks)),
        )
        self._waiting.append(entry)
        size = entry.count
        try:
            safe = line.admit(entry, group)
        except UNFIT:
            safe = line.admit(entry, self._sifted(opened(group), line.encoded))
        self._passing -= size
        self._saved(safe)
        self._ready.set()

    def _sifted(self, group: Group, act: Callable[[Group], object]) -> Group:
        """The group without the predictions that ``act`` fails on by themselves; those are put aside."""
        good: list[Prediction] = []
        blocks: list[Block] = []
        for one in structs.replace(group, outcomes=()).singly():
            try:
                act(one)
            except UNFIT as fault:
                self._put_aside(one, fault=fault)
            else:
                good += one.predictions
                blocks += one.blocks
        return structs.replace(group, predictions=tuple(good), blocks=tuple(blocks))

    def _secure(self, line: Line) -> None:
        """Tell those who wait longer than a commit takes that their records are safe on disk, or that they are not."""
        while self._waiting and self._waiting[0].kept:
            self._waiting.popleft()
        busy = self._busy
        slow = 0.0 if busy is None else time.perf_counter() - busy
        if not self._waiting or not (self._cause or slow > PATIENCE or self._valve.off):
            return
        self._saved(line.spill())
        try:
            line.sync()
        except StoreUnavailable as fault:
            line.refusal = str(fault)
            for entry in self._waiting:
                entry.fail(fault)
            return
        away = bool(self._cause) or slow > HELD
        for entry in list(self._waiting):
            if entry.place is not None:
                resolve(entry.done, None)
                if away:
                    entry.tell(None, away=bool(self._cause))
        if away and line.refusal:
            self._turn_away(line)
        self._waiting = deque(e for e in self._waiting if not (e.done.done() and all(t.done() for _, t in e.tells)))

    def _turn_away(self, line: Line) -> None:
        """Neither store nor disk takes these: who waits for certainty must hear it. Others stay in memory."""
        whole = self.durability == "sync"
        gone, entries = line.withdraw([e for e in self._waiting if whole or e.tells], whole=whole)
        with self._lock:
            self._refused += gone
            self._safe += gone
        for entry in entries:
            entry.fail(StoreUnavailable(f"the record cannot be kept: {line.refusal}"), whole=whole)
            if not whole:
                entry.tells.clear()

    def _saved(self, n: int) -> None:
        if n:
            with self._lock:
                self._safe += n
                if self._marks is not None:
                    self._marks.note(self._taken, self._safe)

    # ------------------------------------------------------------------------------------------- keeping

    def _keep(self, line: Line) -> None:
        rate = Rate()
        while True:
            entries = line.front(TOGETHER)
            if not entries:
                if self._ended.is_set():
                    return
                self._ready.wait(0.05 if self._stop.is_set() else None)
                self._ready.clear()
                continue
            saved = self._valve.save()
            if not self._valve.through:  # collection is off: what waits stays on disk
                if self._stop.wait(0.05 if saved else RETRY):
                    return
                continue
            began, each = time.perf_counter(), rate.of(self._taken)
            kept = self._kept_together(line, entries) if len(entries) > 1 else self._kept(line, entries[0])
            if not kept and self._stop.wait(RETRY):
                return
            if kept and self.durability == "async":
                self._rest(line, time.perf_counter() - began, rate=each)

    def _rest(self, line: Line, seconds: float, *, rate: float) -> None:
        """While many predictions come, leave the processor to them: fewer and larger groups are cheaper, too.

        Nobody waits for what is in the line then. When it grows long, or somebody waits or tells something, it is over.
        """
        self._urgent.clear()
        pause = rest(rate, seconds)
        if pause and line.patient and not self._gathered.urgent and not self._cause:
            self._urgent.wait(pause)

    def _kept_together(self, line: Line, entries: list[Entry]) -> bool:
        """Keep several groups in one transaction; False when the store did not take them."""
        self._busy = time.perf_counter()
        try:
            groups = [line.group(entry) for entry in entries]
            self._keeper.keep(joined(groups))
        except (StoreUnavailable, OSError) as fault:
            for entry in entries:
                entry.suspect = True
            self._trouble(str(fault))
            return False
        except UNFIT:
            return self._kept(line, entries[0])  # one of them has a record that can never be kept
        finally:
            self._busy = None
        for entry in entries:
            self._saved(line.leave(entry))
            resolve(entry.done, None)
        return True

    def _kept(self, line: Line, entry: Entry) -> bool:
        """Keep the head of the line; False when the store did not take it."""
        self._busy = time.perf_counter()
        try:
            told = self._told(line, entry)
        except (StoreUnavailable, OSError) as fault:
            entry.suspect = True
            self._trouble(str(fault))
            return False
        finally:
            self._busy = None
        self._saved(line.leave(entry))
        if self._cause:
            _log.info("the store takes records again", extra={"waiting": len(line)})
            self._cause, self._since = "", None
        resolve(entry.done, None)
        entry.tell(told)
        return True

    def _told(self, line: Line, entry: Entry) -> list[Told]:
        """Keep a group, or when that can never be, its records one by one: a bad one harms no other."""
        try:
            group = line.group(entry)
        except UNFIT as fault:
            self._put_aside(line.raw(entry), n=entry.count, fault=fault)
            return [Told(state="aside") for n, _ in entry.tells for _ in range(n)]
        try:
            return self._keeper.keep(group, suspect=entry.suspect)
        except StoreUnavailable:
            raise
        except UNFIT:
            return [told for one in group.singly() for told in self._kept_alone(one)]

    def _kept_alone(self, one: Group) -> list[Told]:
        try:
            return self._keeper.keep(one)
        except StoreUnavailable:
            raise
        except UNFIT as fault:
            self._put_aside(one, fault=fault)
            return [Told(state="aside") for _ in one.outcomes]

    def _trouble(self, cause: str) -> None:
        if not self._cause:
            self._since = self._clock.now()
            _log.error("records wait in the spool", extra={"cause": cause})
        self._cause = cause

    def _put_aside(self, record: Group | bytes, *, fault: Exception, n: int = 1) -> None:
        """What can never be kept must not block what is behind it, and must not vanish."""
        with self._lock:
            self._aside += n
        path = self._folder / f"aside-{self._writer}-{self._aside}.txt"
        set_aside(path, self.sealer.frame(f"{fault!r}\n{record!r}\n".encode()), fault=fault, n=n)

    def _new_writer(self) -> int:
        try:
            return self._keeper.writer()
        except StoreUnavailable as fault:
            self._trouble(str(fault))
            return unheard(self._clock.now())
