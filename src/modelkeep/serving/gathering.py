"""What comes from all sides and is in no group yet: gathered for the recorder's thread, in parts that fit in memory."""

from __future__ import annotations

import msgspec

from modelkeep.nouns import Block, Outcome, Prediction
from modelkeep.serving.line import Entry

MOST = 1000
"""A group of so many records does not wait for its window, unless the setting ``recorder.batch`` says otherwise.

More than that and what comes at once with it are in no group: a group is read back whole, and must fit in memory.
"""


class Gathering:
    """What will be one group."""

    def __init__(self) -> None:
        self.predictions: list[Prediction] = []
        self.outcomes: list[Outcome] = []
        self.blocks: list[Block | msgspec.Raw] = []
        self.entry = Entry(count=0)


class Gathered:
    """All that no group has yet, in order. It is changed under its owner's lock; ``count`` may be asked without.

    >>> gathered = Gathered()
    >>> gathered.open.entry.count = 3
    >>> gathered.begin()
    >>> gathered.count, len(gathered.taken()), gathered.count
    (3, 1, 0)
    """

    def __init__(self) -> None:
        self.open = Gathering()
        """What takes the next records."""
        self._whole: list[Gathering] = []

    @property
    def count(self) -> int:
        """How many records there are."""
        return self.open.entry.count + sum(one.entry.count for one in tuple(self._whole))

    @property
    def urgent(self) -> bool:
        """Whether somebody may wait for what became of an outcome."""
        return bool(self._whole or self.open.outcomes)

    def begin(self) -> None:
        """Let the next records be of another group."""
        self._whole.append(self.open)
        self.open = Gathering()

    def taken(self) -> list[Gathering]:
        """Hand out all there is."""
        found = [one for one in (*self._whole, self.open) if one.entry.count]
        self._whole, self.open = [], Gathering()
        return found
