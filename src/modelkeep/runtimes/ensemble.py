"""The format ``ensemble``: several models that answer as one, in a file that holds data only.

A member answers in link space: ``link="log"`` says that members are made for the logarithm of the output. The ensemble
weighs them (by segment, when ``by`` names a category input), adds what calibration found for the interval, turns the
sum back, and keeps it within ``floor`` and ``ceiling``.
"""

import itertools
import json
import math
from importlib import import_module
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import msgspec
from msgspec import Struct, structs

from modelkeep.errors import BadArtifact
from modelkeep.nouns import Signature
from modelkeep.runtimes import archives, packing
from modelkeep.runtimes.formats import Inspected, Opened, format_of, recognise

ENSEMBLE = "ensemble.json"
MAX_MEMBER = 512 * 2**20
MAX_MANIFEST = 16 * 2**20

Link: TypeAlias = Literal["identity", "log", "log1p", "logit"]
MemberRuntime: TypeAlias = Literal["lightgbm", "linear", "skops"]


class Member(Struct, frozen=True, kw_only=True):
    """One model of an ensemble.

    ``data`` are the bytes of its file: LightGBM's text (``Booster.model_to_string().encode()``), a skops file, or for
    ``linear`` the JSON of a ``Linear``. ``columns`` are the inputs that it takes, in order (empty: all of them, or
    those that a LightGBM file names). ``ranks`` (ascending, two or more) is a table of evenly spaced quantiles of its
    score: its answer becomes the share of them below the score, 0..1; only with the link ``identity``.
    """

    name: str
    runtime: MemberRuntime
    data: bytes = b""
    columns: tuple[str, ...] = ()
    ranks: tuple[float, ...] = ()


class Linear(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A straight line: ``intercept`` + the sum of ``coefficients`` times inputs + the weight of each category.

    ``means`` is what a null counts as; an input without one must not be null. A category that is not in its table, or
    is null, weighs what the table has for ``""``, else 0.
    """

    intercept: float
    coefficients: dict[str, float] = {}
    categories: dict[str, dict[str, float]] = {}
    means: dict[str, float] = {}


class Ensemble(Struct, frozen=True, kw_only=True):
    """Members and how they answer as one.

    The answer in link space is the sum of ``weights`` times the members (absent: 0); ``weights_by`` replaces them for a
    value of the input ``by``, its entry ``""`` for every other value. The interval, either from offsets: answer + low
    to answer + high (``offsets_by`` by the value of ``by``); or from two members (``low_member``, ``high_member``),
    moved apart by ``widen`` (by ``offsets_by``, where it has the value). All of these are in link space; the interval
    always holds the answer. ``floor`` and ``ceiling`` bound answer and interval in the output's unit. ``calibrated``
    are points (answer, output), both rising: what comes out of the link is read off the straight lines between them,
    such as a mean rank as the probability that it means; beyond the ends it stays at theirs.

    For an output that is a class of two, the answer is a score in 0..1 for the second of ``classes`` (default: those of
    the signature; false, true): with ``logit`` the probability of the weighted log-odds, with ``identity`` the weighted
    mean of the members' probabilities or ranks, cut at 0 and 1. From ``threshold`` on, the second class is answered.
    """

    members: tuple[Member, ...]
    weights: dict[str, float]
    link: Link = "identity"
    by: str = ""
    weights_by: dict[str, dict[str, float]] = {}
    low: float | None = None
    high: float | None = None
    low_member: str = ""
    high_member: str = ""
    widen: float = 0.0
    offsets_by: dict[str, tuple[float, float]] = {}
    floor: float | None = None
    ceiling: float | None = None
    classes: tuple[str, ...] = ()
    threshold: float = 0.5
    calibrated: tuple[tuple[float, float], ...] = ()

    @property
    def bounded(self) -> bool:
        """True when it answers intervals."""
        return bool(self.low_member) or self.low is not None or bool(self.offsets_by)


def pack_ensemble(ensemble: Ensemble, path: Path) -> Path:
    """Write an ensemble's file, and return its path; the same ensemble always gives the same bytes.

    Raises BadArtifact when its parts do not fit together, or a member would be refused if it were registered alone.
    """
    _check(ensemble)
    files = {_place(member): member.data for member in ensemble.members}
    bare = structs.replace(ensemble, members=tuple(structs.replace(m, data=b"") for m in ensemble.members))
    for member in ensemble.members:
        _inspect_member(member)
    path.write_bytes(packing.zipped({ENSEMBLE: msgspec.json.encode(bare, order="deterministic"), **files}))
    return path


def read_ensemble(data: bytes) -> Ensemble:
    """The ensemble of a file, its members with their bytes. Raises BadArtifact."""
    names = set(archives.members(data))
    try:
        found = msgspec.json.decode(archives.read(data, ENSEMBLE, limit=MAX_MANIFEST), type=Ensemble)
    except msgspec.DecodeError as error:
        raise BadArtifact(
            f"the ensemble's {ENSEMBLE} is broken: {error}", remedy="write it with pack_ensemble"
        ) from error
    if names != {ENSEMBLE, *map(_place, found.members)}:
        raise BadArtifact(f"an ensemble holds {ENSEMBLE} and a file a member, this one {sorted(names)[:5]}")
    members = tuple(structs.replace(m, data=archives.read(data, _place(m), limit=MAX_MEMBER)) for m in found.members)
    found = structs.replace(found, members=members)
    _check(found)
    return found


def inspect(data: bytes, *, trust: bool) -> Inspected:
    """Look at every member as if it were registered alone, without trust: an ensemble holds no code."""
    del trust
    found = read_ensemble(data)
    libraries: dict[str, str] = {}
    for member in found.members:
        libraries |= _inspect_member(member).libraries
    return Inspected(runtime="ensemble", libraries=libraries, classifies=True if found.classes else None)


def open_model(path: Path, signature: Signature, *, coded: bool, runtime: str) -> Opened:
    """Load every member. Raises BadArtifact when the members' inputs or classes do not fit the signature."""
    del runtime
    # The answers stand on the structures above; a process that serves no ensemble need not load them.
    answers = import_module("modelkeep.runtimes.ensemble_answers")
    found: Opened = answers.opened(read_ensemble(path.read_bytes()), signature, coded=coded)
    return found


def linear(data: bytes) -> Linear:
    """The straight line of a member's bytes. Raises BadArtifact."""
    try:
        found = msgspec.json.decode(data, type=Linear)
    except msgspec.DecodeError as error:
        raise BadArtifact(f"the JSON of a linear member is broken: {error}") from error
    weights = [w for table in found.categories.values() for w in table.values()]
    values = [found.intercept, *found.coefficients.values(), *found.means.values(), *weights]
    if not all(map(math.isfinite, values)):
        raise BadArtifact("a linear member has a weight that is not finite")
    if twice := found.coefficients.keys() & found.categories.keys():
        raise BadArtifact(f"a linear member has {min(twice)!r} both as a number and as a category")
    return found


def linear_bytes(line: Linear) -> bytes:
    """A straight line as the bytes of a member.

    >>> linear_bytes(Linear(intercept=1.0, coefficients={"mass": 2.0})).startswith(b'{"intercept":1.0')
    True
    """
    return json.dumps(msgspec.to_builtins(line), separators=(",", ":"), allow_nan=False).encode()


def _place(member: Member) -> str:
    return f"members/{member.name}"


def _inspect_member(member: Member) -> Inspected:
    try:
        if member.runtime == "linear":
            linear(member.data)
            return Inspected(runtime="linear")
        return format_of(_recognised(member)).inspect(member.data, trust=False)
    except BadArtifact as error:
        raise BadArtifact(f"member {member.name!r}: {error.message}", remedy=error.remedy) from error


def _recognised(member: Member) -> str:
    if recognise(member.data) != member.runtime:
        raise BadArtifact(f"it is no {member.runtime} file")
    return member.runtime


def _check(ensemble: Ensemble) -> None:
    names = [member.name for member in ensemble.members]
    for wrong in _mistakes(ensemble, names):
        raise BadArtifact(f"the ensemble does not fit together: {wrong}")


def _mistakes(ensemble: Ensemble, names: list[str]) -> list[str]:
    """What does not fit, in words; the first is told."""
    numbers = [*ensemble.weights.values(), *(w for table in ensemble.weights_by.values() for w in table.values())]
    numbers += [n for n in (ensemble.low, ensemble.high, ensemble.floor, ensemble.ceiling) if n is not None]
    numbers += [ensemble.widen, ensemble.threshold, *(n for pair in ensemble.offsets_by.values() for n in pair)]
    named = {*ensemble.weights, *(name for table in ensemble.weights_by.values() for name in table)}
    named |= {name for name in (ensemble.low_member, ensemble.high_member) if name}
    pairs = [*ensemble.offsets_by.values()]
    if ensemble.low is not None and ensemble.high is not None:
        pairs.append((ensemble.low, ensemble.high))
    checks = (
        (not names, "it has no member"),
        (len(set(names)) < len(names), "two members have the same name"),
        (not all(name.isidentifier() for name in names), "a member's name is letters, digits and _"),
        (bool(named - set(names)), f"it names members that it has not: {', '.join(sorted(named - set(names)))}"),
        (not ensemble.weights, "no member has a weight"),
        (not all(map(math.isfinite, numbers)), "a weight or bound is not finite"),
        (bool(ensemble.weights_by) and not ensemble.by, "weights_by needs the input that it goes by"),
        (bool(ensemble.offsets_by) and not ensemble.by, "offsets_by needs the input that it goes by"),
        (not ensemble.low_member and any(low > high for low, high in pairs), "a low offset lies above the high one"),
        ((ensemble.low is None) != (ensemble.high is None), "low and high come together"),
        (bool(ensemble.low_member) != bool(ensemble.high_member), "low_member and high_member come together"),
        (bool(ensemble.low_member) and ensemble.low is not None, "an interval is by offsets or by members, not both"),
        (len(ensemble.classes) not in {0, 2}, f"it has {len(ensemble.classes)} classes: two are supported"),
        (not 0 <= ensemble.threshold <= 1, "threshold is not in 0..1"),
        (not _rises(ensemble.calibrated), "calibrated is not empty or two or more points, rising in both"),
    )
    return [said for wrong, said in checks if wrong] + [
        said for m in ensemble.members for said in _rank_mistakes(m, ensemble.link)
    ]


def _rises(points: tuple[tuple[float, float], ...]) -> bool:
    """Whether both columns of a table never fall, the first always grows, and all of it is finite."""
    if not points:
        return True
    pairs = list(itertools.pairwise(points))
    finite = all(math.isfinite(value) for point in points for value in point)
    return bool(pairs) and finite and all(a[0] < b[0] and a[1] <= b[1] for a, b in pairs)


def _rank_mistakes(member: Member, link: Link) -> list[str]:
    if not member.ranks:
        return []
    table = member.ranks
    rising = all(a <= b for a, b in itertools.pairwise(table)) and all(map(math.isfinite, table))
    if len(table) < 2 or not rising or table[0] == table[-1]:
        return [f"the ranks of {member.name!r} are not two or more ascending numbers"]
    return [] if link == "identity" else [f"ranks of {member.name!r} need the link identity, not {link}"]


LINKS: tuple[str, ...] = get_args(Link)
