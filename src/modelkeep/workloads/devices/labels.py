"""The label: does the device fail within the next 14 days, told from recorded failures.

A negative is known only when the horizon has passed. Rows younger than that are left out, positives with them: else the
newest rows would hold failures alone.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence

import numpy as np

from modelkeep import BadInput, Value
from modelkeep.workloads.devices.fleet import DAY, Fleet, Floats
from modelkeep.workloads.devices.metrics import number_of
from modelkeep.workloads.devices.readings import DEVICE, FAILURE, TIME, column, instant

HORIZON = 14 * DAY
"""Seconds: the model's question is whether a device fails within them."""


def failures_of(table: Mapping[str, Sequence[Value]]) -> dict[str, list[float]]:
    """The moments at which each device failed, sorted: rows whose column ``failure`` is yes.

    Raises BadInput when there is no such column, or nothing ever failed.
    """
    name, who, when = column(table, FAILURE), column(table, DEVICE), column(table, TIME)
    if not name:
        raise BadInput(
            "the table does not say which devices failed",
            remedy="add a column failure (1 on the day a device failed), or map it: --map failure=YOURS",
        )
    found: dict[str, list[float]] = {}
    for device, at, failed in zip(table[who], table[when], table[name], strict=True):
        if number_of(failed):
            found.setdefault(str(device), []).append(instant(at, when))
    return {device: sorted(moments) for device, moments in found.items()}


def label(fleet: Fleet, failures: Mapping[str, Sequence[float]]) -> tuple[Floats, Floats]:
    """Truth and the moment it is told, for each row.

    Truth is 1 when the device fails from the row's moment until ``HORIZON`` later, else 0; it is told at the failure,
    or when the horizon has passed.
    """
    truth, told = np.zeros(len(fleet)), fleet.at + HORIZON
    for place, (device, at) in enumerate(zip(fleet.names, fleet.at.tolist(), strict=True)):
        moments = failures.get(device)
        if moments:
            following = bisect_left(moments, at)
            if following < len(moments) and moments[following] <= at + HORIZON:
                truth[place], told[place] = 1.0, moments[following]
    return truth, told


def mature(fleet: Fleet, *, end: float) -> Floats:
    """1 for rows whose horizon has passed at the moment ``end``, else 0."""
    found: Floats = (fleet.at + HORIZON <= end).astype(np.float64)
    return found
