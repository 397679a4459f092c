"""Rows of a stranger's file as a model takes them, and its answers as records and as lines."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from msgspec import Struct

from modelkeep.errors import BadInput
from modelkeep.given import given_id
from modelkeep.nouns import Features, Prediction, Signature, Version
from modelkeep.quantities import moment
from modelkeep.runtimes.streams import Bad, as_kind, as_text
from modelkeep.serving.calling import Got
from modelkeep.store.answers import RowAnswer

FIELDS = ("id", "key", "for", "subject")
"""What a row may say beside features."""


class Row(Struct, frozen=True, kw_only=True):
    """One row: its number in the file (the first is 1), what the model is asked, and what else it says.

    ``target`` is the moment that it is about; ``problem`` says why the model is not asked.
    """

    number: int
    features: Features = {}
    id: str = ""
    key: str = ""
    target: float | None = None
    subject: str | None = None
    problem: str = ""


class Reading(Struct, frozen=True, kw_only=True):
    """How rows are read: the signature with its personal fields marked, and the file's names of ours."""

    signature: Signature
    names: Mapping[str, str] = {}

    def theirs(self, ours: str) -> str:
        """The file's name of a field."""
        return self.names.get(ours, ours)

    def column(self, feature: str) -> str:
        """The file's name of an input."""
        return self.names.get(f"features.{feature}", self.theirs(feature))

    def check(self, columns: Sequence[str], *, file: str, model: str) -> None:
        """Raise BadInput for a name of nothing, and for inputs that the file has no column for."""
        known = {
            *FIELDS,
            *(f.name for f in self.signature.inputs),
            *(f"features.{f.name}" for f in self.signature.inputs),
        }
        has = f"it has: {', '.join(columns)}"
        for ours, theirs in self.names.items():
            if ours not in known:
                near = get_close_matches(ours, known, n=1)
                remedy = f"did you mean {near[0]!r}?" if near else f"one of: {', '.join(sorted(known))}"
                raise BadInput(f"{ours}={theirs}: {model} has no field {ours!r}", remedy=remedy)
            if theirs not in columns:
                raise BadInput(f"{ours}={theirs}: {file} has no column {theirs!r}", remedy=has)
        if "features" in columns:
            return
        absent = [f.name for f in self.signature.inputs if not f.nullable and self.column(f.name) not in columns]
        if absent:
            many = f" (and {len(absent) - 1} more: {', '.join(absent[1:20])})" if len(absent) > 1 else ""
            near = get_close_matches(absent[0], columns, n=1)
            theirs = near[0] if near else "COLUMN"
            raise BadInput(
                f"{file} has no column {absent[0]!r}, which {model} takes{many}",
                remedy=f"name it: --map {absent[0]}={theirs}; {has}",
            )

    def row(self, number: int, found: Mapping[str, Any] | Bad) -> Row:
        """One row of the file."""
        if isinstance(found, Bad):
            return Row(number=number, problem=found.why)
        features = self._features(found)
        problems = self.signature.problems(features)
        wrong = "" if not problems else str(problems[0])
        if len(problems) > 1:
            wrong += f" and {len(problems) - 1} more"
        target, told = None, found.get(self.theirs("for"))
        if told is not None:
            try:
                target = moment(told if isinstance(told, str) else str(told), "for")
            except BadInput as refusal:
                wrong = wrong or str(refusal)
        name, key, subject = (self._text(found, ours) for ours in ("id", "key", "subject"))
        return Row(
            number=number, features=features, id=name, key=key, target=target, subject=subject or None, problem=wrong
        )

    def _features(self, found: Mapping[str, Any]) -> dict[str, Any]:
        given = found.get("features")
        if isinstance(given, dict):
            return dict(given)
        asked = {}
        for field in self.signature.inputs:
            theirs = self.column(field.name)
            if theirs in found:
                asked[field.name] = as_kind(found[theirs], field)
        return asked

    def _text(self, found: Mapping[str, Any], name: str) -> str:
        value = found.get(self.theirs(name))
        return "" if value is None else as_text(value)[:500]


class Recording(Struct, frozen=True, kw_only=True):
    """How answers are recorded: of which version, at which moment, for which job.

    ``source`` tells the file and how it was read. The same row of the same file, answered by the same version, has the
    same id whenever it is scored, and so is recorded once.
    """

    version: Version
    at: float
    request: str
    source: str

    def prediction(self, row: Row, got: Got) -> Prediction:
        """The record of an answer, or of the failure to give one. A row's share of a batch is no time of its own."""
        given = f"{self.source[:16]}-{self.version.number}-{row.number}"
        return Prediction(
            id=given_id(self.version.model, given),
            given=given,
            model=self.version.model,
            version=self.version.number,
            role="champion",
            features=row.features,
            output=got.value,
            at=self.at,
            target=self.at if row.target is None else row.target,
            seconds=float("nan"),
            key=row.key,
            subject=row.subject,
            score=got.score,
            interval=got.interval,
            error=got.error,
            request=self.request,
        )


def source_of(digest: str, names: Mapping[str, str]) -> str:
    """A name for a file's content and how it was read."""
    return hashlib.sha256(json.dumps([digest, sorted(names.items())]).encode()).hexdigest()


def line(row: Row, got: Got, *, prediction_id: str) -> RowAnswer:
    """An answer as it goes out."""
    low, high = got.interval or (None, None)
    return RowAnswer(
        row=row.number,
        id=row.id,
        prediction_id=prediction_id,
        key=row.key,
        prediction=got.value,
        score=got.score,
        low=low,
        high=high,
        error=row.problem or got.error or "",
    )
