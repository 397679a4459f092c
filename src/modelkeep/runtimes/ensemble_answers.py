"""How an opened ensemble answers: its members' answers as a table, weighed, bounded and turned back from link space."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec
import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from modelkeep.errors import BadArtifact, BadFeatures, ModelFailed
from modelkeep.nouns import Features, Output, Outputs, Signature
from modelkeep.runtimes.classes import labels, text_of, word
from modelkeep.runtimes.ensemble import Ensemble, Member, read_ensemble
from modelkeep.runtimes.ensemble_members import Part, part_of, planned
from modelkeep.runtimes.formats import Contributions, Opened
from modelkeep.runtimes.runners.plan import Plan, Share

Floats: TypeAlias = NDArray[np.float64]
_LEAST = 0.25
"""With less than this share of the weight left, what answers is not the ensemble any more."""


def opened(ensemble: Ensemble, signature: Signature, *, coded: bool) -> Opened:
    """An ensemble that answers rows. Raises BadArtifact when a member does not fit the signature."""
    parts = [part_of(member, signature, coded=coded, link=ensemble.link) for member in ensemble.members]
    whole = _Whole(ensemble, parts, signature=signature, coded=coded)
    answer = whole.classes if signature.classifies else whole.numbers
    reason = next((said for part in parts for said in [whole.unexplained(part)] if said), "")

    def plan(names: tuple[str, ...]) -> Plan | None:
        """The members as data; None when no runner would answer any of them."""
        shares = tuple(Share(name=part.name) if part.share is None else part.share(names) for part in parts)
        if all(share.plan is None for share in shares):
            return None
        bare = structs.replace(ensemble, members=tuple(structs.replace(m, data=b"") for m in ensemble.members))
        codes = {name: table for share in shares if share.plan is not None for name, table in share.plan.codes.items()}
        return Plan(
            sources=names, head="identity", codes=codes, unexplained=reason, members=shares,
            whole=msgspec.json.encode(bare),
        )  # fmt: skip

    return Opened(answer=answer, explain=None if reason else whole.explain, unexplained=reason, plan=plan)


def run(
    found: Plan, signature: Signature, *, runner: str, coded: bool, artifact: Callable[[], bytes]
) -> Callable[[Sequence[Features]], Outputs]:
    """What answers rows by a plan: its members by that runner, or the next best, those without a plan as they are.

    ``artifact`` gives the ensemble's file, for members that only their library answers. Raises BadArtifact.
    """
    ensemble = msgspec.json.decode(found.whole, type=Ensemble)

    @functools.cache
    def whole_members() -> dict[str, Member]:
        return {member.name: member for member in read_ensemble(artifact()).members}

    def part(share: Share, member: Member) -> Part:
        if share.plan is not None:
            return planned(share, member, runner=runner, link=ensemble.link)
        known = structs.replace(member, data=share.data) if share.data else whole_members()[member.name]
        return part_of(known, signature, coded=coded, link=ensemble.link)

    parts = [part(share, member) for share, member in zip(found.members, ensemble.members, strict=True)]
    whole = _Whole(ensemble, parts, signature=signature, coded=coded)
    return whole.classes if signature.classifies else whole.numbers


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
        table, lacking = self._table(rows)
        places = self._places(rows)
        weights, degraded = self._weighed(table, places, lacking=lacking)
        linked = _sum(table, weights)
        values = self._back(linked)
        return Outputs(
            values=[*values.tolist()],
            intervals=self._intervals(table, places, linked=linked, values=values),
            members=self._members(table),
            weights=self._named(weights),
            link=self._ensemble.link,
            degraded=degraded,
        )

    def classes(self, rows: Sequence[Features]) -> Outputs:
        """Classes, with the probability-like score of the class that is answered."""
        table, lacking = self._table(rows)
        weights, degraded = self._weighed(table, self._places(rows), lacking=lacking)
        scores = np.clip(self._back(_sum(table, weights)), 0.0, 1.0)
        chosen = scores >= self._ensemble.threshold
        return Outputs(
            values=[self._classes[bool(which)] for which in chosen],
            scores=np.where(chosen, scores, 1.0 - scores).tolist(),
            members=self._members(table),
            weights=self._named(weights),
            link=self._ensemble.link,
            degraded=degraded,
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
        members = {name: values[0] for name, values in self._members(self._table([row])[0]).items()}
        return Contributions(base=base, inputs=found, link=self._ensemble.link, members=members)

    def _table(self, rows: Sequence[Features]) -> tuple[Floats, dict[int, str]]:
        """The members' answers in link space; a member that fails answers NaN, and why it does stands at its place."""
        found, lacking = [], dict[int, str]()
        for place, part in enumerate(self._parts):
            try:
                found.append(part.answer(rows))
            except BadFeatures:
                raise  # the request lacks what the member needs: that is not the member's fault
            except Exception as error:  # noqa: BLE001 - a model's call: the other members answer
                lacking[place] = f"{type(error).__name__}: {str(error)[:200]}"
                found.append(np.full(len(rows), np.nan))
        return np.column_stack(found), lacking

    def _weighed(
        self, table: Floats, places: NDArray[np.intp], *, lacking: dict[int, str]
    ) -> tuple[Floats, list[str] | None]:
        """The weights of the members in each row; where one does not answer, the others share its weight.

        Raises ModelFailed when too little of a row's weight is left, or a member of the interval is lacking.
        """
        weights = self._weights[places]
        silent = (weights != 0.0) & ~np.isfinite(table)
        ends = {self._ensemble.low_member, self._ensemble.high_member} - {""}
        if not silent.any() and not any(self._names[place] in ends for place in lacking):
            return weights, None
        left = np.where(silent, 0.0, weights)
        whole, rest = weights.sum(axis=1), left.sum(axis=1)
        if (np.abs(rest) < _LEAST * np.abs(whole)).any() or any(self._names[place] in ends for place in lacking):
            first = next(iter(lacking.items()), (int(silent.any(axis=0).argmax()), "no finite number"))
            raise ModelFailed(f"member {self._names[first[0]]!r} failed, and the others are too few: {first[1]}")
        said = [
            "; ".join(
                f"member {self._names[i]!r}: {lacking.get(int(i), 'no finite number')}" for i in np.flatnonzero(row)
            )
            for row in silent
        ]
        return left * (whole / rest)[:, None], said

    def _named(self, weights: Floats) -> dict[str, list[float]]:
        return {name: column.tolist() for name, column in zip(self._names, weights.T, strict=True)}

    def _places(self, rows: Sequence[Features]) -> NDArray[np.intp]:
        unknown = len(self._segments)
        if not unknown:
            return np.zeros(len(rows), dtype=np.intp)
        by, segments = self._ensemble.by, self._segments
        return np.array([segments.get(word(row.get(by)), unknown) for row in rows], dtype=np.intp)

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


def _sum(table: Floats, weights: Floats) -> Floats:
    # A member without weight may answer what it likes: 0 times infinity must not spoil the sum.
    with np.errstate(invalid="ignore"):
        found: Floats = np.where(weights == 0.0, 0.0, table * weights).sum(axis=1)
    return found


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
