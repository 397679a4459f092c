"""A version in a process of its own, asked like any other: ``load`` gives a ``Loaded``."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic

from msgspec import Struct

from modelkeep.errors import BadArtifact, ModelFailed, Refused, Unavailable
from modelkeep.nouns import Features, Outputs, Policy, Version
from modelkeep.runtimes.confining import frames
from modelkeep.runtimes.confining.frames import Answered, Ask, Cut, Explain, Explained, Failed, Load, Ready
from modelkeep.runtimes.confining.nursery import NURSERY, POSSIBLE
from modelkeep.runtimes.confining.watched import Heavy, Watched
from modelkeep.runtimes.explaining import Explanation
from modelkeep.runtimes.formats import module_of
from modelkeep.runtimes.loading import Loaded, checker
from modelkeep.runtimes.remembering import COUNTS

_log = logging.getLogger("modelkeep.runtimes")
STARTING = 60.0
"""Seconds that loading may take."""
CODE = frozenset({"python", "pickle", "joblib", "skops-trusted"})
"""Formats whose files bring code."""
GRACE = 0.2
_LONGEST = 60.0


class Bounds(Struct, frozen=True, kw_only=True):
    """What the process of a version may: seconds for a call, bytes of memory, and remembering prepared rows."""

    limit: float
    memory: int
    remember: bool = False


def brings_code(version: Version) -> bool:
    """Whether running a version runs code of whoever made it."""
    return version.runtime in CODE or version.features is not None


def bounds_of(version: Version, policy: Policy) -> Bounds | None:
    """The bounds under which a version runs in a process of its own; None = in the server's."""
    wanted = policy.isolation == "process" or (policy.isolation == "auto" and brings_code(version))
    # A caller is told of the time-out first; then the process goes.
    bounds = Bounds(limit=policy.limit + GRACE, memory=policy.memory, remember=policy.cache.features)
    return bounds if wanted and POSSIBLE else None


def load(version: Version, locate: Callable[[str], Path], *, bounds: Bounds) -> Loaded:
    """Load a version into a process of its own. Raises BadArtifact and NotFound as ``runtimes.load`` does."""
    confined = Confined(version, files_of(version, locate), bounds=bounds)
    ready = confined.start()
    return Loaded(
        version=version,
        predict=confined.predict,
        seconds=math.nan if ready.seconds is None else ready.seconds,
        explain=confined.explain,
        runner=ready.runner,
        hands=1,
        close=confined.close,
        ends=lambda: confined.ended,
    )


def files_of(version: Version, locate: Callable[[str], Path]) -> dict[str, str]:
    """Where the files of a version are, by digest. Raises BadArtifact and NotFound as ``locate`` does."""
    digests = [version.artifact, version.features, version.runner.plan if version.runner else None]
    return {digest: str(locate(digest)) for digest in digests if digest}


class Confined:
    """One version's process; thread-safe, one call at a time. It is replaced whenever it ends or breaks a bound.

    After the first end the next process starts at once; after each further one without an answer in between it waits
    twice as long (at most 60 s), and calls fail at once meanwhile.
    """

    def __init__(self, version: Version, files: dict[str, str], *, bounds: Bounds) -> None:
        self._version, self._files, self._bounds = version, files, bounds
        self._check = checker(version.signature)
        self._lock = threading.Lock()
        self._child: Watched | None = None
        self._closed = False
        self._ends = 0
        self.ended = (0, "")
        """How many processes have ended in its service, and how the last one did."""
        self._rests = 0.0

    @property
    def pid(self) -> int | None:
        """The process that answers now."""
        return None if self._child is None else self._child.pid

    @property
    def peak(self) -> int | None:
        """The most bytes that the process that answers now ever had in memory; None where the system does not count."""
        return None if self._child is None else self._child.peak

    def step_back(self, niceness: int) -> None:
        """Let others on the machine go first."""
        if self._child is not None:
            self._child.step_back(niceness)

    def start(self) -> Ready:
        """Start the process and load the version. Raises BadArtifact."""
        with self._lock:
            return self._start()

    def predict(self, rows: Sequence[Features]) -> Outputs:
        """Answer rows. Raises ModelFailed, with ``ended`` when the process did not survive the call."""
        found = self._called(Ask(rows=[dict(row) for row in rows]))
        if not isinstance(found, Answered):
            raise self._strange(found)
        COUNTS.lookups += found.lookups
        COUNTS.hits += found.hits
        self._check(found.outputs, len(rows))
        return found.outputs

    def explain(self, row: Features) -> Explanation:
        """Take an answer apart. Raises ModelFailed, and Refused where the version cannot tell."""
        found = self._called(Explain(row=dict(row)))
        if not isinstance(found, Explained):
            raise self._strange(found)
        return found.explanation

    def close(self, patience: float | None = None) -> None:
        """End the process for good, when the call that it may be in has ended or taken ``patience`` seconds.

        Without a word it may take as long as a call may.
        """
        self._closed = True
        idle = self._lock.acquire(timeout=self._bounds.limit if patience is None else patience)
        try:
            if self._child is not None:
                self._child.kill()
        finally:
            if idle:
                self._lock.release()

    # ------------------------------------------------------------------------------------------- inside

    def _called(self, question: Ask | Explain) -> frames.Reply:
        with self._lock:
            if self._child is None:
                self._again()
            child = self._child
            assert child is not None  # noqa: S101 - it was started
            until = monotonic() + self._bounds.limit
            try:
                found = child.asked(question, until=until)
            except TimeoutError:
                raise self._over(child, f"did not answer within {self._bounds.limit:g} s") from None
            except Heavy as weight:
                raise self._over(child, str(weight)) from None
            except Cut:
                raise self._over(child, f"did not survive the call: {child.ended()}") from None
            self._ends = 0
            try:
                child.weigh()
            except Heavy as weight:
                self._over(child, str(weight))  # this answer is as good as any; the next one is another process's
            return found

    def _over(self, child: Watched, why: str) -> ModelFailed:
        """End the process, and see that another takes its place; the failure to raise."""
        child.kill()
        self._child = None
        self._ends += 1
        self.ended = (self.ended[0] + 1, why)
        # One row may end two: in a call with others, and in one of its own. The others shall not wait for that.
        pause = 0.0 if self._ends <= 2 else min(0.5 * 2.0 ** (self._ends - 3), _LONGEST)
        self._rests = monotonic() + pause
        _log.error(
            "the process of %s is replaced: it %s", self._version.name, why,
            extra={"model_name": self._version.model, "model_version": self._version.number, "ends": self._ends},
        )  # fmt: skip
        if not self._closed:
            timer = threading.Timer(pause, self._revive)
            timer.daemon = True
            timer.start()
        return ModelFailed(f"{self._version.name} {why}", remedy="its process is replaced", ended=True)

    def _revive(self) -> None:
        with self._lock:
            if self._child is None and not self._closed:
                try:
                    self._start()
                except (BadArtifact, Unavailable) as fault:
                    _log.error("it could not be started again: %s", fault, extra={"model_name": self._version.model})

    def _again(self) -> None:
        left = self._rests - monotonic()
        if self._closed or left > 0:
            ends = f"its process ended {self._ends} times in a row and is started again in {max(left, 0.0):.0f} s"
            raise ModelFailed(f"{self._version.name} rests: {ends}", ended=True)
        try:
            self._start()
        except (BadArtifact, Unavailable) as fault:
            self._ends += 1
            self._rests = monotonic() + min(0.5 * 2.0**self._ends, _LONGEST)
            raise ModelFailed(fault.message, remedy=fault.remedy, ended=True) from None

    def _start(self) -> Ready:
        name, memory = self._version.name, self._bounds.memory
        child = Watched(NURSERY.spawn(modules=(module_of(self._version.runtime),)), memory=memory)
        try:
            load = Load(version=self._version, files=self._files, memory=memory, remember=self._bounds.remember)
            found = child.asked(load, until=monotonic() + STARTING)
        except Heavy as weight:
            child.kill()
            raise BadArtifact(f"{name} cannot be loaded: it {weight}", remedy="raise the policy's memory") from None
        except TimeoutError:
            child.kill()
            raise BadArtifact(f"{name} cannot be loaded: it took longer than {STARTING:g} s") from None
        except Cut:
            why = child.ended()
            child.kill()
            raise BadArtifact(f"{name} cannot be loaded: {why}") from None
        if not isinstance(found, Ready):
            child.kill()
            text = found.message if isinstance(found, Failed) else "it answered what was not asked"
            raise BadArtifact(text, remedy=found.remedy if isinstance(found, Failed) else "")
        self._child = child
        return found

    def _strange(self, found: frames.Reply) -> ModelFailed | Refused:
        if isinstance(found, Failed):
            if found.kind == "refused":
                return Refused(found.message, remedy=found.remedy)
            return ModelFailed(found.message, remedy=found.remedy)
        return ModelFailed(f"{self._version.name} answered what was not asked")
