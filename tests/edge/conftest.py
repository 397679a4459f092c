"""A real server on a loopback port, for whoever asks for one."""

import pytest
from served_house import served


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """One server for the tests of a file, with the model ``doubler`` (y = 2 x)."""
    with served(tmp_path_factory.mktemp("house")) as found:
        found.keep("doubler")
        yield found


@pytest.fixture
def fresh(tmp_path):
    """A server of a test's own, without models."""
    with served(tmp_path / "data") as found:
        yield found
