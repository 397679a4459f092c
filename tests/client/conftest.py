"""A served house for the client's tests."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "edge"))
from served_house import served

SIGNATURE = {
    "inputs": [{"name": "rooms", "kind": "integer"}, {"name": "area", "kind": "number"}],
    "output": {"name": "price", "kind": "number"},
}


@pytest.fixture
def house(tmp_path):
    """A server with the models ``doubler`` (served here) and ``price`` (served elsewhere)."""
    with served(tmp_path / "data") as found:
        found.keep("doubler")
        found.post("/v1/models/price/external", {"signature": SIGNATURE})
        yield found
