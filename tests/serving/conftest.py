import pytest
from housing import House


@pytest.fixture
def build(tmp_path):
    """Builds houses on the test's folder; closes them."""
    built = []

    def make(**options):
        built.append(House(tmp_path, **options))
        return built[-1]

    yield make
    for house in built:
        house.close()


@pytest.fixture
def house(build):
    return build()
