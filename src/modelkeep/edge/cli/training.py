"""The commands ``train`` and ``explain``."""

from __future__ import annotations

import importlib
import json
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from modelkeep.edge.cli import acts, show
from modelkeep.edge.cli.files import FORMATS, object_of
from modelkeep.edge.cli.options import USUAL, Common
from modelkeep.edge.cli.reach import Reach
from modelkeep.edge.cli.usage import DONE, REFUSED, Wrongly, complain, guarded, pairs
from modelkeep.operations import named
from modelkeep.quantities import duration, iso

GLANCE = 0.3
ENDED = frozenset({"done", "failed", "cancelled"})
_WIDE = 160


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class What:
    """What is trained on, and what becomes of it."""

    data: Annotated[Path | None, Parameter(help="The table: .csv, .parquet or .json")] = None
    map: Annotated[tuple[str, ...], Parameter(help="ours=theirs: what the table calls a column (amount=visitors)")] = ()
    simulate: Annotated[int, Parameter(help="So many simulated rows instead; such a version is labelled")] = 0
    seed: Annotated[int, Parameter(help="The seed of the simulation")] = 0
    release: Annotated[bool, Parameter(help="Release what is made; a first version goes live at once")] = False
    dry_run: Annotated[bool, Parameter(negative="", help="Read, prepare and examine, but train nothing")] = False
    force: Annotated[bool, Parameter(negative="", help="Despite what speaks against the data; say --why")] = False
    why: Annotated[str, Parameter(help="The reason, kept in the audit chain")] = ""


NOTHING = What()


def train(
    name: Annotated[str, Parameter(help="A workload, or workload/model")],
    *,
    what: What = NOTHING,
    common: Common = USUAL,
) -> int:
    """Train a workload's model on a table of your own, and say how it stands beside simple baselines.

    The table is checked column by column, examined for labels that are formulas and features that know the future, and
    trained on in a process of its own; what comes of it is a candidate until it is released.
    """

    def act() -> int:
        reach = Reach(common)
        asked: dict[str, Any] = {
            "name": name, "names": _names(what.map), "simulate": what.simulate, "seed": what.seed,
            "release": what.release, "dry_run": what.dry_run, "force": what.force, "why": what.why, "by": acts.me(),
        }  # fmt: skip
        if what.data is not None:
            ending = what.data.suffix.lower()
            if ending not in FORMATS:
                raise Wrongly(f"--data {what.data}: expected a .csv, .parquet or .json file")
            if not what.data.is_file():
                raise Wrongly(f"no file {str(what.data)!r}")
            asked |= {"file": reach.send(what.data), "file_format": FORMATS[ending], "source": what.data.name}
        say = _quiet if common.json else _tell
        job = _followed(reach, asked, say=say) if reach.url else _here(reach, asked, say=say)
        return _ended(job, as_json=common.json)

    return guarded(act)


def explain(
    model: Annotated[str, Parameter(help="Name of the model, or model@version")],
    *values: Annotated[str, Parameter(help="Features as name=value")],
    features: Annotated[str, Parameter(help="Features as a JSON object")] = "",
    common: Common = USUAL,
) -> int:
    """Tell what each input added to a model's answer; nothing is recorded."""

    def act() -> int:
        plain, at, number = model.rpartition("@")
        asked: dict[str, Any] = {"model": plain if at else model}
        if at:
            if not number.isdigit():
                raise Wrongly(f"which version of {plain}? write {plain}@2")
            asked["number"] = int(number)
        asked["features"] = {**object_of(features), **pairs(values, "feature")}
        return acts.perform(named("explain"), asked, common=common, reach=Reach(common))

    return guarded(act)


def _names(texts: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for text in texts:
        ours, equals, theirs = text.partition("=")
        if not (ours and equals and theirs):
            raise Wrongly(f"--map {text!r}: expected ours=theirs, for example --map amount=visitors")
        found[ours] = theirs
    return found


def _here(reach: Reach, asked: Mapping[str, Any], *, say: Callable[[str, str], None]) -> dict[str, Any]:
    """Train without a server, telling each stage as it ends."""
    local = importlib.import_module("modelkeep.edge.cli.local")
    found: dict[str, Any] = json.loads(local.train(reach.settings, asked, say=say))
    return found


def _followed(reach: Reach, asked: Mapping[str, Any], *, say: Callable[[str, str], None]) -> dict[str, Any]:
    """Let the server train, telling each stage once its job has it."""
    job: dict[str, Any] = json.loads(reach.do(named("train"), asked))
    told, pause = 0, threading.Event()
    while True:
        for step in job["steps"][told:]:
            say(step["name"], step["detail"])
        told = len(job["steps"])
        if job["state"] in ENDED:
            return job
        pause.wait(GLANCE)
        job = json.loads(reach.do(named("job"), {"id": job["id"]}))


def _ended(job: Mapping[str, Any], *, as_json: bool) -> int:
    if job["state"] != "done":
        complain(job["error"] or f"the training was {job['state']}")
        return REFUSED
    result = job["result"]
    if as_json:
        sys.stdout.write(json.dumps(result, indent=2) + "\n")
    else:
        sys.stdout.write("".join(f"{line}\n" for line in _report(result)))
    return DONE


def _report(result: Mapping[str, Any]) -> list[str]:
    """The table of the model beside its baselines, and what it stands on."""
    lines = []
    if result["table"]:
        baselines = list(dict.fromkeys(name for row in result["table"] for name in row["baselines"]))
        rows = [
            {"metric": row["metric"], "model": row["model"], **row["baselines"], "verdict": row["verdict"]}
            for row in result["table"]
        ]
        lines += [*show.table(rows, columns=["metric", "model", *baselines, "verdict"], width=_WIDE), ""]
    span = f" from {iso(result['start'])[:10]} to {iso(result['end'])[:10]}" if result["start"] else ""
    lines.append(f"{result['rows']:,} of {result['raw']:,} rows, {result['groups']:,} entities{span}")
    if result["seconds"] is not None:
        held = f", held out by {result['split']}" if result["split"] else ", the trainer declares no split"
        lines.append(f"trained in {duration(result['seconds'])}{held}")
    if result["data_source"] == "sample":
        lines.append("SIMULATED: it says nothing about your data")
    lines += [f"below: {reason}" for reason in result["below"]]
    return [*lines, result["detail"]]


def _tell(stage: str, detail: str) -> None:
    sys.stderr.write(f"{stage}: {detail}\n")
    sys.stderr.flush()


def _quiet(_stage: str, _detail: str) -> None:
    return
