"""The command ``drill kpis``: a sandbox server under load and faults, and the KPIs that its callers saw."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from cyclopts import App, Parameter

from modelkeep.edge.cli import show
from modelkeep.edge.cli.usage import DONE, REFUSED, Wrongly, complain, guarded

drill = App(
    name="drill",
    help="Hurt a sandbox server in every way, and tell the platform's KPIs: kpis",
    help_format="plaintext",
    result_action="return_value",
)
_WIDE = 200


@drill.command
def kpis(
    *,
    minutes: Annotated[float, Parameter(help="How long callers ask, at least; the faults take their turns in it")] = 10,
    rate: Annotated[float, Parameter(help="Requests a second, whether or not the one before was answered")] = 20,
    patience: Annotated[float, Parameter(help="Seconds for which a caller tries again; 0 = not at all")] = 10,
    json: Annotated[bool, Parameter(name="--json", negative="", help="Answer in JSON")] = False,
) -> int:
    """Hurt a sandbox server with more than twenty faults under load, and tell the twelve KPIs of the platform.

    The server, its folder and its model are the drill's own and are thrown away. Exit code 1 names each KPI that was
    missed and each fault that was not survived.
    """

    def act() -> int:
        if not 0 < minutes <= 24 * 60:
            raise Wrongly(f"--minutes {minutes:g} must be above 0 and at most 1440")
        if not 0 < rate <= 500:
            raise Wrongly(f"--rate {rate:g} must be above 0 and at most 500 requests a second")
        if not 0 <= patience <= 60:
            raise Wrongly(f"--patience {patience:g} must be from 0 to 60 s")
        engine = importlib.import_module("modelkeep.proving.drill")
        logging.getLogger("httpx").setLevel(logging.WARNING)
        wanted = engine.Wanted(minutes=minutes, rate=rate, patience=patience)
        report = engine.drill(wanted, say=lambda text: print_to(text, quiet=json))
        if json:
            sys.stdout.write(msgspec.json.format(msgspec.json.encode(report), indent=2).decode() + "\n")
        else:
            sys.stdout.write("".join(f"{line.rstrip()}\n" for line in _lines(report)))
        for name in report.failed:
            complain(f"missed: {name}")
        return REFUSED if report.failed else DONE

    return guarded(act)


def print_to(text: str, *, quiet: bool) -> None:
    """Tell how far the drill is, on standard error."""
    if not quiet:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def _lines(report: Any) -> Iterator[str]:
    """The faults with what callers saw, and the KPIs."""
    seen = [
        {
            "fault": span.name,
            "lasted": f"{span.end - span.start:.1f} s",
            "calls": str(span.calls),
            "tried again": str(span.waited),
            "no answer": str(span.lost),
            "stood in": str(span.stood_in),
            "slowest": "-" if span.slowest is None else f"{1000 * span.slowest:.0f} ms",
            "survived": "yes" if span.survived else "NO",
            "detail": span.detail,
        }
        for span in report.faults
    ]
    columns = ["fault", "lasted", "calls", "tried again", "no answer", "stood in", "slowest", "survived", "~detail"]
    yield from show.table(seen, columns=columns, width=_WIDE)
    yield ""
    marks = {True: "pass", False: "FAIL", None: "unknown"}
    rows = [
        {
            "KPI": kpi.name,
            "target": kpi.target,
            "value": "unknown" if kpi.value is None else f"{kpi.value:.4g} {kpi.unit}",
            "result": marks[kpi.met],
            "detail": kpi.detail,
        }
        for kpi in report.kpis
    ]
    yield from show.table(rows, columns=["KPI", "target", "value", "result", "~detail"], width=_WIDE)
    yield ""
    yield (
        f"{len(report.faults)} faults in {report.minutes:.1f} minutes at {report.rate:g} requests a second;"
        f" a caller tries for {report.patience:g} s"
    )
