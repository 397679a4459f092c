"""How rows are parted into fit, stop and test: by time, purged by when labels were known; by entity without time."""

import hashlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from modelkeep import Refused, TrainingRows

Places = NDArray[np.intp]
TEST, STOP = 0.2, 0.16
"""Shares of the rows: the newest fifth tests, the fifth of the rest before it says when to stop."""
LEAST = 30


class Parts(Struct, frozen=True, kw_only=True):
    """Places of rows: ``fit`` the trees, ``stop`` growing them, ``test`` what was made; ``by`` what they are parted."""

    fit: Places
    stop: Places
    test: Places
    by: Literal["time", "group"]


def parts(rows: TrainingRows) -> Parts:
    """Part rows: the newest fifth is the test, and nothing is fitted whose label was told after a later part began.

    Rows that name groups, or have no moments, are parted by group (the entity, else the row): all rows of one group
    stand on one side. Raises Refused with fewer than 30 rows, or when the delay of labels leaves too few to fit.
    """
    if len(rows.truth) < LEAST:
        raise Refused(f"{len(rows.truth)} labelled rows are too few to learn from: at least {LEAST} are needed")
    found = _by_time(rows) if not rows.groups and max(rows.at) > min(rows.at) else _by_group(rows)
    if min(len(found.fit), len(found.stop), len(found.test)) < LEAST // 10 or len(found.fit) < LEAST // 2:
        raise Refused(
            f"of {len(rows.truth)} rows {len(found.fit)} can be fitted before the test begins: labels come too late",
            remedy="give rows of a longer time",
        )
    return found


def _by_time(rows: TrainingRows) -> Parts:
    at, told = np.asarray(rows.at), np.asarray(rows.told or rows.at)
    test_from = np.sort(at)[round(len(at) * (1 - TEST))]
    usable = (at < test_from) & (told <= test_from)
    before = np.sort(at[usable])
    stop_from = before[round(len(before) * (1 - STOP / (1 - TEST)))] if len(before) else test_from
    return Parts(
        fit=np.flatnonzero(usable & (at < stop_from) & (told <= stop_from)),
        stop=np.flatnonzero(usable & (at >= stop_from)),
        test=np.flatnonzero(at >= test_from),
        by="time",
    )


def _by_group(rows: TrainingRows) -> Parts:
    keys: Sequence[str] = rows.groups or rows.keys
    if len(set(keys)) < 5:
        keys = [str(i) for i in range(len(rows.truth))]
    draw = np.array([_share(key) for key in keys])
    return Parts(
        fit=np.flatnonzero(draw < 1 - TEST - STOP),
        stop=np.flatnonzero((draw >= 1 - TEST - STOP) & (draw < 1 - TEST)),
        test=np.flatnonzero(draw >= 1 - TEST),
        by="group",
    )


def _share(key: str) -> float:
    """A number in [0, 1) that is the same for a key on every machine."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") / 2**64
