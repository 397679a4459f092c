"""A real HTTP server with files that can misbehave, and a small public set of its own."""

import hashlib
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from modelkeep import Source


class Shop(ThreadingHTTPServer):
    """Serves ``files`` by path; ``ways`` says how a path behaves instead."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Counter)
        self.files, self.ways, self.asked = {}, {}, []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Counter(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        shop, path = self.server, self.path
        begun = self.headers.get("range", "")
        shop.asked.append((path, begun))
        way = shop.ways.get(path, "")
        content = shop.files.get(path, b"")
        start = int(begun.removeprefix("bytes=").rstrip("-")) if begun and way != "no ranges" else 0
        self.close_connection = True
        if way.startswith("/"):
            self._head(302, 0, location=way)
        elif way == "broken" or not content:
            self._head(503 if way == "broken" else 404, 0)
        elif start >= len(content):
            self._head(416, 0)
        else:
            rest = content[start:]
            self._head(206 if start else 200, len(rest))
            self.wfile.write(rest[: len(rest) // 2] if way == "cut" else rest)

    def _head(self, status, size, **headers):
        self.send_response(status)
        for name, value in {"content-length": size, "connection": "close", **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()


@pytest.fixture
def shop():
    server = Shop()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def cdnow(shop, tmp_path):
    """The source ``cdnow`` with a file of three purchases, as the shop has it: the source and its bytes."""
    path = tmp_path / "three.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        lines = [" customer_id date cds value", " 00001 19970101  1   11.77", " 00002 19970112  5   77.00"]
        wheel.writestr("lifetimes/datasets/CDNOW_master.txt", "\r\n".join([*lines, " 00002 19970330  2   20.76", ""]))
    content = path.read_bytes()
    shop.files["/packages/three.whl"] = content
    source = Source(
        name="cdnow",
        url=f"{shop.url}/packages/three.whl",
        sha256=hashlib.sha256(content).hexdigest(),
        licence="MIT",
        about="three purchases",
        file="cdnow.parquet",
        convert="modelkeep.workloads.restaurants.sources:cdnow",
        recipe="restaurants-churn",
        size=len(content),
    )
    return source, content
