"""Weight of an object from a photo with a reference object beside it, or from its measurements."""

from modelkeep import Guards, Policy, Recipe, Retrain, Schedule, Trial, Workload
from modelkeep.workloads.weight import consent, estimating, panel, tier_acts, upkeep, watching, weighing_acts
from modelkeep.workloads.weight.columns import COLUMNS
from modelkeep.workloads.weight.sources import SOURCES

DAY = 86400.0
MODEL = "weight"

POLICY = Policy(
    model=MODEL,
    window=14 * DAY,
    # A yard estimates some tens of pieces a day: within 5 points of errors is proven by about a hundred of them, within
    # 2 points by three hundred, and a fortnight with a model that has never seen the material costs more than that.
    guards=Guards(error=0.05, latency=(0.2, 0.1, 0.05)),
    trial=Trial(shadow=2 * DAY, canary=(0.1, 0.5), stage=DAY, last=28 * DAY, look=3600.0),
    retrain=Retrain(
        trainer="modelkeep.workloads.weight.training:train", window=365 * DAY, least=20, history=True, groups=5
    ),
)

RECIPE = Recipe(
    model=MODEL,
    summary="Weight of an object from boxes in a photo with a coin, or from its measurements",
    columns=COLUMNS,
    prepare="modelkeep.workloads.weight.preparing:prepare",
    policy=POLICY,
    simulate="modelkeep.workloads.weight.simulator:simulate",
    forms=(
        ("event_time", "entity", "label", "label_time", "x0", "y0", "x1", "y1", "cx0", "cy0", "cx1", "cy1"),
        ("event_time", "entity", "label", "label_time", "length_mm", "width_mm"),
    ),
    injections={"wrong_coin": "modelkeep.workloads.weight.scale:wrong_coin"},
)

WORKLOAD = Workload(
    name="weight",
    summary="Weight of an object from a photo or from measurements",
    sources=SOURCES,
    operations=(
        estimating.OPERATION,
        *weighing_acts.OPERATIONS,
        *tier_acts.OPERATIONS,
        *consent.OPERATIONS,
    ),
    recipes=(RECIPE,),
    policies=(POLICY,),
    rules=watching.RULES,
    probes=(watching.yardstick, watching.unsure),
    tasks={"weight_daily": upkeep.daily},
    schedules={"weight_daily": Schedule(task="weight_daily", when="15 4 * * *")},
    personal=(consent.PERSONAL,),
    panel=panel.panel,
    play="modelkeep.workloads.weight.playing:play",
)
