"""How an opened ensemble answers: its members' answers as a table, weighed, bounded and turned back from link space."""

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from modelkeep.errors import BadArtifact
from modelkeep.nouns import Features, Output, Outputs, Signature
from modelkeep.runtimes.classes import labels, text_of, word
from modelkeep.runtimes.ensemble import Ensemble
from modelkeep.runtimes.ensemble_members import Part, part_of
from modelkeep.runtimes.formats import Contributions, Opened

Floats: TypeAlias = NDArray[np.float64]


def opened(ensemble: Ensemble, signature: Signature, *, coded: bool) -> Opened:
    """An ensemble that answers rows. Raises BadArtifact when a member does not fit the signature."""
    parts = [part_of(member, signature, coded=coded, link=ensemble.link) for member in ensemble.members]
    whole = _Whole(ensemble, parts, signature=signature, coded=coded)
    answer = whole.classes if signature.classifies else whole.numbers
    reason = next((said for part in parts for said in [whole.unexplained(part)] if said), "")
    return Opened(answer=answer, explain=None if reason else whole.explain, unexplained=reason)


class _Whole:
    """An ensemble in memory."""

    def __init__(self, ensemble: Ensemble, parts: list[Part], *, signature: Signature, coded: bool) -> None:
        self._ensemble, self._parts = ensemble, parts
        self._names = [part.name for part in parts]
        _check_segment(ensemble, signature, coded=coded)
        known = [value for value in {**ensemble.weights_by, **ensemble.offsets_by} if value]
        self._segments = {value: place for place, value in enumerate(known)}
        self._weights = np.array([self._weights_of(value) for value in (*known, "")])
        self._offsets = np.array([self._offsets_of(value) for value in (*known, "")], dtype=np.float64)
        self._floor = -math.inf if ensemble.floor is None else ensemble.floor
        self._ceiling = math.inf if ensemble.ceiling is None else ensemble.ceiling
        if signature.classifies:
            self._classes = _classes(ensemble, signature)

    def numbers(self, rows: Sequence[Features]) -> Outputs:
        """Answers, intervals and every member's own answer, in the output's unit."""
        table, places = self._table(rows), self._places(rows)
        linked = self._sum(table, places)
        values = self._back(linked)
        return Outputs(
            values=[*values.tolist()],
            intervals=self._intervals(table, places, linked=linked, values=values),
            members=self._members(table),
        )

    def classes(self, rows: Sequence[Features]) -> Outputs:
        """Classes, with the probability-like score of the class that is answered."""
        table = self._table(rows)
        scores = np.clip(self._back(self._sum(table, self._places(rows))), 0.0, 1.0)
        chosen = scores >= self._ensemble.threshold
        return Outputs(
            values=[self._classes[bool(which)] for which in chosen],
            scores=np.where(chosen, scores, 1.0 - scores).tolist(),
            members=self._members(table),
        )

    def unexplained(self, part: Part) -> str:
        """Why a member cannot be explained, or an empty text; one that never has a weight need not be."""
        place = self._names.index(part.name)
        return part.unexplained if self._weights[:, place].any() else ""

    def explain(self, row: Features) -> Contributions:
        """The members' contributions, weighed: with the base they sum to the answer in link space."""
        weights = self._weights[int(self._places([row])[0])]
        base, found = 0.0, dict[str, float]()
        for part, weight in zip(self._parts, weights.tolist(), strict=True):
            if weight and part.explain is not None:
                own = part.explain(row)
                base += weight * own.base
                for name, value in own.inputs.items():
                    found[name] = found.get(name, 0.0) + weight * value
        members = {name: values[0] for name, values in (self._members(self._table([row])) or {}).items()}
        return Contributions(base=base, inputs=found, link=self._ensemble.link, members=members)

    def _table(self, rows: Sequence[Features]) -> Floats:
        return np.column_stack([part.answer(rows) for part in self._parts])

    def _places(self, rows: Sequence[Features]) -> NDArray[np.intp]:
        unknown = len(self._segments)
        if not unknown:
            return np.zeros(len(rows), dtype=np.intp)
        by, segments = self._ensemble.by, self._segments
        return np.array([segments.get(word(row.get(by)), unknown) for row in rows], dtype=np.intp)

    def _sum(self, table: Floats, places: NDArray[np.intp]) -> Floats:
        # A member without weight may answer what it likes: 0 times infinity must not spoil the sum.
        weights = self._weights[places]
        found: Floats = np.where(weights == 0.0, 0.0, table * weights).sum(axis=1)
        return found

    def _intervals(
        self, table: Floats, places: NDArray[np.intp], *, linked: Floats, values: Floats
    ) -> list[tuple[float, float]] | None:
        ensemble = self._ensemble
        if not ensemble.bounded:
            return None
        low, high = self._offsets[places].T
        if ensemble.low_member:
            low = low + table[:, self._names.index(ensemble.low_member)]
            high = high + table[:, self._names.index(ensemble.high_member)]
        else:
            low, high = low + linked, high + linked
        ends = self._back(np.stack((low, high, linked)))
        ends[2] = values
        return list(zip(ends.min(axis=0).tolist(), ends.max(axis=0).tolist(), strict=True))

    def _members(self, table: Floats) -> dict[str, list[float]]:
        return {name: self._inverse(column).tolist() for name, column in zip(self._names, table.T, strict=True)}

    def _back(self, linked: Floats) -> Floats:
        found = self._inverse(linked)
        if self._ensemble.calibrated:
            places, outputs = zip(*self._ensemble.calibrated, strict=True)
            found = np.interp(found, places, outputs)
        return np.clip(found, self._floor, self._ceiling)

    def _inverse(self, linked: Floats) -> Floats:
        link = self._ensemble.link
        if link == "identity":
            return linked
        with np.errstate(over="ignore"):  # an infinite answer is refused by the check of the outputs
            if link == "logit":
                return 1.0 / (1.0 + np.exp(-linked))
            return np.exp(linked) if link == "log" else np.expm1(linked)

    def _weights_of(self, value: str) -> list[float]:
        ensemble = self._ensemble
        table = ensemble.weights_by.get(value) or ensemble.weights_by.get("") or ensemble.weights
        return [table.get(name, 0.0) for name in self._names]

    def _offsets_of(self, value: str) -> tuple[float, float]:
        ensemble = self._ensemble
        usual = (
            (-ensemble.widen, ensemble.widen) if ensemble.low_member else (ensemble.low or 0.0, ensemble.high or 0.0)
        )
        return ensemble.offsets_by.get(value) or ensemble.offsets_by.get("") or usual


def _check_segment(ensemble: Ensemble, signature: Signature, *, coded: bool) -> None:
    if ensemble.by and not coded and ensemble.by not in {field.name for field in signature.inputs}:
        raise BadArtifact(f"the ensemble goes by {ensemble.by!r}, which is no input of the signature")


def _classes(ensemble: Ensemble, signature: Signature) -> tuple[Output, Output]:
    output = signature.output
    known = [text_of(name, output) for name in ensemble.classes] if ensemble.classes else labels(output, 2)
    if output.categories and len(output.categories) != 2:
        raise BadArtifact(f"the output {output.name!r} has {len(output.categories)} classes, an ensemble answers two")
    if ensemble.link not in {"identity", "logit"}:
        raise BadArtifact(f"the link {ensemble.link} is not for classes", remedy="use logit or identity")
    return known[0], known[1]
