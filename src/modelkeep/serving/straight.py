"""The straight way: all that a burst needs which asks a quick champion that answers alone, looked up beforehand.

It does what ``Gateway.burst`` does, and nothing that depends on what may change: whoever changes anything makes a new
one, or none. A burst that is not as simple takes the other way.
"""

from __future__ import annotations

from array import array
from itertools import chain
from time import perf_counter
from typing import TYPE_CHECKING, cast

from msgspec import Struct, structs

from modelkeep.clock import Clock
from modelkeep.errors import BadFeatures, ModelFailed
from modelkeep.nouns import Block, Value
from modelkeep.nouns.blocks import Row
from modelkeep.runtimes import Loaded
from modelkeep.serving.admission.admitting import Admission
from modelkeep.serving.bursts import LATE, Kept, Pace
from modelkeep.serving.counters import Counters, Vitals
from modelkeep.serving.recorder import Recorder
from modelkeep.serving.routes import Route

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

_astuple = structs.astuple


class Means(Struct, frozen=True, kw_only=True):
    """What every straight way uses of the gateway."""

    pace: Pace
    counters: Counters
    admission: Admission
    recorder: Recorder
    clock: Clock


class Straight:
    """How one model is answered where nobody but its champion may answer, in the event loop, and all is recorded."""

    def __init__(self, route: Route, loaded: Loaded, *, means: Means, late: Callable[[], None]) -> None:
        self.route = route
        self.version = version = loaded.version.number
        self._model, self._loaded, self._flat = route.rollout.model, loaded, loaded.flat
        self._pace, self._admission, self._recorder = means.pace, means.admission, means.recorder
        self._now, self._late = means.clock.now, late
        self._kind: type[Row] | None = None
        self._last = 0.0
        self._counts, self._counted = means.counters.predictions, (self._model, version, "champion")
        self._vitals = means.counters.vitals.setdefault((self._model, version), Vitals())

    def answer(self, rows: list[Row], *, keys: list[str], requests: list[str]) -> Kept | None:
        """Answer and record rows that were read by the model's signature, each with its key and its request.

        None says that nothing was done, as ``Gateway.burst`` says it. Raises StoreUnavailable in ``sync`` durability.
        """
        first, n, ask = rows[0], len(rows), self._flat
        if ask is None or (type(first) is not self._kind and not self._takes(first)):
            return None
        at, start = self._now(), perf_counter()
        self._admission.inline = self._loaded, start
        try:
            numbers = array("d", _astuple(first) if n == 1 else list(chain.from_iterable(map(_astuple, rows))))
            outputs = ask(numbers, n)
        except (ModelFailed, BadFeatures):
            return None
        finally:
            self._admission.inline = None
        seconds = perf_counter() - start
        last, self._last = self._last, seconds
        if (n > 1 or seconds > LATE or last > LATE) and self._pace.note(self._loaded, n, seconds=seconds):
            self._late()
        if outputs.degraded is not None:
            return None
        writer, number = self._recorder.new_range(n)
        block = Block(
            writer=writer,
            first=number,
            model=self._model,
            version=self.version,
            role="champion",
            at=at,
            seconds=seconds / n,
            features=cast("list[dict[str, Value]]", rows),
            outputs=outputs.values,
            keys=keys,
            requests=requests,
            scores=outputs.scores,
            intervals=outputs.intervals,
        )
        return Kept(blocks=[block], outputs=[outputs], waits=self.keep(block))

    def keep(self, block: Block) -> list[Future[None]]:
        """Record and count what was answered; what is to be waited for. Raises StoreUnavailable in ``sync``."""
        kept = self._recorder.take_block(block)
        self._counts[self._counted] += len(block.outputs)
        self._vitals.note(block.seconds, failed=0.0)
        return [kept] if self._recorder.durability == "sync" else []

    def _takes(self, row: Row) -> bool:
        """Whether rows of this kind have the inputs of the model, in its order; looked at once a kind."""
        fits = isinstance(row, Row) and row.__struct_encode_fields__ == self._loaded.columns
        self._kind = type(row) if fits else None
        return fits


def straight(route: Route, loaded: Loaded | None, *, means: Means, late: Callable[[], None]) -> Straight | None:
    """The straight way of a route; None where more must be thought of.

    ``loaded`` is its champion, where that is quick. Its rows must be said whole by their numbers, in the order of the
    signature. ``late`` is called when it has taken far too long twice running.
    """
    rollout, privacy = route.rollout, route.policy.privacy
    if loaded is None or loaded.flat is None or rollout.disabled or rollout.mode is not None:
        return None
    inputs = loaded.version.signature.inputs
    plain = all(field.numeric and not field.nullable for field in inputs)
    if not plain or loaded.columns != tuple(field.name for field in inputs) or privacy.keep or route.guarded:
        return None
    return Straight(route, loaded, means=means, late=late)
