"""Reports over HTTP, their page, and the readings of the machine that they stand on."""

import pytest

from modelkeep.edge.machine import Machine
from modelkeep.jobs.reports.parts import Report


@pytest.mark.row("RPT-07")
def test_a_report_is_made_over_http_and_its_page_links_to_queries_that_answer(house):
    import re

    import msgspec

    house.post("/v1/models/doubler/predict", {"features": {"x": 2, "plan": "gold"}})
    answer = house.post("/v1/reports", {"kind": "performance", "days": 7})
    assert answer.status_code == 201
    report = msgspec.json.decode(answer.content, type=Report)
    assert [one.model for one in report.model_metrics] == ["doubler"]
    assert house.get(f"/v1/reports/{report.id}").json() == answer.json()
    assert report.id in {one["id"] for one in house.get("/v1/reports").json()["reports"]}
    page = house.get(f"/reports/{report.id}")
    assert page.status_code == 200
    assert "script-src" not in page.headers["content-security-policy"]
    links = re.findall(r'href="([^"]+)"', page.text)
    assert len(links) == 11
    for link in links:
        found = house.client.get(link.replace("&amp;", "&"))
        assert found.status_code == 200, (link, found.text)


@pytest.mark.parametrize("id", ["nothing", "weekly-1", "..%2Fmodelkeep.db", "weekly-..%2F..%2Fx"])
def test_no_other_file_is_shown(house, id):
    assert house.get(f"/reports/{id}").status_code == 404


def test_the_machine_is_measured_from_one_look_to_the_next(house):
    probe = Machine()
    first = {one.name: one for one in probe(house.rooms)}
    assert first["memory_percent"].value > 0
    assert (first["cpu_percent"].value, first["cpu_percent"].level) == (None, "unknown")
    house.get("/v1/models")
    sum(range(3_000_000))
    second = {one.name: one for one in probe(house.rooms)}
    assert 0 < second["cpu_percent"].value <= 100
    assert second["network_rate"].value is None or second["network_rate"].value >= 0
