"""How a model file becomes a version: looked at, kept, tried, measured, and written down as one act."""

import hashlib
import math
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Raw, Struct, structs

from modelkeep import profile
from modelkeep.errors import BadArtifact, BadInput, Conflict
from modelkeep.jobs import histories, naming, rivals, samples
from modelkeep.jobs.aside import aside
from modelkeep.jobs.rooms import Rooms
from modelkeep.jobs.trying import Candidate
from modelkeep.nouns import Baseline, Features, Lineage, Policy, Signature, Value, Version
from modelkeep.runtimes import (
    Inspected,
    example,
    infer_signature,
    pack_features,
    read_table,
    running,
)
from modelkeep.runtimes.running import Chosen
from modelkeep.runtimes.taking import Taken
from modelkeep.serving.discretion import marked
from modelkeep.store.seams import Ledger

_HELD = 1000
Also = Callable[[Ledger, Version], None]
"""What else to write in the transaction that keeps the version."""


class Registration(Struct, frozen=True, kw_only=True):
    """A model file and what is known about it.

    ``path`` is the file, or ``file.py:function``; ``features`` feature code as ``file.py`` or ``file.py:function``,
    or ``code`` the same already packed; ``trust`` vouches for the code in them. ``sample`` is held-out data (CSV,
    Parquet or JSON), or ``columns`` the same by name: with the truth in the column ``output`` it gives the baseline
    metrics, with ``time`` (and ``key``) also the skill. ``signature`` is inferred from the sample when None.
    ``metrics`` (finite numbers) win over those of the sample; ``rivals`` are those of simple baselines by name on
    the same data. ``against`` are further reasons, in words, why the version must not be released without force.
    ``history`` is a file with the rows that it was trained on, to be kept with it. ``force`` registers despite what
    the sample says against it, and what it says is then among those reasons.
    """

    model: str
    path: Path
    runtime: str | None = None
    trust: bool = False
    features: Path | None = None
    code: bytes | None = None
    signature: Signature | None = None
    metrics: dict[str, float] = {}
    rivals: dict[str, dict[str, float]] = {}
    against: tuple[str, ...] = ()
    history: Path | None = None
    sample: Path | None = None
    columns: dict[str, list[Value]] | None = None
    output: str = ""
    units: dict[str, str] = {}
    key: str = ""
    time: str = ""
    lineage: Lineage = Lineage()
    note: str = ""
    force: bool = False
    why: str = ""
    by: str = ""


class _Worth(Struct, frozen=True, kw_only=True):
    """What the trial showed: the baseline metrics, and the profile of the sample when there is one.

    ``rivals`` are the automatic baselines on the same sample; ``forced`` is what spoke against the version, and was
    overruled. ``chosen`` is the runner that answers it faster than its library, if any.
    """

    metrics: dict[str, float]
    reference: profile.Profile | None = None
    rivals: dict[str, dict[str, float]] = {}
    forced: tuple[str, ...] = ()
    chosen: Chosen | None = None


def register(rooms: Rooms, registration: Registration, *, also: Also | None = None) -> Version:
    """Register a version and return it: a candidate, which answers nobody until it is released.

    Nothing is kept of a file that is refused. ``also`` writes more in the same transaction. Raises BadArtifact for a
    file that is broken, unknown, not trusted or cannot answer; BadInput for a sample or signature that does not fit;
    Conflict for a file that is registered already, naming the version.
    """
    _check(registration)
    with rooms.store.read() as ledger:
        policy = ledger.versions.policy(registration.model)
    with aside(rooms) as folder:
        taken, code, version, worth = _on_trial(rooms, registration, folder=folder, policy=policy)
        rooms.files.put(taken.path, digest=taken.digest)
    if code is not None:
        rooms.files.put(code)
    reference = None if worth.reference is None else rooms.files.put(profile.encode(worth.reference))
    runner = None if worth.chosen is None else running.kept(worth.chosen, rooms.files.put(worth.chosen.data))
    lineage = version.lineage
    if registration.history is not None:
        lineage = structs.replace(lineage, history=histories.put(rooms, registration.history))
    version = structs.replace(
        version,
        baseline=Baseline(
            metrics=worth.metrics, reference=reference, rivals=rivals.joined(worth.rivals, registration.rivals)
        ),
        lineage=lineage,
        runner=runner,
        below=(*below(worth.metrics, policy), *_against(registration, worth)),
    )
    return _keep(rooms, version, registration=registration, also=also)


def _on_trial(
    rooms: Rooms, registration: Registration, *, folder: Path, policy: Policy
) -> tuple[Taken, bytes | None, Version, _Worth]:
    """What is to be kept of the file, in ``folder``, and of its feature code; the version; what the trial showed."""
    # What lies in our own folder for work was sent, or made here: nobody writes to it any more.
    ours = registration.path.resolve().is_relative_to((rooms.folder / "work").resolve())
    with rooms.trials.of(registration.path, folder, memory=policy.memory, ours=ours) as candidate:
        found = candidate.look(trust=registration.trust, runtime=registration.runtime)
        taken, code, columns = candidate.taken, _feature_code(registration), _columns(registration)
        version = _version(rooms, registration, taken=taken, found=found, code=code, columns=columns, policy=policy)
        if code is not None:
            (folder / _digest(code)).write_bytes(code)
        candidate.load(version, folder.joinpath)
        worth = _tried(version, candidate, registration=registration, columns=columns, horizon=policy.horizon)
    return taken, code, version, worth


def _version(
    rooms: Rooms,
    registration: Registration,
    *,
    taken: Taken,
    found: Inspected,
    code: bytes | None,
    columns: dict[str, list[Value]] | None,
    policy: Policy,
) -> Version:
    """The version as it would be kept. Raises Conflict when it is."""
    with rooms.store.read() as ledger:
        number = _next_number(ledger, registration.model)
    version = Version(
        model=registration.model,
        number=number,
        artifact=taken.digest,
        features=None if code is None else _digest(code),
        size=taken.size,
        runtime=found.runtime,
        signature=marked(_signature(registration, found, columns=columns), policy.privacy),
        created=rooms.clock.now(),
        lineage=structs.replace(registration.lineage, libraries=found.libraries | registration.lineage.libraries),
        note=registration.note,
    )
    with rooms.store.read() as ledger:
        _refuse_known(ledger, version)
    return version


def below(metrics: dict[str, float], policy: Policy) -> tuple[str, ...]:
    """The floors and ceilings of a policy that these metrics miss, in words; an unknown metric misses its target.

    >>> below({"recall": 0.4, "mae": 12.1}, Policy(model="m", targets={"recall": 0.5, "mae": 10}))
    ('recall 0.40 < 0.50', 'mae 12.1 > 10')
    """
    found = []
    for name, target in policy.targets.items():
        value = metrics.get(name)
        ceiling = name in profile.CEILINGS
        if value is None or not math.isfinite(value):
            found.append(f"{name} unknown, needs {'<=' if ceiling else '>='} {target:g}")
        elif ceiling and value > target:
            found.append(f"{name} {value:g} > {target:g}")
        elif not ceiling and value < target:
            digits = 2 if f"{value:.2f}" != f"{target:.2f}" else 6
            found.append(f"{name} {value:.{digits}f} < {target:.{digits}f}")
    return tuple(found)


def _against(registration: Registration, worth: _Worth) -> tuple[str, ...]:
    """Why the version is no better than something simpler, or was registered by force."""
    told, others = registration.metrics, registration.rivals
    said = rivals.below(told, others) or rivals.unskilled(worth.metrics, worth.rivals)
    said = (*rivals.worse_than_nothing(told | worth.metrics, others), *said)
    return (*said, *worth.forced, *registration.against)


def _check(registration: Registration) -> None:
    naming.check(registration.model)
    for metrics in (registration.metrics, *registration.rivals.values()):
        for metric, value in metrics.items():
            if not math.isfinite(value):
                raise BadInput(f"metric {metric!r} is {value}", remedy="give finite numbers")


def _feature_code(registration: Registration) -> bytes | None:
    code = registration.code
    if registration.features is not None:
        code = pack_features(registration.features)
    if code is not None and not registration.trust:
        raise BadArtifact(
            "feature code is Python, and code runs with the server's rights",
            remedy="read it, then register it with explicit trust",
        )
    return code


def _columns(registration: Registration) -> dict[str, list[Value]] | None:
    if registration.sample is not None:
        return read_table(registration.sample)
    return registration.columns or None


def _signature(registration: Registration, found: Inspected, *, columns: dict[str, list[Value]] | None) -> Signature:
    if registration.signature is not None:
        return registration.signature
    if columns is None:
        raise BadInput("what the model takes is not known", remedy="give a signature, or a sample to infer it from")
    if not registration.output:
        raise BadInput(
            "which column the model answers is not known", remedy=f"name the output, one of: {', '.join(columns)}"
        )
    names = [name for name in columns if name not in {registration.key, registration.time}]
    if found.inputs and registration.features is None and registration.code is None:
        # The file names its inputs: whatever else the sample holds is none of them.
        names = [name for name in names if name in {*found.inputs, registration.output}]
    used = {name: columns[name] for name in names}
    return infer_signature(used, output=registration.output, units=registration.units, classifies=found.classifies)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _next_number(ledger: Ledger, model: str) -> int:
    return max((version.number for version in ledger.versions.all(model)), default=0) + 1


def _refuse_known(ledger: Ledger, new: Version) -> None:
    for version in ledger.versions.all(new.model):
        if (version.artifact, version.features) == (new.artifact, new.features):
            raise Conflict(f"this very file is registered as {version.name}", remedy=f"release {version.name}")


def _tried(
    version: Version,
    candidate: Candidate,
    *,
    registration: Registration,
    columns: dict[str, list[Value]] | None,
    horizon: float,
) -> _Worth:
    """Let the loaded version answer the sample (or a row made up from the signature), and measure."""
    if columns is None:
        samples.tried(candidate.predict, [example(version.signature)])
        return _Worth(metrics=registration.metrics, chosen=candidate.choose([]))
    sample = samples.sample_of(columns, version.signature, key=registration.key, time=registration.time)
    outputs = samples.tried(candidate.predict, sample.rows)
    said = (
        samples.constant(outputs, sample),
        samples.strange(outputs, sample, signature=version.signature),
        samples.perfect(outputs, sample),
    )
    against = [*samples.problems(sample, version.signature), *filter(None, said)]
    if against and not registration.force:
        raise BadArtifact("; ".join(against), remedy="mend the model or the sample, or register it with force")
    measured, simple = samples.worth(outputs, sample, signature=version.signature, horizon=horizon)
    return _Worth(
        metrics=measured | registration.metrics,
        reference=profile.reference(version.signature, sample.columns),
        rivals=simple,
        forced=tuple(f"registered by force: {reason}" for reason in against),
        chosen=candidate.choose(_some(sample.rows)),
    )


def _some(rows: list[Features]) -> list[Features]:
    """At most some thousand rows, evenly out of all: as many as a runner is held against."""
    return rows[:: len(rows) // _HELD + 1]


def _keep(rooms: Rooms, version: Version, *, registration: Registration, also: Also | None) -> Version:
    with rooms.store.write() as ledger:
        _refuse_known(ledger, version)
        version = structs.replace(version, number=_next_number(ledger, version.model))
        ledger.versions.add(version)
        ledger.acts.append(
            who=registration.by,
            what="register",
            subject=version.name,
            why=registration.why,
            at=version.created,
            after=Raw(msgspec.json.encode(version)),
        )
        if also is not None:
            also(ledger, version)
    return version
