"""Pages served on a port of this machine, over a past."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn
from pages_story import Past
from starlette.applications import Starlette

from modelkeep.alerts import rules
from modelkeep.edge.pages import Pages
from modelkeep.edge.pages.views import Sources
from modelkeep.serving.recording import Recording


@dataclass
class Site:
    """Pages on a port of this machine, over a past."""

    past: Past
    pages: Pages
    url: str


def sources(past: Past, *, recording: Recording | None = None, failures: dict[str, str] | None = None) -> Sources:
    return Sources(
        store=past.store,
        clock=past.clock,
        recording=lambda: recording or Recording(),
        failures=lambda: failures or {},
        rules=rules.DEFAULT,
    )


@contextmanager
def served(past: Past, port: int = 0) -> Iterator[Site]:
    pages = Pages(sources(past))
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=pages.routes), log_level="warning", lifespan="off"))
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    taken.bind(("127.0.0.1", port))
    taken.listen()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]})
    thread.start()
    try:
        while not server.started:
            thread.join(0.01)
        yield Site(past=past, pages=pages, url=f"http://127.0.0.1:{taken.getsockname()[1]}")
    finally:
        pages.stop()
        server.should_exit = True
        thread.join(10)
        taken.close()
    assert not thread.is_alive()
