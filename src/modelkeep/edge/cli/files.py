"""Commands that read files and words of people: registering a model, asking it, telling what really happened."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from modelkeep.edge.cli import acts
from modelkeep.edge.cli.options import USUAL, Common
from modelkeep.edge.cli.reach import Reach
from modelkeep.edge.cli.usage import Wrongly, guarded, pairs, scalar
from modelkeep.operations import named
from modelkeep.runtimes import packing
from modelkeep.runtimes.tables import read_table

FORMATS = {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".parquet": "parquet", ".pq": "parquet", ".json": "json"}


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known about a model file."""

    sample: Annotated[Path | None, Parameter(help="Held-out data: .csv, .parquet or .json")] = None
    output: Annotated[str, Parameter(help="The sample's column that the model answers")] = ""
    key: Annotated[str, Parameter(help="The sample's column with the entity")] = ""
    time: Annotated[str, Parameter(help="The sample's column with the moment")] = ""
    features: Annotated[str, Parameter(help="Feature code: file.py or file.py:function")] = ""
    signature: Annotated[Path | None, Parameter(help="JSON file with the signature, instead of a sample")] = None
    metrics: Annotated[Path | None, Parameter(name=["--metrics", "--baseline"], help="JSON file with metrics")] = None
    metric: Annotated[tuple[str, ...], Parameter(help="One metric, such as mae=3.2")] = ()
    trust: Annotated[bool, Parameter(negative="", help="Vouch for the code in the files")] = False
    force: Annotated[bool, Parameter(negative="", help="Register despite what the sample says against it")] = False
    runtime: Annotated[str | None, Parameter(help="Refuse any other format than this one")] = None
    note: Annotated[str, Parameter(help="A remark")] = ""
    why: Annotated[str, Parameter(help="The reason, kept in the audit chain")] = ""
    external: Annotated[
        bool, Parameter(negative="", help="It is served elsewhere: there is no file, only a signature or a sample")
    ] = False


NOTHING = Known()


def register(
    model: Annotated[str, Parameter(help="Name of the model")],
    file: Annotated[str, Parameter(help="Model file, or file.py:function; none with --external")] = "",
    *,
    known: Known = NOTHING,
    common: Common = USUAL,
) -> int:
    """Register a model file as the next version of its model.

    It is recognised by its content, looked at without running it, and asked for a tiny prediction; nothing is kept of a
    file that is refused.
    """

    def act() -> int:
        reach = Reach(common)
        if known.external:
            return _declare(reach, model, file=file, known=known, common=common)
        values: dict[str, Any] = {
            "model": model,
            "file": reach.send(_model(file)),
            "metrics": {**_metrics(known.metrics), **pairs(known.metric, "--metric")},
            "by": acts.me(),
        }
        values |= {name: getattr(known, name) for name in ("output", "key", "time", "trust", "force", "note", "why")}
        if known.runtime:
            values["runtime"] = known.runtime
        if known.features:
            values["features"] = reach.send(packing.pack_features(Path(known.features)))
        if known.signature is not None:
            values["signature"] = _json(known.signature)
        values |= _sample(reach, known.sample)
        return acts.perform(named("register"), values, common=common, reach=reach)

    return guarded(act)


def _declare(reach: Reach, model: str, *, file: str, known: Known, common: Common) -> int:
    if file:
        raise Wrongly(f"{file!r}: what is served elsewhere has no file here; leave it out, or leave --external out")
    values: dict[str, Any] = {
        "model": model,
        "metrics": {**_metrics(known.metrics), **pairs(known.metric, "--metric")},
        "by": acts.me(),
        "leave": [column for column in (known.key, known.time) if column],
    }
    values |= {name: getattr(known, name) for name in ("output", "note", "why")}
    if known.signature is not None:
        values["signature"] = _json(known.signature)
    values |= _sample(reach, known.sample)
    return acts.perform(named("declare"), values, common=common, reach=reach)


def _sample(reach: Reach, sample: Path | None) -> dict[str, Any]:
    if sample is None:
        return {}
    ending = sample.suffix.lower()
    if ending not in FORMATS:
        raise Wrongly(f"--sample {sample}: expected a .csv, .parquet or .json file")
    return {"sample": reach.send(sample), "sample_format": FORMATS[ending]}


def predict(
    model: Annotated[str, Parameter(help="Name of the model")],
    *values: Annotated[str, Parameter(help="Features as name=value")],
    features: Annotated[str, Parameter(help="Features as a JSON object")] = "",
    file: Annotated[Path | None, Parameter(help="Rows: .csv, .parquet or .json, or - for JSON lines on stdin")] = None,
    key: Annotated[str, Parameter(help="The entity that it is about")] = "",
    about: Annotated[str | None, Parameter(name="--for", help="The moment that it is about")] = None,
    common: Common = USUAL,
) -> int:
    """Ask a model for one answer or many; every answer is recorded."""

    def act() -> int:
        asked: dict[str, Any] = {"model": model, "key": key}
        if about is not None:
            asked["for"] = about
        if file is not None:
            asked["rows"] = [{"features": row} for row in _rows(file)]
        else:
            asked["features"] = {**object_of(features), **pairs(values, "feature")}
        return acts.perform(named("predict"), asked, common=common, reach=Reach(common))

    return guarded(act)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Whose:
    """Which prediction an outcome is about, when its id is not known."""

    model: Annotated[str, Parameter(help="Name of the model, instead of a prediction id")] = ""
    key: Annotated[str, Parameter(help="The entity")] = ""
    about: Annotated[str | None, Parameter(name="--for", help="The moment that the prediction was about")] = None
    at: Annotated[str | None, Parameter(help="When it became known (now)")] = None


NOBODY = Whose()


def outcome(
    prediction: Annotated[str, Parameter(help="Id of the prediction; or the value alone, with --model and --for")] = "",
    actual: Annotated[str | None, Parameter(help="What really happened; null withdraws the outcome")] = None,
    *,
    whose: Whose = NOBODY,
    file: Annotated[
        Path | None, Parameter(help="Many: JSON lines with the fields of the REST call, - for stdin")
    ] = None,
    common: Common = USUAL,
) -> int:
    """Tell what really happened, for one prediction or many; safe to repeat."""

    def act() -> int:
        if file is not None:
            told: dict[str, Any] = {"outcomes": _lines(file)}
        elif whose.model and prediction and actual is None:
            told = {"model": whose.model, "key": whose.key, "for": whose.about, "actual": scalar(prediction)}
        elif prediction and actual is not None:
            told = {"prediction_id": prediction, "actual": scalar(actual)}
        else:
            raise Wrongly("write: outcome PREDICTION VALUE, or outcome VALUE --model M --key K --for TIME")
        if whose.at is not None:
            told["at"] = whose.at
        return acts.perform(named("outcomes"), told, common=common, reach=Reach(common))

    return guarded(act)


def _model(file: str) -> Path | bytes:
    """The file to send; plain Python is packed first."""
    path, function = packing.split_entry(Path(file), default="predict")
    if not file:
        raise Wrongly("register MODEL FILE, or register MODEL --external for one that is served elsewhere")
    if path.suffix == ".py":
        return packing.pack(path, function=function, use="model")
    if not path.is_file():
        raise Wrongly(f"no file {file!r}")
    return path


def _metrics(path: Path | None) -> dict[str, Any]:
    found = {} if path is None else _json(path)
    if not isinstance(found, dict):
        raise Wrongly(f"{path} must hold a JSON object of metrics")
    inner = found.get("metrics", found)
    return {name: value for name, value in inner.items() if isinstance(value, int | float)}


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as cause:
        raise Wrongly(f"cannot read {path}: {cause}") from None


def object_of(text: str) -> dict[str, Any]:
    """The features of a JSON object. Raises Wrongly for anything else."""
    try:
        found = json.loads(text) if text else {}
    except ValueError as cause:
        raise Wrongly(f"--features is no JSON: {cause}") from None
    if not isinstance(found, dict):
        raise Wrongly("--features must be a JSON object")
    return found


def _rows(file: Path) -> list[dict[str, Any]]:
    if str(file) == "-":
        return _lines(file)
    columns = read_table(file)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _lines(file: Path) -> list[dict[str, Any]]:
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        found = [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as cause:
        raise Wrongly(f"{file}: not one JSON object a line: {cause}") from None
    if not all(isinstance(line, dict) for line in found):
        raise Wrongly(f"{file}: not one JSON object a line")
    return found
