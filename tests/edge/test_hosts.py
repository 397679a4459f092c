"""A page that makes its own name mean this machine reaches nothing."""

import pytest
from served_house import served

from modelkeep.edge.hosts import Hosts
from modelkeep.edge.refusals import Turned
from modelkeep.settings.sections import ServerSettings

FINE = ("localhost", "localhost:8000", "LOCALHOST.", "app.localhost:80", "127.0.0.1:8000", "[::1]:8000", "10.0.0.7")
FOREIGN = ("evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example", "", "[evil", "2130706433")


def taken(asked, **settings):
    try:
        Hosts(ServerSettings(**settings)).check(asked.encode())
    except Turned as refused:
        return refused.status != 421
    return True


def test_a_server_of_this_machine_has_no_foreign_name():
    assert [host for host in FINE if not taken(host)] == []
    assert [host for host in FOREIGN if taken(host)] == []
    Hosts(ServerSettings()).check(None)
    assert taken("models.example.org:443", names=("Models.example.org",))
    assert not taken("evil.example", names=("models.example.org",), host="0.0.0.0")
    assert taken("evil.example", names=("*",))
    assert taken("evil.example", host="0.0.0.0")  # the token guards it
    assert taken("ml-box:8000", host="ml-box")


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    with served(tmp_path_factory.mktemp("named"), server__names="models.example.org") as found:
        found.keep("doubler")
        yield found


def test_every_door_of_a_page_is_closed_to_it(named):
    """What a browser sends after the name was bound anew: the page's own name, and its origin for whatever acts."""
    evil = {"host": "evil.example", "origin": "http://evil.example"}
    body = {"features": {"x": 1}}
    for path in ("/", "/v1/models", "/v1/acts", "/metrics", "/openapi.json", "/events"):
        refused = named.client.get(path, headers={"host": "evil.example"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (421, "wrong_host"), path
    for path in ("/v1/models/doubler/predict", "/v2/models/doubler/infer", "/v1/models/doubler/disable"):
        assert named.client.post(path, json=body, headers=evil).status_code == 421, path
    own = {"host": "models.example.org", "origin": "http://models.example.org"}
    assert named.client.post("/v1/models/doubler/predict", json=body, headers=own).json()["prediction"] == 2.0
    assert named.client.get("/v1/models", headers={"host": "models.example.org:443"}).status_code == 200
