"""Health, remaining life, anomalies and predictive alerts of machines that send telemetry."""

from modelkeep import Field, Guards, Policy, Recipe, Retrain, Trial, Workload
from modelkeep.workloads.drilling import alert_acts, health_acts, panel, telemetry_acts, watching
from modelkeep.workloads.drilling.sources import SOURCES

HOUR, DAY = 3600.0, 86400.0

LIFE = Policy(
    model="drilling-life",
    retrain=Retrain(trainer="modelkeep.workloads.drilling.life:train", window=730 * DAY, least=500, groups=10),
    trial=Trial(shadow=7 * DAY, canary=(0.25,), stage=7 * DAY, last=60 * DAY),
    window=30 * DAY,
)
RATE = Policy(
    model="drilling-rate",
    # A rig sends some five rows an hour and is one entity: shadow alone decides, by guards that so few rows can prove.
    guards=Guards(error=0.3, latency=(0.6, 0.6, 0.6), loss=0.1),
    trial=Trial(shadow=12 * HOUR, canary=(), stage=0.0, last=3 * DAY, look=600.0),
    retrain=Retrain(trainer="modelkeep.workloads.drilling.rate:train", window=20 * DAY, least=1000, per_day=2),
    horizon=6 * HOUR,
    window=DAY,
)

WORKLOAD = Workload(
    name="drilling",
    summary="Machine health, remaining life and predictive alerts from telemetry",
    sources=SOURCES,
    operations=(*telemetry_acts.OPERATIONS, *health_acts.OPERATIONS, *alert_acts.OPERATIONS),
    recipes=(
        Recipe(
            model="drilling-rate",
            summary="What a machine should do at these settings (rate of penetration, torque, ...)",
            columns=(
                Field(name="event_time", kind="number", unit="s since 1970", nullable=True),
                Field(name="entity", kind="text", nullable=True),
                Field(name="label", kind="number", nullable=True),
                Field(name="label_time", kind="number", unit="s since 1970", nullable=True),
            ),
            prepare="modelkeep.workloads.drilling.rate:prepare",
            policy=RATE,
            simulate="modelkeep.workloads.drilling.simulator:rates",
        ),
        Recipe(
            model="drilling-life",
            summary="How much longer a machine runs, from its channels",
            columns=(
                Field(name="unit", kind="text", nullable=True),
                Field(name="cycle", kind="number", unit="cycles", low=0, nullable=True),
                Field(name="rul", kind="number", unit="cycles or h", low=0, nullable=True),
                Field(name="failed", kind="boolean", nullable=True),
            ),
            prepare="modelkeep.workloads.drilling.life:prepare",
            policy=LIFE,
            simulate="modelkeep.workloads.drilling.simulator:lives",
        ),
    ),
    policies=(LIFE, RATE),
    rules=watching.rules(watching.LIMITS),
    probes=(watching.probe,),
    panel=panel.panel,
    play="modelkeep.workloads.drilling.playing:play",
)
