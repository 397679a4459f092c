"""The description of the REST interface, and a machine that tries everything that it allows (and more)."""

from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup

from modelkeep.edge import openapi
from modelkeep.operations import OPERATIONS

DOCS = Path(__file__).parent.parent.parent / "docs"


def test_every_act_is_described(house):
    found = house.get("/openapi.json").json()
    assert found["openapi"].startswith("3.1")
    described = {(path, method.upper()) for path, methods in found["paths"].items() for method in methods}
    assert {(o.path, o.method) for o in OPERATIONS} <= described
    for operation in OPERATIONS:
        act = found["paths"][operation.path][operation.method.lower()]
        assert act["summary"]
        names = {p["name"] for p in act.get("parameters", ()) if p["in"] == "path"}
        assert names == {part[1:-1] for part in operation.path.split("/") if part.startswith("{")}


def test_every_reference_leads_somewhere():
    document = openapi.document()

    def walk(value):
        if isinstance(value, dict):
            if "$ref" in value:
                assert value["$ref"].rpartition("/")[2] in document["components"]["schemas"]
            for entry in value.values():
                walk(entry)
        elif isinstance(value, list):
            for entry in value:
                walk(entry)

    walk(document)


@pytest.mark.timeout(300)
def test_nothing_that_can_be_sent_is_a_fault(house):
    schema = schemathesis.openapi.from_dict(openapi.document())
    schema.config.base_url = house.url
    tried = []
    few = settings(
        max_examples=3,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    for found in schema.get_all_operations():
        operation = found.ok()

        @few
        def attempt(case):
            answer = case.call(headers={"connection": "keep-alive"}, timeout=20)
            tried.append(answer.status_code)
            try:
                case.validate_response(answer, checks=[not_a_server_error])
            except FailureGroup:
                # A probe may truly say that the server is not ready, and a model may truly fail.
                assert answer.status_code in {502, 503, 504}, answer.text

        schemathesis_given(operation, attempt)
    assert len(tried) > 100
    assert 500 not in tried


def schemathesis_given(operation, test):
    """Run ``test`` on generated cases of an operation."""
    from hypothesis import given

    given(case=operation.as_strategy())(test)()


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_route_is_documented(operation):
    assert f"`{operation.method} {operation.path}`" in (DOCS / "rest.md").read_text()


@pytest.mark.parametrize(
    "path", ["/health", "/health/live", "/health/ready", "/health/full", "/api/ml/health", "/metrics", "/openapi.json"]
)
def test_every_other_route_is_documented(path):
    assert f"`GET {path}`" in (DOCS / "rest.md").read_text()
