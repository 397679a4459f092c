"""A model file becomes a version: a candidate, which answers nobody until it is released."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from modelkeep.errors import BadArtifact
from modelkeep.jobs import registering
from modelkeep.jobs.registering import Registration
from modelkeep.nouns import Lineage, Signature, Version
from modelkeep.operations import uploads
from modelkeep.operations.act import By, ModelName, Operation, Why
from modelkeep.operations.models import VersionView, view
from modelkeep.operations.uploads import Digest

if TYPE_CHECKING:
    from modelkeep.app import App


PATIENCE = 1800.0
"""Seconds that a command waits: every step of the trial may take as long as the setting ``loading.trial`` says."""


class Register(Struct, frozen=True, kw_only=True):
    """A model file (sent to ``/v1/files`` before), and what is known about it.

    ``features`` is feature code and ``sample`` held-out data, both sent before. The signature is inferred from the
    sample when none is given; with the truth in the column ``output``, so are the metrics. ``trust`` vouches for code
    in the files.
    """

    model: ModelName
    file: Digest
    runtime: Annotated[str, Meta(description="Refuse any other format than this one")] | None = None
    trust: bool = False
    features: Digest | None = None
    sample: Digest | None = None
    sample_format: Literal["csv", "parquet", "json"] = "csv"
    output: Annotated[str, Meta(description="The sample's column that the model answers", max_length=500)] = ""
    key: Annotated[str, Meta(description="The sample's column with the entity", max_length=500)] = ""
    time: Annotated[str, Meta(description="The sample's column with the moment", max_length=500)] = ""
    units: Annotated[dict[str, str], Meta(description="Units of columns by name")] = {}
    signature: Signature | None = None
    metrics: Annotated[dict[str, float], Meta(description="Metrics of held-out data, such as mae")] = {}
    lineage: Lineage = Lineage()
    note: Annotated[str, Meta(description="A remark", max_length=2000)] = ""
    force: Annotated[bool, Meta(description="Register despite what the sample says against it")] = False
    why: Why = ""
    by: By = ""


def register(app: App, request: Register) -> VersionView:
    """Register a model file as the next version of its model.

    It is recognised by its content, looked at without running it, and asked for a tiny prediction; nothing is kept of a
    file that is refused. Raises BadArtifact with the reason, BadInput for a sample or signature that does not fit,
    Conflict for a file that is registered already, NotFound for a file that was not sent.
    """
    try:
        version = _registered(app, request)
    except BadArtifact:
        _forget(app, request)  # a file that is refused is not wanted again
        raise
    _forget(app, request)
    return view(version, None)


def _forget(app: App, request: Register) -> None:
    for digest in (request.file, request.features, request.sample):
        if digest is not None:
            uploads.forget(app, digest)


def _registered(app: App, request: Register) -> Version:
    code = uploads.received(app, request.features).read_bytes() if request.features else None
    with tempfile.TemporaryDirectory(prefix="register-") as scratch:
        sample = None
        if request.sample:
            # The reader of tables tells formats by the ending, which an uploaded file has not.
            sample = Path(scratch) / f"sample.{request.sample_format}"
            sample.symlink_to(uploads.received(app, request.sample).resolve())
        return registering.register(
            app.rooms,
            Registration(
                model=request.model,
                path=uploads.received(app, request.file),
                runtime=request.runtime,
                trust=request.trust,
                code=code,
                signature=request.signature,
                metrics=request.metrics,
                sample=sample,
                output=request.output,
                units=request.units,
                key=request.key,
                time=request.time,
                lineage=request.lineage,
                note=request.note,
                force=request.force,
                why=request.why,
                by=request.by,
            ),
        )


OPERATIONS = (
    Operation(
        name="register", method="POST", path="/v1/models/{model}/versions", request=Register, result=VersionView,
        run=register, status=201, runs_code=lambda asked: asked.trust, patience=PATIENCE,
    ),
)  # fmt: skip
