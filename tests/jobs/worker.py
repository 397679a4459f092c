"""A process that runs jobs for the fault tests: ``worker.py FOLDER COMMAND ...``."""

import sys
import time
from pathlib import Path

from msgspec import Struct
from running import START, rooms_in

from modelkeep.errors import LeaseLost
from modelkeep.jobs.backup import back_up
from modelkeep.jobs.rooms import Done
from modelkeep.jobs.runner import Pace, Runner
from modelkeep.jobs.schedule import Schedule


class Memo(Struct, frozen=True, kw_only=True):
    walked: int


def hang(rooms, run):
    """One step, then nothing more: the test kills the process here."""
    run.step("first", memo=Memo(walked=1))
    (rooms.folder / "hanging").touch()
    time.sleep(60)
    return Done()


def frozen(rooms, run):
    """Steps again once the test has let it: by then its lease is another's."""
    run.step("first")
    (rooms.folder / "hanging").touch()
    while not (rooms.folder / "go").exists():
        time.sleep(0.01)
    try:
        run.step("stale")
    except LeaseLost:
        (rooms.folder / "rejected").touch()
        raise
    return Done()


def once(rooms, run):
    with rooms.store.write() as ledger:
        ledger.acts.append(who=str(rooms.folder), what="ran", subject=run.job.id, why="", at=rooms.clock.now())
    return Done()


def backup(rooms):
    with rooms.store.read() as ledger:
        made = ledger.versions.get("churn", 1)
    back_up(rooms, made)


def main(folder: Path, command: str, *more: str) -> None:
    at = float(more[0]) if more else START
    rooms = rooms_in(folder, at)
    if command == "backup":
        backup(rooms)
        return
    schedules = {"nightly": Schedule(task="once", when="0 2 * * *")} if command == "once" else {}
    task = {"hang": hang, "frozen": frozen, "once": once}[command]
    runner = Runner(rooms, {command: task}, schedules=schedules, pace=Pace(lease=30.0))
    (folder / f"ready-{rooms.folder.name}").touch()
    ran = runner.run_due()
    rooms.store.close()
    print(len(ran), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
