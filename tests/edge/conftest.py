"""A real server on a loopback port, for whoever asks for one."""

import os
from pathlib import Path

import pytest
from served_house import served

PATIENCE = 15_000
"""Milliseconds: a busy machine may be slow here; how soon news come is measured in ``test_pages``."""
CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync"


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


@pytest.fixture(scope="module")
def browser():
    """Chromium without a window."""
    from playwright.sync_api import expect, sync_playwright

    if not CHROMIUM.exists() and not os.environ.get("CI"):
        pytest.skip(f"{CHROMIUM} is not installed")
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as player:
        found = player.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS.split())
        yield found
        found.close()


@pytest.fixture
def look(browser):
    """Opens a page that is live; at the end there must be no complaint and no request beyond this machine."""
    from playwright.sync_api import expect

    complaints: list[str] = []
    asked: list[str] = []
    contexts = []

    def opening(url, *, width=1360, height=900, scheme="light", scripts=True):
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, java_script_enabled=scripts
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: complaints.append(said.text) if said.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(url)
        if scripts:
            expect(page.locator("#live")).to_have_class("live on")
        return page

    opening.complaints = complaints
    yield opening
    for context in contexts:
        context.close()
    assert complaints == []
    assert all(url.startswith("http://127.0.0.1:") for url in asked)
