"""The fleet as it stands: features and scores of every device, computed once and kept until its telemetry changes."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from modelkeep import Rooms
from modelkeep.workloads.drilling import features, ingesting, journal, keeping, scoring, sessions
from modelkeep.workloads.drilling.features import Features
from modelkeep.workloads.drilling.limits import Limits
from modelkeep.workloads.drilling.scoring import Score
from modelkeep.workloads.drilling.sessions import Session, Track

BATCH = 20
"""So many devices are read at once."""
DAY = 86400.0


class Print(Struct, frozen=True, kw_only=True):
    """How much telemetry of a device there is: when it differs, its features are out of date."""

    rows: int
    last: float


class Kept(Struct, frozen=True, kw_only=True):
    """A cached file: the features of a device, of what telemetry, when and in how many seconds they were made."""

    device_id: str
    made: float
    seconds: float
    of: Print
    limits: Limits
    features: Features


class Look(Struct, frozen=True, kw_only=True):
    """A device as it was looked at: its score, its features (None without data), how long it took, and from where."""

    score: Score
    features: Features | None
    seconds: float
    cache_hit: bool
    hits: int


class Fleet:
    """The devices of one data folder. Any number of threads may use it; memory holds scores, files hold features."""

    def __init__(self, rooms: Rooms, limits: Limits) -> None:
        self._rooms, self._limits = rooms, limits
        self._scores: dict[str, tuple[Print, float, Score]] = {}
        self._hits: dict[str, int] = {}
        self._lock = threading.Lock()
        self.folder = rooms.folder / "ml" / "cache"
        self.slowest = 0.0

    def prints(self) -> dict[str, Print]:
        """Every device with how much telemetry there is of it."""
        data = keeping.rows(self._rooms)
        if not data.revision:
            return {}
        found = data.sql("SELECT device_id, count(*), max(timestamp) FROM data GROUP BY 1 ORDER BY 1")
        return {str(device): Print(rows=int(n), last=float(last)) for device, n, last in found}

    def scores(self, devices: Sequence[str] = ()) -> tuple[Score, ...]:
        """The score of every device, or of those named; an unknown one has none, with the reason."""
        wanted, _ = self._wanted(devices)
        return tuple(self._score(device, of) for device, of in wanted)

    def refresh(self, devices: Sequence[str] = ()) -> frozenset[str]:
        """Make the features anew that are out of date, of every device or of those named; which they were."""
        return self._wanted(devices)[1]

    def looks(self, devices: Sequence[str], *, fresh: frozenset[str] = frozenset()) -> tuple[Look, ...]:
        """Scores with features and how they were come by; ``fresh`` are devices that were made for this look."""
        wanted, made = self._wanted(devices)
        return tuple(self._look(device, of, hit=device not in made | fresh) for device, of in wanted)

    def track(self, device: str, *, start: float | None = None, end: float | None = None) -> Track:
        """The telemetry of a device as arrays."""
        found = keeping.rows(self._rooms).read(start=start, end=end, where={"device_id": device})
        return sessions.track(found, device)

    def sessions(
        self, *, device: str = "", start: float | None = None, end: float | None = None
    ) -> Iterator[tuple[Track, tuple[Session, ...]]]:
        """The sessions of every device, or of one, within a span of time."""
        for name in [device] if device else list(self.prints()):
            of = self.track(name, start=start, end=end)
            yield of, sessions.sessions(of, self._limits)

    # ---------------------------------------------------------------------------------------------- inside

    def _wanted(self, devices: Sequence[str]) -> tuple[list[tuple[str, Print | None]], frozenset[str]]:
        """The devices with how much telemetry there is of them, and which of them had to be made anew."""
        known = self.prints()
        wanted = [(device, known.get(device)) for device in devices or known]
        stale = [device for device, of in wanted if of is not None and self._stale(device, of)]
        self._make(stale, known)
        return wanted, frozenset(stale)

    def _score(self, device: str, of: Print | None) -> Score:
        if of is None:
            return scoring.nothing(device, "no telemetry of this device was ever read")
        with self._lock:
            kept = self._scores.get(device)
        if kept is not None and kept[0] == of:
            return kept[2]
        file = self._file(device)
        return scoring.nothing(device, "its features were not kept") if file is None else self._remember(file)

    def _look(self, device: str, of: Print | None, *, hit: bool) -> Look:
        begun = time.perf_counter()
        file = self._file(device) if of is not None else None
        if file is None:
            return Look(score=self._score(device, of), features=None, seconds=0.0, cache_hit=False, hits=0)
        hits = self._hits[device] = self._hits.get(device, 0) + hit
        seconds = time.perf_counter() - begun if hit else file.seconds
        if hit:
            journal.line(self._rooms, "feature_engineering", device=device, processing_time=seconds, cache_hit=True)
        return Look(score=self._score(device, of), features=file.features, seconds=seconds, cache_hit=hit, hits=hits)

    def _stale(self, device: str, of: Print) -> bool:
        """Whether a device's features must be made anew."""
        now = self._rooms.clock.now()
        with self._lock:
            kept = self._scores.get(device)
        if (
            kept is not None
            and kept[0] == of
            and now - kept[1] <= self._limits.cache_ttl
            and self._path(device).exists()
        ):
            return False
        file = self._file(device)
        fresh = file is not None and file.of == of and file.limits == self._limits
        if file is not None and fresh and now - file.made <= self._limits.cache_ttl:
            self._remember(file)
            return False
        return True

    def _make(self, devices: Sequence[str], known: dict[str, Print]) -> None:
        data, window = keeping.rows(self._rooms), self._limits.window_days * DAY
        for first in range(0, len(devices), BATCH):
            some = tuple(devices[first : first + BATCH])
            start = min(known[device].last for device in some) - window
            columns = data.read(start=start, where={"device_id": some})
            places = ingesting.by_device(columns)
            for device in some:
                begun = time.perf_counter()
                rows = [i for i in places[device] if float(columns["timestamp"][i] or 0) >= known[device].last - window]
                of = sessions.track({name: [values[i] for i in rows] for name, values in columns.items()}, device)
                made = features.extract(of, sessions.sessions(of, self._limits), limits=self._limits)
                self._keep(made, known[device], seconds=time.perf_counter() - begun)

    def _keep(self, made: Features, of: Print, *, seconds: float) -> None:
        now = self._rooms.clock.now()
        file = Kept(device_id=made.device_id, made=now, seconds=seconds, of=of, limits=self._limits, features=made)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(made.device_id)
        part = path.with_suffix(f".{threading.get_ident()}.part")
        part.write_bytes(msgspec.json.format(msgspec.json.encode(file), indent=1))
        part.replace(path)
        self._hits[made.device_id] = 0
        self.slowest = max(self.slowest, seconds)
        self._remember(file)
        journal.line(
            self._rooms, "feature_engineering", device=made.device_id, processing_time=seconds, rows=made.rows,
            sessions=made.sessions, cache_hit=False, feature_quality=made.data_quality,
        )  # fmt: skip

    def _remember(self, file: Kept) -> Score:
        found = scoring.score(file.features, self._limits)
        with self._lock:
            self._scores[file.device_id] = (file.of, file.made, found)
        return found

    def _file(self, device: str) -> Kept | None:
        """The cached file of a device; None when there is none that can be read."""
        try:
            return msgspec.json.decode(self._path(device).read_bytes(), type=Kept)
        except (OSError, msgspec.MsgspecError):
            return None

    def _path(self, device: str) -> Path:
        plain = device if device.isalnum() and len(device) <= 64 else ""
        return self.folder / f"{plain or hashlib.blake2b(device.encode(), digest_size=12).hexdigest()}.json"


_FLEETS: dict[Path, Fleet] = {}
_LOCK = threading.Lock()


def fleet(rooms: Rooms, limits: Limits) -> Fleet:
    """The one fleet of a data folder in this process."""
    with _LOCK:
        found = _FLEETS.get(rooms.folder)
        if found is None or found._rooms is not rooms:  # noqa: SLF001 - its own class
            found = _FLEETS[rooms.folder] = Fleet(rooms, limits)
        return found
