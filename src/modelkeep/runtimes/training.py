"""How a model is trained anew: what a trainer gets, what it gives back, and the process it runs in.

A trainer is a function of your own, named ``module:function`` in the model's policy::

    from modelkeep import Trained, TrainingRows

    def train(rows: TrainingRows) -> Trained:
        ...  # fit on rows.columns and rows.truth, save the file
        return Trained(path=path, runtime="lightgbm", metrics={"mae": error})

It runs in an own process with low priority, so that serving is not starved, and is killed when its time is up.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Self

import msgspec
from msgspec import Struct

from modelkeep.errors import BadInput, ModelFailed, Problem, Refused
from modelkeep.nouns import Output, Signature, Value
from modelkeep.runtimes import packing
from modelkeep.runtimes.signatures import rows_of

ROWS, RESULT, STDERR, CODE = "rows.msgpack", "trained.msgpack", "stderr.txt", "features.zip"
REFUSED = "refused.msgpack"
_TAIL = 2000
_GLANCE = 0.2


class TrainingRows(Struct, frozen=True, kw_only=True):
    """Labelled predictions, oldest first; every list has one entry a row.

    ``columns`` are the inputs as callers sent them, by name (None where they sent none), ``truth`` the newest known
    outcome, ``keys`` the entity, ``at`` when the prediction was asked (seconds since the epoch), ``targets`` the moment
    that it is about and ``told`` when its truth was known (both empty: the same as ``at``). ``groups`` (or empty) is
    what must not stand on both sides of a split, such as the object that several photos show. ``code`` is the
    champion's packed feature code, when it has one: ``prepared`` applies it.
    """

    columns: dict[str, list[Value]]
    truth: list[Output]
    keys: list[str]
    at: list[float]
    targets: list[float] = []
    told: list[float] = []
    groups: list[str] = []
    code: bytes | None = None

    def prepared(self) -> dict[str, list[Value]]:
        """The columns after the champion's feature code: what its model takes. The plain columns without such code."""
        if self.code is None or not self.truth:
            return self.columns
        rows = packing.transform(self.code)(rows_of(self.columns, list(self.columns)))
        return {name: [row[name] for row in rows] for name in rows[0]}


class Trained(Struct, frozen=True, kw_only=True):
    """What a trainer made.

    ``path`` is the model file (it is copied before the process ends). ``metrics`` are those of data held out from the
    fit. ``sample`` are columns of that data: the inputs, and better also the truth under the output's name; its
    profile is the version's reference. ``key`` and ``time`` name columns of the sample with the entity and the
    moment: with them the skill against automatic baselines is known. ``signature`` is the champion's when None.
    ``prepared`` says that the model takes ``TrainingRows.prepared()``, so the champion's feature code stays before it.
    ``code`` is feature code of its own instead: a Python file with ``def features(row)``, or ``file.py:function``,
    packed with the version so that both roll back together. ``split`` says by what the data of ``metrics`` was held
    out: ``time``, ``group``, or ``random``, which is refused for rows with moments. ``rivals`` are the metrics of
    simple baselines by name on the same held-out data; the first metric that model and baselines share decides whether
    the version is below one.
    """

    path: Path
    runtime: str | None = None
    metrics: dict[str, float] = {}
    sample: dict[str, list[Value]] = {}
    key: str = ""
    time: str = ""
    signature: Signature | None = None
    prepared: bool = False
    note: str = ""
    libraries: dict[str, str] = {}
    seconds: float | None = None
    code: Path | None = None
    split: Literal["time", "group", "random", ""] = ""
    rivals: dict[str, dict[str, float]] = {}


def run_trainer(entry: str, rows: TrainingRows, *, folder: Path, limit: float) -> Trained:
    """Run ``entry`` on ``rows`` in a process of its own and return what it made, its file inside ``folder``.

    ``limit`` are the seconds after which the process and all that it started is killed. Raises BadInput when ``entry``
    is not ``module:function``, Refused with the reason when the rows or the result are not to be used, and ModelFailed
    with the end of what the process said when it fails or takes too long.
    """
    checked_entry(entry)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ROWS).write_bytes(msgspec.msgpack.encode(rows))
    supervised(entry, folder=folder, limit=limit)
    return finished(folder)


def checked_entry(entry: str) -> None:
    """Raise BadInput for a trainer that is not ``module:function``."""
    module, colon, function = entry.partition(":")
    if not (module and colon and function.isidentifier()):
        raise BadInput(f"trainer {entry!r} is not module:function", remedy="set retrain.trainer in the model's policy")


def supervised(entry: str, *, folder: Path, limit: float, look: Callable[[], None] | None = None) -> None:
    """Run the process of a training until it has left its result in ``folder``; ``look`` is called all the while.

    Raises as ``run_trainer`` does.
    """
    scratch = folder / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    for old in (RESULT, REFUSED):
        (folder / old).unlink(missing_ok=True)
    command = [sys.executable, "-m", "modelkeep.runtimes.trainer_process", entry, str(folder)]
    # Whatever the trainer leaves in its temporary folder goes with the folder.
    environment = {**os.environ, "TMPDIR": str(scratch)}
    with (folder / STDERR).open("wb") as said:
        process = subprocess.Popen(  # noqa: S603 - our own module; the entry was checked and is an argument
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=environment, start_new_session=True
        )
        try:
            code = _waited(process, limit, look=look)
        except subprocess.TimeoutExpired:
            _end(process)
            raise ModelFailed(f"trainer {entry} took longer than {limit:g} s: {_tail(folder)}") from None
        except BaseException:
            _end(process)
            raise
    shutil.rmtree(scratch, ignore_errors=True)
    if (folder / REFUSED).exists():
        raise msgspec.msgpack.decode((folder / REFUSED).read_bytes(), type=Refusal).error()
    if code or not (folder / RESULT).exists():
        raise ModelFailed(f"trainer {entry} failed with exit code {code}: {_tail(folder)}")


def _waited(process: subprocess.Popen[bytes], limit: float, *, look: Callable[[], None] | None) -> int:
    if look is None:
        return process.wait(limit)
    left = limit
    while True:
        try:
            return process.wait(min(_GLANCE, left))
        except subprocess.TimeoutExpired:
            left -= _GLANCE
            if left <= 0:
                raise
        finally:
            look()


class Refusal(Struct, frozen=True, kw_only=True):
    """A refusal on its way from the process of a training."""

    message: str
    remedy: str = ""
    problems: tuple[Problem, ...] = ()

    @classmethod
    def of(cls, error: Refused) -> Self:
        """What a refusal says."""
        problems = error.problems if isinstance(error, BadInput) else ()
        return cls(message=error.message, remedy=error.remedy, problems=problems)

    def error(self) -> Refused:
        """The refusal again."""
        if self.problems:
            return BadInput(self.message, remedy=self.remedy, problems=self.problems)
        return Refused(self.message, remedy=self.remedy)


def finished(folder: Path) -> Trained:
    """What a trainer left in ``folder``; its ``path`` is the file there."""
    return msgspec.msgpack.decode((folder / RESULT).read_bytes(), type=Trained, dec_hook=path_of)


def path_of(kind: Any, text: Any) -> Any:
    """How a path is read from MessagePack, which has none."""
    return kind(text)


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)  # its session is its own: this reaches what it started, too
    process.wait()


def _tail(folder: Path) -> str:
    said = (folder / STDERR).read_bytes()[-_TAIL:].decode(errors="replace").strip()
    return said or "it said nothing"
