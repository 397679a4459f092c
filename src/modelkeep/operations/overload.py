"""Overload: how the gates stand."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from msgspec import Struct

from modelkeep.operations.act import Operation, stamp
from modelkeep.serving.admission.pressure import State

if TYPE_CHECKING:
    from modelkeep.app import App


class GateState(Struct, frozen=True, kw_only=True):
    """How the gate of one version stands.

    ``open`` calls are under way of at most ``limit``, which follows latency; ``own_ms`` is the model's own time a call.
    ``offered`` and ``capacity`` are requests a second, ``load`` their ratio (null until it is known). ``shed`` and
    ``lowered`` count requests since the start, by priority: turned away, and answered by the lighter version.
    """

    model: str
    version: int
    state: State
    since: datetime | None
    open: int
    limit: int
    own_ms: float
    offered: float
    capacity: float | None
    load: float | None
    shed: dict[str, int]
    lowered: dict[str, int]


class Overload(Struct, frozen=True, kw_only=True):
    """The worst state of any version, and the gate of each that takes a line."""

    state: State
    gates: tuple[GateState, ...]


class ReadOverload(Struct, frozen=True, kw_only=True):
    """Nothing to say: every gate."""


def overload(app: App, _: ReadOverload) -> Overload:
    """Say whether more is asked of any model than it can answer, and what was turned away.

    Versions that answer within two milliseconds take no line and have no gate.
    """
    admission, now = app.rooms.gateway.admission, app.rooms.clock.now()
    ticks = admission.now()
    gates = tuple(
        GateState(
            model=view.model,
            version=view.version,
            state=view.state,
            since=None if view.state == "normal" else stamp(now - max(ticks - view.since, 0.0)),
            open=view.open,
            limit=view.limit,
            own_ms=view.own_seconds * 1000,
            offered=view.offered,
            capacity=view.capacity,
            load=view.load,
            shed=view.shed,
            lowered=view.lowered,
        )
        for view in admission.views()
    )
    return Overload(state=admission.state, gates=gates)


OPERATIONS = (
    Operation(
        name="overload", method="GET", path="/v1/overload", request=ReadOverload, result=Overload, run=overload,
        words=("overload",),
        finding=lambda found: "requests are turned away" if found.state == "shedding" else "",
    ),
)  # fmt: skip
