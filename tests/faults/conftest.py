"""A populated data folder for the fault tests, and servers that end with their test."""

import shutil

import pytest
from live_server import Live
from populating import FEATURES, MODEL, answers, keep, opened


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """A data folder with ``weight``: version 1 answers, 2 and 3 are candidates; each has its own feature code."""
    folder = tmp_path_factory.mktemp("faults") / "data"
    with opened(folder) as app:
        for number in (1, 2, 3):
            keep(app, "weight", MODEL.format(number=number), features=FEATURES.format(number=number))
        answers(app, "weight", 1)
    return folder


@pytest.fixture
def folder(template, tmp_path):
    """A copy of the template of a test's own."""
    place = tmp_path / "data"
    shutil.copytree(template, place)
    return place


@pytest.fixture
def up():
    """Starts servers, which end with the test, whatever happens."""
    started = []

    def start(folder, **how):
        live = Live(folder, **how)
        started.append(live)
        return live

    yield start
    for live in started:
        live.close()
