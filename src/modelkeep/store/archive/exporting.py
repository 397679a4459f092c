"""Records as files for other programs: Parquet, CSV, Arrow, NDJSON."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from modelkeep.errors import BadSettings, StoreUnavailable
from modelkeep.store import durable
from modelkeep.store.archive.paging import Span
from modelkeep.store.archive.snapshot import WINDOW, taken
from modelkeep.store.seams import Store

Form = Literal["parquet", "csv", "arrow", "ndjson"]
Say = Callable[[int], None]
_FORMS: dict[Form, str] = {
    "parquet": "(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 20_000)",
    "csv": "(FORMAT csv, HEADER true, TIMESTAMPFORMAT '%Y-%m-%dT%H:%M:%S.%fZ')",
    "ndjson": "(FORMAT json, TIMESTAMPFORMAT '%Y-%m-%dT%H:%M:%S.%fZ')",
}
ROWS = 10_000


class Only(Struct, frozen=True, kw_only=True):
    """Which of the records: those of a version, a role, a key; None is every one."""

    version: int | None = None
    role: str | None = None
    key: str | None = None


def write(store: Store, span: Span, *, only: Only, target: Path, form: Form, say: Say, window: int = WINDOW) -> int:
    """Write records to ``target``, whole or not at all; how many. ``say`` is told how many are copied by then.

    About ``window`` rows are in memory at a time, however many there are.

    Raises StoreUnavailable when the disk fails, BadSettings when Arrow is wanted and pyarrow is missing.
    """
    arrow = _arrow() if form == "arrow" else None
    conditions, values = ["TRUE"], list[Any]()
    for name, wanted in (("version", only.version), ("role", only.role), ("key", only.key)):
        if wanted is not None:
            conditions.append(f"{name} = ?")
            values.append(wanted)
    where = " AND ".join(conditions)
    try:
        with (
            durable.beside(target.parent) as part,
            taken(store, span=span, tables=["predictions"], most=2**62, closed=False, say=say) as snapshot,
        ):
            if arrow is None:
                count = snapshot.write(where, values, target=part, form=_FORMS[form], window=window)
            else:
                reader = snapshot.batches(where, values, rows=ROWS, window=window)
                count = _written(arrow, reader, part=part)
            durable.seal(part)
            durable.settle(part, target)
    except OSError as fault:
        raise StoreUnavailable(
            f"cannot write {target}: {fault.strerror or fault}", remedy="check its folder"
        ) from fault
    return count


def _written(arrow: Any, reader: Any, *, part: Path) -> int:
    count = 0
    with arrow.OSFile(str(part), "wb") as sink, arrow.ipc.new_file(sink, reader.schema) as file:
        for batch in reader:
            file.write_batch(batch)
            count += batch.num_rows
    return count


def _arrow() -> Any:
    try:
        return importlib.import_module("pyarrow")
    except ModuleNotFoundError:
        raise BadSettings(
            "Arrow files need the package pyarrow, which is not installed",
            remedy="pip install 'modelkeep[arrow]', or choose --form parquet",
        ) from None
