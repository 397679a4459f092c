"""Questions in SQL about everything that is recorded, and records as files."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta, Struct, field

from modelkeep.clock import SystemClock
from modelkeep.errors import BadInput, Refused
from modelkeep.operations.act import By, ModelName, MomentText, Operation, moment
from modelkeep.operations.models import sought
from modelkeep.operations.seeing import Reveal, note_many, personal
from modelkeep.store.archive import exporting
from modelkeep.store.archive.exporting import Form
from modelkeep.store.archive.paging import Span
from modelkeep.store.archive.snapshot import MOST, VIEWS, taken

if TYPE_CHECKING:
    from modelkeep.app import App
    from modelkeep.store.seams import Ledger, Store

_ALL = "Only this model"


class Ask(Struct, frozen=True, kw_only=True):
    """One SELECT over the tables ``predictions``, ``outcomes`` and ``readings``, archive included.

    ``model``, ``from`` and ``to`` bound the records that are looked at (``asked`` within them). At most ``limit`` rows
    are answered, and the question is stopped after ``patience`` seconds.
    """

    query: Annotated[str, Meta(description="One SELECT, as DuckDB takes it", min_length=1, max_length=100_000)]
    model: Annotated[str, Meta(description=_ALL, max_length=200)] = ""
    from_: Annotated[MomentText | None, Meta(description="Only records asked from then on")] = field(
        default=None, name="from"
    )
    to: Annotated[MomentText | None, Meta(description="Only records asked before then")] = None
    limit: Annotated[int, Meta(description="At most so many rows", ge=1, le=100_000)] = 1000
    patience: Annotated[float, Meta(description="Seconds that it may take", gt=0, le=55)] = 30.0
    reveal: Reveal = False
    by: By = ""


class Told(Struct, frozen=True, kw_only=True):
    """The columns with their types, and the rows; ``more`` says that there were more than ``limit``."""

    columns: tuple[str, ...]
    kinds: tuple[str, ...]
    rows: list[list[Any]]
    more: bool


class Export(Struct, frozen=True, kw_only=True):
    """Which predictions, and as what: of one model, asked within a time, of a version, role or key."""

    model: ModelName
    from_: MomentText | None = field(default=None, name="from")
    to: MomentText | None = None
    version: int | None = None
    role: Literal["champion", "canary", "shadow", "fallback"] | None = None
    key: str | None = None
    form: Form = "parquet"
    by: By = ""


class Exported(Struct, frozen=True, kw_only=True):
    """A file that was written: where, how many rows, bytes."""

    path: str
    form: Form
    rows: int
    bytes: int


def ask(app: App, request: Ask) -> Told:
    """Ask a question in SQL about everything that is recorded: predictions, outcomes and readings, archive included.

    The question sees one moment, and nothing else: no file, no network, no extension, nothing that it could change.
    What is in the database is copied for it; at most 2,000,000 rows.
    Raises BadInput for what is no SELECT, TimedOut when it takes too long, Refused for records of models with features
    that tell who somebody is, unless ``reveal`` asks for them.
    """
    words = set(re.findall(r"\w+", request.query.lower()))
    with app.rooms.store.read() as ledger:
        sought(ledger, request.model)
        if "predictions" in words and not request.reveal:
            _refuse_names(ledger, request.model)
    span = Span(model=request.model or None, start=moment(request.from_, "from"), end=moment(request.to, "to"))
    wanted = [name for name in VIEWS if name in words]
    with taken(app.rooms.store, span=span, tables=wanted, most=MOST) as snapshot:
        found = snapshot.ask(request.query, limit=request.limit, seconds=request.patience)
    rows = [[_plain(value) for value in row] for row in found.rows]
    if "predictions" in wanted or "outcomes" in wanted:
        note_many(app.rooms.store, len(rows), act="sql", who=request.by, at=app.rooms.clock.now(), detail=request.model)
    return Told(columns=found.columns, kinds=found.kinds, rows=rows, more=found.more)


def export(store: Store, request: Export, *, target: Path, say: exporting.Say) -> Exported:
    """Write predictions with their outcomes to a file, from database and archive; memory does not grow with them.

    Raises NotFound for an unknown model, BadInput when the file is there or a package is missing, StoreUnavailable.
    """
    with store.read() as ledger:
        sought(ledger, request.model)
    if target.exists():
        raise BadInput.of("output", expected="a file that is not there yet", got=str(target))
    span = Span(model=request.model, start=moment(request.from_, "from"), end=moment(request.to, "to"))
    only = exporting.Only(version=request.version, role=request.role, key=request.key)
    rows = exporting.write(store, span, only=only, target=target, form=request.form, say=say)
    at = SystemClock().now()
    note_many(store, rows, act="export", who=request.by, at=at, detail=f"{request.model} to {target.name}")
    return Exported(path=str(target), form=request.form, rows=rows, bytes=target.stat().st_size)


def _refuse_names(ledger: Ledger, model: str) -> None:
    """Raise Refused when records within a question have features that tell who somebody is: SQL shows all of a row."""
    telling = [one for one in ([model] if model else ledger.versions.models()) if personal(ledger, one)]
    if telling:
        raise Refused(
            f"records of {', '.join(telling)} have features that tell who somebody is",
            remedy="ask about another --model, or with --reveal as the owner of the data folder",
        )


def _plain(value: Any) -> Any:
    """A value of DuckDB as JSON has it: moments in UTC with a Z, what is no number as null."""
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    return value if isinstance(value, str | int | bool | None) else str(value)


OPERATIONS = (
    Operation(
        name="ask", method="POST", path="/v1/sql", request=Ask, result=Told, run=ask,
        reveals=lambda asked: asked.reveal,
    ),
)  # fmt: skip
