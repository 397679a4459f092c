"""Models in smaller files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from modelkeep.jobs import compressing
from modelkeep.operations.act import By, ModelName, Number, Operation, Why

if TYPE_CHECKING:
    from modelkeep.app import App


class Compress(Struct, frozen=True, kw_only=True):
    """Which version."""

    model: ModelName
    number: Number
    dry_run: Annotated[bool, Meta(description="Only measure; register nothing")] = False
    why: Why = ""
    by: By = ""


class Compressed(Struct, frozen=True, kw_only=True):
    """The file before and after: bytes, milliseconds to load, and the inputs that both answered identically.

    ``stored`` of the ``inputs`` are recorded ones; the others mix their values. ``name`` is the version with the
    smaller file (empty in a dry run).
    """

    model: str
    number: int
    name: str
    size_before: int
    size_after: int
    saved: float
    load_ms_before: float
    load_ms_after: float
    inputs: int
    stored: int
    identical: bool = True


def compress(app: App, request: Compress) -> Compressed:
    """Put a version into a smaller file, as the next version, if 1,000 inputs are answered exactly as before.

    It is a candidate like any other, to be released. Raises Refused when an answer differs or nothing is gained,
    NotFound naming the versions that exist, and Conflict when it was done before.
    """
    done = compressing.compress(
        app.rooms, request.model, number=request.number, who=request.by, why=request.why, dry_run=request.dry_run
    )
    return Compressed(
        model=request.model,
        number=request.number,
        name="" if request.dry_run else done.version.name,
        size_before=done.before,
        size_after=done.after,
        saved=round(1 - done.after / done.before, 4),
        load_ms_before=round(done.load_before * 1000, 3),
        load_ms_after=round(done.load_after * 1000, 3),
        inputs=done.rows,
        stored=done.stored,
    )


OPERATIONS = (
    Operation(
        name="compress", method="POST", path="/v1/models/{model}/versions/{number}/compress", request=Compress,
        result=Compressed, run=compress, words=("models", "compress"), plain=("model", "number"),
    ),
)  # fmt: skip
