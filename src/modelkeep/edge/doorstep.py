"""The doorstep of a crowded door: whom the next turn could only turn away hears so while the request is read.

What a turn of the loop has left says for whom there is no place in the next. Until then nothing is made of a request of
theirs, and it stands in no line: where five times as much comes as can be answered, most of what is not the model's own
time would otherwise go to those who get nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from modelkeep.serving.admission.gates import PRIORITIES, Priority

LASTS = 0.1
"""A refusal is said in the same words for so many seconds."""


class Doorstep:
    """Where requests are refused unread. Belongs to the event loop.

    Args:
        says: the whole refusal of a priority at this moment, in pieces between which the name of the request stands.
    """

    def __init__(self, says: Callable[[Priority], Sequence[bytes]]) -> None:
        self._says, self._usual = says, 1
        self._counts = [0] * (len(PRIORITIES) + 1)
        self._pieces: dict[int, Sequence[bytes]] = {}
        self._said = float("-inf")

    def close(self, full: Sequence[bool], *, usual: Priority, at: float) -> tuple[bool, ...] | None:
        """For whom there is no place until ``open``, by the place of their priority, and last for who names none.

        ``full`` says it of each priority, ``usual`` is what counts where none is named, ``at`` is on any one clock.
        None when there is a place for all.
        """
        self._usual = PRIORITIES.index(usual)
        if at - self._said > LASTS:
            self._said = at
            self._pieces.clear()
        return (*full, full[self._usual]) if any(full) else None

    def refuse(self, rank: int, request: str) -> bytes:
        """The refusal of a request by the place of its priority (-1 = it names none), counted."""
        self._counts[rank] += 1
        pieces = self._pieces.get(rank)
        if pieces is None:
            pieces = self._pieces[rank] = self._says(PRIORITIES[self._usual if rank < 0 else rank])
        return request.encode().join(pieces)

    def open(self) -> dict[Priority, int]:
        """How many were refused since the last time."""
        counts = self._counts
        if not any(counts):
            return {}
        self._counts = [0] * len(counts)
        counts[self._usual] += counts.pop()
        return {priority: n for priority, n in zip(PRIORITIES, counts, strict=True) if n}
