"""A server with models of one kind each, for whoever pushes it.

python benchmarks/overload/served.py FOLDER [NAME=VALUE ...]

``slow`` takes 20 ms in each of its four threads; ``loop`` takes 1 ms of the event loop; ``apart`` takes 10 ms in a
process of its own; ``tiered`` is as slow as ``slow`` and has a lighter version; ``quick`` takes nothing;
``slowing`` is as ``slow`` until there is a file FOLDER/slower, and then half as fast; ``hangs`` sleeps 40 s when x is
below zero. NAME=VALUE are settings such as overload.calm=0.5.
"""

import sys
from pathlib import Path

from modelkeep import settings
from modelkeep.app import App
from modelkeep.edge.server import serve
from modelkeep.jobs.changing import adopt
from modelkeep.jobs.registering import Registration, register
from modelkeep.nouns import Field, Policy, Rollout, Signature

SLEEPS = "import time\ndef predict(row):\n    time.sleep({own})\n    return 2.0 * row['x']\n"
SPINS = (
    "import time\ndef predict(row):\n    end = time.perf_counter() + {own}\n"
    "    while time.perf_counter() < end:\n        pass\n    return 2.0 * row['x']\n"
)
SLOWER = (
    "import os, time\ndef predict(row):\n    time.sleep(0.04 if os.path.exists({flag!r}) else 0.02)\n"
    "    return 2.0 * row['x']\n"
)
HANGS = "import time\ndef predict(row):\n    time.sleep(40 if row['x'] < 0 else 0)\n    return 2.0 * row['x']\n"
PLAIN = "def predict(row):\n    return 2.0 * row['x']\n"
LIGHTER = "def predict(row):\n    return 2.0 * round(row['x'])\n"
SIGNATURE = Signature(inputs=(Field(name="x", kind="number"),), output=Field(name="y", kind="number"))
MODELS = {
    "slow": (SLEEPS.format(own=0.02), "never"),
    "loop": (SPINS.format(own=0.001), "never"),
    "apart": (SLEEPS.format(own=0.01), "process"),
    "tiered": (SLEEPS.format(own=0.02), "never"),
    "quick": (PLAIN, "never"),
    "hangs": (HANGS, "process"),
}
CORES = (0, 1)


def keep(app, model, text, *, isolation="never", limit=None):
    """Register a model's first version (and a lighter one for ``tiered``), and let it answer."""
    rooms, numbers = app.rooms, []
    with rooms.store.write() as ledger:
        more = {"lighter": 2} if model == "tiered" else {}
        more |= {} if limit is None else {"limit": limit}
        policy = adopt(ledger, Policy(model=model, isolation=isolation, **more), who="bench", why="", at=1.0)
    for place, source in enumerate([text, LIGHTER] if model == "tiered" else [text]):
        file = rooms.folder / f"{model}{place}.py"
        file.write_text(source)
        wanted = Registration(model=model, path=file, trust=True, signature=SIGNATURE, metrics={"mae": 1.0})
        numbers.append(register(rooms, wanted).number)
    with rooms.store.write() as ledger:
        ledger.rollouts.put(Rollout(model=model, champion=numbers[0], policy=policy.number, since=1.0), None)


def main():
    folder, given = Path(sys.argv[1]), dict(one.split("=") for one in sys.argv[2:])
    limit = float(given.pop("limit", 30.0))
    flags = {"server.listen": [0], "logs.level": "warning", "logs.console": False}
    flags |= {name: float(value) for name, value in given.items()}
    app = App.open(settings.load(folder=folder, environ={}, flags=flags))
    slowing = SLOWER.format(flag=str(folder / "slower"))
    for model, (text, isolation) in {**MODELS, "slowing": (slowing, "never")}.items():
        keep(app, model, text, isolation=isolation, limit=limit if model == "hangs" else None)
    serve(app, tell=lambda text: print(text, flush=True))


if __name__ == "__main__":
    main()
