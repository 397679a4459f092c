"""A workload's page in a real browser: reached by keyboard, read without colours, true without a reload."""

import kettles_page
import pytest
from playwright.sync_api import expect
from served_house import served


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A server with the kettles of the documentation, and with pots, which are simulated."""
    kettles_page.written(tmp_path_factory.mktemp("package"))
    with served(tmp_path_factory.mktemp("house"), workloads=["kettles:WORKLOAD", "pots:WORKLOAD"]) as found:
        for hour in range(30):
            for name, level in (("blue", 60), ("red", 30)):
                at = f"2026-11-{18 + hour // 10}T{hour % 10:02}:00:00Z"
                found.post("/api/kettles", {"kettle": name, "celsius": level + hour, "at": at})
        found.post("/api/kettles", {"kettle": "blue", "celsius": 99.5})
        yield found


def test_a_workload_is_reached_from_the_overview_by_keyboard(look, house):
    page = look(house.url)
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "w-kettles":
            break
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{house.url}/workloads/kettles")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Critical Kettles")
    expect(page.locator("#live")).to_have_class("live on")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1360), ("dark", 1360), ("light", 360)])
def test_tables_charts_and_labels_are_seen(look, house, tmp_path, scheme, width):
    page = look(f"{house.url}/workloads/pots", scheme=scheme, width=width)
    expect(page.get_by_role("heading", level=1)).to_contain_text("simulated")
    assert page.get_by_text("simulated", exact=True).count() == 6
    expect(page.locator("table").first).to_contain_text("Critical")
    expect(page.locator("svg.plot").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.screenshot(path=tmp_path / f"pots-{scheme}-{width}.png", full_page=True)


def test_news_come_without_a_reload_and_a_chart_is_read_by_keyboard(look, house):
    page = look(f"{house.url}/workloads/kettles")
    page.evaluate("window.same = true")
    house.post("/api/kettles", {"kettle": "yellow", "celsius": 50})
    expect(page.locator("#f-tables")).to_contain_text("yellow")
    page.locator("#chart-kettles-0").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#chart-kettles-0 output")).to_contain_text("UTC: blue")
    assert page.evaluate("window.same")


def test_without_scripts_the_page_still_tells(look, house):
    page = look(f"{house.url}/workloads/kettles", scripts=False)
    expect(page.locator("#f-tables")).to_contain_text("blue")
