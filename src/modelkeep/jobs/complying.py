"""Are people treated as was promised: five questions, each answered from what is really there.

The task ``comply`` asks them every day where some model knows of people, and keeps the answer as the reading
``compliance``, so that its course can be reported.

Source: Regulation (EU) 2016/679 (GDPR), articles 5 (minimisation, storage limitation), 7 (consent), 17 and 20 (erasure
and export), 32 (encryption).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Literal

from msgspec import Struct

from modelkeep.jobs import saving
from modelkeep.jobs.exposed import exposed, histories
from modelkeep.jobs.rooms import Done, Rooms, Run
from modelkeep.nouns import Policy, Prediction, Reading
from modelkeep.store.seams import Ledger

TASK = "comply"
Question = Literal["hasUserConsent", "dataMinimal", "dataEncrypted", "retentionCompliant", "userRightsImplemented"]
LOOKED = 1000
"""So many of the newest predictions of a model are looked at."""
ALLOWED = 2
"""What is recorded may have so many times the fields that the purpose needs."""
ALWAYS = ("timestamp", "model_version")


class Evidence(Struct, frozen=True, kw_only=True):
    """The answer to one question, what it stands on, and what to do where it is no."""

    question: Question
    fine: bool
    detail: str
    remedy: str = ""


class Overdue(Struct, frozen=True, kw_only=True):
    """Something that is kept longer than it should be: what, since when, and the command that takes it away."""

    what: str
    oldest: float
    command: str


def concerned(ledger: Ledger) -> list[Policy]:
    """The policies of the models that know of people: they record somebody, or their owner has said so."""
    found = []
    for model in ledger.versions.models():
        policy = ledger.versions.policy(model)
        said = policy.privacy.consent == "required" or policy.privacy.pii or policy.privacy.required
        if (
            said
            or ledger.persons.newest(model, limit=1)
            or any(v.signature.personal for v in ledger.versions.all(model))
        ):
            found.append(policy)
    return found


def consent(ledger: Ledger, policies: Iterable[Policy]) -> Evidence:
    """Whether everybody who is recorded had consented when it was."""
    wrong, looked = [], 0
    for policy in policies:
        recorded = ledger.persons.newest(policy.model, limit=LOOKED)
        looked += len(recorded)
        if recorded and policy.privacy.consent != "required":
            wrong.append(f"{policy.model} records people and does not ask for consent")
            continue
        without = sum(not _consented(ledger, p) for p in recorded)
        if without:
            wrong.append(f"{policy.model} holds {without} predictions of people who had not consented")
    return Evidence(
        question="hasUserConsent",
        fine=not wrong,
        detail="; ".join(wrong) or f"each of {looked} predictions about people was made under their consent",
        remedy='set privacy.consent = "required" in the model\'s policy; modelkeep privacy erase PERSON'
        if wrong
        else "",
    )


def _consented(ledger: Ledger, p: Prediction) -> bool:
    words = [word.granted for word in ledger.persons.said(p.subject or "") if word.at <= p.at]
    return bool(words and words[-1])


def minimal(ledger: Ledger, policies: Iterable[Policy]) -> Evidence:
    """Whether what is recorded is what the purpose needs: all of it, and at most twice as many fields."""
    wrong, seen = [], []
    for policy in policies:
        fields = recorded(ledger, policy.model)
        if not fields:
            continue
        needed = policy.privacy.required
        seen.append(f"{policy.model} {len(fields)} of {ALLOWED * len(needed)}")
        if not needed:
            wrong.append(f"{policy.model} declares no list of required fields")
            continue
        missing = [name for name in needed if name not in fields]
        if missing:
            wrong.append(f"{policy.model} does not record what it requires: {', '.join(missing)}")
        if len(fields) > ALLOWED * len(needed):
            extra = [name for name in fields if name not in needed]
            wrong.append(
                f"{policy.model} records {len(fields)} fields, {ALLOWED * len(needed)} are allowed; "
                f"not required: {', '.join(extra)}"
            )
    return Evidence(
        question="dataMinimal",
        fine=not wrong,
        detail="; ".join(wrong) or f"fields recorded: {', '.join(seen) or 'none about people'}",
        remedy="name what the purpose needs in privacy.required, and what is kept in privacy.keep" if wrong else "",
    )


def recorded(ledger: Ledger, model: str) -> list[str]:
    """The fields of a model's newest records: its moment, its version, its answer, its features; whose and of what."""
    found = [p for p in ledger.records.latest(model, limit=LOOKED) if p.role != "shadow"]
    if not found:
        return []
    versions = {v.number: v.signature.output.name for v in ledger.versions.all(model)}
    names = dict.fromkeys((*ALWAYS, versions.get(found[0].version, "prediction")))
    for p in found:
        names |= dict.fromkeys(p.features)
    if any(p.subject is not None for p in found):
        names["subject"] = None
    if any(p.key for p in found):
        names["key"] = None
    return list(names)


def encrypted(rooms: Rooms, *, proved: bool) -> Evidence:
    """Whether records are sealed on disk: by their bytes, and by a known text that was written and not found."""
    with rooms.store.read() as ledger:
        keys = ledger.persons.keys
        masters, newest, seals = keys.masters(), keys.sealer.newest, keys.sealer.encrypts
    wrong = []
    if not seals:
        wrong.append("nothing is encrypted")
    elif not proved:
        wrong.append("a known text that was written was found in the bytes of the files")
    plain = [*exposed(rooms), *histories(rooms), *_backups(rooms)] if seals else []
    wrong += [f"{what} lie in the clear" for what in plain]
    if seals and masters - {newest}:
        wrong.append("keys are wrapped under another master key than the newest")
    return Evidence(
        question="dataEncrypted",
        fine=not wrong,
        detail="; ".join(wrong)
        or "a known text was written and is in no file; every record, file of the archive and of datasets is sealed",
        remedy=("" if not wrong else "modelkeep privacy rotate" if seals else "set privacy.encrypt and privacy.key"),
    )


def _backups(rooms: Rooms) -> list[str]:
    n = sum(not saving.contents(path).sealed for path in saving.saved(rooms))
    return [f"{n} backups"] if n else []


def retained(overdue: Iterable[Overdue], *, now: float) -> Evidence:
    """Whether anything is kept longer than was said."""
    late = list(overdue)
    said = "; ".join(f"{one.what} is {(now - one.oldest) / 86400:.1f} days old" for one in islice(late, 10))
    return Evidence(
        question="retentionCompliant",
        fine=not late,
        detail=said or "nothing is older than its policy allows",
        remedy="; ".join(dict.fromkeys(one.command for one in late)),
    )


def comply(rooms: Rooms, run: Run, *, check: Callable[[], tuple[Evidence, ...]]) -> Done:
    """The task ``comply``: ask the five questions where some model knows of people, and keep the answer."""
    del run
    with rooms.store.read() as ledger:
        if not concerned(ledger):
            return Done()
    return Done(result=keep(rooms, check()))


def keep(rooms: Rooms, found: Iterable[Evidence]) -> Reading:
    """Keep the answers as the reading ``compliance``: the share of the five questions that are answered with yes."""
    answers = list(found)
    wrong = [one for one in answers if not one.fine]
    reading = Reading(
        name="compliance",
        subject="server",
        value=1.0 - len(wrong) / len(answers),
        level="warning" if wrong else "ok",
        at=rooms.clock.now(),
        n=len(answers),
        detail="; ".join(f"{one.question}: {one.detail}" for one in wrong)[:500]
        or "all five questions are answered yes",
        facts={
            **{one.question: one.fine for one in answers},
            "not_recorded": float(sum(rooms.gateway.counters.not_recorded.values())),
        },
    )
    with rooms.store.write("work") as ledger:
        ledger.readings.add([reading])
    return reading
