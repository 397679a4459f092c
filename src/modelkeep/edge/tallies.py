"""Everything that one process counted, as one of several sends it to the first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from modelkeep.edge.traffic import Tally, Traffic

if TYPE_CHECKING:
    from modelkeep.app import App


def tally_of(app: App, traffic: Traffic) -> Tally:
    """Everything that this process counted."""
    recording = app.rooms.recorder.state
    return structs.replace(
        traffic.tally(),
        fallbacks=list(app.rooms.gateway.counters.fallbacks.items()),
        held=recording.held,
        spooled=recording.spooled,
        dropped=recording.dropped,
    )
