"""Taking a telemetry file in: parse, keep, and say how good it was."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, pairwise

from msgspec import Struct, json
from msgspec.structs import replace

from modelkeep import Rooms, Value
from modelkeep.workloads.drilling import journal, keeping, sessions, telemetry
from modelkeep.workloads.drilling.limits import Limits
from modelkeep.workloads.drilling.telemetry import Defect, Parsed

LISTED = 100
COUNTED = tuple(name for name in telemetry.NAMES if name != "ble_id")
"""The columns whose missing values count: a missing Smart Tag is a fact, not a gap."""
LEAST_READABLE = 0.5


class Failure(Struct, frozen=True, kw_only=True):
    """A session from which no features can be taken, and why."""

    device_id: str
    start: float | None
    rows: int
    reason: str


class Pair(Struct, frozen=True, kw_only=True):
    """Two sessions of one device at once; ``two_places`` when they are more than a kilometre apart."""

    device_id: str
    first: str
    second: str
    seconds: float
    km: float | None
    two_places: bool


class Gap(Struct, frozen=True, kw_only=True):
    """A jump of the sequence number inside a session, or between two rows that should follow each other."""

    device_id: str
    at: float
    lost: int


class Ingested(Struct, frozen=True, kw_only=True):
    """What became of a file: rows read, taken, known before, bad (left out), sessions, and what is wrong with them.

    ``completeness`` is the share of cells with a value (Smart Tags aside), ``worst`` the share missing of the columns
    that lack most; ``defects`` lists at most a hundred of ``defect_count``.
    """

    file: str
    read: int
    rows: int
    known: int
    bad: int
    duplicates: int
    devices: int
    device_ids: tuple[str, ...]
    sessions: int
    failed_sessions: int
    success: float | None
    completeness: float | None
    worst: dict[str, float]
    failures: tuple[Failure, ...]
    overlaps: tuple[Pair, ...]
    gaps: tuple[Gap, ...]
    defect_count: int
    defects: tuple[Defect, ...]
    processing_time: float


def ingest(rooms: Rooms, data: bytes, *, name: str, limits: Limits) -> Ingested:
    """Keep the rows of a file and record how good it was. Raises BadInput for what is no telemetry."""
    begun = time.perf_counter()
    parsed = telemetry.parse(data)
    said = examine(parsed, name=name, limits=limits)
    taken = keeping.rows(rooms).append(parsed.columns) if parsed.rows else None
    seconds = time.perf_counter() - begun
    cells = said.read * len(COUNTED)
    keeping.ingests(rooms).append(
        keeping.one(
            at=rooms.clock.now(), file=name, read=said.read, rows=said.rows, known=taken.known if taken else 0,
            bad=said.bad, sessions=said.sessions, failed=said.failed_sessions, cells=cells,
            missing=sum(parsed.missing[column] for column in COUNTED),
            two_places=sum(pair.two_places for pair in said.overlaps), worst=json.encode(said.worst).decode(),
            reasons=json.encode([failure.reason for failure in said.failures]).decode(), seconds=seconds,
        )
    )  # fmt: skip
    journal.line(
        rooms, "ingest", file=name, processing_time=seconds, rows=said.rows, bad=said.bad, sessions=said.sessions
    )
    for failure in said.failures:
        journal.line(rooms, "ERROR feature_engineering", device=failure.device_id, reason=failure.reason)
    return replace(said, known=taken.known if taken else 0, processing_time=seconds)


def examine(parsed: Parsed, *, name: str, limits: Limits) -> Ingested:
    """What a parsed file holds: sessions, those without features, overlaps, gaps, duplicates and missing values."""
    places = by_device(parsed.columns)
    failures: list[Failure] = list(_unreadable(parsed.defects))
    twice: list[Pair] = []
    lost: list[Gap] = []
    count = 0
    for device, rows in places.items():
        of = sessions.track({column: [values[i] for i in rows] for column, values in parsed.columns.items()}, device)
        found = sessions.sessions(of, limits)
        count += len(found)
        failures += _failed(of, found, defects=parsed.defects)
        twice += pairs(device, found)
        lost += gaps(of)
    total = count + sum(failure.start is None for failure in failures)
    cells = parsed.read * len(COUNTED)
    missing = sum(parsed.missing[column] for column in COUNTED)
    shares = {column: parsed.missing[column] / parsed.read for column in COUNTED} if parsed.read else {}
    worst = sorted((column for column in shares if shares[column]), key=lambda column: -shares[column])[:3]
    keys = Counter(zip(parsed.columns["device_id"], parsed.columns["seq"], strict=True))
    return Ingested(
        file=name, read=parsed.read, rows=parsed.rows, known=0, bad=parsed.read - parsed.rows,
        duplicates=sum(n - 1 for n in keys.values()), devices=len(places), device_ids=tuple(places), sessions=count,
        failed_sessions=len(failures), success=1 - len(failures) / total if total else None,
        completeness=1 - missing / cells if cells else None,
        worst={column: round(shares[column], 4) for column in worst}, failures=tuple(failures),
        overlaps=tuple(twice), gaps=tuple(lost[:LISTED]), defect_count=len(parsed.defects),
        defects=parsed.defects[:LISTED], processing_time=0.0,
    )  # fmt: skip


def by_device(columns: Mapping[str, Sequence[Value]]) -> dict[str, list[int]]:
    """The places of each device's rows, by device."""
    found: dict[str, list[int]] = {}
    for place, device in enumerate(columns["device_id"]):
        found.setdefault(str(device), []).append(place)
    return dict(sorted(found.items()))


def _unreadable(defects: Sequence[Defect]) -> Iterable[Failure]:
    """Runs of lines of one device that were left out: each is a session of which nothing is known."""
    whole = sorted({d.line: d for d in defects if d.whole}.values(), key=lambda d: d.line)
    for (device, _), run in groupby(enumerate(whole), key=lambda place: (place[1].device_id, place[1].line - place[0])):
        lines = [defect for _, defect in run]
        if len(lines) > 1:
            yield Failure(
                device_id=device, start=None, rows=len(lines),
                reason=f"lines {lines[0].line}-{lines[-1].line} of {device or 'no device'}: {lines[0].reason}",
            )  # fmt: skip


def _failed(of: sessions.Track, found: Sequence[sessions.Session], *, defects: Sequence[Defect]) -> Iterable[Failure]:
    reasons = {d.reason for d in defects if d.column == "current_amp" and d.device_id == of.device_id}
    for session in found:
        known = sum(of.current[i] == of.current[i] for i in session.places)
        if known < LEAST_READABLE * len(session.places):
            said = f" ({min(reasons)})" if reasons else ""
            yield Failure(
                device_id=of.device_id, start=session.start, rows=len(session.places),
                reason=f"session {session.session_id}: {known} of {len(session.places)} rows have a current{said}",
            )  # fmt: skip


def pairs(device: str, found: Sequence[sessions.Session]) -> Iterable[Pair]:
    """The pairs of sessions of a device that overlap in time."""
    for pair in sessions.overlaps(found):
        yield Pair(
            device_id=device, first=pair.first, second=pair.second, seconds=pair.seconds, km=pair.km,
            two_places=pair.two_places,
        )  # fmt: skip


def gaps(of: sessions.Track) -> Iterable[Gap]:
    """Jumps of the sequence number from one row to the next in order of seq, with the rows that were lost."""
    order = sorted(range(of.size), key=lambda i: of.seq[i])
    for before, after in pairwise(order):
        lost = int(of.seq[after] - of.seq[before]) - 1
        if lost > 0:
            yield Gap(device_id=of.device_id, at=float(of.at[after]), lost=lost)
