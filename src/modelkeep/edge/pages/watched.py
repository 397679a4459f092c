"""Open pages: one rendering a second for all of them, and a stream of what has changed for each."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import TypeAlias

import msgspec
from anyio import to_thread

from modelkeep.edge.pages.panels import Panels
from modelkeep.edge.pages.render import Rendered, Renderer
from modelkeep.edge.pages.views import Sources, build, outage
from modelkeep.errors import StoreUnavailable, Unavailable
from modelkeep.store.repeating import repeated

CLIENTS = 200
"""How many pages may listen at once."""
FRESH = 1.0
"""Seconds for which a rendering is good; a slow one (many models) is kept for five times what it took."""
TICK = 0.5
BEAT = 15.0
_KEPT = 64
Place: TypeAlias = tuple[str, str | None, int]
"""Workload (or ""), model (or None), and days of charts: what one rendering shows."""
_journal = logging.getLogger("modelkeep.edge")


class Watched:
    """What the pages show, rendered when somebody looks. ``stop`` ends every stream within ``TICK`` seconds."""

    def __init__(self, sources: Sources, renderer: Renderer, *, panels: Panels | None = None) -> None:
        self._sources, self._renderer, self._panels = sources, renderer, panels or Panels({})
        self._kept: OrderedDict[Place, tuple[float, Rendered, bool]] = OrderedDict()
        self._one = asyncio.Lock()
        self._listening = 0
        self._stopped = False

    def stop(self) -> None:
        """End every stream; may be called from any thread and from a signal handler."""
        self._stopped = True

    async def look(self, model: str | None, days: int, *, workload: str = "") -> tuple[Rendered, bool]:
        """The page now (at most ``FRESH`` old), and whether the store could be read.

        Raises NotFound for an unknown model, and for a workload without a page.
        """
        key = (workload, model, days)
        found = self._fresh(key)
        if found is None:
            async with self._one:
                found = self._fresh(key)
                if found is None:
                    started = time.perf_counter()
                    rendered, whole = await to_thread.run_sync(self._render, key)
                    ended = time.perf_counter()
                    found = (ended + max(FRESH, 5 * (ended - started)), rendered, whole)
                    self._kept[key] = found
                    self._kept.move_to_end(key)
                    while len(self._kept) > _KEPT:
                        self._kept.popitem(last=False)
        return found[1], found[2]

    def _fresh(self, key: Place) -> tuple[float, Rendered, bool] | None:
        found = self._kept.get(key)
        return found if found is not None and time.perf_counter() < found[0] else None

    def _render(self, key: Place) -> tuple[Rendered, bool]:
        workload, model, days = key
        try:
            if workload:
                return self._renderer.panel(repeated(lambda: self._panels.view(self._sources, workload))), True
            return self._renderer.render(repeated(lambda: build(self._sources, model=model, days=days))), True
        except StoreUnavailable as cause:
            _journal.warning("the pages cannot read the store", extra={"cause": str(cause)})
            if workload:
                return self._renderer.panel(self._panels.outage(self._sources, workload, cause=cause)), False
            return self._renderer.render(outage(self._sources, cause, model=model, days=days)), False

    def enter(self) -> None:
        """Count one more listener. Raises Unavailable when there are too many; ``leave`` must follow otherwise."""
        if self._stopped:
            raise Unavailable("the server is stopping")
        if self._listening >= CLIENTS:
            raise Unavailable(f"{CLIENTS} pages listen already", remedy="load the page again for news, or close some")
        self._listening += 1

    def leave(self) -> None:
        """Count one listener less."""
        self._listening -= 1

    async def stream(self, model: str | None, days: int, *, workload: str = "") -> AsyncIterator[bytes]:
        """Server-sent events: every fragment first, then those that have changed, and a heartbeat when none has."""
        sent: dict[str, str] = {}
        spoke = time.perf_counter()
        yield b"retry: 1000\n\n"
        while not self._stopped:
            rendered, _ = await self.look(model, days, workload=workload)
            news = {name: html for name, html in rendered.fragments.items() if sent.get(name) != html}
            if news:
                yield b"event: fragments\ndata: " + msgspec.json.encode(news) + b"\n\n"
            elif time.perf_counter() - spoke > BEAT:
                yield b": still here\n\n"
            else:
                await asyncio.sleep(TICK)
                continue
            sent, spoke = rendered.fragments, time.perf_counter()
            await asyncio.sleep(TICK)
