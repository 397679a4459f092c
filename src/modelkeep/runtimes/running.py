"""A version opened by its runner where it has one, else by the library that made it; and the runner found for one."""

import functools
import logging
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from msgspec import Struct, structs

from modelkeep.errors import ModelkeepError
from modelkeep.nouns import Features, Outputs, Runner, Version
from modelkeep.runtimes import packing
from modelkeep.runtimes.formats import Answer, Contributions, Matrix, Numbers, Opened, format_of
from modelkeep.runtimes.runners import plan
from modelkeep.runtimes.runners.plan import Plan
from modelkeep.runtimes.signatures import example

_log = logging.getLogger("modelkeep.runtimes")


class Chosen(Struct, frozen=True, kw_only=True):
    """The runner that answers as the library does and takes least, and the bytes of the plan that it works on."""

    runner: Runner
    data: bytes


def kept(chosen: Chosen, digest: str) -> Runner:
    """The runner with the digest of its plan's file."""
    return structs.replace(chosen.runner, plan=digest)


def opened(version: Version, path: Path, *, locate: Callable[[str], Path]) -> Opened:
    """Open a version whose artifact, at ``path``, was verified. Raises BadArtifact, and whatever the library raises.

    A plan that is gone or broken costs speed, not answers: then the library answers, and the log says so.
    """
    if version.runner is not None:
        try:
            return _run(version, path, locate=locate)
        except ModelkeepError as fault:
            _log.warning(
                "its library answers, not its runner: %s",
                fault,
                extra={"model_name": version.model, "model_version": version.number},
            )
    return _by_library(version, path)


def _by_library(version: Version, path: Path) -> Opened:
    coded = version.features is not None
    return format_of(version.runtime).open_model(path, version.signature, coded=coded, runtime=version.runtime)


def _run(version: Version, path: Path, *, locate: Callable[[str], Path]) -> Opened:
    if version.runner is None:
        return _by_library(version, path)
    found = plan.decode(locate(version.runner.plan).read_bytes())
    name = version.runner.name
    table: Callable[[Matrix], Outputs] | None = None
    flat: Callable[[Numbers, int], list[Any]] | None = None
    if found.members:
        answer = _together(found, name, version=version, artifact=path.read_bytes)
    else:
        opening = import_module("modelkeep.runtimes.runners.opening")
        name, engine = opening.engine_of(found, name)
        answer, table = opening.asked(found, engine)
        flat = opening.flat(found, engine)

    @functools.cache
    def library() -> Opened:
        return _by_library(version, path)

    def explain(row: Features) -> Contributions:
        asked = library().explain
        if asked is None:
            raise TypeError(library().unexplained)
        return asked(row)

    in_order = found.sources == tuple(field.name for field in version.signature.inputs)
    return Opened(
        answer=answer,
        explain=None if found.unexplained else explain,
        unexplained=found.unexplained,
        matrix=table if in_order else None,
        flat=flat if in_order else None,
        codes=found.codes,
        runner=name,
    )


def _together(found: Plan, name: str, *, version: Version, artifact: Callable[[], bytes]) -> Answer:
    """What answers by an ensemble's members, each by its runner."""
    answers = import_module("modelkeep.runtimes.ensemble_answers")
    coded = version.features is not None
    answer: Answer = answers.run(found, version.signature, runner=name, coded=coded, artifact=artifact)
    return answer


def choose(version: Version, locate: Callable[[str], Path], *, rows: Sequence[Features]) -> Chosen | None:
    """The fastest runner that answers exactly as the version's library does; None when the library itself is.

    ``rows`` are requests, of the held-out sample if there is one.
    """
    try:
        return _chosen(version, locate, rows=rows)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a model's call: without a runner its library answers
        _log.warning("no runner was found for %s: %s: %s", version.name, type(error).__name__, error)
        return None


def _chosen(version: Version, locate: Callable[[str], Path], *, rows: Sequence[Features]) -> Chosen | None:
    path = locate(version.artifact)
    prepare = packing.transform(locate(version.features).read_bytes()) if version.features else None
    library = _by_library(version, path)
    if library.plan is None:
        return None
    asked = rows or [example(version.signature)]
    prepared = list(asked) if prepare is None else list(prepare(asked))
    found: Plan | None = library.plan(tuple(prepared[0]))
    if found is None:
        return None
    names = tuple(field.name for field in version.signature.inputs)
    reading, choosing = (import_module(f"modelkeep.runtimes.runners.{name}") for name in ("reading", "choosing"))
    if prepare is None:
        found = reading.arranged(found, names)
    proof = choosing.proof(found, prepared, signature=version.signature, coded=prepare is not None)
    makes = choosing.ways(found)
    if found.members:
        together = functools.partial(_together, found, version=version, artifact=path.read_bytes)
        makes = {name: functools.partial(together, name) for name in ("compiled", "native", "flattened")}
    runner: Runner | None = choosing.choose(makes, library.answer, proof=proof)
    return None if runner is None else Chosen(runner=runner, data=plan.encode(found))
