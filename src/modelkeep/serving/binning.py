"""Predictions folded into hourly profiles, on the bins of each version's reference."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from msgspec import Struct

from modelkeep import profile
from modelkeep.errors import ModelkeepError, NotFound
from modelkeep.nouns import Field, Prediction, Privacy, Version
from modelkeep.profile import Floats, Profile
from modelkeep.quantities import HOUR
from modelkeep.serving.discretion import marked
from modelkeep.store.seams import Files, Folded, Ledger

_log = logging.getLogger("modelkeep.serving")
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
    hours: dict[tuple[str, int, str, float], list[Prediction]] = {}
    for p in predictions:
        hours.setdefault((p.model, p.version, p.role, p.at // HOUR * HOUR), []).append(p)
    return [
        Folded(model=model, version=version, role=role, hour=hour, profile=_profile(rows, binning(model, version)))
        for (model, version, role, hour), rows in hours.items()
    ]


def _profile(rows: Sequence[Prediction], binning: Binning) -> Profile:
    # Of what was predicted elsewhere the time may not be known: it is NaN, and counts nowhere.
    seconds = [row.seconds for row in rows if not math.isnan(row.seconds)]
    buckets = np.searchsorted(profile.LATENCY_EDGES, seconds, side="right")
    given = [row.features for row in rows]
    columns = profile.fold_columns(
        binning.inputs,
        {field.name: [features.get(field.name) for features in given] for field in binning.inputs},
        edges=binning.edges,
    )
    if binning.output is not None:
        name = binning.output.name
        answered = {name: [row.output for row in rows if row.error is None]}
        columns |= profile.fold_columns((binning.output,), answered, edges=binning.edges)
    scores = [row.score for row in rows if row.error is None and row.score is not None]
    if scores:
        columns |= profile.fold_columns((_SCORE,), {profile.SCORE: scores}, edges={profile.SCORE: profile.SCORES})
    return Profile(
        n=len(rows),
        failures=sum(row.error is not None for row in rows),
        latency=np.bincount(buckets, minlength=len(profile.LATENCY_EDGES) + 1).astype(np.float64),
        columns=columns,
    )
