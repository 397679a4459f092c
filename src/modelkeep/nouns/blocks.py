"""Plain answers of one version, column by column: what a busy server records without an object for each of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TypeAlias

from msgspec import Struct, structs

from modelkeep.nouns.decisions import Role
from modelkeep.nouns.models import Output, Value
from modelkeep.nouns.records import Prediction


class Row(Struct, gc=False):
    """The features of a row as a door reads them: written anywhere, it is what the dictionary of them would be.

    A third of a dictionary's memory, and read in two thirds of the time. Each signature has a type of its own, whose
    fields are its inputs in their order.

    >>> Small = defstruct("Small", [("c0", float), ("c1", float)], bases=(Row,), rename={"c0": "x", "c1": "y"})
    >>> Small(1.0, 2.0).named(), msgspec.json.encode(Small(1.0, 2.0))
    ({'x': 1.0, 'y': 2.0}, b'{"x":1.0,"y":2.0}')
    """

    def named(self) -> dict[str, Value]:
        """The dictionary."""
        return dict(zip(self.__struct_encode_fields__, structs.astuple(self), strict=True))


Rows: TypeAlias = list[dict[str, Value]] | list[Row]


def named(rows: Rows) -> list[dict[str, Value]]:
    """Rows as dictionaries."""
    return [row.named() if isinstance(row, Row) else row for row in rows]


class Block(Struct, frozen=True, kw_only=True, array_like=True):
    """Rows that one version answered at one moment, each by itself: nobody stood in, and nothing went wrong.

    The ids are ``writer-first``, ``writer-(first + 1)`` and so on; every column has one entry a row. ``at`` is the
    moment of all of them (and what they are about), ``seconds`` the time of each. ``places`` are those of its rows in
    the burst that they came in (None = all of it); they mean nothing later. ``references`` are those of each row's
    prediction, filled in by the recorder. ``features`` may be ``Row``, where a door has just read them.
    """

    writer: int
    first: int
    model: str
    version: int
    role: Role
    at: float
    seconds: float
    features: list[dict[str, Value]]
    outputs: list[Output]
    keys: list[str]
    requests: list[str]
    scores: list[float] | None = None
    intervals: list[tuple[float, float]] | None = None
    places: list[int] | None = None
    references: list[tuple[Output | None, ...]] | None = None

    @property
    def size(self) -> int:
        """How many rows it holds."""
        return len(self.outputs)

    def singly(self) -> Iterator[Block]:
        """Its rows, each in a block of its own."""
        for row in range(self.size):
            yield structs.replace(
                self,
                first=self.first + row,
                features=[self.features[row]],
                outputs=[self.outputs[row]],
                keys=[self.keys[row]],
                requests=[self.requests[row]],
                scores=None if self.scores is None else [self.scores[row]],
                intervals=None if self.intervals is None else [self.intervals[row]],
                places=None,
                references=None if self.references is None else [self.references[row]],
            )

    def only(self, names: Collection[str]) -> Block:
        """The same with those features alone."""
        kept = [{name: value for name, value in row.items() if name in names} for row in named(self.features)]
        return structs.replace(self, features=kept)

    def predictions(self) -> Iterator[Prediction]:
        """The same as records, in order.

        >>> block = Block(
        ...     writer=3, first=8, model="m", version=1, role="champion", at=5.0, seconds=0.1, features=[{"x": 1}] * 2,
        ...     outputs=[2.0, 3.0], keys=["", ""], requests=["a", "b"],
        ... )
        >>> [(p.id, p.output, p.request) for p in block.predictions()]
        [('3-8', 2.0, 'a'), ('3-9', 3.0, 'b')]
        """
        features = named(self.features)
        for row, output in enumerate(self.outputs):
            yield Prediction(
                id=f"{self.writer}-{self.first + row}",
                model=self.model,
                version=self.version,
                role=self.role,
                features=features[row],
                output=output,
                at=self.at,
                target=self.at,
                seconds=self.seconds,
                key=self.keys[row],
                score=None if self.scores is None else self.scores[row],
                interval=None if self.intervals is None else self.intervals[row],
                request=self.requests[row],
                references=() if self.references is None else self.references[row],
            )
