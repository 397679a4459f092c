"""Data folders with models in them, made without a server."""

from contextlib import contextmanager

from modelkeep import settings
from modelkeep.app import App
from modelkeep.jobs.registering import Registration, register
from modelkeep.nouns import Field, Signature
from modelkeep.rollout import begin, first, promote

SIGNATURE = Signature(inputs=(Field(name="x", kind="number", low=0, high=1000),), output=Field(name="y", kind="number"))
MODEL = "def predict(row):\n    return 2.0 * row['z'] - 200.0 * {number} + {number} / 1000\n"
FEATURES = "def features(row):\n    return {{'z': row['x'] + 100.0 * {number}}}\n"


def answer_of(number, x):
    """What version ``number`` says, about 2 x; with the feature code of another version it would be far off."""
    return 2.0 * (x + 100.0 * number) - 200.0 * number + number / 1000


def keep(app, model, source, *, features=None):
    """Register plain Python as the next version of a model."""
    paths = {}
    for name, text in (("path", source), ("features", features)):
        if text is not None:
            paths[name] = app.rooms.folder.parent / f"{name}.py"
            paths[name].write_text(text)
    return register(app.rooms, Registration(model=model, trust=True, signature=SIGNATURE, **paths))


def answers(app, model, number):
    """Let a version answer from now on; the one before stays behind it."""
    now = app.rooms.clock.now()
    with app.rooms.store.write() as ledger:
        was = ledger.rollouts.get(model)
        if was is None:
            after = first(model, number, policy=1, at=now)
        else:
            after = promote(begin(was, number, mode="canary", share=1.0, trial="by hand", at=now), policy=1, at=now)
        ledger.rollouts.put(after, was)


@contextmanager
def opened(folder):
    """The app on a data folder, without a server."""
    with App.open(settings.load(folder=folder, environ={})) as app:
        yield app
