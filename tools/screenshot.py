"""Plays the demo and takes the README's picture of its page, in headless Chromium.

Usage: make screenshot   (or: python tools/screenshot.py docs/overview.png)
"""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import sync_playwright

from modelkeep import App, moment
from modelkeep.edge import server
from modelkeep.workloads.flights import demo

QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


def main(picture: Path) -> None:
    """Play until a few days after the promotion, and picture what a person sees."""
    chromium = shutil.which("chromium") or sys.exit("chromium is not installed")

    @contextmanager
    def pictured(app: App) -> Iterator[str]:
        with server.running(app) as url:
            yield url
            with sync_playwright() as driver:
                browser = driver.chromium.launch(executable_path=chromium, args=QUIET)
                page = browser.new_page(viewport={"width": 1280, "height": 1000})
                page.goto(url)
                page.wait_for_timeout(2500)
                page.screenshot(path=picture)
                browser.close()

    with tempfile.TemporaryDirectory() as folder:
        demo.play(folder=Path(folder), port=0, speed=1.0, serve=pictured, until=moment("2013-09-12"), stay=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
