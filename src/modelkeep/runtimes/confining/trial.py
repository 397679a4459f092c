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
from modelkeep.runtimes.formats import Inspected, called
from modelkeep.runtimes.loading import checker
from modelkeep.runtimes.running import Chosen
from modelkeep.runtimes.taking import Taken, module_for

_log = logging.getLogger("modelkeep.runtimes")
MORE = "raise its policy's memory: modelkeep policy set NAME --memory BYTES"
BATCH = 100
"""So many rows are asked in one step."""
WHOLE = 10
"""A whole trial may take as long as so many steps."""


def check(path: Path, *, memory: int) -> None:
    """Raise BadArtifact for a file that is larger than what it is loaded into may hold."""
    if path.is_file() and (size := path.stat().st_size) > memory:
        raise BadArtifact(
            f"{called(path)} is {size >> 20} MB, and what it is loaded into may hold {memory >> 20} MB", remedy=MORE
        )


class Trial:
    """The trial of one file. Each step may take ``seconds``, all together ``whole`` times as many.

    The process may hold ``memory`` bytes. What it looks at is the copy that was taken in, which is to be kept.

    Every method raises BadArtifact when the process does not survive it, naming the file or the version and how it
    ended; ``predict`` raises ModelFailed for whatever else goes wrong in the model. Raises BadArtifact for a file that
    is of no known format; Unavailable when no process can be started.
    """

    def __init__(self, taken: Taken, *, memory: int, seconds: float, whole: float = WHOLE) -> None:
        self.taken, self._memory, self._seconds = taken, memory, seconds
        self._name = taken.name
        self._process = Watched(NURSERY.spawn(modules=(module_for(taken),)), memory=memory)
        self._whole = whole * seconds
        self._end = monotonic() + self._whole
        self._check: Callable[[Outputs, int], None] | None = None

    def look(self, *, trust: bool, runtime: str | None) -> Inspected:
        """As ``runtimes.inspect``."""
        path = str(self.taken.path.absolute())
        asked = Look(path=path, name=self._name, trust=trust, runtime=runtime, memory=self._memory)
        found = self._asked(asked, doing="cannot be looked at")
        if not isinstance(found, Looked):
            raise self._strange(found)
        return Inspected(
            runtime=found.runtime,
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
            found = self._process.asked(asked, until=self._until())
        except (Heavy, TimeoutError) as bound:
            said = str(bound) or self._late()
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
            found = self._process.asked(question, until=self._until())
            self._process.weigh()
        except TimeoutError:
            self._refuse(
                f"{doing}: it {self._late()}",
                remedy="does it hang? would a shorter sample do? if it needs so long, raise the setting loading.trial",
            )
        except Heavy as weight:
            self._refuse(f"{doing}: it {weight}")
        except Cut:
            self._refuse(
                f"{doing}: {self._process.ended()}",
                remedy="the server goes on without it; load it by itself with the libraries installed here to see why",
            )
        return found

    def _until(self) -> float:
        return min(monotonic() + self._seconds, self._end)

    def _late(self) -> str:
        """Which bound was broken, in words."""
        if monotonic() >= self._end:
            return f"took longer than {self._whole:g} s with all its steps"
        return f"took longer than {self._seconds:g} s"

    def _refuse(self, why: str, *, remedy: str = MORE) -> NoReturn:
        raise BadArtifact(f"{self._name} {why}", remedy=remedy)

    def _strange(self, found: frames.Reply) -> BadArtifact:
        if isinstance(found, Failed):
            return BadArtifact(found.message, remedy=found.remedy)
        return BadArtifact(f"{self._name} answered what was not asked", remedy="what is in it writes to our socket")
