"""Bursts: rows that arrived together, each of a request of its own, answered in one call of the model.

Nobody waits for a burst to fill: it is what one turn of the event loop brought in. On an idle server that is one row.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future
from itertools import chain
from operator import itemgetter
from typing import Any, TypeAlias, cast

from msgspec import Struct, structs

from modelkeep.nouns import Block, Outputs, Role, Rollout, Value
from modelkeep.nouns.blocks import Row, Rows, named
from modelkeep.runtimes import Loaded

SLICE = 0.005
"""The event loop belongs to one model for so many seconds at most, as far as that can be foreseen."""
LATE = 10 * SLICE
"""A call that takes longer had better not been made in the event loop."""
MOST = 1000
_NEWEST = 0.2
_Take: TypeAlias = Callable[[Any], tuple[Any, ...]]
_astuple: _Take = structs.astuple


class Burst(Struct, frozen=True, kw_only=True):
    """Rows for one model. ``keys`` and ``requests`` have one entry per row; an empty key draws by its request.

    ``pinned`` says that the callers have named the champion: no canary is drawn.
    """

    model: str
    rows: Rows
    keys: list[str]
    requests: list[str]
    pinned: bool = False

    def of(self, places: Sequence[int]) -> Burst:
        """Some of its rows."""
        return Burst(
            model=self.model,
            rows=cast("Rows", [self.rows[place] for place in places]),
            keys=[self.keys[place] for place in places],
            requests=[self.requests[place] for place in places],
        )

    def block(
        self,
        outputs: Outputs,
        seconds: float,
        *,
        name: tuple[int, int],
        version: int,
        role: Role,
        at: float,
        places: list[int] | None = None,
    ) -> Block:
        """Its rows with what was answered; ``name`` is the writer and the first number of their ids."""
        return Block(
            writer=name[0],
            first=name[1],
            model=self.model,
            version=version,
            role=role,
            at=at,
            seconds=seconds / len(self.rows),
            features=cast("list[dict[str, Value]]", self.rows),
            outputs=outputs.values,
            keys=self.keys,
            requests=self.requests,
            scores=outputs.scores,
            intervals=outputs.intervals,
            places=places,
        )


class Kept(Struct, frozen=True, kw_only=True):
    """What was answered: a block for each version, and what beside it is told and not kept (an ensemble's members).

    ``waits`` are done when it is on disk; empty when nobody waits.
    """

    blocks: list[Block]
    outputs: list[Outputs]
    waits: list[Future[None]]


def arms(rollout: Rollout, burst: Burst) -> Iterable[tuple[int, Role, list[int] | None]]:
    """The versions that answer, in which role, and the places of their rows (None = all of them)."""
    if rollout.mode != "canary" or burst.pinned:
        return ((rollout.champion, "champion", None),)
    keys = (
        burst.keys
        if all(burst.keys)
        else [key or request for key, request in zip(burst.keys, burst.requests, strict=True)]
    )
    mine, champion = rollout.picks(keys), rollout.champion
    challenger = champion if rollout.challenger is None else rollout.challenger
    if not mine:
        return ((champion, "champion", None),)
    if len(mine) == len(keys):
        return ((challenger, "canary", None),)
    drawn = set(mine)
    others = [place for place in range(len(keys)) if place not in drawn]
    return ((champion, "champion", others), (challenger, "canary", mine))


class Pace:
    """How many rows of a version fit into a slice: learned from its own calls, cautiously at first."""

    def __init__(self) -> None:
        self._slopes: dict[str, float] = {}
        self._late: set[str] = set()
        self._takes: dict[str, tuple[Loaded, _Take | None]] = {}

    def retain(self, names: Collection[str]) -> None:
        """Forget every version but these, so that what was unloaded leaves memory."""
        self._slopes = {name: slope for name, slope in self._slopes.items() if name in names}
        self._takes = {name: known for name, known in self._takes.items() if name in names}
        self._late &= set(names)

    def rows(self, loaded: Loaded) -> int:
        """So many rows at once take a slice."""
        first = loaded.seconds
        slope = self._slopes.get(loaded.version.name, first)
        left = SLICE - first
        return min(1 + int(left / max(slope, 1e-6)), MOST) if left > 0 else 1

    def ask(self, loaded: Loaded, rows: Rows) -> Outputs:
        """What a version says to some rows: by their numbers, where those say all there is to say."""
        name = loaded.version.name
        known = self._takes.get(name)
        if known is None or known[0] is not loaded:
            known = self._takes[name] = loaded, _taking(loaded)
        take, flat = known[1], loaded.flat
        if take is None or flat is None:
            return loaded.predict(named(rows))
        if isinstance(rows[0], Row):
            if rows[0].__struct_encode_fields__ == loaded.columns:
                take = _astuple
            else:
                rows = named(rows)  # read by another signature
        numbers = array("d", list(chain.from_iterable(map(take, rows))))  # half the time of np.array on lists of rows
        return flat(numbers, len(rows))

    def note(self, loaded: Loaded, n: int, *, seconds: float) -> bool:
        """Take in what a call of ``n`` rows took; True when it took far too long twice running.

        Once is a machine that was busy with something else.
        """
        name = loaded.version.name
        if n > 1:
            more = max((seconds - loaded.seconds) / (n - 1), 0.0)
            slope = self._slopes.get(name, more)
            self._slopes[name] = slope + _NEWEST * (more - slope)
        if seconds <= LATE:
            self._late.discard(name)
            return False
        again = name in self._late
        self._late.add(name)
        return again


def _taking(loaded: Loaded) -> _Take | None:
    """What takes a row's numbers in the order of the signature; None when some may be missing, or are no numbers."""
    inputs = loaded.version.signature.inputs
    plain = all(field.numeric and not field.nullable for field in inputs)
    if not plain or len(inputs) < 2 or loaded.columns != tuple(field.name for field in inputs):
        return None
    return itemgetter(*loaded.columns)
