"""The server process: uvicorn on every configured port, stopped cleanly by a signal; and the same in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING

import msgspec
import uvicorn

from modelkeep.claims import marked
from modelkeep.edge import limits, rest, watchdog
from modelkeep.edge.behind import Behind, Step
from modelkeep.edge.crew import Crew
from modelkeep.edge.limits import Callers
from modelkeep.edge.pages.routes import pages
from modelkeep.edge.traffic import Traffic
from modelkeep.edge.wire import Road, Wire
from modelkeep.errors import BadSettings, Unavailable

if TYPE_CHECKING:
    from modelkeep.app import App
    from modelkeep.edge.mate import Mate
    from modelkeep.edge.rpc.listening import Listener

BACKLOG = 2048
GRACE = 10
ACCEPTS = 32
"""So many connections are accepted in one turn of the event loop."""
TURN = 0.0005
"""So long, in seconds, another thread may keep the event loop from running: the loop asks for every connection anew."""
YOUNG = (10_000, 10, 100)
"""Garbage is looked for after so many new objects (and among older ones after so many looks): what requests leave is
nearly all free by itself, and records on their way to the store would be looked through again and again."""


class Server:
    """Answers on the configured ports. ``url`` is the first port's address, known as soon as it is made.

    ``key`` is what its owner's commands send to vouch for code.

    ``mate`` makes it one of several processes on the same ports, which answers predictions and hands whoever wants
    anything else to the first.

    Raises BadSettings when a port is taken, or two acts want one route.
    """

    def __init__(self, app: App, *, mate: Mate | None = None) -> None:
        settings, traffic = app.settings.server, Traffic()
        self._app = app
        self.key = secrets.token_urlsafe(32)
        self._pages = pages(app)
        later: list[Step] = [self._pages.ready]
        self.traffic = traffic
        several = settings.workers > 1
        limited = limits.limited(app.settings.overload)
        callers = limits.Callers(app.settings.overload) if limited else None
        road = Road(
            app.rooms.gateway,
            traffic,
            limit=settings.body,
            token=settings.token.reveal() if settings.token else "",
            patience=settings.patience,
            callers=callers,
        )
        config = uvicorn.Config(
            rest.build(app, key=self.key, pages=self._pages.routes, traffic=traffic, callers=callers, later=later),
            http=road.protocol() if mate is None else mate.protocol(road),
            access_log=False,
            log_config=None,
            lifespan="off",
            ws="none",
            proxy_headers=False,
            server_header=False,
            date_header=False,
            h11_max_incomplete_event_size=64 * 1024,
            timeout_graceful_shutdown=GRACE,
        )
        self._server = _Quiet(config)
        ports = settings.listen if mate is None else mate.ports
        if several and mate is None:
            ports = _free(settings.host, ports)
        self._sockets = _bound(settings.host, ports, shared=several)
        road.more = self._accept
        self.ports = tuple(taken.getsockname()[1] for taken in self._sockets)
        self.url = f"http://{_shown(settings.host)}:{self.ports[0]}"
        self._loop: asyncio.AbstractEventLoop | None = None
        self._crew: Crew | None = None
        self._behind = Behind(later if mate is None else ())  # who helps hands pages and figures to the first
        self._calls: _Calls | None = None
        if settings.grpc is not None and not (mate and limited):  # one process counts what each caller may
            with self._letting_go():
                self._calls = _Calls(app, traffic, callers=callers, joined=mate is not None)
        self.grpc = None if self._calls is None else self._calls.port
        """The port of gRPC, where it is spoken."""
        if several and mate is None:
            shared = msgspec.structs.replace(settings, grpc=self.grpc)
            self._crew = Crew(msgspec.structs.replace(app.settings, server=shared), self.ports, adopt=self._adopt)
            traffic.others = self._crew.tallies

    def run(self) -> None:
        """Answer until ``stop``; then finish what is being answered."""
        before, collected = sys.getswitchinterval(), gc.get_threshold()
        sys.setswitchinterval(TURN)
        gc.set_threshold(*YOUNG)
        gc.freeze()  # what is there now stays: to look through it again and again would stop everybody
        gc.enable()  # it is off while a server starts
        self._behind.start()
        try:
            loop = self._server.config.get_loop_factory()
            with asyncio.Runner(loop_factory=loop) as runner, self._app.rooms.client.at_home(runner.get_loop()):
                self._loop = runner.get_loop()
                if self._crew is not None:
                    self._crew.start()
                runner.run(self._serve())
        finally:
            self._behind.close()
            gc.unfreeze()
            gc.set_threshold(*collected)
            sys.setswitchinterval(before)
            if self._crew is not None:
                self._crew.stop()
            for taken in self._sockets:
                taken.close()
            if self._calls is not None:
                self._calls.close()

    @contextlib.contextmanager
    def _letting_go(self) -> Iterator[None]:
        """Close the ports when it turns out that there will be no server."""
        try:
            yield
        except BadSettings:
            for taken in self._sockets:
                taken.close()
            raise

    async def _serve(self) -> None:
        if self._calls is None:
            await self._server.serve(sockets=self._sockets)
            return
        await self._calls.listener.start()
        self._server.beside = self._calls.listener.stop
        try:
            await self._server.serve(sockets=self._sockets)
        finally:
            await self._calls.listener.stop()

    def stop(self) -> None:
        """Ask to stop; safe from any thread and from a signal."""
        self._server.should_exit = True
        self._pages.stop()
        if self._crew is not None:
            self._crew.leave()

    @property
    def answering(self) -> bool:
        """True once requests are answered."""
        return self._server.started and (self._crew is None or self._crew.ready)

    def _accept(self) -> None:
        """Accept who waits; a flood of connections is spread over several turns of the loop."""
        for door in self._sockets if not self._server.should_exit else ():
            for _ in range(ACCEPTS):
                try:
                    taken, _ = door.accept()
                except OSError:  # nobody waits, or who did is gone; what else is wrong the loop's own accept finds
                    break
                asyncio.ensure_future(self._server.adopt(taken, b""))  # noqa: RUF006 - the loop holds what is ready

    def _adopt(self, taken: socket.socket, data: bytes) -> None:
        """Go on with a connection that another process accepted; ``data`` is what it has read. From any thread."""
        if self._loop is None or self._loop.is_closed():
            taken.close()
            return
        self._loop.call_soon_threadsafe(lambda: asyncio.ensure_future(self._server.adopt(taken, data)))


class _Calls:
    """The port of gRPC: it is held from the beginning, so that whoever shares it can be told, and listened on later.

    Raises BadSettings when it is taken, or the packages that it needs are not installed.
    """

    def __init__(self, app: App, traffic: Traffic, *, callers: Callers | None, joined: bool) -> None:
        settings = app.settings.server
        try:
            listening = importlib.import_module("modelkeep.edge.rpc.listening")
        except ModuleNotFoundError as missing:
            if (missing.name or "").partition(".")[0] not in {"grpc", "google"}:
                raise
            raise BadSettings(
                f"server.grpc = {settings.grpc} ({app.settings.source('server.grpc')}) needs packages that are missing",
                remedy="pip install 'modelkeep[grpc]'",
            ) from None
        self._held = _held(settings.host, settings.grpc or 0, joined=joined)
        self.port: int = self._held.getsockname()[1]
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        try:
            self.listener: Listener = listening.Listener(app, traffic, address=f"{host}:{self.port}", callers=callers)
        except BadSettings:
            self.close()
            raise

    def close(self) -> None:
        """Let the port go."""
        self._held.close()


class _Quiet(uvicorn.Server):
    """A uvicorn server that leaves signals to us, so that it also runs beside the main thread.

    Once a second it looks after connections that have been idle, or whose requests come too slowly.
    """

    beside: Callable[[], Awaitable[None]] | None = None
    """What stops together with it."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take nothing more, and finish what has begun, on every port at once."""
        stops = [super().shutdown(sockets)] + ([self.beside()] if self.beside is not None else [])
        await asyncio.gather(*stops)

    async def on_tick(self, counter: int) -> bool:
        """Look around; True when it is time to stop."""
        if counter % 10 == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                if isinstance(connection, Wire):
                    connection.look(now)
        return await super().on_tick(counter)

    async def adopt(self, taken: socket.socket, data: bytes) -> None:
        """Answer on a connection that was accepted elsewhere."""
        taken.setblocking(False)
        loop = asyncio.get_running_loop()

        def protocol() -> asyncio.Protocol:
            made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
                config=self.config, server_state=self.server_state, app_state=self.lifespan.state, _loop=loop
            )
            return made

        try:
            _, connection = await loop.connect_accepted_socket(protocol, taken)
        except OSError:
            taken.close()
        else:
            if data:
                connection.data_received(data)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def serve(app: App, *, tell: Callable[[str], None] = print) -> None:
    """Start the app and answer until SIGINT or SIGTERM; then finish what is being answered, keep every record, stop.

    ``tell`` is told the address.
    """
    server = Server(app)

    def ask(_: int, __: FrameType | None) -> None:
        server.stop()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        held = watchdog.recall(app)
        app.start()
        watchdog.told(held)
        with marked(app.rooms.folder, url=server.url, key=server.key):
            for port in server.ports:
                tell(f"listening on http://{_shown(app.settings.server.host)}:{port}")
            if server.grpc is not None:
                secured = " with TLS" if app.settings.server.grpc_certificate else ""
                tell(f"gRPC (Open Inference Protocol){secured} on {_shown(app.settings.server.host)}:{server.grpc}")
            dog = watchdog.Watchdog(app, anew=watchdog.restart, outer=True)
            dog.start()
            server.run()
            dog.close()
    finally:
        app.stop()
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def running(app: App) -> Iterator[str]:
    """A started app answering in a thread of its own; yields the base address and stops both at the end."""
    server = Server(app)
    app.start()
    thread = threading.Thread(target=server.run, name="server", daemon=True)
    thread.start()
    try:
        patience = threading.Event()
        while not server.answering:
            if not thread.is_alive():
                raise Unavailable("the server ended before it answered", remedy="its log says why")
            patience.wait(0.005)
        with marked(app.rooms.folder, url=server.url, key=server.key):
            yield server.url
    finally:
        server.stop()
        thread.join(GRACE + 5)
        app.stop()


def _bound(host: str, ports: tuple[int, ...], *, shared: bool = False) -> list[socket.socket]:
    """Sockets on some ports, ``shared`` with other processes of this user. Raises BadSettings when one is taken."""
    taken: list[socket.socket] = []
    for port in ports:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        one = socket.socket(family)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            one.bind((host, port))
        except OSError as cause:
            for other in (one, *taken):
                other.close()
            raise BadSettings(
                f"cannot listen on {host}:{port}: {cause.strerror}",
                remedy="another server has it? choose one with --port",
            ) from None
        one.listen(BACKLOG)
        taken.append(one)
    return taken


def _held(host: str, port: int, *, joined: bool) -> socket.socket:
    """A port that is kept from others without listening on it; who shares it (``SO_REUSEPORT``) may listen.

    ``joined`` says that it is another process's. Raises BadSettings when somebody else has it.
    """
    one = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        if not joined:
            with socket.socket(one.family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind((host, port))
    except OSError as cause:
        one.close()
        raise BadSettings(
            f"cannot listen on {host}:{port} for gRPC: {cause.strerror}",
            remedy="another server has it? choose another with server.grpc",
        ) from None
    return one


def _free(host: str, ports: tuple[int, ...]) -> tuple[int, ...]:
    """Ports that nobody has; one for each 0. Raises BadSettings when one is taken: to share it would not tell."""
    taken = _bound(host, ports)
    found = tuple(one.getsockname()[1] for one in taken)
    for one in taken:
        one.close()
    return found


def _shown(host: str) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - shown, not bound
    return f"[{shown}]" if ":" in shown and not shown.startswith("[") else shown
