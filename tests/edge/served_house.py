"""A real server on a loopback port, on a real store, with real tiny models."""

from contextlib import ExitStack, contextmanager

import httpx
from making_models import DOUBLER
from migrated import ready

from modelkeep import settings
from modelkeep.app import App
from modelkeep.claims import key_of
from modelkeep.edge import KEY_HEADER
from modelkeep.edge.server import running
from modelkeep.jobs.changing import adopt
from modelkeep.jobs.registering import Registration, register
from modelkeep.nouns import Field, Rollout, Signature

SIGNATURE = Signature(
    inputs=(
        Field(name="x", kind="number", low=-100, high=100),
        Field(name="plan", kind="category", categories=("gold",), nullable=True),
    ),
    output=Field(name="y", kind="number"),
)

PLAIN = {"server.listen": [0], "logs.level": "debug", "loading.isolate": False}
"""The plain Python models of these tests run in the server's process, as versions without code do."""


class House:
    """A served app: its rooms, its address, and a client."""

    def __init__(self, app, url, client):
        self.app, self.url, self.client = app, url, client
        self.rooms, self.folder = app.rooms, app.rooms.folder

    def get(self, path, **query):
        return self.client.get(path, params=query or None)

    def post(self, path, body=None, **rest):
        return self.client.post(path, json=body, **rest)

    def keep(self, model, source=DOUBLER, *, metrics=None, released=True, policy=None):
        """Register a plain Python model, and let it answer at once."""
        file = self.folder / f"{model.replace('/', '_')}.py"
        file.write_text(source)
        if policy is not None:
            with self.rooms.store.write() as ledger:
                adopt(ledger, policy, who="test", why="", at=self.rooms.clock.now())
        version = register(
            self.rooms,
            Registration(model=model, path=file, trust=True, signature=SIGNATURE, metrics=metrics or {"mae": 1.0}),
        )
        if released:
            with self.rooms.store.write() as ledger:
                was = ledger.rollouts.get(model)
                kept = ledger.versions.policy(model).number
                now = self.rooms.clock.now()
                after = Rollout(
                    model=model, champion=version.number, previous=was.champion if was else None, policy=kept, since=now
                )
                ledger.rollouts.put(after, was)
            self.rooms.router.refresh()
        return version

    def ask(self, model="doubler", x=1.0, **more):
        return self.post(f"/v1/models/{model}/predict", {"features": {"x": x, "plan": "gold"}, **more})


@contextmanager
def served(folder, **flags):
    """Serve a data folder; ``flags`` are settings with ``__`` for the dot."""
    given = {name.replace("__", "."): value for name, value in flags.items()}
    found = settings.load(folder=folder, environ={}, flags=PLAIN | given)
    with ExitStack() as stack:
        if found.store.url is None:
            ready(found.database)
        app = App.open(found)
        url = stack.enter_context(running(app))
        client = stack.enter_context(httpx.Client(base_url=url, headers={KEY_HEADER: key_of(folder)}, timeout=30))
        yield House(app, url, client)
