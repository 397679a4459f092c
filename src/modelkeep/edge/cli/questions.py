"""The commands ``sql`` and ``predictions export``: everything that is recorded, asked in SQL or written to a file."""

from __future__ import annotations

import csv
import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

from modelkeep.edge.cli import acts, show
from modelkeep.edge.cli.loading import predictions
from modelkeep.edge.cli.options import USUAL, Common
from modelkeep.edge.cli.reach import Reach
from modelkeep.edge.cli.usage import DONE, Wrongly, complain, guarded
from modelkeep.operations import named


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Within:
    """Which records are looked at."""

    model: Annotated[str, Parameter(help="Only this model")] = ""
    from_: Annotated[str, Parameter(name="--from", help="Only records asked from then on")] = ""
    to: Annotated[str, Parameter(help="Only records asked before then")] = ""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Which(Within):
    """Which predictions are written."""

    version: Annotated[int | None, Parameter(help="Only those of this version")] = None
    role: Annotated[
        Literal["champion", "canary", "shadow", "fallback"] | None, Parameter(help="Only those in this role")
    ] = None
    key: Annotated[str | None, Parameter(help="Only those of this entity")] = None


ALL, EVERY = Within(), Which()


def sql(
    query: Annotated[str, Parameter(help="One SELECT over predictions, outcomes and readings")],
    *,
    within: Within = ALL,
    limit: Annotated[int, Parameter(help="At most so many rows")] = 1000,
    patience: Annotated[float, Parameter(help="Seconds that it may take")] = 30.0,
    reveal: Annotated[bool, Parameter(help="Records that tell who somebody is, too", negative="")] = False,
    format: Annotated[Literal["table", "json", "csv"], Parameter(help="table, json or csv")] = "table",
    common: Common = USUAL,
) -> int:
    """Ask a question in SQL about everything that is recorded, archive included; it can change nothing."""

    def act() -> int:
        values: dict[str, Any] = {"query": query, "limit": limit, "patience": patience, "by": acts.me()}
        values |= {"reveal": True} if reveal else {}
        named_so = (("model", within.model), ("from", within.from_), ("to", within.to))
        values |= {name: value for name, value in named_so if value}
        found = msgspec.json.decode(Reach(common).do(named("ask"), values))
        columns, rows = found["columns"], found["rows"]
        if format == "csv" and not common.json:
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(["" if value is None else _flat(value) for value in row] for row in rows)
        elif format == "json" or common.json:
            listed = [dict(zip(columns, row, strict=True)) for row in rows]
            sys.stdout.write(msgspec.json.format(msgspec.json.encode(listed), indent=2).decode() + "\n")
        else:
            shown = [dict(zip(columns, map(_flat, row), strict=True)) for row in rows]
            lines = show.table(shown, columns=columns, width=show.width())
            sys.stdout.write("".join(f"{line.rstrip()}\n" for line in lines) or "no rows\n")
        if found["more"]:
            complain(f"there are more than {limit} rows", "ask for more with --limit, or for fewer in the question")
        return DONE

    return guarded(act)


@predictions.command
def export(
    output: Annotated[Path, Parameter(name=["--output", "-o"], help="The file to write")],
    *,
    which: Which = EVERY,
    format: Annotated[
        Literal["parquet", "csv", "arrow", "ndjson"] | None,
        Parameter(help="parquet, csv, arrow or ndjson; else as the file's name says"),
    ] = None,
    common: Common = USUAL,
) -> int:
    """Write predictions with their outcomes to a file, from database and archive, however many there are."""

    def act() -> int:
        if common.server:
            raise Wrongly("export reads the data folder itself: run it there, with -C")
        questions = importlib.import_module("modelkeep.operations.questions")
        settings = Reach(common).settings
        form = format or {".pq": "parquet", ".json": "ndjson", ".jsonl": "ndjson"}.get(output.suffix, output.suffix[1:])
        if form not in {"parquet", "csv", "arrow", "ndjson"}:
            raise Wrongly(f"what is {output.name} to be? say --format parquet, csv, arrow or ndjson")
        if not which.model:
            raise Wrongly("whose predictions? say --model NAME")
        request = questions.Export(
            model=which.model, from_=which.from_ or None, to=which.to or None, version=which.version, role=which.role,
            key=which.key, form=form, by=acts.me(),
        )  # fmt: skip
        store = importlib.import_module("modelkeep.app").open_store(settings)
        bar = Progress(SpinnerColumn(), TextColumn("{task.fields[rows]} records"), console=Console(stderr=True))
        try:
            store.open()
            with bar:
                row = bar.add_task("", total=None, rows="0")
                done = questions.export(
                    store, request, target=output, say=lambda count: bar.update(row, rows=f"{count:,}")
                )
        finally:
            store.close()
        show.result("export", msgspec.json.encode(done), as_json=common.json)
        return DONE

    return guarded(act)


def _flat(value: Any) -> Any:
    return msgspec.json.encode(value).decode() if isinstance(value, list | dict) else value
