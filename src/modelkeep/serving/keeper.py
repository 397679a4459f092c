"""One transaction: predictions, their profiles, outcomes, and what the automatic baselines learned from them."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterable, Sequence
from typing import cast

import msgspec
from msgspec import Struct, structs

from modelkeep.errors import StoreUnavailable
from modelkeep.nouns import Block, Outcome, Output, Prediction
from modelkeep.serving.binning import Binnings, fold, fold_blocks
from modelkeep.serving.recent import Recent
from modelkeep.store.seams import Files, Ledger, Store, Told
from modelkeep.store.turns import Scope
from modelkeep.watch.baselines import EVERYONE, Baselines

_log = logging.getLogger("modelkeep.serving")
RECORDER = "(recorder)"
"""The name under which the recorder remembers its own numbers, beside the states of the models' baselines."""
LOOK = 2.0
"""Seconds between two looks at what other processes have learned."""
_LEARNED = "learned "
AGAIN = 5.0
"""Seconds until baselines that were not found are looked for again: a store that is away must not slow the recorder."""


class Group(Struct, frozen=True, kw_only=True):
    """What one transaction keeps. ``writer`` and ``number`` (from 1) make it recognisable when it is sent twice.

    On its way to the spool its blocks may be packed (``msgspec.Raw``); whatever comes out of a line has them open.
    """

    writer: int
    number: int
    predictions: tuple[Prediction, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    blocks: tuple[Block, ...] = ()

    @property
    def size(self) -> int:
        """How many records it holds."""
        return len(self.predictions) + len(self.outcomes) + sum(block.size for block in self.blocks)

    def singly(self) -> list[Group]:
        """Its records one by one, each in a group of its own without a number: each is recognised by its id."""
        return [
            *(Group(writer=0, number=0, predictions=(prediction,)) for prediction in self.predictions),
            *(Group(writer=0, number=0, blocks=(row,)) for block in self.blocks for row in block.singly()),
            *(Group(writer=0, number=0, outcomes=(outcome,)) for outcome in self.outcomes),
        ]


def opened(group: Group) -> Group:
    """The same with its blocks as such, some of which may be packed already."""
    decode, given = msgspec.msgpack.decode, cast("tuple[Block | msgspec.Raw, ...]", group.blocks)
    blocks = [decode(one, type=Block) if isinstance(one, msgspec.Raw) else one for one in given]
    return structs.replace(group, blocks=tuple(blocks))


def joined(groups: Sequence[Group]) -> Group:
    """Groups of one writer that follow each other, as one: the last number stands for all of them."""
    return Group(
        writer=groups[-1].writer,
        number=groups[-1].number,
        predictions=tuple(prediction for group in groups for prediction in group.predictions),
        blocks=tuple(block for group in groups for block in group.blocks),
    )


class Keeper:
    """Writes groups, and holds the automatic baselines of every model.

    ``keep`` belongs to one thread; the baselines may be asked from any.
    """

    def __init__(self, store: Store, files: Files) -> None:
        self._store = store
        self._binnings = Binnings(files)
        self._baselines: dict[str, Baselines] = {}
        self._loading = threading.Lock()
        self._touched: dict[str, Baselines] = {}
        self._missed: dict[str, float] = {}
        self._strange: set[str] = set()
        self._learned: dict[str, int] = {}
        self._turns: dict[str, int] = {}
        self._behind: set[str] = set()
        self._looked = time.perf_counter()
        self._recent = Recent()

    def writer(self) -> int:
        """A writer number that no process of this store had before. Raises StoreUnavailable."""
        with self._store.write() as ledger:
            number = int(ledger.records.memory(RECORDER).get("writer", b"0")) + 1
            ledger.records.remember(RECORDER, {"writer": b"%d" % number})
        return number

    def off(self) -> bool:
        """Whether collection was switched off, here or by a process before. Raises StoreUnavailable."""
        with self._store.read() as ledger:
            return ledger.records.memory(RECORDER, ["collection"]).get("collection") == b"off"

    def remember_off(self, off: bool) -> None:  # noqa: FBT001 - it is what is remembered
        """Keep it for the other processes and those to come. Raises StoreUnavailable."""
        with self._store.write() as ledger:
            ledger.records.remember(RECORDER, {"collection": b"off" if off else b"on"}, tell=True)

    def keep(self, group: Group, *, suspect: bool = False) -> list[Told]:
        """Keep a group whole or not at all. Raises StoreUnavailable, or whatever says that it can never be kept.

        ``suspect`` says that it may have been kept before: then it is looked up, and nothing is kept twice.
        """
        kept = False
        self._catch_up()
        if group.blocks:
            group = structs.replace(group, blocks=tuple(map(self._referring, group.blocks)))
        try:
            with self._store.write(_scope(group, suspect=suspect)) as ledger:
                told = self._written(ledger, group, suspect=suspect)
            kept = True
        finally:
            for baselines in self._touched.values():
                if kept:
                    baselines.settle()
                else:
                    baselines.undo()
            if kept:
                self._learned |= {m: turn for m, turn in self._turns.items() if m not in self._behind}
            self._turns.clear()
            self._behind.clear()
            self._touched.clear()
            self._strange.clear()
        if not group.outcomes:  # else they were noted before the outcomes were learned
            self._note(group)
        return told

    def attend(self, model: str) -> None:
        """Bring the model's baselines into memory, so that they can answer. Raises StoreUnavailable."""
        if model not in self._baselines:
            with self._store.read() as ledger:
                self._known(ledger, model)

    def renew(self) -> None:
        """Read anew how predictions are counted: a policy has changed."""
        self._binnings.renew()

    def forget(self, models: Iterable[str]) -> None:
        """Let go of the baselines of some models, and read them as the store has them. Raises StoreUnavailable."""
        for model in models:
            with self._loading:
                self._baselines.pop(model, None)
            self.attend(model)

    def referred(self, predictions: Sequence[Prediction]) -> tuple[Prediction, ...]:
        """The predictions with what the automatic baselines say at this moment, as far as anything is known."""
        found = []
        known: dict[str, Baselines | None] = {}
        for p in predictions:
            if p.model not in known:
                known[p.model] = self._baselines.get(p.model) or self._attended(p.model)
            baselines = known[p.model]
            if baselines is None or (p.given and baselines.later(p.key, p.at)):
                found.append(p)  # told after the fact: baselines that have seen what came later are no yardstick
            else:
                found.append(structs.replace(p, references=baselines.answer(p.key, p.target)))
        return tuple(found)

    def _referring(self, block: Block) -> Block:
        """A block with what the automatic baselines say of its rows.

        They are asked in the order of the line: whatever was told before it is learned by now.
        """
        baselines = self._baselines.get(block.model) or self._attended(block.model)
        if baselines is None:
            return block
        keys, at = block.keys, block.at
        known = {key: baselines.answer(key, at) for key in (keys if len(keys) == 1 else set(keys))}
        return structs.replace(block, references=[known[key] for key in keys])

    def estimate(self, model: str, key: str, *, target: float) -> Output | None:
        """The automatic baseline that stands in for a model, or None when nothing is known."""
        baselines = self._baselines.get(model)
        return None if baselines is None else baselines.estimate(key, target)

    def _attended(self, model: str) -> Baselines | None:
        """A model's baselines that nobody asked to attend; what is not found is not looked for again at once."""
        if time.perf_counter() < self._missed.get(model, 0.0):
            return None
        with contextlib.suppress(StoreUnavailable):
            self.attend(model)
        found = self._baselines.get(model)
        if found is None:
            self._missed[model] = time.perf_counter() + AGAIN
        return found

    def _known(self, ledger: Ledger, model: str) -> Baselines | None:
        with self._loading:
            found = self._baselines.get(model)
            if found is None:
                versions = ledger.versions.all(model)
                if versions:
                    found = Baselines(classifies=versions[-1].signature.classifies)
                    found.restore(ledger.records.memory(model))
                    self._learned[model] = _turn(ledger, model)
                    self._baselines[model] = found
        return found

    def _catch_up(self) -> None:
        """Take over what other processes on this store have learned from the outcomes that they were told."""
        if time.perf_counter() < self._looked + LOOK:
            return
        self._looked = time.perf_counter()
        with contextlib.suppress(StoreUnavailable), self._store.read() as ledger:
            heard = ledger.records.memory(RECORDER, [_LEARNED + model for model in self._baselines])
            for name, turn in heard.items():
                model = name.removeprefix(_LEARNED)
                if int(turn) != self._learned.get(model, 0):
                    self._baselines[model].refresh(ledger.records.memory(model))
                    self._learned[model] = int(turn)

    def _joined_by(self, ledger: Ledger, model: str, *, key: str, baselines: Baselines) -> None:
        """What other processes have learned of a key since this one looked must not be written over."""
        if model not in self._turns:
            turn = _turn(ledger, model)
            if turn != self._learned.get(model, 0):
                self._behind.add(model)
            self._turns[model] = turn + 1
        if model in self._behind:
            states = ledger.records.memory(model, [name for name in {key, EVERYONE} if not baselines.touched(name)])
            baselines.refresh(states)

    def _written(self, ledger: Ledger, group: Group, *, suspect: bool) -> list[Told]:
        records = ledger.records
        if suspect and int(records.memory(RECORDER).get(str(group.writer), b"-1")) >= group.number:
            return [Told(state="repeated") for _ in group.outcomes]
        fresh: Sequence[Prediction] = group.predictions
        if any(p.given for p in fresh):
            fresh = [p for p in fresh if not p.given] + records.unknown([p for p in fresh if p.given])
        if fresh:
            records.add(
                fresh,
                fold(fresh, lambda model, n: self._binnings.of(ledger, model=model, version=n)),
            )
        if group.blocks:
            records.add_blocks(
                group.blocks,
                fold_blocks(group.blocks, lambda model, n: self._binnings.of(ledger, model=model, version=n)),
            )
        told: list[Told] = []
        if group.outcomes:
            told = records.tell(group.outcomes, _tolerances(ledger, group.outcomes))
            self._note(group)
            for outcome, result in zip(group.outcomes, told, strict=True):
                self._learn(ledger, outcome, result=result)
            for model, baselines in self._touched.items():
                records.remember(model, baselines.changed())
            if self._turns:
                records.remember(RECORDER, {_LEARNED + model: b"%d" % turn for model, turn in self._turns.items()})
        if group.number:
            records.remember(RECORDER, {str(group.writer): b"%d" % group.number})
        return told

    def _learn(self, ledger: Ledger, outcome: Outcome, *, result: Told) -> None:
        about = self._about(ledger, outcome)
        if about is None or about[0] in self._strange:
            return
        baselines = self._baselines.get(about[0]) or self._known(ledger, about[0])
        if baselines is None:
            self._strange.add(about[0])
            return
        model, key, target = about
        self._joined_by(ledger, model, key=key, baselines=baselines)
        self._touched[model] = baselines
        if result.state in {"joined", "orphan"}:
            baselines.learn(key, outcome.value, target=target)
        elif result.state == "corrected":
            baselines.correct(key, outcome.value, target=target)

    def _about(self, ledger: Ledger, outcome: Outcome) -> tuple[str, str, float] | None:
        if outcome.prediction is None:
            target = outcome.at if outcome.target is None else outcome.target
            return None if outcome.model is None else (outcome.model, outcome.key, target)
        found = self._recent.about(outcome.prediction)
        if found is None:
            p = ledger.records.prediction(outcome.prediction)
            found = None if p is None else (p.model, p.key, p.target)
        return found

    def _note(self, group: Group) -> None:
        """Outcomes mostly concern recent predictions: they need no look into the store."""
        self._recent.note(group.predictions, group.blocks)


def _turn(ledger: Ledger, model: str) -> int:
    """How often any process has taught a model's baselines."""
    name = _LEARNED + model
    return int(ledger.records.memory(RECORDER, [name]).get(name, b"0"))


def _scope(group: Group, *, suspect: bool) -> Scope:
    """Predictions that are surely new may be added beside those of others; all else wants the records for itself."""
    alone = suspect or group.outcomes or any(p.given for p in group.predictions)
    return "records" if alone else "predictions"


def _tolerances(ledger: Ledger, outcomes: Sequence[Outcome]) -> dict[str, float]:
    found = {}
    for model in {outcome.model for outcome in outcomes if outcome.model is not None}:
        rollout = ledger.rollouts.get(model)
        found[model] = ledger.versions.policy(model, rollout.policy if rollout else None).tolerance
    return found
