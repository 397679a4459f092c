"""Everything that is recorded as one moment saw it, as tables of DuckDB: for questions in SQL, and for export.

What is in the database is copied into files of a scratch folder first, a few thousand rows at a time; the archive is
read where it lies. An export is put into order a window of time after the other, so that its memory does not follow its
rows. A query runs where nothing else can be reached: no other file, no network, no extension, no setting.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import Struct

from modelkeep.errors import BadInput, StoreUnavailable, TimedOut
from modelkeep.store.archive.form import KINDS, REVISION, SHOWN
from modelkeep.store.archive.paging import Span
from modelkeep.store.duck import WORDS, arrays, duckdb, quoted, said, text
from modelkeep.store.seams import Store

PAGE = 5000
MOST = 2_000_000
"""At most so many rows of the database are copied for one question; more must be narrowed."""
MEMORY = "512MB"
WINDOW = 20_000
"""So many rows, or fewer, are put into order together when they are written to a file."""
_WIDTHS = (86400.0, 3600.0, 60.0, 1.0, 1e-3)
"""Windows of time that are divided further while they hold more rows."""


def _quiet(_: int) -> None:
    """Nobody waits for it."""


class Answer(Struct, frozen=True, kw_only=True):
    """The rows of a question; ``more`` says that there were more of them than were wanted."""

    columns: tuple[str, ...]
    kinds: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    more: bool


_MOMENT = "make_timestamp(CAST(round({0} * 1e6) AS BIGINT))"
_SHOWN = f"""
    SELECT writer || '-' || seq AS id, model, version, role, key, {_MOMENT.format('"at"')} AS asked,
        {_MOMENT.format("target")} AS about, output AS answer, try_cast(output AS DOUBLE) AS answer_number,
        score, low, high, seconds, error, stand_in, value AS truth, try_cast(value AS DOUBLE) AS truth_number,
        abs(try_cast(output AS DOUBLE) - try_cast(value AS DOUBLE)) AS off_by,
        {_MOMENT.format("told")} AS told, revision, CAST(features AS JSON) AS features, request, subject,
        CASE WHEN of_writer IS NULL THEN NULL ELSE of_writer || '-' || of_seq END AS shadow_of, given, flag, archived
    FROM raw
"""
"""What ``predictions`` shows of a record. Texts and numbers of any kind are JSON in ``answer`` and ``truth``."""
_TOLD = f"""
    SELECT number, CASE WHEN writer IS NULL THEN NULL ELSE writer || '-' || seq END AS prediction, model, key,
        {_MOMENT.format("target")} AS about, value, try_cast(value AS DOUBLE) AS value_number,
        {_MOMENT.format('"at"')} AS told, revision, source
    FROM (SELECT DISTINCT ON (number) * FROM told_raw)
"""
_READ = f"""
    SELECT name, subject, {_MOMENT.format('"at"')} AS measured, json_extract_string(body, '$.level') AS level,
        CAST(json_extract(body, '$.value') AS DOUBLE) AS value, CAST(json_extract(body, '$.n') AS BIGINT) AS n,
        json_extract_string(body, '$.unit') AS unit, json_extract_string(body, '$.detail') AS detail
    FROM readings_raw
"""
VIEWS = ("predictions", "outcomes", "readings")


class _Part(NamedTuple):
    """A file of records: of the database or of the archive, and the first and last moment asked in it."""

    path: Path
    low: float
    high: float
    archived: bool


_SCRATCH = f"(FORMAT parquet, ROW_GROUP_SIZE {WINDOW})"
_STRUCK = {"file": "VARCHAR", "writer": "BIGINT", "seq": "BIGINT"}


class Snapshot:
    """One moment's records in DuckDB, from ``taken``."""

    def __init__(self, cursor: Any, folder: Path, *, parts: Sequence[_Part], span: Span) -> None:
        self._cursor = cursor
        self.folder = folder
        self._parts, self._span = parts, span

    def ask(self, query: str, *, limit: int, seconds: float) -> Answer:
        """The first ``limit`` rows of one SELECT.

        Raises BadInput for what DuckDB refuses, TimedOut after ``seconds``.
        """
        duck = duckdb()
        try:
            statements = self._cursor.extract_statements(query)
        except duck.Error as refusal:
            raise _refused(refusal) from None
        if len(statements) != 1 or statements[0].type not in {duck.StatementType.SELECT, duck.StatementType.EXPLAIN}:
            raise BadInput.of(
                "query",
                expected="one SELECT",
                got=f"{len(statements)} statements" if len(statements) != 1 else "another",
            )
        timer = threading.Timer(seconds, self._cursor.interrupt)
        timer.start()
        try:
            found = self._cursor.execute(statements[0])
            some = found.fetchmany(limit + 1)
            described = found.description
        except duck.InterruptException:
            raise TimedOut(
                f"the question took longer than {seconds:g} s", remedy="narrow it: --model, --from, --to"
            ) from None
        except duck.Error as refusal:
            raise _refused(refusal) from None
        finally:
            timer.cancel()
        return Answer(
            columns=tuple(column[0] for column in described),
            kinds=tuple(str(column[1]) for column in described),
            rows=some[:limit],
            more=len(some) > limit,
        )

    def write(self, where: str, values: Sequence[Any], *, target: Path, form: str, window: int = WINDOW) -> int:
        """Write the predictions for which ``where`` holds to a file, the oldest first; how many.

        About ``window`` of them are in memory at a time.

        Raises StoreUnavailable when the disk fails.
        """
        return self._copied(self._ordered(where, values, window=window), [], target=target, form=form)

    def batches(self, where: str, values: Sequence[Any], *, rows: int, window: int = WINDOW) -> Any:
        """The same as Arrow's record batches; pyarrow must be there."""
        return self._cursor.sql(self._ordered(where, values, window=window)).to_arrow_reader(rows)

    def _copied(self, query: str, values: Sequence[Any], *, target: Path, form: str) -> int:
        try:
            found = self._cursor.execute(f"COPY ({query}) TO {text(target)} {form}", list(values)).fetchone()
        except duckdb().Error as fault:
            raise StoreUnavailable(
                f"cannot write {target}: {said(fault)}", remedy="check its folder and disk"
            ) from None
        return int(found[0]) if found else 0

    def _ordered(self, where: str, values: Sequence[Any], *, window: int) -> str:
        """A query of the predictions for which ``where`` holds, in order: a file of the scratch folder a window."""
        query = f"SELECT * FROM predictions WHERE {where} ORDER BY asked, id"
        done: list[Path] = []
        for low, high in self._windows((-1e300, 1e300), window, widths=_WIDTHS, parts=self._parts) or [(0.0, 0.0)]:
            _view(self._cursor, _among(self._parts, low=low, high=high), span=self._span, low=low, high=high)
            done.append(self.folder / f"ordered-{len(done):06d}.parquet")
            self._copied(query, values, target=done[-1], form=_SCRATCH)
        self._cursor.execute("SET threads = 1")  # two would hold many groups of rows back to keep them in order
        files = ", ".join(text(path, glob=True) for path in done)
        return f"SELECT * REPLACE (CAST(features AS JSON) AS features) FROM read_parquet([{files}])"

    def _windows(
        self, within: tuple[float, float], rows: int, *, widths: Sequence[float], parts: Sequence[_Part]
    ) -> list[tuple[float, float]]:
        """Moments between which, up to, not including, the second, lie no more than ``rows`` rows.

        More only where they were all asked within a millisecond. Nothing is between two windows.
        """
        low, high = within
        _view(self._cursor, parts, span=self._span, low=low, high=high)
        counts = self._cursor.execute(
            f'SELECT floor("at" / {widths[0]!r}) AS n, count(*) FROM raw GROUP BY 1 ORDER BY 1'
        ).fetchall()
        found: list[tuple[float, float]] = []
        begun, total = low, 0
        for n, count in counts:
            # half a microsecond early: moments that are shown as the same one are in one window
            first, next_ = max(n * widths[0] - 5e-7, low), min((n + 1) * widths[0] - 5e-7, high)
            if total and total + count > rows:
                found.append((begun, first))
                begun, total = first, 0
            if count > rows and len(widths) > 1:
                inner = _among(parts, low=begun, high=next_)
                found += self._windows((begun, next_), rows, widths=widths[1:], parts=inner)
                begun, total = next_, 0
            else:
                total += count
        return [*found, (begun, high)] if total else found


@contextmanager
def taken(
    store: Store,
    *,
    span: Span,
    tables: Sequence[str],
    most: int = MOST,
    closed: bool = True,
    say: Callable[[int], None] = _quiet,
) -> Iterator[Snapshot]:
    """The records within ``span`` as one moment saw them; only the ``tables`` that are needed are copied.

    ``closed`` locks the connection up, for queries of others. ``say`` is told how many rows are copied.
    Raises BadInput when more than ``most`` rows would have to be copied from the database.
    """
    with tempfile.TemporaryDirectory(prefix="modelkeep-") as scratch:
        folder = Path(scratch)
        config = {
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "threads": "2",
            **WORDS,
        }
        with duckdb().connect(config=config | {"memory_limit": MEMORY, "temp_directory": str(folder)}) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute("SET enable_progress_bar = false")
            connection.execute("SET enable_external_file_cache = false")  # else all that was read stays in memory
            copying = _Copying(store, connection, folder=folder, span=span, most=most, say=say)
            allowed = copying.run(tables)
            if closed:
                listed = ", ".join(text(path) for path in allowed)
                connection.execute(f"SET allowed_paths = [{listed}]")
                connection.execute("SET enable_external_access = false")
                connection.execute("SET lock_configuration = true")
            yield Snapshot(connection, folder, parts=copying.parts, span=span)


class _Copying:
    """Copies what is in the database, and names what is in the archive."""

    def __init__(
        self, store: Store, connection: Any, *, folder: Path, span: Span, most: int, say: Callable[[int], None]
    ) -> None:
        self._store, self._connection, self._folder = store, connection, folder
        self._span, self._left = span, most
        self._most, self._say = most, say
        self._files: list[Path] = []
        self.parts: list[_Part] = []

    def run(self, tables: Sequence[str]) -> list[Path]:
        """Make the views; the files that they read."""
        with self._store.read() as ledger:
            vault = ledger.archive
            at = (self._span.start if self._span.start is not None else -1e300, self._span.end or 1e300)
            partitions = vault.partitions(self._span.model, at=at)
            live = vault.live(partitions)
            cold = self._store.cold
            if cold is not None:
                cold.sound(live.digests)
            paths = [] if cold is None else [cold.path(digest) for digest in live.digests]
            if "predictions" in tables:
                self._paged("predictions", SHOWN, pages=vault.pages(self._span, size=PAGE))
                held = zip(paths, partitions, strict=bool(paths))
                self.parts += [_Part(path, one.at_low, one.at_high, archived=True) for path, one in held]
                self._connection.execute("CREATE TABLE struck_out (file VARCHAR, writer BIGINT, seq BIGINT)")
                if live.struck:
                    struck = dict(zip(_STRUCK, zip(*live.struck, strict=True), strict=True))
                    self._connection.register("struck", arrays(struck, _STRUCK))
                    self._connection.execute("INSERT INTO struck_out SELECT * FROM struck")
                _view(self._connection, self.parts, span=self._span)
                self._connection.execute(f"CREATE VIEW predictions AS {_SHOWN}")
            if "outcomes" in tables:
                self._paged("told", REVISION, pages=vault.told_pages(size=PAGE))
                self._told(paths)
                self._connection.execute(f"CREATE VIEW outcomes AS {_TOLD}")
            if "readings" in tables:
                kinds = {"name": "VARCHAR", "subject": "VARCHAR", "at": "DOUBLE", "body": "VARCHAR"}
                self._paged("readings", kinds, pages=vault.reading_pages(self._span, size=PAGE))
                mine = ", ".join(text(path, glob=True) for path in self._of("readings"))
                self._connection.execute(f"CREATE VIEW readings_raw AS SELECT * FROM read_parquet([{mine}])")
                self._connection.execute(f"CREATE VIEW readings AS {_READ}")
        return [*self._files, *paths]

    def _of(self, name: str) -> list[Path]:
        return [path for path in self._files if path.name.startswith(f"{name}-")]

    def _paged(self, name: str, kinds: Any, *, pages: Iterator[dict[str, list[Any]]]) -> None:
        """Write pages of columns to files; at least one, so that the table has its columns."""
        count = 0
        for page in pages:
            self._write(name, kinds, page=page, number=count)
            count += 1
            self._left -= len(next(iter(page.values())))
            self._say(self._most - self._left)
            if self._left < 0:
                raise BadInput(
                    f"more than {self._most} rows of the database would have to be copied for this question",
                    remedy="narrow it with --model, --from and --to, or archive what is old",
                )
        if not count:
            self._write(name, kinds, page={column: [] for column in kinds}, number=0)

    def _write(self, name: str, kinds: Mapping[str, str], *, page: dict[str, list[Any]], number: int) -> None:
        path = self._folder / f"{name}-{number:06d}.parquet"
        taken = ", ".join(f"{quoted(column)}::{kind} AS {quoted(column)}" for column, kind in kinds.items())
        self._connection.register("page", arrays(page, kinds))
        self._connection.execute(f"COPY (SELECT {taken} FROM page) TO {text(path)} {_SCRATCH}")
        self._connection.unregister("page")
        self._files.append(path)
        if name == "predictions":
            asked = page["at"] or [0.0]
            self.parts.append(_Part(path, min(asked), max(asked), archived=False))

    def _told(self, paths: Sequence[Path]) -> None:
        columns = ", ".join(map(quoted, REVISION))
        hot = ", ".join(text(path, glob=True) for path in self._of("told"))
        parts = [f"SELECT {columns} FROM read_parquet([{hot}])"]
        if paths:
            cold = ", ".join(text(path, glob=True) for path in paths)
            files = f"read_parquet([{cold}], union_by_name = true)"
            parts.append(f"SELECT unnest(one) FROM (SELECT unnest(chain) AS one FROM {files})")
        whole = " UNION ALL BY NAME ".join(f"({part})" for part in parts)
        self._connection.execute(f"CREATE VIEW told_raw AS {whole}")


def _among(parts: Sequence[_Part], *, low: float, high: float) -> list[_Part]:
    """The files that may hold records asked within a time; one of the database's at least, which has the columns."""
    return [part for part in parts if part.high >= low and part.low < high] or list(parts[:1])


def _view(
    connection: Any, parts: Sequence[_Part], *, span: Span, low: float | None = None, high: float | None = None
) -> None:
    """Let ``raw`` be the records of some files within the span, and from ``low`` up to ``high``, that count."""
    conditions = ["TRUE"]
    if span.model is not None:
        conditions.append(f"model = '{span.model.replace(chr(39), chr(39) * 2)}'")
    for sign, bound in ((">=", span.start), ("<", span.end), (">=", low), ("<", high)):
        if bound is not None:
            conditions.append(f'"at" {sign} {bound!r}::DOUBLE')
    within = " AND ".join(conditions)
    nulls = ", ".join(f"NULL::{kind} AS {quoted(column)}" for column, kind in SHOWN.items())
    whole = [f"SELECT {nulls}, FALSE AS archived WHERE FALSE"]
    hot = ", ".join(text(part.path, glob=True) for part in parts if not part.archived)
    if hot:
        whole.append(f"SELECT *, FALSE AS archived FROM read_parquet([{hot}]) WHERE {within}")
    cold = ", ".join(text(part.path, glob=True) for part in parts if part.archived)
    if cold:
        files = f"read_parquet([{cold}], union_by_name = true, filename = true) AS held"
        unseen = ", ".join(quoted(column) for column in KINDS if column not in SHOWN)
        whole.append(
            f"SELECT held.* EXCLUDE (filename, {unseen}), TRUE AS archived FROM {files} ANTI JOIN struck_out AS gone "
            "ON gone.writer = held.writer AND gone.seq = held.seq AND gone.file = right(held.filename, 64) "
            f"WHERE {within}"
        )
    both = " UNION ALL BY NAME ".join(f"({part})" for part in whole)
    connection.execute(f"CREATE OR REPLACE VIEW raw AS SELECT * FROM ({both})")


def _refused(refusal: Exception) -> BadInput:
    return BadInput(
        f"the question cannot be answered: {said(refusal)}",
        remedy=f"the tables are {', '.join(VIEWS)}; docs/archive.md lists their columns",
    )
