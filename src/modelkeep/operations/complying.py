"""The compliance check: five questions, each proved; that people can be forgotten is proved by forgetting one."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct, field, structs

from modelkeep.errors import ModelkeepError
from modelkeep.extended import personals
from modelkeep.jobs import complying, retaining
from modelkeep.jobs.complying import Evidence
from modelkeep.nouns import EXTERNAL, Field, Outcome, Prediction, Signature, Version
from modelkeep.operations.act import Operation
from modelkeep.operations.erasing import ErasePerson, ExportPerson, erase_person, export_person
from modelkeep.store import traces

if TYPE_CHECKING:
    from modelkeep.app import App

MODEL = "a-sandbox-model"


class CheckCompliance(Struct, frozen=True, kw_only=True):
    """Nothing to choose."""


class Compliance(Struct, frozen=True, kw_only=True):
    """Five answers, and what each stands on. ``models`` are those that know of people."""

    consent: bool = field(name="hasUserConsent")
    minimal: bool = field(name="dataMinimal")
    encrypted: bool = field(name="dataEncrypted")
    retention: bool = field(name="retentionCompliant")
    rights: bool = field(name="userRightsImplemented")
    evidence: tuple[Evidence, ...]
    models: tuple[str, ...]


def check_compliance(app: App, request: CheckCompliance) -> Compliance:
    """Check whether people are treated as promised: consent, minimisation, encryption, retention, their rights.

    Each answer comes with what it stands on, and is kept as the reading ``compliance``. Exit code 1 names what is not
    fine.
    """
    del request
    found = evidence(app)
    complying.keep(app.rooms, found)
    with app.rooms.store.read() as ledger:
        models = tuple(policy.model for policy in complying.concerned(ledger))
    answers = {one.question: one.fine for one in found}
    return Compliance(
        consent=answers["hasUserConsent"],
        minimal=answers["dataMinimal"],
        encrypted=answers["dataEncrypted"],
        retention=answers["retentionCompliant"],
        rights=answers["userRightsImplemented"],
        evidence=found,
        models=models,
    )


def evidence(app: App) -> tuple[Evidence, ...]:
    """The five answers."""
    with app.rooms.store.read() as ledger:
        policies = complying.concerned(ledger)
        asked = complying.consent(ledger, policies)
        minimal = complying.minimal(ledger, policies)
    rights, sealed = _tried(app)
    now = app.rooms.clock.now()
    settings = app.settings
    overdue = retaining.overdue(app.rooms, accesses=settings.privacy.accesses, readings=settings.keeping.readings)
    return asked, minimal, complying.encrypted(app.rooms, proved=sealed), complying.retained(overdue, now=now), rights


def _tried(app: App) -> tuple[Evidence, bool]:
    """What becomes of a made-up person in a sandbox with these settings; and whether its data could be read on disk."""
    with tempfile.TemporaryDirectory(prefix="modelkeep-sandbox-") as name:
        folder = Path(name) / "data"
        plain = structs.replace(app.settings.store, url=None, path="modelkeep.db")
        settings = structs.replace(app.settings, folder=folder, store=plain, workloads=(), schedules={}, models={})
        try:
            with type(app).open(settings, clock=app.rooms.clock) as sandbox:
                sandbox.extensions = app.extensions
                wrong, sealed = _wronged(sandbox)
        except ModelkeepError as fault:
            wrong, sealed = [f"the sandbox failed: {fault}"], False
    return Evidence(
        question="userRightsImplemented",
        fine=not wrong,
        detail="; ".join(wrong)
        or "a made-up person was recorded, exported, erased, and is in no file of the sandbox; the receipt is genuine",
        remedy="see what is named; modelkeep privacy erase PERSON --dry-run" if wrong else "",
    ), sealed


def _wronged(sandbox: App) -> tuple[list[str], bool]:
    """What went wrong with a made-up person, and whether a known text of it could not be read on disk."""
    person, known = f"person-{secrets.token_hex(12)}", f"known-{secrets.token_hex(12)}"
    _record(sandbox, person, known=known)
    planted = [one for one in personals(sandbox.extensions) if one.plant is not None]
    for one in planted:
        assert one.plant is not None  # noqa: S101 - chosen above
        one.plant(sandbox.rooms, person)
    sealed = not _files(sandbox.rooms.folder, known)
    wrong: list[str] = []
    held = export_person(sandbox, ExportPerson(subject=person, by="compliance check"))
    if len(held.predictions) != 2 or known not in str(held.predictions) or not held.consents:
        wrong.append("the export lacks what was recorded of a made-up person")
    wrong += [f"the export lacks rows of {place}" for place, rows in held.rows.items() if planted and not rows]
    gone = erase_person(sandbox, ErasePerson(subject=person, by="compliance check"))
    if gone.state != "done" or gone.receipt is None or gone.counts.get("predictions") != 2:
        wrong.append("the erasure of a made-up person did not end with a receipt over its records")
    wrong += [f"after its erasure the person still stands in {file}" for file in gone.remains]
    left = export_person(sandbox, ExportPerson(subject=person, by="compliance check"))
    if left.predictions or left.told_by_key:
        wrong.append("after its erasure records of a made-up person are still found")
    wrong += [f"after its erasure rows of {place} are still found" for place, rows in left.rows.items() if rows]
    return wrong, sealed


def _files(folder: Path, text: str) -> list[Path]:
    return [path for path in traces.files([folder]) if traces.count(path, traces.written(text))]


def _record(sandbox: App, person: str, *, known: str) -> None:
    now = sandbox.rooms.clock.now()
    signature = Signature(inputs=(Field(name="note", kind="text", pii=True),), output=Field(name="y", kind="number"))
    version = Version(model=MODEL, number=1, artifact="", size=0, runtime=EXTERNAL, signature=signature, created=now)
    with sandbox.rooms.store.write() as ledger:
        ledger.versions.add(version)
        ledger.persons.say(person, granted=True, at=now, by="compliance check")
    predictions = [
        Prediction(
            id=id_, model=MODEL, version=1, role="champion", features={"note": known}, output=1.0, at=now, target=now,
            seconds=0.001, key=person, subject=person,
        )
        for id_ in sandbox.rooms.recorder.new_ids(2)
    ]  # fmt: skip
    sandbox.rooms.recorder.take(predictions)
    sandbox.rooms.recorder.tell([Outcome(value=2.0, at=now, prediction=predictions[0].id)]).result(10)
    sandbox.rooms.recorder.flush()


def _finding(found: Compliance) -> str:
    return "\n".join(_lines(found))


def _lines(found: Compliance) -> Iterator[str]:
    for one in found.evidence:
        if not one.fine:
            yield f"{one.question} = false: {one.detail}{f' ({one.remedy})' if one.remedy else ''}"


OPERATIONS = (
    Operation(
        name="compliance", method="GET", path="/v1/compliance", request=CheckCompliance, result=Compliance,
        run=check_compliance, words=("compliance", "check"), finding=_finding,
    ),
)  # fmt: skip
