"""A model that predicts elsewhere becomes known here: what it takes and answers, and nothing that could be run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Raw, Struct

from modelkeep import profile
from modelkeep.errors import BadInput, Conflict
from modelkeep.jobs import naming
from modelkeep.jobs.changing import change
from modelkeep.jobs.rooms import Rooms
from modelkeep.nouns import EXTERNAL, Baseline, Lineage, Rollout, Signature, Value, Version
from modelkeep.runtimes import infer_signature
from modelkeep.store.seams import Ledger


class Declaration(Struct, frozen=True, kw_only=True):
    """A version that answers elsewhere.

    ``signature`` is inferred from ``columns`` (a sample of its inputs, with its answers or truths under ``output``)
    when None. ``metrics`` are those of held-out data.
    """

    model: str
    signature: Signature | None = None
    columns: Mapping[str, Sequence[Value]] | None = None
    output: str = ""
    units: dict[str, str] = {}
    metrics: dict[str, float] = {}
    note: str = ""
    why: str = ""
    by: str = ""


class Declared(Struct, frozen=True, kw_only=True):
    """The file of such a version: there is nothing in it to run."""

    model: str
    number: int
    runtime: str
    signature: Signature


def declare(rooms: Rooms, declaration: Declaration) -> Version:
    """Make the next version of a model known that is served elsewhere, as the one that answers there from now on.

    Raises BadInput when what it takes is not known, Conflict when the model is served here.
    """
    naming.check(declaration.model)
    signature = _signature(declaration)
    columns, reference = declaration.columns, None
    if columns:
        named = {f.name for f in (*signature.inputs, signature.output)}
        seen = profile.reference(signature, {name: values for name, values in columns.items() if name in named})
        reference = rooms.files.put(profile.encode(seen))
    with rooms.store.write() as ledger:
        version = _version(rooms, ledger, declaration=declaration, signature=signature, reference=reference)
        ledger.versions.add(version)
        _answers(ledger, version, declaration=declaration)
    rooms.router.refresh()
    return version


def _version(
    rooms: Rooms, ledger: Ledger, *, declaration: Declaration, signature: Signature, reference: str | None
) -> Version:
    model, earlier = declaration.model, ledger.versions.all(declaration.model)
    served = next((version for version in earlier if not version.external), None)
    if served is not None:
        raise Conflict(
            f"{served.name} is served here: a model is served here or elsewhere",
            remedy="choose another name; records of it may be sent to POST /v1/predictions as they are",
        )
    number = max((version.number for version in earlier), default=0) + 1
    file = msgspec.json.encode(Declared(model=model, number=number, runtime=EXTERNAL, signature=signature))
    return Version(
        model=model,
        number=number,
        artifact=rooms.files.put(file),
        size=len(file),
        runtime=EXTERNAL,
        signature=signature,
        created=rooms.clock.now(),
        baseline=Baseline(metrics=declaration.metrics, reference=reference),
        lineage=Lineage(source="served elsewhere"),
        note=declaration.note,
    )


def _answers(ledger: Ledger, version: Version, *, declaration: Declaration) -> None:
    was = ledger.rollouts.get(version.model)
    after = Rollout(
        model=version.model,
        champion=version.number,
        previous=was.champion if was else None,
        policy=ledger.versions.policy(version.model).number,
        since=version.created,
    )
    ledger.acts.append(
        who=declaration.by or "unknown",
        what="register",
        subject=version.name,
        why=declaration.why,
        at=version.created,
        after=Raw(msgspec.json.encode(version)),
    )
    change(ledger, after, was=was, what="declare", who=declaration.by, why=declaration.why or "it answers elsewhere")


def _signature(declaration: Declaration) -> Signature:
    if declaration.signature is not None:
        return declaration.signature
    if not declaration.columns:
        raise BadInput("what the model takes is not known", remedy="give a signature, or a sample to infer it from")
    if declaration.output not in declaration.columns:
        raise BadInput(
            "which column the model answers is not known",
            remedy=f"name the output, one of: {', '.join(declaration.columns)}",
        )
    return infer_signature(declaration.columns, output=declaration.output, units=declaration.units)
