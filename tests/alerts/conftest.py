import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from mailbox_server import Mailbox
from migrated import ready

from modelkeep.alerts.book import Book
from modelkeep.clock import ManualClock
from modelkeep.nouns import Policy, Reading, Retrain, Rollout, Rule
from modelkeep.store.sqlite import SqliteStore

START = 1_700_000_000.0


class Receiver:
    """A real HTTP server on 127.0.0.1 that answers as it is told and keeps what it was sent."""

    def __init__(self):
        self.status = 200
        self.delay = threading.Event()
        self.slow = False
        self.location = ""
        self.taken, self.seen, self.headers = [], [], []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.seen.append(body)
                receiver.headers.append(dict(self.headers))
                if receiver.slow:
                    receiver.delay.wait(5)
                if 200 <= receiver.status < 300:
                    receiver.taken.append(body)
                self.send_response(receiver.status)
                if receiver.location:
                    self.send_header("Location", receiver.location)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self):
        self.delay.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def receiver():
    found = Receiver()
    yield found
    found.close()


@pytest.fixture
def mailbox(tmp_path):
    found = Mailbox(tmp_path)
    yield found
    found.close()


class Kept:
    """A channel that keeps what it is sent."""

    def __init__(self, name="kept"):
        self.name, self.sent = name, []

    def send(self, message):
        self.sent.append(message)


class House:
    """A store on disk, a clock moved by hand, and a book that can be opened anew as after a restart."""

    def __init__(self, folder):
        self.folder = folder
        self.clock = ManualClock(START)
        self.channel = Kept()
        self.channels = {"kept": self.channel}
        self.rules = (Rule(name="high", reading="x", condition="value > 0.2", command="modelkeep rollback {model}"),)
        self.store = SqliteStore(ready(folder / "m.db"))
        self.open()

    def open(self, *rules):
        self.rules = rules or self.rules
        self.book = Book(self.rules, self.channels, clock=self.clock)

    def restart(self):
        """What kill -9 and a new start leave: the database."""
        self.store.close()
        self.store = SqliteStore(self.folder / "m.db")
        self.store.migrate()
        self.open()

    def reading(self, value, *, subject="m@2", name="x", level=None, **more):
        level = level or ("unknown" if value is None else "ok")
        return Reading(name=name, subject=subject, value=value, level=level, at=self.clock.now(), **more)

    def see(self, *values, **more):
        """One look: readings are kept and judged in one transaction, as the watch does it."""
        readings = [value if isinstance(value, Reading) else self.reading(value, **more) for value in values]
        with self.store.write() as ledger:
            ledger.readings.add(readings)
            changed = self.book.evaluate(ledger, readings)
        self.book.deliver(self.store)
        return changed

    def wait(self, hours=0.0, *, minutes=0.0):
        self.clock.advance(hours * 3600 + minutes * 60)

    def alerts(self, **more):
        with self.store.read() as ledger:
            return ledger.alerts.all(**more)

    def train_by(self, trainer):
        with self.store.write() as ledger:
            ledger.versions.add_policy(Policy(model="m", retrain=Retrain(trainer=trainer)))

    def serve(self, champion, challenger=None, *, mode=None):
        with self.store.write() as ledger:
            was = ledger.rollouts.get("m")
            rollout = Rollout(model="m", champion=champion, challenger=challenger, mode=mode, since=self.clock.now())
            ledger.rollouts.put(rollout, was)

    @property
    def events(self):
        return [message.event for message in self.channel.sent]


@pytest.fixture
def house(tmp_path):
    found = House(tmp_path)
    yield found
    found.store.close()
