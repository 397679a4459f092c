"""A model file on trial in a process of its own: looked at, loaded, asked, held against its runners; then it ends.

Nothing replaces the process when it ends early: the file is refused with the reason.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import NoReturn, Self

from modelkeep.errors import BadArtifact, ModelFailed
from modelkeep.nouns import Features, Outputs, Version
from modelkeep.runtimes.confining import frames
from modelkeep.runtimes.confining.confined import files_of
from modelkeep.runtimes.confining.frames import Answered, Ask, Choose, Chose, Cut, Failed, Load, Look, Looked, Ready
from modelkeep.runtimes.confining.nursery import NURSERY
from modelkeep.runtimes.confining.watched import Heavy, Watched
from modelkeep.runtimes.formats import Inspected, called, contents, module_of, recognised
from modelkeep.runtimes.loading import checker
from modelkeep.runtimes.running import Chosen

_log = logging.getLogger("modelkeep.runtimes")
MORE = "raise its policy's memory: modelkeep policy set NAME --memory BYTES"
BATCH = 100
"""So many rows are asked in one step."""


class Trial:
    """The trial of one file. Each step may take ``seconds``, and the process may hold ``memory`` bytes.

    Every method raises BadArtifact when the process does not survive it, naming the file or the version and how it
    ended; ``predict`` raises ModelFailed for whatever else goes wrong in the model. Raises BadArtifact for a file that
    cannot be read, is of no known format, or larger than the memory; Unavailable when no process can be started.
    """

    def __init__(self, path: Path, *, memory: int, seconds: float) -> None:
        self._path, self._memory, self._seconds = path.absolute(), memory, seconds
        self._name = called(path)
        if path.is_file() and path.stat().st_size > memory:
            self._refuse(f"is {path.stat().st_size >> 20} MB, and what it is loaded into may hold {memory >> 20} MB")
        self._data = contents(path)
        module = module_of(recognised(path, self._data))
        self._process = Watched(NURSERY.spawn(modules=(module,)), memory=memory)
        self._check: Callable[[Outputs, int], None] | None = None

    def look(self, *, trust: bool, runtime: str | None) -> Inspected:
        """As ``runtimes.inspect``."""
        asked = Look(path=str(self._path), trust=trust, runtime=runtime, memory=self._memory)
        found = self._asked(asked, doing="cannot be looked at")
        if not isinstance(found, Looked):
            raise self._strange(found)
        return Inspected(
            runtime=found.runtime,
            data=self._data,
            libraries=found.libraries,
            inputs=found.inputs,
            classifies=found.classifies,
        )

    def load(self, version: Version, locate: Callable[[str], Path]) -> None:
        """As ``runtimes.load``; the file has been looked at before."""
        self._name = version.name
        files = {digest: str(Path(path).absolute()) for digest, path in files_of(version, locate).items()}
        found = self._asked(Load(version=version, files=files, memory=self._memory), doing="cannot be loaded")
        if not isinstance(found, Ready):
            raise self._strange(found)
        self._check = checker(version.signature)

    def predict(self, rows: Sequence[Features]) -> Outputs:
        """What the version answers; only its values, when there are more than ``BATCH`` rows."""
        parts = [self._answered(rows[start : start + BATCH]) for start in range(0, len(rows), BATCH)]
        if len(parts) == 1:
            return parts[0]
        return Outputs(values=[value for part in parts for value in part.values])

    def choose(self, rows: Sequence[Features]) -> Chosen | None:
        """As ``running.choose``. A search that takes too long or too much memory has found none."""
        asked = Choose(rows=[dict(row) for row in rows])
        try:
            found = self._process.asked(asked, until=monotonic() + self._seconds)
        except (Heavy, TimeoutError) as bound:
            said = str(bound) or f"took longer than {self._seconds:g} s"
            _log.warning("no runner was found for %s: the search %s", self._name, said)
            return None
        except Cut:
            self._refuse(f"does not survive odd rows: {self._process.ended()}")
        if not isinstance(found, Chose):
            raise self._strange(found)
        return None if found.runner is None else Chosen(runner=found.runner, data=found.data)

    def close(self) -> None:
        """End the process."""
        self._process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answered(self, rows: Sequence[Features]) -> Outputs:
        found = self._asked(Ask(rows=[dict(row) for row in rows]), doing="does not survive the trial prediction")
        if isinstance(found, Failed) and found.kind == "failed":
            raise ModelFailed(found.message, remedy=found.remedy)
        if not isinstance(found, Answered):
            raise self._strange(found)
        if self._check is not None:
            self._check(found.outputs, len(rows))
        return found.outputs

    def _asked(self, question: frames.Question, *, doing: str) -> frames.Reply:
        try:
            found = self._process.asked(question, until=monotonic() + self._seconds)
            self._process.weigh()
        except TimeoutError:
            self._refuse(
                f"{doing}: it took longer than {self._seconds:g} s",
                remedy="does it hang? if it needs that long, raise the setting loading.trial",
            )
        except Heavy as weight:
            self._refuse(f"{doing}: it {weight}")
        except Cut:
            self._refuse(
                f"{doing}: {self._process.ended()}",
                remedy="the server goes on without it; load it by itself with the libraries installed here to see why",
            )
        return found

    def _refuse(self, why: str, *, remedy: str = MORE) -> NoReturn:
        raise BadArtifact(f"{self._name} {why}", remedy=remedy)

    def _strange(self, found: frames.Reply) -> BadArtifact:
        if isinstance(found, Failed):
            return BadArtifact(found.message, remedy=found.remedy)
        return BadArtifact(f"{self._name} answered what was not asked", remedy="what is in it writes to our socket")
