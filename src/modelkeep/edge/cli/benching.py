"""The command ``bench predict``: asks the running server as many clients do, and tells rates and percentiles."""

from __future__ import annotations

import importlib
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

import msgspec
from cyclopts import App, Parameter

from modelkeep.edge.cli.options import USUAL, Common
from modelkeep.edge.cli.reach import Reach
from modelkeep.edge.cli.usage import DONE, REFUSED, Wrongly, guarded
from modelkeep.errors import BadInput, Unavailable
from modelkeep.nouns import Field, Signature, Value
from modelkeep.operations import models
from modelkeep.quantities import seconds

bench = App(
    name="bench",
    help="Ask the server as many clients do, and tell rates and percentiles: predict",
    help_format="plaintext",
    result_action="return_value",
)
ROWS = 64
USUALLY = 1000
KEY = "bench"


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Load:
    """How much to ask."""

    n: Annotated[int, Parameter(name="--n", help="How many requests (1000, or what rate and time make)")] = 0
    rate: Annotated[str, Parameter(name="--rate", help="Requests due, such as 20/s or 600/min, answered or not")] = ""
    lasting: Annotated[str, Parameter(name="--for", help="How long, with a rate: 60s, 5m")] = ""
    connections: Annotated[int, Parameter(name="--connections", help="Connections at once")] = 16
    rows: Annotated[int, Parameter(name="--rows", help="Rows in each request")] = 1


USUAL_LOAD = Load()


@bench.command
def predict(
    *,
    model: Annotated[str, Parameter(help="The model to ask")],
    load: Load = USUAL_LOAD,
    row: Annotated[str, Parameter(help="The features to ask, as JSON; made up from the signature without it")] = "",
    html: Annotated[Path | None, Parameter(help="Write a report to this file")] = None,
    common: Common = USUAL,
) -> int:
    """Ask a model many times, and tell the rate, percentiles of request and model, and errors.

    The predictions are recorded like all others, with the key bench. With --rate each latency counts from the moment at
    which the request was due. Exit code 1 when a request was not answered.
    """

    def act() -> int:
        each, rows = _rate(load.rate) if load.rate else 0.0, load.rows
        count = _count(load, each)
        if not 1 <= load.connections <= 10_000 or not 1 <= rows <= 10_000:
            raise Wrongly("--connections and --rows are from 1 to 10000")
        reach = Reach(common)
        if not reach.url:
            raise Unavailable("no server runs on this folder", remedy="start one with modelkeep up, or name --server")
        bodies = _bodies(reach, model, row=row, rows=rows)
        engine = importlib.import_module("modelkeep.proving.pressing")
        address = urlsplit(reach.url)
        found = engine.press(
            engine.Wanted(
                host=address.hostname or "",
                port=address.port or (443 if address.scheme == "https" else 80),
                path=f"{address.path}/v1/models/{quote(model, safe='')}/predict",
                bodies=bodies,
                n=count,
                connections=load.connections,
                rate=each,
                headers=tuple(reach.token().items()),
                secure=address.scheme == "https",
            )
        )
        said = f"{model}, {rows} row{'s' * (rows > 1)} a request, at {reach.url}"
        if html is not None:
            drawn = importlib.import_module("modelkeep.proving.pressed_page")
            html.write_text(drawn.page(found, title=f"Load on {model}", asked=said), encoding="utf-8")
        if common.json:
            sys.stdout.write(msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n")
        else:
            sys.stdout.write("".join(f"{line}\n" for line in _lines(found, said)))
        return DONE if found.answered == found.n else REFUSED

    return guarded(act)


def _rate(text: str) -> float:
    """``20/s`` or ``600/min`` in requests a second."""
    number, _, unit = text.partition("/")
    per = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}.get(unit or "s")
    try:
        value = float(number)
    except ValueError:
        value = 0.0
    if per is None or not 0 < value / per <= 1_000_000:
        raise Wrongly(f"--rate {text!r} is no rate; write 20/s or 600/min")
    return value / per


def _count(load: Load, rate: float) -> int:
    n, lasting = load.n, load.lasting
    if lasting and not rate:
        raise Wrongly("--for goes with --rate; without a rate --n says how many requests")
    if lasting and n:
        raise Wrongly("--n and --for say the same twice; leave one out")
    count = round(rate * seconds(lasting)) if lasting else n or USUALLY
    if not 1 <= count <= 10_000_000:
        raise Wrongly(f"{count} requests; from 1 to 10,000,000 can be asked")
    return count


def _bodies(reach: Reach, model: str, *, row: str, rows: int) -> list[bytes]:
    """Bodies to ask in turn: the given row, or some that are drawn from the signature's ranges."""
    if row:
        try:
            given = [msgspec.json.decode(row, type=dict[str, Value])]
        except msgspec.MsgspecError as wrong:
            raise BadInput.of("--row", expected="a JSON object of inputs by name", got=str(wrong)) from None
    else:
        signature = _signature(reach, model)
        draw = random.Random(7)  # noqa: S311 - the same rows every time, no secret
        given = [{field.name: _drawn(field, draw) for field in signature.inputs} for _ in range(ROWS)]
    if rows == 1:
        return [msgspec.json.encode({"features": one, "key": KEY}) for one in given]
    found = []
    for start in range(min(len(given), 8)):
        several = [{"features": given[(start + place) % len(given)], "key": KEY} for place in range(rows)]
        found.append(msgspec.json.encode({"rows": several}))
    return found


def _signature(reach: Reach, model: str) -> Signature:
    show = next(operation for operation in models.OPERATIONS if operation.name == "model")
    shown = msgspec.json.decode(reach.do(show, {"model": model}), type=models.ModelView)
    number = shown.rollout.champion if shown.rollout else None
    found = [version for version in shown.versions if number in {None, version.number}]
    return found[-1].signature


def _drawn(field: Field, draw: random.Random) -> Value:
    """A value that fits a field."""
    if field.kind == "boolean":
        return draw.random() < 0.5
    if field.kind in {"category", "text"}:
        return draw.choice(field.categories) if field.categories else "text"
    low = field.low if field.low is not None else (0.0 if field.high is None else field.high - 1.0)
    high = field.high if field.high is not None else low + 1.0
    if field.kind == "integer":
        return draw.randint(round(low), max(round(low), int(high)))
    return min(max(round(draw.uniform(low, high), 6), low), high)


def _lines(found: Any, said: str) -> Iterator[str]:
    errors = ", ".join(f"{count} x {status}" for status, count in found.errors.items()) or "0"
    yield said
    due = f" ({found.wanted_rate:g} a second were due)" if found.wanted_rate else ""
    yield f"{found.answered} of {found.n} answered in {found.seconds:.1f} s: {found.rate:,.1f} a second{due}"
    yield f"errors: {errors}"
    yield f"{'ms':16}{'mean':>9}{'p50':>9}{'p90':>9}{'p95':>9}{'p99':>9}{'p99.9':>9}{'max':>9}"
    for name, times in (("whole request", found.whole), ("model", found.model)):
        if times is None:
            yield f"{name:16}{'unknown':>9}"
        else:
            values = (times.mean, times.p50, times.p90, times.p95, times.p99, times.p999, times.max)
            yield f"{name:16}" + "".join(f"{value:9.2f}" for value in values)
    if found.late is not None and found.late > 5:
        yield f"this side was late itself: {found.late:.1f} ms (99 %); ask less, or from another machine"
