"""The receiver of a drill's alerts: a small HTTP server that can go away."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hook:
    """Counts the alerts that it is sent; while it is away it answers 503."""

    def __init__(self) -> None:
        self.received = 0
        self._away = threading.Event()
        hook = self

        class Taker(BaseHTTPRequestHandler):
            """Takes one alert."""

            def do_POST(self) -> None:
                """Count it."""
                self.rfile.read(int(self.headers.get("content-length", "0")))
                gone = hook._away.is_set()
                hook.received += not gone
                self.send_response(503 if gone else 204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Taker)
        self.port: int = self._server.server_address[1]

    @contextmanager
    def open(self) -> Iterator[Hook]:
        """Take alerts while the block runs."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join(5)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Take none while the block runs."""
        self._away.set()
        try:
            yield
        finally:
            self._away.clear()
