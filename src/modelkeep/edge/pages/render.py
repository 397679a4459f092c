"""Views become HTML: fragments that are replaced one by one, and the whole page made of the same fragments."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from markupsafe import Markup
from msgspec import Struct

from modelkeep.edge.pages import words
from modelkeep.edge.pages.drawing import draw
from modelkeep.edge.pages.graphs import RANGES
from modelkeep.edge.pages.panels import PanelView
from modelkeep.edge.pages.story import Event
from modelkeep.edge.pages.views import View

if TYPE_CHECKING:
    from jinja2 import Environment

HERE = Path(__file__).parent
FRAGMENTS = ("clock", "state", "alerts", "release", "models", "workloads", "charts", "timeline")
PANEL = ("clock", "state", "alerts", "tables", "charts")
"""The fragments of a workload's page."""


class Asset(Struct, frozen=True, kw_only=True):
    """A file that every page needs; its name holds the hash of its bytes, so that it may be cached for ever."""

    path: str
    content: bytes
    kind: str


class Rendered(Struct, frozen=True, kw_only=True):
    """A page, and the same page as fragments by name."""

    page: str
    fragments: dict[str, str]


def _assets() -> dict[str, Asset]:
    kinds = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    found = {}
    for file in sorted((HERE / "static").iterdir()):
        if file.suffix in kinds:
            content = file.read_bytes()
            digest = hashlib.sha256(content).hexdigest()[:12]
            path = f"/static/{file.stem}.{digest}{file.suffix}"
            found[file.name] = Asset(path=path, content=content, kind=kinds[file.suffix])
    return found


def _by_day(events: Sequence[Event]) -> Iterator[tuple[str, list[Event]]]:
    for day, group in groupby(events, key=lambda event: words.day(event.at)):
        yield day, list(group)


def _begun(text: str) -> str:
    return text[:1].upper() + text[1:]


class Renderer:
    """The templates, loaded once: by ``ready``, or for the first page. Everything that comes from a view is escaped."""

    def __init__(self) -> None:
        self.assets = _assets()

    def ready(self) -> None:
        """Have the templates' library there before a page is asked for."""
        self._templates.get_template("page.html")

    @cached_property
    def _templates(self) -> Environment:
        jinja2 = import_module("jinja2")  # heavy: a server answers predictions before it can draw pages
        made: Environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        filters = (words.age, words.clock, words.count, words.hour, words.lasting, words.stamp, draw)
        made.filters.update({f.__name__: f for f in filters} | {"groupby_day": _by_day, "capitalize_first": _begun})
        made.globals.update(words=words.WORDS, ranges=RANGES, static=lambda name: self.assets[name].path)
        return made

    def render(self, view: View) -> Rendered:
        """The page of a view."""
        parts = {name: self._one(f"{name}.html", view) for name in FRAGMENTS}
        events = f"/events?{f'model={quote(view.model)}&' if view.model else ''}days={view.days}"
        return self._whole("page.html", view, parts=parts, about=view.model or "", events=events)

    def panel(self, view: PanelView) -> Rendered:
        """The page of a workload."""
        own = {"state": "panel_state.html", "charts": "panel_charts.html"}
        parts = {name: self._one(own.get(name, f"{name}.html"), view) for name in PANEL}
        events = f"/events?workload={quote(view.workload)}"
        return self._whole("panel.html", view, parts=parts, about=view.workload, events=events)

    def missing(self, message: str, near: Sequence[str], *, folder: str = "models") -> str:
        """The page for a model, or a workload, that does not exist."""
        return self._templates.get_template("missing.html").render(message=message, near=near, folder=folder)

    def _whole(
        self, template: str, view: View | PanelView, *, parts: dict[str, str], about: str, events: str
    ) -> Rendered:
        title = " · ".join([words.WORDS[view.state.level], *([about] if about else []), "modelkeep"])
        safe = {name: Markup(html) for name, html in parts.items()}  # noqa: S704 - our own templates escaped it
        page = self._templates.get_template(template).render(
            view=view, title=title, about=about, events=events, fragments=safe
        )
        return Rendered(page=page, fragments=parts)

    def _one(self, name: str, view: View | PanelView) -> str:
        return self._templates.get_template(name).render(view=view).strip()
