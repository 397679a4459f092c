"""What every test may use; collects which rows of the acceptance checklist have a passing test."""

import atexit
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from postgres_server import Server, programs, running
from xdist.scheduler import LoadScopeScheduling

TESTS = Path(__file__).parent
RESULTS = TESTS.parent / "build" / "rows.json"
FIRST = ("workloads", "replaying", "faults", "edge", "operations")
"""Where the longest are: they begin first, so that no process is left with one of them at the end."""
TIMED = {
    "edge/test_five_times.py",
    "edge/test_overloaded_server.py",
    "edge/test_slow_neighbour.py",
    "faults/test_killed_promotion.py",
    "faults/test_stopping.py",
    "faults/test_two_servers.py",
    "serving/test_joining.py",
    "serving/test_overload.py",
}
"""Where moments are counted while traffic comes: beside each of their tests at most one other test runs."""
TURNS = "TESTS_TURNS"
"""In the environment: where the locks are. (A name that begins with the product's would be a setting.)"""
MEMORY = Path("/dev/shm")
ROOM = 2 << 30
"""Bytes that must be free in memory's own file system for the tests' folders to be there."""
found: dict[str, dict[str, str]] = {}


def _settle() -> None:
    """Say where this process and its children keep temporary files, and whom they trust.

    The tests wait for no disk: their folders are in memory where there is room for them. (A killed process leaves the
    same in both; what a machine's fall leaves is nothing that a test can tell.) And no test speaks to the world, so
    that no client needs to read all of its authorities: each would take 25 ms for that.
    """
    begun = Path(tempfile.gettempdir()).is_relative_to(MEMORY)  # by the process that started this one
    if not begun and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM:
        tempfile.tempdir = os.environ["TMPDIR"] = tempfile.mkdtemp(prefix="tests-", dir=MEMORY)
        Path(tempfile.tempdir).chmod(0o711)  # PostgreSQL runs as a user of its own
        atexit.register(shutil.rmtree, tempfile.tempdir, ignore_errors=True)
    if TURNS not in os.environ:
        os.environ[TURNS] = tempfile.mkdtemp(prefix="turns-")
        atexit.register(shutil.rmtree, os.environ[TURNS], ignore_errors=True)
    os.environ["SSL_CERT_FILE"] = str(TESTS / "authority.pem")


_settle()


@pytest.fixture(scope="session")
def program() -> Callable[[str], str]:
    """The path of a program of the machine; a missing one skips by name, and fails under CI."""

    def look(name: str) -> str:
        path = shutil.which(name)
        if path is None and os.environ.get("CI"):
            pytest.fail(f"{name} is not installed, and CI must have it")
        if path is None:
            pytest.skip(f"{name} is not installed")
        return path

    return look


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server for the whole run; where none is installed the tests skip by name, and fail under CI."""
    with _postgres(durable=False) as server:
        yield server


@pytest.fixture(scope="session")
def durable_postgres() -> Iterator[Server]:
    """Another one, whose commits wait for the disk, and which tests may stop and start."""
    with _postgres(durable=True) as server:
        yield server


@contextmanager
def _postgres(*, durable: bool) -> Iterator[Server]:
    if programs() is None and os.environ.get("CI"):
        pytest.fail("postgresql is not installed, and CI must have it")
    if programs() is None:
        pytest.skip("postgresql is not installed")
    with running(durable=durable) as server:
        yield server


@pytest.fixture(scope="session")
def _shared_database(postgres: Server) -> str:
    return postgres.database()


@pytest.fixture
def database(postgres: Server, _shared_database: str) -> Iterator[str]:
    """The address of an empty, migrated database on PostgreSQL."""
    yield _shared_database
    postgres.clean(_shared_database)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest begin first."""
    items.sort(key=lambda item: _turn(item.nodeid))


def _turn(test: str) -> int:
    folder = test.split("/")[1]
    return FIRST.index(folder) if folder in FIRST else len(FIRST)


class Together(LoadScopeScheduling):
    """What shares a costly fixture goes to one process: a file, or all about one workload."""

    def _split_scope(self, nodeid: str) -> str:
        """What must stay together."""
        file = nodeid.partition("::")[0]
        parts = file.split("/")
        return "/".join(parts[:3]) if parts[1] == "workloads" else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """How tests are shared out among processes."""
    return Together(config, log)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[Any]:
    """Each process has a turn; a test of ``TIMED`` takes that of its neighbour, too, where there are more than two."""
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    own = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % count
    taken = [str(own)]
    if item.nodeid.partition("::")[0].removeprefix("tests/") in TIMED:
        taken = ["timed", str(own), str((own + 1) % count)]  # one at a time, so that no two wait for each other
    with ExitStack() as held:
        for turn in taken if count > 2 else ():
            fcntl.flock(held.enter_context((Path(os.environ[TURNS]) / turn).open("w")), fcntl.LOCK_EX)
        return (yield)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("row"):
        item.user_properties.extend(("row", row) for row in mark.args)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" or report.outcome != "passed":
        for name, row in report.user_properties:
            if name == "row":
                found.setdefault(str(row), {})[report.nodeid] = report.outcome


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workerinput") or not found:
        return
    RESULTS.parent.mkdir(exist_ok=True)
    known: dict[str, dict[str, str]] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    ran = {test.partition("::")[0] for tests in found.values() for test in tests}
    rows = {row: {t: o for t, o in tests.items() if _stands(t, ran)} for row, tests in known.items()}
    for row, tests in found.items():
        rows.setdefault(row, {}).update(tests)
    RESULTS.write_text(json.dumps({row: tests for row, tests in rows.items() if tests}, indent=1, sort_keys=True))


def _stands(test: str, ran: set[str]) -> bool:
    """Whether an earlier run's result still counts: its file exists and was not run again."""
    file = test.partition("::")[0]
    return file not in ran and (RESULTS.parent.parent / file).exists()
