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
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from modelkeep.errors import BadInput, ModelFailed
from modelkeep.nouns import Output, Signature, Value
from modelkeep.runtimes import packing
from modelkeep.runtimes.signatures import rows_of

ROWS, RESULT, STDERR = "rows.msgpack", "trained.msgpack", "stderr.txt"
_TAIL = 2000


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


def run_trainer(entry: str, rows: TrainingRows, *, folder: Path, limit: float) -> Trained:
    """Run ``entry`` on ``rows`` in a process of its own and return what it made, its file inside ``folder``.

    ``limit`` are the seconds after which the process and all that it started is killed. Raises BadInput when ``entry``
    is not ``module:function``, ModelFailed with the end of what the process said when it fails or takes too long.
    """
    module, colon, function = entry.partition(":")
    if not (module and colon and function.isidentifier()):
        raise BadInput(f"trainer {entry!r} is not module:function", remedy="set retrain.trainer in the model's policy")
    scratch = folder / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    (folder / RESULT).unlink(missing_ok=True)
    (folder / ROWS).write_bytes(msgspec.msgpack.encode(rows))
    command = [sys.executable, "-m", "modelkeep.runtimes.trainer_process", entry, str(folder)]
    # Whatever the trainer leaves in its temporary folder goes with the folder.
    environment = {**os.environ, "TMPDIR": str(scratch)}
    with (folder / STDERR).open("wb") as said:
        process = subprocess.Popen(  # noqa: S603 - our own module; the entry was checked and is an argument
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=environment, start_new_session=True
        )
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            _end(process)
            raise ModelFailed(f"trainer {entry} took longer than {limit:g} s: {_tail(folder)}") from None
        except BaseException:
            _end(process)
            raise
    shutil.rmtree(scratch, ignore_errors=True)
    if code or not (folder / RESULT).exists():
        raise ModelFailed(f"trainer {entry} failed with exit code {code}: {_tail(folder)}")
    return finished(folder)


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
