"""The nursery as the server sees it: one process, started when it is first needed, that makes children."""

from __future__ import annotations

import atexit
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from time import monotonic

import msgspec
import psutil

from modelkeep.errors import Unavailable

_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH")
"""What of the server's environment a model may see: no secret is among it."""
_STATUS = struct.Struct("<qq")
_PATIENCE = 60.0
_REAPED = 1.0
_FULL = "has the system room for one more process (memory, TasksMax of systemd, pids of a container)?"
POSSIBLE = hasattr(os, "fork") and hasattr(socket, "send_fds")
"""Whether this system can do it at all."""


class Child:
    """One forked process and the server's end of its socket."""

    def __init__(self, pid: int, sock: socket.socket, *, nursery: Nursery) -> None:
        self.pid, self.sock = pid, sock
        self._nursery = nursery
        self._handle = psutil.Process(pid)

    @property
    def memory(self) -> int:
        """Bytes in memory, what it shares with its siblings included; 0 when it is gone. Quick to read."""
        try:
            return int(self._handle.memory_info().rss)
        except psutil.Error:
            return 0

    @property
    def own(self) -> int:
        """Bytes in memory that it shares with nobody; 0 when it is gone. The system looks at every page for it."""
        try:
            return int(self._handle.memory_full_info().uss)
        except psutil.Error:
            return 0

    @property
    def peak(self) -> int | None:
        """The most bytes that it ever had in memory, as the system counted them; None where nobody counts, or gone."""
        try:
            told = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii", errors="replace")
        except OSError:
            return None
        found = re.search(r"^VmHWM:\s+(\d+) kB$", told, re.MULTILINE)
        return int(found[1]) * 1024 if found else None

    def step_back(self, niceness: int) -> None:
        """Let others on the machine go first."""
        with suppress(psutil.Error):
            self._handle.nice(niceness)

    def kill(self) -> None:
        """End it now, whatever it does, with all that it started."""
        with suppress(OSError):
            self.sock.close()
        if self._handle.is_running():  # the number may belong to another by now
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            with suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, signal.SIGKILL)

    def ended(self) -> str:
        """How it ended, in words."""
        code = self._nursery.status(self.pid)
        if code is None:
            return "it ended"
        if code >= 0:
            return f"it ended with exit code {code}"
        with suppress(ValueError):
            return f"it was ended by {signal.Signals(-code).name}"
        return f"it was ended by signal {-code}"


class Nursery:
    """Makes children; thread-safe. One that has died is started again with the next child."""

    def __init__(self, *, patience: float = _PATIENCE) -> None:
        self._lock, self._patience = threading.Lock(), patience
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._owed, self._heard = False, b""
        atexit.register(self.close)

    def spawn(self, *, modules: tuple[str, ...] = ()) -> Child:
        """A new child, in which ``modules`` of ours are imported. Raises Unavailable."""
        with self._lock:
            mine, theirs = socket.socketpair()
            try:
                for attempt in (1, 2):
                    try:
                        order = msgspec.json.encode({"do": "fork", "modules": ",".join(modules)})
                        control = self._there()
                        self._settled()
                        socket.send_fds(control, [order], [theirs.fileno()])
                        pid, fault = self._said()
                        if fault:
                            raise Unavailable(
                                f"no process can be started for a model: {os.strerror(fault)}", remedy=_FULL
                            )
                        return Child(pid, mine, nursery=self)
                    except psutil.Error as gone:
                        raise Unavailable(
                            f"the process that was started for a model is not there: {gone}",
                            remedy="has the system no memory left? is /proc mounted?",
                        ) from None
                    except OSError as gone:
                        self._forget()
                        if attempt == 2:
                            mine.close()
                            raise Unavailable(f"no process can be started for a model: {gone}", remedy=_FULL) from None
            finally:
                theirs.close()
        raise AssertionError  # the loop has returned or raised

    def status(self, pid: int) -> int | None:
        """The exit code of a child that has ended (negative = the signal); None when it is not known in a second."""
        until = monotonic() + _REAPED
        pause = threading.Event()
        while (left := until - monotonic()) > 0:
            if not self._lock.acquire(timeout=left):
                return None
            try:
                known, code = self._status(pid, until=until)
            finally:
                self._lock.release()
            if known is None or known:
                return code
            pause.wait(0.01)
        return None

    def _status(self, pid: int, *, until: float) -> tuple[bool | None, int | None]:
        """Whether the child has ended, and its code; None when nobody tells before the moment ``until``."""
        if self._control is None:
            return None, None
        try:
            self._control.settimeout(max(until - monotonic(), 0.001))
            self._settled()
            self._control.sendall(msgspec.json.encode({"do": "status", "pid": str(pid)}))
            self._owed = True
            known, code = self._said()
        except TimeoutError:
            return None, None  # it is stopped, or swapped out; the children go on without it
        except OSError:
            self._forget()
            return None, None
        finally:
            if self._control is not None:
                self._control.settimeout(self._patience)
        self._owed = False
        return bool(known), code

    def _settled(self) -> None:
        """Hear the reply that nobody had the time to wait for: it is not that to the next question. Raises OSError."""
        if self._owed:
            self._said()
            self._owed = False

    def close(self) -> None:
        """End the nursery and every child."""
        with self._lock:
            self._forget()

    def _there(self) -> socket.socket:
        if self._control is not None and self._process is not None and self._process.poll() is None:
            return self._control
        self._forget()
        mine, theirs = socket.socketpair()
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        # The numeric libraries must not start threads in a process that forks; a child answers one call at a time.
        environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "modelkeep.runtimes.confining.forking", str(theirs.fileno())]
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            command, pass_fds=(theirs.fileno(),), env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        theirs.close()
        mine.settimeout(self._patience)
        self._control = mine
        return mine

    def _said(self) -> tuple[int, int]:
        assert self._control is not None  # noqa: S101 - its callers have asked over it
        while len(self._heard) < _STATUS.size:
            piece = self._control.recv(_STATUS.size - len(self._heard))
            if not piece:
                raise ConnectionResetError("the nursery has ended")
            self._heard += piece
        pid, code = _STATUS.unpack(self._heard)
        self._heard = b""
        return pid, code

    def _forget(self) -> None:
        self._owed, self._heard = False, b""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            try:
                self._process.wait(2.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None


NURSERY = Nursery()
"""The one of this process: children of all data folders share what it has imported."""
