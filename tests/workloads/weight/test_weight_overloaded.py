"""More photos than can be looked at closely: each is looked at less closely meanwhile, and as before afterwards."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import httpx
import pytest
from photographing import OBJECT, photograph
from waiting import until
from yard import installed

from modelkeep import App, settings
from modelkeep.edge.server import running
from modelkeep.serving.admission.easing import Easing

ASK = dict(zip(("x0", "y0", "x1", "y1"), OBJECT, strict=True)) | {
    "reference": "quarter", "material": "steel", "view": "top", "shape": "prism",
}  # fmt: skip
JPEG = {"content-type": "image/jpeg"}


@pytest.fixture
def url(tmp_path, trained):
    flags = {"server.listen": [0], "watch.every": "0s", "workloads": ["weight"], "loading.isolate": False,
             "overload.calm": 0.5, "overload.settle": 0.5}  # fmt: skip
    with App.open(settings.load(folder=tmp_path / "data", environ={}, flags=flags)) as app:
        installed(app, trained)
        with running(app) as found:
            yield found


@pytest.mark.row("EMG-14")
def test_photos_are_looked_at_less_closely_while_too_many_come(url):
    picture = photograph()

    def look(_=0, **more):
        answer = httpx.post(f"{url}/api/weight/estimate", params=ASK | more, content=picture, headers=JPEG, timeout=30)
        assert answer.status_code == 200, answer.text
        said = answer.json()
        return said["tier"], said["preprocessing"]

    assert look() == ("high", "advanced")
    found, enough = [], Event()

    def caller(_):
        while not enough.is_set():
            found.append(look())

    def low():
        return [way for tier, way in list(found) if tier == "low"]

    with ThreadPoolExecutor(16) as crowd:
        callers = crowd.map(caller, range(16))
        try:
            until(lambda: len(low()) > 10)
        finally:
            enough.set()
        list(callers)
    print(f"{len(low())} of {len(found)} were looked at less closely")
    assert set(low()) == {"simple"}
    until(lambda: look()[0] == "high", every=0.1, what="it comes back by itself")


def test_work_is_eased_while_too_much_comes_and_comes_back_evenly():
    at = [0.0]
    easing = Easing(hands=2, calm=1.0, settle=2.0, now=lambda: at[0])

    def pieces(n, *, together):
        found = []
        for _ in range(n):
            held = [easing.one() for _ in range(together)]
            found += [one.__enter__() for one in held]
            at[0] += 0.1
            for one in held:
                one.__exit__(None, None, None)
        return found

    assert not any(pieces(10, together=2))
    assert any(pieces(10, together=8))
    assert easing.state == "shedding"
    assert all(pieces(5, together=8))
    at[0] += 2.0
    assert easing.state == "recovering"
    shares = [sum(pieces(5, together=2)) for _ in range(3)]
    assert shares[0] >= shares[1] >= shares[2]
    at[0] += 3.0
    assert easing.state == "normal"
    assert not any(pieces(10, together=1))
