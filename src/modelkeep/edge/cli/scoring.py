"""The command ``score``: a file in, its answers in a file out."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from modelkeep.edge.cli import acts, show
from modelkeep.edge.cli.loading import bar
from modelkeep.edge.cli.mapped import Names
from modelkeep.edge.cli.options import USUAL, Common
from modelkeep.edge.cli.reach import Reach
from modelkeep.edge.cli.training import ENDED
from modelkeep.edge.cli.usage import DONE, REFUSED, Wrongly, complain, guarded
from modelkeep.operations import named
from modelkeep.operations.scoring import out_form, table_form
from modelkeep.store import answers as written

GLANCE = 0.2
PAGE = 5000
Do = Callable[[str, Mapping[str, Any]], Any]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class How:
    """How a file is scored."""

    workers: Annotated[int, Parameter(help="Processes that answer; 0 = by the cores, at most 2")] = 0
    batch: Annotated[int, Parameter(help="Rows that are asked together; fewer take less memory")] = 100
    version: Annotated[int | None, Parameter(help="Another version than the champion; with --no-record")] = None
    map: Annotated[tuple[str, ...], Parameter(help="ours=theirs: what the file calls a field (key=customer)")] = ()
    record: Annotated[bool, Parameter(help="Record the answers like any other")] = True
    dry_run: Annotated[bool, Parameter(negative="", help="Read every row, name those that do not fit; ask nobody")] = (
        False
    )


PLAIN = How()


def score(
    model: Annotated[str, Parameter(help="Name of the model")],
    file: Annotated[Path, Parameter(help="Rows: .csv, .parquet, .ndjson or .arrow")],
    *,
    out: Annotated[
        Path | None, Parameter(name=["--out", "-o"], help="The file to write: .csv, .ndjson or .parquet")
    ] = None,
    how: How = PLAIN,
    common: Common = USUAL,
) -> int:
    """Answer every row of a file with a model, in order, by several processes, as durable work.

    Columns named like the model's inputs are its features; id, key, for and subject are taken along, the rest is left.
    The file that is written is whole or not there. A job that was begun is seen by: modelkeep jobs show ID.
    """

    def act() -> int:
        form = _form(out, file=file, how=how)
        reach = Reach(common)
        asked: dict[str, Any] = {
            "model": model, "file_format": table_form(file), "source": file.name,
            "names": Names.of(how.map).names, "workers": how.workers, "batch": how.batch, "record": how.record,
            "dry_run": how.dry_run, "by": acts.me(),
        }  # fmt: skip
        asked |= {} if how.version is None else {"number": how.version}
        asked["file"] = reach.send(file)
        with bar(file.name) as moved, _doing(reach, moved) as do:
            job = _ended(do, do("score", asked), moved=moved)
            if job["state"] == "done" and out is not None and form is not None:
                pages = _pages(do, job["id"])
                written.write(out, pages, form=form, columns=job["result"]["columns"])
                do("drop_answers", {"id": job["id"]})
        return _told(job, out, as_json=common.json)

    return guarded(act)


def _form(out: Path | None, *, file: Path, how: How) -> written.Form | None:
    if out is None:
        if how.dry_run:
            return None
        raise Wrongly("where to? write --out FILE, or --dry-run to look at the rows only")
    form = out_form(out)
    if out.exists() and file.exists() and out.samefile(file):
        raise Wrongly(f"--out {out} is the file that is read")
    if not out.absolute().parent.is_dir():
        raise Wrongly(f"--out {out}: there is no folder {str(out.parent)!r}")
    return form


@contextmanager
def _doing(reach: Reach, moved: Callable[[float], None]) -> Iterator[Do]:
    """Does acts by name: on a server, or without one in this process."""
    if reach.url:
        yield lambda name, values: msgspec.json.decode(reach.do(named(name), values))
        return
    local, decoding = (importlib.import_module(f"modelkeep.edge.{name}") for name in ("cli.local", "decoding"))
    acting = importlib.import_module("modelkeep.operations.scoring")

    with local.opened(reach.settings) as app:

        def heard(step: Any) -> None:
            if step.name == "scored":
                moved(msgspec.json.decode(step.evidence)["done"])

        def do(name: str, values: Mapping[str, Any]) -> Any:
            operation = named(name)
            request = decoding.build(operation.request, values)
            found = acting.score(app, request, heard=heard) if name == "score" else operation.run(app, request)
            return msgspec.json.decode(msgspec.json.encode(found))

        yield do


def _ended(do: Do, job: dict[str, Any], *, moved: Callable[[float], None]) -> dict[str, Any]:
    """The job when it has ended; Ctrl-C cancels it."""
    pause = threading.Event()
    try:
        while job["state"] not in ENDED:
            if job["error"]:
                complain(f"{job['id']} is tried again: {job['error']}")
            pause.wait(GLANCE)
            job = do("job", {"id": job["id"]})
            for step in job["steps"][-1:]:
                if step["name"] == "scored":
                    moved(step["evidence"]["done"])
    except KeyboardInterrupt:
        do("cancel", {"id": job["id"], "by": acts.me()})
        complain(f"{job['id']} is cancelled; nothing was written")
        raise
    return job


def _pages(do: Do, job: str) -> Iterator[list[written.RowAnswer]]:
    after: int | None = 0
    while after is not None:
        page = do("answers", {"id": job, "after": after, "limit": PAGE})
        yield msgspec.convert(page["answers"], type=list[written.RowAnswer])
        after = page["next"]


def _told(job: Mapping[str, Any], out: Path | None, *, as_json: bool) -> int:
    if job["state"] != "done":
        complain(job["error"] or f"{job['id']} was {job['state']}")
        return REFUSED
    result = {"job": job["id"], "out": str(out) if out else "", **job["result"]}
    show.result("score", msgspec.json.encode(result), as_json=as_json)
    without = result["refused"] + result["failed"]
    if without:
        sys.stdout.flush()
        complain(
            f"{without} of {result['rows']} rows have no answer: {result['refused']} do not fit, "
            f"{result['failed']} failed",
            f"the first {len(result['problems'])} are named above, all in the column error",
        )
        return REFUSED
    return DONE
