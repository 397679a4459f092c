"""The half of the outer watchdog that is inside: a beat twice a second, and stacks that are written when none came.

The stacks are written by a thread of the standard library that needs no lock (``faulthandler``).
"""

from __future__ import annotations

import faulthandler
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from modelkeep.edge import outside

STACKS = "held-{}.txt"


class Beating:
    """Beats for one process. ``folder`` is where its stacks lie."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / STACKS.format(os.getpid())
        self._file = path.open("wb", buffering=0)
        self._path = path
        there, self._pipe = os.pipe()
        os.set_blocking(self._pipe, False)
        script = str(Path(outside.__file__))
        command = [sys.executable, "-I", "-S", script, str(os.getpid()), str(there), str(path)]
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            command, pass_fds=(there,), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True,
            cwd=folder,
        )  # fmt: skip
        os.close(there)

    def beat(self, allowed: float) -> None:
        """All is well; from now on the lock may be kept for so many seconds."""
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(self._pipe, outside.BEAT.pack(allowed))
        faulthandler.dump_traceback_later(allowed, file=self._file)
        if os.fstat(self._file.fileno()).st_size:  # written while the machine slept, say: it goes on
            self._file.seek(0)
            self._file.truncate()

    def close(self) -> None:
        """End the watch."""
        faulthandler.cancel_dump_traceback_later()
        os.close(self._pipe)
        self._process.wait()
        self._file.close()
        self._path.unlink(missing_ok=True)
