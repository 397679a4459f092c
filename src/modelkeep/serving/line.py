"""The line of groups that wait for the store: in order, each on disk in the spool as soon as the disk takes it."""

from __future__ import annotations

import contextlib
import itertools
import struct
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, structs

from modelkeep.errors import ModelkeepError, StoreUnavailable
from modelkeep.nouns import Block
from modelkeep.serving.keeper import Group
from modelkeep.serving.spool import Place, Spool
from modelkeep.store.seams import Told

T = TypeVar("T")
_COUNT = struct.Struct("<I")
_AT_HAND = 2000
"""The groups at the front keep their records in memory beside the spool until they have so many; those behind them are
read back in their turn."""
_SHRINK = 1 << 20


UNFIT = (ModelkeepError, msgspec.MsgspecError, TypeError, ValueError, LookupError, ArithmeticError)
"""What says that a record can never be kept, whatever the state of the store."""
_pack = msgspec.msgpack.Encoder().encode


def packed(block: Block) -> Block | Raw:
    """A block as it will be written; itself when it cannot be, and its rows must be looked at one by one.

    Done at once, while its rows are in the processor's cache: their memory is then free for the next.
    """
    try:
        return Raw(_pack(block))
    except UNFIT:
        return block


def promise() -> Future[Any]:
    """A Future that its waiters cannot cancel: several wait for the same group."""
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()
    return future


def resolve(future: Future[T], result: T) -> None:
    """Answer a waiter whom another thread may be answering too."""
    with contextlib.suppress(InvalidStateError):
        future.set_result(result)


@dataclass(slots=True, eq=False)
class Entry:
    """One group in the line, and whom to tell when it is safe.

    ``data`` is its encoded form until the spool has it (``place``); ``group`` its records while they are at hand.
    ``suspect`` = it may have been kept already. ``tells`` = each caller's number of outcomes and Future.
    """

    count: int
    group: Group | None = None
    data: bytes | None = None
    place: Place | None = None
    done: Future[None] = field(default_factory=promise)
    tells: list[tuple[int, Future[list[Told]]]] = field(default_factory=list)
    patient: list[Future[list[Told]]] = field(default_factory=list)
    suspect: bool = False
    kept: bool = False

    def taken(self, n: int, future: Future[list[Told]], *, patient: bool) -> None:
        """Note whom to tell of ``n`` outcomes."""
        self.tells.append((n, future))
        if patient:
            self.patient.append(future)

    def tell(self, told: Sequence[Told] | None, *, away: bool = True) -> None:
        """Hand each teller its part; None = all are held, which the patient hear only when the store is ``away``."""
        place = 0
        for n, future in self.tells:
            if told is not None or away or future not in self.patient:
                resolve(future, [Told(state="held")] * n if told is None else list(told[place : place + n]))
            place += n

    def fail(self, fault: ModelkeepError, *, whole: bool = True) -> None:
        """Tell everybody who still waits that the group is not safe; without ``whole`` only who told outcomes."""
        waiting: list[Future[Any]] = [self.done] if whole else []
        waiting += [future for _, future in self.tells]
        for future in waiting:
            with contextlib.suppress(InvalidStateError):
                future.set_exception(fault)


class Line:
    """Groups in order. Thread-safe; its lock is held over one write to the spool at most, and never by a request."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._lock = threading.Lock()
        self._entries: deque[Entry] = deque()
        self._loose: deque[Entry] = deque()
        self._at_hand = 0
        self.refusal = ""
        """Why the spool took nothing at the last attempt; empty when it did."""
        for place, data in spool.frames():
            (count,) = _COUNT.unpack_from(data)
            self._entries.append(Entry(count=count, place=place, suspect=True))

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def records(self) -> int:
        """Records that wait."""
        with self._lock:
            return sum(entry.count for entry in self._entries)

    @property
    def spooled(self) -> int:
        """Records that wait and are on disk."""
        with self._lock:
            return sum(entry.count for entry in self._entries if entry.place is not None)

    @property
    def patient(self) -> bool:
        """True while nobody waits for what is in it, and the spool is less than half full."""
        with self._lock:
            return self._spool.room > 0.5 and not any(entry.tells for entry in self._entries)

    def admit(self, entry: Entry, group: Group) -> int:
        """Put a group at the end; the number of records that became safe on disk by it.

        Raises TypeError or ValueError when the group cannot be written at all; it is then not in the line.
        """
        raw = any(isinstance(block, Raw) for block in group.blocks)
        entry.data = self.encoded(group, entry.count if raw else None)
        with self._lock:
            if self._at_hand < _AT_HAND and not raw:
                entry.group = group
                self._at_hand += entry.count
            self._entries.append(entry)
            self._loose.append(entry)
        return self.spill()

    @staticmethod
    def encoded(group: Group, size: int | None = None) -> bytes:
        """A group of so many records as it is written. Raises TypeError or ValueError when that cannot be."""
        return _COUNT.pack(group.size if size is None else size) + msgspec.msgpack.encode(group)

    def spill(self) -> int:
        """Write what is only in memory into the spool, in order; the number of records that became safe by it."""
        safe = 0
        with self._lock:
            while self._loose:
                entry = self._loose[0]
                if not entry.kept and entry.data is not None:
                    try:
                        entry.place = self._spool.append(entry.data)
                    except StoreUnavailable as refusal:
                        self.refusal = str(refusal)
                        return safe
                    entry.data = None
                    safe += entry.count
                self._loose.popleft()
            self.refusal = ""
        return safe

    def sync(self) -> None:
        """Make what the spool has survive a power cut. Raises StoreUnavailable."""
        self._spool.sync()

    def head(self) -> Entry | None:
        """The group whose turn it is, or None."""
        with self._lock:
            return self._entries[0] if self._entries else None

    def front(self, most: int) -> list[Entry]:
        """The groups whose turn it is: the head, and those behind it that can be kept in the same transaction.

        Those hold only predictions, ``most`` records together at most, and cannot have been kept already.
        """
        with self._lock:
            found, records = list(itertools.islice(self._entries, 1)), 0
            for place, entry in enumerate(self._entries):
                records += entry.count
                if entry.tells or entry.suspect or entry.kept or records > most:
                    break
                if place:
                    found.append(entry)
        return found

    def group(self, entry: Entry) -> Group:
        """The records of an entry. Raises ModelkeepError or msgspec.MsgspecError when the spool has been damaged."""
        if entry.group is not None:
            return entry.group
        with self._lock:
            data = (entry.data or b"") if entry.place is None else self._spool.read(entry.place)
        return msgspec.msgpack.decode(data[_COUNT.size :], type=Group)

    def raw(self, entry: Entry) -> bytes:
        """The bytes of an entry that cannot be read as a group, damaged or not."""
        with self._lock:
            return (entry.data or b"") if entry.place is None else self._spool.bytes_of(entry.place)

    def leave(self, entry: Entry) -> int:
        """Take the head out of the line; the number of records that became safe by it."""
        with self._lock:
            entry.kept = True
            self._entries.popleft()
            safe = entry.count if entry.place is None else 0
            if entry.group is not None:
                self._at_hand -= entry.count
            entry.group = entry.data = None
            self._shrink()
        return safe

    def withdraw(self, entries: Iterable[Entry], *, whole: bool) -> tuple[int, list[Entry]]:
        """Take groups out that are only in memory and not at the head: how many records, and out of which groups.

        Without ``whole`` only their outcomes go; predictions that were gathered with them stay in the line.
        """
        records, found = 0, []
        with self._lock:
            head = self._entries[0] if self._entries else None
            for entry in entries:
                if entry is head or entry.place is not None or entry.kept or entry.data is None:
                    continue
                records += entry.count if whole else self._stripped(entry)
                found.append(entry)
                entry.kept = whole or not entry.count
            self._entries = deque(entry for entry in self._entries if not entry.kept)
            self._loose = deque(entry for entry in self._loose if not entry.kept)
            self._at_hand = sum(entry.count for entry in self._entries if entry.group is not None)
        return records, found

    def _stripped(self, entry: Entry) -> int:
        """Take the outcomes out of a group; how many they were."""
        group = entry.group or msgspec.msgpack.decode((entry.data or b"")[_COUNT.size :], type=Group)
        rest = structs.replace(group, outcomes=())
        entry.data, entry.count = self.encoded(rest), rest.size
        if entry.group is not None:
            entry.group = rest
        return len(group.outcomes)

    def clear(self) -> int:
        """Leave nothing in the spool's file when no group waits; how many records wait."""
        with self._lock:
            if not self._entries:
                self._spool.clear()
            return sum(entry.count for entry in self._entries)

    def close(self) -> None:
        """Let the spool go, empty when nothing waits."""
        with self._lock:
            if not self._entries:
                self._spool.clear()
            self._spool.close()

    def _shrink(self) -> None:
        first = next((entry.place for entry in self._entries if entry.place is not None), None)
        if first is None and self._spool.size > _SHRINK:
            self._spool.clear()
        elif first is not None and self._spool.size > 8 * _SHRINK and self._spool.dead(first) > 0.75:
            self._spool.trim(first)
