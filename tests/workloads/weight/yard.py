"""How the tests' ensemble becomes a version that answers."""

from modelkeep.jobs.registering import Registration, register
from modelkeep.nouns import Lineage, Rollout
from modelkeep.runtimes import pack_features

NEW = "lead"
"""The metal that the model of the tests has never seen."""


def installed(app, trained, *, number=1, release=True):
    """The ensemble as a version that answers."""
    register(
        app.rooms,
        Registration(
            model="weight",
            path=trained.path,
            runtime=trained.runtime,
            trust=True,
            code=pack_features(trained.code),
            signature=trained.signature,
            metrics=trained.metrics,
            rivals=trained.rivals,
            columns=trained.sample,
            lineage=Lineage(rows=len(trained.sample["material"]), split="group", data_source="sample"),
        ),
    )
    if release:
        with app.rooms.store.write() as ledger:
            ledger.rollouts.put(Rollout(model="weight", champion=number, since=app.rooms.clock.now()), None)
        app.rooms.router.refresh()
