"""``modelkeep replay``: a recorded table is lived through again, and what happened is told."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import Struct, structs

from modelkeep.app import App
from modelkeep.clock import ManualClock
from modelkeep.errors import BadInput, NotFound, Refused
from modelkeep.nouns import Value
from modelkeep.quantities import DAY, duration, iso
from modelkeep.replaying.beginning import first_version
from modelkeep.replaying.choosing import REPLAY, Chosen, choose, loaded
from modelkeep.replaying.driving import Direct
from modelkeep.replaying.happened import Story, happenings
from modelkeep.replaying.report import Report, Scores
from modelkeep.replaying.scoring import Ledgerbook
from modelkeep.replaying.streaming import Progress, Stream
from modelkeep.replaying.tape import Tape, step_for
from modelkeep.runtimes import read_table
from modelkeep.runtimes.training import TrainingRows
from modelkeep.settings import Settings, load

LEAST = 30
QUARTER = 90.0
MEMORY, ROOM = "/dev/shm", 2 * 1024**3  # noqa: S108 - tempfile makes a folder of its own in there
Table = dict[str, list[Value]]
Tell = Callable[[str], None]


class Wanted(Struct, frozen=True, kw_only=True):
    """What to replay, and how.

    ``workload`` is ``NAME`` or ``NAME/MODEL`` (recognised by the columns when empty); ``mapping`` gives columns of the
    file other names (``mapping[new] = old``). Moments are epoch seconds, ``step`` and ``delay`` are seconds; ``delay``
    replaces the moments at which outcomes were told. ``keep`` is a folder that stays.
    """

    file: Path
    workload: str = ""
    mapping: dict[str, str] = {}
    train_until: float | None = None
    until: float | None = None
    step: float | None = None
    delay: float | None = None
    history: bool = False
    inject: str = ""
    seed: int = 1
    keep: Path | None = None


class Plan(Struct, frozen=True, kw_only=True):
    """What is about to be played."""

    name: str
    start: float
    end: float
    step: float
    trained_rows: int


def replay(wanted: Wanted, *, tell: Tell, moved: Callable[[Plan, Progress], None]) -> Report:
    """Live through a recorded table.

    ``tell`` hears what is being prepared, ``moved`` how far it is after every step. Raises Refused for a table that
    cannot be replayed, with the reason, and whatever version 1 is refused with.
    """
    began = time.perf_counter()
    tell(f"reading {wanted.file.name} ...")
    table = renamed(read_table(wanted.file), wanted.mapping)
    chosen = choose(table, wanted.workload, history=wanted.history)
    tape = Tape(prepared(chosen, table, wanted=wanted))
    start = tape.beginning(wanted.train_until)
    end = ending(tape, wanted.until)
    learnt = tape.learnt(start)
    if len(learnt.truth) < LEAST:
        raise Refused(
            f"{len(learnt.truth)} outcomes were told before {iso(start)}: version 1 needs {LEAST}",
            remedy="begin later: --train-until MOMENT",
        )
    plan = Plan(
        name=chosen.recipe.model,
        start=start,
        end=end,
        step=wanted.step or step_for(start, end, at=tape.at),
        trained_rows=len(learnt.truth),
    )
    tell(
        f"{chosen.name}: {len(tape.at):,} rows; version 1 learns from {len(learnt.truth):,} told before {iso(start)}; "
        f"then {(end - start) / DAY:.0f} days in steps of {duration(plan.step)}"
    )
    read = time.perf_counter() - began
    clock = ManualClock(start)
    with (
        _folder(wanted.keep) as folder,
        _opened(folder, chosen, clock=clock, step=plan.step) as app,
        Direct(app) as driver,
    ):
        mark = time.perf_counter()
        first = first_version(
            app, chosen.recipe, rows=learnt, source=f"{wanted.file.name} before {iso(start)}", work=driver.work
        )
        trained = time.perf_counter() - mark
        tell(f"version 1: {first.note}" if first.note else "version 1 answers")
        output = first.signature.output
        book = Ledgerbook(tape, classifies=first.signature.classifies, unit=output.unit)
        stream = Stream(app, clock, driver=driver, tape=tape, book=book, first=first)
        for progress in stream.play(end=end, step=plan.step):
            moved(plan, progress)
        parts = {"read": read, "train": trained, **stream.seconds}
        report = _report(app, wanted, chosen=chosen, plan=plan, stream=stream, book=book)
    for reason, count in stream.reasons.most_common(3):
        tell(f"{count:,} rows were refused: {reason}")
    return structs.replace(report, seconds=time.perf_counter() - began, seconds_by_part=parts)


def renamed(table: Table, mapping: dict[str, str]) -> Table:
    """The table with columns under other names (``mapping[new] = old``). Raises NotFound for one that is not there."""
    for old in mapping.values():
        if old not in table:
            raise NotFound("column", old, known=table)
    taken = set(mapping.values())
    rest = {name: values for name, values in table.items() if name not in taken and name not in mapping}
    return {**{new: table[old] for new, old in mapping.items()}, **rest}


def prepared(chosen: Chosen, table: Table, *, wanted: Wanted) -> TrainingRows:
    """The rows that the recipe makes of a table, after the injection, with the delay that was asked for."""
    if wanted.inject:
        if wanted.inject not in chosen.recipe.injections:
            raise NotFound(f"injection of {chosen.name}", wanted.inject, known=chosen.recipe.injections)
        table = loaded(chosen.recipe.injections[wanted.inject])(table)
    if wanted.delay is not None and all(name in table for name in REPLAY):
        raise_late = wanted.delay
        from_moment = loaded("modelkeep.quantities:moment")
        table = {**table, "label_time": [iso(from_moment(str(at)) + raise_late) for at in table["event_time"]]}
    rows: TrainingRows = loaded(chosen.recipe.prepare)(table)
    if not rows.truth:
        raise BadInput(f"{chosen.name} made no row of {wanted.file.name}")
    return rows


def ending(tape: Tape, until: float | None) -> float:
    """The last moment: everything was asked and told."""
    last = max(tape.at[-1], tape.told[tape.in_order_of_telling[-1]]) + 1.0
    return last if until is None else min(until, last)


@contextlib.contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        if (keep / "modelkeep.db").exists():
            raise Refused(f"{keep} holds a replay or a server's data already", remedy="name a new folder, or delete it")
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="modelkeep-replay-", dir=_memory()) as place:
        yield Path(place)


def _memory() -> str | None:
    """Where what is thrown away in the end stands best: in memory, where the machine has such a place with room."""
    if Path(MEMORY).is_dir() and shutil.disk_usage(MEMORY).free > ROOM:
        return MEMORY
    return None


@contextlib.contextmanager
def _opened(folder: Path, chosen: Chosen, *, clock: ManualClock, step: float) -> Iterator[App]:
    app = App.open(settings_for(folder, chosen, step=step), clock=clock)
    try:
        yield app
    finally:
        app.stop()


def settings_for(folder: Path, chosen: Chosen, *, step: float) -> Settings:
    """The settings of a replay: watched once a step, records kept before they count, only its own workload."""
    found = load(folder=folder, environ={}, flags={"watch.every": f"{step:.0f}s", "recorder.durability": "sync"})
    if "workloads" in Settings.__struct_fields__:
        found = structs.replace(found, workloads=(chosen.workload.name,))
    return found


# --------------------------------------------------------------------------------------------------- the report


def _report(app: App, wanted: Wanted, *, chosen: Chosen, plan: Plan, stream: Stream, book: Ledgerbook) -> Report:
    answers = book.finish(end=plan.end)
    found = happenings(Story(past=stream.witness.past(), answers=answers, end=plan.end))
    with app.rooms.store.read() as ledger:
        rollout = ledger.rollouts.get(plan.name)
        versions = len(ledger.versions.all(plan.name))
    pages = sum(one.page for one in found)
    scores = answers.scores()
    below, offers = beneath(scores)
    days = (plan.end - plan.start) / DAY
    return Report(
        model=plan.name,
        recipe=chosen.name,
        file=wanted.file.name,
        start=plan.start,
        end=plan.end,
        trained_rows=plan.trained_rows,
        predictions=stream.done.predictions,
        outcomes=stream.done.outcomes,
        refused=sum(stream.reasons.values()),
        versions=versions,
        champion=rollout.champion if rollout else 0,
        pages=pages,
        notices=len(found) - pages,
        pages_per_90_days=pages * QUARTER / days,
        below_baseline=below,
        offers=offers,
        scores=scores,
        months=answers.months(plan.start, plan.end),
        happenings=found,
        seconds=0.0,
        seconds_by_part={},
    )


def beneath(scores: Scores | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is below a baseline, in words, and which baselines are offered as challengers."""
    if scores is None:
        return (), ()
    below, offers = [], []
    for who, error in (("version 1 left alone", scores.frozen), ("what was answered", scores.kept)):
        for name, other in sorted(scores.baselines.items(), key=lambda pair: pair[1]):
            if other <= error:
                below.append(f"{who} is below baseline {name!r}: {error:.4g} against {other:.4g}")
                offers.append(name)
                break
    if (
        scores.at_once is not None
        and scores.at_once <= scores.kept
        and scores.at_once < min(scores.baselines.values(), default=float("inf"))
    ):
        below.append(
            f"below baseline 'persistence' if labels came at once: the entity's newest label would err "
            f"{scores.at_once:.4g}, what was answered {scores.kept:.4g}; fresher labels are worth more than a model"
        )
        offers.append("persistence with labels at once")
    return tuple(below), tuple(dict.fromkeys(offers))
