"""The nursery process: ``python -m modelkeep.runtimes.confining.forking FD``, which forks a child for each version.

It has one thread and no secret. Over its control socket it gets the modules to import, and the socket of the new
child; when the server is gone it takes all children with it.
"""

from __future__ import annotations

import errno
import gc
import importlib
import math
import os
import random
import resource
import signal
import socket
import struct
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np
import psutil

from modelkeep.errors import BadArtifact, ModelkeepError, Refused
from modelkeep.runtimes import formats, loading, running
from modelkeep.runtimes.confining import frames
from modelkeep.runtimes.confining.frames import (
    Answered,
    Ask,
    Choose,
    Chose,
    Cut,
    Explain,
    Explained,
    Failed,
    Load,
    Look,
    Looked,
    Ready,
    Reply,
)
from modelkeep.runtimes.remembering import COUNTS

_HEADROOM = 512 * 1024 * 1024
"""Beyond its bound of memory, which is looked at from outside, an allocation fails inside."""
_MORE = "raise its policy's memory: modelkeep policy set NAME --memory BYTES"
_STATUS = struct.Struct("<qq")
_KNOWN = 1000


class _Children:
    """The children that live, and how the newest that ended did."""

    def __init__(self) -> None:
        self.living: set[int] = set()
        self.ended: dict[int, int] = {}

    def reap(self, *_: object) -> None:
        """Take in every child that has ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            _kill(os.killpg, pid)  # what it has started goes with it; its number cannot be another's so soon
            self.living.discard(pid)
            self.ended[pid] = os.waitstatus_to_exitcode(status)
            while len(self.ended) > _KNOWN:
                del self.ended[next(iter(self.ended))]

    def fork(self, control: socket.socket, descriptor: int, *, modules: str) -> int:
        """Make a child on a socket, once the modules are imported; its number. Raises OSError."""
        for module in filter(None, modules.split(",")):
            with suppress(
                ImportError, OSError
            ):  # a library that is missing or broken: the child says so when it needs it
                importlib.import_module(module)
        gc.collect()
        gc.freeze()
        try:
            pid = os.fork()
            if pid == 0:
                control.close()
                _child(descriptor)
        finally:
            os.close(descriptor)
        self.living.add(pid)
        if pid in self.ended:  # it was taken in before it was noted
            self.living.discard(pid)
        return pid


def nursery(control: socket.socket) -> None:
    """Fork a child for each socket that comes, and say how children ended, until the server is gone."""
    children = _Children()
    signal.signal(signal.SIGCHLD, children.reap)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        message, sockets, _, _ = socket.recv_fds(control, 4096, 1)
        if not message:
            break
        order = msgspec.json.decode(message, type=dict[str, str])
        if order["do"] == "status":
            children.reap()
            pid = int(order["pid"])
            control.sendall(_STATUS.pack(pid in children.ended, children.ended.pop(pid, 0)))
        else:
            try:
                pid, fault = children.fork(control, sockets[0], modules=order["modules"]), 0
            except OSError as full:
                pid, fault = 0, full.errno or errno.EAGAIN
            control.sendall(_STATUS.pack(pid, fault))
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for pid in children.living:
        _kill(os.killpg, pid)
        _kill(os.kill, pid)  # it may not be the first of a group yet


def _kill(end: Callable[[int, int], None], pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        end(pid, signal.SIGKILL)


def _child(descriptor: int) -> None:
    """Be a version until nobody asks any more; never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    code = 1
    try:
        os.setsid()
        random.seed()
        np.random.seed()  # noqa: NPY002 - whatever the model uses must not be what its siblings use
        _serve(socket.socket(fileno=descriptor))
        code = 0
    finally:
        os._exit(code)


def _serve(sock: socket.socket) -> None:
    try:
        first = frames.question(sock)
        assert isinstance(first, Look | Load)  # noqa: S101 - the server's first frame
        _bound(first.memory)
        if isinstance(first, Look):
            frames.send(sock, _looked(first))
            first = frames.question(sock)
            assert isinstance(first, Load)  # noqa: S101 - what the server asks after a look
        files = first.files
        try:
            loaded = loading.load(first.version, lambda digest: Path(files[digest]), remember=first.remember)
        except ModelkeepError as refusal:
            remedy = _MORE if isinstance(refusal.__cause__, MemoryError) else refusal.remedy
            frames.send(sock, Failed(kind="artifact", message=refusal.message, remedy=remedy))
            return
        except MemoryError:
            frames.send(sock, Failed(kind="artifact", message="it takes more memory than it may have", remedy=_MORE))
            return
        seconds = None if math.isnan(loaded.seconds) else loaded.seconds
        frames.send(sock, Ready(seconds=seconds, runner=loaded.runner))
        while True:
            frames.send(sock, _reply(loaded, frames.question(sock), files=files))
    except Cut:
        return


def _looked(asked: Look) -> Reply:
    try:
        found = formats.inspect(Path(asked.path), trust=asked.trust, runtime=asked.runtime, name=asked.name)
    except ModelkeepError as refusal:
        return Failed(kind="artifact", message=refusal.message, remedy=refusal.remedy)
    except MemoryError:
        return Failed(kind="artifact", message="to look at it takes more memory than it may have", remedy=_MORE)
    return Looked(runtime=found.runtime, libraries=found.libraries, inputs=found.inputs, classifies=found.classifies)


def _reply(loaded: loading.Loaded, asked: frames.Question, *, files: Mapping[str, str]) -> Reply:
    try:
        if isinstance(asked, Choose):
            chosen = running.choose(loaded.version, lambda digest: Path(files[digest]), rows=asked.rows)
            return Chose(runner=None) if chosen is None else Chose(runner=chosen.runner, data=chosen.data)
        if isinstance(asked, Ask):
            known = COUNTS.lookups, COUNTS.hits
            outputs = loaded.predict(asked.rows)
            return Answered(outputs=outputs, lookups=COUNTS.lookups - known[0], hits=COUNTS.hits - known[1])
        if isinstance(asked, Explain):
            return Explained(explanation=loaded.explain(asked.row))
    except (Refused, BadArtifact) as refusal:
        return Failed(kind="refused", message=refusal.message, remedy=refusal.remedy)
    except ModelkeepError as failure:
        return Failed(kind="failed", message=failure.message, remedy=failure.remedy)
    return Failed(kind="refused", message="it is loaded already")


def _bound(memory: int) -> None:
    """Hard bounds of this process; and the system takes it first when memory runs out."""
    inherited = getattr(psutil.Process().memory_info(), "data", 0)  # what the nursery had when it forked; Linux tells
    most = inherited + memory + _HEADROOM
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    try:
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    except OSError:
        return  # not Linux, or not allowed: the bound from outside stays


if __name__ == "__main__":
    nursery(socket.socket(fileno=int(sys.argv[1])))
