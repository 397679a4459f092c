"""The pages in a real browser: what a person sees, and that nothing leaves this machine."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pages_story
import pytest
from pages_site import Site, served
from pages_story import DAY, NOW, Past
from playwright.sync_api import Page, expect

from modelkeep.edge.pages.render import HERE


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    past = pages_story.fleet(tmp_path_factory.mktemp("fleet"))
    with served(past) as site:
        yield site
    past.store.close()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Past]:
    past = pages_story.opened(tmp_path)
    yield past
    past.store.close()


@contextmanager
def kept(page: Page) -> Iterator[None]:
    """What happens within must not load the page again."""
    page.evaluate("window.same = true")
    yield
    assert page.evaluate("window.same")


def alert(past: Past, **more: object) -> None:
    with past.store.write() as ledger:
        ledger.alerts.put(msgspec.structs.replace(ledger.alerts.get("a-1"), **more))


@pytest.mark.row("RPT-11")
@pytest.mark.parametrize(
    ("name", "path", "width", "scheme"),
    [
        ("overview-light", "/", 1360, "light"),
        ("overview-dark", "/", 1360, "dark"),
        ("overview-phone", "/", 360, "light"),
        ("model-dark-phone", "/models/flights?days=90", 390, "dark"),
    ],
)
def test_the_story_is_seen(look, story: Site, tmp_path: Path, name: str, path: str, width: int, scheme: str):
    page = look(story.url + path, width=width, scheme=scheme)
    expect(page.get_by_role("heading", level=1)).to_contain_text("Critical")
    expect(page.locator("#f-models")).to_contain_text("below baseline (ewma) by 12 %")
    expect(page.locator("[aria-current=step]")).to_contain_text("shadow")
    expect(page.locator("svg.plot").first).to_be_visible()
    assert page.title().startswith("Critical")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(16, 18, 20)" if scheme == "dark" else "rgb(245, 245, 242)")
    page.screenshot(path=tmp_path / f"{name}.png", full_page=True)
    assert (tmp_path / f"{name}.png").stat().st_size > 20_000


def test_an_empty_product_says_what_to_type_first(look, opened: Past):
    with served(opened) as site:
        page = look(site.url)
        expect(page.get_by_role("heading", level=1)).to_contain_text("Nothing here yet")
        expect(page.locator("code").first).to_contain_text("modelkeep register")
        with kept(page):
            opened.version(1, NOW)
            expect(page.locator("#f-models")).to_contain_text("flights")
        page.goto("about:blank")


def test_an_alert_appears_and_goes_without_a_reload_and_is_said_aloud(look, story: Site):
    page = look(story.url)
    with kept(page):
        alert(story.past, id="b-2", message="prices answers nonsense", severity="critical", opened=NOW)
        expect(page.locator("[data-alert='b-2']")).to_contain_text("prices answers nonsense")
        expect(page.locator("#said")).to_have_text("Critical: prices answers nonsense")
        alert(story.past, id="b-2", state="resolved", resolved=NOW)
        expect(page.locator("[data-alert='b-2']")).to_have_count(0)


def test_the_title_follows_the_state(look, opened: Past):
    opened.version(1, NOW)
    with served(opened) as site:
        page = look(site.url)
        assert page.title() == "Unknown · modelkeep"
        opened.alert(NOW)
        expect(page).to_have_title("Critical · modelkeep")
        page.goto("about:blank")


def test_news_keep_focus_open_tables_and_what_is_being_selected(look, story: Site):
    page = look(story.url)
    page.locator("#table-error > summary").click()
    page.locator("#copy-a-1").focus()
    alert(story.past, advice=("look twice",))
    expect(page.locator("#f-alerts")).to_contain_text("look twice")
    assert page.evaluate("document.activeElement.id") == "copy-a-1"
    assert page.locator("#table-error").evaluate("e => e.open")
    page.evaluate("getSelection().selectAllChildren(document.querySelector('.alert .what'))")
    alert(story.past, advice=("look thrice",))
    page.wait_for_timeout(2000)
    expect(page.locator("#f-alerts")).to_contain_text("look twice")
    page.evaluate("getSelection().removeAllRanges()")
    expect(page.locator("#f-alerts")).to_contain_text("look thrice")


def test_a_chart_is_read_by_pointer_and_by_keyboard(look, story: Site):
    page = look(story.url)
    chart = page.locator("#chart-error")
    chart.locator("svg.plot").hover(position={"x": 400, "y": 100})
    expect(chart.locator("output")).to_contain_text(re.compile(r"^\d+ \w+: model [\d.]+ \([\d.]+ to [\d.]+\) · .*ewma"))
    page.mouse.move(5, 5)
    expect(chart.locator("output")).to_have_text("")
    chart.focus()
    page.keyboard.press("ArrowLeft")
    newest = chart.locator("output").text_content()
    assert newest is not None
    assert newest.startswith("3 Sep: model ")
    page.keyboard.press("ArrowLeft")
    expect(chart.locator("output")).to_contain_text("2 Sep: model ")
    page.keyboard.press("Escape")
    expect(chart.locator("output")).to_have_text("")


def test_a_range_is_chosen_without_a_reload_and_stays_in_the_address(look, story: Site):
    page = look(story.url)
    with kept(page):
        page.locator("#range-7").press("Enter")
        expect(page.locator("#range-7")).to_have_attribute("aria-current", "true")
        expect(page.locator("#table-error tbody tr")).to_have_count(8)
    assert page.url.endswith("?days=7")


def test_a_command_is_copied(look, story: Site):
    page = look(story.url)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("#copy-a-1").click()
    expect(page.locator("#copy-a-1")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "modelkeep release flights@2"


def test_hostile_names_are_only_text(look, story: Site):
    page = look(story.url)
    link = page.get_by_role("link", name="<b onclick=alert(1)>", exact=True)
    link.click()
    expect(page.locator(".crumb")).to_have_text("<b onclick=alert(1)>")
    expect(page.locator("#live")).to_have_class("live on")


def test_without_scripts_the_page_still_tells_and_ranges_still_work(look, story: Site):
    page = look(story.url, scripts=False)
    expect(page.get_by_role("heading", level=1)).to_contain_text("Critical")
    page.locator("#range-7").click()
    expect(page.locator("#range-7")).to_have_attribute("aria-current", "true")


def test_a_lost_server_is_said_and_found_again(look, opened: Past):
    opened.version(1, NOW - DAY)
    with served(opened) as site:
        page = look(site.url)
    expect(page.locator("#live")).to_have_text("no connection: figures are old")
    expect(page.locator("body")).to_have_class("stale")
    with served(opened, port=int(site.url.rpartition(":")[2])):
        expect(page.locator("#live")).to_have_text("live")
        page.goto("about:blank")
    look.complaints[:] = [said for said in look.complaints if "ERR_" not in said]


@pytest.mark.prove
def test_the_first_paint_comes_within_half_a_second(look, story: Site):
    paints = []
    for _ in range(5):
        page = look(story.url)
        paints.append(page.evaluate("performance.getEntriesByType('paint')[0].startTime"))
    print("first paint ms:", sorted(round(paint) for paint in paints))
    assert sorted(paints)[2] <= 500


# ----------------------------------------------------------------------------------------------- contrast


def colours(scheme: str) -> dict[str, str]:
    """The variables of one colour scheme."""
    light, dark = re.findall(r":root \{(.*?)\}", (HERE / "static" / "style.css").read_text(), re.DOTALL)[:2]
    found = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6});", light))
    return found | (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6});", dark)) if scheme == "dark" else {})


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_its_ground(scheme: str):
    found = colours(scheme)
    tones = ("ok", "warning", "critical", "unknown")
    pairs = [("ink", "panel"), *((text, ground) for text in ("dim", "accent") for ground in ("panel", "soft"))]
    pairs += [("dim", "ground"), *((tone, "panel") for tone in tones)]
    pairs += [(text, f"{tone}-ground") for tone in tones for text in (tone, "dim", "ink")]
    for text, ground in pairs:
        light, dark = sorted((luminance(found[text]), luminance(found[ground])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground)
