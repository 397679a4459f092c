"""A version in a smaller file: kept as the next version only when it answers exactly as before."""

import hashlib
import itertools
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec import Raw, Struct, structs

from modelkeep.errors import Conflict, Refused
from modelkeep.jobs.aside import aside
from modelkeep.jobs.rooms import Rooms
from modelkeep.jobs.trying import Trials
from modelkeep.nouns import Features, Outputs, Version
from modelkeep.runtimes import example
from modelkeep.runtimes.compacting import compacted
from modelkeep.store.seams import Ledger

ROWS = 1_000
"""So many inputs must be answered alike."""
LEAST = 0.95
"""A file that stays above this share of its size is not worth a version."""


class Smaller(Struct, frozen=True, kw_only=True):
    """Two files of one model: bytes and seconds to load, and on how many inputs their answers are identical.

    ``stored`` of the ``rows`` are inputs that were really asked; the others were put together from those, or from the
    signature. ``version`` is the smaller one.
    """

    version: Version
    before: int
    after: int
    load_before: float
    load_after: float
    rows: int
    stored: int


def compress(
    rooms: Rooms,
    model: str,
    *,
    number: int,
    who: str = "",
    why: str = "",
    dry_run: bool = False,
    pack: Callable[[bytes, str], bytes] = compacted,
) -> Smaller:
    """Make a version's file smaller and register it as the next version, a candidate like any other.

    ``pack`` makes the smaller file out of the bytes and the runtime; whatever it makes is compared before it is kept.
    Raises Refused when nothing is gained or any answer differs, NotFound, and Conflict when it was done before.
    """
    with rooms.store.read() as ledger:
        version = ledger.versions.get(model, number)
        asked = [p.features for p in ledger.records.latest(model, key=None, limit=ROWS)]
        memory = ledger.versions.policy(model).memory
    old = rooms.files.path(version.artifact).read_bytes()
    new = pack(old, version.runtime)
    if len(new) > LEAST * len(old):
        raise Refused(
            f"{version.name} would have {len(new):,} bytes instead of {len(old):,}", remedy="it is small already"
        )
    runtime = "joblib" if version.runtime == "pickle" else version.runtime
    smaller = structs.replace(
        version,
        number=number,
        artifact=hashlib.sha256(new).hexdigest(),
        size=len(new),
        runtime=runtime,
        created=rooms.clock.now(),
        note=f"{version.name} in a smaller file",
    )
    rows = _rows(asked, version)
    with _beside(rooms, new) as locate:
        before, load_before = _asked(rooms.trials, version, locate=rooms.files.path, memory=memory, rows=rows)
        after, load_after = _asked(rooms.trials, smaller, locate=locate, memory=memory, rows=rows)
        _alike(before, after, rows=rows)
    found = Smaller(
        version=smaller,
        before=len(old),
        after=len(new),
        load_before=load_before,
        load_after=load_after,
        rows=len(rows),
        stored=min(len(asked), len(rows)),
    )
    return found if dry_run else structs.replace(found, version=_keep(rooms, smaller, data=new, who=who, why=why))


def _rows(asked: list[Features], version: Version) -> list[Features]:
    """A thousand inputs: those that were asked, and more that mix their values."""
    known = asked[:ROWS] or [example(version.signature)]
    draw = random.Random(11)  # noqa: S311 - a fixed choice of rows, nothing secret
    names = [field.name for field in version.signature.inputs]
    values = {name: [row.get(name) for row in known] for name in names}
    mixed = ({name: draw.choice(values[name]) for name in names} for _ in itertools.count())
    return [*known, *itertools.islice(mixed, ROWS - len(known))]


def _asked(
    trials: Trials, version: Version, *, locate: Callable[[str], Path], memory: int, rows: list[Features]
) -> tuple[Outputs, float]:
    """What the version answers by its own library, and the seconds that loading took the second time."""
    plain = structs.replace(version, runner=None)
    with trials.loaded(plain, locate, memory=memory):
        pass  # the libraries are there now
    start = time.perf_counter()
    with trials.loaded(plain, locate, memory=memory) as found:
        took = time.perf_counter() - start
        return found.predict(rows), took


def _alike(old: Outputs, new: Outputs, *, rows: list[Features]) -> None:
    """Raise Refused unless every answer is the same, to the last bit."""
    for name in ("values", "scores", "intervals"):
        if getattr(old, name) != getattr(new, name):
            place = _first(old, new, name=name)
            raise Refused(
                f"the smaller file answers otherwise for input {place + 1} of {len(rows):,}: nothing was changed",
                remedy="this is a fault of the product: please report it",
            )


def _first(old: Outputs, new: Outputs, *, name: str) -> int:
    pairs = zip(getattr(old, name) or [], getattr(new, name) or [], strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), 0)


@contextmanager
def _beside(rooms: Rooms, data: bytes) -> Iterator[Callable[[str], Path]]:
    """The new file and the kept ones, until it is known whether it stays."""
    digest = hashlib.sha256(data).hexdigest()
    with aside(rooms) as folder:
        place = folder / digest
        place.write_bytes(data)
        yield lambda wanted: place if wanted == digest else rooms.files.path(wanted)


def _keep(rooms: Rooms, version: Version, *, data: bytes, who: str, why: str) -> Version:
    rooms.files.put(data)
    with rooms.store.write() as ledger:
        known = ledger.versions.all(version.model)
        _refuse_known(known, version)
        found = structs.replace(version, number=max(one.number for one in known) + 1)
        _write(ledger, found, before=version.number, who=who, why=why)
    return found


def _refuse_known(known: list[Version], version: Version) -> None:
    for one in known:
        if (one.artifact, one.features) == (version.artifact, version.features):
            raise Conflict(f"the smaller file is registered as {one.name}", remedy=f"modelkeep release {one.name}")


def _write(ledger: Ledger, version: Version, *, before: int, who: str, why: str) -> None:
    ledger.versions.add(version)
    ledger.acts.append(
        who=who,
        what="compress",
        subject=version.name,
        why=why,
        at=version.created,
        before=Raw(msgspec.json.encode(f"{version.model}@{before}")),
        after=Raw(msgspec.json.encode(version)),
    )
