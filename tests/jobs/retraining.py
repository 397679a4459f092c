"""A model to be trained anew (``trainers`` has its trainers); ``retraining.py FOLDER`` runs the due jobs of FOLDER."""

import sys
from pathlib import Path

from msgspec import Raw, json
from trialling import START, rooms_of

from modelkeep.jobs.registering import Registration, register
from modelkeep.jobs.rooms import Rooms
from modelkeep.jobs.runner import Pace, Runner
from modelkeep.jobs.training import Retraining, retrain
from modelkeep.nouns import Field, Job, Outcome, Policy, Prediction, Retrain, Rollout, Signature

SIGNATURE = Signature(
    inputs=(Field(name="x", kind="number"), Field(name="place", kind="category", nullable=True)),
    output=Field(name="y", kind="number"),
)
HOUR = 3600.0


def site(rooms: Rooms, folder: Path, *, rows: int = 40, **retrain_policy: object) -> None:
    """A champion that is twice too low, with ``rows`` labelled predictions, an hour apart, the newest just now."""
    (folder / "champion.py").write_text("def predict(row):\n    return row['x']\n")
    policy = Policy(model="m", retrain=Retrain(**({"trainer": "trainers:train", "least": 10} | retrain_policy)))
    register(rooms, Registration(model="m", path=folder / "champion.py", trust=True, signature=SIGNATURE))
    now = rooms.clock.now()
    with rooms.store.write() as ledger:
        ledger.versions.add_policy(policy)
        ledger.rollouts.put(Rollout(model="m", champion=1, policy=1), None)
        for i in range(rows):
            at = now - (rows - i) * HOUR
            row = {"x": 1.0 + i % 7, "place": "here"} if i % 2 else {"x": 1.0 + i % 7}
            asked = Prediction(
                id=f"1-{i}", model="m", version=1, role="champion", features=row, output=row["x"], at=at, target=at,
                seconds=0.001, key=f"k{i % 3}",
            )  # fmt: skip
            ledger.records.add([asked], [])
        ledger.records.tell(
            [Outcome(value=2.0 * (1.0 + i % 7) + (-0.5, 0.5)[i % 2], at=now, prediction=f"1-{i}") for i in range(rows)],
            {"m": 0.0},
        )


def ask(rooms: Rooms, id: str = "retrain-1") -> None:
    arguments = Raw(json.encode(Retraining(model="m", why="skill fell", by="alert 7")))
    now = rooms.clock.now()
    with rooms.store.write() as ledger:
        ledger.jobs.add(Job(id=id, task="retrain", due=now, created=now, arguments=arguments, subject="m"))


def run(rooms: Rooms, id: str = "retrain-1") -> Job:
    Runner(rooms, {"retrain": retrain}, schedules={}, pace=Pace(lease=30.0)).run_due()
    with rooms.store.read() as ledger:
        return ledger.jobs.get(id)


if __name__ == "__main__":
    run(rooms_of(Path(sys.argv[1]), START))
