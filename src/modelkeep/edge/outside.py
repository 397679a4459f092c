"""The half of the watchdog that stands outside: a process of its own, which ends one that a model holds for good.

A call that keeps the interpreter's lock lets no thread of its process run, so no beat comes any more. Then, and only if
the stacks that the dying process has left name a model, it is ended. Run by path and without site packages: it imports
nothing but the standard library, and takes some 10 MB.
"""

import os
import re
import select
import signal
import struct
import sys
import time

BEAT = struct.Struct("<d")
"""What a beat says: for how many seconds the lock may be kept."""
LEAVE = signal.SIGUSR2
"""Ends the first process of a container, which ``beating`` lets go at it: the system takes no ``SIGKILL`` there."""
FIRST = 1
LOOK = 0.5
AFTER = 1.0
MARK = "ended by its watchdog after"
FRAME = re.compile(r'File "modelkeep model ([^"\s]+)@(\d+)"')
"""A version in a stack, as ``runtimes.loading`` names its calls."""


def watch(pid: int, handle: int, *, stacks: int, left: str) -> None:
    """End the process ``pid`` when it has stood still for too long in a model's call; come back when it has ended.

    Beats are read from ``handle``. Looks are counted, not seconds: a machine that sleeps, or a process that was stopped
    by a signal, has not been standing still. ``stacks`` is the open file of the stacks, ``left`` the name of the one
    in which they are left.
    """
    allowed, silent = float("inf"), 0.0
    while silent <= allowed + AFTER or not FRAME.search(_read(stacks)):
        if select.select([handle], [], [], LOOK)[0]:
            data = os.read(handle, 1 << 16)
            if not data:
                return
            (allowed,), silent = BEAT.unpack(data[-BEAT.size :]), 0.0
        elif not _stopped(pid):
            silent += LOOK
    said = f"{MARK} {silent:.0f} s in which a model kept the interpreter's lock"
    try:
        _leave(f"{_read(stacks)}\n{said}\n", left)
        sys.stderr.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} modelkeep: process {pid} {said}: {left}\n")
    finally:  # also where nothing can be written any more
        os.kill(pid, LEAVE if pid == FIRST else signal.SIGKILL)


def _leave(text: str, left: str) -> None:
    try:
        with open(left, "w", encoding="ascii") as file:  # noqa: PTH123 - pathlib costs as much as all the rest here
            file.write(text)
    except OSError as full:
        sys.stderr.write(f"modelkeep: the next start will not know why: {full}\n{text}")


def _read(stacks: int) -> str:
    return os.pread(stacks, 1 << 20, 0).decode("ascii", "replace")


def _stopped(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:  # noqa: PTH123 - as above
            return file.read().rpartition(")")[2].split()[0] in {"T", "t"}
    except (OSError, IndexError):
        return False


if __name__ == "__main__":
    watch(int(sys.argv[1]), int(sys.argv[2]), stacks=int(sys.argv[3]), left=sys.argv[4])
