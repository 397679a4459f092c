"""The half of the outer watchdog that is inside: a beat twice a second, and stacks that are written when none came.

The stacks are written by a thread of the standard library that needs no lock (``faulthandler``).
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from modelkeep.edge import outside

STACKS = "held-{}.txt"
PATIENCE = 2.0
"""Seconds that the process outside has to end."""


class Beating:
    """Beats for one process. ``folder`` is where its stacks lie."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if os.getpid() == outside.FIRST:
            _let_go()
        # A name on disk is only given to stacks that are left behind.
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - it is open for as long as this process is
        there, self._pipe = os.pipe()
        os.set_blocking(self._pipe, False)
        handles = (there, self._file.fileno())
        left = str(folder / STACKS.format(os.getpid()))
        command = [sys.executable, "-I", "-S", str(Path(outside.__file__)), str(os.getpid()), *map(str, handles), left]
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            command, pass_fds=handles, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
        )  # fmt: skip
        os.close(there)

    def beat(self, allowed: float) -> None:
        """All is well; from now on the lock may be kept for so many seconds.

        Raises BrokenPipeError when the process outside has ended.
        """
        with suppress(BlockingIOError):
            os.write(self._pipe, outside.BEAT.pack(allowed))
        faulthandler.dump_traceback_later(allowed, file=self._file)
        if os.fstat(self._file.fileno()).st_size:  # written while the machine slept, say: it goes on
            self._file.seek(0)
            self._file.truncate()

    def close(self) -> int:
        """End the watch; how the process outside ended."""
        faulthandler.cancel_dump_traceback_later()
        os.close(self._pipe)
        try:
            code = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:  # it was stopped, say
            self._process.kill()
            code = self._process.wait()
        self._file.close()
        return code


def _let_go() -> None:
    """End at once on ``LEAVE``, without the interpreter: the C library's ``_exit`` itself is what the system calls."""
    library = ctypes.CDLL(None)
    library.signal(ctypes.c_int(outside.LEAVE), ctypes.cast(library["_exit"], ctypes.c_void_p))
