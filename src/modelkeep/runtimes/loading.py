"""A version becomes a ``Predict``: verified, loaded, guarded."""

import math
import statistics
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from importlib import metadata
from pathlib import Path
from types import FunctionType
from typing import TypeVar, cast

import msgspec
import numpy as np
from msgspec import Struct

from modelkeep.errors import BadArtifact, ModelFailed, ModelkeepError
from modelkeep.nouns import Features, Outputs, Predict, Signature, Version
from modelkeep.runtimes import packing, remembering, running
from modelkeep.runtimes.explaining import Explain, Explanation, explanation, refused, singly
from modelkeep.runtimes.formats import Matrix, Numbers, Opened
from modelkeep.runtimes.signatures import example

F = TypeVar("F", bound=Callable[..., Outputs])
_TIMED = 20
_TIMED_SECONDS = 0.1


class Loaded(Struct, frozen=True, kw_only=True):
    """A version in memory.

    ``predict`` applies the feature code, asks the model and checks the answer; it raises ModelFailed for whatever goes
    wrong in there. ``seconds`` is the median time of a single row measured at loading, NaN when the row made up from
    the signature could not be answered. ``explain`` takes one row of a request apart.

    ``matrix`` is ``predict`` without dictionaries, or None where only rows can be asked: it takes float64 of shape
    (rows, len(columns)), C order, whose columns are ``columns`` (the signature's inputs in its order). None is NaN,
    true and false are 1 and 0, and the value of a category is its place in ``codes``, UNSEEN when it is not there.
    ``codes`` has an entry for each category among the columns. It raises and answers as ``predict`` does. ``flat`` is
    ``matrix`` of ``array("d")`` with so many rows behind each other, for few rows the quickest; None as ``matrix`` is.

    ``runner`` is who answers: the name of a runner, or ``library``.

    ``hands`` is how many calls it can do at the same time, 0 = as many as anybody likes; ``close`` lets go of what it
    holds beside memory (a process of its own), and ``ends`` says how many such processes have ended in its service and
    how the last one did.
    """

    version: Version
    predict: Predict
    seconds: float
    explain: Explain
    columns: tuple[str, ...] = ()
    matrix: Callable[[Matrix], Outputs] | None = None
    flat: Callable[[Numbers, int], Outputs] | None = None
    codes: Mapping[str, Mapping[str, float]] = {}
    runner: str = "library"
    hands: int = 0
    close: Callable[[], None] | None = None
    ends: Callable[[], tuple[int, str]] | None = None


def load(
    version: Version,
    locate: Callable[[str], Path],
    *,
    shared: MutableMapping[str, Opened] | None = None,
    remember: bool = False,
) -> Loaded:
    """Load a version; ``locate`` finds a file by its digest and has verified it (``Files.path``).

    Versions that are the same but for their names are one model in memory where they have ``shared`` in common. With
    ``remember`` what the feature code made of a row is used again for an equal one.

    Raises BadArtifact when a file has changed, cannot be loaded, or does not fit the signature, naming the library
    versions when those of training differ from the installed ones; NotFound when a file is gone.
    """
    path = locate(version.artifact)
    code = locate(version.features) if version.features else None
    remark = mismatch(version.lineage.libraries)
    try:
        prepare = packing.transform(code.read_bytes()) if code else None
        if prepare is not None and remember:
            prepare = remembering.remembered(prepare, remembering.FeatureCache())
        opened = _shared(version, path, locate=locate, shared=shared)
    except (Exception, SystemExit) as error:  # a model's call: a file's code may raise anything
        raise BadArtifact(f"{version.name} cannot be loaded: {_said(error)}", remedy=remark) from error
    check = checker(version.signature)
    matrix = None if prepare is not None else _by_matrix(opened, version, remark=remark)

    def predict(rows: Sequence[Features]) -> Outputs:
        try:
            outputs = opened.answer(rows if prepare is None else prepare(rows))
            check(outputs, len(rows))
        except (Exception, SystemExit) as error:  # a model's call: it may raise anything
            raise ModelFailed(f"{version.name} failed: {_said(error)}", remedy=remark) from error
        return outputs

    def explain(row: Features) -> Explanation:
        if opened.explain is None:
            raise refused(version, opened.unexplained)
        try:
            inputs = singly(prepare, row)
            outputs = opened.answer([inputs])
            check(outputs, 1)
            found = opened.explain(inputs)
        except (Exception, SystemExit) as error:  # a model's call: it may raise anything
            raise ModelFailed(f"{version.name} failed: {_said(error)}", remedy=remark) from error
        return explanation(version, inputs, outputs=outputs, found=found)

    return Loaded(
        version=version,
        predict=_marked(predict, version),
        seconds=_single_row(predict, version.signature),
        explain=explain,
        columns=tuple(field.name for field in version.signature.inputs),
        matrix=matrix,
        flat=None if matrix is None else _by_numbers(opened, version, matrix=matrix, remark=remark),
        codes=opened.codes,
        runner=opened.runner,
    )


def _by_matrix(opened: Opened, version: Version, *, remark: str) -> Callable[[Matrix], Outputs] | None:
    """``Loaded.matrix`` of an opened model."""
    ask, check = opened.matrix, checker(version.signature)
    if ask is None:
        return None

    def asked(table: Matrix) -> Outputs:
        try:
            outputs = ask(table)
            check(outputs, len(table))
        except (Exception, SystemExit) as error:  # a model's call: it may raise anything
            raise ModelFailed(f"{version.name} failed: {_said(error)}", remedy=remark) from error
        return outputs

    return _marked(asked, version)


def _by_numbers(
    opened: Opened, version: Version, *, matrix: Callable[[Matrix], Outputs], remark: str
) -> Callable[[Numbers, int], Outputs]:
    """``Loaded.flat`` of an opened model."""
    ask, check = opened.flat, checker(version.signature)
    if ask is None:
        return lambda numbers, n: matrix(np.frombuffer(numbers).reshape(n, -1))

    def asked(numbers: Numbers, n: int) -> Outputs:
        try:
            outputs = Outputs(values=ask(numbers, n))
            check(outputs, n)
        except (Exception, SystemExit) as error:  # a model's call: it may raise anything
            raise ModelFailed(f"{version.name} failed: {_said(error)}", remedy=remark) from error
        return outputs

    return _marked(asked, version)


def _marked(function: F, version: Version) -> F:
    """The same function under the version's name: stacks tell which version a process was held by."""
    assert isinstance(function, FunctionType)  # noqa: S101 - defined here
    made = FunctionType(
        function.__code__.replace(co_filename=f"modelkeep model {version.name}"),
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    return cast("F", made)


def _shared(
    version: Version,
    path: Path,
    *,
    locate: Callable[[str], Path],
    shared: MutableMapping[str, Opened] | None,
) -> Opened:
    """The opened model of these very files, loaded before or now."""
    if shared is None:
        return running.opened(version, path, locate=locate)
    plan = version.runner.plan if version.runner else ""
    parts = (version.artifact, version.features, version.runtime, version.signature, plan)
    name = msgspec.json.encode(parts).decode()
    found = shared.get(name)
    if found is None:
        found = shared[name] = running.opened(version, path, locate=locate)
    return found


def mismatch(trained: Mapping[str, str]) -> str:
    """One sentence naming the libraries whose installed version differs from that of training; empty when none does."""
    found = []
    for name, version in trained.items():
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            installed = "missing"
        if installed != version:
            found.append(f"{name}: trained with {version}, installed is {installed}")
    return "; ".join(found)


def _said(error: BaseException) -> str:
    return str(error) if isinstance(error, ModelkeepError) else f"{type(error).__name__}: {str(error)[:500]}"


def checker(signature: Signature) -> Callable[[Outputs, int], None]:
    """What looks whether outputs for so many rows are such as the signature says. It raises ModelFailed."""
    if signature.output.kind == "boolean":
        return _check_truths
    return _check_classes if signature.classifies else _check_numbers


def _check_numbers(outputs: Outputs, rows: int) -> None:
    values = outputs.values
    if len(values) != rows:
        raise ModelFailed(f"answered {len(values)} values for {rows} rows")
    if set(map(type, values)) != {float} or not math.isfinite(sum(values)):  # type: ignore[arg-type]  # the usual case is looked at in one go
        for value in values:
            if isinstance(value, str | bool) or not isinstance(value, float | int) or not math.isfinite(value):
                raise ModelFailed(f"answered {value!r} where a finite number is due")
    if outputs.intervals is not None:
        _check_intervals(outputs.intervals, rows)


def _check_intervals(intervals: Sequence[tuple[float, float]], rows: int) -> None:
    if len(intervals) != rows:
        raise ModelFailed(f"answered {len(intervals)} intervals for {rows} rows")
    for low, high in intervals:
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            raise ModelFailed(f"answered the interval {low!r}..{high!r}, which is none")


def _check_classes(outputs: Outputs, rows: int) -> None:
    values, scores = outputs.values, outputs.scores
    if len(values) != rows or (scores is not None and len(scores) != rows):
        raise ModelFailed(f"answered {len(values)} values for {rows} rows")
    for value in values:
        if not isinstance(value, str | bool):
            raise ModelFailed(f"answered {value!r} where a class is due")
    for score in scores or ():
        if not 0.0 <= score <= 1.0:
            raise ModelFailed(f"answered the probability {score!r}, which is not in 0..1")


def _check_truths(outputs: Outputs, rows: int) -> None:
    _check_classes(outputs, rows)
    for value in outputs.values:
        if not isinstance(value, bool):
            raise ModelFailed(f"answered {value!r} where true or false is due")


def _single_row(predict: Predict, signature: Signature) -> float:
    row = [example(signature)]
    try:
        predict(row)
    except ModelFailed:
        return math.nan
    taken: list[float] = []
    while len(taken) < _TIMED and sum(taken) < _TIMED_SECONDS:
        start = time.perf_counter()
        predict(row)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)
