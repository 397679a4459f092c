"""What is wrong with a model: six questions about one version, each with its answer and what repairs it."""

from __future__ import annotations

import math
from time import perf_counter

from msgspec import Struct

from modelkeep.errors import BadArtifact, ModelkeepError, NotFound, StoreUnavailable
from modelkeep.jobs.rooms import Rooms
from modelkeep.nouns import Policy, Version
from modelkeep.profile import merged
from modelkeep.quantities import DAY
from modelkeep.runtimes.signatures import example


class Finding(Struct, frozen=True, kw_only=True):
    """One question: ``fine`` None means that it cannot be answered, and ``detail`` says why; ``fix`` repairs it."""

    question: str
    fine: bool | None
    detail: str
    fix: str = ""


class Diagnosis(Struct, frozen=True, kw_only=True):
    """Whether the file is there, whole and unchanged, what went wrong at loading, whether it loads and answers in time.

    ``fine`` is true when nothing is wrong.
    """

    model: str
    version: str
    fine: bool
    file_exists: bool
    file_size_valid: bool | None
    checksum_valid: bool | None
    initialization_errors: tuple[str, ...]
    can_initialize: bool | None
    performance_within_limits: bool | None
    findings: tuple[Finding, ...]


def diagnose(rooms: Rooms, version: Version, *, policy: Policy) -> Diagnosis:
    """Look at a version's files, load it, ask it a row that fits its signature, compare its times with the policy.

    A version that runs elsewhere is not loaded. Raises StoreUnavailable when files cannot be looked at at all.
    """
    exists, size = _sized(rooms, version)
    checksum = _checked(rooms, version) if exists.fine else _unasked("checksum", "the file is not there")
    told = _errors(rooms, version)
    loads, took = _tried(rooms, version, whole=checksum.fine is True)
    speed = _speed(rooms, version, policy=policy, took=took)
    findings = (exists, size, checksum, told, loads, speed)
    return Diagnosis(
        model=version.model,
        version=version.name,
        fine=not any(one.fine is False for one in findings),
        file_exists=exists.fine is True,
        file_size_valid=size.fine,
        checksum_valid=checksum.fine,
        initialization_errors=() if told.fine else (told.detail,),
        can_initialize=loads.fine,
        performance_within_limits=speed.fine,
        findings=findings,
    )


def _unasked(question: str, why: str) -> Finding:
    return Finding(question=question, fine=None, detail=f"not looked at: {why}")


def _sized(rooms: Rooms, version: Version) -> tuple[Finding, Finding]:
    try:
        size = rooms.files.size(version.artifact)
    except NotFound as gone:
        fix = f"put it back from a backup: modelkeep backups list --model {version.model}"
        return Finding(question="file", fine=False, detail=gone.message, fix=fix), _unasked("size", "there is no file")
    fine = size == version.size
    said = f"{size} bytes, {version.size} were registered"
    fix = "" if fine else f"put the registered file back: modelkeep backups list --model {version.model}"
    exists = Finding(question="file", fine=True, detail=f"{version.artifact[:12]} is there")
    return exists, Finding(question="size", fine=fine, detail=said, fix=fix)


def _checked(rooms: Rooms, version: Version) -> Finding:
    try:
        for digest in (version.artifact, version.features, version.baseline.reference):
            if digest is not None:
                rooms.files.path(digest)
    except (BadArtifact, NotFound) as changed:
        fix = f"modelkeep rollback {version.model}"
        return Finding(question="checksum", fine=False, detail=changed.message, fix=fix)
    return Finding(question="checksum", fine=True, detail="every byte is as it was registered")


def _errors(rooms: Rooms, version: Version) -> Finding:
    why = rooms.router.failures.get(version.name, "")
    if not why:
        return Finding(question="errors", fine=True, detail="no loading failed in this process")
    return Finding(question="errors", fine=False, detail=why, fix=f"modelkeep verify {version.name}")


def _tried(rooms: Rooms, version: Version, *, whole: bool) -> tuple[Finding, float]:
    """Whether it loads and answers one row, and how long the answer took (not a number when it did not)."""
    if version.external:
        return _unasked("loads", "it runs elsewhere"), math.nan
    if not whole:
        return _unasked("loads", "its file is not the one that was registered"), math.nan
    fix = f"modelkeep rollback {version.model}"
    try:
        with rooms.router.shelf.aside(version) as loaded:
            started = perf_counter()
            try:
                loaded.predict([example(version.signature)])
            except ModelkeepError as failed:
                said = f"it loads, and does not answer a row made up from its signature: {failed.message}"
                return Finding(question="loads", fine=None, detail=said, fix=fix), math.nan
            took = perf_counter() - started
    except StoreUnavailable:
        raise
    except ModelkeepError as broken:
        return Finding(question="loads", fine=False, detail=broken.message, fix=fix), math.nan
    return Finding(question="loads", fine=True, detail=f"it answered one row in {took * 1000:.3g} ms"), took


def _speed(rooms: Rooms, version: Version, *, policy: Policy, took: float) -> Finding:
    now = rooms.clock.now()
    with rooms.store.read() as ledger:
        slices = ledger.records.slices(version.model, version.number, role="champion", start=now - DAY, end=now + 1)
    mean = merged(one.profile for one in slices).mean_seconds
    seconds = took if mean is None else mean
    if math.isnan(seconds):
        return _unasked("speed", "it was not asked in 24 h, and cannot be asked now")
    fine = seconds <= policy.limit
    whence = "its calls of 24 h took" if mean is not None else "one row took"
    said = f"{whence} {seconds * 1000:.3g} ms in the mean, the policy allows {policy.limit * 1000:.3g} ms"
    fix = "" if fine else f"modelkeep fallback {version.model}"
    return Finding(question="speed", fine=fine, detail=said, fix=fix)
