"""A dataset's rows as DuckDB sees them.

Small data lives in memory as a table, to which newer segments are added; large data is read from its files, as a view.
Either way the name ``data`` holds the newest row of each key. A segment holds each of its keys once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from modelkeep.errors import BadInput, StoreUnavailable
from modelkeep.nouns import Field, Value
from modelkeep.store.duck import FORM, NAMED, Duck, duckdb, files, listed, present, quoted, said, text, type_of
from modelkeep.store.segments import Segment
from modelkeep.store.veiling import Shown, Veil

Rows: TypeAlias = dict[str, list[Value]]
Conditions: TypeAlias = Sequence[tuple[str, Value | tuple[Value, ...]]]
_Open: TypeAlias = dict[Path, Shown]
SMALL = 8 * 1024**2
"""Segments of so many bytes in all are held in memory."""


class Loaded:
    """The rows of one dataset as DuckDB sees them, as of the last ``refresh``.

    Every method raises FileNotFoundError when a file was merged away meanwhile: refresh, and ask again.
    """

    def __init__(self, duck: Duck, fields: Sequence[Field], *, time: str, key: Sequence[str], veil: Veil) -> None:
        self._duck, self._schema, self._time, self._key = duck, duck.place(), time, tuple(key)
        self._types = {field.name: "DOUBLE" if field.name == time else type_of(field) for field in fields}
        self._life = -1
        self._held = False
        self._veil = veil
        self._shown: dict[Path, Shown] = {}
        self.segments: tuple[Segment, ...] = ()

    def stale(self, live: tuple[Segment, ...]) -> tuple[Segment, ...]:
        """The segments that must be read to get to ``live``; none when the state is that one already."""
        if self._life != self._duck.life or self._held != _small(live):
            return live
        end = self.segments[-1].end if self.segments else 0
        if not self._held:
            return () if self.segments == live else live
        if live and live[-1].end == end:
            return ()  # merged at most
        return tuple(s for s in live if s.start > end) if any(s.end == end for s in live) else live

    def refresh(self, live: tuple[Segment, ...]) -> None:
        """Bring ``data`` to the state of ``live``."""
        more = self.stale(live)
        if more:
            with self._duck.cursor() as cursor, self._showing(more) as shown:
                cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {self._schema}; SET schema='{self._schema}'; BEGIN")
                if more == live:
                    self._make(cursor, live, shown=shown)
                else:
                    self._add(cursor, more, shown=shown)
                cursor.execute("COMMIT")
                if not _small(live):  # a view reads its files with every question
                    self._shown = {**self._shown, **shown}
                    shown.clear()
        self._hide(() if _small(live) else live)
        self.segments, self._held, self._life = live, _small(live), self._duck.life

    def read(self, columns: Sequence[str], *, start: float | None, end: float | None, where: Conditions) -> Rows:
        """Columns of the rows that fit, by time."""
        condition, values = self._condition(start=start, end=end, where=where)
        order = listed([self._time, *(name for name in self._key if name != self._time)])
        query = f"SELECT {listed(columns)} FROM data WHERE {condition} ORDER BY {order}"
        return _by_column(columns, self.sql(query, values))

    def latest(self, columns: Sequence[str], *, by: Sequence[str]) -> Rows:
        """The newest row of each group."""
        time = quoted(self._time)
        same = " AND ".join(f"data.{name} IS NOT DISTINCT FROM newest.{name}" for name in map(quoted, by))
        # The moments first: a window over all columns of all rows takes ten times as long.
        newest = f"SELECT {listed(by)}, max({time}) AS __newest FROM data GROUP BY ALL"
        query = (
            f"WITH newest AS ({newest}) SELECT {listed(columns)} FROM data "
            f"SEMI JOIN newest ON {same} AND data.{time} = newest.__newest "
            f"QUALIFY row_number() OVER (PARTITION BY {listed(by)}) = 1 ORDER BY {listed(by)}"
        )
        return _by_column(columns, self.sql(query))

    def count(self, *, end: float | None, where: Conditions) -> int:
        """How many rows fit."""
        condition, values = self._condition(start=None, end=end, where=where)
        return int(self.sql(f"SELECT count(*) FROM data WHERE {condition}", values)[0][0])

    def sql(self, query: str, parameters: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        """The answer of a query that changes nothing. Raises BadInput for one that DuckDB refuses."""
        segments = self.segments
        with self._duck.cursor() as cursor:
            cursor.execute(f"SET schema='{self._schema}'; BEGIN TRANSACTION READ ONLY")
            try:
                return list(cursor.execute(query, list(parameters)).fetchall())
            except duckdb().Error as refusal:
                present(segments)
                raise BadInput(
                    f"the query cannot be answered: {said(refusal)}", remedy="the table is named data"
                ) from None

    def close(self) -> None:
        """Let go of what is shown of sealed files; the next ``refresh`` begins anew."""
        self._hide(())
        self.segments = ()

    # ------------------------------------------------------------------------------------------------ writing

    def write(self, rows: Rows, part: Path) -> int:
        """Write new rows to a file, the last one of each key; how many had a key that was there or came again."""
        total = len(rows[self._time])
        taken = ", ".join(f"unnest(?::{kind}[]) AS {quoted(name)}" for name, kind in self._types.items())
        last = (
            f"QUALIFY row_number() OVER (PARTITION BY {listed(self._key)} ORDER BY __row DESC) = 1" if self._key else ""
        )
        with self._duck.cursor() as cursor:
            values = [rows[name] for name in self._types]
            cursor.execute(f"CREATE TEMP TABLE fresh AS SELECT unnest(range({total})) AS __row, {taken}", values)
            query = f"SELECT * EXCLUDE (__row) FROM fresh {last} ORDER BY {quoted(self._time)}, __row"
            with self._veil.writing(part) as place:
                self._run(cursor, f"COPY ({query}) TO {text(place)} {FORM}")
            known = self._known(cursor, total) if self._key else 0
            cursor.execute("DROP TABLE fresh")
        return known

    def merge(self, run: Sequence[Segment], part: Path, *, end: float | None = None, where: Conditions = ()) -> None:
        """Write the newest rows of some segments to one file, with every column that any of them has.

        Without those from before ``end``, and, or, ``where`` columns have a value, when any of this is said.
        """
        condition, values = self._condition(start=None, end=end, where=where)
        kept = "TRUE" if end is None and not where else f"({condition}) IS NOT TRUE"
        newest = (
            f"QUALIFY row_number() OVER (PARTITION BY {listed(self._key)} ORDER BY {NAMED} DESC) = 1"
            if self._key
            else ""
        )
        with self._duck.cursor() as cursor, self._showing(run) as shown, self._veil.writing(part) as place:
            every = f"SELECT * FROM {self._files(run, shown)} {newest}"
            query = f"SELECT * EXCLUDE (filename) FROM ({every}) WHERE {kept} ORDER BY {quoted(self._time)}"
            self._run(cursor, f"COPY ({query}) TO {text(place)} {FORM}", values=values, segments=run)

    # ------------------------------------------------------------------------------------------------ inside

    @contextmanager
    def _showing(self, segments: Sequence[Segment]) -> Iterator[_Open]:
        """The files as they can be read; what stays in the dict is let go of at the end."""
        shown: _Open = {}
        try:
            for segment in segments:
                if segment.path not in self._shown:
                    shown[segment.path] = self._veil.show(segment.path)
            yield shown
        finally:
            for one in shown.values():
                one.close()

    def _hide(self, wanted: Sequence[Segment]) -> None:
        """Let go of what was shown of files that are not wanted any more."""
        kept = {segment.path for segment in wanted}
        for path in [path for path in self._shown if path not in kept]:
            self._shown.pop(path).close()

    def _files(self, segments: Sequence[Segment], shown: _Open) -> str:
        every = {**self._shown, **shown}
        return files(every[segment.path].path for segment in segments)

    def _make(self, cursor: Any, live: tuple[Segment, ...], *, shown: _Open) -> None:
        kinds = cursor.execute(
            "SELECT table_type FROM information_schema.tables WHERE table_schema = ? AND table_name = 'data'",
            [self._schema],
        ).fetchall()
        for (kind,) in kinds:
            cursor.execute(f"DROP {'VIEW' if kind == 'VIEW' else 'TABLE'} data")
        self._run(
            cursor,
            f"CREATE {'TABLE' if _small(live) else 'VIEW'} data AS {self._newest(cursor, live, shown=shown)}",
            segments=live,
        )

    def _add(self, cursor: Any, more: Sequence[Segment], *, shown: _Open) -> None:
        columns = listed(tuple(self._types))
        self._run(cursor, f"CREATE TEMP TABLE fresh AS {self._newest(cursor, more, shown=shown)}", segments=more)
        if self._key:
            cursor.execute(f"DELETE FROM data USING fresh WHERE {self._same('data', 'fresh')}")
        cursor.execute(f"INSERT INTO data ({columns}) SELECT {columns} FROM fresh; DROP TABLE fresh")

    def _known(self, cursor: Any, total: int) -> int:
        """How many rows of ``fresh`` have a key of ``data``, or of a later row."""
        there = (
            f"WHERE NOT EXISTS (FROM {self._schema}.data WHERE {self._same('data', 'fresh')})" if self.segments else ""
        )
        query = f"SELECT count(*) FROM (SELECT DISTINCT {listed(self._key)} FROM fresh {there})"
        self._run(cursor, query, segments=self.segments)
        return total - int(cursor.fetchone()[0])

    def _newest(self, cursor: Any, segments: Sequence[Segment], *, shown: _Open) -> str:
        """A query for the newest row of each key."""
        if not self._key or len(segments) == 1:
            return f"SELECT {listed(tuple(self._types))} FROM {self._typed(segments, shown)}"
        groups = self._meeting(cursor, segments, shown=shown)
        alone = [segment for group in groups if len(group) == 1 for segment in group]
        parts = [self._last(group, shown=shown) for group in groups if len(group) > 1]
        if alone or not parts:
            parts.append(f"SELECT {listed(tuple(self._types))} FROM {self._typed(alone or segments[:1], shown)}")
        return " UNION ALL ".join(f"({part})" for part in parts)

    def _last(self, segments: Sequence[Segment], *, shown: _Open) -> str:
        """The newest row of each key of some segments: the first is the largest, and only looked up in the others."""
        columns = listed(tuple(self._types))
        last = f"row_number() OVER (PARTITION BY {listed(self._key)} ORDER BY {NAMED} DESC) = 1"
        rest = f"SELECT {columns} FROM {self._typed(segments[1:], shown)} QUALIFY {last}"
        again = f"SELECT 1 FROM {self._files(segments[1:], shown)} AS later WHERE {self._same('later', 'first')}"
        first = f"SELECT {columns} FROM {self._typed(segments[:1], shown)} AS first WHERE NOT EXISTS ({again})"
        return f"{first} UNION ALL ({rest})"

    def _meeting(self, cursor: Any, segments: Sequence[Segment], *, shown: _Open) -> list[list[Segment]]:
        """Segments that may share a key: when its moment is part of the key, those whose moments overlap.

        Data that comes in the order of time so needs no comparing of keys at all.
        """
        if self._time not in self._key:
            return [list(segments)]
        time, named = quoted(self._time), {segment.path.name: segment for segment in segments}
        query = f"SELECT {NAMED}, min({time}), max({time}) FROM {self._files(segments, shown)} GROUP BY 1 ORDER BY 2"
        self._run(cursor, query, segments=segments)
        groups: list[list[Segment]] = []
        until = -math.inf
        for name, first, last in cursor.fetchall():
            if first > until:
                groups.append([])
            groups[-1].append(named[name])
            until = max(until, last)
        return [sorted(group, key=lambda segment: segment.start) for group in groups]

    def _typed(self, segments: Sequence[Segment], shown: _Open) -> str:
        """Files with every declared column: those that came later are null in the files before."""
        nulls = ", ".join(f"NULL::{kind} AS {quoted(name)}" for name, kind in self._types.items())
        return f"(SELECT {nulls} WHERE FALSE UNION ALL BY NAME SELECT * FROM {self._files(segments, shown)})"

    def _same(self, left: str, right: str) -> str:
        return " AND ".join(f"{left}.{name} = {right}.{name}" for name in map(quoted, self._key))

    def _condition(self, *, start: float | None, end: float | None, where: Conditions) -> tuple[str, list[Value]]:
        time = quoted(self._time)
        parts, values = ["TRUE"], list[Value]()
        for sign, bound in ((">=", start), ("<", end)):
            if bound is not None:
                parts.append(f"{time} {sign} ?")
                values.append(bound)
        for name, wanted in where:
            several = wanted if isinstance(wanted, tuple) else (wanted,)
            options = [f"{quoted(name)} {'IS NULL' if value is None else '= ?'}" for value in several]
            parts.append(f"({' OR '.join(options) or 'FALSE'})")
            values += [value for value in several if value is not None]
        return " AND ".join(parts), values

    @staticmethod
    def _run(cursor: Any, query: str, *, values: Sequence[Value] = (), segments: Sequence[Segment] = ()) -> None:
        try:
            cursor.execute(query, list(values))
        except duckdb().Error as fault:
            present(segments)
            raise StoreUnavailable(f"DuckDB could not do its work: {said(fault)}", remedy="check the disk") from fault


def _small(live: Sequence[Segment]) -> bool:
    return sum(segment.size for segment in live) <= SMALL


def _by_column(columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> Rows:
    values = zip(*rows, strict=True) if rows else ([] for _ in columns)
    return {name: list(column) for name, column in zip(columns, values, strict=True)}
