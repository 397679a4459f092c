"""Trees answered by LightGBM's own library, whoever grew them: compiled code that every installation has.

The library is asked by its C interface, without the Python package around it: a row takes 2-3 microseconds instead of
40, and the package's imports (100 MB) stay out of the process. It adds the trees up in their order, from the same
numbers, so that the sums are those of the original library to the last bit.
"""

import ctypes
import functools
import importlib.util
import sys
import weakref
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelkeep.errors import BadArtifact
from modelkeep.runtimes.runners.forest import Floats, Forest

_RAW, _LEAVES = 1, 2
_SINGLE, _DOUBLE, _ROWS = 0, 1, 1
_NUMBER, _CATEGORY, _LEFT = 0, 1, 2
_NAN = 2 << 2
"""Parts of a node's ``decision_type``: what it compares, where a missing value goes, that missing is NaN."""
_FEW = 64
"""So many rows take less than a millisecond."""
_FARTHEST = 1.7e308
"""LightGBM has no infinite threshold."""


@functools.cache
def library() -> Any:
    """LightGBM's library, called with the interpreter's lock held: a row takes less than letting go of it.

    Raises BadArtifact when it is not installed.
    """
    return _declared(ctypes.PyDLL(_path()))


@functools.cache
def _unlocked() -> Any:
    """The same for many rows: other threads run meanwhile."""
    return _declared(ctypes.CDLL(_path()))


def _path() -> str:
    spec = importlib.util.find_spec("lightgbm")
    if spec is None or spec.origin is None:
        raise BadArtifact("LightGBM is not installed", remedy="pip install lightgbm")
    folder = Path(spec.origin).parent
    name = {"win32": "lib_lightgbm.dll", "darwin": "lib_lightgbm.dylib"}.get(sys.platform, "lib_lightgbm.so")
    path = next((place / name for place in (folder / "lib", folder / "bin", folder) if (place / name).is_file()), None)
    if path is None:
        raise BadArtifact(f"LightGBM in {folder} has no library {name}")
    return str(path)


def _declared(found: Any) -> Any:
    pointer, number, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
    found.LGBM_GetLastError.restype = text
    found.LGBM_BoosterLoadModelFromString.argtypes = [text, pointer, pointer]
    found.LGBM_BoosterFree.argtypes = [pointer]
    found.LGBM_FastConfigFree.argtypes = [pointer]
    found.LGBM_BoosterPredictForMatSingleRowFastInit.argtypes = [pointer, *[number] * 5, text, pointer]
    found.LGBM_BoosterPredictForMatSingleRowFast.argtypes = [pointer] * 4
    whole = [pointer, pointer, number, ctypes.c_int32, ctypes.c_int32, *[number] * 4, text, pointer, pointer]
    found.LGBM_BoosterPredictForMat.argtypes = whole
    return found


@dataclass(slots=True)
class _Slot:
    """Memory of one call: the row, the answer, and their places for the library."""

    row: NDArray[Any]
    out: Floats
    count: Any
    places: tuple[int, int, int]


class Native:
    """Trees in LightGBM's library. Raises BadArtifact when it refuses them.

    ``leaves`` asks for the leaf of every tree instead of the sums; ``single`` rounds one row to float32 on its way.
    """

    def __init__(self, text: str, *, features: int, answers: int, leaves: bool = False, single: bool = False) -> None:
        self._lib, self._features, self._answers = library(), features, answers
        self._kind = _LEAVES if leaves else _RAW
        self._row = np.float32 if single else np.float64
        handle, trees, fast = ctypes.c_void_p(), ctypes.c_int(), ctypes.c_void_p()
        lib = self._lib
        self._checked(lib.LGBM_BoosterLoadModelFromString(text.encode(), ctypes.addressof(trees), _at(handle)))
        weakref.finalize(self, lib.LGBM_BoosterFree, handle)
        self._checked(
            lib.LGBM_BoosterPredictForMatSingleRowFastInit(
                handle, self._kind, 0, -1, _SINGLE if single else _DOUBLE, features, b"num_threads=1", _at(fast)
            )
        )
        weakref.finalize(self, lib.LGBM_FastConfigFree, fast)
        self._handle, self._fast = handle.value, fast.value
        self._ask = lib.LGBM_BoosterPredictForMatSingleRowFast
        self._slots: deque[_Slot] = deque()

    def one(self, row: Floats) -> Floats:
        """The answers for one row, of shape (answers,)."""
        try:
            slot = self._slots.pop()
        except IndexError:
            slot = self._slot()
        slot.row[:] = row
        failed = self._ask(self._fast, *slot.places)
        found = slot.out.copy()
        self._slots.append(slot)
        if failed:
            self._checked(failed)
        return found

    def many(self, table: Floats) -> Floats:
        """The answers for many rows, of shape (rows, answers)."""
        rows = np.ascontiguousarray(table, dtype=np.float64)
        found, count = np.empty((len(rows), self._answers)), ctypes.c_int64()
        lib = self._lib if len(rows) < _FEW else _unlocked()
        self._checked(
            lib.LGBM_BoosterPredictForMat(
                *(self._handle, rows.ctypes.data, _DOUBLE, len(rows), self._features, _ROWS, self._kind, 0, -1),
                *(b"num_threads=1", _at(count), found.ctypes.data),
            )
        )
        return found

    def _slot(self) -> _Slot:
        row, out, count = np.empty(self._features, dtype=self._row), np.empty(self._answers), ctypes.c_int64()
        return _Slot(row, out, count, (row.ctypes.data, _at(count), out.ctypes.data))

    def _checked(self, failed: int) -> None:
        if failed:
            raise BadArtifact(f"LightGBM refuses the trees: {self._lib.LGBM_GetLastError().decode()}")


def _at(value: Any) -> int:
    return ctypes.addressof(value)


def by_leaves(forest: Forest) -> bool:
    """Whether the library tells the leaves only: it adds up one number a leaf, in 64 bits."""
    return forest.short or (forest.vector and forest.width > 1)


def native(forest: Forest) -> Native:
    """A forest in LightGBM's library: its sums, or the leaves of trees that do not add up one number in 64 bits."""
    leaves = by_leaves(forest)
    answers = forest.trees if leaves else forest.width
    text = "".join(_text(forest, sums=not leaves))
    return Native(text, features=forest.features, answers=answers, leaves=leaves, single=forest.single)


def _text(forest: Forest, *, sums: bool) -> Iterator[str]:
    """A forest as LightGBM's text; without ``sums`` its leaves have no values."""
    width = forest.width if sums else 1
    trees = []
    if sums and forest.base.any():
        trees += [_block(i, leaves=1, lines=f"leaf_value={float(base)!r}\n") for i, base in enumerate(forest.base)]
    trees += [_tree(forest, tree, number=len(trees) + tree, sums=sums) for tree in range(forest.trees)]
    yield "tree\nversion=v4\n"
    yield f"num_class={width}\nnum_tree_per_iteration={width}\nlabel_index=0\nmax_feature_idx={forest.features - 1}\n"
    yield f"objective=regression\nfeature_names={' '.join(f'f{i}' for i in range(forest.features))}\n"
    yield f"feature_infos={' '.join(['[0:1]'] * forest.features)}\n"
    yield f"tree_sizes={' '.join(str(len(tree)) for tree in trees)}\n\n"
    yield from trees
    yield "end of trees\n"


def _tree(forest: Forest, tree: int, *, number: int, sums: bool) -> str:
    leaf = int(forest.starts[tree])
    count = int(forest.counts_at(tree))
    values = forest.values[leaf : leaf + count, 0] if sums else np.zeros(count)
    lines = f"leaf_value={_floats(values)}\n"
    if count == 1:
        return _block(number, leaves=1, lines=lines)
    first = leaf - tree  # a tree has one node less than it has leaves
    part = slice(first, first + count - 1)
    kind = forest.kind[part]
    threshold = np.clip(forest.threshold[part], -_FARTHEST, _FARTHEST)
    decision = np.where(kind >= 0, _CATEGORY, np.where(forest.missing[part] == 1, _LEFT, _NUMBER)) | _NAN
    sets, more = kind[kind >= 0], ""
    if len(sets):
        threshold[kind >= 0] = np.arange(len(sets))
        words = forest.sets.shape[1]
        more = f"cat_boundaries={_whole(np.arange(len(sets) + 1) * words)}\n"
        more += f"cat_threshold={_whole(forest.sets[sets].reshape(-1))}\n"
    sides = [np.where(side >= 0, side - first, side + leaf) for side in (forest.left[part], forest.right[part])]
    nodes = f"split_feature={_whole(forest.feature[part])}\nthreshold={_floats(threshold)}\n"
    nodes += f"decision_type={_whole(decision)}\nleft_child={_whole(sides[0])}\nright_child={_whole(sides[1])}\n"
    return _block(number, leaves=count, lines=nodes + lines + more, categories=len(sets))


def _block(number: int, *, leaves: int, lines: str, categories: int = 0) -> str:
    return f"Tree={number}\nnum_leaves={leaves}\nnum_cat={categories}\n{lines}is_linear=0\nshrinkage=1\n\n\n"


def _whole(values: NDArray[Any]) -> str:
    return " ".join(map(str, values.tolist()))


def _floats(values: Floats) -> str:
    return " ".join(map(repr, values.tolist()))
