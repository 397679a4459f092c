"""What every test may use; collects which rows of the acceptance checklist have a passing test."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from postgres_server import Server, programs, running

TESTS = Path(__file__).parent
RESULTS = TESTS.parent / "build" / "rows.json"
FIRST = ("workloads", "replaying", "faults", "edge", "operations")
"""Where the longest are: they begin first, so that no process is left with one of them at the end."""
found: dict[str, dict[str, str]] = {}


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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What shares a costly fixture goes to one process: a module, or all about one workload."""
    items.sort(key=lambda item: FIRST.index(_place(item)[0]) if _place(item)[0] in FIRST else len(FIRST))
    for item in items:
        parts = _place(item)
        item.add_marker(pytest.mark.xdist_group("/".join(parts[:2] if parts[0] == "workloads" else parts)))


def _place(item: pytest.Item) -> tuple[str, ...]:
    return item.path.relative_to(TESTS).parts


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("row"):
        item.user_properties.extend(("row", row) for row in mark.args)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" or report.outcome != "passed":
        for name, row in report.user_properties:
            if name == "row":
                test = report.nodeid.rpartition("@")[0] if report.nodeid.endswith(".py") else report.nodeid
                found.setdefault(str(row), {})[test] = report.outcome


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
