"""A team's own model, from a file, a registry or a table, with no code of theirs."""

from modelkeep import Field, Policy, Recipe, Retrain, Trial, Workload
from modelkeep.workloads.any.acts import OPERATIONS
from modelkeep.workloads.any.panel import panel
from modelkeep.workloads.any.sources import SOURCES

DAY = 86400.0
LABEL = Field(name="label", kind="number", nullable=False)
COLUMNS = (
    LABEL,
    Field(name="entity", kind="text", nullable=True),
    Field(name="event_time", kind="text", nullable=True),
    Field(name="label_time", kind="text", nullable=True),
)


def _policy(model: str) -> Policy:
    return Policy(
        model=model,
        retrain=Retrain(trainer="modelkeep.workloads.any.training:train", window=180 * DAY, least=200),
        trial=Trial(shadow=2 * DAY, canary=(0.1, 0.5), stage=DAY, last=10 * DAY, undecided="roll_back"),
    )


TABLE = Recipe(
    model="any",
    summary="Any table with a label column: numbers, classes, or true and false",
    columns=COLUMNS,
    prepare="modelkeep.workloads.any.preparing:prepare",
    policy=_policy("any"),
    simulate="modelkeep.workloads.any.simulator:simulate",
)
HISTORY = Recipe(
    model="any-history",
    summary="The same, and what was known of the entity's own labels at each moment",
    columns=COLUMNS,
    prepare="modelkeep.workloads.any.preparing:prepare_with_history",
    policy=_policy("any-history"),
)

WORKLOAD = Workload(
    name="any",
    summary="Any team's own model, with no code of theirs",
    sources=SOURCES,
    operations=OPERATIONS,
    recipes=(TABLE, HISTORY),
    panel=panel,
    play="modelkeep.workloads.any.playing:play",
)
