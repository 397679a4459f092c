"""Between the processes of one server: frames of a kind and some bytes, each perhaps with an open connection."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections import deque
from collections.abc import Iterator

START, READY, HANDED, COUNTS_WANTED, COUNTS = range(5)
_HEAD = struct.Struct("<BI")
_PIECE = 1 << 16
_HANDLES = 32


class Channel:
    """One end of a pair of sockets. Any thread may send; one reads.

    >>> one, other = map(Channel, socket.socketpair())
    >>> one.send(COUNTS, b"12"); one.close()
    >>> [(kind, data) for kind, data, _ in other.frames()]
    [(4, b'12')]
    """

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._lock = threading.Lock()

    def send(self, kind: int, data: bytes = b"", *, handle: int | None = None) -> bool:
        """Send one frame; False when the other end is gone. ``handle`` is an open socket; it stays the caller's."""
        frame = _HEAD.pack(kind, len(data)) + data
        with self._lock, contextlib.suppress(OSError):
            if handle is None:
                self._end.sendall(frame)
            else:  # the handle goes with the first bytes
                sent = socket.send_fds(self._end, [frame], [handle])
                self._end.sendall(frame[sent:])
            return True
        return False

    def frames(self) -> Iterator[tuple[int, bytes, socket.socket | None]]:
        """Every frame until the other end is closed."""
        buffer, handles = bytearray(), deque[int]()
        try:
            while piece := self._received(handles):
                buffer += piece
                while len(buffer) >= _HEAD.size:
                    kind, size = _HEAD.unpack_from(buffer)
                    if len(buffer) < _HEAD.size + size:
                        break
                    data = bytes(buffer[_HEAD.size : _HEAD.size + size])
                    del buffer[: _HEAD.size + size]
                    taken = socket.socket(fileno=handles.popleft()) if kind == HANDED and handles else None
                    yield kind, data, taken
        finally:
            for handle in handles:
                os.close(handle)
            self._end.close()

    def close(self) -> None:
        """End it; the other end's frames end, too."""
        with contextlib.suppress(OSError):
            self._end.shutdown(socket.SHUT_RDWR)

    def _received(self, handles: deque[int]) -> bytes:
        try:
            data, found, _, _ = socket.recv_fds(self._end, _PIECE, _HANDLES)
        except OSError:
            return b""
        handles.extend(found)
        return data
