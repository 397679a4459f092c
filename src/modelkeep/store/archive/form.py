"""The columns of an archived record: those of its hot row, what was packed in its body, its outcome and what was told.

``chain`` holds every revision that was told of it (one row of ``outcomes`` each); ``match_number``, ``outcome``,
``value``, ``told`` and ``revision`` are those of the row of ``matches``, null without an outcome.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Column, Float, Integer, LargeBinary, Table

from modelkeep.nouns import Match
from modelkeep.store import rows
from modelkeep.store.rows import Asked
from modelkeep.store.tables import matches, outcomes, predictions
from modelkeep.store.told import Revision

_PACKED = {
    "features": "VARCHAR",
    "seconds": "DOUBLE",
    "score": "DOUBLE",
    "low": "DOUBLE",
    "high": "DOUBLE",
    "error": "VARCHAR",
    "stand_in": "BIGINT",
    "request": "VARCHAR",
    "given": "VARCHAR",
    "flag": "VARCHAR",
}
MATCHED = {
    "match_number": "BIGINT",
    "outcome": "BIGINT",
    "value": "VARCHAR",
    "told": "DOUBLE",
    "revision": "BIGINT",
}


def _kind(column: Column[Any]) -> str:
    if isinstance(column.type, Integer):
        return "BIGINT"
    if isinstance(column.type, Float):
        return "DOUBLE"
    return "BLOB" if isinstance(column.type, LargeBinary) else "VARCHAR"


def _kinds(table: Table) -> dict[str, str]:
    return {column.name: _kind(column) for column in table.columns}


REVISION = _kinds(outcomes)
"""The columns of one revision in ``chain``."""
CHAIN = "STRUCT(" + ", ".join(f'"{name}" {kind}' for name, kind in REVISION.items()) + ")[]"
KINDS: Mapping[str, str] = {**_kinds(predictions), **_PACKED, **MATCHED, "chain": CHAIN}
"""Every column of a file, with its type in DuckDB. ``body`` is there only where a person's key must open it."""
SHOWN = {name: kind for name, kind in KINDS.items() if kind in {"BIGINT", "DOUBLE", "VARCHAR"}}
"""The columns of a file that questions and exports look at: everything but bytes and chains."""
HOT = tuple(column.name for column in predictions.columns)
_REVISIONS = tuple(REVISION)


class Record(NamedTuple):
    """One prediction with its match and what was told of it: all its rows in the database.

    ``hot`` is the row of ``predictions``, ``matched`` the one of ``matches`` or None, ``chain`` those of ``outcomes``.
    """

    hot: tuple[Any, ...]
    matched: tuple[Any, ...] | None
    chain: tuple[Revision, ...]

    def of(self, name: str) -> Any:
        """A column of the hot row."""
        return self.hot[_PLACE[name]]

    @property
    def id(self) -> tuple[int, int]:
        """The two integers of its id."""
        return self.of("writer"), self.of("seq")

    @property
    def asked(self) -> Asked:
        """What joining needs of it."""
        return Asked._make(self.hot[_PLACE[name]] for name in Asked._fields)

    @property
    def row(self) -> list[Any]:
        """Its row as ``rows.PREDICTIONS`` reads it; the body may be sealed with a key."""
        return [self.hot[_PLACE[column.name]] for column in rows.PREDICTIONS.selected_columns]

    def opened(self, row: Sequence[Any]) -> Record:
        """The same record with the body of ``row``, which was opened with its key."""
        hot = list(self.hot)
        hot[_PLACE["body"]] = row[len(rows.ASKED)]
        return self._replace(hot=tuple(hot))

    def kept_as(self, *, body: bytes, subject: str | None) -> Record:
        """The same record with its body and its person as a row has them."""
        hot = list(self.hot)
        hot[_PLACE["body"]], hot[_PLACE["subject"]] = body, subject
        return self._replace(hot=tuple(hot))

    @property
    def match(self) -> Match | None:
        """The match, when its outcome is known."""
        return None if self.matched is None else rows.match(self.matched)


_PLACE = {name: place for place, name in enumerate(HOT)}


def columns(records: Sequence[Record]) -> dict[str, list[Any]]:
    """Records as the columns of a file; ``chain`` is JSON."""
    found: dict[str, list[Any]] = {name: [None] * len(records) for name in KINDS}
    for place, record in enumerate(records):
        parts = rows.apart(record.of("body"))
        for name, value in zip(HOT, record.hot, strict=True):
            found[name][place] = value
        if parts is not None:
            found["body"][place] = None
            for name in _PACKED:
                found[name][place] = parts[name]
        if record.matched is not None:
            found["match_number"][place] = record.matched[0]
            for name, value in zip(("outcome", "value", "told", "revision"), record.matched[-4:], strict=True):
                found[name][place] = value
        told = [dict(zip(_REVISIONS, revision, strict=True)) for revision in record.chain]
        found["chain"][place] = msgspec.json.encode(told).decode()
    return found


def shown(found: Sequence[Sequence[Any]], bodies: Sequence[bytes]) -> dict[str, list[Any]]:
    """Rows of ``rows.PREDICTIONS`` and the columns ``MATCHED`` behind them, with their opened bodies, as ``SHOWN``."""
    apart = rows.all_apart(bodies)
    names = [*(column.name for column in rows.PREDICTIONS.selected_columns), *MATCHED]
    page = {name: list(values) for name, values in zip(names, zip(*found, strict=True), strict=True) if name in SHOWN}
    return page | {name: apart[name] for name in _PACKED}


def record(row: Sequence[Any]) -> Record:
    """A record from a row of a file with the columns ``KINDS``, in that order."""
    found = dict(zip(KINDS, row, strict=True))
    if found["body"] is None:
        found["body"] = rows.together(found)
    hot = tuple(found[name] for name in HOT)
    matched = None
    if found["match_number"] is not None:
        asked = (found[name] for name in Asked._fields)
        matched = (found["match_number"], *asked, *(found[n] for n in ("outcome", "value", "told", "revision")))
    chain = tuple(Revision._make(told[name] for name in _REVISIONS) for told in found["chain"] or ())
    return Record(hot, matched, chain)


assert [column.name for column in matches.columns][1:13] == list(Asked._fields)  # noqa: S101 - Record.matched is such a row
