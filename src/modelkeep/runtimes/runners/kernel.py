"""The loops of the compiled runner as functions: machine code that comes with the package, else made by llvmlite.

The code in ``machine/`` was made of ``loops`` by ``tools/machine_code.py``. It refers to nothing outside itself, is
mapped into memory as a shared library would be, and costs neither time nor memory. Other processors and systems, and
places from which nothing may be run, take llvmlite (the extra ``compiled``), which brings LLVM along, and no compiler.
"""

import ctypes
import functools
import mmap
import platform
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from modelkeep.errors import BadArtifact
from modelkeep.runtimes.runners import loops

CODE = Path(__file__).parent / "machine"
LEVELS = {
    "x86-64-v4": frozenset({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}),
    "x86-64-v3": frozenset({"avx2", "bmi1", "bmi2", "fma", "f16c", "movbe", "abm"}),
    "x86-64": frozenset({"sse2"}),
}
"""What a processor must have for each file of code, as Linux calls it; a level has what those below it have."""
_POINTER, _NUMBER = ctypes.c_void_p, ctypes.c_int64
_SHAPES = {
    "walk": (*[_POINTER] * 2, _NUMBER, _POINTER, _NUMBER, _NUMBER, _POINTER, _NUMBER, _NUMBER, _POINTER),
    "bits": (*[_POINTER] * 2, _NUMBER, _POINTER, _NUMBER, _POINTER, _POINTER, _NUMBER, _NUMBER, _POINTER, _NUMBER),
}


class Tail(Struct, frozen=True, kw_only=True):
    """What stands behind a file's code: where each loop begins in it, and the digest of the loops it was made of."""

    places: dict[str, int]
    source: str


class Code(Struct, frozen=True, kw_only=True):
    """Machine code in memory: where each loop begins. ``owner`` keeps it there, ``origin`` is who made it."""

    origin: str
    places: dict[str, int]
    owner: Any


class Kernel(Struct, frozen=True, kw_only=True):
    """The loops of one kind as functions; ``..._free`` let other threads of the interpreter run meanwhile."""

    walk: Any
    bits: Any
    walk_free: Any
    bits_free: Any
    origin: str
    owner: Any


@functools.cache
def kernel(kind: str) -> Kernel:
    """The loops that are ``double``, ``single`` or ``short`` (see ``loops.WALKS``).

    Where none come along llvmlite makes them, once a process (50 ms). Raises BadArtifact where it is not installed.
    """
    return functions(shipped() or fresh(), kind)


def functions(code: Code, kind: str) -> Kernel:
    """The loops of one kind, out of machine code in memory."""
    bits = kind if kind in loops.BITS else "double"

    def function(name: str, *, free: bool) -> Any:
        make = ctypes.CFUNCTYPE if free else ctypes.PYFUNCTYPE
        return make(None, *_SHAPES[name[:4]])(code.places[name])

    return Kernel(
        walk=function(f"walk_{kind}", free=False),
        bits=function(f"bits_{bits}", free=False),
        walk_free=function(f"walk_{kind}", free=True),
        bits_free=function(f"bits_{bits}", free=True),
        origin=code.origin,
        owner=code.owner,
    )


def arguments(loop: str, values: Sequence[Any]) -> tuple[Any, ...]:
    """What a loop (``walk``, ``bits``) is told, as it takes it: a call that is made again is then the quicker.

    What is of the loop's own kind already stays as it is.
    """
    shape = _SHAPES[loop]
    return tuple([v if isinstance(v, kind) else kind(v) for kind, v in zip(shape, values, strict=True)])


@functools.cache
def shipped() -> Code | None:
    """The package's own code for this processor; None where there is none, or where it may not be run."""
    if not sys.platform.startswith("linux") or platform.machine() != "x86_64" or sys.maxsize < 2**32:
        return None
    level = level_of(_flags())
    return None if level is None else mapped(CODE / f"{level}.bin")


def level_of(flags: frozenset[str]) -> str | None:
    """The best level of code that a processor with these abilities runs.

    >>> level_of(frozenset({"sse2", "avx2"})), level_of(frozenset())
    ('x86-64', None)
    """
    for level in LEVELS:
        below = list(LEVELS)[list(LEVELS).index(level) :]
        if frozenset().union(*(LEVELS[one] for one in below)) <= flags:
            return level
    return None


def mapped(path: Path) -> Code | None:
    """A file of code in memory, readable and runnable; None when it is not there, or may not be run."""
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC)
    except (OSError, ValueError):
        return None
    size = int.from_bytes(data[-4:], "little")
    tail = msgspec.json.decode(data[-4 - size : -4], type=Tail)
    view = np.frombuffer(data, dtype=np.uint8)
    return Code(origin=path.stem, places={name: view.ctypes.data + at for name, at in tail.places.items()}, owner=view)


def _flags() -> frozenset[str]:
    """What this processor can do, as Linux tells of its first core."""
    try:
        with Path("/proc/cpuinfo").open(encoding="ascii", errors="replace") as file:
            line = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return frozenset()
    return frozenset(line.partition(":")[2].split())


@functools.cache
def fresh() -> Code:
    """The loops, made for this processor by llvmlite. Raises BadArtifact without it."""
    try:
        llvm: Any = import_module("llvmlite.binding")
    except ImportError as error:
        raise BadArtifact(f"the extra compiled is not installed: {error}", remedy="pip install llvmlite") from error
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = llvm.parse_assembly(loops.text())
    module.verify()
    features = llvm.get_host_cpu_features().flatten()
    target = llvm.Target.from_default_triple()
    machine = target.create_target_machine(cpu=llvm.get_host_cpu_name(), features=features, opt=3)
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    builder.getModulePassManager().run(module, builder)
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    names = [f"walk_{kind}" for kind in loops.WALKS] + [f"bits_{kind}" for kind in loops.BITS]
    return Code(origin="llvmlite", places={name: engine.get_function_address(name) for name in names}, owner=engine)
