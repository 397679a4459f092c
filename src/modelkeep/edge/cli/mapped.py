"""Rows of a file as records and outcomes: which column is which field, and values as the model takes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from msgspec import Struct

from modelkeep.errors import BadInput
from modelkeep.nouns import Signature
from modelkeep.runtimes.streams import as_kind, as_text

FIELDS = (
    "id", "prediction", "key", "at", "for", "version", "role", "latency_ms", "score", "error", "subject", "request_id",
    "low", "high",
)  # fmt: skip
"""What a row of predictions may say beside features."""
OUTCOMES = ("prediction_id", "actual", "key", "for", "at", "source")


class Names(Struct, frozen=True, kw_only=True):
    """What the file calls each of our fields; without a word both are called the same."""

    names: dict[str, str] = {}

    @classmethod
    def of(cls, words: Iterable[str]) -> Names:
        """From ``ours=theirs`` words. Raises BadInput."""
        names = {}
        for word in words:
            ours, equals, theirs = word.partition("=")
            if not (equals and ours and theirs):
                raise BadInput(f"--map {word!r}: expected ours=theirs", remedy="for example --map key=customer_id")
            names[ours] = theirs
        return cls(names=names)

    def theirs(self, ours: str) -> str:
        """The file's name of a field."""
        return self.names.get(ours, ours)

    @property
    def taken(self) -> set[str]:
        """Columns that are fields of a record, and so no inputs."""
        return {self.theirs(name) for name in FIELDS}

    def check(self, columns: list[str], signature: Signature, *, file: str) -> None:
        """Raise BadInput for a mapping to nothing, and when nobody knows which column is the answer."""
        inputs = {field.name for field in signature.inputs}
        self._check(columns, {*FIELDS, *inputs, *(f"features.{name}" for name in inputs), "features"}, file=file)
        if not {self.theirs("prediction"), signature.output.name, self.theirs("error")} & set(columns):
            raise BadInput(
                f"which column of {file} is the answer is not known",
                remedy=f"--map prediction=COLUMN, one of: {', '.join(columns)}",
            )

    def check_outcomes(self, columns: list[str], signature: Signature, *, file: str) -> None:
        """Raise BadInput for a mapping to nothing, and when nobody knows which column is the truth, or whose it is."""
        self._check(columns, set(OUTCOMES), file=file)
        if not {self.theirs("actual"), signature.output.name} & set(columns):
            raise BadInput(
                f"which column of {file} is the truth is not known",
                remedy=f"--map actual=COLUMN, one of: {', '.join(columns)}",
            )
        if not {self.theirs("prediction_id"), self.theirs("for")} & set(columns):
            raise BadInput(
                f"which prediction a row of {file} is about is not known",
                remedy="--map prediction_id=COLUMN, or --map key=COLUMN --map for=COLUMN",
            )

    def _check(self, columns: list[str], known: set[str], *, file: str) -> None:
        for ours, theirs in self.names.items():
            near = get_close_matches(ours, known, n=1) if ours not in known else []
            if ours not in known:
                raise BadInput(
                    f"--map {ours}={theirs}: there is no field {ours!r}",
                    remedy=f"did you mean {near[0]!r}?" if near else f"one of: {', '.join(sorted(known))}",
                )
            if theirs not in columns:
                raise BadInput(
                    f"--map {ours}={theirs}: {file} has no column {theirs!r}", remedy=f"it has: {', '.join(columns)}"
                )


def prediction_of(row: Mapping[str, Any], names: Names, *, signature: Signature) -> dict[str, Any]:
    """One row as a record."""
    record = {name: row[names.theirs(name)] for name in FIELDS if row.get(names.theirs(name)) is not None}
    if "prediction" not in record and row.get(signature.output.name) is not None:
        record["prediction"] = row[signature.output.name]
    if "prediction" in record:
        record["prediction"] = as_kind(record["prediction"], signature.output)
    for name in ("id", "key", "subject", "error", "request_id", "role"):
        if name in record:
            record[name] = as_text(record[name])
    low, high = record.pop("low", None), record.pop("high", None)
    if low is not None and high is not None:
        record["interval"] = [low, high]
    given = row.get("features")
    record["features"] = dict(given) if isinstance(given, dict) else _features(row, names, signature=signature)
    if row.get("model"):
        record["model"] = row["model"]
    return record


def _features(row: Mapping[str, Any], names: Names, *, signature: Signature) -> dict[str, Any]:
    found = {}
    for field in signature.inputs:
        theirs = names.names.get(f"features.{field.name}", names.theirs(field.name))
        if theirs in row:
            found[field.name] = as_kind(row[theirs], field)
    return found


def outcome_of(row: Mapping[str, Any], names: Names, *, signature: Signature) -> dict[str, Any]:
    """One row as an outcome; an empty truth takes it back."""
    told = {name: row[names.theirs(name)] for name in OUTCOMES if row.get(names.theirs(name)) is not None}
    truth = row.get(names.theirs("actual"), row.get(signature.output.name))
    told["actual"] = as_kind(truth, signature.output)
    for name in ("prediction_id", "key", "source"):
        if name in told:
            told[name] = as_text(told[name])
    return told
