"""A model's name leads to that model on every route; a name that would be hidden is refused when it is registered."""

import re

import pytest
from starlette.routing import Match

from modelkeep.edge import rest
from modelkeep.edge.pages.routes import pages
from modelkeep.errors import BadInput
from modelkeep.jobs import naming
from modelkeep.operations import OPERATIONS


@pytest.fixture(scope="module")
def routes(house):
    """Every route of the server as it is built, with its pages and workloads."""
    return rest.build(house.app, pages=pages(house.app).routes)._inner.routes


def taken(name):
    try:
        naming.check(name)
    except BadInput:
        return False
    return True


def parts(path):
    return [part for part in path.split("/") if part]


def of_models(routes):
    return [route for route in routes if "{model" in route.path]


def test_every_name_that_is_taken_leads_to_its_model_on_every_route(routes):
    near = {part for one in routes if "models" in parts(one.path) for part in parts(one.path) if part[0] != "{"}
    names = {"a", "a/b", "models", "a.b-c_d/e/f"}
    for word in near:
        names |= {
            word,
            f"a/{word}",
            f"{word}/a",
            f"a/{word}/b",
            f"a/{word}/3",
            f"a/b/{word}",
            f"a/{word}/3/b",
            f"a/3/{word}",
        }
    lost, asked = [], 0
    for name in filter(taken, names):
        for route in of_models(routes):
            path = re.sub(r"\{(number|version)\}", "3", re.sub(r"\{model(:path)?\}", name, route.path))
            for method in route.methods or {"GET"}:
                scope = {"type": "http", "path": path, "method": method, "root_path": "", "headers": []}
                fits = ((one, one.matches(scope)) for one in routes)
                found, params = next(
                    ((one, said["path_params"]) for one, (how, said) in fits if how is Match.FULL), (None, {})
                )
                asked += 1
                if found is not route or params["model"] != name:
                    lost.append((name, method, route.path, getattr(found, "path", None)))
    assert not lost
    assert asked > 1000


def test_the_words_that_are_refused_are_those_of_the_routes(routes):
    """No word is refused that no route needs, and a new route cannot be forgotten."""
    paths = [*(one.path.replace(":path", "") for one in routes), *(act.path for act in OPERATIONS)]
    behind = {found[1] for path in paths if (found := re.search(r"\{model\}/(\w+)", path))}
    whole = {found[1] for path in paths if (found := re.fullmatch(r"/v\d/models/(\w+)", path))}
    assert (behind, whole) == (naming.BEHIND, naming.WHOLE)


@pytest.mark.parametrize("name", ["loaded", "unload", "north/accuracy", "north/versions/3", "a/ready"])
def test_a_name_that_would_be_hidden_is_refused_with_a_remedy(house, name):
    with pytest.raises(BadInput, match="route of the product") as refused:
        house.keep(name)
    assert refused.value.remedy
    columns = {"signature": {"inputs": [{"name": "x", "kind": "number"}], "output": {"name": "y", "kind": "number"}}}
    answer = house.post(f"/v1/models/{name}/external", columns)
    assert answer.status_code == 422, answer.text
    assert "route of the product" in answer.json()["error"]["message"]


def test_a_model_with_a_slash_in_its_name_has_every_door(house):
    house.keep("north/accuracy-2")
    assert house.ask("north/accuracy-2", 2.0).json()["prediction"] == 4.0
    assert house.get("/v1/models/north/accuracy-2").json()["summary"]["model"] == "north/accuracy-2"
    assert house.get("/v1/models/north/accuracy-2/versions/1").json()["model"] == "north/accuracy-2"
    assert house.get("/v2/models/north/accuracy-2/ready").json() == {"name": "north/accuracy-2", "ready": True}
    page = house.get("/models/north/accuracy-2")
    assert page.status_code == 200
    assert "north/accuracy-2" in page.text
