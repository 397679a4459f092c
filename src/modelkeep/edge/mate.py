"""A helper of the server: a process of its own that answers predictions on the server's ports.

Run by ``crew`` as ``python -m modelkeep.edge.mate``; it ends when the server does.
"""

from __future__ import annotations

import os
import pickle
import queue
import re
import signal
import socket
import sys
import threading
from typing import Any

import msgspec

from modelkeep.app import App
from modelkeep.edge import watchdog
from modelkeep.edge.channel import COUNTS, COUNTS_WANTED, HANDED, READY, START, Channel
from modelkeep.edge.server import Server
from modelkeep.edge.tallies import tally_of
from modelkeep.edge.wire import WIDEST, Road, Wire
from modelkeep.settings import Settings

OURS = re.compile(rb"(POST /v1/models/[^ ?]+/predict|(POST|GET) /v2[/ ?][^ ]*|POST /invocations(\?[^ ]*)?) ?HTTP/1\.1")
_LINE = b"\r\n"


class Mate:
    """What makes a server a helper: its ports, and where it hands connections over."""

    def __init__(self, channel: Channel, ports: tuple[int, ...]) -> None:
        self.ports = ports
        self._channel = channel
        self._leaving: queue.SimpleQueue[tuple[int, bytes]] = queue.SimpleQueue()
        threading.Thread(target=self._send, name="handing over", daemon=True).start()

    def protocol(self, road: Road) -> type[Wire]:
        """The protocol of a helper's connections."""
        return type("MateWire", (MateWire,), {"road": road, "mate": self})

    def hand_over(self, handle: int, data: bytes) -> None:
        """Give the server a connection, and what was read of it."""
        self._leaving.put((handle, data))

    def _send(self) -> None:
        while True:
            handle, data = self._leaving.get()
            self._channel.send(HANDED, data, handle=handle)
            os.close(handle)


class MateWire(Wire):
    """A connection of a helper: whoever asks for anything but a prediction is handed over, connection and all."""

    mate: Mate

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._first = b""

    def data_received(self, data: bytes) -> None:
        """Look at the first line of a request that comes by itself."""
        if self._first or (self._between and not self._raw and self._idle):
            data = self._first + data
            line, found, _ = data.partition(_LINE)
            if not found and len(data) < WIDEST:
                self._first = data
                return
            self._first = b""
            if self.road.callers is not None or not OURS.match(line):
                self._leave(data)
                return
        super().data_received(data)

    @property
    def reading(self) -> bool:
        """True while a request has begun and is not whole."""
        return bool(self._first) or super().reading

    def _leave(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self.mate.hand_over(os.dup(self.transport.get_extra_info("socket").fileno()), data)
        self.transport.abort()  # this process's end alone: the connection lives on in the other


def main(handle: int) -> None:
    """Help until the server ends, or SIGTERM."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal asks the server, and that asks us
    channel = Channel(socket.socket(fileno=handle))
    frames = channel.frames()
    kind, data, _ = next(frames)
    assert kind == START  # noqa: S101 - the server's first word
    settings, ports, number = pickle.loads(data)  # noqa: S301 - from the server's own process
    app = App.open(_own(settings, number))
    try:
        held = watchdog.recall(app)
        app.assist()
        watchdog.told(held)
        server = Server(app, mate=Mate(channel, ports))  # from here on the system sends us connections

        def tell() -> None:
            channel.send(COUNTS, msgspec.msgpack.encode(tally_of(app, server.traffic)))

        def listen() -> None:
            for wanted, _, _ in frames:
                if wanted == COUNTS_WANTED:
                    tell()
            server.stop()

        signal.signal(signal.SIGTERM, lambda _, __: server.stop())
        threading.Thread(target=listen, name="listening", daemon=True).start()
        channel.send(READY)
        dog = watchdog.Watchdog(app, anew=watchdog.leave, outer=True)
        dog.start()
        server.run()
        dog.close()
        tell()
    finally:
        app.stop()


def _own(settings: Settings, number: int) -> Settings:
    """The server's settings, with a log file of one's own."""
    logs = settings.logs
    if not logs.file:
        return settings
    file = f"worker-{number}-{logs.file}"
    return msgspec.structs.replace(settings, logs=msgspec.structs.replace(logs, file=file))


if __name__ == "__main__":
    main(int(sys.argv[1]))
