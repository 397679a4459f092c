"""The commands ``predictions load`` and ``outcomes load``: files of any length, with a bar, again without harm."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import App, Parameter
from msgspec import Struct
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from modelkeep.edge.cli import acts, show
from modelkeep.edge.cli.mapped import Names, outcome_of, prediction_of
from modelkeep.edge.cli.options import USUAL, Common
from modelkeep.edge.cli.reach import Reach
from modelkeep.edge.cli.usage import DONE, REFUSED, Wrongly, complain, guarded
from modelkeep.errors import BadInput
from modelkeep.nouns import Signature
from modelkeep.operations import named
from modelkeep.operations.act import Operation
from modelkeep.operations.recording import NAMED
from modelkeep.runtimes import infer_signature
from modelkeep.runtimes.streams import Bad, Piece, columns, pieces

AT_ONCE = 2000
"""So many rows are sent together."""
LOOKED = 10_000
"""So many rows tell what the inputs of a model are."""
predictions: App = acts.COMMANDS["predictions"]
outcomes = App(
    name="outcomes",
    help="What really happened, from files: load",
    help_format="plaintext",
    result_action="return_value",
)
Act = Operation[Any, Any]
Row = Callable[[Mapping[str, Any]], dict[str, Any]]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Which:
    """Whose rows they are, and how they are read."""

    model: Annotated[str, Parameter(help="Name of the model")] = ""
    map: Annotated[tuple[str, ...], Parameter(help="ours=theirs: what the file calls a field (key=customer)")] = ()
    dry_run: Annotated[bool, Parameter(negative="", help="Say what would become of the rows; keep nothing")] = False
    skip: Annotated[int, Parameter(help="Leave out so many rows: go on where a load ended")] = 0


ALL = Which()


@predictions.command(name="load")
def load_predictions(
    file: Annotated[Path, Parameter(help="Rows: .csv, .parquet, .ndjson or .arrow")],
    *,
    which: Which = ALL,
    declare: Annotated[
        bool, Parameter(negative="", help="Make a new model known from the file: it is served elsewhere")
    ] = False,
    common: Common = USUAL,
) -> int:
    """Record predictions that were made elsewhere, from a file of any length; with ids it may be loaded again.

    Columns named like the model's inputs are its features; the others are mapped: prediction, id, key, at, for,
    version, role, latency_ms, score, error, subject. Lines of JSON may be records as the REST call takes them.
    """

    def act() -> int:
        reach, names = Reach(common), Names.of(which.map)
        _model(which)
        if declare and not _known(reach, which.model):
            signature = _inferred(file, names)
            if which.dry_run:
                content = msgspec.json.encode({"model": which.model, "signature": signature})
                show.result("signature", content, as_json=common.json)
                return DONE
            values = {"model": which.model, "signature": msgspec.to_builtins(signature), "by": acts.me()}
            reach.do(named("declare"), values | {"note": f"declared from {file.name}"})
        signature = _signature(reach, which.model)
        names.check(columns(file), signature, file=file.name)
        return _loaded(
            named("record_predictions"),
            reach,
            file=file,
            which=which,
            row=lambda found: prediction_of(found, names, signature=signature),
            query={"model": which.model},
        )

    return guarded(act)


@outcomes.command(name="load")
def load_outcomes(
    file: Annotated[Path, Parameter(help="Rows: .csv, .parquet, .ndjson or .arrow")],
    *,
    which: Which = ALL,
    tolerance: Annotated[str, Parameter(help="How far the time may be from the prediction's, such as 1h")] = "",
    source: Annotated[str, Parameter(help="Where they come from (the file's name)")] = "",
    common: Common = USUAL,
) -> int:
    """Tell what really happened, from a file of any length; safe to load again.

    Columns: actual, and prediction_id, or key and for; others are mapped. With --dry-run it is told how many would meet
    their prediction, be corrections, stand for several, or meet none and why.
    """

    def act() -> int:
        reach, names = Reach(common), Names.of(which.map)
        _model(which)
        signature = _signature(reach, which.model)
        names.check_outcomes(columns(file), signature, file=file.name)
        query = {"model": which.model, "source": source or file.name}
        return _loaded(
            named("outcomes"),
            reach,
            file=file,
            which=which,
            row=lambda found: outcome_of(found, names, signature=signature),
            query=query | ({"tolerance": tolerance} if tolerance else {}),
        )

    return guarded(act)


def _model(which: Which) -> None:
    if not which.model:
        raise Wrongly("whose rows are they? write --model NAME")


def _signature(reach: Reach, model: str) -> Signature:
    found = json.loads(reach.do(named("model"), {"model": model}))
    champion = found["summary"]["champion"]
    chosen = next((v for v in found["versions"] if v["number"] == champion), found["versions"][-1])
    return msgspec.convert(chosen["signature"], type=Signature)


def _known(reach: Reach, model: str) -> bool:
    return any(one["model"] == model for one in json.loads(reach.do(named("models"), {}))["models"])


def _inferred(file: Path, names: Names) -> Signature:
    """What a model takes and answers, from the columns of a file that are not mapped to anything else."""
    first = next(pieces(file, size=LOOKED), None)
    rows = [row for _, row in (first.rows if first else []) if isinstance(row, dict)]
    if not rows:
        raise BadInput(f"{file.name} has no row")
    answer = names.theirs("prediction")
    if answer not in rows[0]:
        raise BadInput(
            f"which column of {file.name} is the answer is not known",
            remedy=f"--map prediction=COLUMN, one of: {', '.join(rows[0])}",
        )
    inputs = [name for name in rows[0] if name == answer or name not in names.taken]
    sample = {name: [row.get(name) for row in rows] for name in inputs}
    return infer_signature(sample, output=answer)


# ------------------------------------------------------------------------------------------------ on the way


class Loaded(Struct, frozen=True, kw_only=True):
    """How far a load came: rows read, and what the server said of them."""

    rows: int
    result: dict[str, Any]


def _loaded(operation: Act, reach: Reach, *, file: Path, which: Which, row: Row, query: Mapping[str, str]) -> int:
    asked = {**query, **({"dry_run": True} if which.dry_run else {})}
    read = which.skip
    total: Any = None
    with _taking(operation, reach, asked=asked) as take, bar(file.name) as moved:
        try:
            for piece in pieces(file, size=AT_ONCE, skip=which.skip):
                result = take(_sent(piece, row))
                total = result if total is None else operation.lines.join(total, result)  # type: ignore[union-attr]
                read = piece.rows[-1][0]
                moved(piece.done)
        except KeyboardInterrupt:
            complain(f"stopped after row {read}", f"go on with --skip {read}, or load it again: repeats do no harm")
            return 130
    if total is None:
        raise BadInput(f"{file.name} has no row" + (f" after {which.skip}" if which.skip else ""))
    content = msgspec.json.encode(total)
    show.result(operation.name, content, as_json=reach.as_json)
    refused = msgspec.json.decode(content)["refused"]
    if refused:
        complain(f"{refused} of {read - which.skip} rows were refused", f"the first {NAMED} are named above")
        return REFUSED
    return DONE


def _sent(piece: Piece, row: Row) -> list[tuple[int, bytes]]:
    """Rows as lines of JSON; what is no row goes as it is, so that it is counted and named with the others."""
    return [
        (number, b"{" if isinstance(found, Bad) else json.dumps(row(found)).encode()) for number, found in piece.rows
    ]


Take = Callable[[Sequence[tuple[int, bytes]]], Any]


@contextmanager
def _taking(operation: Act, reach: Reach, *, asked: Mapping[str, Any]) -> Iterator[Take]:
    """Takes lines: a server does, or without one this process on the data folder."""
    if reach.url:
        yield lambda lines: _over_http(operation, reach, asked=asked, lines=lines)
        return
    # The store and the runtimes come with local work, and asking a server must not wait for their import.
    local = importlib.import_module("modelkeep.edge.cli.local")
    decoding = importlib.import_module("modelkeep.edge.decoding")
    request = decoding.build(operation.request, asked)
    with local.opened(reach.settings) as app:
        yield lambda lines: operation.lines.take(app, lines, request=request)  # type: ignore[union-attr]


def _over_http(operation: Act, reach: Reach, *, asked: Mapping[str, Any], lines: Iterable[tuple[int, bytes]]) -> Any:
    """Send lines; numbers in the answer are those of the file again."""
    numbered = list(lines)
    content = reach.stream(operation, asked, body=b"\n".join(line for _, line in numbered))
    result = msgspec.json.decode(content, type=operation.result)
    problems = tuple(
        msgspec.structs.replace(problem, line=numbered[problem.line - 1][0]) for problem in result.problems
    )
    return msgspec.structs.replace(result, problems=problems)


@contextmanager
def bar(name: str) -> Iterator[Callable[[float], None]]:
    """A progress bar on standard error, gone when the file is through."""
    parts = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*parts, console=Console(file=sys.stderr), transient=True) as shown:
        task = shown.add_task(name, total=1.0)
        yield lambda done: shown.update(task, completed=done)
