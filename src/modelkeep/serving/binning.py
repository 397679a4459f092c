"""Predictions folded into hourly profiles, on the bins of each version's reference."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, repeat
from operator import itemgetter
from typing import TypeAlias

import numpy as np
from msgspec import Struct, structs

from modelkeep import profile
from modelkeep.errors import ModelkeepError, NotFound
from modelkeep.nouns import Block, Field, Output, Prediction, Privacy, Value, Version
from modelkeep.nouns.blocks import Row, Rows, named
from modelkeep.profile import Floats, Profile
from modelkeep.quantities import HOUR
from modelkeep.serving.discretion import marked
from modelkeep.store.seams import Files, Folded, Ledger

_log = logging.getLogger("modelkeep.serving")
_Place: TypeAlias = tuple[str, int, str, float]
_SCORE = Field(name=profile.SCORE, kind="number")


class Binning(Struct, frozen=True, kw_only=True):
    """What predictions of a version are counted into: its inputs, its output, and the bins of its reference."""

    inputs: tuple[Field, ...] = ()
    output: Field | None = None
    edges: Mapping[str, Floats] = {}


class Binnings:
    """How the predictions of every version are binned that predicts, read once until a policy changes."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._known: dict[tuple[str, int], Binning] = {}

    def of(self, ledger: Ledger, *, model: str, version: int) -> Binning:
        """How a version's predictions are binned; by latency and failures only when nobody registered it."""
        found = self._known.get((model, version))
        if found is None:
            try:
                found = self._read(ledger.versions.get(model, version), ledger.versions.policy(model).privacy)
            except NotFound:
                return Binning()
            self._known[model, version] = found
        return found

    def renew(self) -> None:
        """Read everything anew: a policy has changed."""
        self._known = {}

    def _read(self, version: Version, privacy: Privacy) -> Binning:
        edges: Mapping[str, Floats] = {}
        if version.baseline.reference is not None:
            try:
                edges = profile.decode(self._files.path(version.baseline.reference).read_bytes()).edges
            except (ModelkeepError, OSError) as fault:
                _log.warning(
                    "reference profile cannot be read; values are only counted",
                    extra={"model_name": version.model, "model_version": version.number, "cause": str(fault)},
                )
        signature = marked(version.signature, privacy)
        return Binning(inputs=signature.inputs, output=signature.output, edges=edges)


def fold(predictions: Sequence[Prediction], binning: Callable[[str, int], Binning]) -> list[Folded]:
    """The profiles of some predictions, one per model, version, role and hour.

    Failures are counted, with their latency and inputs, for the version that failed; whatever answered in its place is
    not counted into its output.
    """
    hours: dict[_Place, list[Prediction]] = {}
    for p in predictions:
        hours.setdefault((p.model, p.version, p.role, p.at // HOUR * HOUR), []).append(p)
    return [_folded(place, _columns(rows), binning=binning) for place, rows in hours.items()]


def fold_blocks(blocks: Sequence[Block], binning: Callable[[str, int], Binning]) -> list[Folded]:
    """``fold`` for the rows of blocks."""
    hours: dict[_Place, list[Block]] = {}
    for block in blocks:
        hours.setdefault((block.model, block.version, block.role, block.at // HOUR * HOUR), []).append(block)
    return [_folded(place, _columns_of(mine), binning=binning) for place, mine in hours.items()]


class _Columns(Struct, frozen=True, kw_only=True):
    """Rows of one hour, column by column: ``outputs`` and ``scores`` of those alone that the version answered."""

    seconds: Sequence[float]
    features: Rows
    outputs: Sequence[Output | None]
    scores: Sequence[float]


def _columns(rows: Sequence[Prediction]) -> _Columns:
    return _Columns(
        seconds=[row.seconds for row in rows],
        features=[dict(row.features) for row in rows],
        outputs=[row.output for row in rows if row.error is None],
        scores=[row.score for row in rows if row.error is None and row.score is not None],
    )


def _columns_of(blocks: Sequence[Block]) -> _Columns:
    return _Columns(
        seconds=list(chain.from_iterable(repeat(block.seconds, block.size) for block in blocks)),
        features=list(chain.from_iterable(block.features for block in blocks)),
        outputs=list(chain.from_iterable(block.outputs for block in blocks)),
        scores=list(chain.from_iterable(block.scores or () for block in blocks)),
    )


def _folded(place: _Place, columns: _Columns, *, binning: Callable[[str, int], Binning]) -> Folded:
    model, version, role, hour = place
    return Folded(
        model=model, version=version, role=role, hour=hour, profile=_profile(columns, binning(model, version))
    )


def _profile(rows: _Columns, binning: Binning) -> Profile:
    # Of what was predicted elsewhere the time may not be known: it is NaN, and counts nowhere.
    seconds = np.array(rows.seconds, dtype=np.float64)
    buckets = np.searchsorted(profile.LATENCY_EDGES, seconds[~np.isnan(seconds)], side="right")
    columns = profile.fold_columns(
        binning.inputs,
        _by_name([field.name for field in binning.inputs], rows.features),
        edges=binning.edges,
    )
    if binning.output is not None:
        columns |= profile.fold_columns((binning.output,), {binning.output.name: rows.outputs}, edges=binning.edges)
    if rows.scores:
        columns |= profile.fold_columns((_SCORE,), {profile.SCORE: rows.scores}, edges={profile.SCORE: profile.SCORES})
    return Profile(
        n=len(rows.seconds),
        failures=len(rows.seconds) - len(rows.outputs),
        latency=np.bincount(buckets, minlength=len(profile.LATENCY_EDGES) + 1).astype(np.float64),
        columns=columns,
    )


def _by_name(names: Sequence[str], rows: Rows) -> dict[str, Sequence[Value]]:
    """The values of each feature, None where it is missing."""
    kinds = set(map(type, rows))
    if len(kinds) == 1 and issubclass(kind := kinds.pop(), Row):
        columns = zip(*[structs.astuple(row) for row in rows if isinstance(row, Row)], strict=True)
        known = dict(zip(kind.__struct_encode_fields__, columns, strict=True))
        return {name: known.get(name) or [None] * len(rows) for name in names}
    rows = named(rows)
    if len(names) > 1:
        with contextlib.suppress(KeyError):  # all are there, as nearly always: half the time
            return dict(zip(names, zip(*map(itemgetter(*names), rows), strict=True), strict=True))
    return {name: [row.get(name) for row in rows] for name in names}
