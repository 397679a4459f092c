"""The commands ``replay`` and ``demo``: recorded and simulated life on a clock that is moved by hand."""

from __future__ import annotations

import importlib
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from modelkeep.edge.cli.usage import DONE, Wrongly, guarded, pairs
from modelkeep.errors import Unavailable
from modelkeep.quantities import DAY, moment, seconds


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class How:
    """How a table is replayed."""

    workload: Annotated[
        str, Parameter(help="Its recipe: WORKLOAD or WORKLOAD/MODEL; any/NAME for any table (else by its columns)")
    ] = ""
    mapping: Annotated[
        tuple[str, ...], Parameter(name="--map", help="Name a column: label=churned", consume_multiple=True)
    ] = ()
    train_until: Annotated[str, Parameter(help="Version 1 learns from before this moment (else the first 25 %)")] = ""
    until: Annotated[str, Parameter(help="End at this moment")] = ""
    step: Annotated[str, Parameter(help="Look once in so long: 1h, 6h, 1d (else by the density of the rows)")] = ""
    delay: Annotated[str, Parameter(help="Tell outcomes so long after the event, instead of at label_time")] = ""
    history: Annotated[bool, Parameter(negative="", help="With the entity's own past labels as inputs")] = False
    inject: Annotated[str, Parameter(help="Put a fault of the recipe into the table first")] = ""
    seed: Annotated[int, Parameter(help="Seed of an injection that draws")] = 1


USUAL = How()


def replay(
    file: Annotated[Path, Parameter(help="A table: .csv, .parquet or .json")],
    *,
    how: How = USUAL,
    keep: Annotated[Path | None, Parameter(help="Keep the data folder of the replay here")] = None,
    json: Annotated[bool, Parameter(name="--json", negative="", help="Answer in JSON")] = False,
) -> int:
    """Live through a recorded table on a simulated clock, and tell what happened."""

    def act() -> int:
        engine = importlib.import_module("modelkeep.replaying.replay")
        wanted = _wanted(file, how, keep=keep)
        console = Console(stderr=True)
        # Alerts of a replay stand in its table: the log's channel need not tell them as well.
        logging.getLogger("modelkeep").addHandler(logging.NullHandler())
        with _ended_in_order(), _moving(console) as moved:
            report = engine.replay(wanted, tell=lambda text: console.print(text, markup=False), moved=moved)
        if json:
            sys.stdout.write(msgspec.json.format(msgspec.json.encode(report), indent=2).decode() + "\n")
        else:
            importlib.import_module("modelkeep.edge.cli.played").show(report)
        return DONE

    return guarded(act)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Stage:
    """Where a demo is shown, and how fast."""

    port: Annotated[int, Parameter(name=["--port", "-p"], help="Port on 127.0.0.1")] = 8000
    speed: Annotated[float, Parameter(help="Simulated days a second")] = 1.0
    stay: Annotated[bool, Parameter(help="Keep serving when the end has come")] = True
    folder: Annotated[
        Path | None, Parameter(name=["--folder", "-C"], help="The demo's own data folder (demo-data, or demo-NAME)")
    ] = None


STAGE = Stage()


def demo(
    name: Annotated[
        str, Parameter(help="Only this workload: weight, drilling, restaurants, any, devices, flights")
    ] = "",
    *,
    data: Annotated[Path | None, Parameter(help="Play this recorded file instead of the simulator")] = None,
    how: How = USUAL,
    stage: Stage = STAGE,
) -> int:
    """Watch it live: real flights, simulated workloads, or a recorded file of yours."""

    def act() -> int:
        if not 0 < stage.speed <= 1000:
            raise Wrongly(f"--speed {stage.speed:g} must be above 0 and up to 1000 days a second")
        if data is not None and not name:
            raise Wrongly("--data needs the workload that it is of, as in: modelkeep demo restaurants --data FILE")
        try:
            live = importlib.import_module("modelkeep.replaying.live")
        except ModuleNotFoundError as missing:
            if missing.name and missing.name.startswith("modelkeep"):
                raise
            raise Unavailable(
                f"the demo needs the package {missing.name}", remedy="install it: pip install 'modelkeep[demo]'"
            ) from None
        if name:
            importlib.import_module("modelkeep.replaying.simulating").checked(name.partition("/")[0])
        shown = live.Shown(
            folder=stage.folder or Path(f"demo-{name.partition('/')[0] or 'data'}"),
            port=stage.port,
            speed=stage.speed,
            until=moment(how.until, "--until") if how.until else None,
            stay=stage.stay,
        )
        serve = importlib.import_module("modelkeep.edge.server").running
        if data is not None:
            return int(live.play_file(_wanted(data, how, workload=name), shown, serve=serve))
        return int(live.play_one(name, shown, serve=serve) if name else live.play_all(shown, serve=serve))

    return guarded(act)


def _wanted(file: Path, how: How, *, workload: str = "", keep: Path | None = None) -> Any:
    """What to replay, as the engine takes it."""
    engine = importlib.import_module("modelkeep.replaying.replay")
    return engine.Wanted(
        file=file,
        workload=workload or how.workload,
        mapping={name: str(value) for name, value in pairs(how.mapping, "--map").items()},
        train_until=moment(how.train_until, "--train-until") if how.train_until else None,
        until=moment(how.until, "--until") if how.until else None,
        step=_step(how.step),
        delay=seconds(how.delay, "--delay") if how.delay else None,
        history=how.history,
        inject=how.inject,
        seed=how.seed,
        keep=keep,
    )


def _step(text: str) -> float | None:
    if not text:
        return None
    step = seconds(text, "--step")
    if step < 60:
        raise Wrongly(f"--step {text}: give 1m or more")
    return step


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Ended by a signal, a replay still takes its folder away: it stands in memory."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _moving(console: Console) -> Iterator[Callable[[Any, Any], None]]:
    """A progress bar: what moves it along takes the engine's plan and progress."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[figures]}"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0, figures="", visible=False)

        def moved(plan: Any, progress: Any) -> None:
            bar.update(
                task,
                visible=True,
                total=plan.end - plan.start,
                completed=progress.at - plan.start,
                description=f"day {(progress.at - plan.start) / DAY:.0f} of {(plan.end - plan.start) / DAY:.0f}",
                figures=f"{progress.predictions:,} predictions, {progress.outcomes:,} outcomes",
            )

        yield moved
