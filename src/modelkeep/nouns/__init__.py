"""The types that every room speaks. Frozen; their methods are pure.

What happens is a *record* (Prediction, Outcome). What we know is a *Reading*, folded from records or from a probe.
What we do is a *Job* or a *Rollout* change. Moments are seconds since 1970-01-01T00:00:00Z (float, UTC); durations
are seconds.
"""

from modelkeep.nouns.blocks import Block
from modelkeep.nouns.decisions import Caching, Guards, Policy, Privacy, Retention, Retrain, Role, Rollout, Trial, arm
from modelkeep.nouns.done import Act, Job, Lease, Step
from modelkeep.nouns.known import (
    LEVELS,
    SEVERITIES,
    Alert,
    Delivery,
    Facts,
    Level,
    Reading,
    Rule,
    Severity,
    about,
    gravity,
    model_of,
)
from modelkeep.nouns.models import (
    EXTERNAL,
    Baseline,
    Features,
    Field,
    Kind,
    Lineage,
    Output,
    Outputs,
    Predict,
    Runner,
    Signature,
    Value,
    Version,
    unseen,
)
from modelkeep.nouns.records import Match, Outcome, Prediction

__all__ = [
    "EXTERNAL",
    "LEVELS",
    "SEVERITIES",
    "Act",
    "Alert",
    "Baseline",
    "Block",
    "Caching",
    "Delivery",
    "Facts",
    "Features",
    "Field",
    "Guards",
    "Job",
    "Kind",
    "Lease",
    "Level",
    "Lineage",
    "Match",
    "Outcome",
    "Output",
    "Outputs",
    "Policy",
    "Predict",
    "Prediction",
    "Privacy",
    "Reading",
    "Retention",
    "Retrain",
    "Role",
    "Rollout",
    "Rule",
    "Runner",
    "Severity",
    "Signature",
    "Step",
    "Trial",
    "Value",
    "Version",
    "about",
    "arm",
    "gravity",
    "model_of",
    "unseen",
]
